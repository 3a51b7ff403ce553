"""One convex program for all parts of a network, which meet in the weights of the cuts between them."""

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.gain.grid.stage import SLACK, Stage, block, closing
from netgain.gain.grid.start import Layer, feasible_start, lifted
from netgain.gain.grid.tail import Tail, multipliers, tail_block
from netgain.gain.metric.program import Block, Program
from netgain.network.graph import Vector
from netgain.witness.certificate import Piece, Proof


@dataclasses.dataclass(frozen=True)
class Plain:
    """A part of which only the gain is used: from one weight in front to one number behind.

    Attributes:
        start: the cut in front.
        stop: the cut at its end.
        gain: the product bound between them.
    """

    start: str
    stop: str
    gain: float


Part = Stage | Tail | Plain


@dataclasses.dataclass(frozen=True, eq=False)
class Joint:
    """The parts of a network and the variables of their program.

    Attributes:
        parts: from the input to the output.
        ties: the variables of each key: "rho", multipliers, "metric:CUT" or "inverse:CUT".
        positive: whether each variable must be positive.
    """

    parts: tuple[Part, ...]
    ties: Mapping[str, Int[Tensor, " numbers"]]
    positive: tuple[bool, ...]

    def front(self, place: int) -> str:
        """The key of the weights in front of a part."""
        part = self.parts[place]
        if place == 0:
            return "rho"
        return f"{'inverse' if isinstance(part, Tail) else 'metric'}:{part.start}"

    def behind(self, place: int) -> str | None:
        """The key of the weights behind a part, None at the output."""
        return None if place == len(self.parts) - 1 else self.front(place + 1)

    def metric(self, x: Float[Tensor, " variables"], place: int) -> Float[Tensor, " weights"]:
        """The weights in front of a part, 1 at the input and at the output.

        Args:
            x: the variables.
            place: which part; one behind the last for the output.
        """
        if place in (0, len(self.parts)):
            return torch.ones(1, dtype=torch.float64)
        weights = x[self.ties[self.front(place)]]
        return 1 / weights if isinstance(self.parts[place], Tail) else weights


def joint(parts: tuple[Part, ...], channels: Mapping[str, int]) -> Joint:
    """The variables of a program.

    Args:
        parts: from the input to the output; only the last can be a `Tail`, behind a `Stage`.
        channels: of each cut.
    """
    sizes: list[tuple[str, int, int]] = [("rho", 1, 1)]
    for place, part in enumerate(parts):
        if place > 0:
            count = 1 if isinstance(part, Plain) else channels[part.start]
            sizes.append((f"{'inverse' if isinstance(part, Tail) else 'metric'}:{part.start}", count, count))
        if not isinstance(part, Plain):
            sizes += part.free
    ties: dict[str, Tensor] = {}
    positive: list[bool] = []
    for key, count, signed in sizes:
        ties[key] = torch.arange(len(positive), len(positive) + count)
        positive += [True] * signed + [False] * (count - signed)
    return Joint(parts, ties, tuple(positive))


Points = tuple[Int[Tensor, "_ _"], Float[Tensor, " _"]]
"""Frequencies of a stage and how often each counts."""


def program(found: Joint, points: Mapping[int, Points]) -> Program:
    """The program over some of the frequencies.

    Args:
        found: the parts.
        points: for the place of each stage its frequencies and how often each counts.
    """
    blocks: list[Block] = []
    for place, part in enumerate(found.parts):
        ends = (found.front(place), found.behind(place))
        match part:
            case Stage():
                blocks.append(block(part, *points[place], found.ties, ends))
            case Tail():
                blocks.append(tail_block(part, found.ties))
            case Plain():
                blocks.append(_plain_block(found, part, ends))
    names = tuple((key, int(tied[0]), int(tied[-1]) + 1) for key, tied in found.ties.items())
    return Program(blocks=tuple(blocks), names=names, positive=torch.tensor(found.positive))


def _plain_block(found: Joint, part: Plain, ends: tuple[str, str | None]) -> Block:
    """The weight in front is at least gain^2 times each weight behind."""
    behind = torch.zeros(0, dtype=torch.int64) if ends[1] is None else found.ties[ends[1]]
    eye = torch.eye(max(1, len(behind)), dtype=torch.float64)[None]
    scaled = part.gain * eye
    front = found.ties[ends[0]].expand(eye.shape[1])
    weights = torch.ones(1, dtype=torch.float64)
    if ends[1] is None:
        return Block(constant=-scaled @ scaled, left=eye, right=eye, ties=front, weights=weights)
    left, right = torch.cat([eye, scaled], 2), torch.cat([eye, -scaled], 2)
    ties = torch.cat([front, behind])
    return Block(constant=torch.zeros_like(eye), left=left, right=right, ties=ties, weights=weights)


def start(found: Joint, points: Mapping[int, Points]) -> Float[Tensor, " variables"]:
    """A strictly feasible point for those frequencies, from the output to the input.

    Args:
        found: the parts.
        points: as in `program`.
    """
    count = len(found.positive)
    x = torch.zeros(count + 1, dtype=torch.float64)
    for place in reversed(range(len(found.parts))):
        part, ends = found.parts[place], (found.front(place), found.behind(place))
        match part:
            case Stage():
                _start_stage(found, place, points[place], x)
            case Tail():
                _start_tail(found, part, x)
            case Plain():
                behind = 1.0 if ends[1] is None else float(x[found.ties[ends[1]]].max())
                x[found.ties[ends[0]]] = 1.5 * part.gain**2 * behind
    return x[:count]


