"""Running the file itself and comparing: the graph must compute what the model computes, row by row."""

import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netgain.core.errors import BatchCoupledError, ReplayError
from netgain.network.graph import Affine, Network
from netgain.network.read.onnx.load import FLOATS, Model
from netgain.network.read.onnx.order import in_order
from netgain.network.read.onnx.ports import Input

ROWS = 3
CHEAP = 10**7  # multiplications up to which the float64 reference is run
Engine = Callable[[list[np.ndarray]], list[np.ndarray]]


def replay(model: Model, inputs: Sequence[Input], outputs: Sequence[str], network: Network) -> str:
    """Compare the network with the file on random inputs, and rows of a batch with rows alone.

    Args:
        model: the parsed file.
        inputs: its inputs at a batch of one.
        outputs: the outputs that the network computes, in order.
        network: what was read.

    Returns:
        An empty string, or why the file could not be run.

    Raises:
        ReplayError: if they disagree by more than float32 rounding explains.
        BatchCoupledError: if rows influence each other.
    """
    generator = np.random.default_rng(0)
    rows = [[_random(one, generator) for one in inputs] for _ in range(ROWS)]
    with torch.no_grad():
        samples = [_joined(row).reshape(1, *network.input_shape) for row in rows]
        ours = torch.cat([network(x).reshape(1, -1) for x in samples])
        single = torch.cat([network(x.float()).double().reshape(1, -1) for x in samples[:2]])
        spread = (single - ours[:2]).abs().nan_to_num()
    problem = "there is nothing to run it"
    disagreement: ReplayError | BatchCoupledError | None = None
    for engine in _engines(model, inputs, outputs, network):
        try:
            values = [engine(row) for row in rows[:2]]
        except Exception as error:  # engines raise what they like; the next one gets its try
            problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            continue
        try:
            _judge(engine, inputs, rows, values, (ours, spread, network.dtype))
        except (ReplayError, BatchCoupledError) as error:
            # Engines have defects, and the file's own float32 may cancel where float64 does not: ask the other one.
            disagreement = disagreement or error
            continue
        _check_partners(engine, inputs, rows, values[0])
        return ""
    if disagreement is not None:
        raise disagreement
    return problem


def _judge(
    engine: Engine,
    inputs: Sequence[Input],
    rows: list[list[np.ndarray]],
    values: list[list[np.ndarray]],
    result: tuple[Tensor, Tensor, str],
) -> None:
    """Compare the file's values with the network's, alone and in a batch.

    The tolerance is a multiple of each output's size, and of what float32 changes in the network.

    Raises:
        ReplayError: if they disagree.
    """
    ours, spread, dtype = result
    theirs = torch.stack([_flat(value) for value in values])
    if ours.shape[1] != theirs.shape[1]:
        raise ReplayError(f"the graph gives {ours.shape[1]} numbers, the file {theirs.shape[1]}")
    relative = 1e-4 if dtype in ("float32", "float64") else 3e-2
    tolerance = torch.empty(theirs.shape[1], dtype=torch.float64)
    start = 0
    for value in values[0]:
        part = slice(start, start + np.asarray(value).size)
        size = theirs[:, part].abs().nan_to_num(posinf=0.0).amax() if part.stop > start else torch.zeros(())
        tolerance[part] = relative * size + 10 * spread[:, part].amax() + 1e-30
        start = part.stop
    _compare(ours[: len(values)], theirs, tolerance)
    if all(one.batch_axes for one in inputs):
        values_alone = [np.asarray(value) for value in values[0]]
        _batch(lambda stacked: _rows(engine(stacked), values_alone), inputs, rows, ours, tolerance)


def peak(network: Network) -> int:
    """The largest number of entries that are alive at once when the network is run on one sample."""
    shapes = network.shapes()
    last = {name: node.name for node in network.nodes for name in node.inputs}
    alive = largest = math.prod(shapes[network.input])
    for node in network.nodes:
        alive += math.prod(node.shape)
        largest = max(largest, alive)
        alive -= sum(math.prod(shapes[name]) for name in set(node.inputs) if last[name] == node.name)
    return largest


def _random(one: Input, generator: np.random.Generator) -> np.ndarray:
    """A random value of an input at a batch of one."""
    if one.port.element in FLOATS or one.port.element == 0:
        return generator.standard_normal(one.shape)
    return generator.integers(0, 2, one.shape).astype(np.float64)


def _joined(row: list[np.ndarray]) -> Tensor:
    """The inputs of one sample, end to end."""
    return torch.cat([torch.from_numpy(np.asarray(value, dtype=np.float64)).reshape(-1) for value in row])


