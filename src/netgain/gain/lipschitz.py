"""The Lipschitz constant of a network, enclosed from both sides: all methods that apply, and the tightest of each."""

import dataclasses
import time
from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from netgain.core.errors import UsageError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.results import Enclosure, tightest
from netgain.core.rounding import check_arithmetic
from netgain.gain.absolute import AbsoluteProduct
from netgain.gain.layers import LayerGain, layer_gains
from netgain.gain.lower import Ascent
from netgain.gain.product import Product
from netgain.gain.rescaled import Rescaled
from netgain.gain.result import GainBound
from netgain.network.fold import fold
from netgain.network.graph import Network

Method = Callable[[Network, Norm, Mapping[str, LayerGain]], GainBound]


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Everything that bounding a network found.

    Attributes:
        network: the network with neighbouring affine nodes merged; node names refer to it.
        norm: the norm of inputs and outputs.
        enclosure: the tightest proved lower and upper bound of the global Lipschitz constant.
        layers: factor, norm and share of each node.
        bounds: the upper bound of each method, tightest first.
    """

    network: Network
    norm: Norm
    enclosure: Enclosure
    layers: dict[str, LayerGain]
    bounds: tuple[GainBound, ...]


def methods(norm: Norm) -> tuple[Method, ...]:
    """The upper-bound methods that apply in a norm, cheapest first.

    Args:
        norm: the norm of inputs and outputs.
    """
    if norm is Norm.L2:
        return (Product(), AbsoluteProduct(), Rescaled())
    return (Product(), AbsoluteProduct())


def analyse(
    network: Network,
    norm: Norm | str = Norm.L2,
    *,
    seconds: float | None = None,
    seed: int = 0,
    starts: Float[Tensor, "batch *in"] | None = None,
    progress: Progress = silent,
) -> Analysis:
    """Enclose the global Lipschitz constant of a network and keep what was found on the way.

    Guarantee:
        enclosure.lower <= L <= enclosure.upper for the network in real numbers with the stored weights.

    Args:
        network: the network, as `netgain.read` returns it.
        norm: "l1", "l2" or "linf", of inputs and outputs.
        seconds: time to spend, about: half on the norms of convolutions, then on the dearer methods while enough is
            left, the rest on the search of the lower bound. Every bound stays proved, however short the time. None for
            a fixed amount of work, which gives the same result on every machine.
        seed: of the random starts.
        starts: inputs to start the search from as well, such as data.
        progress: told about each part.

    Returns:
        The enclosure with layers and bounds.

    Raises:
        UsageError: if `network` is not a Network, `norm` not one of the three, or `seconds` not positive.
    """
    measure = checked(network, norm, seconds)
    check_arithmetic()
    began = time.monotonic()
    network = fold(network)
    layers = layer_gains(network, measure, seconds=None if seconds is None else seconds / 2, progress=progress)
    normed = time.monotonic() - began
    bounds: list[GainBound] = []
    applicable = methods(measure)
    for done, method in enumerate(applicable):
        progress("upper bounds", done, len(applicable))
        # A dear method proves the norms once more.
        if bounds and seconds is not None and time.monotonic() - began + 1.5 * normed > seconds:
            break
        bounds.append(method(network, measure, layers))
    progress("upper bounds", len(applicable), len(applicable))
    left = None if seconds is None else max(0.1, seconds - (time.monotonic() - began))
    progress("lower bound", 0, 1)
    gains = {name: layer.factor for name, layer in layers.items()} if measure is Norm.L2 else None
    lower = Ascent(seconds=left)(network, measure, seed, starts=starts, gains=gains)
    progress("lower bound", 1, 1)
    bounds.sort(key=lambda found: found.bound.value)
    enclosure = Enclosure(lower, tightest(*(found.bound for found in bounds)))
    return Analysis(network, measure, enclosure, layers, tuple(bounds))


def lipschitz(
    network: Network,
    norm: Norm | str = Norm.L2,
    *,
    seconds: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Enclosure:
    """Enclose the global Lipschitz constant L = sup ||f(x) - f(y)|| / ||x - y|| of a network.

    Guarantee:
        lower <= L <= upper for the network in real numbers with the stored weights, rounding included.

    Args:
        network: the network, as `netgain.read` returns it.
        norm: "l1", "l2" or "linf", of inputs and outputs.
        seconds: time to spend, about; None for a fixed amount of work.
        seed: of the random starts.
        progress: told about each part.

    Returns:
        A proved lower and a proved upper bound.

    Cost:
        One operator norm a layer and a few thousand evaluations of the network.
    """
    return analyse(network, norm, seconds=seconds, seed=seed, progress=progress).enclosure


def checked(network: object, norm: Norm | str, seconds: float | None) -> Norm:
    """The norm, once the arguments are found usable.

    Args:
        network: what the caller passed.
        norm: the norm or its name.
        seconds: the time limit.

    Raises:
        UsageError: if one is not.
    """
    if isinstance(network, nn.Module):
        raise UsageError("an nn.Module was given: call netgain.read(model, example) first and pass what it returns")
    if not isinstance(network, Network):
        raise UsageError(f"expected a Network as netgain.read returns it, got {type(network).__name__}")
    if norm not in tuple(Norm):
        raise UsageError(f"norm must be one of {', '.join(Norm)}, got {norm!r}")
    if seconds is not None and not seconds > 0:
        raise UsageError(f"seconds must be positive, got {seconds}")
    return Norm(norm)
