"""Folding keeps the function, merges what can be merged, and bounds every rounded number."""

import random as python_random
from fractions import Fraction

import pytest
import torch

from netgain.activations.table import activation
from netgain.linear import shapes
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.pooling import average_pool, mean
from netgain.linear.reshape import Reshape
from netgain.network.fold import affine_after, fold
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Form, Network, Node, Source, Sum


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Build:
    """A network under construction; each call adds a node and returns its name."""

    def __init__(self, *shape, seed=0):
        self.shapes, self.nodes, self.seed = {"x": shape}, [], seed

    def add(self, kind, *inputs, shape=None, name=None):
        name = name or f"n{len(self.nodes)}"
        shape = shape or (kind.map.out_shape if isinstance(kind, Affine) else self.shapes[inputs[0]])
        self.nodes.append(Node(name, kind, inputs, shape, Source(f"op.{name}", f"module.{name}")))
        self.shapes[name] = shape
        return name

    def number(self):
        self.seed += 1
        return self.seed

    def dense(self, source, out, bias=True, name=None):
        shape = self.shapes[source]
        linear = Dense(random(out, shape[-1], seed=self.number()), shape[:-1])
        return self.add(
            Affine(linear, random(*linear.out_shape, seed=self.number()) if bias else None), source, name=name
        )

    def norm(self, source, name=None):
        shape = self.shapes[source]
        scale = random(shape[0], *(1 for _ in shape[1:]), seed=self.number()) + 2
        shift = random(*scale.shape, seed=self.number()).expand(shape)
        return self.add(
            Affine(Diagonal(scale, shape, scale.abs() * 2.0**-52), shift, shift.abs() * 2.0**-52), source, name=name
        )

    def conv(self, source, out, name=None, padding=1):
        shape = self.shapes[source]
        weight = random(out, shape[0], 3, 3, seed=self.number())
        linear = Conv(weight, shape, (1, 1), ((padding, padding), (padding, padding)), (1, 1))
        bias = random(out, 1, 1, seed=self.number()).expand(linear.out_shape)
        return self.add(Affine(linear, bias), source, name=name)

    def relu(self, source):
        return self.add(Elementwise(activation("relu")), source)

    def reshape(self, source, *shape, name=None):
        return self.add(Affine(Reshape(self.shapes[source], shape)), source, name=name)

    def network(self, output):
        return Network("x", self.shapes["x"], tuple(self.nodes), output)


def same(network, rtol=1e-12):
    folded = fold(network)
    x = random(4, *network.input_shape, seed=99)
    torch.testing.assert_close(folded(x), network(x), rtol=rtol, atol=rtol * float(network(x).abs().max()))
    assert folded.output_shape == network.output_shape
    names = [node.name for node in folded.nodes]
    assert len(set(names)) == len(names)
    known = {"x"}
    for node in folded.nodes:
        assert set(node.inputs) <= known
        known.add(node.name)
    assert len(fold(folded).nodes) == len(folded.nodes)
    return folded


def kinds(network):
    return [type(node.kind).__name__ for node in network.nodes]


def test_conv_norm_pool_flatten_linear():
    net = Build(2, 6, 6)
    bottom = net.add(Affine(shapes.pad((2, 6, 6), ((1, 1), (1, 1)))), "x", name="pad")
    bottom = net.relu(net.norm(net.conv(bottom, 3, "conv", padding=0), "norm"))
    bottom = net.add(Affine(average_pool((3, 6, 6), (2, 2), (2, 2), ((0, 0), (0, 0)))), bottom, name="pool")
    top = net.dense(net.relu(net.dense(net.reshape(bottom, 27, name="flatten"), 5, name="fc")), 4, name="top")
    network = net.network(top)
    folded = same(network)
    assert kinds(folded) == ["Affine", "Elementwise", "Affine", "Elementwise", "Affine"]
    first, _, middle, _, _ = folded.nodes
    assert first.name == "pad+conv+norm"
    assert isinstance(first.kind.map, Conv)
    assert first.kind.map.padding == ((1, 1), (1, 1))
    assert first.source == Source("op.pad + op.conv + op.norm", "module.conv")
    assert first.kind.map.error is not None
    assert first.kind.bias_error is not None
    assert middle.name == "pool+flatten+fc"
    assert len(network.nodes) == 9, "the network that was folded is untouched"


def test_nothing_folds_where_several_nodes_read():
    net = Build(3)
    shared = net.dense("x", 3)
    network = net.network(net.add(Concat(0), net.dense(shared, 2), net.norm(shared), shape=(5,)))
    assert len(same(network).nodes) == 4


def test_the_output_is_not_folded_away():
    net = Build(3)
    inner = net.dense("x", 3, name="inner")
    net.dense(inner, 3, name="dead")
    folded = same(net.network(inner))
    assert [node.name for node in folded.nodes] == ["inner"]