def _start_stage(found: Joint, place: int, points: Points, x: Tensor) -> None:
    """Set the variables of a stage and the weights in front of it."""
    part, behind = found.parts[place], found.behind(place)
    if not isinstance(part, Stage):
        raise TypeError(part)
    ties, values = dict(found.ties), x
    if behind is not None and behind.startswith("inverse:"):  # the form with the weights themselves has fewer rows
        ties["metric"] = torch.arange(len(x), len(x) + len(ties[behind]))
        values, behind = torch.cat([x, 1 / x[ties[behind]]]), "metric"
    none = torch.zeros(0, dtype=torch.int64)
    layers = [Layer(*part.rows[part.start], ties[found.front(place)], none)]
    for key, _, signed in part.free:
        layers.append(Layer(*part.rows[key], ties[key][:signed], ties[key][signed:]))
    forms = block(part, *points, ties, (found.front(place), behind))
    if behind is not None and len(ties[behind]) > 1:  # more weight where little arrives
        mine = torch.isin(forms.ties, ties[behind]).nonzero().squeeze(1)
        arriving = forms.left[:, :, mine].abs().square().sum(1).mean(0)
        values[ties[behind]] *= lifted(arriving, forms.ties[mine], ties[behind])
        if behind == "metric":
            values[found.ties[str(found.behind(place))]] = 1 / values[ties[behind]]
    feasible_start(forms, tuple(layers), values)
    x.copy_(values[: len(x)])


def _start_tail(found: Joint, part: Tail, x: Tensor) -> None:
    """Set the variables of the dense end and of the cut in front of it."""
    scale, cut = len(x) - 1, found.ties[f"inverse:{part.start}"]
    outer = part.matrices[""][0] if not part.free else torch.cat([pair[0] for pair in part.matrices.values()])
    reach = outer.unflatten(1, (part.channels, -1)).square().sum((0, 2))
    x[cut] = 1 / reach.clamp_min(1e-6 * float(reach.max()))
    none = torch.zeros(0, dtype=torch.int64)
    layers = [Layer(*part.rows[""], torch.tensor([scale]), none)]
    layers += [Layer(*part.rows[key.removeprefix("inverse:")], found.ties[key], none) for key, _, _ in part.free]
    feasible_start(tail_block(part, found.ties, scale), tuple(layers), x)
    for tied in (cut, *(found.ties[key] for key, _, _ in part.free)):
        x[tied] /= x[scale]


def pieces(found: Joint, x: Float[Tensor, " variables"]) -> tuple[Piece, ...]:
    """The certificate's pieces.

    Args:
        found: the parts.
        x: the variables.
    """
    return tuple(_piece(found, place, x) for place in range(len(found.parts)))


def _piece(found: Joint, place: int, x: Tensor) -> Piece:
    """The piece of one part."""
    part, metric, behind = found.parts[place], found.metric(x, place), found.metric(x, place + 1)
    match part:
        case Stage():
            given: dict[str, Tensor] = {}
            for key, count, signed in part.free:
                numbers = x[found.ties[key]]
                given[key] = numbers if count == signed else numbers.reshape(2, -1)
            if part.absorbed is not None:
                node = part.geometry.region.nodes[-1]
                given[node.name] = closing(node, behind.expand(len(part.absorbed)))
            return Piece(
                start=part.start, stop=part.stop, proof=Proof.GRID, metric=metric, multipliers=given, grid=part.grid
            )
        case Tail():
            given = {}
            for key, _, _ in part.free:
                name = key.removeprefix("inverse:")
                given[name] = multipliers(part, name, x[found.ties[key]])
            last = part.region.nodes[-1]
            if isinstance(last.kind, Vector):
                given[last.name] = torch.full((1,), 1 + SLACK, dtype=torch.float64)
            return Piece(start=part.start, stop=part.stop, proof=Proof.DENSE, metric=metric, multipliers=given)
        case Plain():
            return Piece(start=part.start, stop=part.stop, proof=Proof.PRODUCT, metric=metric)


def scaled(wanted: Program, x: Float[Tensor, " variables"]) -> tuple[Program, Float[Tensor, " variables"]]:
    """The same program in variables that are 1 at x (where x is 0: unchanged), with forms of unit diagonal there.

    Args:
        wanted: the program.
        x: a strictly feasible point.

    Returns:
        The program and the factor of each variable.
    """
    factor = x.clone()
    for _, first, last in wanted.names:  # those that are 0 are of the size of their neighbours
        factor[first:last] = torch.where(x[first:last] > 0, x[first:last], x[first:last].mean())
    blocks: list[Block] = []
    for one in wanted.blocks:
        diagonal = one.constant.diagonal(dim1=1, dim2=2).real + (one.left * one.right.conj()).real @ x[one.ties]
        rows = diagonal.rsqrt()[:, :, None]
        columns = factor[one.ties].sqrt()
        left, right, constant = rows * one.left * columns, rows * one.right * columns, rows * one.constant * rows.mT
        blocks.append(dataclasses.replace(one, constant=constant, left=left, right=right))
    capped = _caps(blocks, len(x))
    return dataclasses.replace(wanted, blocks=(*blocks, *capped)), factor


def _caps(blocks: list[Block], count: int) -> list[Block]:
    """x_k <= 4 for the variables (1 at the start) that no form bounds: those of units without input or output."""
    bounded = torch.zeros(count, dtype=torch.bool)
    bounded[0] = True  # rho is minimized
    for one in blocks:
        apart = (one.left - one.right).abs().amax((0, 1)) > 1e-12 * one.left.abs().amax((0, 1))
        bounded[one.ties[apart]] = True
    loose = (~bounded).nonzero().squeeze(1)
    if len(loose) == 0:
        return []
    eye = torch.eye(len(loose), dtype=torch.float64)[None]
    return [Block(constant=4 * eye, left=eye, right=-eye, ties=loose, weights=torch.ones(1, dtype=torch.float64))]
