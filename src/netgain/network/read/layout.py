"""Where the batch sits in a tensor of the exported graph, and what one sample of it looks like."""

import dataclasses
import math

import torch
from torch import Tensor

from netgain.core.errors import BatchCoupledError


@dataclasses.dataclass(frozen=True)
class Layout:
    """The batch's place in a tensor: axis `axis` runs over (outer, batch, inner), in this order.

    A plain batch-first tensor is Layout(0). Attention moves the batch to axis 1, or merges heads into it.

    Attributes:
        axis: the axis that holds the batch.
        outer: size of what is merged into that axis before the batch.
        inner: size of what is merged into it after the batch.
    """

    axis: int = 0
    outer: int = 1
    inner: int = 1

    @property
    def pure(self) -> bool:
        """Whether the axis holds the batch and nothing else."""
        return self.outer == self.inner == 1

    @property
    def merged(self) -> tuple[int, ...]:
        """Sizes that share the axis with the batch; they become axes of a sample."""
        return tuple(size for size in (self.outer, self.inner) if size > 1)

    def sample_shape(self, full: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one sample of a tensor of shape `full`."""
        return (*full[: self.axis], *self.merged, *full[self.axis + 1 :])

    def full_shape(self, sample: tuple[int, ...], batch: int) -> tuple[int, ...]:
        """Shape of the tensor whose samples have shape `sample`."""
        tail = self.axis + len(self.merged)
        return (*sample[: self.axis], batch * self.outer * self.inner, *sample[tail:])

    def sample_axis(self, axis: int) -> int:
        """The axis of a sample that axis `axis` (not negative) of the full tensor becomes.

        Raises:
            BatchCoupledError: if it is the batch axis.
        """
        if axis == self.axis:
            raise BatchCoupledError(f"the operation works along the batch axis (axis {axis})")
        return axis if axis < self.axis else axis - 1 + len(self.merged)

    def to_samples(self, x: Tensor, batch: int) -> Tensor:
        """The tensor with its batch axis first and merged sizes as axes of their own."""
        before, after = x.shape[: self.axis], x.shape[self.axis + 1 :]
        split = x.reshape(*before, self.outer, batch, self.inner, *after)
        first = split.movedim(self.axis + 1, 0)
        return first.reshape(batch, *self.sample_shape(tuple(x.shape)))

    def from_samples(self, x: Tensor) -> Tensor:
        """The inverse of `to_samples`."""
        batch, sample = x.shape[0], tuple(x.shape[1:])
        tail = self.axis + len(self.merged)
        split = x.reshape(batch, *sample[: self.axis], self.outer, self.inner, *sample[tail:])
        return split.movedim(0, self.axis + 1).reshape(self.full_shape(sample, batch))


def find_layout(rows: Tensor, batch: int) -> Layout:
    """The layout of a tensor from the batch row that each of its entries comes from.

    Args:
        rows: for each entry the row (0 to batch - 1) it reads; -1 where it reads none (padding).
        batch: the number of rows.

    Returns:
        The first layout that explains every entry, plain layouts first.

    Raises:
        BatchCoupledError: if none does: entries of one sample come from several rows.
    """
    shape = tuple(rows.shape)
    candidates = [Layout(axis) for axis, size in enumerate(shape) if size == batch]
    for axis, size in enumerate(shape):
        if size % batch == 0 and size != batch:
            merged = size // batch
            outers = [outer for outer in range(1, merged + 1) if merged % outer == 0]
            candidates += [Layout(axis, outer, merged // outer) for outer in outers]
    for layout in candidates:
        if explains(layout, rows, batch):
            return layout
    raise BatchCoupledError(f"a tensor of shape {shape} mixes the rows of a batch of {batch}")


def explains(layout: Layout, rows: Tensor, batch: int) -> bool:
    """Whether each entry of `rows` is -1 or the row that `layout` says."""
    if layout.axis >= rows.ndim or rows.shape[layout.axis] != batch * layout.outer * layout.inner:
        return False
    said = (torch.arange(rows.shape[layout.axis]) // layout.inner) % batch
    said = said.reshape(-1, *([1] * (rows.ndim - layout.axis - 1)))
    return bool(((rows == said) | (rows < 0)).all())


def sample_size(shape: tuple[int, ...]) -> int:
    """Scalars in one sample."""
    return math.prod(shape)
