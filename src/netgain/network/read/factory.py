"""Models named by "package.module:factory" and the shapes that examples are made of."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netgain.core.errors import FactoryError, UsageError
from netgain.core.files import missing, python_file, python_object
from netgain.network.read.export import at, summary

Example = Tensor | Sequence[int] | tuple[Tensor, ...]


def build(spec: str) -> nn.Module:
    """The module that a factory returns when it is called without arguments.

    Args:
        spec: "package.module:factory" or "path/to/file.py:factory"; the name may be a module class, a function or a
            module object.

    Raises:
        FactoryError: if the import or the call fails, or no nn.Module comes out.
    """
    file = python_file(spec)
    if file is not None and (reason := missing(file)):
        raise FactoryError(reason)
    try:
        module: Any = python_object(spec, lambda found: found if isinstance(found, nn.Module) else found())
    except Exception as error:  # user code: any exception is theirs, reported with their line
        raise FactoryError(f"{spec} failed{at(error)}: {summary(error)}") from error
    if not isinstance(module, nn.Module):
        raise FactoryError(f"{spec} returned {type(module).__name__}, expected a torch.nn.Module")
    return module


def example_inputs(module: nn.Module, example: Example | None) -> tuple[Tensor, ...]:
    """One batch of two rows for each input of a model.

    Args:
        module: the model; without an example its attribute `example_input` or `input_shape` is used.
        example: a batch, a tuple of batches (one an input), or the shape of one sample, as integers.

    Returns:
        Batches of two rows: the example's first rows, repeated where it has only one.

    Raises:
        UsageError: if there is no example or it has no batch axis.
    """
    if example is None:
        example = getattr(module, "example_input", None)
    if example is None:
        example = getattr(module, "input_shape", None)
    if example is None:
        raise UsageError(
            "no example input: pass a batch, or the shape of one sample such as (1, 28, 28) "
            "(on the command line: --input-shape 1,28,28)"
        )
    if isinstance(example, Tensor):
        batches: tuple[Tensor, ...] = (example,)
    elif all(isinstance(size, int) for size in example):
        shape = [int(size) for size in example]  # type: ignore[arg-type]
        if any(size < 1 for size in shape):
            raise UsageError(f"input shape {tuple(shape)} has an axis below 1")
        batches = (torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)),)
    else:
        batches = tuple(part for part in example if isinstance(part, Tensor))
        if len(batches) != len(tuple(example)):
            raise UsageError("an example is a tensor, a tuple of tensors, or the shape of one sample as integers")
    if any(batch.ndim == 0 or batch.shape[0] == 0 for batch in batches):
        raise UsageError("an example needs a batch axis with at least one row")
    kind = model_dtype(module)
    return tuple(_two_rows(batch.detach().cpu(), kind) for batch in batches)


def model_dtype(module: nn.Module) -> torch.dtype:
    """The floating dtype of a model's parameters or buffers, float32 where it has none."""
    tensors = [*module.parameters(), *module.buffers()]
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.get_default_dtype())


def _two_rows(batch: Tensor, dtype: torch.dtype) -> Tensor:
    """The first two rows, the only one twice; real numbers in the model's dtype."""
    rows = batch[:2] if batch.shape[0] > 1 else torch.cat([batch, batch])
    return rows.to(dtype) if rows.is_floating_point() else rows
