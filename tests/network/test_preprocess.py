"""Preprocessing: (x - mean) / std exactly, in front of the network."""

import mpmath
import pytest
import torch
from torch import nn

from netgain.core import errors
from netgain.network.graph import Affine
from netgain.network.read.preprocess import parse
from netgain.network.read.read import read


def test_first_node_is_the_scaling_with_its_errors():
    network = read(nn.Flatten(), (1, 2, 2), preprocess="0.1307,0.3081")
    kind = network.nodes[0].kind
    assert isinstance(kind, Affine)
    mpmath.mp.prec = 200
    scale, shift = 1 / mpmath.mpf(0.3081), -mpmath.mpf(0.1307) / mpmath.mpf(0.3081)
    assert abs(scale - float(kind.map.scale.flatten()[0])) <= float(kind.map.error.flatten()[0]) < 1e-14
    assert abs(shift - float(kind.bias.flatten()[0])) <= float(kind.bias_error.flatten()[0]) < 1e-14
    x = torch.tensor([[[[0.1307, 1.0], [0.0, 0.5]]]], dtype=torch.float64)
    torch.testing.assert_close(network(x), ((x - 0.1307) / 0.3081).flatten(1), rtol=1e-14, atol=1e-15)


def test_a_power_of_two_is_exact():
    kind = read(nn.Flatten(), (2,), preprocess=(0.0, 0.25)).nodes[0].kind
    assert isinstance(kind, Affine)
    assert kind.map.uncertainty() is None
    assert kind.map.matrix().tolist() == [[4, 0], [0, 4]]


@pytest.mark.parametrize("given", ["0.5,0.4,0.3;0.1,0.2,0.25", ((0.5, 0.4, 0.3), (0.1, 0.2, 0.25))])
def test_channels(given):
    module = nn.Conv2d(3, 2, 3)
    network = read(module, (3, 4, 4), preprocess=given)
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    mean = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float64).reshape(3, 1, 1)
    std = torch.tensor([0.1, 0.2, 0.25], dtype=torch.float64).reshape(3, 1, 1)
    torch.testing.assert_close(network(x), module.double()((x - mean) / std), rtol=1e-12, atol=1e-13)


def test_identity_behind_it():
    network = read(nn.Identity(), (2,), preprocess=(1.0, 2.0))
    assert network(torch.tensor([[3.0, 5.0]], dtype=torch.float64)).tolist() == [[1, 2]]


@pytest.mark.parametrize("bad", ["0.5", "a,b", "1,2,3", "1,0", "1,-1", "nan,1", "1,2;3", (1.0, 0.0)])
def test_refusals(bad):
    with pytest.raises(errors.UsageError):
        parse(bad)


def test_wrong_number_of_channels():
    with pytest.raises(errors.UsageError, match="3 channels"):
        read(nn.Flatten(), (1, 2, 2), preprocess=((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)))
