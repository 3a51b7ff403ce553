"""netgain.read: a module, file or factory to a Network, checked against the model."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from netgain.core.errors import ExampleError, ModelError, UnsafeFileError, UsageError
from netgain.core.files import missing, names_object
from netgain.network.check import (
    check_finite,
    check_limit,
    check_program,
    check_rows,
    check_sizes,
    unused_parameters,
)
from netgain.network.graph import Network
from netgain.network.read.archive import load_program
from netgain.network.read.assemble import lower
from netgain.network.read.checkpoint import load_module, load_weights
from netgain.network.read.export import at, eval_copy, export, quiet, summary
from netgain.network.read.factory import Example, build, example_inputs, model_dtype
from netgain.network.read.preprocess import Preprocess, prepend
from netgain.network.read.program import record

Model = nn.Module | str | os.PathLike[str]


def read(
    model: Model,
    example: Example | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    preprocess: Preprocess | None = None,
    output: int | str | None = None,
    allow_pickle: bool = False,
) -> Network:
    """The graph of a model in netgain's node kinds, checked against the model.

    Three checks always run: *replay* (graph and model agree on random inputs), *coverage* (every parameter is used, or
    a note lists it) and *batch independence* (a row does not change with its batch partners or the batch size).

    Args:
        model: an nn.Module, "model.onnx", "model.pt2", "package.module:factory" or "path/to/file.py:factory". The
            module itself is not touched: an eval-mode copy is read.
        example: one batch (first axis: the batch; a tensor or NumPy array), a tuple of batches for several inputs, or
            the shape of one sample as integers. Without one, the model's attribute `example_input` or `input_shape`.
            Files carry their own, but an ONNX file that leaves axes open (height and width) takes their size from here.
        weights: .safetensors, or a torch state dict, for a module or factory.
        preprocess: (mean, std) applied before the model, or the text "mean,std": the network then takes raw inputs.
        output: which output, by position or name; by default all, flattened and joined.
        allow_pickle: open pickles that can run code. Only for files whose origin you trust.

    Returns:
        The network: float64 inside, with the model's own dtype and parameters noted.

    Raises:
        ModelError: if the model cannot be read; subclasses say why (unsafe file, data-dependent branch, coupled batch
            rows, random or stateful model, non-finite weights, graph and model disagree).
        UsageError: if an argument is unusable.

    Example:
        >>> net = read(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), (2,))
        >>> [node.name for node in net.nodes]
        ['0', '1']
    """
    network = _read(model, example, weights, output, allow_pickle)
    return network if preprocess is None else prepend(network, preprocess)


def _read(model: Model, example: Example | None, weights: Any, output: int | str | None, allow_pickle: bool) -> Network:
    """Dispatch on what the model is."""
    if isinstance(example, np.ndarray):
        example = torch.from_numpy(example)
    if isinstance(example, int):
        example = (example,)
    if isinstance(model, nn.Module):
        return _read_module(model, example, weights, output, (type(model).__name__, allow_pickle))
    if not isinstance(model, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"a model is an nn.Module, a file name or a factory's name, got {type(model).__name__}")
    text = os.fspath(model)
    suffix = pathlib.Path(text).suffix.lower()
    if suffix in (".onnx", ".pt2"):
        if weights is not None:
            raise UsageError(f"{text} carries its own weights; --weights is for package.module:factory")
        _require_file(text)
        return _read_onnx(text, example, output) if suffix == ".onnx" else _read_program(text, output)
    if names_object(text):
        return _read_module(build(text), example, weights, output, (text, allow_pickle))
    _require_file(text)
    if suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"):
        if not allow_pickle:
            raise UnsafeFileError(
                f"{text} is a pickle; a whole pickled model runs code when it is opened. Pass the architecture as "
                "package.module:factory and this file as --weights"
            )
        return _read_module(load_module(text), example, weights, output, (pathlib.Path(text).name, allow_pickle))
    if suffix == ".py":
        raise ModelError(f"{text} holds code: name the factory in it, as in {text}:build")
    if suffix == ".safetensors":
        raise ModelError(f"{text} holds weights only: name the factory of the network, and pass this file as weights")
    raise ModelError(f"{text} is not a model")


def _require_file(path: str) -> None:
    """Raise unless a file is there."""
    if reason := missing(path):
        raise ModelError(reason)


def _read_onnx(path: str, example: Example | None, output: int | str | None) -> Network:
    """An ONNX file; its reader's dependencies are optional. The example gives the size of open axes."""
    try:
        from netgain.network.read.onnx import read_onnx
    except ImportError as error:
        raise ModelError(f"reading {path} needs the ONNX extra: pip install 'netgain[onnx]' ({error})") from error
    return read_onnx(path, output=output, shape=_sample_shape(example))


def _sample_shape(example: Example | None) -> tuple[int, ...] | None:
    """Shape of one sample of a single-input example; None where there is none to tell."""
    if isinstance(example, Tensor):
        return tuple(example.shape[1:])
    parts = tuple(example or ())
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if tensors:
        return tuple(tensors[0].shape[1:]) if len(tensors) == 1 else None
    return tuple(size for size in parts if isinstance(size, int)) or None


