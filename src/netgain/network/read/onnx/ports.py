"""Which shape each input has for one sample, and which of its axes is the batch."""

import dataclasses
import math
from collections.abc import Mapping

from netgain.core.errors import ExampleError, ModelError, UsageError
from netgain.network.read.onnx.load import Model, Port

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Input:
    """An input at a batch of one.

    Attributes:
        port: what the file declares.
        shape: its shape at a batch of one.
        batch_axes: axes that grow with the batch; empty where the file fixes the size.
        guessed: axes that the file leaves open and that were taken as 1 without being a batch.
    """

    port: Port
    shape: Shape
    batch_axes: tuple[int, ...]
    guessed: tuple[int, ...] = ()

    def at(self, batch: int) -> Shape:
        """Its shape at a larger batch."""
        return tuple(batch if k in self.batch_axes else size for k, size in enumerate(self.shape))

    @property
    def size(self) -> int:
        """Scalars of one sample."""
        return math.prod(self.shape)


def settle_inputs(model: Model, shape: Shape | Mapping[str, Shape] | None) -> tuple[Input, ...]:
    """The inputs at a batch of one.

    The first axis of the first input is the batch where the file leaves it open; other inputs share it by its name, or
    by an open first axis. Other open axes need `shape`.

    Args:
        model: the parsed file.
        shape: shape of one sample without batch axis, for a single input; or full shapes by input name.

    Raises:
        ModelError: if an input has an open axis that `shape` does not settle.
        ExampleError: if `shape` does not fit the inputs.
        UsageError: if it names others.
    """
    if not model.inputs:
        raise ModelError(f"{model.path.name} has no input: its output is a constant")
    if isinstance(shape, Mapping):
        known = {port.name for port in model.inputs}
        unknown = [name for name in shape if name not in known]
        if unknown:
            raise UsageError(f"shape names the input {unknown[0]!r}; the model's inputs are {sorted(known)}")
        given = {name: tuple(int(size) for size in dims) for name, dims in shape.items()}
    elif shape is not None:
        if len(model.inputs) != 1:
            raise UsageError(f"the model has {len(model.inputs)} inputs: give shape as a mapping from their names")
        dims = tuple(int(size) for size in shape)
        port = model.inputs[0]
        given = {port.name: dims if port.dims is not None and len(port.dims) == len(dims) else (1, *dims)}
    else:
        given = {}
    symbol = next((port.dims[0] for port in model.inputs if port.dims and isinstance(port.dims[0], str)), None)
    inputs = tuple(_settled(port, given.get(port.name), symbol) for port in model.inputs)
    # A batch can only grow where every input has one.
    if all(one.batch_axes for one in inputs):
        return inputs
    guessed = tuple(() if one.port.name in given else one.batch_axes for one in inputs)
    return tuple(
        dataclasses.replace(one, batch_axes=(), guessed=axes) for one, axes in zip(inputs, guessed, strict=True)
    )


def _settled(port: Port, given: Shape | None, symbol: int | str | None) -> Input:
    """One input at a batch of one."""
    if port.dims is None:
        if given is None:
            raise ModelError(f"the input {port.name!r} has no declared shape; pass shape={{{port.name!r}: (1, ...)}}")
        return Input(port, _positive(given, port), ())
    if given is not None:
        if len(given) != len(port.dims) or any(
            isinstance(size, int) and size != want for size, want in zip(port.dims, given, strict=True)
        ):
            raise ExampleError(f"shape {given} does not fit the input {port.name!r} of shape {_shown(port)}")
        grows = tuple(k for k, size in enumerate(port.dims) if given[k] == 1 and _is_batch(k, size, symbol))
        return Input(port, _positive(given, port), grows)
    grows = tuple(k for k, size in enumerate(port.dims) if _is_batch(k, size, symbol))
    dims = tuple(1 if k in grows else size for k, size in enumerate(port.dims))
    fixed = tuple(size for size in dims if isinstance(size, int))
    if len(fixed) != len(dims):
        raise ModelError(
            f"the input {port.name!r} has the shape {_shown(port)} with open axes besides the batch; say which size to "
            "read it at: pass shape (one sample, without the batch axis) or an example input"
        )
    return Input(port, _positive(fixed, port), grows)


def _is_batch(axis: int, size: int | str | None, symbol: int | str | None) -> bool:
    """Whether an axis is the batch: it bears the batch's name, or is an open first axis."""
    if isinstance(size, int):
        return False
    return axis == 0 or (size is not None and size == symbol)


def _positive(shape: Shape, port: Port) -> Shape:
    """The shape, refused where an axis is empty."""
    if any(size < 1 for size in shape):
        raise ModelError(f"the input {port.name!r} has the shape {shape} with an empty axis")
    return shape


def _shown(port: Port) -> str:
    """The declared shape for messages."""
    return "(" + ", ".join("?" if size is None else str(size) for size in port.dims or ()) + ")"
