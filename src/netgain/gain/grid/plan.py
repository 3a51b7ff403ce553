"""How a network is cut into convolutional stages, a dense end and the rest."""

import dataclasses
from collections.abc import Mapping

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.grid.geometry import Geometry, channelwise, geometry
from netgain.gain.grid.joint import Joint, Part, Plain, joint
from netgain.gain.grid.stage import Stage, stage
from netgain.gain.grid.tail import tail
from netgain.gain.metric.region import cuts, region
from netgain.gain.recursion import node_gains
from netgain.network.graph import Network, Vector
from netgain.witness.certificate import Grid

LARGEST = 1024
"""Rows of a form above which a single part between neighbouring cuts counts as too large."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """How the grids are chosen.

    Attributes:
        rows: rows of a form up to which neighbouring parts are joined.
        shifts: shift of the frequencies of each axis; the last stands for the axes behind as well.
        more: by how many steps each grid is larger than it must be, likewise.
    """

    rows: int
    shifts: tuple[float, ...] = (0.5,)
    more: tuple[int, ...] = (0,)

    def grid(self, found: Geometry) -> Grid:
        """The grid of a piece.

        Args:
            found: its geometry.
        """
        axes = range(len(found.sizes))
        extra = (self.more[min(axis, len(self.more) - 1)] * found.step[axis] for axis in axes)
        shifts = tuple(self.shifts[min(axis, len(self.shifts) - 1)] for axis in axes)
        return Grid(sizes=tuple(n + more for n, more in zip(found.sizes, extra, strict=True)), shifts=shifts)


def plan(network: Network, factors: Mapping[str, float], choice: Choice) -> Joint:
    """The parts of a network.

    Stages are made as long as their forms stay small, and end behind pooling, where a cut costs nothing. What acts on
    no grid is the dense end if it is one, else its gain alone is used.

    Args:
        network: the folded network.
        factors: proved Lipschitz factors of the nodes with one input.
        choice: how the grids are chosen.

    Raises:
        NoSoundRuleError: if no part of the network acts on a grid.
    """
    names = cuts(network)
    parts: list[Part] = []
    place = 0
    while place < len(names) - 1:
        found = _longest(network, names[place:], choice)
        if found is not None:
            part: Part = found[1]
            place += found[0]
        else:
            part, length = _other(network, names[place:], parts, factors)
            place += length
        parts.append(part)
    if not any(isinstance(part, Stage) for part in parts):
        raise NoSoundRuleError("no part of the network acts on a grid by kernels that are the same at all points")
    shapes = network.shapes()
    return joint(tuple(parts), {name: shapes[name][0] for name in names})


def _longest(network: Network, names: tuple[str, ...], choice: Choice) -> tuple[int, Stage] | None:
    """The longest stage behind the first cut whose form stays small, and to which cut it leads."""
    best: tuple[int, Stage] | None = None
    for length in range(1, len(names)):
        try:
            found = geometry(region(network, names[0], names[length]))
            one = stage(found, choice.grid(found))
        except NoSoundRuleError:
            break
        if one.size > (LARGEST if best is None else max(choice.rows, best[1].size)):
            break
        best = (length, one)
        kind = found.region.nodes[-1].kind
        if isinstance(kind, Vector) and channelwise(kind.function):
            break
    return best


def _other(
    network: Network, names: tuple[str, ...], parts: list[Part], factors: Mapping[str, float]
) -> tuple[Part, int]:
    """What follows where no stage does, and how many cuts it spans."""
    if parts and isinstance(parts[-1], Stage):
        try:
            return tail(region(network, names[0], names[-1])), len(names) - 1
        except NoSoundRuleError:
            pass  # its product bound is used instead, part by part
    between = region(network, names[0], names[1])
    shape = network.shapes()[names[0]]
    piece = dataclasses.replace(network, input=names[0], input_shape=shape, nodes=between.nodes, output=names[1])
    return Plain(names[0], names[1], node_gains(piece, Norm.L2, factors)[names[1]]), 1
