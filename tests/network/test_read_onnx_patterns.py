"""Activations and normalizations spelled out in parts: recognized exactly, or not at all."""

import math

import numpy as np
import pytest
import torch

from netgain.core.norms import Norm
from netgain.network.graph import Affine, Bilinear, Elementwise, Sum, Vector
from netgain.network.read.onnx.patterns import CUBIC, _bent
from tests.network.onnx_files import model, node, weights
from tests.network.test_read_onnx_ops import ROWS, check

ROOT, SCALE, CUBE = np.float32(math.sqrt(2)), np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
NUMBERS = {
    "one": np.float32(1), "half": np.float32(0.5), "two": np.float32(2), "three": np.float32(3), "six": np.float32(6),
    "zero": np.float32(0), "root": ROOT, "inverse": np.float32(1) / ROOT, "scale": SCALE, "cube": CUBE,
    "sixth": np.float32(1 / 6), "swish": np.float32(1.702), "eps": np.float32(1e-3), "share": np.float32(1 / 8),
    "fifth": np.float32(0.2), "minus": np.float32(-1), "low": np.float32(1e-2),
}  # fmt: skip


def steps(text):
    """Nodes written as "Op in in -> out" lines, attributes behind a bar as name=value."""
    nodes = []
    for line in text.strip().splitlines():
        body, _, extra = line.partition("|")
        left, right = body.split("->")
        kind, *inputs = left.split()
        attributes = {key: eval(value) for key, value in (item.split("=") for item in extra.split())}
        nodes.append(node(kind, " ".join(inputs), right.strip(), **attributes))
    return nodes


def spelled(text, tmp_path, *, inputs=ROWS, tolerance=3e-6, constants=None, opset=17):
    used = {name: value for name, value in NUMBERS.items() if name in text.split()}
    proto = model(steps(text), inputs, {**used, **(constants or {})}, opset=opset)
    return check(proto, tmp_path, tolerance=tolerance)


def names(network):
    return [one.kind.activation.name for one in network.nodes if isinstance(one.kind, Elementwise)]


GELU = {
    "torch": "Div x root -> a\nErf a -> b\nAdd b one -> c\nMul x c -> d\nMul d half -> y",
    "half first": "Mul x half -> h\nMul x inverse -> a\nErf a -> b\nAdd one b -> c\nMul c h -> y",
    "half inside": "Mul x inverse -> a\nErf a -> b\nMul b half -> c\nAdd c half -> d\nMul d x -> y",
    "of a scaled": "Mul x three -> s\nDiv s root -> a\nErf a -> b\nAdd b one -> c\nMul s c -> d\nMul d half -> y",
    "of a shifted": "Add x three -> s\nDiv s root -> a\nErf a -> b\nAdd b one -> c\nMul s c -> d\nMul d half -> y",
    "of a negative": "Mul x minus -> s\nDiv x root -> a\nErf a -> b\nAdd b one -> c\nMul s c -> d\nMul d half -> y",
}


@pytest.mark.parametrize("name", GELU)
def test_gelu_by_erf(name, tmp_path):
    network = spelled(GELU[name], tmp_path)
    assert names(network) == ["gelu"]
    assert not any(isinstance(one.kind, Bilinear | Sum) for one in network.nodes)


TANH = {
    "power": (
        "Pow x three -> p\nMul p cube -> q\nAdd x q -> r\nMul r scale -> s\nTanh s -> t\n"
        "Add t one -> u\nMul x half -> h\nMul h u -> y"
    ),
    "products": (
        "Mul cube x -> a\nMul x a -> b\nMul x b -> c\nAdd x c -> d\nMul scale d -> e\nTanh e -> f\n"
        "Add one f -> g\nMul half g -> h\nMul x h -> y"
    ),
    "factored": (
        "Mul x x -> a\nMul a cube -> b\nAdd b one -> c\nMul x c -> d\nMul d scale -> e\nTanh e -> f\n"
        "Add f one -> g\nMul g x -> h\nMul h half -> y"
    ),
}