def _flat(values: list[np.ndarray]) -> Tensor:
    """The outputs of one sample, end to end."""
    return torch.cat([torch.from_numpy(np.array(value, dtype=np.float64)).reshape(-1) for value in values])


def _compare(ours: Tensor, theirs: Tensor, tolerance: Tensor) -> None:
    """Refuse a difference."""
    same = (ours == theirs) | (ours.isnan() & theirs.isnan())
    gap = torch.where(same, 0.0, (ours - theirs).abs()).nan_to_num(nan=torch.inf)
    beyond = gap > tolerance
    if bool(beyond.any()):
        worst = int((gap / tolerance).amax(0).argmax())
        raise ReplayError(
            f"on a random input output {worst} differs by {float(gap[:, worst].amax()):.3g}, more than "
            f"{float(tolerance[worst]):.3g}"
        )


def _batch(
    run: Callable[[list[np.ndarray]], Tensor],
    inputs: Sequence[Input],
    rows: list[list[np.ndarray]],
    ours: Tensor,
    tolerance: Tensor,
) -> None:
    """Check that each row of a batch comes out as it does alone."""
    if any(len(one.batch_axes) != 1 for one in inputs):
        return
    stacked = [np.concatenate([row[k] for row in rows], axis=one.batch_axes[0]) for k, one in enumerate(inputs)]
    try:
        theirs = run(stacked)
    except BatchCoupledError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:200]
        raise BatchCoupledError(f"the model runs on one row but not on a batch of {ROWS}: {message}") from error
    _same_rows(theirs, ours, tolerance)


def _same_rows(theirs: Tensor, ours: Tensor, tolerance: Tensor) -> None:
    """Refuse a difference between a row in one company and in another."""
    same = (theirs == ours) | (theirs.isnan() & ours.isnan())
    gap = torch.where(same, 0.0, (theirs - ours).abs()).nan_to_num(nan=torch.inf)
    if bool((gap > tolerance).any()):
        raise BatchCoupledError(f"a row's output changes by {float(gap.amax()):.3g} with the other rows of its batch")


def _check_partners(
    engine: Engine, inputs: Sequence[Input], rows: list[list[np.ndarray]], alone: list[np.ndarray]
) -> None:
    """Check that a row comes out the same whatever the other rows of its batch hold.

    Two batches of one shape run through the same sums in the same order, so no offset or rounding hides a difference.

    Raises:
        BatchCoupledError: if rows influence each other.
    """
    if any(len(one.batch_axes) != 1 for one in inputs):
        return
    single = [np.asarray(value) for value in alone]
    found: list[Tensor] = []
    for company in ([rows[1], rows[2]], [rows[2], [_larger(value) for value in rows[1]]]):
        batch = [
            np.concatenate([row[k] for row in (rows[0], *company)], axis=one.batch_axes[0])
            for k, one in enumerate(inputs)
        ]
        found.append(_rows(engine(batch), single)[0])
    size = found[0].abs().nan_to_num(posinf=0.0).max() if found[0].numel() else torch.zeros(())
    _same_rows(found[1], found[0], 1e-12 * size)


def _larger(value: np.ndarray) -> np.ndarray:
    """Other real numbers, of another size; whole numbers stay, since not every one may be allowed."""
    return -3.0 * value if value.dtype.kind == "f" and not bool((value == np.round(value)).all()) else value


def _rows(values: list[np.ndarray], alone: list[np.ndarray]) -> Tensor:
    """The outputs at a batch of ROWS, one row a sample: the batch is the axis that grew."""
    pieces: list[list[Tensor]] = [[] for _ in range(ROWS)]
    for value, single in zip(values, alone, strict=True):
        # A squeeze can swallow the batch axis of a single row.
        alone_shape = (1, *single.shape) if value.ndim == single.ndim + 1 else single.shape
        grown = [k for k, (n, m) in enumerate(zip(value.shape, alone_shape, strict=False)) if n == ROWS * m and m > 0]
        if value.size != ROWS * single.size or not grown:
            raise BatchCoupledError(
                f"an output of shape {single.shape} has the shape {value.shape} at a batch of {ROWS}"
            )
        for row, part in enumerate(np.split(np.asarray(value, dtype=np.float64), ROWS, axis=grown[0])):
            pieces[row].append(torch.from_numpy(np.ascontiguousarray(part)).reshape(-1))
    return torch.stack([torch.cat(parts) for parts in pieces])


