"""Files that are broken or mean harm: one of our errors, in bounded memory, whatever is in them."""

import contextlib
import io
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from netgain.core.errors import (
    ModelError,
    NetgainError,
    TooLargeError,
    UnsafeFileError,
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


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", b"x" * 100)
    return stream.getvalue()


BYTES = {
    "empty": b"",
    "text": b"hello, this is not a model\n" * 10,
    "zip": zipped(),
    "random": np.random.default_rng(0).bytes(4096),
    "zeros": bytes(1000),
    "safetensors": (64).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(20),
}


@pytest.mark.parametrize("name", BYTES)
def test_not_a_model(name, tmp_path):
    with pytest.raises(ModelError) as caught:
        read_onnx(written(BYTES[name], tmp_path))
    assert "\n" not in str(caught.value)


def test_pickle(tmp_path):
    with pytest.raises(UnsafeFileError):
        read_onnx(written(pickle.dumps({"a": 1}), tmp_path))


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(ModelError):
            read_onnx(path)


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match="regular file"):
        read_onnx(tmp_path / "pipe.onnx")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8, 0.97])
def test_truncated(share, tmp_path):
    data = plain().SerializeToString()
    with pytest.raises(ModelError):
        read_onnx(written(data[: int(len(data) * share)], tmp_path))


def test_damaged_bytes_never_escape_our_errors(tmp_path):
    data = bytearray(plain().SerializeToString())
    generator = np.random.default_rng(1)
    for _ in range(150):
        broken = bytearray(data)
        for place in generator.integers(0, len(data), 3):
            broken[place] = generator.integers(0, 256)
        with contextlib.suppress(NetgainError):
            read_onnx(written(bytes(broken), tmp_path))


def external(location, *, offset=None, length=None):
    proto = plain()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    for key, value in (("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return proto


@pytest.mark.parametrize(
    "location", ["../secret", "a/../../secret", "/etc/passwd", "", "..", "C:\\x", "file:///x", "a\0b"]
)
def test_external_data_outside_the_folder(location, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(100))
    with pytest.raises(UnsafeFileError):
        read_onnx(written(external(location).SerializeToString(), folder))


def test_external_data_through_a_link(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(100))
    (folder / "data").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeFileError, match="link"):
        read_onnx(written(external("data").SerializeToString(), folder))


def test_external_data_inside_the_folder(tmp_path):
    (tmp_path / "data").write_bytes(bytes(8) + weights(6, 3).tobytes())
    network = read_onnx(written(external("data", offset=8, length=72).SerializeToString(), tmp_path))
    np.testing.assert_array_equal(network.nodes[0].kind.map.weight.numpy().T, weights(6, 3).astype(np.float64))


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 71), (9, 72), (-1, 72), (0, -72), (2**63, 72), (0, 2**62), ("x", 72)]
)
def test_external_data_that_does_not_fit(offset, length, tmp_path):
    (tmp_path / "data").write_bytes(bytes(80))
    with pytest.raises(ModelError):
        read_onnx(written(external("data", offset=offset, length=length).SerializeToString(), tmp_path))


def test_external_data_in_an_attribute(tmp_path):
    tensor = external("../secret").graph.initializer[0]
    proto = model([helper.make_node("Constant", [], ["W"], value=tensor), node("MatMul", "x W")], ROWS)
    with pytest.raises(UnsafeFileError):
        read_onnx(written(proto.SerializeToString(), tmp_path))


@pytest.mark.parametrize("dims", [(-6, -3), (2**40, 2**40), (2**62, 4), (6, 4), (2,), (0, 3)])
def test_tensor_whose_shape_lies(dims, tmp_path):
    proto = plain()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(dims)
    with pytest.raises(ModelError):
        read_onnx(written(proto.SerializeToString(), tmp_path))


def test_typed_field_with_too_few_entries(tmp_path):
    proto = plain()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0] * 17)
    with pytest.raises(ModelError, match="needs 18 entries but holds 17"):
        read_onnx(written(proto.SerializeToString(), tmp_path))