@pytest.mark.parametrize("name", TANH)
def test_gelu_by_tanh(name, tmp_path):
    network = spelled(TANH[name], tmp_path)
    assert names(network) == ["gelu_tanh (coefficients as stored)"]
    assert not any(isinstance(one.kind, Bilinear | Sum) for one in network.nodes)


GATES = {
    "silu": ("Sigmoid x -> a\nMul x a -> y", "silu"),
    "quick gelu": ("Mul x swish -> s\nSigmoid s -> a\nMul x a -> y", "silu"),
    "silu by tanh": ("Mul x half -> h\nTanh h -> t\nAdd t one -> a\nMul a x -> b\nMul b half -> y", "silu"),
    "hardswish of torch": ("Add x three -> a\nClip a zero six -> b\nMul x b -> c\nDiv c six -> y", "hardswish"),
    "hardswish of paddle": ("HardSigmoid x -> a | alpha=0.16666667 beta=0.5\nMul x a -> y", "hardswish"),
    "hardswish inside": ("Add x three -> a\nClip a zero six -> b\nMul b sixth -> c\nMul c x -> y", "hardswish"),
    "mish": ("Softplus x -> a\nTanh a -> b\nMul x b -> y", "mish"),
}


@pytest.mark.parametrize("name", GATES)
def test_gates(name, tmp_path):
    text, expected = GATES[name]
    network = spelled(text, tmp_path)
    assert names(network) == [expected]
    assert not any(isinstance(one.kind, Bilinear | Sum) for one in network.nodes)


NOT_GATES = {
    "other operand": "Relu x -> z\nSigmoid x -> a\nMul z a -> y",
    "other offset": "Div x root -> a\nErf a -> b\nAdd b two -> c\nMul x c -> y",
    "other cubic": "Pow x three -> p\nMul p fifth -> q\nAdd x q -> r\nTanh r -> t\nAdd t one -> u\nMul x u -> y",
    "other centre": "Add x two -> a\nClip a zero six -> b\nMul x b -> y",
    "other tensor inside": "Relu x -> z\nDiv z root -> a\nErf a -> b\nAdd b one -> c\nMul x c -> y",
}


@pytest.mark.parametrize("name", NOT_GATES)
def test_products_that_only_look_alike_stay_products(name, tmp_path):
    network = spelled(NOT_GATES[name], tmp_path)
    assert sum(isinstance(one.kind, Bilinear) for one in network.nodes) == 1


def test_widened_facts_hold_for_the_stored_coefficients():
    """The file's own function stays inside the widened ranges, and they are widened by less than 1e-6."""
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.dps = 40
    first, third = mpmath.mpf(float(SCALE)), mpmath.mpf(float(SCALE)) * mpmath.mpf(float(CUBE))
    inside = first / mpmath.sqrt(2 / mpmath.pi)
    ratio = float(abs(third / (inside**3 * mpmath.sqrt(2 / mpmath.pi) * mpmath.mpf("0.044715")) - 1))
    from netgain.activations import activation

    base = activation("gelu_tanh")
    bent = _bent(base, ratio)
    ends = (torch.tensor(-torch.inf).double(), torch.tensor(torch.inf).double())
    low, high = (float(end) for end in bent.slope_range(*ends))
    exact = tuple(float(end) for end in base.slope_range(*ends))
    assert exact[0] - 1e-6 < low < exact[0]
    assert exact[1] < high < exact[1] + 1e-6

    def phi(v):
        root = v / inside
        return v * (1 + mpmath.tanh(first * root + third * root**3)) / 2

    slopes = [mpmath.diff(phi, mpmath.mpf(k) / 50) for k in range(-400, 401)]
    assert low <= min(slopes)
    assert max(slopes) <= high
    assert max(slopes) > high - 1e-4
    points = torch.linspace(-6, 6, 101, dtype=torch.float64)
    errors = bent.value_error(points)
    for x, value, error in zip(points.tolist(), bent.value(points).tolist(), errors.tolist(), strict=True):
        assert abs(phi(mpmath.mpf(x)) - value) <= error


