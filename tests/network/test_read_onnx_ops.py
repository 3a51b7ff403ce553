"""Each ONNX operation against onnxruntime on small graphs, and in what kind of node it ends."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Opaque, Sum, Vector
from netgain.network.read.onnx import read_onnx
from tests.network.onnx_files import model, node, save, weights

IMAGE = {"x": ("N", 4, 6, 5)}
ROWS = {"x": ("N", 6)}
MOVES = (Affine, Concat)


def check(proto, tmp_path, *, kinds=None, tolerance=2e-6, positive=False, rows=2):
    """Read the file and compare with onnxruntime, row by row; returns the network."""
    path = save(proto, tmp_path)
    network = read_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(7)
    for _ in range(rows):
        feed = {}
        for port in session.get_inputs():
            shape = [size if isinstance(size, int) else 1 for size in port.shape]
            value = generator.standard_normal(shape).astype(np.float64 if "double" in port.type else np.float32)
            feed[port.name] = np.abs(value) + np.float32(0.5) if positive else value
        expected = np.concatenate([np.asarray(value, np.float64).reshape(-1) for value in session.run(None, feed)])
        flat = np.concatenate([value.astype(np.float64).reshape(-1) for value in feed.values()])
        x = torch.from_numpy(flat).reshape(1, *network.input_shape)
        value = network(x).reshape(-1).numpy()
        assert value.shape == expected.shape
        np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))
    if kinds is not None:
        assert {type(one.kind) for one in network.nodes} <= set(kinds), [type(one.kind) for one in network.nodes]
    return network


LINEAR = {
    "gemm": (node("Gemm", "x W b"), ROWS, {"W": weights(6, 3), "b": weights(3)}),
    "gemm scaled": (
        node("Gemm", "x W b", alpha=0.3, beta=-1.7, transB=1),
        ROWS,
        {"W": weights(3, 6), "b": weights(1, 3)},
    ),
    "gemm const left": (node("Gemm", "W x", alpha=2.0, transB=1), {"x": (2, 6)}, {"W": weights(3, 6)}),
    "gemm turned": (node("Gemm", "x W", transA=1), {"x": (4, 3)}, {"W": weights(4, 2)}),
    "matmul": (node("MatMul", "x W"), {"x": ("N", 3, 6)}, {"W": weights(6, 2)}),
    "matmul left": (node("MatMul", "W x"), {"x": ("N", 3, 6)}, {"W": weights(5, 3)}),
    "matmul blocks": (node("MatMul", "x W"), {"x": ("N", 2, 3, 6)}, {"W": weights(2, 6, 4)}),
    "matmul blocks left": (node("MatMul", "W x"), {"x": ("N", 2, 3, 6)}, {"W": weights(1, 2, 4, 3)}),
    "matmul widened": (node("MatMul", "x W"), {"x": ("N", 1, 3, 6)}, {"W": weights(4, 6, 2)}),
    "matmul vector": (node("MatMul", "x w"), {"x": ("N", 3, 6)}, {"w": weights(6)}),
    "matmul vector left": (node("MatMul", "w x"), {"x": ("N", 3, 6)}, {"w": weights(3)}),
    "conv": (
        node("Conv", "x k b", pads=[1, 0, 2, 1], strides=[2, 1]),
        IMAGE,
        {"k": weights(3, 4, 3, 2), "b": weights(3)},
    ),
    "conv groups": (node("Conv", "x k", group=2, dilations=[2, 2]), IMAGE, {"k": weights(6, 2, 2, 2)}),
    "conv same upper": (
        node("Conv", "x k", auto_pad="SAME_UPPER", strides=[2, 2]),
        IMAGE,
        {"k": weights(3, 4, 3, 2)},
    ),
    "conv same lower": (
        node("Conv", "x k", auto_pad="SAME_LOWER", strides=[1, 2]),
        IMAGE,
        {"k": weights(3, 4, 2, 4)},
    ),
    "conv valid": (node("Conv", "x k", auto_pad="VALID"), IMAGE, {"k": weights(3, 4, 3, 3)}),
    "conv 1d": (node("Conv", "x k", pads=[2, 1]), {"x": ("N", 3, 9)}, {"k": weights(2, 3, 4)}),
    "conv 3d": (node("Conv", "x k", pads=[1] * 6), {"x": ("N", 2, 4, 3, 5)}, {"k": weights(2, 2, 3, 2, 3)}),
    "conv fixed batch": (node("Conv", "x k b"), {"x": (3, 2, 5, 4)}, {"k": weights(2, 2, 2, 2), "b": weights(2)}),
    "transposed": (
        node("ConvTranspose", "x k b", pads=[1, 0, 0, 1], strides=[2, 3], output_padding=[1, 0]),
        IMAGE,
        {"k": weights(4, 3, 3, 3), "b": weights(3)},
    ),
    "transposed groups": (
        node("ConvTranspose", "x k", group=2, dilations=[2, 1]),
        IMAGE,
        {"k": weights(4, 3, 2, 2)},
    ),
    "transposed shape": (
        node("ConvTranspose", "x k", strides=[2, 2], output_shape=[12, 10]),
        IMAGE,
        {"k": weights(4, 2, 3, 3)},
    ),
    "transposed 1d": (node("ConvTranspose", "x k", strides=[2]), {"x": ("N", 2, 5)}, {"k": weights(2, 3, 4)}),
    "batch norm": (
        node("BatchNormalization", "x g b m v"),
        IMAGE,
        {"g": weights(4), "b": weights(4, seed=1), "m": weights(4, seed=2), "v": weights(4, seed=3) ** 2},
    ),
    "batch norm fixed batch": (
        node("BatchNormalization", "x g b m v", epsilon=0.1),
        {"x": (3, 2, 5)},
        {"g": weights(2), "b": weights(2, seed=1), "m": weights(2, seed=2), "v": weights(2, seed=3) ** 2},
    ),
    "average": (node("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]), IMAGE, {}),
    "average counted": (
        node("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], count_include_pad=1),
        IMAGE,
        {},
    ),
    "average ceil": (node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), IMAGE, {}),
    "average same": (node("AveragePool", "x", kernel_shape=[3, 2], auto_pad="SAME_UPPER"), IMAGE, {}),
    "average dilated": (
        node("AveragePool", "x", kernel_shape=[2, 3], dilations=[3, 2], pads=[1, 1, 1, 2]),
        IMAGE,
        {},
    ),
    "average of a long signal": (
        node("AveragePool", "x", kernel_shape=[3], strides=[2], pads=[1, 1], count_include_pad=1),
        {"x": ("N", 2, 5001)},
        {},
    ),
    "average of a long signal inside": (
        node("AveragePool", "x", kernel_shape=[3], strides=[2], pads=[1, 1]),
        {"x": ("N", 2, 3001)},
        {},
    ),
    "global average": (node("GlobalAveragePool", "x"), IMAGE, {}),
    "reduce mean": (node("ReduceMean", "x", axes=[1, -1]), IMAGE, {}),
    "reduce mean flat": (node("ReduceMean", "x", axes=[2], keepdims=0), IMAGE, {}),
    "reduce sum": (node("ReduceSum", "x a", keepdims=0), IMAGE, {"a": np.array([1, 2])}),
    "resize nearest": (
        node("Resize", "x - s", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        IMAGE,
        {"s": np.array([1, 1, 2, 3], np.float32)},
    ),
    "resize linear": (node("Resize", "x - s", mode="linear"), IMAGE, {"s": np.array([1, 1, 2, 2], np.float32)}),
    "resize linear sizes": (
        node("Resize", "x - - s", mode="linear", coordinate_transformation_mode="align_corners"),
        {"x": (1, 4, 6, 5)},
        {"s": np.array([1, 4, 9, 4])},
    ),
    "resize torch": (
        node("Resize", "x - - s", mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
        {"x": (1, 4, 6, 5)},
        {"s": np.array([1, 4, 3, 1])},
    ),
    "resize cubic": (
        node("Resize", "x - s", mode="cubic", cubic_coeff_a=-0.5),
        IMAGE,
        {"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "resize cubic inside": (
        node("Resize", "x - s", mode="cubic", exclude_outside=1),
        IMAGE,
        {"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "scale": (node("Mul", "x c"), IMAGE, {"c": weights(4, 1, 1)}),
    "scale widened": (node("Mul", "c x"), {"x": ("N", 4, 1, 5)}, {"c": weights(4, 3, 1)}),
    "divide": (node("Div", "x c"), IMAGE, {"c": 3 + np.abs(weights(5))}),
    "add": (node("Add", "c x"), IMAGE, {"c": weights(6, 1)}),
    "subtract": (node("Sub", "c x"), IMAGE, {"c": weights(1, 4, 1, 5)}),
    "negate": (node("Neg", "x"), IMAGE, {}),
    "where": (
        node("Where", "m x c"),
        ROWS,
        {"m": np.array([True, False, True, True, False, False]), "c": weights(1, 6)},
    ),
    "cast": (node("Cast", "x", to=TensorProto.FLOAT), ROWS, {}),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear(name, tmp_path):
    step, inputs, constants = LINEAR[name]
    opset = 19 if "dilated" in name else 17
    check(model([step], inputs, constants, opset=opset), tmp_path, kinds=MOVES)


MOVED = {
    "reshape": (node("Reshape", "x s"), IMAGE, {"s": np.array([0, -1, 10])}),
    "flatten": (node("Flatten", "x"), IMAGE, {}),
    "transpose": (node("Transpose", "x", perm=[0, 2, 3, 1]), IMAGE, {}),
    "transpose fixed": (node("Transpose", "x"), {"x": (2, 3, 4)}, {}),
    "squeeze": (node("Squeeze", "x a"), {"x": ("N", 1, 5)}, {"a": np.array([1])}),
    "unsqueeze": (node("Unsqueeze", "x a"), ROWS, {"a": np.array([1, -1])}),
    "slice": (
        node("Slice", "x s e a t"),
        IMAGE,
        {"s": np.array([4, -3]), "e": np.array([-100, 2**62]), "a": np.array([2, -1]), "t": np.array([-2, 1])},
    ),
    "gather": (node("Gather", "x i", axis=2), IMAGE, {"i": np.array([[0, -1], [3, 3]])}),
    "gather scalar": (node("Gather", "x i", axis=1), IMAGE, {"i": np.array(2)}),
    "gather elements": (
        node("GatherElements", "x i", axis=1),
        {"x": (1, 4, 3)},
        {"i": np.array([[[0, 1, -1], [3, 0, 2]]])},
    ),
    "pad": (node("Pad", "x w v"), IMAGE, {"w": np.array([0, 0, 1, 2, 0, 1, 0, 3]), "v": np.float32(1.5)}),
    "pad cut": (node("Pad", "x w"), IMAGE, {"w": np.array([0, 0, -1, 2, 0, 0, 0, -3])}),
    "pad edge": (node("Pad", "x w", mode="edge"), IMAGE, {"w": np.array([0, 0, 1, 2, 0, 0, 0, 3])}),
    "pad reflect": (node("Pad", "x w", mode="reflect"), IMAGE, {"w": np.array([0, 0, 1, 2, 0, 0, 2, 3])}),
    "expand": (node("Expand", "x s"), {"x": ("N", 4, 1)}, {"s": np.array([4, 3])}),
    "tile": (node("Tile", "x r"), IMAGE, {"r": np.array([1, 2, 1, 3])}),
    "depth to space": (node("DepthToSpace", "x", blocksize=2), IMAGE, {}),
    "depth to space crd": (node("DepthToSpace", "x", blocksize=2, mode="CRD"), IMAGE, {}),
    "space to depth": (node("SpaceToDepth", "x", blocksize=2), {"x": ("N", 2, 4, 6)}, {}),
    "triangle": (node("Trilu", "x k", upper=0), {"x": ("N", 4, 5)}, {"k": np.array(1)}),
    "concat constant": (node("Concat", "c x", axis=1), {"x": (1, 4, 2)}, {"c": weights(1, 2, 2)}),
    "identity": (node("Identity", "x"), ROWS, {}),
}


@pytest.mark.parametrize("name", MOVED)
def test_moves(name, tmp_path):
    step, inputs, constants = MOVED[name]
    network = check(model([step], inputs, constants, opset=15), tmp_path, kinds=MOVES, tolerance=1e-15)
    if "constant" not in name and name != "pad":
        assert all(one.kind.map.moves for one in network.nodes if isinstance(one.kind, Affine))


CURVES = {
    "Relu": {}, "Sigmoid": {}, "Tanh": {}, "Softplus": {}, "Softsign": {}, "Erf": {}, "Sin": {}, "Cos": {}, "Abs": {},
    "LeakyRelu": {"alpha": 0.3}, "Elu": {"alpha": 0.7}, "Selu": {}, "Celu": {"alpha": 2.0}, "HardSwish": {},
    "HardSigmoid": {"alpha": 0.15, "beta": 0.4}, "ThresholdedRelu": {"alpha": 0.6},
    "Shrink": {"lambd": 0.5, "bias": 0.5},
    "Mish": {}, "Floor": {}, "Ceil": {}, "Round": {}, "Sign": {}, "Exp": {},
}  # fmt: skip


@pytest.mark.parametrize("name", CURVES)
def test_activations(name, tmp_path):
    opset = 18 if name == "Mish" else 17
    check(model([node(name, "x", **CURVES[name])], IMAGE, opset=opset), tmp_path, kinds=(Elementwise, Affine))


@pytest.mark.parametrize("name", ["Log", "Sqrt", "Reciprocal"])
def test_activations_of_positive_numbers(name, tmp_path):
    proto = model([node("Abs", "x", "a"), node("Add", "a c", "b"), node(name, "b")], ROWS, {"c": np.float32(0.5)})
    check(proto, tmp_path, kinds=(Elementwise, Affine))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate, tmp_path):
    check(model([node("Gelu", "x", approximate=approximate)], ROWS, opset=20), tmp_path, kinds=(Elementwise,))


def test_prelu_and_clip(tmp_path):
    proto = model(
        [node("PRelu", "x s", "a"), node("Clip", "a l h", "b"), node("Clip", "b - h")],
        IMAGE,
        {"s": weights(4, 1, 1), "l": np.float32(-0.4), "h": np.float32(0.9)},
    )
    check(proto, tmp_path, kinds=(Elementwise,))


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0])
def test_powers(exponent, tmp_path):
    check(model([node("Pow", "x e")], ROWS, {"e": np.float32(exponent)}), tmp_path, kinds=(Elementwise,))


POOLS = {
    "max": node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    "max ceil": node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "max dilated": node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 3]),
    "max same": node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    "max lower": node("MaxPool", "x", kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    "global max": node("GlobalMaxPool", "x"),
    "reduce max": node("ReduceMax", "x", axes=[1, 3], keepdims=0),
    "reduce min": node("ReduceMin", "x", axes=[2]),
    "reduce lse": node("ReduceLogSumExp", "x", axes=[1], keepdims=0),
    "reduce l2": node("ReduceL2", "x", axes=[3, 1]),
    "reduce l1": node("ReduceL1", "x", axes=[1]),
    "reduce squares": node("ReduceSumSquare", "x", axes=[1], keepdims=0),
    "softmax": node("Softmax", "x", axis=1),
    "softmax last": node("Softmax", "x"),
    "log softmax": node("LogSoftmax", "x", axis=2),
    "lp": node("LpNormalization", "x", axis=1),
}


@pytest.mark.parametrize("name", POOLS)
def test_vector_functions(name, tmp_path):
    check(model([POOLS[name]], IMAGE), tmp_path, kinds=(Vector, Elementwise, Affine))


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
def test_softmax_before_version_13(name, tmp_path):
    check(model([node(name, "x", axis=2)], IMAGE, opset=11), tmp_path, kinds=(Vector, Affine))


def test_normalizations(tmp_path):
    constants = {"g": weights(4), "b": weights(4, seed=1)}
    check(
        model([node("InstanceNormalization", "x g b", epsilon=0.01)], IMAGE, constants),
        tmp_path,
        kinds=(Vector, Affine),
    )
    constants = {"g": weights(6, 5), "b": weights(6, 5, seed=1)}
    check(model([node("LayerNormalization", "x g b", axis=2)], IMAGE, constants), tmp_path, kinds=(Vector, Affine))
    constants = {"g": weights(4), "b": weights(4, seed=1)}
    step = node("GroupNormalization", "x g b", num_groups=2)
    check(model([step], IMAGE, constants, opset=21), tmp_path, kinds=(Vector, Affine))


def test_several_inputs_of_one_operation(tmp_path):
    nodes = [
        node("Relu", "x", "a"),
        node("Tanh", "x", "b"),
        node("Sum", "a b c", "s"),
        node("Mean", "a s b", "m"),
        node("Max", "m a l", "t"),
        node("Min", "t s"),
    ]
    constants = {"c": weights(6, 5), "l": np.float32(-0.2)}
    check(model(nodes, IMAGE, constants), tmp_path, kinds=(Vector, Elementwise, Affine, Sum, Concat))


def test_sums_and_products_of_computed_tensors(tmp_path):
    nodes = [
        node("Relu", "x", "a"),
        node("ReduceMean", "x", "m", axes=[2, 3]),
        node("Sub", "a m", "d"),
        node("Mul", "d m", "p"),
        node("Add", "p a", "q"),
        node("Concat", "q x", "c", axis=1),
        node("Transpose", "c", "t", perm=[0, 1, 3, 2]),
        node("MatMul", "t c"),
    ]
    check(model(nodes, IMAGE), tmp_path, kinds=(Elementwise, Affine, Sum, Concat, Bilinear))


def test_split(tmp_path):
    nodes = [
        node("Split", "x s", "a b", axis=1),
        node("Split", "b", "c d", axis=1),
        node("Sub", "c d", "e"),
        node("Concat", "a e", axis=1),
    ]
    check(model(nodes, IMAGE, {"s": np.array([2, 2])}, opset=15), tmp_path, kinds=(Affine, Sum, Concat))


@pytest.mark.parametrize("double", [False, True])
def test_types(double, tmp_path):
    kind = np.float64 if double else np.float32
    proto = model(
        [node("Gemm", "x W")],
        ROWS,
        {"W": weights(6, 3).astype(kind) * kind(1.1)},
        element=TensorProto.DOUBLE if double else TensorProto.FLOAT,
    )
    if double:
        proto.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    network = check(proto, tmp_path, tolerance=1e-14 if double else 1e-6)
    assert network.dtype == ("float64" if double else "float32")


def test_half_precision_weights_are_exact(tmp_path):
    half = weights(6, 3).astype(np.float16)
    nodes = [node("Cast", "W", "V", to=TensorProto.FLOAT), node("MatMul", "x V")]
    network = check(model(nodes, ROWS, {"W": half}), tmp_path)
    np.testing.assert_array_equal(network.nodes[-1].kind.map.weight.numpy().T, half.astype(np.float64))


RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_cells_run_but_are_opaque(name, tmp_path):
    gates = RECURRENT[name]
    constants = {"W": weights(1, gates * 4, 3), "R": weights(1, gates * 4, 4)}
    proto = model([node(name, "x W R", "y", hidden_size=4)], {"x": (5, 1, 3)}, constants)
    network = check(proto, tmp_path, tolerance=1e-5)
    assert [one.kind.code for one in network.nodes if isinstance(one.kind, Opaque)] == ["NG010"]


@pytest.mark.parametrize(
    "step", [node("Cast", "x", to=TensorProto.INT64), node("Greater", "x c"), node("ArgMax", "x", axis=1)]
)
def test_steps_are_discontinuous(step, tmp_path):
    proto = model([step], ROWS, {"c": np.float32(0)})
    step_outputs = proto.graph.output[0].type.tensor_type
    step_outputs.elem_type = TensorProto.BOOL if step.op_type == "Greater" else TensorProto.INT64
    network = check(proto, tmp_path)
    assert [one.kind.code for one in network.nodes if isinstance(one.kind, Opaque)] == ["NG011"]


def test_quantization_is_discontinuous(tmp_path):
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z")]
    constants = {"s": np.float32(0.1), "z": np.uint8(128)}
    network = check(model(nodes, ROWS, constants), tmp_path)
    assert {one.kind.code for one in network.nodes if isinstance(one.kind, Opaque)} == {"NG011"}


def test_local_response_normalization_is_opaque(tmp_path):
    network = check(model([node("LRN", "x", size=3)], IMAGE), tmp_path, tolerance=1e-5)
    assert [one.kind.code for one in network.nodes] == ["NG010"]
