"""The Jacobian of a network at inputs, entry by entry with proved errors, its norm, and where it has none."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import DataMismatchError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.results import Enclosure
from netgain.core.rounding import norm_lower, norm_upper, tensor_down, tensor_up
from netgain.gain.gated import Factors, factors, matrix_norm
from netgain.gain.lipschitz import checked
from netgain.network.fold import fold
from netgain.network.graph import Elementwise, Network
from netgain.propagate.derivative import interval_jacobian, slopes
from netgain.propagate.ranges import Ranges, interval_ranges
from netgain.propagate.region import ball

JACOBIAN_NORM = "Jacobian norm"
HERE = "at one input"
# A slope known to this relative width is one number for the purpose of naming kinks; wider, it is a range.
_WIDTH = 1e-6


@dataclasses.dataclass(frozen=True)
class OpenUnit:
    """A unit whose slope at an input is a range: it is at a kink, or so near that rounding hides on which side.

    Attributes:
        node: name of the elementwise node.
        source: its operation and the user's line.
        index: of the unit in the node's shape.
        low: least slope.
        high: greatest slope.
    """

    node: str
    source: str
    index: tuple[int, ...]
    low: float
    high: float

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index))
        return f"unit ({place}) of {self.node}, {self.source}: slope in [{self.low:.6g}, {self.high:.6g}]"


@dataclasses.dataclass(frozen=True, repr=False)
class Jacobian:
    """Jacobians of a network at inputs, one a row.

    Guarantee:
        For each row |true Jacobian - matrix| <= error entry by entry, for the network in real numbers. At a kink or a
        tie every generalized Jacobian (Clarke) is meant, and `open_units` names the units; the function may still be
        smooth there, as relu(x) - relu(-x) - x is.

    Attributes:
        network: the network whose node names are used: folded.
        x: the inputs.
        norm: of inputs and outputs.
        value: the outputs, computed in float64.
        matrix: ordinary float64 numbers, outputs and inputs flat.
        error: entrywise bounds; infinite where nothing is known.
        norms: the operator norm of each row's Jacobian, proved from both sides.
        open_units: for each row the units whose slope is a range and which the output depends on.
        ranges: proved boxes of all values.
    """

    network: Network
    x: Float[Tensor, "batch *in"]
    norm: Norm
    value: Float[Tensor, "batch *out"]
    matrix: Float[Tensor, "batch out in"]
    error: Float[Tensor, "batch out in"]
    norms: tuple[Enclosure, ...]
    open_units: tuple[tuple[OpenUnit, ...], ...]
    ranges: Ranges

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        outputs, inputs = self.matrix.shape[1:]
        unclear = sum(bool(units) for units in self.open_units)
        kinks = f", {unclear} at kinks" if unclear else ""
        return f"<Jacobian {len(self)} of {outputs} x {inputs}{kinks}, norms {self.norm}, proved>"

    def sensitivity(self, output: int | None = None) -> Float[Tensor, "batch *in"]:
        """How one output reacts to each input: its row of the Jacobian, in the input's shape.

        Args:
            output: its flat index; None for the greatest output of each row.
        """
        chosen = self.winners() if output is None else torch.full((len(self),), output)
        return self.matrix[torch.arange(len(self)), chosen].reshape(self.x.shape)

    def winners(self) -> Tensor:
        """The flat index of the greatest output of each row."""
        return self.value.flatten(1).argmax(1)

    def column_norms(self) -> tuple[Float[Tensor, "batch *in"], Float[Tensor, "batch *in"]]:
        """For each input k, ||J e_k|| enclosed: how much the output moves for a change of this input alone."""
        size = self.matrix.abs()
        least, most = tensor_down(size - self.error).clamp_min(0.0), tensor_up(size + self.error)
        ends = (least.mT.flatten(0, 1), most.mT.flatten(0, 1))
        return (
            norm_lower(ends[0], self.norm).reshape(self.x.shape),
            norm_upper(ends[1], self.norm).reshape(self.x.shape),
        )

    def factors(self, row: int = 0) -> Factors:
        """The Jacobian of one row taken apart, J = W_L D_L ... D_1 W_1: each factor, their product, and what it loses.

        Args:
            row: which input.
        """
        return factors(self.ranges, row, self.norm)

    def words(self, row: int = 0) -> str:
        """What the Jacobian of a row is, in words.

        Args:
            row: which input.
        """
        units = self.open_units[row]
        if not units:
            return "the Jacobian, within the stated error"
        named = "; ".join(map(str, units[:3]))
        more = f"; and {len(units) - 3} more" if len(units) > 3 else ""
        return (
            "not differentiable here, or not decided within rounding: an enclosure of every generalized Jacobian "
            f"({named}{more})"
        )


def jacobian(network: Network, x: Tensor, norm: Norm | str = Norm.L2) -> Jacobian:
    """The Jacobian of a network at inputs, with proved errors and its operator norm enclosed.

    Each value is known up to a proved rounding error, so each slope lies in a small range; the chain rule is then
    multiplied out in interval arithmetic from the outputs back to the input.

    Guarantee:
        As in `Jacobian`. Where a slope is a range (a kink, a tie), the interval holds every generalized Jacobian.

    Args:
        network: the network, as `netgain.read` returns it.
        x: inputs, a batch or one of them; widened to float64 without error.
        norm: "l1", "l2" or "linf", of inputs and outputs.

    Returns:
        Matrices, errors, norms and kinks, one a row.

    Raises:
        NoSoundRuleError: if an operation has no proved rule.
        DataMismatchError: if the shape is not the network's.
        DataError: if an input is not finite.
        UsageError: if `network` is not a Network, or `norm` none of the three.

    Cost:
        About ten evaluations of the transposed network for each output, and one norm of an (outputs x inputs) matrix.

    Example:
        >>> import netgain, torch
        >>> net = netgain.read(torch.nn.Sequential(torch.nn.Linear(2, 1)), (2,))
        >>> netgain.jacobian(net, torch.zeros(2)).matrix.shape
        torch.Size([1, 1, 2])
    """
    measure = checked(network, norm, None)
    inputs = _batch(network, x)
    network = fold(network)
    ranges = interval_ranges(network, ball(inputs, 0.0, measure))
    found = interval_jacobian(ranges)
    matrix, error = found.halves()
    return Jacobian(
        network=network,
        x=inputs,
        norm=measure,
        value=ranges.boxes[network.output].halves()[0],
        matrix=matrix,
        error=error,
        norms=tuple(_named(matrix_norm(_only(found, row), measure)) for row in range(len(inputs))),
        open_units=open_units(ranges),
        ranges=ranges,
    )


def _named(found: Enclosure) -> Enclosure:
    """The norm of a matrix as that of a Jacobian at an input."""
    low, high = (dataclasses.replace(side, quantity=JACOBIAN_NORM, region=HERE) for side in (found.lower, found.upper))
    return Enclosure(low, high)


def open_units(ranges: Ranges) -> tuple[tuple[OpenUnit, ...], ...]:
    """For each region the units whose slope there is a range.

    Args:
        ranges: boxes of single points.
    """
    found: list[list[OpenUnit]] = [[] for _ in range(len(ranges.region))]
    for node in ranges.network.nodes:
        if not isinstance(node.kind, Elementwise):
            continue
        slope = slopes(ranges, node)
        for place in (~_narrow(slope)).nonzero().tolist():
            row, *index = place
            low, high = float(slope.lo[tuple(place)]), float(slope.hi[tuple(place)])
            found[row].append(OpenUnit(node.name, str(node.source), tuple(index), low, high))
    return tuple(map(tuple, found))


def _narrow(slope: Interval) -> Tensor:
    """Where a slope is one number but for rounding."""
    size = torch.maximum(slope.lo.abs(), slope.hi.abs()).clamp_min(1.0)
    return slope.lo.isfinite() & slope.hi.isfinite() & (slope.hi - slope.lo <= _WIDTH * size)


def _only(x: Interval, row: int) -> Interval:
    """One row, as a batch."""
    return Interval(x.lo[row : row + 1], x.hi[row : row + 1])


def _batch(network: Network, x: Tensor) -> Float[Tensor, "batch *in"]:
    """The inputs as a batch in float64."""
    shape = tuple(x.shape)
    if shape == network.input_shape:
        return x.detach().double().unsqueeze(0)
    if shape[1:] != network.input_shape:
        raise DataMismatchError(f"inputs of shape {shape} given, the network takes (batch, *{network.input_shape})")
    return x.detach().double()
