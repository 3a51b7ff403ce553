"""The Lipschitz constant of a network, enclosed from both sides: all methods that apply, and the tightest of each."""

import dataclasses
import time
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from netgain.core.errors import UsageError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.results import Bound, Enclosure, Side, tightest
from netgain.core.rounding import check_arithmetic
from netgain.gain.automatic import Automatic
from netgain.gain.claims import certificate
from netgain.gain.layers import LayerGain, layer_gains
from netgain.gain.lower import Ascent
from netgain.gain.methods import AUTO, METHODS
from netgain.gain.result import GainBound, Run
from netgain.network.fold import fold
from netgain.network.graph import Network
from netgain.witness.certificate import Certificate, Claim


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Everything that bounding a network found.

    Attributes:
        original: the network as it was given.
        network: the network with neighbouring affine nodes merged; node names refer to it.
        norm: the norm of inputs and outputs.
        enclosure: the tightest proved lower and upper bound of the global Lipschitz constant.
        layers: factor, norm and share of each node.
        bounds: the upper bound of each method, tightest first.
        runs: what each method did, in order.
        interrupted: whether Ctrl-C ended the search; what is here was proved by then.
        pairs: bounds of differences of two outputs with their multipliers, where they were asked for.
    """

    original: Network
    network: Network
    norm: Norm
    enclosure: Enclosure
    layers: dict[str, LayerGain]
    bounds: tuple[GainBound, ...]
    runs: tuple[Run, ...] = ()
    interrupted: bool = False
    pairs: tuple[Claim, ...] = ()

    @property
    def claimed(self) -> GainBound | None:
        """The tightest bound that has multipliers for a certificate."""
        return next((found for found in self.bounds if found.claim is not None), None)

    def certificate(self) -> Certificate:
        """The tightest bound that can be written down, and the pairs, for `save_certificate` and `verify`."""
        return certificate(self.original, self.network, self.norm, self.bounds, self.pairs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard to look.

    Attributes:
        method: "auto" for all that apply, from cheap to dear, or the name of one method.
        seconds: time to spend, about: at most a third on the norms of layers, a fifth on the lower bound, the rest on
            upper bounds. Every bound stays proved, however short the time. None for a fixed amount of work, which gives
            the same result on every machine.
        seed: of the random starts.
    """

    method: str = AUTO
    seconds: float | None = None
    seed: int = 0

    def half(self) -> "Effort":
        """The same with half the time."""
        return dataclasses.replace(self, seconds=None if self.seconds is None else self.seconds / 2)


def analyse(
    network: Network,
    norm: Norm | str = Norm.L2,
    *,
    effort: Effort | None = None,
    starts: Float[Tensor, "batch *in"] | None = None,
    progress: Progress = silent,
) -> Analysis:
    """Enclose the global Lipschitz constant of a network and keep what was found on the way.

    Ctrl-C ends the search, not the call: once the norms of the layers are known there is an enclosure, and the tightest
    by then is returned.

    Guarantee:
        enclosure.lower <= L <= enclosure.upper for the network in real numbers with the stored weights.

    Args:
        network: the network, as `netgain.read` returns it.
        norm: "l1", "l2" or "linf", of inputs and outputs.
        effort: method, time and seed.
        starts: inputs to start the search of the lower bound from as well, such as data.
        progress: told about each part.

    Returns:
        The enclosure with layers and bounds.

    Raises:
        NoSoundRuleError: if an operation has no proved rule, or the one method asked for does not apply.
        UsageError: if `network` is not a Network, or `norm`, the method or the time is not usable.
    """
    effort = effort or Effort()
    seconds = effort.seconds
    measure = checked(network, norm, seconds, effort.method)
    check_arithmetic()
    began = time.monotonic()
    original, network = network, fold(network)
    layers = layer_gains(network, measure, seconds=None if seconds is None else seconds / 3, progress=progress)
    search = Automatic(network, measure, layers, progress)
    search.run("product", METHODS["product"])
    lower = _lower(search, effort, starts, (network, measure, layers), progress)
    left = None if seconds is None else max(0.1, seconds - (time.monotonic() - began))
    if not search.interrupted:
        if effort.method == AUTO:
            search.all(left, lower)
        elif effort.method != "product":
            search.run(effort.method, METHODS[effort.method], left)
    found = search.found()
    bounds = found.bounds
    if effort.method != AUTO:  # the product stands in only where the method was interrupted
        bounds = tuple(one for one in bounds if one.bound.method == effort.method) or bounds
    enclosure = Enclosure(lower, tightest(*(one.bound for one in bounds)))
    return Analysis(original, network, measure, enclosure, layers, bounds, found.runs, found.interrupted)


def _lower(
    search: Automatic,
    effort: Effort,
    starts: Tensor | None,
    about: tuple[Network, Norm, Mapping[str, LayerGain]],
    progress: Progress,
) -> Bound:
    """The lower bound; 0 where Ctrl-C comes first."""
    network, norm, layers = about
    progress("lower bound", 0, 1)
    gains = {name: layer.factor for name, layer in layers.items()} if norm is Norm.L2 else None
    seconds = None if effort.seconds is None else effort.seconds / 5
    try:
        found = Ascent(seconds=seconds)(network, norm, effort.seed, starts=starts, gains=gains)
    except KeyboardInterrupt:
        search.interrupted = True
        found = Bound(value=0.0, side=Side.LOWER, quantity="Lipschitz constant", norm=norm, method="interrupted")
    progress("lower bound", 1, 1)
    return found


def lipschitz(
    network: Network,
    norm: Norm | str = Norm.L2,
    *,
    method: str = AUTO,
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
        method: how the upper bound is found: "auto" for all that apply, from cheap to dear, or one by name, such as
            "product", "lbfgs" or "newton" (`netgain bound --help` lists them).
        seconds: time to spend, about; None for a fixed amount of work.
        seed: of the random starts.
        progress: told about each part.

    Returns:
        A proved lower and a proved upper bound. Ctrl-C ends the search and returns the tightest by then.

    Raises:
        NoSoundRuleError: if an operation has no proved rule, or the one method asked for does not apply.
        UsageError: if an argument is not usable.

    Cost:
        One operator norm a layer, a few thousand evaluations of the network, and what the method says.
    """
    effort = Effort(method=method, seconds=seconds, seed=seed)
    return analyse(network, norm, effort=effort, progress=progress).enclosure


def checked(network: object, norm: Norm | str, seconds: float | None, method: str = AUTO) -> Norm:
    """The norm, once the arguments are found usable.

    Args:
        network: what the caller passed.
        norm: the norm or its name.
        seconds: the time limit.
        method: the method or "auto".

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
    if method != AUTO and Norm(norm) not in METHODS[method].norms:
        raise UsageError(f"the method {method!r} is for {', '.join(METHODS[method].norms)}, not for {norm}")
    return Norm(norm)