BOMBS = {
    "fill": ([node("ConstantOfShape", "s", "c"), node("Add", "x c")], {"s": np.array([2**20, 2**20])}),
    "fill negative": ([node("ConstantOfShape", "s", "c"), node("Add", "x c")], {"s": np.array([-1, 6])}),
    "expand constant": ([node("Expand", "v s", "c"), node("Add", "x c")], {"v": weights(1), "s": np.array([2**33])}),
    "expand input": (
        [node("Unsqueeze", "x a", "u"), node("Expand", "u s")],
        {"a": np.array([2]), "s": np.array([1, 6, 2**33])},
    ),
    "tile constant": ([node("Tile", "v r", "c"), node("Add", "x c")], {"v": weights(6), "r": np.array([2**40])}),
    "tile input": ([node("Tile", "x r")], {"r": np.array([1, 2**40])}),
    "range": (
        [node("Range", "a b d", "c"), node("Add", "x c")],
        {"a": np.float32(0), "b": np.float32(1e12), "d": np.float32(1)},
    ),
    "range standing still": (
        [node("Range", "a b d", "c"), node("Add", "x c")],
        {"a": np.float32(0), "b": np.float32(1), "d": np.float32(0)},
    ),
    "pad": ([node("Pad", "x p")], {"p": np.array([0, 2**40, 0, 0])}),
    "pad constant": ([node("Pad", "v p", "c"), node("Add", "x c")], {"v": weights(6), "p": np.array([2**40, 0])}),
    "one hot": (
        [node("OneHot", "i d v", "c"), node("MatMul", "x c")],
        {"i": np.array([0] * 6), "d": np.array(2**40), "v": np.array([0, 1], np.float32)},
    ),
    "outer product": (
        [node("MatMul", "u v", "c"), node("ReduceSum", "c", "r", keepdims=0), node("Add", "x r")],
        {"u": weights(2**17, 1), "v": weights(1, 2**17)},
    ),
    "broadcast": (
        [node("Add", "u v", "c"), node("ReduceSum", "c", "r", keepdims=0), node("Add", "x r")],
        {"u": weights(2**17, 1), "v": weights(1, 2**17)},
    ),
    "broadcast input": (
        [node("Add", "x u", "c"), node("Add", "c v")],
        {"u": weights(2**14, 1, 1), "v": weights(2**14, 1)},
    ),
    "gather": ([node("Gather", "v i", "c"), node("Add", "x c")], {"v": weights(1, 2**16), "i": np.zeros(2**16, int)}),
    "resize": (
        [node("Reshape", "x s", "r"), node("Resize", "r - f")],
        {"s": np.array([1, 1, 6]), "f": np.array([1, 1, 1e12], np.float32)},
    ),
    "einsum": (
        [
            node(
                "Einsum",
                "x x x x x x x x x x x x x x",
                equation="za,zb,zc,zd,ze,zf,zg,zh,zi,zj,zk,zl,zm,zn->zabcdefghijklmn",
            )
        ],
        {},
    ),
    "kernel": (
        [node("Reshape", "x s", "r"), node("AveragePool", "r", kernel_shape=[2**40], pads=[2**40, 2**40])],
        {"s": np.array([1, 1, 6])},
    ),
    "max window": (
        [node("Reshape", "x s", "r"), node("MaxPool", "r", kernel_shape=[2**40], pads=[2**40, 2**40])],
        {"s": np.array([1, 1, 6])},
    ),
    "kernel in padding": (
        [node("Reshape", "x s", "r"), node("AveragePool", "r", kernel_shape=[2**40], pads=[2**39, 2**39])],
        {"s": np.array([1, 1, 6])},
    ),
    "max window in padding": (
        [node("Reshape", "x s", "r"), node("MaxPool", "r", kernel_shape=[2**40], pads=[2**39, 2**39])],
        {"s": np.array([1, 1, 6])},
    ),
    "many branches": (
        [node("Expand", "x s", "b")]
        + [node("Tanh", "b", f"c{k}") for k in range(60)]
        + [node("Sum", " ".join(f"c{k}" for k in range(60)))],
        {"s": np.array([2**18, 6])},
    ),
    "conv padding": (
        [node("Reshape", "x s", "r"), node("Conv", "r k", pads=[2**40, 2**40])],
        {"s": np.array([1, 1, 6]), "k": weights(1, 1, 1)},
    ),
    "channels": (
        [node("Reshape", "x s", "r"), node("ConvTranspose", "r k", strides=[2**40])],
        {"s": np.array([1, 1, 6]), "k": weights(1, 1, 1)},
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_explosions_are_refused_before_they_happen(name, tmp_path):
    nodes, constants = BOMBS[name]
    with pytest.raises(NetgainError):
        read_onnx(save(model(nodes, ROWS, constants), tmp_path), memory=2**30)


def test_many_small_explosions_are_summed(tmp_path):
    nodes = [node("ConstantOfShape", "s", f"c{k}") for k in range(100)]
    nodes += [node("Add", f"{'x' if k == 0 else f't{k - 1}'} c{k}", f"t{k}") for k in range(100)] + [
        node("Identity", "t99")
    ]
    proto = model(nodes, ROWS, {"s": np.array([2**18, 6])})
    with pytest.raises(TooLargeError):
        read_onnx(save(proto, tmp_path), memory=2**28)


def test_functions_that_unfold_without_end(tmp_path):
    functions = []
    for level in range(40):
        kind = "Relu" if level == 0 else f"F{level - 1}"
        domain = "" if level == 0 else "own"
        body = [
            helper.make_node(kind, ["a"], ["b"], domain=domain),
            helper.make_node(kind, ["b"], ["c"], domain=domain),
        ]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        functions.append(helper.make_function("own", f"F{level}", ["a"], ["c"], body, opsets))
    proto = model([helper.make_node("F39", ["x"], ["y"], domain="own")], ROWS, domains=["own"])
    proto.functions.extend(functions)
    with pytest.raises(TooLargeError, match="unfold"):
        read_onnx(written(proto.SerializeToString(), tmp_path))
    functions[0].node[0].op_type, functions[0].node[0].domain = "F39", "own"
    del proto.functions[:]
    proto.functions.extend(functions)
    with pytest.raises(ModelError):
        read_onnx(written(proto.SerializeToString(), tmp_path))


def test_deep_nesting(tmp_path):
    def field(number, data):
        size, head = len(data), bytes([number << 3 | 2])
        while size > 127:
            head, size = head + bytes([size & 127 | 128]), size >> 7
        return head + bytes([size]) + data

    graph = b""
    for _ in range(5000):
        # GraphProto.node { op_type: "If" attribute { name: "then_branch" g: graph } }
        graph = field(1, field(4, b"If") + field(5, field(1, b"then_branch") + field(6, graph)))
    with pytest.raises(ModelError):
        read_onnx(written(bytes([8, 8]) + field(7, graph), tmp_path))


LIMITED = """
import resource, sys
from netgain.network.read.onnx import read_onnx
import onnxruntime, torch, onnx.reference
from netgain.core.errors import NetgainError
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
try:
    read_onnx(sys.argv[1])
except NetgainError as error:
    print(error.code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fill", "expand constant", "tile input", "broadcast", "einsum", "kernel"])
def test_memory_stays_bounded(name, tmp_path):
    nodes, constants = BOMBS[name]
    path = save(model(nodes, ROWS, constants), tmp_path)
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().startswith("NG0"), done.stderr[-500:]
    assert "Traceback" not in done.stderr


def test_only_the_needed_part_is_looked_at(tmp_path):
    """An explosion beside the wanted output is neither read nor run."""
    nodes = [node("ConstantOfShape", "s", "c"), node("Add", "x c", "z"), node("Relu", "x")]
    proto = model(nodes, ROWS, {"s": np.array([2**30, 2**30])}, outputs=("y", "z"))
    assert len(read_onnx(save(proto, tmp_path), output="y").nodes) == 1
    with pytest.raises(TooLargeError):
        read_onnx(save(proto, tmp_path))


def test_sparse_and_text_tensors(tmp_path):
    proto = plain()
    proto.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"x"]))
    with pytest.raises(ModelError, match="element type"):
        read_onnx(written(proto.SerializeToString(), tmp_path))
    proto = plain()
    values = numpy_helper.from_array(weights(1), "sparse")
    indices = numpy_helper.from_array(np.array([0]), "indices")
    proto.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [2**50]))
    with pytest.raises(ModelError, match="sparse"):
        read_onnx(written(proto.SerializeToString(), tmp_path))
