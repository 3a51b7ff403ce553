"""The symbol of a block Toeplitz matrix at given frequencies, and proofs that its norm is below a limit.

K^(x) = sum over offsets q of K_q exp(2 pi i <q, x>), x in turns (theta = 2 pi x).

Frequencies are multiples of 2^-b with b so small that <q, x> mod 1 is exact in float64. Then the computed phase differs
from exp(2 pi i <q, x>) only by the rounding of 2 pi, of one product, and of sine and cosine.
"""

import dataclasses
import math
import time

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.core.rounding import UNDERFLOW, UNIT_ROUNDOFF, add_up, gamma, mul_up, sqrt_up
from netgain.norms.convolution.stencil import Stencil

# |computed cos, sin of fl(2 pi f) - true cos, sin of 2 pi f| for |f| <= 1/2: at most 2 pi u from 2 pi and the product,
# 8 u from the function (assumed within 4 units in the last place). As a complex number below sqrt(2) 16 u < 24 u.
PHASE_ERROR = 24 * UNIT_ROUNDOFF
ASSUMPTION = "torch's float64 sin and cos are within 4 units in the last place on [-pi, pi]"
# Bytes that one batch of symbols may take, all temporaries included.
_MEMORY = 192 * 2**20


@dataclasses.dataclass(frozen=True)
class Items:
    """A batch of (group, frequency) pairs at which the symbol is wanted.

    Attributes:
        groups: number of the group.
        centres: frequency in turns, one column an axis, multiples of `Symbol.resolution`.
    """

    groups: Int[Tensor, " item"]
    centres: Float[Tensor, "item axis"]

    def __len__(self) -> int:
        return self.groups.shape[0]

    def __getitem__(self, which: "Tensor | slice") -> "Items":
        return Items(self.groups[which], self.centres[which])


