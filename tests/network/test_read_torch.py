"""Reading modules: the network computes what the module computes, in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netgain.core import errors
from netgain.network.graph import Affine, Elementwise, Network, Sum, Vector
from netgain.network.read.read import read


def settle(module: nn.Module) -> nn.Module:
    """Random statistics and eval mode, so that normalization layers do something."""
    generator = torch.Generator().manual_seed(3)
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            drawn = torch.rand(buffer.shape, generator=generator) + 0.5
            buffer.copy_(drawn if "var" in name else drawn - 1)
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def agrees(module: nn.Module, shape: tuple[int, ...], *, rtol: float = 1e-12) -> Network:
    """Read a module and compare with its float64 self, on rows of several sizes."""
    torch.manual_seed(0)
    network = read(settle(module), shape)
    x = torch.randn(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = copy.deepcopy(module).double()(x)
        found = network(x)
    assert found.shape == expected.shape
    assert network.output_shape == tuple(expected.shape[1:])
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * float(expected.abs().max()))
    return network


class Residual(nn.Module):
    """Two convolutions with batch norm and a skip, in-place as torchvision writes it."""

    def __init__(self, inside: int, out: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        plain = stride == 1 and inside == out
        self.down = None if plain else nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.down is None else self.down(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.layer1, self.layer2 = Residual(4, 4), Residual(4, 8, 2)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(self.layer2(self.layer1(self.stem(x))), 1).flatten(1))


def test_mlp_by_hand():
    first, second = nn.Linear(2, 2), nn.Linear(2, 1)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 0.0]]))
        first.bias.copy_(torch.tensor([0.0, -1.0]))
        second.weight.copy_(torch.tensor([[1.0, 3.0]]))
        second.bias.fill_(0.5)
    network = read(nn.Sequential(first, nn.ReLU(), second), (2,))
    # relu(2-1, 4-1) = (1, 3); 1 + 9 + 0.5
    assert network(torch.tensor([[2.0, 1.0]], dtype=torch.float64)).tolist() == [[10.5]]
    assert [node.name for node in network.nodes] == ["0", "1", "2"]
    assert [type(node.kind) for node in network.nodes] == [Affine, Elementwise, Affine]
    assert network.parameters == 9
    assert network.dtype == "float32"


def test_mlp_with_flatten_and_dropout():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 3))
    assert len(agrees(module, (3, 4)).nodes) == 4


def test_resnet_keeps_names_and_lines():
    network = agrees(ResNet(), (3, 16, 16))
    names = [node.name for node in network.nodes]
    assert len(set(names)) == len(names)
    assert {"stem.0", "layer1.conv1", "layer2.bn2", "layer1.add", "fc"} <= set(names)
    assert isinstance(network.node("layer1.add").kind, Sum)
    assert isinstance(network.node("stem.3").kind, Vector)
    line = network.node("layer1.add").source.location
    assert line.startswith(("tests/network/test_read_torch.py:", "test_read_torch.py:"))


def test_empty_model_is_the_identity():
    network = read(nn.Sequential(), (3,))
    assert network.nodes == ()
    assert network.output == network.input
    x = torch.randn(2, 3)
    assert torch.equal(network(x), x)


def test_training_mode_is_left_alone_and_noted():
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout()).train()
    before = copy.deepcopy(module.state_dict())
    network = read(module, (3,))
    assert module.training
    assert all(part.training for part in module.modules())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert "NG108" in dict(network.notes)
    assert "NG108" not in dict(read(module.eval(), (3,)).notes)


def test_no_example_is_a_usage_error():
    with pytest.raises(errors.UsageError, match="example"):
        read(nn.Linear(2, 2))
