"""Reading ONNX files into the network graph."""

from netgain.network.read.onnx.read import read_onnx

__all__ = ["read_onnx"]
