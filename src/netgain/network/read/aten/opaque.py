"""Operations without a sound rule: they are run for replay, shown, and refused by name when a bound is asked for."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from netgain.core.errors import BatchCoupledError, StatefulModelError
from netgain.network.graph import Opaque
from netgain.network.read.layout import Layout, find_layout
from netgain.network.read.lowering import Call, Lowered, Value, lowers, lowers_discrete
from netgain.network.read.schema import operation_name

_STEPS = """
sign round floor ceil trunc frac fmod remainder heaviside argmax argmin argsort one_hot gt lt ge le eq ne
logical_and logical_or logical_not bitwise_and bitwise_or bitwise_not isnan isinf isfinite searchsorted bucketize
nonzero where floor_divide
"""
_UNBOUNDED = """
prod cumprod std var std_mean var_mean linalg_inv linalg_det dist cdist cosine_similarity
"""


@dataclasses.dataclass(frozen=True)
class Rerun:
    """An operation that is only run.

    Attributes:
        identity: its name, constants and number of the output, for the network's digest.
        run: the operation on batches of samples.
    """

    identity: tuple[Any, ...]
    run: Callable[..., Tensor] = dataclasses.field(metadata={"digest": False})

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The operation's output."""
        return self.run(*inputs)


def opaque(call: Call, code: str, reason: str) -> Lowered:
    """The operation as an opaque node, or one for each of its outputs that is used.

    Args:
        call: the operation.
        code: of the error that asking for a bound raises.
        reason: one sentence for that error.
    """
    count = _count(call)
    if count is None:
        return _emit(call, code, reason, None)

    def item(index: int) -> Callable[[], Value]:
        return lambda: _emit(call, code, reason, index)

    return tuple(item(index) for index in range(count))


def unknown(call: Call) -> Lowered:
    """What no lowering covers."""
    discrete = [value.code for value in call.operands if value.code]
    if discrete:
        code = discrete[0]
        what = "whole numbers" if code == "NG013" else "a value that jumps"
        return opaque(call, code, f"{call.source} works on {what}")
    if call.dtype.is_complex or any(value.dtype.is_complex for value in call.operands):
        return opaque(call, "NG010", f"{call.source} works on complex numbers, which have no rule here")
    if not call.dtype.is_floating_point:
        return opaque(call, "NG011", f"{call.source} turns real numbers into {call.dtype}, which jumps")
    if call.operation in _STEPS.split():
        return opaque(call, "NG011", f"{call.source} jumps")
    if call.operation in _UNBOUNDED.split():
        return opaque(call, "NG012", f"the slope of {call.source} is unbounded over the whole input space")
    return opaque(call, "NG010", f"{call.source} has no rule")


def _count(call: Call) -> int | None:
    """Number of outputs, None where the operation returns one tensor."""
    meta = call.node.meta.get("val")
    return len(meta) if isinstance(meta, tuple | list) else None


def _emit(call: Call, code: str, reason: str, index: int | None) -> Value:
    """The opaque node of one output."""
    operands = call.operands
    samples, layout = _probe(call, operands, index)
    batch = call.batch

    def run_batch(parts: list[Tensor]) -> Tensor:
        out = call.run(dict(zip([value.name for value in operands], parts, strict=True)))
        rows = layout.to_samples(out if index is None else out[index], batch)
        return rows if rows.is_complex() else rows.double()

    def run(*inputs: Tensor) -> Tensor:
        """The operation at the recorded batch size, as often as needed."""
        rows, pieces = inputs[0].shape[0], []
        for start in range(0, rows, batch):
            take = [torch.arange(start, start + batch).clamp_max(rows - 1)] * len(inputs)
            pieces.append(run_batch([x[index] for x, index in zip(inputs, take, strict=True)]))
        return torch.cat(pieces)[:rows] if pieces else samples.new_zeros(0, *samples.shape[1:])

    meta = call.node.meta.get("val")
    dtype = (meta[index] if isinstance(meta, tuple | list) and index is not None else meta).dtype  # type: ignore[index]
    kind = Opaque(Rerun(_fingerprint(call, index), run), code, reason)
    part = "" if not index else f"{call.operation}.{index}"
    value = call.emit(kind, operands, samples.shape[1:], layout, part)
    discrete = (
        None
        if dtype.is_floating_point or dtype.is_complex
        else (next((v.code for v in operands if v.code), None) or "NG011")
    )
    return Value(value.name, value.shape, layout, dtype, discrete)


