"""Networks trained by the benchmarks of local bounds, on scikit-learn's digits and on MNIST; seed 0, seconds each."""

import dataclasses
import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.networks import CASES
from netgain.core.errors import NetgainError
from netgain.data.dataset import load
from netgain.network.graph import Network
from netgain.network.read.read import read


@dataclasses.dataclass(frozen=True)
class Subject:
    """A classifier with its test data in raw units.

    Attributes:
        name: for the table.
        network: as read.
        x: test inputs.
        y: their classes.
        epsilon: the l2 radius to certify at, in raw pixel units.
    """

    name: str
    network: Network
    x: Tensor
    y: Tensor
    epsilon: float


class _Residual(nn.Module):
    """Two convolutions around a skip connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The block."""
        return (x + self.second(self.first(x).relu())).relu()


class _Transformer(nn.Module):
    """The eight rows of a digit as tokens, one block of attention and feed-forward layers, the mean of all tokens."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(0.1 * torch.randn(8, width))
        self.block = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.score = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Ten class scores."""
        return self.score(self.block(self.embed(x.flatten(1, 2)) + self.place).mean(1))


class _Recurrent(nn.Module):
    """A GRU over the eight rows of a digit."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.memory = nn.GRU(8, width, batch_first=True)
        self.score = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Ten class scores."""
        return self.score(self.memory(x.flatten(1, 2))[0][:, -1])


def _mlp(sizes: tuple[int, ...], activation: type[nn.Module]) -> nn.Module:
    """A fully connected network on flattened inputs."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


DIGITS: dict[str, Callable[[], nn.Module]] = {
    "digits 64-128-128-10 relu": lambda: _mlp((64, 128, 128, 10), nn.ReLU),
    "digits 64-128-128-10 tanh": lambda: _mlp((64, 128, 128, 10), nn.Tanh),
    "digits residual convolutions": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), _Residual(8), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    ),
    "digits transformer": _Transformer,
    "digits GRU": _Recurrent,
}
MNIST: dict[str, Callable[[], nn.Module]] = {
    "mnist 784-200-100-10 relu": lambda: _mlp((784, 200, 100, 10), nn.ReLU),
    "mnist 784-200-100-10 tanh": lambda: _mlp((784, 200, 100, 10), nn.Tanh),
}


def digits(name: str, epsilon: float = 0.25) -> Subject:
    """A network trained on digits: 60 epochs of Adam, no regularization."""
    return _subject(name, DIGITS[name], "digits", epsilon, 60)


def mnist(name: str, epsilon: float = 0.25, epochs: int = 5) -> Subject:
    """A network trained on MNIST: a few epochs of Adam, no regularization.

    Raises:
        NetgainError: if MNIST is not on this machine.
    """
    return _subject(name, MNIST[name], "mnist", epsilon, epochs)


def published() -> list[Subject]:
    """Trained networks of others with MNIST, where they are installed: dense, convolutional, the CNN of the README."""
    try:
        test = load("mnist:test")
    except NetgainError:
        return []
    dense = _mlp((784, 128, 64, 10), nn.ReLU)
    state = torch.load(CASES / "lirpa_mnist_fc_784-128-64-10.pth", map_location="cpu", weights_only=True)
    for key, layer in zip(("fc1", "fc2", "fc3"), [m for m in dense if isinstance(m, nn.Linear)], strict=True):
        layer.load_state_dict({part: state[f"{key}.{part}"] for part in ("weight", "bias")})
    convolutional = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    convolutional.load_state_dict(torch.load(CASES / "lirpa_mnist_conv_kw.pth", map_location="cpu", weights_only=True))
    found = [
        Subject("mnist 784-128-64-10 (auto_LiRPA)", read(dense.eval(), test.x[:2]), test.x, test.y, 0.25),
        Subject(
            "mnist convolutional, robust (auto_LiRPA)", read(convolutional.eval(), test.x[:2]), test.x, test.y, 0.5
        ),
    ]
    spec = importlib.util.find_spec("digit_recognizer")
    if spec is not None and spec.submodule_search_locations:
        package = Path(spec.submodule_search_locations[0])
        network = read(
            f"{package / 'model.py'}:CNN",
            test.x[:2],
            weights=str(package / "models" / "handwriting_model.pth"),
            preprocess="0.1307,0.3081",
        )
        found.append(Subject("mnist CNN (digit-recognizer-py)", network, test.x, test.y, 0.1))
    return found


def _subject(name: str, build: Callable[[], nn.Module], data: str, epsilon: float, epochs: int) -> Subject:
    """Train and read."""
    train, test = load(f"{data}:train"), load(f"{data}:test")
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = train.x.float(), train.y.long()
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64 if data == "digits" else 128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    options = {"unroll": True} if name == "digits GRU" else {}
    return Subject(name, read(model.eval(), x[:2], **options), test.x, test.y, epsilon)
