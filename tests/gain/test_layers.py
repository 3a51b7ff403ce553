import math

import pytest
import torch

from netgain.activations.table import activation
from netgain.core.errors import (
    DiscontinuousError,
    DiscreteInputError,
    NoSoundRuleError,
    UnboundedError,
)
from netgain.core.norms import Norm
from netgain.gain.layers import global_slope, layer_gains
from netgain.network.graph import Bilinear, Form, Network, Opaque, Sum, Vector
from netgain.vectors.normalize import LayerNorm
from tests.gain.networks import act, branches, chain, convolutional, linear, node, normal, residual


def test_factors_and_norms_of_a_small_network():
    weight = torch.diag(torch.tensor([3.0, 4.0]))
    layers = layer_gains(chain((2,), linear(weight), act("gelu"), linear(weight)), Norm.L2)
    assert list(layers) == ["n0", "n1", "n2"]
    assert layers["n0"].factor == pytest.approx(4, rel=2e-6)
    assert layers["n0"].factor >= 4
    assert layers["n0"].norm is not None
    assert layers["n0"].norm.lower.value <= 4
    assert layers["n1"].factor == pytest.approx(1.128904145185154787)
    assert layers["n1"].slope is not None
    assert layers["n1"].slope[0] == pytest.approx(-0.128904145185154787)
    assert layers["n0"].stable_rank == pytest.approx(25 / 16, rel=1e-5)
    assert layers["n0"].share == pytest.approx(math.log(4) / (2 * math.log(4) + math.log(1.128904145)), rel=1e-5)


@pytest.mark.parametrize(("norm", "expected"), [(Norm.L1, 0.5), (Norm.L2, 1.25**0.5), (Norm.LINF, 1.5)])
def test_factor_of_a_sum_is_its_norm_on_the_joined_inputs(norm: Norm, expected: float):
    layers = layer_gains(residual(0), norm)
    factor = layers["d"].factor
    assert factor == pytest.approx(max(1.0, 0.5) if norm is Norm.L1 else expected)


@pytest.mark.parametrize("norm", list(Norm))
def test_every_kind_has_a_layer_and_progress_is_told(norm: Norm):
    told: list[tuple[str, int, int]] = []
    layers = layer_gains(branches(0), norm, progress=lambda *step: told.append(step))
    assert {layer.kind for layer in layers.values()} == {"affine", "elementwise", "concat"}
    assert told[-1] == ("layer norms", 6, 6)
    pooled = layer_gains(convolutional(0), norm)
    assert {layer.kind for layer in pooled.values()} == {"affine", "elementwise", "vector"}


def test_a_shared_map_is_measured_once(monkeypatch: pytest.MonkeyPatch):
    calls: list[object] = []
    one = linear(normal(0, 3, 3))
    import netgain.gain.layers as module

    measure = module.operator_norm
    monkeypatch.setattr(module, "operator_norm", lambda *a, **k: (calls.append(a), measure(*a, **k))[1])
    layer_gains(chain((3,), one, act("relu"), one, act("relu"), one), Norm.L2)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (act("sign"), DiscontinuousError),
        (act("round"), DiscontinuousError),
        (act("exp"), UnboundedError),
        (act("square"), UnboundedError),
        (Vector(LayerNorm((3,), 1, 0.0)), UnboundedError),
        (Opaque(lambda x: x, "NG010", "no rule"), NoSoundRuleError),
        (Opaque(lambda x: x, "NG011", "it jumps"), DiscontinuousError),
        (Opaque(lambda x: x, "NG012", "attention"), UnboundedError),
        (Opaque(lambda x: x, "NG013", "token numbers"), DiscreteInputError),
    ],
)
def test_refusals_name_operation_module_and_line(kind: object, error: type[NoSoundRuleError]):
    network = chain((3,), linear(normal(0, 3, 3)))
    refused = Network("x", (3,), (*network.nodes, node("odd", kind, ("n0",), (3,))), "odd")
    with pytest.raises(error, match=r"test\.\w+ in net\.odd \(net\.py:12\)") as caught:
        layer_gains(refused, Norm.L2)
    assert type(caught.value) is error
    assert caught.value.code == error.code


def test_bilinear_is_unbounded_but_not_where_the_output_does_not_need_it():
    network = chain((3,), linear(normal(0, 3, 3)))
    product = node("p", Bilinear(Form.PRODUCT), ("n0", "x"), (3,))
    with pytest.raises(UnboundedError, match="multiplies"):
        layer_gains(Network("x", (3,), (*network.nodes, product), "p"), Norm.L2)
    assert list(layer_gains(Network("x", (3,), (*network.nodes, product), "n0"), Norm.L2)) == ["n0"]


def test_refusal_comes_before_any_norm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("netgain.gain.layers.operator_norm", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(UnboundedError):
        layer_gains(chain((3,), linear(normal(0, 3, 3)), act("exp")), Norm.L2)


def test_global_slope_covers_all_channels():
    slopes = torch.tensor([0.5, -3.0], dtype=torch.float64)
    least, greatest = global_slope(activation("prelu", weight=slopes))
    assert least <= -3.0 <= 1.0 <= greatest
    assert (least, greatest) == pytest.approx((-3.0, 1.0))


def test_zero_weights_have_factor_zero():
    layers = layer_gains(chain((3,), linear(torch.zeros(2, 3))), Norm.L2)
    assert layers["n0"].factor <= 1e-280
    assert layers["n0"].share is None


def test_a_plain_sum_of_one_input():
    network = Network("x", (1,), (node("s", Sum((-2.0,)), ("x",), (1,)),), "s")
    assert layer_gains(network, Norm.L2)["s"].factor == 2.0
