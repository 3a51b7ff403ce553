import torch

from netgain.gain.coordinates import Coordinates
from netgain.network.graph import Network
from tests.gain.networks import branches, convolutional, linear, mlp, node, normal


def test_a_wide_first_layer_leaves_the_input_alone():
    for network in (mlp(0, 3, 8, 2), convolutional(0), branches(0)):
        x = normal(1, 4, *network.input_shape)
        place = Coordinates.of(network)
        assert place.inverse is None
        assert place.input(x) is x
        assert place.coordinates(x) is x


def test_a_narrow_first_layer_is_inverted():
    network = mlp(0, 8, 3, 2)
    place = Coordinates.of(network)
    y = normal(1, 5, 3)
    x = place.input(y)
    assert x.shape == (5, 8)
    first = dict(network.values(x))["n0"]
    assert torch.allclose(first, y)
    assert torch.allclose(place.coordinates(x), y)
    # What the first layer does not see changes nothing behind it.
    other = normal(2, 5, 8)
    assert torch.allclose(network(place.input(place.coordinates(other))), network(other))


def test_dependent_rows_and_the_zero_matrix_have_a_pseudo_inverse():
    row = normal(0, 1, 4)
    network = Network("x", (4,), (node("a", linear(torch.cat([row, 2 * row, 0 * row])), ("x",), (3,)),), "a")
    x = Coordinates.of(network).input(normal(1, 2, 3))
    assert bool(x.isfinite().all())


def test_the_identity_has_no_first_layer():
    assert Coordinates.of(Network("x", (2,), (), "x")).inverse is None
