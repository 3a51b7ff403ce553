"""Reading whole ONNX networks: known graphs, structure, notes, ports."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from netgain.core.errors import ExampleError, ModelError, ReplayError
from netgain.network.graph import Affine, Elementwise, Opaque, Vector
from netgain.network.read.onnx import read_onnx
from tests.network.onnx_files import model, node, save, weights


def test_small_classifier(tmp_path):
    proto = model(
        [
            node("Conv", "x k c", "a", pads=[1, 1, 1, 1], name="conv"),
            node("Relu", "a", "b", name="relu"),
            node("MaxPool", "b", "d", kernel_shape=[2, 2], strides=[2, 2], name="pool"),
            node("Flatten", "d", "e", name="flat"),
            node("Gemm", "e W v", "y", transB=1, name="fc"),
        ],
        {"x": ("N", 1, 8, 8)},
        {"k": weights(4, 1, 3, 3), "c": weights(4), "W": weights(10, 64), "v": weights(10)},
    )
    network = read_onnx(save(proto, tmp_path))
    assert [type(one.kind) for one in network.nodes] == [Affine, Elementwise, Vector, Affine, Affine]
    assert [one.name for one in network.nodes] == ["conv", "relu", "pool", "flat", "fc"]
    assert (network.input_shape, network.output_shape, network.parameters) == ((1, 8, 8), (10,), 690)
    x = torch.from_numpy(weights(5, 1, 8, 8, seed=3)).double()
    k, c, v = (torch.from_numpy(weights(*s)).double() for s in ((4, 1, 3, 3), (4,), (10,)))
    hidden = torch.nn.functional.max_pool2d(torch.relu(torch.nn.functional.conv2d(x, k, c, padding=1)), 2)
    expected = hidden.flatten(1) @ torch.from_numpy(weights(10, 64)).double().T + v
    np.testing.assert_allclose(network(x), expected, rtol=1e-12)


ROWS = {"x": ("N", 6)}


def affine_weight(network):
    return next(one.kind.map.weight for one in network.nodes if isinstance(one.kind, Affine))


def test_initialisers_listed_as_inputs_are_constants(tmp_path):
    proto = model([node("MatMul", "x W")], {**ROWS, "W": (6, 3)}, {"W": weights(6, 3)}, opset=8)
    proto.ir_version = 3
    network = read_onnx(save(proto, tmp_path))
    assert network.input_shape == (6,)
    np.testing.assert_array_equal(affine_weight(network).numpy().T, weights(6, 3).astype(np.float64))


def test_weights_in_constant_nodes_are_counted(tmp_path):
    value = numpy_helper.from_array(weights(6, 3))
    proto = model([helper.make_node("Constant", [], ["W"], value=value), node("MatMul", "x W")], ROWS)
    network = read_onnx(save(proto, tmp_path))
    assert network.parameters == 18
    assert len(network.nodes) == 1


def test_weights_are_folded_in_the_models_own_type(tmp_path):
    nodes = [node("Mul", "W s", "V"), node("Transpose", "V", "U"), node("MatMul", "x U")]
    network = read_onnx(save(model(nodes, ROWS, {"W": weights(3, 6), "s": np.float32(1.1)}), tmp_path))
    expected = (weights(3, 6) * np.float32(1.1)).astype(np.float64)
    np.testing.assert_array_equal(affine_weight(network).numpy(), expected)


def test_unused_weights_are_noted(tmp_path):
    proto = model([node("MatMul", "x W")], ROWS, {"W": weights(6, 3), "left": weights(5)})
    network = read_onnx(save(proto, tmp_path))
    assert [code for code, _ in network.notes] == ["NG106"]
    assert "'left'" in network.notes[0][1]


def test_nodes_in_any_order(tmp_path):
    nodes = [node("Tanh", "b"), node("Relu", "a", "b"), node("Neg", "x", "a")]
    network = read_onnx(save(model(nodes, ROWS), tmp_path))
    np.testing.assert_allclose(network(-torch.ones(1, 6).double()), np.tanh(np.ones((1, 6))))


def test_names_are_unique_and_sources_name_the_node(tmp_path):
    nodes = [node("Relu", "x", "a", name="act"), node("Neg", "a", "b", name="act"), node("Tanh", "b", name="act")]
    network = read_onnx(save(model(nodes, ROWS), tmp_path))
    assert len({one.name for one in network.nodes}) == 3
    assert str(network.nodes[0].source) == "onnx.Relu in act"


def test_shape_arithmetic_becomes_static(tmp_path):
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n first", "m"),
        node("Concat", "m rest", "t", axis=0),
        node("Reshape", "x t"),
    ]
    constants = {"zero": np.array(0), "first": np.array([0]), "rest": np.array([-1])}
    network = read_onnx(save(model(nodes, {"x": ("N", 2, 3, 4)}, constants), tmp_path))
    assert network.output_shape == (24,)
    assert len(network.nodes) == 1


def test_batch_merged_into_another_axis(tmp_path):
    """Attention folds its heads into the batch; the rows still do not meet."""
    nodes = [
        node("Reshape", "x s", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 1, 3]),
        node("Reshape", "b t", "c"),
        node("MatMul", "c W", "d"),
        node("Conv", "d k", "e"),
        node("Reshape", "e u"),
    ]
    constants = {
        "s": np.array([-1, 5, 2, 4]), "t": np.array([-1, 5, 4]), "u": np.array([-1, 2, 3, 3]), "W": weights(4, 3),
        "k": weights(3, 5, 1),
    }  # fmt: skip
    network = read_onnx(save(model(nodes, {"x": ("N", 5, 8)}, constants), tmp_path))
    assert network.output_shape == (2, 3, 3)


def test_channels_last(tmp_path):
    nodes = [
        node("Transpose", "x", "a", perm=[0, 3, 1, 2]),
        node("Conv", "a k", "b", auto_pad="SAME_UPPER"),
        node("Transpose", "b", "c", perm=[0, 2, 3, 1]),
        node("Add", "c d"),
    ]
    network = read_onnx(
        save(model(nodes, {"x": ("N", 5, 4, 3)}, {"k": weights(2, 3, 3, 3), "d": weights(2)}), tmp_path)
    )
    assert network.output_shape == (5, 4, 2)


def test_branch_with_a_known_condition(tmp_path):
    branches = [
        helper.make_graph([node(kind, "x", "z")], kind, [], [helper.make_empty_tensor_value_info("z")])
        for kind in ("Relu", "Tanh")
    ]
    step = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    for value, expected in ((True, "relu"), (False, "tanh")):
        network = read_onnx(save(model([step], ROWS, {"c": np.array(value)}), tmp_path))
        assert [one.kind.activation.name for one in network.nodes] == [expected]


def test_branch_on_the_input_is_opaque(tmp_path):
    branches = [
        helper.make_graph([node(kind, "x", "z")], kind, [], [helper.make_empty_tensor_value_info("z")])
        for kind in ("Relu", "Tanh")
    ]
    nodes = [
        node("ReduceSum", "x", "s", keepdims=0),
        node("Greater", "s zero", "c"),
        helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    network = read_onnx(save(model(nodes, {"x": (1, 6)}, {"zero": np.float32(0)}), tmp_path))
    assert [one.kind.code for one in network.nodes if isinstance(one.kind, Opaque)] == ["NG011", "NG003"]
    x = torch.linspace(-1, 2, 6).double()[None]
    np.testing.assert_allclose(network(x), torch.relu(x))
    np.testing.assert_allclose(network(-x), torch.tanh(-x))


def test_functions_are_inlined(tmp_path):
    body = [node("Relu", "a", "b"), node("Neg", "b", "c")]
    function = helper.make_function("own", "Ramp", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
    nodes = [helper.make_node("Ramp", ["x"], ["z"], domain="own"), helper.make_node("Ramp", ["z"], ["y"], domain="own")]
    proto = model(nodes, ROWS, domains=["own"])
    proto.functions.append(function)
    network = read_onnx(save(proto, tmp_path))
    assert [type(one.kind) for one in network.nodes] == [Elementwise, Affine, Elementwise, Affine]


def test_custom_operation_is_shown_but_not_run(tmp_path):
    nodes = [helper.make_node("Magic", ["x"], ["a"], domain="own", name="magic"), node("Relu", "a")]
    proto = model(nodes, ROWS, domains=["own"])
    with pytest.raises(ModelError, match="not known"):
        read_onnx(save(proto, tmp_path))
    del proto.graph.node[1]
    proto.graph.node[0].output[0] = "y"
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, ["N", 3]))
    network = read_onnx(save(proto, tmp_path))
    assert network.output_shape == (3,)
    assert (network.nodes[0].kind.code, network.nodes[0].source.operation) == ("NG010", "onnx.own.Magic")
    with pytest.raises(ModelError, match="magic"):
        network(torch.zeros(1, 6).double())


def test_several_inputs_and_outputs_are_joined(tmp_path):
    nodes = [node("MatMul", "x W", "y"), node("Mul", "u two", "t"), node("Add", "y t", "z")]
    constants = {"W": weights(6, 3), "two": np.float32(2)}
    proto = model(nodes, {"x": ("N", 6), "u": ("N", 3)}, constants, outputs=("y", "z"))
    path = save(proto, tmp_path)
    network = read_onnx(path)
    assert (network.input_shape, network.output_shape) == ((9,), (6,))
    x = torch.from_numpy(weights(4, 9, seed=5)).double()
    y = x[:, :6] @ torch.from_numpy(weights(6, 3)).double()
    np.testing.assert_allclose(network(x), torch.cat([y, y + 2 * x[:, 6:]], 1))
    for output in ("z", 1, -1):
        np.testing.assert_allclose(read_onnx(path, output=output)(x), y + 2 * x[:, 6:])


def test_integer_input_is_marked(tmp_path):
    proto = model([node("Gather", "E x")], {"x": ("N", 4)}, {"E": weights(10, 3)}, element=TensorProto.INT64)
    network = read_onnx(save(proto, tmp_path))
    assert network.nodes[0].kind.code == "NG013"
    x = torch.tensor([[1.0, 9.0, 0.0, 3.0]]).double()
    np.testing.assert_array_equal(network(x)[0], weights(10, 3)[[1, 9, 0, 3]])


def test_open_axes_need_a_shape(tmp_path):
    proto = model([node("GlobalAveragePool", "x")], {"x": ("N", 3, "H", "W")})
    path = save(proto, tmp_path)
    with pytest.raises(ModelError, match=r"\(N, 3, H, W\)"):
        read_onnx(path)
    assert read_onnx(path, shape=(3, 5, 4)).input_shape == (3, 5, 4)
    assert read_onnx(path, shape={"x": (1, 3, 5, 4)}).input_shape == (3, 5, 4)
    with pytest.raises(ExampleError, match=r"\(4, 5, 4\)|\(1, 4, 5, 4\)"):
        read_onnx(path, shape=(4, 5, 4))


def test_open_axis_that_is_no_batch_is_noted(tmp_path):
    nodes = [node("Transpose", "x", "t"), node("MatMul", "t x", "g"), node("Add", "g h")]
    network = read_onnx(save(model(nodes, {"x": ("T", 3), "h": (3, 3)}), tmp_path))
    assert [code for code, _ in network.notes] == ["NG112"]


def test_output_that_does_not_read_the_input(tmp_path):
    proto = model([node("Relu", "x"), node("Neg", "c", "z")], ROWS, {"c": weights(1, 2)}, outputs=("y", "z"))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    network = read_onnx(save(proto, tmp_path))
    np.testing.assert_array_equal(network(torch.zeros(2, 6).double())[1, 6:], -weights(2).astype(np.float64))


def test_missing_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"pip install netgain\[onnx\]"):
        read_onnx(tmp_path / "model.onnx")


def test_a_wrong_graph_is_caught(monkeypatch, tmp_path):
    """If a rule were wrong, the replay would say so."""
    from netgain.network.read.onnx import lower

    original = lower.RULES["Tanh"]

    def wrong(lowering, op):
        return original(lowering, dataclasses.replace(op, proto=erf(op.proto)))

    monkeypatch.setitem(lower.RULES._entries, "Tanh", wrong)
    with pytest.raises(ReplayError):
        read_onnx(save(model([node("Tanh", "x")], ROWS), tmp_path))


def erf(proto):
    changed = type(proto)()
    changed.CopyFrom(proto)
    changed.op_type = "Erf"
    return changed


def test_causal_mask_is_opaque_and_runs(tmp_path):
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    for step, constants in (
        (node("Add", "x m", "z"), {"m": mask}),
        (node("Where", "k x f", "z"), {"k": np.tril(np.ones((4, 4), bool)), "f": np.float32(-np.inf)}),
    ):
        network = read_onnx(save(model([step, node("Softmax", "z")], {"x": ("N", 4, 4)}, constants), tmp_path))
        assert [one.kind.code for one in network.nodes if isinstance(one.kind, Opaque)] == ["NG010"]
        x = torch.from_numpy(weights(2, 4, 4, seed=3)).double()
        np.testing.assert_allclose(network(x), torch.softmax(x + torch.from_numpy(mask).double(), -1))


def test_squeeze_that_swallows_the_batch_axis(tmp_path):
    nodes = [node("GlobalAveragePool", "x", "a"), node("Squeeze", "a")]
    network = read_onnx(save(model(nodes, {"x": ("N", 1, 3, 4)}), tmp_path))
    assert network.output_shape == ()
    assert network(torch.ones(5, 1, 3, 4).double()).shape == (5,)


def test_bfloat16_weights_are_exact(tmp_path):
    tensor = helper.make_tensor("W", TensorProto.BFLOAT16, (6, 3), weights(6, 3).reshape(-1))
    proto = model([node("Cast", "W", "V", to=TensorProto.FLOAT), node("MatMul", "x V")], ROWS)
    proto.graph.initializer.append(tensor)
    network = read_onnx(save(proto, tmp_path))
    expected = torch.from_numpy(weights(6, 3)).bfloat16().double()
    np.testing.assert_array_equal(affine_weight(network).T, expected)


def test_read_takes_the_size_of_open_axes_from_the_example(tmp_path):
    from netgain.network.read.read import read

    path = save(model([node("GlobalAveragePool", "x")], {"x": ("N", 3, "H", "W")}), tmp_path)
    assert read(path, torch.zeros(2, 3, 5, 4)).input_shape == (3, 5, 4)
