"""What certification found: a radius an input, and the accuracies that follow."""

import dataclasses

from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.certification.attacks.attack import Attacked
from netgain.certification.proportions import rate
from netgain.core.norms import Norm
from netgain.core.record import DecisionInfo, Rate


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Certification:
    """What was proved, and what attacks found, for each input.

    The object certified is the real-number network: exact arithmetic with the stored weights.

    Attributes:
        norm: the norm of the radii.
        labels: the true classes.
        predictions: the predicted classes.
        radii: proved radius of each decision, in raw input units: no input nearer than or at this distance (and in the
            domain) is classified otherwise. 0 where the margin is within the evaluation error. Not reduced for wrong
            predictions, on which only the global gain is tried; see `robust_radii`.
        margins: proved lower bounds of the margin over the runner-up (0 where undecided).
        undecided: the winner is not proved at the input itself (ties and margins within the evaluation error).
        epsilon: the radii at which accuracy is reported.
        attacked: what the attack found on its subset, one an epsilon; empty without attack.
        cut: the last activation that was left out, "" if none.
        methods: for each input the name of what proved its radius; "" where nothing did.
        decisions: what each method did, in the order of the cascade.
        interrupted: whether Ctrl-C ended the work; what is here was proved by then.
    """

    norm: Norm
    labels: Int[Tensor, " samples"]
    predictions: Int[Tensor, " samples"]
    radii: Float[Tensor, " samples"]
    margins: Float[Tensor, " samples"]
    undecided: Bool[Tensor, " samples"]
    epsilon: tuple[float, ...]
    attacked: tuple[Attacked, ...] = ()
    cut: str = ""
    methods: tuple[str, ...] = ()
    decisions: tuple[DecisionInfo, ...] = ()
    interrupted: bool = False

    def __repr__(self) -> str:
        proved = [f"{rate.value:.1%} at {rate.epsilon:g}" for rate in self.certified_accuracy]
        tried = [f"{rate.value:.1%} at {rate.epsilon:g}" for rate in self.attacked_accuracy]
        parts = [f"{len(self.labels)} samples", f"clean {self.clean_accuracy.value:.1%}"]
        parts += [f"certified {', '.join(proved)}"] if proved else []
        parts += [f"survived attack {', '.join(tried)} of {len(self.attacked[0].indices)}"] if tried else []
        return f"<Certification {self.norm}: {'; '.join(parts)}>"

    @property
    def correct(self) -> Bool[Tensor, " samples"]:
        """Whether each prediction is the label."""
        return self.predictions == self.labels

    @property
    def robust_radii(self) -> Float[Tensor, " samples"]:
        """The radius within which each input is proved to be classified correctly; 0 for wrong predictions."""
        return self.radii.where(self.correct & ~self.undecided, 0.0)

    @property
    def clean_accuracy(self) -> Rate:
        """Share of correct predictions."""
        return rate(int(self.correct.sum()), len(self.labels))

    @property
    def certified_accuracy(self) -> tuple[Rate, ...]:
        """For each epsilon: share of inputs proved to be classified correctly in their whole ball."""
        return tuple(rate(int(self.certified(e).sum()), len(self.labels), epsilon=e) for e in self.epsilon)

    @property
    def attacked_accuracy(self) -> tuple[Rate, ...]:
        """For each epsilon: share of the attacked subset that the attack could not break."""
        return tuple(rate(int(a.survived.sum()), len(a.indices), epsilon=a.epsilon) for a in self.attacked)

    @property
    def certified_on_attacked(self) -> tuple[Rate, ...]:
        """Certified accuracy on the attacked subset; never above `attacked_accuracy`."""
        return tuple(
            rate(int(self.certified(a.epsilon)[a.indices].sum()), len(a.indices), epsilon=a.epsilon)
            for a in self.attacked
        )

    def certified(self, epsilon: float) -> Bool[Tensor, " samples"]:
        """Which inputs are correct and proved so within `epsilon`."""
        return self.correct & (self.radii >= epsilon) & ~self.undecided
