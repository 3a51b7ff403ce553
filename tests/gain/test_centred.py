import pytest
import torch

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.absolute import AbsoluteProduct
from netgain.gain.centred import Centred
from netgain.gain.layers import layer_gains
from netgain.network.fold import fold
from netgain.network.graph import Network
from netgain.witness import entrywise
from tests.gain.networks import (
    act,
    branches,
    chain,
    convolutional,
    linear,
    matrix_norm,
    mlp,
    normal,
    normalized,
    residual,
    sampled,
)
from tests.gain.oracle import exact
from tests.gain.zoo import tiny_pooled


def centred(network: Network, norm: Norm) -> float:
    network = fold(network)
    return Centred()(network, norm, layer_gains(network, norm)).bound.value


@pytest.mark.parametrize("norm", list(Norm))
def test_linear_networks_are_exact(norm: Norm):
    weight, second = normal(0, 4, 5), normal(1, 3, 4)
    network = chain((5,), linear(weight), act("leaky_relu", negative_slope=1.0), linear(second))
    truth = matrix_norm(second @ weight, norm)
    assert truth <= centred(network, norm) <= truth * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_one_hidden_layer_has_the_greatest_value_of_each_entry(seed: int):
    # The entry of slopes d in [0, 1] is sum_k w_k d_k a_kj, so its greatest magnitude is that of one sign alone.
    first, second = normal(seed, 5, 3), normal(seed + 1, 2, 5)
    products = second[:, :, None] * first[None]
    entries = torch.maximum(products.clamp_min(0).sum(1), (-products).clamp_min(0).sum(1))
    network = chain((3,), linear(first, normal(9, 5)), act("relu"), linear(second))
    for norm in (Norm.L1, Norm.LINF):
        truth = matrix_norm(entries, norm)
        assert truth * (1 - 1e-15) <= centred(network, norm) <= truth * (1 + 1e-9)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
@pytest.mark.parametrize(
    "build", [residual, branches, lambda s: mlp(s, 3, 6, 6, 2), lambda s: mlp(s, 3, 5, 2, name="gelu")]
)
def test_between_the_truth_and_the_absolute_product(norm: Norm, build):
    for seed in range(3):
        network = fold(build(seed))
        found = centred(network, norm)
        absolute = AbsoluteProduct()(network, norm, layer_gains(network, norm)).bound.value
        assert sampled(network, norm, 20) <= found * (1 + 1e-9)
        assert found <= absolute * (1 + 1e-6)


def test_strictly_better_where_signs_cancel_and_above_the_exact_constant():
    network = mlp(0, 2, 5, 4, 2)
    truth = exact(network)
    for norm in (Norm.L1, Norm.LINF):
        found = centred(network, norm)
        absolute = AbsoluteProduct()(network, norm, layer_gains(network, norm)).bound.value
        assert truth[norm] <= found * (1 + 1e-9)
        assert found < 0.9 * absolute


@pytest.mark.parametrize(("hidden", "factor"), [(1, 1.5), (2, 2.5), (3, 4.5), (5, 12.0)])
def test_how_much_smaller_than_the_absolute_product(hidden: int, factor: float):
    network = fold(mlp(5, *([64] * (hidden + 1)), 10))
    for norm in (Norm.L1, Norm.LINF):
        absolute = AbsoluteProduct()(network, norm, layer_gains(network, norm)).bound.value
        assert centred(network, norm) * factor <= absolute


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_deviations_keep_their_signs_through_later_layers(norm: Norm):
    # The deviations of the first layer pass through B c A' with its signs; in magnitude they would be 8.
    first, second, third = (
        torch.eye(2),
        torch.tensor([[1.0, 1.0], [1.0, -1.0]]),
        torch.tensor([[1.0, 1.0], [1.0, -1.0]]),
    )
    network = chain(
        (2,), linear(first), act("relu"), linear(second), act("leaky_relu", negative_slope=1.0), linear(third)
    )
    assert exact(network)[norm] == 2.0
    assert 2.0 <= centred(network, norm) <= 2.0 * (1 + 1e-9)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("build", [convolutional, tiny_pooled])
def test_pooling_is_above_every_sampled_jacobian(norm: Norm, build):
    for seed in range(2):
        network = build(seed)
        assert sampled(network, norm, 20) <= centred(network, norm) * (1 + 1e-9)


@pytest.mark.parametrize("limit", [0, 20, 40, 100])
def test_any_memory_limit_is_sound_and_more_is_tighter(limit: int, monkeypatch: pytest.MonkeyPatch):
    network = mlp(0, 2, 5, 4, 3, 2)
    full = {norm: centred(network, norm) for norm in Norm}
    monkeypatch.setattr(entrywise, "_STACKED", limit)
    for norm, truth in exact(network).items():
        assert truth <= centred(network, norm) * (1 + 1e-9)
        if norm is not Norm.L2:
            assert full[norm] <= centred(network, norm) * (1 + 1e-9)


def test_what_has_no_entries_or_is_too_large_is_refused():
    with pytest.raises(NoSoundRuleError, match="entries"):
        centred(normalized(0), Norm.LINF)
    wide = chain((6000,), linear(torch.zeros(5000, 6000)), act("relu"))
    with pytest.raises(NoSoundRuleError, match="more than"):
        Centred()(wide, Norm.LINF, {})


def test_the_claim_carries_the_proof():
    network = fold(mlp(0, 3, 4, 2))
    found = Centred()(network, Norm.LINF, {})
    assert found.claim is not None
    assert found.claim.bound == found.bound.value
    assert [piece.proof for piece in found.claim.pieces] == ["entrywise"]
