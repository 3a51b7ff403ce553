"""Layers that are called 1-Lipschitz: what they really are is what is bounded and certified."""

import pytest
import torch
from torch import nn

import netgain
from netgain.certification.certify import CertifyOptions, certify

QUIET = CertifyOptions(attack=None)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_spectral_norm_of_torch_is_measured_not_believed(kind: str):
    torch.manual_seed(0)
    layer = nn.Linear(24, 24, bias=False) if kind == "linear" else nn.Conv2d(2, 3, 3, padding=1, bias=False)
    module = nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=1).eval()
    with torch.no_grad():
        # The power-iteration vectors still belong to the old weight, as after loading or averaging weights.
        module.parametrizations.weight.original.normal_()
    shape = (24,) if kind == "linear" else (2, 6, 6)
    unit = torch.eye(int(torch.Size(shape).numel())).reshape(-1, *shape)
    with torch.no_grad():
        matrix = module(unit).reshape(len(unit), -1).double()
    true = float(torch.linalg.matrix_norm(matrix, 2))
    gain = netgain.lipschitz(netgain.read(module, shape))
    assert true > 1.05, "the layer is called 1-Lipschitz"
    assert true * (1 - 1e-6) <= gain.upper.value <= true * (1 + 1e-4)
    assert gain.lower.value > 1.0


def test_rows_of_norm_one_do_not_make_a_map_of_norm_one():
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.8, 0.6]])
    module = nn.Linear(2, 3, bias=False)
    module.weight.data = weight
    network = netgain.read(module, (2,))
    assert netgain.lipschitz(network).lower.value > 1.3
    x = torch.tensor([[-1.0, 0.0]])
    radius = float(certify(network, x, torch.tensor([1]), options=QUIET).radii)
    # Margin 2 over class 0 at distance ||w_1 - w_0|| = 2: the boundary is 1 away, not 2 / sqrt 2.
    assert 0.94 < radius <= 1.0
    beyond = module(x + torch.tensor([[1.2, 0.0]]))
    assert int(beyond.argmax()) != 1


def test_what_eval_mode_serves_is_what_is_bounded():
    class Cached(nn.Module):
        """In eval mode the weight of the last training step is served from a buffer."""

        def __init__(self):
            super().__init__()
            self.raw = nn.Parameter(torch.eye(3))
            self.register_buffer("served", torch.eye(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ (self.raw if self.training else self.served)

    module = Cached().eval()
    with torch.no_grad():
        module.raw.mul_(7.0)
    network = netgain.read(module, (3,))
    assert netgain.lipschitz(network).upper.value == pytest.approx(1.0, rel=1e-6)
    assert "NG106" in dict(network.notes), "the raw weight is not what runs, and the report says so"
