"""A grid piece as a list of steps on the lattice, with the three conditions of soundness checked.

Every value of the piece is extended from its true grid to the whole lattice. A *mask* puts the zeros back that the true
network has outside the true grid, where a convolution would read something else.
"""

import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import NoSoundRuleError, RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.rounding import tensor_down
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Network, Node, Opaque, Sum, Vector
from netgain.vectors.extrema import GroupSort, Sort
from netgain.vectors.pool import AdaptiveMaxPool, L2Pool, MaxPool
from netgain.witness.certificate import Grid, Piece
from netgain.witness.geometry import Place, Sizes, Taps, pooling, taps
from netgain.witness.symbols import SHIFT_BITS, Lattice

# Points of the largest circulant grid: beyond it a certificate costs more than it is worth.
LARGEST_GRID = 2**24


@dataclasses.dataclass(frozen=True, eq=False)
class Filtered:
    """A convolution of one value."""

    taps: Taps


@dataclasses.dataclass(frozen=True)
class Added:
    """A weighted sum of values."""

    scales: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Joined:
    """Values joined along the channels."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sloped:
    """An elementwise function with slopes in [low, high], which contains 0, and its multiplier, a number a channel."""

    low: Float[Tensor, " channels"]
    high: Float[Tensor, " channels"]
    multiplier: Float[Tensor, " channels"]


@dataclasses.dataclass(frozen=True, eq=False)
class Limited:
    """A function with sum of T |Dy|^2 <= gain^2 sum of T |Dz|^2, T = multiplier, one number a channel or one in all."""

    gain: float
    multiplier: Float[Tensor, " channels"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sorted:
    """Sorting in groups of neighbouring channels: T = lam I + gamma 1 1^T in each group, one number a group."""

    lam: Float[Tensor, " groups"]
    gamma: Float[Tensor, " groups"]


Action = Filtered | Added | Joined | Sloped | Limited | Sorted


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One action: the values it reads and the one it makes."""

    name: str
    inputs: tuple[str, ...]
    action: Action


@dataclasses.dataclass(frozen=True)
class Plan:
    """The steps of a piece.

    Attributes:
        start: name of the value in front.
        stop: name of the last value: the piece's stop, or the input of the closing node.
        steps: in order.
        places: where each value lives.
        lattice: the circulant grid.
        closing: the last node, if it is a function with a gain: it is left out of the steps, since the best metric in
            front of it is known.
    """

    start: str
    stop: str
    steps: tuple[Step, ...]
    places: Mapping[str, Place]
    lattice: Lattice
    closing: Limited | None

    def aliases(self, name: str) -> int:
        """How many frequencies of a value a block holds."""
        return math.prod(self.lattice.aliases(self.places[name]))

    def size(self, name: str) -> int:
        """Rows of a value in a block."""
        return self.places[name].channels * self.aliases(name)


def plan(network: Network, piece: Piece, nodes: tuple[Node, ...]) -> Plan:
    """The steps of a grid piece.

    Args:
        network: the folded network.
        piece: the piece, with a grid.
        nodes: the nodes of the piece, in order, its start not included.

    Raises:
        NoSoundRuleError: if a node has no rule on a grid.
        RefusedCertificateError: if a multiplier or mask is missing, superfluous or not positive, or the grid is too
            small or does not fit the strides.
    """
    shape = network.shapes()[piece.start]
    if piece.grid is None:
        raise RefusedCertificateError(f"the piece from {piece.start} to {piece.stop} has no grid")
    if not 2 <= len(shape) <= 4:
        raise NoSoundRuleError(f"{piece.start} of shape {shape} is not (channels, *grid) with one to three grid axes")
    builder = _Builder(piece, Place(shape[0], shape[1:], (1,) * (len(shape) - 1), True))
    for node in nodes:
        builder.add(node)
    return builder.finish(piece.grid)


