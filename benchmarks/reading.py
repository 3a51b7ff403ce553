"""How long it takes to read a 50-layer residual network into a checked graph."""

import time
from typing import Any

import torch
from torch import Tensor, nn

import netgain

TITLE = "Reading"
HEADERS = ("model", "parameters", "nodes", "seconds", "forward passes of the model in that time")
TARGETS = "Target: export and reading of a 50-layer ResNet under 15 s."


class Bottleneck(nn.Module):
    """The residual block of the 50-layer ResNet."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
        )
        same = stride == 1 and channels == 4 * width
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block."""
        return torch.relu(self.body(x) + self.skip(x))


def resnet50() -> nn.Module:
    """The 50-layer ResNet for 224x224 images, random weights."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(channels, width, stride if block == 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def run(quick: bool) -> list[dict[str, Any]]:
    """Time of the first reading in this process, beside the model's own forward pass."""
    torch.manual_seed(0)
    size = 64 if quick else 224
    model, example = resnet50().eval(), torch.rand(1, 3, size, size)
    began = time.perf_counter()
    network = netgain.read(model, example)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        model(example)
        began = time.perf_counter()
        model(example)
        forward = time.perf_counter() - began
    return [
        {
            "model": f"ResNet-50, {size}x{size}",
            "parameters": network.parameters,
            "nodes": len(network.nodes),
            "seconds": seconds,
            "forward passes of the model in that time": round(seconds / forward),
        }
    ]