def test_residual_block_keeps_its_skip():
    net = Build(4)
    branch = net.dense(net.relu(net.dense("x", 6)), 4)
    folded = same(net.network(net.add(Sum((1.0, 1.0)), "x", branch)))
    assert kinds(folded) == ["Affine", "Elementwise", "Affine", "Sum"]


def test_linear_residual_becomes_one_matrix():
    net = Build(4)
    below = net.dense("x", 4)
    network = net.network(net.dense(net.add(Sum((1.0, -0.5)), below, net.dense(below, 4)), 2))
    folded = same(network)
    assert kinds(folded) == ["Affine"]
    assert isinstance(folded.nodes[0].kind.map, Dense)


def test_parallel_matrices_and_a_third_input():
    net = Build(2, 3)
    branches = (net.dense("x", 3), net.dense("x", 3), net.relu("x"), net.norm("x"))
    folded = same(net.network(net.add(Sum((1.0, 2.0, 3.0, 4.0)), *branches)))
    assert sorted(kinds(folded)) == ["Affine", "Affine", "Elementwise", "Sum"]


def test_sums_flatten_and_collect():
    net = Build(3)
    left, right = net.relu("x"), net.add(Elementwise(activation("tanh")), "x")
    inner = net.add(Sum((1.0, 2.0)), left, right)
    folded = same(net.network(net.add(Sum((0.5, 1.0)), inner, left)))
    assert kinds(folded) == ["Elementwise", "Elementwise", "Sum"]
    assert folded.nodes[-1].kind.scales == (1.5, 1.0)
    doubled = Build(3)
    folded = same(doubled.network(doubled.dense(doubled.add(Sum((1.0, 1.0)), "x", "x"), 2)))
    assert kinds(folded) == ["Affine"]
    assert folded.nodes[0].kind.map.error is None


def test_inexact_scales_stay():
    net = Build(3)
    inner = net.add(Sum((0.1, 1.0)), net.relu("x"), "x")
    assert kinds(same(net.network(net.add(Sum((0.1, 1.0)), inner, "x")))).count("Sum") == 2


def test_identities_and_dead_nodes_vanish():
    net = Build(2, 3)
    net.relu("x")
    top = net.add(Elementwise(activation("identity")), net.reshape(net.reshape("x", 6), 2, 3))
    single = net.add(Concat(0), net.add(Sum((1.0,)), top))
    folded = same(net.network(single))
    assert folded.nodes == ()
    assert folded.output == "x"


def test_products_are_left_alone():
    net = Build(3)
    product = net.add(Bilinear(Form.PRODUCT), net.dense("x", 3), "x")
    assert kinds(same(net.network(net.dense(product, 2)))) == ["Affine", "Bilinear", "Affine"]


def test_a_joined_name_that_exists_already():
    net = Build(3)
    first = net.dense("x", 3, name="a+b")
    net_relu = net.relu(first)
    folded = same(net.network(net.dense(net.dense(net_relu, 3, name="a"), 2, name="b")))
    assert [node.name for node in folded.nodes] == ["a+b", "n1", "a+b+"]


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_keep_their_function(seed):
    draw = python_random.Random(seed)
    net = Build(4, seed=1000 * seed)
    values = ["x"]
    for _ in range(draw.randint(3, 14)):
        source, other = draw.choice(values), draw.choice(values)
        choice = draw.randrange(9)
        if choice <= 2:
            values.append(net.dense(source, 4, bias=draw.random() < 0.5))
        elif choice == 3:
            values.append(net.norm(source))
        elif choice == 4:
            values.append(net.relu(source))
        elif choice == 5:
            values.append(net.add(Affine(shapes.flip((4,), (0,))), source))
        elif choice == 6:
            values.append(net.reshape(net.reshape(source, 2, 2), 4))
        elif choice == 7:
            scales = tuple(draw.choice([1.0, -1.0, 0.5, 0.3]) for _ in range(3))
            values.append(net.add(Sum(scales), source, other, draw.choice(values)))
        else:
            joined = net.add(Concat(0), source, other, shape=(8,))
            values.append(net.dense(joined, 4))
    same(net.network(values[-1]))
    same(net.network(draw.choice(values)))


def rational(matrix):
    return [[Fraction(entry) for entry in row] for row in matrix.tolist()]