class _Builder:
    """The steps so far; each call adds one node."""

    def __init__(self, piece: Piece, start: Place):
        self.piece = piece
        self.places = {piece.start: start}
        self.values = {piece.start: piece.start}
        self.steps: list[Step] = []
        self.least: list[tuple[str, Sizes, Sizes]] = []
        self.used: set[str] = set()
        self.masks: set[str] = set()

    def add(self, node: Node) -> None:
        """Add the steps of one node."""
        inputs = tuple(self.values[name] for name in node.inputs)
        match node.kind:
            case Affine(map=linear_map):
                value = inputs[0]
                stages = taps(node, linear_map)
                for number, one in enumerate(stages, start=1):
                    name = node.name if number == len(stages) else f"{node.name}#{number}"
                    value = self._filter(node, value, name, one)
                self.values[node.name] = value
                return
            case Elementwise():
                place, action = dataclasses.replace(self.places[inputs[0]], zero=True), self._sloped(node)
            case Vector(function=function):
                stride, before = pooling(node, function), self.places[inputs[0]]
                step = tuple(a * b for a, b in zip(before.step, stride, strict=True))
                place, action = Place(node.shape[0], node.shape[1:], step, True), self._vector(node)
            case Sum(scales=scales):
                place, action = self._common(node, inputs), Added(scales)
            case Concat(axis=0):
                place, action = self._common(node, inputs), Joined()
            case Concat() | Bilinear() | Opaque():
                raise NoSoundRuleError(f"{node.source} has no rule on a grid")
        if (place.channels, *place.grid) != node.shape:
            raise NoSoundRuleError(f"{node.source}: {node.shape} is not on the grid of its inputs")
        self._append(node.name, inputs, action, place)

    def finish(self, grid: Grid) -> Plan:
        """The plan, after the checks of the whole piece."""
        # A mask that is not needed only costs: the step without it dominates nothing more.
        extra = set(self.piece.multipliers) - self.used - {f"mask:{value}" for value in self.places}
        if extra:
            raise RefusedCertificateError(f"multipliers of {', '.join(sorted(extra))} belong to nothing in the piece")
        stop, closing = self.values[self.piece.stop], None
        last = self.steps[-1] if self.steps else None
        if last is not None and last.name == stop and isinstance(last.action, Limited):
            closing = last.action
            del self.places[stop]
            (stop,) = self.steps.pop().inputs
        lattice = self._lattice(grid)
        return Plan(self.piece.start, stop, tuple(self.steps), self.places, lattice, closing)

    def _append(self, name: str, inputs: tuple[str, ...], action: Action, place: Place) -> None:
        """One more step and its value.

        Raises:
            RefusedCertificateError: if a node of the network has the name of a mask or of a stage of another node.
        """
        if name in self.places:
            raise RefusedCertificateError(f"two values of the piece from {self.piece.start} have the name {name}")
        self.steps.append(Step(name, inputs, action))
        self.places[name] = place
        self.values[name] = name

    def _filter(self, node: Node, value: str, name: str, one: Taps) -> str:
        """A convolution, with a mask in front of it where that is needed; returns the name of its value."""
        if not one.inside:
            if not self.places[value].zero:
                value = self._masked(node, value)
            self.least.append((str(node.source), self.places[value].step, one.least))
        before = self.places[value]
        step = tuple(a * b for a, b in zip(before.step, one.stride, strict=True))
        self._append(name, (value,), Filtered(one), Place(len(one.weight), one.behind, step, before.zero and one.local))
        return name

    def _masked(self, node: Node, value: str) -> str:
        """The masked value for a node that reads it outside its grid, made once."""
        name = f"mask:{value}"
        if name not in self.masks:
            if name not in self.piece.multipliers:
                raise RefusedCertificateError(
                    f"{node.source} reads {value} outside its grid, where it need not be zero: there is no {name}"
                )
            place = dataclasses.replace(self.places[value], zero=True)
            zero = torch.zeros(place.channels, dtype=torch.float64)
            self._append(name, (value,), Sloped(zero, zero + 1, self._positive(name, place.channels)), place)
            self.masks.add(name)
        return name

    def _sloped(self, node: Node) -> Sloped:
        """The slopes of an elementwise node, over all pixels and with the 0 that holds outside the true grid."""
        if not isinstance(node.kind, Elementwise):
            raise TypeError(f"{node.name} is not elementwise")
        line = torch.full(node.shape, torch.inf, dtype=torch.float64)
        low, high = (end.expand(node.shape).flatten(1) for end in node.kind.activation.slope_range(-line, line))
        low, high = low.amin(1).clamp_max(0.0), high.amax(1).clamp_min(0.0)
        if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
            raise NoSoundRuleError(f"{node.source}: the slope of {node.kind.activation.name} is not bounded")
        return Sloped(low, high, self._positive(node.name, node.shape[0]))

    def _vector(self, node: Node) -> Limited | Sorted:
        """A vector function: sorting along the channels by its own constraint, others by their gain."""
        if not isinstance(node.kind, Vector):
            raise TypeError(f"{node.name} is not a vector function")
        function = node.kind.function
        sorts = isinstance(function, Sort | GroupSort) and function.axis == 0
        if sorts and self._given(node.name).dim() == 2:
            return self._sorted(node, function.group_size if isinstance(function, GroupSort) else node.shape[0])
        gain = function.gain(Norm.L2)
        if not math.isfinite(gain):
            raise NoSoundRuleError(f"{node.source}: {function.name} has no global gain")
        return Limited(gain, self._positive(node.name, node.shape[0] if _channelwise(node) else 1))

    def _sorted(self, node: Node, size: int) -> Sorted:
        """Multipliers of sorting in groups of that size."""
        groups, given = node.shape[0] // size, self._given(node.name)
        if given.shape not in {(2, 1), (2, groups)} or not bool(torch.isfinite(given).all()):
            raise RefusedCertificateError(f"{node.name} needs two rows of 1 or {groups} finite multipliers")
        lam, gamma = given.expand(2, groups)
        # Outside the true grid outputs are 0, and the constraint says that T is positive semidefinite.
        if not bool((lam > 0).all() and (tensor_down(lam + tensor_down(size * gamma)) >= 0).all()):
            raise RefusedCertificateError(f"the multipliers of {node.name} are not positive")
        return Sorted(lam, gamma)

    def _given(self, name: str) -> Tensor:
        """The multipliers of that name, marked as used."""
        if name not in self.piece.multipliers:
            raise RefusedCertificateError(f"there are no multipliers of {name}")
        self.used.add(name)
        return self.piece.multipliers[name].detach().to("cpu", torch.float64)

    def _positive(self, name: str, channels: int) -> Float[Tensor, " channels"]:
        """Positive multipliers, one a channel."""
        given = self._given(name)
        return weights(given, channels, f"multipliers of {name}")

    def _common(self, node: Node, inputs: tuple[str, ...]) -> Place:
        """The place of a sum or concatenation."""
        places = [self.places[name] for name in inputs]
        if len({(place.grid, place.step) for place in places}) > 1:
            raise NoSoundRuleError(f"{node.source} joins values on different grids")
        return dataclasses.replace(places[0], channels=node.shape[0], zero=all(place.zero for place in places))

    def _lattice(self, grid: Grid) -> Lattice:
        """The circulant grid, large enough for every value and every convolution."""
        axes = len(self.places[self.piece.start].grid)
        sizes, shifts = grid.sizes, grid.shifts
        if len(sizes) != axes or len(shifts) != axes or not all(0.0 <= shift < 1.0 for shift in shifts):
            raise RefusedCertificateError(f"a grid of {axes} axes needs as many sizes and shifts in [0, 1)")
        if min(sizes) < 1 or math.prod(sizes) > LARGEST_GRID:
            raise RefusedCertificateError(f"circulant grids have 1 to {LARGEST_GRID} points, not {sizes}")
        steps = [place.step for place in self.places.values()]
        coarsest = tuple(math.lcm(*axis) for axis in zip(*steps, strict=True))
        if any(size % step for size, step in zip(sizes, coarsest, strict=True)):
            raise RefusedCertificateError(f"a circulant grid of {sizes} points does not fit the strides {coarsest}")
        needs = [(name, place.step, place.grid) for name, place in self.places.items()]
        for what, step, least in [*needs, *self.least]:
            if any(size // s < n for size, s, n in zip(sizes, step, least, strict=True)):
                raise RefusedCertificateError(
                    f"a circulant grid of {sizes} points is too small for {what}: it needs {least} in steps of {step}"
                )
        return Lattice(sizes, tuple(round(shift * 2**SHIFT_BITS) % 2**SHIFT_BITS for shift in shifts), coarsest)


def weights(given: Tensor, channels: int, what: str) -> Float[Tensor, " channels"]:
    """Positive numbers, one a channel, from one a channel or one in all.

    Args:
        given: the numbers.
        channels: how many channels there are.
        what: what messages call them.

    Raises:
        RefusedCertificateError: if their number does not fit, or one is not positive and finite.
    """
    if given.numel() not in {1, channels}:
        raise RefusedCertificateError(f"{what}: {given.numel()} numbers do not fit {channels} channels")
    if not bool((torch.isfinite(given) & (given > 0)).all()):
        raise RefusedCertificateError(f"{what} are not positive and finite")
    return given.detach().to("cpu", torch.float64).reshape(-1).expand(channels)


def _channelwise(node: Node) -> bool:
    """Whether a vector node acts on each channel apart from the others."""
    return isinstance(node.kind, Vector) and isinstance(node.kind.function, MaxPool | AdaptiveMaxPool | L2Pool)
