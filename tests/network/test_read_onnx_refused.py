"""Graphs that hold together as files but not as networks: each is refused with its own reason."""

import numpy as np
import pytest
from onnx import helper

from netgain.core.errors import (
    BatchCoupledError,
    ExampleError,
    ModelError,
    NetgainError,
    NonFiniteWeightError,
    StatefulModelError,
    UsageError,
)
from netgain.network.read.onnx import read_onnx
from tests.network.onnx_files import model, node, save, weights

ROWS = {"x": ("N", 6)}


def plain():
    return model([node("Gemm", "x W b")], ROWS, {"W": weights(6, 3), "b": weights(3)})


def written(data, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    return path


STRUCTURE = {
    "circle": [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Identity", "b")],
    "itself": [node("Add", "x y", "y")],
    "missing input": [node("Add", "x nowhere")],
    "missing output": [node("Relu", "x", "z")],
    "twice": [node("Relu", "x", "y"), node("Tanh", "x", "y")],
    "shadowed input": [node("Relu", "W", "x"), node("Relu", "x")],
    "no inputs given": [helper.make_node("Relu", [], ["y"])],
    "wrong rank": [node("Conv", "x W")],
    "wrong shapes": [node("MatMul", "x V")],
    "wrong axis": [node("Softmax", "x", axis=7)],
    "wrong perm": [node("Transpose", "x", perm=[0, 0])],
    "wrong attribute": [node("Softmax", "x", axis="abc")],
    "empty": [node("Slice", "x s s")],
    "division": [node("Div", "x z")],
    "text": [node("StringNormalizer", "x")],
    "two constants": [node("Conv", "K K", "c"), node("Add", "x c")],
}


@pytest.mark.parametrize("name", STRUCTURE)
def test_broken_structure(name, tmp_path):
    constants = {
        "W": weights(6, 6),
        "V": weights(5, 6),
        "s": np.array([0, 0]),
        "z": np.zeros(6, np.float32),
        "K": weights(1, 1, 3),
    }
    proto = model(STRUCTURE[name], ROWS, constants)
    with pytest.raises(NetgainError) as caught:
        read_onnx(written(proto.SerializeToString(), tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["W", "b"])
def test_weights_that_are_not_finite(value, name, tmp_path):
    constants = {"W": weights(6, 3), "b": weights(3)}
    constants[name].flat[1] = value
    with pytest.raises(NonFiniteWeightError, match=repr(name)):
        read_onnx(save(model([node("Gemm", "x W b")], ROWS, constants), tmp_path))


def test_random_numbers_are_refused(tmp_path):
    for step in (node("RandomNormalLike", "x"), node("Bernoulli", "x"), node("Dropout", "x r t")):
        constants = {"r": np.float32(0.5), "t": np.array(True)}
        with pytest.raises((StatefulModelError, ModelError)):
            read_onnx(save(model([step], ROWS, constants), tmp_path))


COUPLED = {
    "mean over the batch": [node("ReduceMean", "x", "mean", axes=[0]), node("Sub", "x mean")],
    "sum over everything": [node("ReduceSum", "x", "s", keepdims=0), node("Mul", "x s")],
    "softmax over the batch": [node("Softmax", "x", axis=0)],
    "batch size as a factor": [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Cast", "n", "f", to=1),
        node("Mul", "x f"),
    ],
    "fixed reshape": [node("Reshape", "x one")],
    "training": [node("BatchNormalization", "x g b m v", "y u w", training_mode=1)],
    "mean of the batch behind an offset": [
        node("ReduceMean", "x", "mean", axes=[0], keepdims=1),
        node("Sub", "x mean", "c"),
        node("Add", "c far"),
    ],
    "gram": [node("Transpose", "x", "t"), node("MatMul", "t x")],
}


@pytest.mark.parametrize("name", COUPLED)
def test_rows_that_influence_each_other(name, tmp_path):
    constants = {"zero": np.array(0), "one": np.array([1, 6]), "far": np.array(1e6, np.float32)}
    constants |= {key: np.abs(weights(6)) for key in "gbmv"}
    with pytest.raises(BatchCoupledError):
        read_onnx(save(model(COUPLED[name], ROWS, constants), tmp_path))


def test_unknown_output_and_shape(tmp_path):
    path = save(plain(), tmp_path)
    for options in ({"output": "nope"}, {"output": 3}, {"shape": (7,)}, {"shape": {"z": (1, 6)}}):
        with pytest.raises((ExampleError, UsageError)) as caught:
            read_onnx(path, **options)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("opset", [1, 6, 99])
def test_operator_sets_of_another_meaning(opset, tmp_path):
    # Before 7, axis=1 lines the three factors up with the rows; numpy's rule would take the columns.
    proto = model([node("Mul", "x b", broadcast=1, axis=1)], {"x": ("N", 3, 3)}, {"b": weights(3)}, opset=opset)
    with pytest.raises(ModelError, match=f"operator set {opset}"):
        read_onnx(save(proto, tmp_path))


def test_dropout_without_its_test_mode(tmp_path):
    with pytest.raises(ModelError):
        read_onnx(save(model([node("Dropout", "x", ratio=0.5)], ROWS, opset=6), tmp_path))
