"""Certified radii and certified accuracy from the gain of logit differences."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from netgain.certification.attacks.attack import AbstractAttack, Attacked, Ball, survivors
from netgain.certification.attacks.pgd import PGD
from netgain.certification.logits import logits
from netgain.certification.pairs import pair_gains, with_pairs
from netgain.certification.proportions import rate
from netgain.core.errors import CertificateError, DataError, DataMismatchError, EmptyDataError, LabelError, UsageError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.record import Rate
from netgain.core.rounding import check_arithmetic, tensor_down, tensor_up
from netgain.gain.lipschitz import Analysis, Effort, analyse, checked
from netgain.gain.methods import AUTO
from netgain.network.graph import Network
from netgain.propagate.evaluate import evaluate

_BATCH = 256
_DWARFS = 1e5  # margins this many times above the l2 error bound lose at most 1e-5 of their radius to it


@dataclasses.dataclass(frozen=True, kw_only=True)
class CertifyOptions:
    """How to certify.

    Attributes:
        epsilon: radii at which accuracy is reported, in raw input units.
        attack: the attack for the other side; None for none.
        subset: how many inputs are attacked, chosen at random by `seed`; None for all.
        seconds: time limit of the bounds.
        seed: of the choice of the subset, and of the ascent behind the lower bound.
        method: how the gain is bounded: "auto", or a method by name.
    """

    epsilon: tuple[float, ...] = ()
    attack: AbstractAttack | None = dataclasses.field(default_factory=PGD)
    subset: int | None = 500
    seconds: float | None = None
    seed: int = 0
    method: str = AUTO

    @property
    def effort(self) -> Effort:
        """How hard to look for bounds."""
        return Effort(method=self.method, seconds=self.seconds, seed=self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Certification:
    """What was proved, and what attacks found, for each input.

    The object certified is the real-number network: exact arithmetic with the stored weights.

    Attributes:
        norm: the norm of the radii.
        labels: the true classes.
        predictions: the predicted classes.
        radii: proved radius of each decision, in raw input units: no input nearer than or at this distance is
            classified otherwise. 0 where the margin is within the evaluation error. Not reduced for wrong predictions.
        margins: proved lower bounds of the margin over the runner-up (0 where undecided).
        undecided: the winner is not proved at the input itself (ties and margins within the evaluation error).
        epsilon: the radii at which accuracy is reported.
        attacked: what the attack found on its subset, one an epsilon; empty without attack.
        cut: the last activation that was left out, "" if none.
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


def certify(
    network: Network,
    inputs: Shaped[Tensor | np.ndarray, "samples *shape"],
    labels: Shaped[Tensor | np.ndarray, " labels"],
    *,
    norm: Norm | str = Norm.L2,
    epsilon: float | Sequence[float] = (),
    options: CertifyOptions | None = None,
) -> Certification:
    """Prove a radius around each input within which the decision cannot change, and attack from the other side.

    With margin m_ij = f_i(x) - f_j(x) for the winner i and gain L_ij of f_i - f_j, the decision holds for all x' with
    ||x' - x|| <= r if m_ij > L_ij r for each j; the largest such r, rounded down, is the radius.

    Guarantee:
        Radii are proved for the real-number network, rounding included: logits are evaluated in float64 with an error
        bound, ties and margins within it give radius 0. Attacked accuracy is measured, not proved, but each success is
        re-checked in float64, so robust accuracy lies between the two.

    Args:
        network: a classifier, as `netgain.read` gives it.
        inputs: one a row, in raw units and in the network's shape; a tensor or a NumPy array.
        labels: class numbers from 0.
        norm: "l2", "linf" or "l1".
        epsilon: radius or radii at which accuracy is reported.
        options: attack, time limit and seed; its `epsilon` is used where the argument is empty.

    Raises:
        NoSoundRuleError: if some operation has no proved rule.
        DataError: if inputs are not finite real numbers.
        UsageError: if an argument is of the wrong kind or out of range.
        DataMismatchError: if inputs or labels do not fit the network.
        CertificateError: if the attack broke a certificate: a defect of netgain.

    Cost:
        Two float64 forward passes per input, the norms of all layers once, and the attack.
    """
    options = options or CertifyOptions()
    measure = checked(network, norm, options.seconds, options.method)
    sizes = (epsilon,) if isinstance(epsilon, int | float) else tuple(epsilon)
    if sizes:
        options = dataclasses.replace(options, epsilon=tuple(float(e) for e in sizes))
    inputs, labels = tensors(inputs, labels)
    head, cut = logits(network)
    check_data(head, inputs, labels)
    analysis = with_pairs(
        analyse(head, measure, effort=options.effort.half()), inputs, seconds=options.effort.half().seconds
    )
    return certify_analysed(analysis, inputs, labels, options, cut)


