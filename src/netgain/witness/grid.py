"""The factor of a convolutional piece: metric pullback with one Hermitian form a frequency of a circulant grid.

docs/theory/grid_pullback.md has the statement, the conditions of soundness and the proofs.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.rounding import check_arithmetic, tensor_up
from netgain.network.graph import Network
from netgain.witness.certificate import Piece
from netgain.witness.factor import Factor, factor
from netgain.witness.form import Form, begin, elementwise, gain, groups, substitute
from netgain.witness.operators import Matrix, Part, multiple
from netgain.witness.pieces import between
from netgain.witness.steps import Added, Filtered, Joined, Limited, Plan, Sloped, Sorted, Step, plan, weights
from netgain.witness.symbols import symbol

# Bytes for the forms of the blocks looked at together, and how many matrices of a form's size are alive at once.
_MEMORY, _COPIES = 2**28, 16
# Rows of the largest form: beyond it a piece has to be cut.
LARGEST_FORM = 4096


def grid_factor(network: Network, piece: Piece, stop_metric: Float[Tensor, " weights"]) -> Factor:
    """The smallest alpha that is proved with ||D stop||^2_stop_metric <= alpha ||D start||^2_metric for a grid piece.

    Increments of all values are continued from their true grids to quasi-periodic sequences on the lattice, where
    convolutions are diagonal in frequency. Each block of tied frequencies has one form over its channels and aliases,
    which is pulled back from the stop to the start with the same multipliers; alpha is the largest factor of a block.

    Guarantee: an upper bound for all pairs of inputs of the network, rounding and the uncertainty of weights included
        (symbols.ASSUMPTION about sine and cosine).

    Args:
        network: the folded network.
        piece: a piece of proof GRID whose start and stop cut the network.
        stop_metric: positive weights behind the piece: one number, one a channel of its stop, or one an entry that is
            the same at all pixels of a channel.

    Returns:
        The factor, of the squares.

    Raises:
        NoSoundRuleError: if a node of the piece has no rule on a grid.
        RefusedCertificateError: if the grid is too small or does not fit the strides, if a mask or a multiplier is
            missing, superfluous, not positive or does not exceed the form behind its node.

    Cost:
        For each block some products and factorizations of matrices of (channels x aliases) rows. No dependence on the
        number of pixels but through the number of blocks.
    """
    check_arithmetic()
    found = plan(network, piece, between(network, piece.start, piece.stop))
    metric = weights(piece.metric, found.places[piece.start].channels, f"the metric at {piece.start}")
    behind = _closed(found, _channels(stop_metric, network.shapes()[piece.stop], piece.stop), piece.stop)
    blocks, rows = found.lattice.representatives(), _largest(found)
    if rows > LARGEST_FORM:
        raise RefusedCertificateError(f"the forms from {piece.start} to {piece.stop} have {rows} > {LARGEST_FORM} rows")
    each = max(1, _MEMORY // (16 * _COPIES * rows**2))
    factors = [
        factor(_start(found, behind, part), _repeated(found, piece.start, metric)) for part in blocks.split(each)
    ]
    return max(factors, key=_order)


def _order(one: Factor) -> tuple[float, float]:
    """Sorts factors by size."""
    mantissa, exponent = math.frexp(one.value)
    return (float(exponent + one.exponent) if one.value else -math.inf, mantissa)


def _channels(metric: Float[Tensor, " weights"], shape: tuple[int, ...], stop: str) -> Float[Tensor, " channels"]:
    """The metric at the stop, one number a channel."""
    what = f"the metric at {stop}"
    if metric.numel() == math.prod(shape) != shape[0]:
        pixels = metric.reshape(shape[0], -1)
        if not bool((pixels == pixels[:, :1]).all()):
            raise RefusedCertificateError(f"{what} differs between pixels of a channel")
        metric = pixels[:, 0]
    return weights(metric, shape[0], what)


def _closed(found: Plan, metric: Float[Tensor, " channels"], stop: str) -> Float[Tensor, " channels"]:
    """The metric at the end of the steps, where a last node with a gain is left out: g^2 T for its multiplier T."""
    if found.closing is None:
        return metric
    if not bool((found.closing.multiplier >= metric).all()):
        raise RefusedCertificateError(f"the multipliers of {stop} do not exceed the metric behind it")
    return _squares(found.closing).expand(found.places[found.stop].channels)


def _squares(limit: Limited) -> Tensor:
    """T g^2, rounded up."""
    return tensor_up(limit.multiplier * math.nextafter(limit.gain * limit.gain, math.inf))


def _start(found: Plan, metric: Float[Tensor, " channels"], blocks: Int64[Tensor, "block axis"]) -> Form:
    """The forms of some blocks, pulled back from the stop to the start."""
    matrix = torch.diag(_repeated(found, found.stop, metric)).to(torch.complex128)
    form = begin(found.stop, matrix.expand(len(blocks), -1, -1))
    for step in reversed(found.steps):
        if step.name in form.variables:
            form = _back(found, step, form, blocks)
    return form


def _back(found: Plan, step: Step, form: Form, blocks: Int64[Tensor, "block axis"]) -> Form:
    """The forms in front of one step."""
    name, source = step.name, step.inputs[0]
    match step.action:
        case Filtered(taps=taps):
            value, error = symbol(found.lattice, taps, found.places[source], found.places[name], blocks)
            return substitute(form, name, [(source, Matrix(value, error[None] if bool(error.any()) else None))])
        case Added(scales=scales):
            size = form.variables[name]
            pairs = zip(step.inputs, scales, strict=True)
            return substitute(form, name, [(one, multiple(size, scale)) for one, scale in pairs])
        case Joined():
            sizes = [found.size(one) for one in step.inputs]
            entries = torch.arange(sum(sizes)).split(sizes)
            pairs = zip(step.inputs, entries, strict=True)
            return substitute(form, name, [(one, Part(index, sum(sizes))) for one, index in pairs])
        case Sloped(low=low, high=high, multiplier=multiplier):
            slopes = (_repeated(found, name, low), _repeated(found, name, high))
            return elementwise(form, name, source, slopes, _repeated(found, name, multiplier), name)
        case Limited(multiplier=multiplier):
            before = (source, found.size(source))
            squares = _repeated(found, source, _squares(step.action))
            return gain(form, name, before, _repeated(found, name, multiplier), squares, name)
        case Sorted(lam=lam, gamma=gamma):
            aliases = found.aliases(name)
            entries = torch.arange(form.variables[name]).reshape(len(lam), -1, aliases).transpose(1, 2).flatten(0, 1)
            rows = torch.stack([lam, gamma]).repeat_interleave(aliases, 1)
            return groups(form, name, source, entries, rows, name)


def _repeated(found: Plan, name: str, numbers: Tensor) -> Float[Tensor, " entries"]:
    """Numbers of channels for all entries of a value in a block."""
    return numbers.expand(found.places[name].channels).repeat_interleave(found.aliases(name))


def _largest(found: Plan) -> int:
    """The most rows that a form has on the way from stop to start."""
    live = {found.stop}
    largest = found.size(found.stop)
    for step in reversed(found.steps):
        if step.name in live:
            live = live - {step.name} | set(step.inputs)
            # The value and what it is made of are alive together.
            largest = max(largest, sum(found.size(name) for name in live | {step.name}))
    return largest
