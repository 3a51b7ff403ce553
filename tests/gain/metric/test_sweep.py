import math

import pytest
import torch
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.gain.metric.gradient import slopes
from netgain.gain.metric.prepared import Prepared, prepare
from netgain.gain.metric.region import region
from netgain.gain.metric.rules import scalar_rule
from netgain.gain.metric.sweep import Swept, sweep
from netgain.network.fold import fold
from netgain.network.graph import Network
from tests.gain.metric.dags import dag, stacked_factor
from tests.gain.networks import act, branches, chain, convolutional, linear, mlp, normal, residual


def ready(network: Network, goals: Tensor | None = None) -> Prepared:
    network = fold(network)
    return prepare(region(network, network.input, network.output), goals=goals)


def chosen(prepared: Prepared, seed: int = 0) -> dict[str, Tensor]:
    """Feasible multipliers that differ from entry to entry: raising those nearer the output keeps T > Q only a little
    in front, so each is raised by more than all behind it together."""
    found = sweep(prepared, scalar_rule(prepared, dict.fromkeys(prepared.sizes, 1.0)))
    generator = torch.Generator().manual_seed(seed)
    raised: dict[str, Tensor] = {}
    for k, name in enumerate(reversed([n for n in prepared.tunable() if n in found.logs])):
        noise = torch.rand(found.logs[name].shape, generator=generator, dtype=torch.float64)
        raised[name] = found.logs[name] + 0.1 * (k + noise)
    return raised


def swept(prepared: Prepared, seed: int = 0, many: int = 1) -> Swept:
    return sweep(prepared, chosen(prepared, seed), many=many)


def test_linear_network_has_its_norm():
    weight = normal(0, 4, 6)
    found = sweep(ready(chain((6,), linear(weight))), {})
    assert float(found.log_factor) == pytest.approx(2 * math.log(float(torch.linalg.matrix_norm(weight, 2))), abs=1e-12)


def test_single_neuron_at_the_best_multiplier():
    # min over T of T^2 / (4 (T - q)), q = w2^2: at T = 2 q it is q, so the factor is (w1 w2)^2.
    net = chain((1,), linear(torch.full((1, 1), 3.0).double()), act("relu"), linear(torch.full((1, 1), 5.0).double()))
    found = sweep(ready(net), {"n1": torch.tensor([[2.0 * 25.0]], dtype=torch.float64).log()})
    assert math.exp(float(found.log_factor) / 2) == pytest.approx(15.0, rel=1e-14)
    worse = sweep(ready(net), {"n1": torch.tensor([[3.0 * 25.0]], dtype=torch.float64).log()})
    assert math.exp(float(worse.log_factor)) == pytest.approx(9 * 9 / 8 * 25.0, rel=1e-14)


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_one_inequality_over_all_increments(seed: int):
    prepared = ready(dag(seed, count=6 + seed % 5))
    if not prepared.tunable():
        pytest.skip("linear")
    found = swept(prepared, seed)
    if not math.isfinite(float(found.log_factor)):
        pytest.skip("raised multipliers are not feasible here")
    used = found.multipliers()
    expected = stacked_factor(prepared, used, torch.eye(3, dtype=torch.float64))
    # A sealed node's T is 2^-30 above singular, and the dense inequality loses so many digits there.
    tolerance = 1e-9 if len(found.seals) == 1 else 1e-5
    assert math.exp(float(found.log_factor)) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("sharpness", [math.inf, 10.0])
def test_gradient_is_the_difference_quotient(seed: int, sharpness: float):
    prepared = ready(dag(seed, count=8))
    logs = chosen(prepared, seed)
    at = sweep(prepared, logs, many=4)
    if not logs or not math.isfinite(float(at.log_factor)):
        pytest.skip("linear, or not feasible")

    def value(changed: dict[str, Tensor]) -> float:
        found = sweep(prepared, changed, many=4)
        return float(found.log_factor if math.isinf(sharpness) else found.smooth(sharpness))

    step = 1e-5
    for name, slope in slopes(at, sharpness).by.items():
        direction = normal(seed, *logs[name].shape)
        ahead, back = (value(logs | {name: logs[name] + s * step * direction}) for s in (1, -1))
        # Central differences: third derivatives of order 1 times step^2, and rounding 1e-14 / step.
        assert float((slope * direction).sum()) == pytest.approx((ahead - back) / (2 * step), abs=2e-6)