class Symbol:
    """The symbol of a stencil, with its evaluation error.

    Attributes:
        kernel: see `Stencil`.
        resolution: frequencies must be multiples of this power of two.
        error: an upper bound of the spectral norm of computed minus exact symbol, at any frequency.
        crude: an upper bound of the norm of the exact symbol at every frequency.
    """

    def __init__(self, stencil: Stencil):
        self.kernel = stencil.kernel
        self.offsets = stencil.offsets
        self.degrees = stencil.degrees
        bits = 50 - int(sum(stencil.degrees) + 1).bit_length()
        self.resolution = 2.0 ** -min(40, bits)
        magnitudes = self.kernel.abs().sum(3)
        # Sums of non-negative terms: relative error gamma.
        growth = 1.0 + gamma(sum(self.kernel.shape[1:]) + 8)
        columns = float(magnitudes.sum(1).amax())
        rows = float(magnitudes.sum(2).amax())
        self.crude = add_up(mul_up(growth, sqrt_up(mul_up(columns, rows))), UNDERFLOW)
        # A sum of Q products with computed phases: sqrt 2 gamma_Q (1 + phase error) + phase error.
        factor = add_up(4 * gamma(self.kernel.shape[3] + 1), PHASE_ERROR)
        self.error = add_up(mul_up(factor, self.crude), UNDERFLOW)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return self.kernel.shape[0]

    @property
    def rows(self) -> int:
        """Rows of the symbol, at least as many as columns."""
        return self.kernel.shape[1]

    @property
    def columns(self) -> int:
        """Columns of the symbol."""
        return self.kernel.shape[2]

    @property
    def work(self) -> float:
        """Operations of one proof in `below`, about."""
        return 8.0 * self.columns**2 * (self.rows + self.columns) + 4.0 * self.kernel[0].numel()

    def chunk(self) -> int:
        """Items whose symbols, Gram matrices and factors fit the memory together."""
        numbers = 6 * self.rows * self.columns + 16 * self.columns**2 + 4 * self.offsets.shape[0]
        if self.groups > 1:
            numbers += self.kernel[0].numel()
        return max(1, _MEMORY // (8 * numbers))

    def rounded(self, centres: Float[Tensor, "item axis"]) -> Float[Tensor, "item axis"]:
        """The nearest multiples of the resolution."""
        return (centres / self.resolution).round() * self.resolution

    def phases(self, centres: Float[Tensor, "item axis"]) -> tuple[Tensor, Tensor]:
        """Cosine and sine of 2 pi <q, x> for each item and offset."""
        turns = centres @ self.offsets.T
        angle = (turns - turns.round()) * (2.0 * math.pi)
        return torch.cos(angle), torch.sin(angle)

    def parts(self, items: Items) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of the computed symbol, (item, row, column)."""
        shape = (-1, self.rows, self.columns)
        cos, sin = self.phases(items.centres)
        both = torch.stack([cos, sin], 1)
        if self.groups == 1:
            values = both @ self.kernel[0].reshape(-1, self.kernel.shape[3]).T
        else:
            values = both @ self.kernel[items.groups].flatten(1, 2).transpose(1, 2)
        return values[:, 0].reshape(shape), values[:, 1].reshape(shape)

    def below(self, items: Items, limits: Float[Tensor, " item"], deadline: float = math.inf) -> Bool[Tensor, " item"]:
        """Prove that the norm of the exact symbol is at most the limit, item by item.

        Guarantee: True means proved, rounding included. False means nothing.

        Args:
            items: groups and frequencies.
            limits: what the norm is compared with.
            deadline: `time.monotonic()` after which no proof is tried.

        Returns:
            Whether each proof succeeded.

        Cost:
            About 14 n^3 operations an item for n columns and as many rows; items that the Frobenius norm settles are
            cheap.
        """
        result = torch.zeros(len(items), dtype=torch.bool)
        size = self.chunk()
        for start in range(0, len(items), size):
            if time.monotonic() > deadline:
                break
            part = slice(start, start + size)
            result[part] = self._below(items[part], limits[part])
        return result

    def _below(self, items: Items, limits: Tensor) -> Tensor:
        """The proof for one batch that fits the memory."""
        real, imag = self.parts(items)
        # Norm of the computed symbol <= limit - error is enough. Squared and rounded down.
        inner = (limits - self.error).clamp_min(0.0) * (1.0 - 4 * UNIT_ROUNDOFF)
        squared = inner * inner * (1.0 - 4 * UNIT_ROUNDOFF)
        summed = 2 * self.rows * self.columns
        frobenius = (real.square().sum((1, 2)) + imag.square().sum((1, 2))) * (1.0 + gamma(summed + 8)) + UNDERFLOW
        result = frobenius <= squared
        rest = ((~result) & (squared > 0)).nonzero().squeeze(1)
        if self.columns > 1 and len(rest):
            result[rest] = _gram_below(real[rest], imag[rest], frobenius[rest], squared[rest])
        return result

    def largest(self, items: Items, steps: int = 24) -> Float[Tensor, " item"]:
        """Estimates of the norm of the symbol, from below. No guarantee."""
        parts = [self._largest(items[s : s + self.chunk()], steps)[0] for s in range(0, len(items), self.chunk())]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def direction(self, items: Items, steps: int = 24) -> Tensor:
        """Approximate top right singular vectors of the symbol (complex). No guarantee."""
        return self._largest(items, steps)[1]

    def _largest(self, items: Items, steps: int) -> tuple[Tensor, Tensor]:
        """Lanczos on K^H K for each item: the norm estimates and the vectors."""
        matrix = torch.complex(*self.parts(items))
        if self.columns <= 6 or steps >= self.columns:
            values, vectors = torch.linalg.eigh(matrix.mH @ matrix)
            return values[:, -1].clamp_min(0.0).sqrt(), vectors[:, :, -1]
        return _lanczos(matrix, steps)


def _gram_below(real: Tensor, imag: Tensor, frobenius: Tensor, squared: Tensor) -> Tensor:
    """Whether lambda_max(Z^H Z) <= squared is proved for Z = real + i imag, by Cholesky and its residual.

    With G = fl(Z^H Z), B = fl(s I - G), any L and P = fl(L L^H):
    lambda_max(Z^H Z) <= s + u max b_ii + ||B - P||_F + error(P) + error(G), see docs/theory/convolution_norms.md.
    """
    rows, columns = real.shape[1:]
    gram_real, gram_imag = _hermitian_square(real.transpose(1, 2), imag.transpose(1, 2), -1.0)
    gram_error = 2 * gamma(2 * rows + 1) * frobenius + UNDERFLOW
    # ||G||_F bounds the norm too, and settles frequencies well below the limit.
    schatten = (gram_real.square().sum((1, 2)) + gram_imag.square().sum((1, 2))).sqrt() * (
        1.0 + gamma(4 * columns * columns + 8)
    )
    result = schatten + gram_error + 2.0**-400 <= squared * (1.0 - 8 * UNIT_ROUNDOFF)
    open_items = (~result).nonzero().squeeze(1)
    if len(open_items):
        shifted = torch.complex(-gram_real[open_items], -gram_imag[open_items])
        result[open_items] = _factored_below(
            shifted, gram_error[open_items], frobenius[open_items], squared[open_items]
        )
    return result


def _factored_below(negated: Tensor, gram_error: Tensor, frobenius: Tensor, squared: Tensor) -> Tensor:
    """Whether lambda_max(Z^H Z) <= squared is proved from -G, see `_gram_below`."""
    columns = negated.shape[1]
    shift = squared * (1.0 - (16 * columns * columns + 1024) * UNIT_ROUNDOFF) - 2 * gram_error
    shifted = negated
    shifted.diagonal(dim1=1, dim2=2).add_(shift[:, None])
    factor, info = torch.linalg.cholesky_ex(shifted)
    good = ((info == 0) & (shift > 0)).nonzero().squeeze(1)
    result = torch.zeros(len(squared), dtype=torch.bool)
    if not len(good):
        return result
    factor, shifted = factor[good], shifted[good]
    product = torch.complex(*_hermitian_square(factor.real, factor.imag, 1.0))
    weight = 1.0 + gamma(4 * columns * columns + 8)
    trace = torch.view_as_real(factor).square().sum((1, 2, 3)) * weight
    # |B - P| is computed with a relative error u; its sum of squares and root with gamma, underflow apart.
    residual = torch.view_as_real(shifted - product).square().sum((1, 2, 3)).sqrt() * weight
    bound = (
        shift[good]
        + 2 * UNIT_ROUNDOFF * (shift[good] + frobenius[good])
        + residual * (1.0 + 4 * UNIT_ROUNDOFF)
        + 2 * gamma(2 * columns + 1) * trace
        + gram_error[good]
        + 2.0**-400
    ) * (1.0 + 16 * UNIT_ROUNDOFF)
    result[good] = torch.isfinite(bound) & (bound <= squared[good])
    return result


def _hermitian_square(real: Tensor, imag: Tensor, sign: float) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of F F^H for F = real + sign i imag ... in 2 n + 1 terms an entry.

    Re = real real^T + imag imag^T. Im = sign (imag real^T - real imag^T), one product minus its transpose.
    """
    stacked = torch.cat([real, imag], 2)
    mixed = imag @ real.transpose(1, 2)
    return stacked @ stacked.transpose(1, 2), sign * (mixed - mixed.transpose(1, 2))


def _lanczos(matrix: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Largest singular value and right vector of each matrix by Lanczos with full reorthogonalization."""
    count, _, size = matrix.shape
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(size, dtype=torch.complex128, generator=generator).expand(count, size)
    basis = [start / start.norm(dim=1, keepdim=True)]
    scale = matrix.abs().square().sum((1, 2)).unsqueeze(1)
    for _ in range(steps - 1):
        image = ((matrix @ basis[-1].unsqueeze(2)).mH @ matrix).conj().squeeze(1)
        done = torch.stack(basis, 2)
        for _ in range(2):
            image = image - (done @ (done.mH @ image.unsqueeze(2))).squeeze(2)
        length = image.norm(dim=1, keepdim=True)
        # A direction that is only rounding is left out: the Krylov space is exhausted.
        basis.append(torch.where(length > 1e-9 * scale, image / length, 0.0))
    done = torch.stack(basis, 2)
    images = matrix @ done
    values, vectors = torch.linalg.eigh(images.mH @ images)
    return values[:, -1].clamp_min(0.0).sqrt(), (done @ vectors[:, :, -1:]).squeeze(2)