def certify_analysed(
    analysis: Analysis,
    inputs: Shaped[Tensor, "samples *shape"],
    labels: Int[Tensor, " labels"],
    options: CertifyOptions,
    cut: str = "",
    progress: Progress = silent,
) -> Certification:
    """As `certify`, for a network up to its logits whose gain is known already.

    Raises:
        CertificateError: if the attack broke a certificate: a defect of netgain.
        UsageError: if an epsilon is not a positive number.
    """
    check_arithmetic()
    if any(not 0 < e < float("inf") for e in options.epsilon):
        raise UsageError(f"epsilon must be positive numbers in raw input units, got {list(options.epsilon)}")
    check_data(analysis.network, inputs, labels)
    predictions, margins, radii = _radii(analysis, inputs, progress)
    result = Certification(
        norm=analysis.norm,
        labels=labels,
        predictions=predictions,
        radii=radii,
        margins=margins,
        undecided=margins <= 0,
        epsilon=options.epsilon,
        cut=cut,
    )
    if options.attack is None or not options.epsilon:
        return result
    attacked = _attack(analysis, inputs, result, options, progress)
    for found in attacked:
        if bool((result.certified(found.epsilon)[found.indices] & ~found.survived).any()):
            raise CertificateError(
                f"at epsilon {found.epsilon:g} ({analysis.norm}) an attack changed a proved decision"
            )
    return dataclasses.replace(result, attacked=attacked)


def _radii(analysis: Analysis, inputs: Tensor, progress: Progress) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, proved margins and proved radii."""
    gains = pair_gains(analysis)
    factors = {name: layer.factor for name, layer in analysis.layers.items()} if analysis.norm is Norm.L2 else None
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(inputs), _BATCH):
        progress("certifying inputs", start, len(inputs))
        x = inputs[start : start + _BATCH]
        found = evaluate(analysis.network, x, gains=factors, entrywise=False)
        error = found.error.clone()
        # The cheap bound serves where the margin dwarfs it; the others deserve the sharp one.
        close = (_decide(found.value, error, gains)[1] < _DWARFS * found.error_l2).nonzero()[:, 0]
        if len(close):
            error[close] = evaluate(analysis.network, x[close], gains=factors).error
        parts.append(_decide(found.value, error, gains))
    progress("certifying inputs", len(inputs), len(inputs))
    predictions, margins, radii = (torch.cat(column) for column in zip(*parts, strict=True))
    return predictions, margins, radii


def _decide(value: Tensor, error: Tensor, gains: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Winner, least proved margin and proved radius for a batch of logits with error bounds."""
    scores, errors = value.reshape(len(value), -1), error.reshape(len(value), -1)
    if scores.shape[1] == 1:
        winner = (scores[:, 0] > 0).long()
        proved = tensor_down(scores.abs() - errors)
        limits = gains.expand(len(scores), 1)
    else:
        winner = scores.argmax(1)
        top, slack = scores.gather(1, winner[:, None]), errors.gather(1, winner[:, None])
        # Two rounded subtractions, each one step down: a number not above f_i - f_j.
        proved = tensor_down(tensor_down(top - scores) - tensor_up(errors + slack))
        proved = proved.scatter(1, winner[:, None], torch.inf)
        limits = gains[winner]
    safe = proved.clamp_min(0.0)
    # A logit difference that does not depend on the input (gain 0) keeps its sign everywhere.
    ratio = torch.where(limits == 0, torch.where(safe > 0, torch.inf, 0.0), tensor_down(safe / limits))
    ratio = torch.where(torch.isnan(ratio) | (proved <= 0), torch.zeros_like(ratio), ratio).clamp_min(0.0)
    return winner, torch.nan_to_num(safe.amin(1), nan=0.0, posinf=torch.inf), ratio.amin(1)