def _read_module(
    module: nn.Module, example: Example | None, weights: Any, output: int | str | None, origin: tuple[str, bool]
) -> Network:
    """A module: eval copy, weights, export, lowering, checks."""
    name, allow_pickle = origin
    twin, training = eval_copy(module)
    if weights is not None:
        load_weights(twin, os.fspath(weights), allow_pickle=allow_pickle)
    check_finite(dict(twin.named_parameters()) | dict(twin.named_buffers()))
    inputs = example_inputs(twin, example)
    returned = call_module(twin, inputs)
    exported = export(twin, inputs)
    notes: list[tuple[str, str]] = []
    if training and any(_differs_in_training(part) for part in module.modules()):
        notes.append(("NG108", "an eval-mode copy was read: batch statistics frozen, dropout off"))
    chosen = choose_outputs(returned, output)
    network = _lowered(exported.program, inputs, chosen, twin, False)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    dtype = str(model_dtype(twin)).removeprefix("torch.")
    notes.extend(network.notes)
    return dataclasses.replace(network, parameters=parameters, dtype=dtype, notes=tuple(notes), origin=name)


def _differs_in_training(module: nn.Module) -> bool:
    """Whether a module may act otherwise in training mode: by its name, or a leaf that is not torch's own."""
    name = type(module).__name__
    changing = ("BatchNorm", "Dropout", "InstanceNorm", "RReLU")
    own = type(module).__module__.startswith("torch.")
    return any(part in name for part in changing) or not (own or any(True for _ in module.children()))


def _read_program(path: str, output: int | str | None) -> Network:
    """A .pt2 file: the exported program is the model."""
    program = load_program(path)
    with quiet():
        program = program.run_decompositions({})
        module = program.module()
    check_finite({str(name): value for name, value in program.state_dict.items()})
    inputs = _own_inputs(program)
    chosen = choose_outputs(call_module(module, inputs), output)
    network = _lowered(program, inputs, chosen, module, not is_dynamic(program))
    parameters = sum(tensor.numel() for tensor in program.state_dict.values() if isinstance(tensor, nn.Parameter))
    dtypes = [tensor.dtype for tensor in program.state_dict.values() if tensor.is_floating_point()]
    dtype = str(dtypes[0] if dtypes else torch.float32).removeprefix("torch.")
    return dataclasses.replace(network, parameters=parameters, dtype=dtype, origin=pathlib.Path(path).name)


def _own_inputs(program: ExportedProgram) -> tuple[Tensor, ...]:
    """Random inputs of the shapes that an exported program was traced with; a dynamic batch becomes 2."""
    generator = torch.Generator().manual_seed(0)
    names = set(program.graph_signature.user_inputs)
    inputs: list[Tensor] = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names and isinstance(node.meta.get("val"), Tensor):
            value = node.meta["val"]
            shape = [size if isinstance(size, int) else 2 for size in value.shape]
            real = value.dtype.is_floating_point
            drawn = torch.randn(shape, generator=generator) if real else torch.randint(0, 2, shape, generator=generator)
            inputs.append(drawn.to(value.dtype))
    return tuple(inputs)


def call_module(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """The model's output.

    Raises:
        ExampleError: if its code fails, with the user's line.
    """
    try:
        with torch.no_grad(), quiet():
            return module(*inputs)
    except Exception as error:  # user code: any exception is theirs, reported with their line
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        hint = "the first axis is the batch"
        raise ExampleError(
            f"the model fails on input of shape {shapes} ({hint}){at(error)}: {summary(error)}"
        ) from error


def is_dynamic(program: ExportedProgram) -> bool:
    """Whether an exported program takes any batch size."""
    return bool(program.range_constraints)


def _lowered(
    exported: ExportedProgram, inputs: tuple[Tensor, ...], chosen: list[int], module: nn.Module, fixed: bool
) -> Network:
    """Record, lower and check an exported program."""
    program = record(exported, inputs)
    lowering = lower(program, chosen)
    check_program(program, lowering, inputs)
    check_rows(module, program, lowering, inputs, fixed)
    if not fixed:
        check_sizes(module, program, lowering, inputs)
        check_limit(module, exported, lowering, inputs)
    unused = unused_parameters(program, lowering)
    notes = () if not unused else (("NG106", f"not used by the output: {', '.join(unused)}"),)
    return dataclasses.replace(lowering.network, notes=notes)


def choose_outputs(returned: Any, output: int | str | None) -> list[int]:
    """Positions of the chosen outputs among the flattened ones.

    Args:
        returned: what the model returned.
        output: a position among its tensors, a name (key or field), or None for every tensor.

    Raises:
        UsageError: if there is none of that name or position; the message lists them.
        ModelError: if the model returns no tensor.
    """
    leaves, _ = pytree.tree_flatten_with_path(returned)
    tensors = [(index, pytree.keystr(path)) for index, (path, leaf) in enumerate(leaves) if isinstance(leaf, Tensor)]
    if not tensors:
        raise ModelError(f"the model returns {type(returned).__name__} without any tensor")
    if output is None:
        return [index for index, _ in tensors]
    if isinstance(output, str) and output.lstrip("-").isdigit():
        output = int(output)
    if isinstance(output, int):
        if -len(tensors) <= output < len(tensors):
            return [tensors[output][0]]
        raise UsageError(f"output {output} does not exist: the model returns {len(tensors)} tensors")
    named = [index for index, path in tensors if path.strip("[].'\"") == output or path == output]
    if len(named) != 1:
        known = ", ".join(path.strip("[].'\"") or "0" for _, path in tensors)
        raise UsageError(f"output {output!r} does not exist; the model returns: {known}")
    return named
