"""Operations whose value depends only on their input's shape: they are constants at a batch of one."""

import math

import numpy as np

from netgain.network.read.onnx.lower import Constant, Lowering, Operation, Result, lowers


@lowers("Shape")
def shape(lowering: Lowering, op: Operation) -> Result:
    """The shape, or a part of it."""
    dims = op.signal(0).shape
    start, end = int(op.attributes.get("start", 0)), op.attributes.get("end")
    part = dims[start:] if end is None else dims[start : int(end)]
    return Constant(np.asarray(part, dtype=np.int64), f"the shape of {op.signal(0).node}")


@lowers("Size")
def size(lowering: Lowering, op: Operation) -> Result:
    """The number of entries."""
    return Constant(np.asarray(math.prod(op.signal(0).shape), dtype=np.int64), f"the size of {op.signal(0).node}")
