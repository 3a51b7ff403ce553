"""The data contract: inputs in raw units, class labels, a checksum. Loading unpickles nothing."""

import dataclasses
import difflib
import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from netgain.core.errors import DataError, DataMismatchError, EmptyDataError, LabelError, NetgainError, UsageError
from netgain.core.files import missing, names_object, python_file, python_object
from netgain.core.record import DataInfo
from netgain.data import archive, known, table


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs and labels as they were stored: radii and epsilon are in the units of `x`.

    Attributes:
        x: inputs, one a row, finite; floating point or integer as stored.
        y: class of each input.
        origin: where they come from, for reports.
        sha256: checksum of both arrays.
    """

    x: Shaped[Tensor, "samples *shape"]
    y: Int[Tensor, " samples"]
    origin: str
    sha256: str

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.x.shape[1:]))
        return f"<Dataset {self.origin}: {len(self)} samples of {shape}, {self.x.dtype}>"

    def __len__(self) -> int:
        return self.x.shape[0]

    def info(self) -> DataInfo:
        """The facts that a record keeps."""
        return DataInfo(
            origin=self.origin,
            sha256=self.sha256,
            samples=len(self),
            classes=int(self.y.max()) + 1,
            minimum=float(self.x.min()),
            maximum=float(self.x.max()),
        )

    def shaped(self, shape: tuple[int, ...]) -> "Dataset":
        """The same data for a model that takes `shape`, if no value can land in the wrong place.

        Allowed: axes of length one added or dropped, and flattening to or from one axis (row by row, as torch.flatten).

        Args:
            shape: shape of one input of the model.

        Raises:
            DataMismatchError: if the shapes differ in another way.
        """
        own = tuple(self.x.shape[1:])
        if own == shape:
            return self
        long = tuple(n for n in own if n != 1), tuple(n for n in shape if n != 1)
        if math.prod(own) == math.prod(shape) and (long[0] == long[1] or min(len(long[0]), len(long[1])) <= 1):
            return dataclasses.replace(self, x=self.x.reshape(-1, *shape))
        layout = " (channels last? netgain takes channels first)" if sorted(own) == sorted(shape) else ""
        raise DataMismatchError(f"an input of {self.origin} has shape {own}, the model takes {shape}{layout}")

    def first(self, samples: int) -> "Dataset":
        """The first samples only."""
        return dataset(self.x[:samples], self.y[:samples], f"{self.origin} (first {min(samples, len(self))})")


def dataset(x: Any, y: Any, origin: str) -> Dataset:
    """A checked data set.

    Args:
        x: inputs: a tensor or array, one a row.
        y: labels: integers (or floats that are integers) from 0.
        origin: where they come from.

    Raises:
        EmptyDataError: if there is no sample.
        DataMismatchError: if the lengths differ.
        DataError: if inputs are not numbers or not finite.
        LabelError: if labels are not class numbers.
    """
    inputs, labels = _tensor(x, "x", origin), _tensor(y, "y", origin)
    if inputs.ndim < 1 or inputs.shape[0] == 0 or inputs.numel() == 0:
        raise EmptyDataError(f"{origin} holds no samples")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        onehot = " (one-hot? use its argmax over the last axis)" if labels.ndim == 2 else ""
        raise LabelError(f"y in {origin} has shape {tuple(labels.shape)}, expected one class number a sample{onehot}")
    if labels.shape[0] != inputs.shape[0]:
        raise DataMismatchError(f"{origin} holds {inputs.shape[0]} inputs and {labels.shape[0]} labels")
    if inputs.is_complex() or inputs.dtype is torch.bool:
        raise DataError(f"x in {origin} has dtype {inputs.dtype}, expected real numbers")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        row = int((~torch.isfinite(inputs)).reshape(inputs.shape[0], -1).any(1).nonzero()[0])
        raise DataError(f"x in {origin} is not finite in sample {row}")
    whole = labels.to(torch.int64)
    if labels.is_complex():
        raise LabelError(f"y in {origin} holds complex numbers")
    wrong = (labels != whole) | (whole < 0)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise LabelError(f"y in {origin} holds {labels[row].item()} in sample {row}, which is not a class number")
    digest = hashlib.sha256()
    for part in (inputs, whole):
        digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
        digest.update(part.flatten().clone(memory_format=torch.contiguous_format).view(torch.uint8).numpy().tobytes())
    return Dataset(inputs, whole, origin, digest.hexdigest())


def load(spec: str) -> Dataset:
    """Load data by file name, by a known name, or from a Python object.

    Args:
        spec: "file.npz" with arrays x and y, "file.csv" with a label column, "digits:test", "mnist:train",
            "fashion-mnist:test", or "package.module:name" or "path/to/file.py:name" of a `Dataset`, a pair (x, y) or a
            function returning one.

    Raises:
        DataError: if it cannot be read.
        UsageError: if `spec` is none of these.
    """
    name, _, part = spec.partition(":")
    if name in known.NAMES:
        x, y, where = known.load(name, part or "test")
        return dataset(x, y, f"{name}:{part or 'test'} ({where})")
    path = Path(spec)
    if path.suffix in {".npz", ".csv"} and (reason := missing(spec)):
        raise DataError(reason)
    if path.suffix == ".npz":
        return dataset(*archive.read(path), origin=path.name)
    if path.suffix == ".csv":
        return dataset(*table.read(path), origin=path.name)
    if names_object(spec):
        return _from_python(spec)
    raise UsageError(
        f"cannot tell what data {spec!r} is: expected a .npz or .csv file, one of {', '.join(known.NAMES)} "
        "(with :train or :test), package.module:name or path/to/file.py:name"
    )


def _tensor(values: Any, name: str, origin: str) -> Tensor:
    """Numbers as a tensor, without a copy where possible."""
    if isinstance(values, Tensor):
        return values.detach()
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = getattr(values, "dtype", type(values).__name__)
        raise DataError(f"{name} in {origin} is not an array of numbers that torch takes (it holds {kind})") from error


def _from_python(origin: str) -> Dataset:
    """The object `module:attribute` or `file.py:attribute`, called if it can be."""
    file = python_file(origin)
    if file is not None and (reason := missing(file)):
        raise DataError(reason)
    try:
        value: Any = python_object(
            origin, lambda found: found() if callable(found) and not isinstance(found, Dataset) else found
        )
    except NetgainError:
        raise
    except Exception as error:
        near = difflib.get_close_matches(origin.partition(":")[0], known.NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near and isinstance(error, ModuleNotFoundError) else ""
        raise DataError(f"{origin} failed: {type(error).__name__}: {error}{hint}") from error
    if isinstance(value, Dataset):
        return value
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise DataError(f"{origin} gave a {type(value).__name__}, expected a pair (x, y)")
    return dataset(value[0], value[1], origin)
