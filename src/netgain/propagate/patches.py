"""Linear functions of a node that read a small window of its grid, many at a time: the rows of a convolutional layer.

A row is a linear function x -> a . x of a node's value x, of shape (*lead, *grid). Where it reads only a window of the
grid, the window is all that is stored. Rows that share an image and a window form a group, so that what depends on the
position alone (slopes, offsets, biases) is gathered once a group.
"""

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from netgain.core.errors import UsageError


@dataclasses.dataclass(frozen=True, repr=False)
class Patches:
    """Rows of coefficients on windows of a grid.

    Without grid axes the window is the whole node: a node without a grid, or a grid taken flat, entry by entry.

    Attributes:
        values: the coefficients; entries outside the grid are zero, or not to be read (see `inside`).
        corner: position on the grid of the first entry of each group's window; may be negative.
        image: the row of the batch that each group belongs to.
        shape: shape of the node, batch axis excluded.
        inside: whether the entries outside the grid are known to be zero.
    """

    values: Float[Tensor, "groups rows channels *window"]
    corner: Int64[Tensor, "groups axes"]
    image: Int64[Tensor, " groups"]
    shape: tuple[int, ...]
    inside: bool = True

    def __repr__(self) -> str:
        groups, rows = self.values.shape[:2]
        return f"<{groups} x {rows} rows on windows {self.window} of {self.shape}>"

    @property
    def axes(self) -> int:
        """Number of grid axes."""
        return self.corner.shape[1]

    @property
    def grid(self) -> tuple[int, ...]:
        """The node's grid."""
        return self.shape[len(self.shape) - self.axes :]

    @property
    def window(self) -> tuple[int, ...]:
        """Size of the windows."""
        return tuple(self.values.shape[3:])

    @property
    def size(self) -> int:
        """Number of entries of a row."""
        return self.values.shape[2:].numel()

    def gathered(self, full: Float[Tensor, "batch *shape"]) -> Float[Tensor, "groups entries"]:
        """The entries of a tensor of the node's shape in each group's window, zero outside the grid.

        Args:
            full: one tensor a row of the batch, or a single one for all.
        """
        image = self.image if len(full) > 1 else torch.zeros_like(self.image)
        lead = self.values.shape[2]
        full = full.reshape(len(full), lead, *self.grid)
        if self.axes == 0:
            return full[image]
        before, pads = list[int](), list[int]()
        for corners, size, window in zip(self.corner.T, self.grid, self.window, strict=True):
            first = max(0, -int(corners.min()))
            before.append(first)
            pads = [first, max(0, int(corners.max()) + window - size), *pads]
        full = functional.pad(full, pads) if any(pads) else full
        for axis, window in enumerate(self.window, start=2):
            full = full.unfold(axis, window, 1)
        start = self.corner + torch.tensor(before)
        return full[(image, slice(None), *start.T)].flatten(1)

    def cropped(self) -> "Patches":
        """The same rows without the borders of windows that lie outside the grid in all groups."""
        values, corner = self.values, self.corner
        for axis, (size, window) in enumerate(zip(self.grid, self.window, strict=True)):
            first = max(0, -int(corner[:, axis].max()))
            last = max(0, int(corner[:, axis].min()) + window - size)
            length = window - first - last
            if length < window:
                # A window wholly outside keeps one entry, which is masked.
                values = values.narrow(axis + 3, min(first, window - 1), max(length, 1))
                corner = corner + first * functional.one_hot(torch.tensor(axis), self.axes)
        return dataclasses.replace(self, values=values, corner=corner)

    def clean(self) -> "Patches":
        """The same rows with zeros outside the grid."""
        if self.inside:
            return self
        values = self.values
        for axis, size in enumerate(self.grid):
            position = self.corner[:, axis : axis + 1] + torch.arange(self.window[axis])
            within = (position >= 0) & (position < size)
            if not bool(within.all()):
                shape = [len(within), 1, 1] + [1] * self.axes
                shape[3 + axis] = self.window[axis]
                values = torch.where(within.reshape(shape), values, 0.0)
        return dataclasses.replace(self, values=values, inside=True)

    def flat(self) -> "Patches":
        """The same rows written out over the whole node, without grid axes."""
        if self.axes == 0:
            return self
        mine = self.clean()
        groups, rows, channels = mine.values.shape[:3]
        full = mine.values.new_zeros(groups, rows, channels, *self.grid)
        for k, corner in enumerate(mine.corner.tolist()):
            there, here = list[slice](), list[slice]()
            for first, size, window in zip(corner, self.grid, self.window, strict=True):
                there.append(slice(max(0, first), max(0, min(size, first + window))))
                here.append(slice(there[-1].start - first, there[-1].start - first + there[-1].stop - there[-1].start))
            if all(part.stop > part.start for part in there):
                full[(k, slice(None), slice(None), *there)] = mine.values[(k, slice(None), slice(None), *here)]
        return Patches(full.flatten(2), mine.corner[:, :0], mine.image, self.shape)

    def __add__(self, other: "Patches") -> "Patches":
        """The sum of rows of the same groups, on windows that cover both."""
        if self.axes != other.axes:
            return self.flat() + other.flat()
        if self.axes == 0:
            return dataclasses.replace(self, values=self.values + other.values)
        apart = other.corner - self.corner
        if bool((apart != apart[:1]).any()):
            return self.flat() + other.flat()
        shift = apart[0].tolist()
        first = [min(0, step) for step in shift]
        last = [max(a, b + step) for a, b, step in zip(self.window, other.window, shift, strict=True)]
        window = [b - a for a, b in zip(first, last, strict=True)]
        values = self.values.new_zeros(*self.values.shape[:3], *window)
        for one, start in ((self, [-a for a in first]), (other, [b - a for a, b in zip(first, shift, strict=True)])):
            part = [slice(a, a + size) for a, size in zip(start, one.window, strict=True)]
            values[(slice(None), slice(None), slice(None), *part)] += one.values
        corner = self.corner + torch.tensor(first)
        return Patches(values, corner, self.image, self.shape, self.inside and other.inside)


