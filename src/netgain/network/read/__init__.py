"""Readers: torch modules and .pt2 files, ONNX files, checkpoints."""
