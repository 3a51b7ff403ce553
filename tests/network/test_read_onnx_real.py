"""Networks that nobody here wrote: they read, agree with onnxruntime, and show what stands in the way of a bound."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from netgain.network.graph import Bilinear, Elementwise, Opaque, Vector
from netgain.network.read.onnx import read_onnx

pytestmark = pytest.mark.slow


def shipped(package, *parts):
    """A file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {package} is not installed")
    return Path(spec.origin).parent.joinpath(*parts)


def codes(network):
    return {one.kind.code for one in network.nodes if isinstance(one.kind, Opaque)}


def activations(network):
    return {one.kind.activation.name for one in network.nodes if isinstance(one.kind, Elementwise)}


def vectors(network):
    return {one.kind.function.name.partition("(")[0] for one in network.nodes if isinstance(one.kind, Vector)}


def products(network):
    return sum(isinstance(one.kind, Bilinear) for one in network.nodes)


def test_basic_pitch():
    network = read_onnx(shipped("basic_pitch", "saved_models", "icassp_2022", "nmp.onnx"))
    assert (network.input_shape, network.output_shape) == ((43844, 1), (2 * 172 * 88 + 172 * 264,))
    assert codes(network) == {"NG011"}  # a comparison with 0 that guards a division
    assert products(network) == 1  # that division: the loudness range of the clip


def test_silero_sequence():
    network = read_onnx(shipped("silero_vad", "data", "silero_vad_16k_sequence.onnx"))
    assert (network.input_shape, network.output_shape) == ((576 + 128 + 128,), (1 + 128 + 128,))
    assert codes(network) == {"NG010"}  # the LSTM
    assert (products(network), vectors(network)) == (0, {"l2_pool"})
    assert [code for code, _ in network.notes] == ["NG112"]


def test_silero_with_a_branch_on_the_sampling_rate():
    path = shipped("silero_vad", "data", "silero_vad_op18_ifless.onnx")
    network = read_onnx(path, shape={"input": (1, 576), "sr": (), "state": (2, 1, 128)})
    assert {"NG003", "NG013"} <= codes(network)


def test_rapidocr_classifier():
    network = read_onnx(shipped("rapidocr", "models", "ch_ppocr_mobile_v2.0_cls_mobile.onnx"), shape=(3, 48, 192))
    assert (network.input_shape, network.output_shape) == ((3, 48, 192), (2,))
    assert codes(network) == set()
    assert activations(network) == {"relu", "hardswish", "clamp(0, 1)"}
    assert products(network) == 9  # the squeeze-and-excitation gates


def test_magika():
    network = read_onnx(shipped("magika", "models", "standard_v3_3", "model.onnx"))
    assert (network.input_shape, network.output_shape) == ((2048,), (214,))
    assert codes(network) == {"NG013", "NG011"}  # bytes in, compared with 0 to 256
    assert products(network) == 0
    assert activations(network) == {"gelu_tanh (coefficients as stored)"}
    assert vectors(network) == {"layer_norm", "amax", "softmax"}


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1", "densenet121"])
def test_architectures_with_weights_made_by_fill(name):
    path = shipped("onnx", "backend", "test", "data", "light", f"light_{name}.onnx")
    network = read_onnx(path)
    assert network.input_shape == (3, 224, 224)
    assert np.prod(network.output_shape) == 1000
    assert codes(network) == ({"NG010"} if name == "inception_v1" else set())  # local response normalization


class Residual(torch.nn.Module):
    """A small residual network with the operations that exporters decompose."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.branch = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, padding=1, groups=2), torch.nn.GELU())
        self.head = torch.nn.Sequential(
            torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.SiLU(), torch.nn.Linear(16, 4)
        )

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.branch(x)
        return self.head(torch.nn.functional.max_pool2d(x, 2).mean((2, 3)))


def test_export_of_a_torch_module(tmp_path):
    torch.manual_seed(0)
    module = Residual().eval()
    module.norm.running_mean.normal_()
    module.norm.running_var.uniform_(0.5, 2)
    path = tmp_path / "module.onnx"
    example = torch.randn(2, 3, 16, 16)
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.onnx.export(module, (example,), path, dynamo=True, dynamic_shapes={"x": {0: batch}}, verbose=False)
    network = read_onnx(path)
    assert (network.input_shape, network.output_shape) == ((3, 16, 16), (4,))
    assert not codes(network)
    assert products(network) == 0
    assert {"gelu", "silu"} <= activations(network)
    assert "layer_norm" in vectors(network)
    with torch.no_grad():
        expected = module.double()(example.double())
    np.testing.assert_allclose(network(example.double()), expected, rtol=1e-6, atol=1e-7)