@pytest.mark.parametrize("seed", range(20))
def test_errors_bound_the_exact_rational_function(seed):
    """A tower of uncertain affine maps: weights and biases of the folded node against exact arithmetic."""
    draw = python_random.Random(seed)
    net = Build(3, seed=seed)
    value, matrix, offset = "x", [[Fraction(int(i == j)) for j in range(3)] for i in range(3)], [Fraction(0)] * 3
    for number in range(draw.randint(2, 5)):
        weight, bias = random(3, 3, seed=seed * 50 + number), random(3, seed=seed * 50 + number + 25)
        error, bias_error = weight.abs() * 1e-12, bias.abs() * 1e-12
        sign, kind = draw.choice([-1, 1]), draw.randrange(3)
        if kind == 0:
            linear, stored, shift = Dense(weight, (), error), rational(weight), rational(error)
        elif kind == 1:
            linear = Diagonal(weight[0], (3,), error[0])
            stored, shift = rational(torch.diag(weight[0])), rational(torch.diag(error[0]))
        else:
            linear = shapes.flip((3,), (0,))
            stored, shift = rational(linear.matrix()), rational(torch.zeros(3, 3))
        true = [[a + sign * e for a, e in zip(p, q, strict=True)] for p, q in zip(stored, shift, strict=True)]
        true_bias = [Fraction(b) + sign * Fraction(e) for b, e in zip(bias.tolist(), bias_error.tolist(), strict=True)]
        offset = [
            sum(a * o for a, o in zip(row, offset, strict=True)) + b for row, b in zip(true, true_bias, strict=True)
        ]
        columns = list(zip(*matrix, strict=True))
        matrix = [[sum(a * m for a, m in zip(row, column, strict=True)) for column in columns] for row in true]
        value = net.add(Affine(linear, bias, bias_error), value)
    (node,) = fold(net.network(value)).nodes
    kind = node.kind
    uncertainty = kind.map.uncertainty()
    errors = rational(uncertainty.matrix()) if uncertainty is not None else [[Fraction(0)] * 3] * 3
    for stored, truth, allowed in zip(rational(kind.map.matrix()), matrix, errors, strict=True):
        assert all(abs(s - t) <= e for s, t, e in zip(stored, truth, allowed, strict=True))
    for stored, truth, allowed in zip(kind.bias.tolist(), offset, kind.bias_error.tolist(), strict=True):
        assert abs(Fraction(stored) - truth) <= Fraction(allowed)
        assert allowed < 1e-9


def scalar(value, error=None):
    return Dense(torch.tensor([[value]], dtype=torch.float64), (), None if error is None else torch.tensor([[error]]))


def test_bias_errors_are_tight():
    """The worst true numbers attain the bound up to one part in a million: nothing smaller would do."""
    first = Affine(scalar(1.0), torch.tensor([4.0], dtype=torch.float64), torch.tensor([2.0**-9], dtype=torch.float64))
    second = Affine(scalar(2.0, 2.0**-10))
    merged = affine_after(first, second)
    worst = (Fraction(2) + Fraction(1, 2**10)) * (4 + Fraction(1, 2**9)) - 8
    assert worst <= Fraction(merged.bias_error.item()) <= worst * (1 + Fraction(1, 10**6))
    a, b = 1 + 2.0**-26, 1 + 2.0**-27  # the product is half an ulp from its float64
    merged = affine_after(Affine(scalar(1.0), torch.tensor([b], dtype=torch.float64)), Affine(scalar(a)))
    distance = abs(Fraction(merged.bias.item()) - Fraction(a) * Fraction(b))
    assert distance <= Fraction(merged.bias_error.item()) <= distance * (1 + Fraction(1, 10**6))


def test_biases_through_means_and_moves():
    bias = random(3, 2)
    merged = affine_after(Affine(Reshape((6,), (3, 2)), bias), Affine(mean((3, 2), (0,))))
    truth = [sum(map(Fraction, column)) / 3 for column in bias.T.tolist()]
    for v, t, e in zip(merged.bias.tolist(), truth, merged.bias_error.tolist(), strict=True):
        assert abs(Fraction(v) - t) <= Fraction(e)
        assert e < 1e-14
    moved = affine_after(Affine(Reshape((3,), (3,)), bias[:, 0]), Affine(shapes.flip((3,), (0,))))
    assert moved.bias_error is None
    assert torch.equal(moved.bias, bias[:, 0].flip(0))


def test_underflow_in_a_chain_is_carried_along():
    tiny = Affine(scalar(1.0), torch.tensor([2.0**-80], dtype=torch.float64))
    chain = Chain((scalar(2.0**-1000 * 1.5), scalar(2.0**1000)))
    merged = affine_after(tiny, Affine(chain))
    # 1.5 2^-1080 underflows to zero; the true bias 1.5 2^-80 is within the bound all the same.
    assert merged.bias.item() == 0.0
    assert Fraction(3, 2) / 2**80 <= Fraction(merged.bias_error.item())


def test_overflow_keeps_the_factors():
    net = Build(1)
    first = net.add(Affine(scalar(1e200), torch.tensor([1e200], dtype=torch.float64)), "x")
    network = net.network(net.add(Affine(scalar(1e200)), first))
    assert len(fold(network).nodes) == 2