@dataclasses.dataclass(frozen=True)
class Entries:
    """Entries of a node, grouped by image and position, groups of similar size side by side.

    Attributes:
        image: of each group.
        position: flat grid position of each group; 0 where there is no grid.
        channel: the entries of each group, -1 behind the last.
        shape: shape of the node.
        axes: number of grid axes.
    """

    image: Int64[Tensor, " groups"]
    position: Int64[Tensor, " groups"]
    channel: Int64[Tensor, "groups rows"]
    shape: tuple[int, ...]
    axes: int

    @classmethod
    def where(cls, chosen: Bool[Tensor, "batch *shape"], axes: int) -> "Entries":
        """The chosen entries.

        Args:
            chosen: of the node's shape.
            axes: how many trailing axes are the grid.

        Raises:
            UsageError: if there are not so many axes.
        """
        shape = tuple(chosen.shape[1:])
        if axes and len(shape) <= axes:
            raise UsageError(f"a node of shape {shape} has no grid of {axes} axes and channels")
        cells = math.prod(shape[len(shape) - axes :])
        table = chosen.reshape(len(chosen), -1, cells).transpose(1, 2)
        counts = table.sum(2)
        image, position = counts.nonzero(as_tuple=True)
        order = counts[image, position].sort(stable=True, descending=True).indices
        image, position = image[order], position[order]
        most = int(counts.max()) if len(image) else 0
        # Chosen channels first, in order.
        ranked = table[image, position].long().sort(dim=1, descending=True, stable=True)
        channel = torch.where(ranked.values > 0, ranked.indices, -1)[:, :most]
        return cls(image, position, channel, shape, axes)

    def __len__(self) -> int:
        return len(self.image)

    def chunks(self, entries: int, budget: int) -> list["Entries"]:
        """The groups in pieces, rows padded to the longest of each piece.

        Args:
            entries: numbers that a row takes at its widest.
            budget: numbers that a piece may take.
        """
        pieces: list[Entries] = []
        counts = (self.channel >= 0).sum(1).tolist()
        start = 0
        while start < len(self):
            rows = counts[start]
            # A group costs its rows and a few gathered maps.
            step = max(1, budget // max(1, (rows + 3) * entries))
            most = max(1, budget // max(1, entries) - 3)
            stop = min(len(self), start + step)
            for first in range(0, rows, most):
                part = self.channel[start:stop, first : min(rows, first + most)]
                pieces.append(Entries(self.image[start:stop], self.position[start:stop], part, self.shape, self.axes))
            start = stop
        return pieces

    def patches(self) -> Patches:
        """One row an entry: the entry itself."""
        groups, rows = self.channel.shape
        grid = self.shape[len(self.shape) - self.axes :]
        channels = math.prod(self.shape[: len(self.shape) - self.axes])
        values = torch.zeros(groups, rows, channels + 1, dtype=torch.float64)
        values.scatter_(2, (self.channel + 1).unsqueeze(2), 1.0)
        values = values[:, :, 1:].reshape(groups, rows, channels, *[1] * self.axes)
        corner = torch.zeros(groups, self.axes, dtype=torch.int64)
        rest = self.position
        for axis in range(self.axes - 1, -1, -1):
            corner[:, axis] = rest % grid[axis]
            rest = rest // grid[axis]
        return Patches(values, corner, self.image, self.shape)

    def scatter(self, found: Float[Tensor, "groups rows"], into: Float[Tensor, "batch *shape"]) -> None:
        """Write numbers, one an entry, into a contiguous tensor of the node's shape.

        Args:
            found: the numbers.
            into: the tensor.
        """
        cells = math.prod(self.shape[len(self.shape) - self.axes :])
        valid = self.channel >= 0
        flat = self.channel * cells + self.position.unsqueeze(1)
        image = self.image.unsqueeze(1).expand_as(flat)
        into.view(len(into), -1)[image[valid], flat[valid]] = found[valid]
