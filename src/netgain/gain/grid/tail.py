r"""The dense end of a network behind its convolutions, as a form in the inverse weights of the cut in front.

Let y = a z + (b - a) y' at each elementwise node with slopes [a, b], y' having slopes [0, 1] and multiplier t. Each
z, and the output v, is then linear in the increments x at the cut and in all y': z = Z_x x + Z y', v = V_x x + V y'.
With weights d at the cut the condition is

    d |x|^2 - |v|^2 + sum_i t_i y'_i (y'_i - z_i) >= 0   for all x, y'.

A row of variables for v, elimination of x (d > 0) and scaling of y' by l = 1/t turn it into

    [ diag(l) - (diag(l) Z^T + Z diag(l)) / 2   diag(l) V^T ]
    [ V diag(l)                                 I           ]  -  sum_c (1/d_c) G_c G_c^T  >=  0,  G = [-Z_x / 2; V_x],

which is linear in l and in s = 1/d and has no rows for the pixels of the cut. It is convex together with forms in
front that hold 1/d as well.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.metric.program import Block
from netgain.gain.metric.region import Region, sector
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Node, Opaque, Sum, Vector

LARGEST = 2**26
"""Entries of a matrix behind the cut above which the end of a network counts as too large."""

NEGLIGIBLE = 1e-13
"""Singular values of a channel's matrix G_c below that share of the greatest are dropped."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tail:
    """The end of a network.

    Attributes:
        region: from the last cut on a grid to the output.
        channels: of the cut.
        rows: of each elementwise node, first and last + 1; the output's come first, later nodes before earlier ones.
        matrices: per node, Z_x and Z as (units, pixels of the cut) and (units, all y'); the output under "".
        ranges: b - a of each node's units.
    """

    region: Region
    channels: int
    rows: dict[str, tuple[int, int]]
    matrices: dict[str, tuple[Tensor, Tensor]]
    ranges: dict[str, Tensor]

    @property
    def start(self) -> str:
        """The cut in front."""
        return self.region.start

    @property
    def stop(self) -> str:
        """The network's output."""
        return self.region.stop

    @property
    def size(self) -> int:
        """Rows of the form."""
        return max(last for _, last in self.rows.values())

    @property
    def free(self) -> tuple[tuple[str, int, int], ...]:
        """The multipliers that are variables (as their inverse, for slopes [0, 1]), as for a stage."""
        rows = self.rows.items()
        return tuple((f"inverse:{key}", last - first, last - first) for key, (first, last) in rows if key)


def tail(region: Region) -> Tail:
    """The end of a network.

    Args:
        region: from a cut with channels to the output.

    Raises:
        NoSoundRuleError: if it is too large, or has a node that this form does not hold.
    """
    return _Reader(region).result()


def tail_block(found: Tail, ties: Mapping[str, Int[Tensor, " numbers"]], scale: int | None = None) -> Block:
    """The form of the end of a network.

    Args:
        found: the end.
        ties: the variables of each key, "inverse:NODE" of nodes and of the cut.
        scale: a variable for the output's rows instead of 1.
    """
    size, total = found.size, sum(last - first for key, (first, last) in found.rows.items() if key)
    outputs = found.rows[""][1]
    eye = torch.eye(size, dtype=torch.float64)
    inner = torch.zeros(size, total, dtype=torch.float64)  # of y', in the rows' order
    outer = torch.zeros(size, found.matrices[""][0].shape[1], dtype=torch.float64)
    for key, (first, last) in found.rows.items():
        before, between = found.matrices[key]
        factor = -0.5 if key else 1.0
        inner[first:last], outer[first:last] = factor * between, factor * before
    left = [eye[:, outputs:]]
    right = [eye[:, outputs:] + 2 * inner]
    tied = [ties[key] for key, _, _ in found.free]
    reduced, channel = _reduced(outer, found.channels)
    left.append(reduced)
    right.append(-reduced)
    tied.append(ties[f"inverse:{found.start}"][channel])
    constant = torch.zeros(size, size, dtype=torch.float64)
    if scale is None:
        constant[:outputs, :outputs] = torch.eye(outputs, dtype=torch.float64)
    else:
        left.append(eye[:, :outputs])
        right.append(eye[:, :outputs])
        tied.append(torch.full((outputs,), scale))
    stacked = [torch.cat(parts, 1).unsqueeze(0) for parts in (left, right)]
    weights = torch.ones(1, dtype=torch.float64)
    return Block(constant=constant[None], left=stacked[0], right=stacked[1], ties=torch.cat(tied), weights=weights)


