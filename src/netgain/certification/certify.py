"""Certified radii and certified accuracy."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from netgain.certification.attacks.attack import Attacked
from netgain.certification.cascade import Cascade
from netgain.certification.deciders.decider import Problem
from netgain.certification.logits import logits
from netgain.certification.options import CertifyOptions
from netgain.certification.pairs import pair_gains, with_pairs
from netgain.certification.result import Certification
from netgain.certification.scores import scored
from netgain.certification.standing import Standing
from netgain.certification.tiers import chosen
from netgain.core.errors import DataError, DataMismatchError, EmptyDataError, LabelError, UsageError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.rounding import check_arithmetic
from netgain.gain.lipschitz import Analysis, Effort, analyse, checked
from netgain.network.graph import Network


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
    ||x' - x|| <= r if m_ij > L_ij r for each j. The largest such r, rounded down, is the first radius; the cascade of
    `options.decisions.tiers` then bounds the margins over balls around each input, and keeps the largest proved radius.

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
        options: attack, time limit, seed and the methods; its `epsilon` is used where the argument is empty.

    Raises:
        NoSoundRuleError: if some operation has no proved rule.
        DataError: if inputs are not finite real numbers.
        UsageError: if an argument is of the wrong kind or out of range.
        DataMismatchError: if inputs or labels do not fit the network.
        CertificateError: if the attack broke a certificate: a defect of netgain.

    Cost:
        Two float64 forward passes per input, the norms of all layers once, the attack, and a bounded amount of work
        (or `options.seconds`) for what these leave undecided.
    """
    options = options or CertifyOptions()
    measure = checked(network, norm, options.seconds, options.decisions.gain)
    sizes = (epsilon,) if isinstance(epsilon, int | float) else tuple(epsilon)
    if sizes:
        options = dataclasses.replace(options, epsilon=tuple(float(e) for e in sizes))
    options = options.checked()
    inputs, labels = tensors(inputs, labels)
    head, cut = logits(network)
    check_data(head, inputs, labels)
    check_domain(inputs.double(), options.decisions.domain)
    began, effort = time.monotonic(), shared(options)
    analysis = with_pairs(analyse(head, measure, effort=effort), inputs, seconds=effort.half().seconds)
    return certify_analysed(analysis, inputs, labels, remaining(options, began), cut)


def shared(options: CertifyOptions) -> Effort:
    """The effort for the global gain: a quarter of the time; half as much goes to pairs, the rest to decisions.

    Args:
        options: with the time for all.
    """
    return options.effort.half().half()


def remaining(options: CertifyOptions, began: float) -> CertifyOptions:
    """The options with the time that is left of theirs.

    Args:
        options: with the time for all.
        began: when it began, by `time.monotonic`.
    """
    if options.seconds is None:
        return options
    return dataclasses.replace(options, seconds=max(1e-3, options.seconds - (time.monotonic() - began)))


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
        UsageError: if an option is not usable.
        DataError: if an input lies outside the domain.
    """
    check_arithmetic()
    options = options.checked()
    check_data(analysis.network, inputs, labels)
    centres, norm, domain = inputs.double(), analysis.norm, options.decisions.domain
    check_domain(centres, domain)
    began = time.monotonic()
    factors = {name: layer.factor for name, layer in analysis.layers.items()} if norm is Norm.L2 else None
    first = scored(analysis.network, inputs, pair_gains(analysis), factors, progress)
    tiers = chosen(options.decisions.tiers)
    standing = Standing(labels, first, [tier.name for tier in tiers], time.monotonic() - began)
    subset = _subset(len(inputs), options)
    cascade = Cascade(
        problem=Problem(
            network=analysis.network,
            inputs=centres,
            winners=first.predictions,
            norm=norm,
            domain=domain,
            slack=torch.zeros(len(inputs), dtype=torch.float64),
        ),
        tiers=tiers,
        epsilon=tuple(sorted(set(options.epsilon))),
        attack=options.attack if options.epsilon else None,
        subset=subset,
        progress=progress,
    )
    left = None if options.seconds is None else max(0.0, options.seconds - (time.monotonic() - began))
    interrupted = cascade(standing, seconds=left)
    return _result(standing, subset, options, norm, (cut, interrupted))


def _subset(count: int, options: CertifyOptions) -> Bool[Tensor, " samples"]:
    """Which inputs the reported attack tries."""
    subset = torch.zeros(count, dtype=torch.bool)
    if options.attack is not None and options.epsilon:
        generator = torch.Generator().manual_seed(options.seed)
        size = count if options.subset is None else min(options.subset, count)
        subset[torch.randperm(count, generator=generator)[:size]] = True
    return subset


def _result(
    standing: Standing, subset: Tensor, options: CertifyOptions, norm: Norm, how: tuple[str, bool]
) -> Certification:
    """What is known at the end, as it is reported."""
    indices = subset.nonzero()[:, 0]
    correct, broken = standing.predictions == standing.labels, standing.broken
    attacked = tuple(
        Attacked(epsilon=epsilon, indices=indices, survived=(correct & (broken > epsilon))[indices])
        for epsilon in (options.epsilon if len(indices) else ())
    )
    return Certification(
        norm=norm,
        labels=standing.labels,
        predictions=standing.predictions,
        radii=standing.radii,
        margins=standing.margins,
        undecided=standing.margins <= 0,
        epsilon=options.epsilon,
        attacked=attacked,
        cut=how[0],
        methods=tuple(standing.names[place] for place in standing.methods.tolist()),
        decisions=standing.infos(),
        interrupted=how[1],
    )


def check_domain(inputs: Float[Tensor, "samples *shape"], domain: tuple[float, float] | None) -> None:
    """Refuse inputs outside the domain.

    Args:
        inputs: float64.
        domain: least and greatest value.

    Raises:
        DataError: naming the first such input.
    """
    if domain is None:
        return
    outside = ((inputs < domain[0]) | (inputs > domain[1])).flatten(1).any(1)
    if bool(outside.any()):
        row = int(outside.long().argmax())
        raise DataError(
            f"sample {row} lies outside the domain [{domain[0]:g}, {domain[1]:g}]: its values run from "
            f"{float(inputs[row].min()):g} to {float(inputs[row].max()):g}"
        )


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
