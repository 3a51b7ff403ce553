"""What reading refuses, and that it says where."""

import logging

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netgain.core import errors
from netgain.network import check
from netgain.network.graph import Network, Opaque
from netgain.network.read.read import read


class Calls(nn.Module):
    """A module from a function of (module, x)."""

    def __init__(self, function, **state: Tensor):
        super().__init__()
        self.function = function
        for name, value in state.items():
            self.register_buffer(name, value)

    def forward(self, *x: Tensor):
        return self.function(self, *x)


def branch(_: nn.Module, x: Tensor) -> Tensor:
    if x.sum() > 0:
        return x
    return -x


def test_branch_on_the_input_is_refused_at_the_users_line(capfd, caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(errors.DataDependentBranchError) as caught:
        read(Calls(branch), (3,))
    line = branch.__code__.co_firstlineno + 1
    assert f"test_check.py:{line}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.code == "NG003"
    out, err = capfd.readouterr()
    assert (out, err) == ("", ""), "torch.export's noise must not reach the terminal"


def test_value_turned_into_a_number_is_refused():
    with pytest.raises(errors.DataDependentBranchError):
        read(Calls(lambda _, x: x * float(x.sum())), (3,))


@pytest.mark.parametrize(
    "coupled",
    [
        lambda _, x: x - x.mean(0),
        lambda _, x: x / x.shape[0],
        lambda _, x: x.flip(0),
        lambda _, x: x + x.max(),
        lambda _, x: F.batch_norm(x, None, None, training=True),
        lambda _, x: F.softmax(x, 0),
        lambda _, x: x.roll(1),
        lambda _, x: x @ (x.T @ x),
        lambda _, x: x.cumsum(0),
        lambda _, x: x.sort(0)[0],
    ],
)
def test_coupled_rows_are_refused(coupled):
    with pytest.raises(errors.BatchCoupledError) as caught:
        read(Calls(coupled), (3,))
    assert caught.value.code == "NG005"


def test_batch_norm_without_statistics_is_refused():
    with pytest.raises(errors.BatchCoupledError, match=r"training mode"):
        read(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)), (3,))


@pytest.mark.parametrize(
    "random", [lambda _, x: F.dropout(x), lambda _, x: x + torch.rand(3), lambda _, x: x + torch.randn_like(x)]
)
def test_random_models_are_refused(random):
    with pytest.raises(errors.StatefulModelError) as caught:
        read(Calls(random), (3,))
    assert caught.value.code == "NG006"


def counting(me: nn.Module, x: Tensor) -> Tensor:
    me.count += 1
    return x * me.count


def test_state_is_refused():
    with pytest.raises(errors.StatefulModelError, match="count"):
        read(Calls(counting, count=torch.zeros(1)), (3,))


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_weights_that_are_no_numbers_are_named(value: float, word: str):
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        module[1].weight[0, 1] = value
    with pytest.raises(errors.NonFiniteWeightError, match=rf"1\.weight.*{word}"):
        read(module, (2,))


def test_negative_variance_is_refused():
    module = nn.BatchNorm1d(2).eval()
    module.running_var.fill_(-1.0)
    with pytest.raises(errors.NonFiniteWeightError, match="variance"):
        read(module, (2,))


def test_unused_parameters_are_noted():
    module = nn.ModuleDict({"used": nn.Linear(2, 2), "left": nn.Linear(2, 2)})
    wrapped = Calls(lambda me, x: me.parts["used"](x))
    wrapped.parts = module
    notes = dict(read(wrapped, (2,)).notes)
    assert "parts.left.weight" in notes["NG106"]
    assert "parts.left.bias" in notes["NG106"]
    assert "used" not in notes["NG106"].replace("unused", "").replace("not used", "")


def test_user_errors_become_one_sentence():
    with pytest.raises(errors.ModelError, match=r"fails on input of shape \(2, 5\)") as caught:
        read(nn.Linear(3, 2), (5,))
    assert "\n" not in str(caught.value)


def test_no_tensor_out():
    with pytest.raises(errors.ModelError, match="without any tensor"):
        read(Calls(lambda _, x: {"a": None}), (3,))


def test_outputs_by_name_and_position():
    module = Calls(lambda _, x: {"logits": 2 * x, "parts": (x.sum(1), x[:, :2])})
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    assert read(module, (3,))(x).tolist() == [[2, 4, 6, 6, 1, 2]]
    assert read(module, (3,), output="logits")(x).tolist() == [[2, 4, 6]]
    assert read(module, (3,), output=2)(x).tolist() == [[1, 2]]
    with pytest.raises(errors.UsageError, match="logits"):
        read(module, (3,), output="logit")
    with pytest.raises(errors.UsageError, match="3 tensors"):
        read(module, (3,), output=7)