def multipliers(found: Tail, key: str, inverse: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
    """Multipliers as a certificate has them, from the inverse ones for slopes [0, 1].

    Args:
        found: the end.
        key: the node.
        inverse: the program's variables; positive where the slope varies.
    """
    width = found.ranges[key]
    moving = width > 0
    return torch.where(moving, 1 / (inverse * torch.where(moving, width, 1.0).square()), 1.0)


def _reduced(matrix: Float[Tensor, "rows pixels"], channels: int) -> tuple[Tensor, Int[Tensor, " columns"]]:
    """Fewer columns with the same G_c G_c^T for each channel, and the channel of each."""
    parts: list[Tensor] = []
    owners: list[Tensor] = []
    largest = float(matrix.abs().max())
    for channel, part in enumerate(matrix.unflatten(1, (channels, -1)).unbind(1)):
        left, values, _ = torch.linalg.svd(part, full_matrices=False)
        kept = values > NEGLIGIBLE * largest
        parts.append(left[:, kept] * values[kept])
        owners.append(torch.full((int(kept.sum()),), channel))
    return torch.cat(parts, 1), torch.cat(owners)


class _Reader:
    """Runs the increments of all values through the end of a network."""

    def __init__(self, region: Region):
        shapes = region.network.shapes()
        self.region, self.channels = region, shapes[region.start][0]
        self.pixels = math.prod(shapes[region.start])
        self.moving = [node for node in region.nodes if isinstance(node.kind, Elementwise)]
        self.total = sum(math.prod(node.shape) for node in self.moving)
        outputs = math.prod(shapes[region.stop])
        if (self.total + outputs) * self.pixels > LARGEST:
            raise NoSoundRuleError(f"the matrices behind {region.start} are too large")
        self.rows = {"": (0, outputs)}
        first = outputs
        for node in reversed(self.moving):
            self.rows[node.name] = (first, first + math.prod(node.shape))
            first = self.rows[node.name][1]
        self.outputs = outputs
        self.values: dict[str, tuple[Tensor, Tensor]] = {}
        self.matrices: dict[str, tuple[Tensor, Tensor]] = {}
        self.ranges: dict[str, Tensor] = {}

    def result(self) -> Tail:
        """Add all nodes."""
        for node in self.region.nodes:
            self.values[node.name] = self._node(node)
        self.matrices[""] = self.values[self.region.stop]
        return Tail(self.region, self.channels, self.rows, self.matrices, self.ranges)

    def _node(self, node: Node) -> tuple[Tensor, Tensor]:
        """The value of one node over x and over all y'."""
        match node.kind:
            case Affine(map=linear_map):
                if node.inputs[0] == self.region.start:
                    if linear_map.in_size * linear_map.out_size > LARGEST:
                        raise NoSoundRuleError(f"the matrix of {node.source} is too large")
                    matrix = linear_map.matrix()
                    return matrix, torch.zeros(matrix.shape[0], self.total, dtype=torch.float64)
                before = torch.cat(self._inputs(node)[0], 1)
                image = linear_map.apply(before.T.reshape(-1, *linear_map.in_shape)).flatten(1).T
                return image[:, : self.pixels], image[:, self.pixels :]
            case Elementwise():
                return self._elementwise(node)
            case Vector(function=function):
                if node.name != self.region.stop:
                    raise NoSoundRuleError(f"{node.source} stands between dense nodes")
                gain = function.gain(Norm.L2)
                (before,) = self._inputs(node)
                return gain * before[0], gain * before[1]
            case Sum(scales=scales):
                pairs = list(zip(scales, self._inputs(node), strict=True))
                first, second = (torch.stack([s * pair[k] for s, pair in pairs]).sum(0) for k in (0, 1))
                return first, second
            case Concat(axis=axis):
                if axis != 0:
                    raise NoSoundRuleError(f"{node.source} joins along a later axis")
                pairs = self._inputs(node)
                return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
            case Bilinear() | Opaque():
                raise NoSoundRuleError(f"{node.source} has no factor")
            case _:
                assert_never(node.kind)

    def _inputs(self, node: Node) -> list[tuple[Tensor, Tensor]]:
        """The values that a node reads, none of which is the start itself."""
        if self.region.start in node.inputs:
            raise NoSoundRuleError(f"{node.source} reads the cut {self.region.start} without a matrix")
        return [self.values[name] for name in node.inputs]

    def _elementwise(self, node: Node) -> tuple[Tensor, Tensor]:
        """a z + (b - a) y'."""
        (before,) = self._inputs(node)
        centre, radius = sector(node)
        if not bool(torch.isfinite(centre + radius).all()):
            raise NoSoundRuleError(f"{node.source}: the slope is unbounded")
        low, width = centre - radius, 2 * radius
        self.matrices[node.name], self.ranges[node.name] = before, width
        between = low[:, None] * before[1]
        first, last = (end - self.outputs for end in self.rows[node.name])
        between[:, first:last] += torch.diag(width)
        return low[:, None] * before[0], between