def _attack(
    analysis: Analysis, inputs: Tensor, result: Certification, options: CertifyOptions, progress: Progress
) -> tuple[Attacked, ...]:
    """The attack on a random subset, for each epsilon from small to large."""
    if options.attack is None:
        return ()
    count = len(inputs) if options.subset is None else min(options.subset, len(inputs))
    generator = torch.Generator().manual_seed(options.seed)
    indices = torch.randperm(len(inputs), generator=generator)[:count].sort().values
    broken = torch.zeros(count, dtype=torch.bool)
    found: dict[float, Attacked] = {}
    for epsilon in sorted(options.epsilon):
        standing = survivors(
            options.attack,
            analysis.network,
            inputs[indices].double(),
            result.labels[indices],
            Ball(analysis.norm, epsilon),
            progress,
        )
        broken = broken | ~standing
        found[epsilon] = Attacked(epsilon=epsilon, indices=indices, survived=~broken)
    return tuple(found[epsilon] for epsilon in options.epsilon)


def tensors(inputs: object, labels: object) -> tuple[Tensor, Tensor]:
    """Inputs and labels as detached tensors.

    Raises:
        UsageError: if one is neither a tensor nor a NumPy array of numbers.
    """
    found: list[Tensor] = []
    for name, value in (("inputs", inputs), ("labels", labels)):
        if not isinstance(value, Tensor | np.ndarray):
            raise UsageError(f"{name} must be a tensor or a NumPy array, got {type(value).__name__}")
        try:
            found.append(torch.as_tensor(value).detach())
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name} of dtype {value.dtype} are not numbers that torch takes") from error
    return found[0], found[1]


def check_data(network: Network, inputs: Tensor, labels: Tensor) -> None:
    """Refuse data that do not fit a classifier.

    Args:
        network: the classifier up to its logits.
        inputs: what is to be certified.
        labels: the classes.

    Raises:
        EmptyDataError: if there is no input.
        DataError: if an input is not a finite real number.
        DataMismatchError: if a shape differs.
        LabelError: if a label is no class of the network.
    """
    if len(inputs) == 0:
        raise EmptyDataError("there are no inputs to certify")
    if tuple(inputs.shape[1:]) != network.input_shape:
        raise DataMismatchError(f"inputs have shape {tuple(inputs.shape[1:])}, the network takes {network.input_shape}")
    if labels.shape != (len(inputs),):
        raise DataMismatchError(f"labels have shape {tuple(labels.shape)}, expected ({len(inputs)},)")
    classes = max(2, int(torch.tensor(network.output_shape).prod()))
    if inputs.is_complex() or not bool(torch.isfinite(inputs).all()):
        row = int((~torch.isfinite(inputs)).reshape(len(inputs), -1).any(1).long().argmax())
        raise DataError(f"inputs must be finite real numbers; sample {row} is not")
    if labels.is_floating_point():
        raise LabelError(f"labels have dtype {labels.dtype}, expected integers")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise LabelError(
            f"labels run from {int(labels.min())} to {int(labels.max())}; the network has {classes} classes"
        )