def test_derivation_of_the_widening():
    """The two bounds of the docstring: 4 for the derivative by the coefficient, of the value and of the slope."""
    v = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    c = math.sqrt(2 / math.pi)
    for d in (float(CUBIC) * (1 - 1e-5), float(CUBIC) * (1 + 1e-5)):
        g, slope = c * (v + d * v**3), c * (1 + 3 * d * v**2)
        gate = 1 / torch.cosh(g) ** 2
        by_value = c * v**4 * gate / 2
        by_slope = gate * (4 * c * v**3 + -2 * torch.tanh(g) * c * v**4 * slope) / 2
        assert float(by_value.abs().max()) < 4
        assert float(by_slope.abs().max()) < 4


LAYER = {
    "torch": (
        "ReduceMean x -> m | axes=[-1]\nSub x m -> d\nPow d two -> s\nReduceMean s -> v | axes=[-1]\n"
        "Add v eps -> w\nSqrt w -> r\nDiv d r -> y"
    ),
    "product": (
        "ReduceMean x -> m | axes=[-1]\nSub x m -> d\nMul d d -> s\nReduceMean s -> v | axes=[-1]\n"
        "Add v eps -> w\nSqrt w -> r\nReciprocal r -> q\nMul d q -> y"
    ),
    "jax": (
        "ReduceSum x axes -> a | keepdims=0\nMul x x -> s\nReduceSum s axes -> b | keepdims=0\n"
        "Mul a share -> m\nMul b share -> n\n"
        "Mul m m -> k\nSub n k -> v\nMax zero v -> c\nUnsqueeze c axes -> e\nUnsqueeze m axes -> f\n"
        "Add e eps -> w\nSqrt w -> r\n"
        "Reciprocal r -> q\nMul q gamma -> p\nSub x f -> d\nMul d p -> y"
    ),
    "middle axis": (
        "ReduceMean x -> m | axes=[1]\nSub x m -> d\nPow d two -> s\nReduceMean s -> v | axes=[1]\n"
        "Add v eps -> w\nSqrt w -> r\nDiv d r -> y"
    ),
    "rms": "Mul x x -> s\nReduceMean s -> v | axes=[-1]\nAdd v eps -> w\nSqrt w -> r\nDiv x r -> y",
}


@pytest.mark.parametrize("name", LAYER)
def test_layer_normalization_in_parts(name, tmp_path):
    constants = {"axes": np.array([-1]), "gamma": weights(8)}
    used = {key: value for key, value in constants.items() if key in LAYER[name].split()}
    network = spelled(LAYER[name], tmp_path, inputs={"x": ("N", 8, 8)}, constants=used, tolerance=2e-5)
    vectors = [one.kind.function.name for one in network.nodes if isinstance(one.kind, Vector)]
    assert [vector.partition("(")[0] for vector in vectors] == ["rms_norm" if name == "rms" else "layer_norm"]
    assert all(isinstance(one.kind, Vector | Affine) for one in network.nodes)


NOT_LAYER = {
    "mean of the other axis": (
        "ReduceMean x -> m | axes=[1]\nSub x m -> d\nPow d two -> s\nReduceMean s -> v | axes=[2]\n"
        "Add v eps -> w\nSqrt w -> r\nDiv d r -> y"
    ),
    "statistic of other rows": (
        "Mul x x -> s\nReduceMean s -> v | axes=[-1] keepdims=0\nUnsqueeze v axis -> u\nAdd u eps -> w\n"
        "Sqrt w -> r\nDiv x r -> y"
    ),
    "rounded mean": (
        "ReduceSum x axes -> a\nMul a sixth -> m\nSub x m -> d\nPow d two -> s\n"
        "ReduceMean s -> v | axes=[-1]\nAdd v eps -> w\nSqrt w -> r\nDiv x r -> y"
    ),
}


