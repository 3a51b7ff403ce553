"""What is known of each input while a cascade runs."""

import dataclasses
import math
import time
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.certification.scores import Scored
from netgain.core.record import DecisionInfo

GLOBAL = "global"


@dataclasses.dataclass(kw_only=True)
class Work:
    """What one method did so far.

    Attributes:
        tried: inputs that it was tried on.
        seconds: the time it took.
        left_out: inputs that the limit of work or time kept from it.
        note: why it does not apply; "" where it does.
    """

    tried: set[int] = dataclasses.field(default_factory=set)
    left_out: set[int] = dataclasses.field(default_factory=set)
    seconds: float = 0.0
    note: str = ""


class Standing:
    """Radii, their methods, and what attacks broke, for all inputs; it only ever improves.

    Attributes:
        labels: the true classes.
        predictions: the predicted ones.
        margins: proved at the inputs themselves.
        radii: the largest proved so far.
        methods: what proved them, a place in `names`.
        broken: the least epsilon at which an attack succeeded; infinite where none did.
        names: of methods; the first, "", for no radius, the second for the global gain.
        works: by name, what each method did.
    """

    def __init__(self, labels: Int[Tensor, " samples"], first: Scored, tiers: Sequence[str], seconds: float):
        self.labels = labels
        self.predictions, self.margins = first.predictions, first.margins
        self.radii = first.radii.clone()
        self.names = ("", GLOBAL, *tiers)
        self.methods = (self.radii > 0).long()
        self.broken = torch.full_like(self.radii, math.inf)
        self.works = {name: Work() for name in self.names[1:]}
        self.works[GLOBAL] = Work(tried=set(range(len(labels))), seconds=seconds)

    @property
    def worth(self) -> Bool[Tensor, " samples"]:
        """Inputs on which more is tried: classified correctly, and proved so at the input itself."""
        return (self.predictions == self.labels) & (self.margins > 0)

    def proved(self, name: str, rows: Int[Tensor, " rows"], radii: Float[Tensor, " rows"]) -> None:
        """Keep radii that a method proved, where they are larger than what is known.

        Args:
            name: of the method.
            rows: which inputs.
            radii: theirs.
        """
        better = radii > self.radii[rows]
        self.radii[rows[better]] = radii[better]
        self.methods[rows[better]] = self.names.index(name)

    def broke(self, rows: Int[Tensor, " rows"], epsilon: float) -> None:
        """An attack succeeded on these inputs within this radius."""
        self.broken[rows] = self.broken[rows].clamp_max(epsilon)

    def infos(self) -> tuple[DecisionInfo, ...]:
        """What each method did."""
        counts = torch.bincount(self.methods, minlength=len(self.names)).tolist()
        return tuple(
            DecisionInfo(
                name=name,
                inputs=counts[self.names.index(name)],
                tried=len(work.tried),
                seconds=work.seconds,
                note=work.note or _left_out(work),
            )
            for name, work in self.works.items()
        )


def _left_out(work: Work) -> str:
    """How many inputs a limit kept from a method."""
    count = len(work.left_out - work.tried)
    return f"{count} open inputs left out by the limit of work; --seconds gives more" if count else ""


class Clock:
    """Adds the time of a `with` block to a method's."""

    def __init__(self, work: Work):
        self._work = work

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._work.seconds += time.monotonic() - self._began