def _engines(model: Model, inputs: Sequence[Input], outputs: Sequence[str], network: Network) -> list[Engine]:
    """Ways to run the file, best first: the float64 reference where it is cheap, onnxruntime where it is installed."""
    double = _lazy(lambda: _reference(model, inputs, outputs))
    work = sum(node.kind.map.terms * node.kind.map.out_size for node in network.nodes if isinstance(node.kind, Affine))
    have_runtime = importlib.util.find_spec("onnxruntime") is not None
    runtime = [_lazy(lambda: _runtime(model, inputs, outputs))] if have_runtime else []
    return [double, *runtime] if work <= CHEAP else [*runtime, double]


def _lazy(make: Callable[[], Engine]) -> Engine:
    """An engine that is made on its first run."""
    made: list[Engine] = []

    def run(row: list[np.ndarray]) -> list[np.ndarray]:
        if not made:
            made.append(make())
        return made[0](row)

    return run


def _proto(model: Model, inputs: Sequence[Input], outputs: Sequence[str], double: bool) -> Any:
    """The file's part that the outputs need, all tensors inside, weights in float64 on request."""
    from onnx import TensorProto, helper, numpy_helper

    names = [one.port.name for one in inputs]
    nodes = in_order(model.nodes, [*model.constants, *names], outputs)
    read = {name for node in nodes for name in _reads(node)} | set(outputs)
    constants = []
    for name, array in model.constants.items():
        if name in read:
            real = array.dtype.kind == "f" or "float" in array.dtype.name
            constants.append(numpy_helper.from_array(array.astype(np.float64) if double and real else array, name))
    kinds = [
        TensorProto.DOUBLE if double and one.port.element in FLOATS else one.port.element or TensorProto.FLOAT
        for one in inputs
    ]
    ports = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, kinds, strict=True)]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([_double(node) if double else node for node in nodes], "part", ports, results, constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in model.opsets.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=min(max(4, model.ir_version), 10))


def _reads(node: Any) -> list[str]:
    """Names that a node reads."""
    from netgain.network.read.onnx.order import free_names

    return free_names(node)


def _double(node: Any) -> Any:
    """The node with its constants, and its casts to float32, in float64."""
    from onnx import NodeProto, TensorProto, numpy_helper

    wide = NodeProto()
    wide.CopyFrom(node)
    for attribute in wide.attribute:
        if attribute.HasField("t") and attribute.t.data_type in FLOATS:
            attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float64)))
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE
    return wide


def _corrections() -> list[Any]:
    """Operations that the reference implementation of onnx 1.23 gets wrong.

    It takes batch normalization of version 9 for training where a momentum is named, and drops axes in GlobalMaxPool.
    """
    from onnx.reference.op_run import OpRun

    class BatchNormalization(OpRun):
        """s (x - mean) / sqrt(variance + epsilon) + b."""

        def _run(self, x: Any, s: Any, b: Any, mean: Any, var: Any, epsilon: Any = None, **_: Any) -> Any:
            """The normalized batch."""
            s, b, mean, var = (np.reshape(value, (-1, *([1] * (x.ndim - 2)))) for value in (s, b, mean, var))
            return ((x - mean) / np.sqrt(var + epsilon) * s + b,)

    class GlobalMaxPool(OpRun):
        """The largest entry of each channel."""

        def _run(self, x: Any, **_: Any) -> Any:
            """The maxima, axes kept."""
            return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)

    return [BatchNormalization, GlobalMaxPool]


def _reference(model: Model, inputs: Sequence[Input], outputs: Sequence[str]) -> Engine:
    """The onnx package's own implementation, in float64."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(_proto(model, inputs, outputs, double=True), new_ops=_corrections())

    def run(row: list[np.ndarray]) -> list[np.ndarray]:
        feed = {
            one.port.name: value
            if one.port.element in FLOATS or not one.port.element
            else value.astype(helper.tensor_dtype_to_np_dtype(one.port.element))
            for one, value in zip(inputs, row, strict=True)
        }
        with np.errstate(all="ignore"):
            return [np.asarray(value) for value in evaluator.run(None, feed)]

    return run


def _runtime(model: Model, inputs: Sequence[Input], outputs: Sequence[str]) -> Engine:
    """The onnxruntime package, in the model's own type."""
    import onnxruntime
    from onnx import helper

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(
        _proto(model, inputs, outputs, double=False).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(row: list[np.ndarray]) -> list[np.ndarray]:
        feed = {
            one.port.name: value.astype(helper.tensor_dtype_to_np_dtype(one.port.element or 1))
            for one, value in zip(inputs, row, strict=True)
        }
        return [np.asarray(value) for value in session.run(None, feed)]

    return run