@pytest.mark.parametrize("network", [mlp(0, 5, 8, 7, 3), residual(1, name="gelu"), branches(2), dag(3)])
def test_batches_equal_one_by_one(network: Network):
    outputs = math.prod(network.output_shape)
    goals = normal(5, 4, 1, outputs)
    together = ready(network, goals)
    logs = chosen(together)
    found = sweep(together, logs, many=3)
    gradient = slopes(found)
    for k in range(4):
        alone = sweep(ready(network, goals[k : k + 1]), {name: log[k : k + 1] for name, log in logs.items()}, many=3)
        torch.testing.assert_close(alone.log_factor[0], found.log_factor[k], rtol=0, atol=1e-11)
        for name, slope in slopes(alone).by.items():
            torch.testing.assert_close(slope[0], gradient.by[name][k], rtol=1e-6, atol=1e-8)


def test_infeasible_multipliers_are_infinite_for_their_element_only():
    network = mlp(0, 5, 8, 7, 3)
    goals = torch.eye(3, dtype=torch.float64).unsqueeze(1) * torch.tensor([1.0, 100.0, 1.0]).double().reshape(3, 1, 1)
    logs = {name: log[:1] for name, log in chosen(ready(network, goals)).items()}
    found = sweep(ready(network, goals[:2]), logs)
    assert math.isfinite(float(found.log_factor[0]))
    assert float(found.log_factor[1]) == math.inf
    all_of_them = {name: log - 50.0 for name, log in logs.items()}
    assert float(sweep(ready(network, goals[:1]), all_of_them).log_factor) == math.inf


@pytest.mark.parametrize("power", [-40, 40])
def test_relative_accuracy_does_not_depend_on_scale(power: int):
    # 16 layers: the gain changes by 2^(+-640), its square by more than float64 holds.
    weights = [normal(k, 6, 6) / 6**0.5 for k in range(16)]
    nets = [
        chain((6,), *(kind for w in weights for kind in (linear(w * scale), act("relu"))))
        for scale in (1.0, 2.0**power)
    ]
    found = [sweep(p := ready(net), scalar_rule(p, dict.fromkeys(p.sizes, 1.0))) for net in nets]
    shift = 2 * 16 * power * math.log(2.0)
    assert float(found[1].log_factor) == pytest.approx(float(found[0].log_factor) + shift, rel=1e-13)
    again = sweep(ready(nets[1]), dict(found[1].logs), many=2)
    assert float(again.log_factor) == pytest.approx(float(found[1].log_factor), rel=1e-13)
    for name, slope in slopes(again).by.items():
        expected = slopes(sweep(ready(nets[0]), dict(found[0].logs), many=2)).by[name]
        torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-9)


def test_ties_are_one_number_or_one_a_channel():
    prepared = ready(convolutional(1))
    full = chosen(prepared)
    name = next(n for n in full if prepared.sizes[n] == 4 * 2 * 2)
    channel = full[name].reshape(1, 4, 4).amax(2)
    tied = sweep(prepared, full | {name: channel})
    spread = sweep(prepared, full | {name: channel.repeat_interleave(4, 1)})
    assert float(tied.log_factor) == float(spread.log_factor)


def test_a_wide_input_is_replaced_by_the_rows_that_read_it():
    network = mlp(3, 50, 6, 5, 2)
    prepared = ready(network)
    assert prepared.sizes["x"] == 6
    logs = chosen(prepared)
    expected = stacked_factor(prepared, sweep(prepared, logs).multipliers(), torch.eye(2, dtype=torch.float64))
    assert math.exp(float(sweep(prepared, logs).log_factor)) == pytest.approx(expected, rel=1e-10)


def test_metrics_at_both_ends():
    network = fold(mlp(4, 5, 8, 3))
    start, stop = normal(1, 5).abs() + 0.5, normal(2, 3).abs() + 0.5
    area = region(network, "x", network.output)
    weighted = prepare(area, metric=start, goals=stop.sqrt().unsqueeze(0))
    logs = chosen(weighted)
    found = sweep(weighted, logs)
    first, last = network.nodes[0].kind, network.nodes[-1].kind
    scaled = chain(
        (5,),
        linear(first.map.matrix() / start.sqrt()),  # pyright: ignore
        act("relu"),
        linear(stop.sqrt()[:, None] * last.map.matrix()),  # pyright: ignore
    )
    plain = sweep(ready(scaled), dict(zip(("n1",), logs.values(), strict=True)))
    assert float(found.log_factor) == pytest.approx(float(plain.log_factor), abs=1e-12)


def test_large_forms_take_the_same_values():
    # Wide enough for symmetric updates, factorization in place and the iteration for the largest eigenvalue.
    network = mlp(5, 420, 400, 380, 3)
    prepared = ready(network)
    logs = chosen(prepared)
    found = sweep(prepared, logs, many=2)
    expected = stacked_factor(prepared, found.multipliers(), torch.eye(3, dtype=torch.float64))
    assert math.exp(float(found.log_factor)) == pytest.approx(expected, rel=1e-8)


def test_too_large_is_refused():
    network = chain((10_000,), act("relu"), act("tanh"))
    with pytest.raises(NoSoundRuleError, match="too many"):
        ready(network)
