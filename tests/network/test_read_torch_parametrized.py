"""Input-independent parts are evaluated once, in the model's dtype: the weights the user runs."""

import time
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Vector
from netgain.network.read.read import read


def weight(network, name: str) -> Tensor:
    kind = network.node(name).kind
    assert isinstance(kind, Affine)
    assert isinstance(kind.map, Dense)
    return kind.map.weight


@pytest.mark.parametrize(
    "parametrize",
    [parametrizations.spectral_norm, parametrizations.weight_norm, parametrizations.orthogonal],
    ids=["spectral", "weight", "orthogonal"],
)
def test_parametrizations_leave_one_layer(parametrize):
    torch.manual_seed(0)
    module = nn.Sequential(parametrize(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 2)).eval()
    network = read(module, (4,))
    assert [node.name for node in network.nodes] == ["0", "1", "2"]
    assert torch.equal(weight(network, "0"), module[0].weight.detach().double())


@pytest.mark.parametrize("parametrize", [nn.utils.spectral_norm, nn.utils.weight_norm])
def test_old_hooks(parametrize):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = nn.Sequential(parametrize(nn.Linear(4, 5)), nn.Tanh())
    module(torch.randn(2, 4))
    module.eval()
    network = read(module, (4,))
    torch.testing.assert_close(weight(network, "0"), module[0].weight.detach().double(), rtol=1e-6, atol=0)


def test_torchlip_layers():
    torchlip = pytest.importorskip("deel.torchlip")
    torch.manual_seed(0)
    module = nn.Sequential(
        torchlip.SpectralConv2d(2, 4, 3, padding=1),
        torchlip.GroupSort2(),
        torchlip.ScaledL2NormPool2d(2),
        nn.Flatten(),
        torchlip.SpectralLinear(16, 6),
        torchlip.FullSort(),
        torchlip.FrobeniusLinear(6, 2),
    ).eval()
    network = read(module, (2, 4, 4))
    names = [node.kind.function.name for node in network.nodes if isinstance(node.kind, Vector)]
    assert names == ["sort(axis 1)", "l2_pool(2x2, stride 2x2)", "sort(axis 1)"], "each has gain one as a whole"
    x = torch.randn(3, 2, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(network(x.double()).float(), module(x), rtol=1e-4, atol=1e-5)


class Bottleneck(nn.Module):
    def __init__(self, inside: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        plain = stride == 1 and inside == 4 * width
        skip = nn.Sequential(nn.Conv2d(inside, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        self.down = None if plain else skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        y += x if self.down is None else self.down(x)
        return self.relu(y)


def resnet50(classes: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    inside = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            layers.append(Bottleneck(inside, 64 * 2**stage, 2 if block == 0 and stage else 1))
            inside = 256 * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, classes))


@pytest.mark.slow
def test_fifty_layers():
    torch.manual_seed(0)
    module = resnet50(10).eval()
    start = time.perf_counter()
    network = read(module, (3, 64, 64))
    seconds = time.perf_counter() - start
    print(f"export and reading of a 50-layer ResNet: {seconds:.1f} s")
    assert sum(isinstance(node.kind, Affine) for node in network.nodes) == 53 + 53 + 3
    assert network.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert network.notes == ()
