"""Records made by hand for the tests of renderers: every number here is invented."""

import itertools
import math

from netgain.core.record import (
    DataInfo,
    Finding,
    GainInfo,
    LayerInfo,
    Level,
    MethodInfo,
    ModelInfo,
    RadiusInfo,
    Rate,
    Record,
)


def rate(value: float, samples: int = 1000, epsilon: float | None = None, label: int | None = None) -> Rate:
    count = round(value * samples)
    half = 1.96 * math.sqrt(max(value * (1 - value), 1e-4) / samples)
    return Rate(
        value=count / samples,
        low=max(0.0, count / samples - half),
        high=min(1.0, count / samples + half),
        count=count,
        samples=samples,
        epsilon=epsilon,
        label=label,
    )


def layers(number: int = 6, strength: float = 2.4) -> tuple[LayerInfo, ...]:
    rows: list[LayerInfo] = []
    for index in range(number):
        if index % 2 == 0:
            norm = strength * (1 + 0.5 * math.sin(index))
            rows.append(
                LayerInfo(
                    name=f"features.{index}.conv+bn",
                    operation=f"conv 3x3, {16 * (index + 1)} to {16 * (index + 3)}, stride 1",
                    module=f"features.{index}.conv",
                    location=f"/home/user/models/net.py:{20 + index}",
                    in_shape=(16 * (index + 1), 28, 28),
                    out_shape=(16 * (index + 3), 28, 28),
                    parameters=9 * 256 * (index + 1),
                    norm_lower=norm * 0.999,
                    norm_upper=norm,
                    factor=norm,
                    share=None if number == 0 else 2 / number,
                    stable_rank=3.7 + index,
                )
            )
        else:
            rows.append(
                LayerInfo(
                    name=f"features.{index}.relu",
                    operation="relu",
                    module=f"features.{index}",
                    location=f"/home/user/models/net.py:{20 + index}",
                    in_shape=(16 * (index + 2), 28, 28),
                    out_shape=(16 * (index + 2), 28, 28),
                    slope_lower=0.0,
                    slope_upper=1.0,
                    factor=1.0,
                    share=0.0,
                )
            )
    return tuple(rows)


def audit_record(
    *,
    depth: int = 6,
    points: int = 40,
    upper: float = 45.61,
    decay: float = 3.0,
    strength: float = 2.4,
    name="mnist_cnn",
) -> Record:
    epsilons = (0.1, 0.25, 0.5)
    radius = [1.2 * step / max(points - 1, 1) for step in range(points)]

    def certified(epsilon: float) -> float:
        return 0.98 * math.exp(-decay * epsilon)

    counts = tuple(round(1000 * (certified(low) - certified(high))) for low, high in itertools.pairwise(radius[:21]))
    return Record(
        command="audit",
        norm="l2",
        created="2026-11-24T22:15:45+00:00",
        seconds=41.8,
        seed=0,
        versions={"netgain": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.7", "machine": "2 cores, x86-64"},
        model=ModelInfo(
            origin=f"{name}.onnx",
            sha256="9f" * 32,
            input_shape=(1, 28, 28),
            output_shape=(10,),
            parameters=390_410,
            dtype="float32",
            preprocess="mean 0.1307, std 0.3081",
        ),
        data=DataInfo(origin="mnist:test", sha256="ab" * 32, samples=1000, classes=10, minimum=0.0, maximum=1.0),
        gain=GainInfo(
            lower=12.34, upper=upper, norm="l2", region="global", method="rescaled product", lower_method="ascent"
        ),
        methods=(
            MethodInfo(name="product", upper=upper * 3, seconds=0.001),
            MethodInfo(name="newton", upper=upper, seconds=1.25, steps=31, gap=2e-7),
            MethodInfo(name="convolutional", upper=None, seconds=0.0, note="no convolution: <nothing> to tie"),
        ),
        layers=layers(depth, strength),
        clean_accuracy=rate(0.98),
        certified_accuracy=tuple(rate(certified(epsilon), epsilon=epsilon) for epsilon in epsilons),
        attacked_accuracy=tuple(rate(0.5 + 0.5 * certified(epsilon) - 0.02, 500, epsilon) for epsilon in epsilons),
        certified_on_attacked=tuple(rate(certified(epsilon) - 0.01, 500, epsilon) for epsilon in epsilons),
        per_class=tuple(
            rate(max(0.0, certified(epsilon) - 0.01 * label), 100, epsilon, label)
            for label in range(10)
            for epsilon in epsilons
        ),
        radii=RadiusInfo(
            median=0.22,
            edges=tuple(radius[:21]),
            counts=counts,
            curve=tuple((value, certified(value)) for value in radius),
            undecided=3,
        ),
        attack="PGD (l2), 40 steps, 5 restarts",
        findings=(
            Finding(code="NG102", level=Level.WARNING, detail="the upper side is 3.7 times the lower"),
            Finding(code="NG108", level=Level.INFO, detail="BatchNorm statistics were frozen"),
            Finding(
                code="NG101",
                level=Level.WARNING,
                detail="features.0.conv+bn makes 48 % of the product",
                location="net.py:20",
            ),
        ),
    )