def test_several_inputs_are_joined():
    module = Calls(lambda _, a, b: a.flatten(1) @ torch.ones(4, 2) - 3 * b)
    network = read(module, (torch.randn(2, 2, 2), torch.randn(2, 2)))
    assert network.input_shape == (6,)
    assert network(torch.tensor([[1.0, 2, 3, 4, 5, 6]], dtype=torch.float64)).tolist() == [[-5, -8]]


def test_whole_numbers_are_read_and_refused_later():
    module = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))
    network = read(module, torch.tensor([[1, 2, 3], [4, 5, 6]]))
    kinds = [node.kind for node in network.nodes if isinstance(node.kind, Opaque)]
    assert [kind.code for kind in kinds] == ["NG013"]
    x = torch.tensor([[0.0, 6.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(network(x), module.double()(x.long()))


def test_batch_of_one_and_more_rows_read_the_same():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)).eval()
    one = read(module, torch.randn(1, 1, 4, 4))
    three = read(module, torch.randn(3, 1, 4, 4))
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    assert torch.equal(one(x), three(x))


def test_a_batch_baked_into_the_code_is_refused_or_read_right():
    """A view of two rows exports only at batch two, and fails at others."""
    with pytest.raises(errors.BatchCoupledError, match="batch"):
        read(Calls(lambda _, x: x.view(2, 3) * 2), (3,))


def test_static_export_falls_back_where_the_batch_cannot_be_proved():
    """Python's int() of a size blocks the symbolic batch; the rows are then checked at several sizes."""
    network = read(Calls(lambda _, x: x.reshape(int(x.shape[0]), 3) * 2), (3,))
    x = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(network(x), 2 * x)


def test_a_wrong_lowering_is_caught(monkeypatch):
    """Replay must see a network that is off by one part in a million."""
    original = Network.__call__
    monkeypatch.setattr(Network, "__call__", lambda self, x: original(self, x) * (1 + 1e-6))
    with pytest.raises(errors.ReplayError) as caught:
        read(nn.Linear(3, 2), (3,))
    assert caught.value.code == "NG004"


def test_deep_contraction_does_not_hide_errors():
    """Outputs of 1e-12 are compared relative to themselves."""
    module = nn.Sequential(*(nn.Linear(3, 3, bias=False) for _ in range(6)))
    with torch.no_grad():
        for layer in module:
            layer.weight.mul_(1e-2)
    network = read(module, (3,))
    x = torch.randn(2, 3, dtype=torch.float64)
    expected = module.double()(x)
    assert float(expected.detach().abs().max()) < 1e-9
    torch.testing.assert_close(network(x), expected, rtol=1e-11, atol=0)


def test_trial_inputs_are_of_several_sizes_and_reproducible():
    first = check.trial_inputs((torch.randn(2, 3),), 4)
    again = check.trial_inputs((torch.randn(2, 3),), 4)
    assert all(x.shape == (4, 3) for (x,) in first)
    assert torch.equal(first[0][0], again[0][0])
    assert float(first[-1][0].abs().max()) > 10


def test_extreme_weights_are_read():
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    with torch.no_grad():
        module[0].weight.mul_(1e35)
        module[2].weight.mul_(1e-40)
    assert read(module, (3,)).output_shape == (2,)


@pytest.mark.parametrize(
    "coupled",
    [
        lambda _, x: (x.bfloat16() * x.shape[0]).float(),
        lambda _, x: (x.half() * x.shape[0]).float(),
        lambda _, x: x * x.shape[0] + 1e6,
    ],
)
def test_batch_size_that_hides_behind_rounding_or_an_offset(coupled):
    with pytest.raises(errors.BatchCoupledError):
        read(Calls(coupled), (6,))


class Branching(nn.Module):
    """Another function for batches above a limit."""

    def __init__(self, limit: int):
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        return x * 9 if x.shape[0] > self.limit else x


class Table(nn.Module):
    """A model that takes at most 20 rows."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.zeros(20, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[: x.shape[0]]


@pytest.mark.parametrize("limit", [8, 64, 10**7])
def test_branch_on_the_batch_size_beyond_the_sizes_that_are_tried(limit: int):
    with pytest.raises(errors.BatchCoupledError):
        read(Branching(limit), (6,))


def test_float32_inside_a_model_and_a_largest_batch_are_no_coupling():
    read(Calls(lambda _, x: F.linear(x.float(), torch.ones(6, 6))), (6,))
    read(Table(), (6,))