@pytest.mark.parametrize("name", NOT_LAYER)
def test_quotients_that_only_look_like_normalizations(name, tmp_path):
    constants = {"axes": np.array([-1]), "axis": np.array([1])}
    used = {key: value for key, value in constants.items() if key in NOT_LAYER[name].split()}
    network = spelled(NOT_LAYER[name], tmp_path, inputs={"x": ("N", 8, 8)}, constants=used, tolerance=2e-5)
    vectors = [one.kind.function.name for one in network.nodes if isinstance(one.kind, Vector)]
    if name == "mean of the other axis":
        # The deviation from any tensor may be divided by its own root mean square.
        assert [vector.partition("(")[0] for vector in vectors] == ["rms_norm"]
        assert any(isinstance(one.kind, Sum) for one in network.nodes)
    else:
        assert any(isinstance(one.kind, Bilinear) for one in network.nodes)


def test_a_statistic_taken_under_another_shape_is_not_mistaken(tmp_path):
    """The mean over the last axis of (8, 8) is axis 1 there, and axis 2 of the same entries as (1, 8, 8)."""
    text = (
        "Squeeze x -> u\nReduceMean u -> m | axes=[1] keepdims=0\nSub x m -> d\nMul d d -> s\n"
        "ReduceMean s -> v | axes=[1]\nAdd v eps -> w\nSqrt w -> r\nDiv d r -> y"
    )
    network = spelled(text, tmp_path, inputs={"x": (1, 8, 8)}, tolerance=2e-5)
    vectors = [one.kind.function.name.partition("(")[0] for one in network.nodes if isinstance(one.kind, Vector)]
    assert vectors == ["rms_norm"]
    text = text.replace("Sub x m", "Unsqueeze m place -> n\nSub x n").replace("v | axes=[1]", "v | axes=[2]")
    network = spelled(text, tmp_path, inputs={"x": (1, 8, 8)}, tolerance=2e-5, constants={"place": np.array([0, 2])})
    assert [type(one.kind) for one in network.nodes] == [Vector]


def test_softmax_in_parts(tmp_path):
    text = "ReduceMax x -> m | axes=[-1]\nSub x m -> d\nExp d -> e\nReduceSum e axes -> s\nDiv e s -> y"
    network = spelled(text, tmp_path, inputs={"x": ("N", 3, 5)}, constants={"axes": np.array([-1])})
    assert [type(one.kind) for one in network.nodes] == [Vector]
    text = text.replace("axes=[-1]", "axes=[1]")
    network = spelled(text, tmp_path, inputs={"x": ("N", 3, 5)}, constants={"axes": np.array([-1])})
    assert {type(one.kind) for one in network.nodes} == {Vector, Affine, Sum}


def test_unit_vectors_in_parts(tmp_path):
    text = "ReduceL2 x -> n | axes=[1]\nClip n low -> c\nExpand c shape -> e\nDiv x e -> y"
    network = spelled(text, tmp_path, inputs={"x": (1, 3, 5)}, constants={"shape": np.array([1, 3, 5])})
    assert [type(one.kind) for one in network.nodes] == [Vector]


def test_magnitudes_of_pairs(tmp_path):
    text = "Split x -> a b | axis=1\nPow a two -> c\nMul b b -> d\nAdd c d -> s\nSqrt s -> y"
    network = spelled(text, tmp_path, inputs={"x": ("N", 6)}, opset=17)
    assert not any(isinstance(one.kind, Elementwise) for one in network.nodes)
    function = next(one.kind.function for one in network.nodes if isinstance(one.kind, Vector))
    assert function.gain(Norm.L2) == 1.0