def _fingerprint(call: Call, index: int | None) -> tuple[Any, ...]:
    """The operation's name, its arguments with values left out, and the output's number."""

    def plain(item: Any) -> Any:
        if isinstance(item, Value):
            return "value"
        if isinstance(item, tuple | list):
            return tuple(plain(part) for part in item)
        return item if isinstance(item, Tensor) else str(item)

    return (operation_name(call.node.target), plain(tuple(call.arguments.values())), index)


def _probe(call: Call, operands: tuple[Value, ...], index: int | None) -> tuple[Tensor, Layout]:
    """One run's output as samples, and the layout found by changing one input row at a time."""
    generator = torch.Generator().manual_seed(0)
    base = {value.name: _random(value, call.batch, generator) for value in operands}
    first = _output(call.run(base), index)
    again = _output(call.run(base), index)
    if not torch.equal(torch.nan_to_num(first), torch.nan_to_num(again)):
        raise StatefulModelError(f"{call.source} gives different results for the same input")
    rows = torch.full(first.shape, -1, dtype=torch.int64)
    for row in range(call.batch):
        for _ in range(2):
            changed = {
                value.name: _with_row(base[value.name], row, _random(value, call.batch, generator))
                for value in operands
            }
            differs = ~torch.isclose(_output(call.run(changed), index), first, rtol=0, atol=0, equal_nan=True)
            if bool((differs & (rows >= 0) & (rows != row)).any()):
                raise BatchCoupledError(f"{call.source} mixes the rows of a batch")
            rows = torch.where(differs, row, rows)
    if bool((rows < 0).all()) and operands:
        layout = _keep_layout(operands[0].layout, tuple(first.shape), call.batch)
    else:
        layout = find_layout(rows, call.batch)
    return layout.to_samples(first, call.batch), layout


def _keep_layout(layout: Layout, shape: tuple[int, ...], batch: int) -> Layout:
    """The operand's layout where it fits the output, else the first that does."""
    merged = batch * layout.outer * layout.inner
    if layout.axis < len(shape) and shape[layout.axis] == merged:
        return layout
    return find_layout(torch.full(shape, -1), batch)


def _output(value: Tensor | tuple[Tensor, ...], index: int | None) -> Tensor:
    """One output of an operation."""
    return value if isinstance(value, Tensor) else value[index or 0]


def _random(value: Value, batch: int, generator: torch.Generator) -> Tensor:
    """Random samples of a value: normal numbers, zeros and ones for discrete ones."""
    shape = (batch, *value.shape)
    if value.dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    if value.dtype.is_complex:
        return torch.randn(shape, generator=generator, dtype=torch.complex128)
    return torch.randint(0, 2, shape, generator=generator)


def _with_row(base: Tensor, row: int, other: Tensor) -> Tensor:
    """The base with one row taken from another tensor."""
    mixed = base.clone()
    mixed[row] = other[row]
    return mixed


@lowers("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
def recurrent(call: Call) -> Lowered:
    """Recurrent layers: read and run, no rule for their gain yet."""
    return opaque(call, "NG010", f"{call.source} is a recurrent layer, for which there is no rule yet")


@lowers_discrete("aten.embedding.default", "aten.embedding_bag.default", "aten._embedding_bag.default")
def embedding(call: Call) -> Lowered:
    """A table look-up."""
    return opaque(call, "NG013", f"{call.source} looks up a row by its number")


@lowers("aten.scaled_dot_product_attention.default", "aten._scaled_dot_product_flash_attention_for_cpu.default")
def attention(call: Call) -> Lowered:
    """Dot-product attention."""
    reason = f"{call.source}: dot-product attention has no Lipschitz constant over the whole input space"
    return opaque(call, "NG012", reason)
