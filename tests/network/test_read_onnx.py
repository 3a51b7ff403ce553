"""Reading whole ONNX networks: known graphs, structure, notes, ports."""

import numpy as np
import torch
from onnx_files import model, node, save, weights

from netgain.network.graph import Affine, Elementwise, Vector
from netgain.network.read.onnx import read_onnx


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
