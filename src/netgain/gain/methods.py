"""The upper-bound methods by name: what each applies to and costs. A new method is its own file and a line here."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Protocol

from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.registry import Registry
from netgain.gain.absolute import AbsoluteProduct
from netgain.gain.centred import Centred
from netgain.gain.grid.method import Convolutional, search_work
from netgain.gain.layers import LayerGain
from netgain.gain.metric.closed_form import ClosedForm
from netgain.gain.metric.lbfgs import LBFGS
from netgain.gain.metric.newton import Newton
from netgain.gain.product import Product
from netgain.gain.recursion import ancestors
from netgain.gain.rescaled import Rescaled
from netgain.gain.result import GainBound
from netgain.network.graph import Affine, Elementwise, Network, Vector

AUTO = "auto"


class Method(Protocol):
    """An upper bound of the global Lipschitz constant; a frozen dataclass of its hyperparameters."""

    @property
    def name(self) -> str:
        """As the registry of methods has it."""
        ...

    def __call__(
        self,
        network: Network,
        norm: Norm,
        layers: Mapping[str, LayerGain],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> GainBound:
        """The bound, proved.

        Args:
            network: the folded network.
            norm: the norm of inputs and outputs.
            layers: as `layer_gains` returns them.
            seconds: time to spend, about; None for a fixed amount of work.
            progress: told how far the search is; the text may hold the bound so far behind a colon.

        Raises:
            NoSoundRuleError: if the method does not apply: another norm, an operation it has no rule for, too large.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the registry.

    Attributes:
        make: makes the method; given the part of its usual effort, from `least` to 1.
        norms: the norms in which it says something of its own.
        work: about how many multiplications it takes with its usual effort.
        least: the smallest part of the effort with which it is useful.
        rank: methods of positive rank have one least bound in common, those of rank 2 can reach it, those of rank 1
            only come near; once it is reached the others are spared. 0 for all others.
        fallback: left out where a method with a certificate has a bound below the product.
    """

    make: Callable[[float], Method]
    norms: tuple[Norm, ...] = (Norm.L2,)
    work: Callable[[Network], float]
    least: float = 1.0
    rank: int = 0
    fallback: bool = False


def evaluation(network: Network) -> float:
    """About the multiplications of one evaluation on one input."""
    maps = (node.kind.map for node in ancestors(network) if isinstance(node.kind, Affine))
    return 1.0 + sum(one.terms * one.out_size for one in maps)


def sweeping(network: Network) -> float:
    """About the multiplications of one sweep of a quadratic form through the network, entry by entry."""
    total, shapes = 0.0, network.shapes()
    for node in ancestors(network):
        size, before = math.prod(node.shape), math.prod(shapes[node.inputs[0]])
        match node.kind:
            case Affine():
                total += float(size) * before * min(size, before)
            case Elementwise() | Vector():
                total += float(size) ** 3
            case _:
                pass
    return total


def stepping(network: Network) -> float:
    """About the multiplications of one Newton step on the multipliers of all entries."""
    sizes = [math.prod(node.shape) for node in ancestors(network) if isinstance(node.kind, Elementwise | Vector)]
    if not sizes:
        return 1.0
    total = float(sum(sizes)) + min(math.prod(network.input_shape), sizes[0])
    return 2 * total**3 + 4 * total**2 * max(sizes)


METHODS: Registry[Entry] = Registry("method")
_ALL = tuple(Norm)
METHODS.register("product")(Entry(make=lambda part: Product(), norms=_ALL, work=lambda network: 1.0))
METHODS.register("absolute product")(
    Entry(make=lambda part: AbsoluteProduct(), norms=_ALL, work=lambda network: 120 * evaluation(network))
)
METHODS.register("centred product")(
    Entry(
        make=lambda part: Centred(),
        norms=(Norm.L1, Norm.LINF),
        work=lambda network: 3 * math.prod(network.input_shape) * evaluation(network),
    )
)
METHODS.register("rescaled product")(
    Entry(make=lambda part: Rescaled(), work=lambda network: 3200 * evaluation(network), fallback=True)
)
METHODS.register("closed form")(
    Entry(make=lambda part: ClosedForm(), work=lambda network: 25 * sweeping(network), rank=1)
)
METHODS.register("lbfgs")(
    Entry(
        make=lambda part: LBFGS(evaluations=math.ceil(600 * part)),
        work=lambda network: 2400 * sweeping(network),
        least=0.05,
        rank=1,
    )
)
METHODS.register("newton")(Entry(make=lambda part: Newton(), work=lambda network: 45 * stepping(network), rank=2))
METHODS.register("convolutional")(Entry(make=lambda part: Convolutional(), work=search_work, rank=1))


def names() -> tuple[str, ...]:
    """What `method` may be: "auto", and each method by name."""
    return (AUTO, *METHODS)


def applicable(network: Network, norm: Norm) -> tuple[tuple[str, Entry], ...]:
    """The methods that say something in a norm, cheapest first for this network.

    Args:
        network: the folded network.
        norm: the norm of inputs and outputs.
    """
    found = [(name, METHODS[name]) for name in METHODS if norm in METHODS[name].norms]
    return tuple(sorted(found, key=lambda pair: (pair[1].fallback, pair[1].work(network))))
