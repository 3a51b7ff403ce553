"""The checks of every reading: finite weights, replay, coverage, batch independence, no state."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree
from torch.utils._sympy.numbers import int_oo

from netgain.core.errors import BatchCoupledError, ModelError, NonFiniteWeightError, ReplayError, StatefulModelError
from netgain.network.read.assemble import Lowering
from netgain.network.read.export import quiet, summary
from netgain.network.read.layout import Layout
from netgain.network.read.program import Program

# Replay in float64: relative to the largest output, beside the graph's own sensitivity to rounding.
TOLERANCE = 1e-12
_OTHER_BATCHES = (1, 3, 5)
# Above this many weights and input scalars, replay keeps to fewer batches.
_LARGE = 2_000_000


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not numbers.

    Args:
        tensors: parameters and buffers by name.

    Raises:
        NonFiniteWeightError: if one contains NaN or infinity; the message names it.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            kind = "NaN" if bool(torch.isnan(tensor).any()) else "infinite"
            raise NonFiniteWeightError(f"{name} of shape {tuple(tensor.shape)} has a {kind} entry")


def check_program(program: Program, lowering: Lowering, example: tuple[Tensor, ...]) -> None:
    """Replay: the lowered network against the exported graph in float64, at the example and random inputs.

    Args:
        program: the recorded graph.
        lowering: its network.
        example: one batch an input.

    Raises:
        ReplayError: if they differ by more than 1e-12 of the largest output and the graph's own rounding noise.
    """
    trials = trial_inputs(example, program.batch)
    for inputs in trials[:2] if _is_large(program) else trials:
        reference = program.run(inputs)
        found = _rows(lowering, lowering.network(join_inputs(inputs)), reference, program.batch)
        for (index, layout), rows in zip(lowering.outputs, found, strict=True):
            expected = layout_samples(reference[index], layout, program.batch)
            gap, allowed = _gap(rows, expected), TOLERANCE * _size(expected)
            if gap <= allowed or not reference[index].is_floating_point():
                continue
            nearby = program.run(tuple(_nudged(x, 2.0**-50) for x in inputs))
            allowed += 64 * _gap(layout_samples(nearby[index], layout, program.batch), expected)
            if gap > allowed:
                raise ReplayError(f"output {index} differs by {gap:.3g} (allowed {allowed:.3g}) in float64")


def check_rows(
    module: nn.Module, program: Program, lowering: Lowering, example: tuple[Tensor, ...], fixed: bool
) -> None:
    """Batch independence and determinism: the model at several batch sizes against the network, which knows only rows.

    Args:
        module: the model in eval mode, in its own dtype.
        program: the recorded graph.
        lowering: its network.
        example: one batch an input.
        fixed: whether the model takes only the batch size that it was exported with.

    Raises:
        StatefulModelError: if two calls differ.
        BatchCoupledError: if a row depends on its batch.
        ReplayError: if model and network disagree at the size that was read.
    """
    others = () if fixed else _OTHER_BATCHES[:2] if _is_large(program) else _OTHER_BATCHES
    for batch in (program.batch, *others):
        inputs = trial_inputs(example, batch)[0]
        first = _called(module, inputs, batch == program.batch)
        if batch == program.batch:
            _check_repeatable(first, _called(module, inputs, True))
        found = _rows(lowering, lowering.network(join_inputs(inputs)), first, batch)
        for (index, layout), rows in zip(lowering.outputs, found, strict=True):
            if not first[index].is_floating_point():
                continue
            try:
                expected = layout_samples(first[index], layout, batch)
            except RuntimeError as error:
                raise BatchCoupledError(f"output {index} is {tuple(first[index].shape)} at batch {batch}") from error
            gap, allowed = _gap(rows, expected), 2000 * program.eps * _size(expected)
            if gap > allowed:
                nearby = _called(module, tuple(_nudged(x, 4 * program.eps) for x in inputs), True)[index]
                allowed += 64 * _gap(layout_samples(nearby, layout, batch), expected)
            if gap > allowed:
                what = f"output {index} differs by {gap:.3g} of {_size(expected):.3g} at batch size {batch}"
                raise ReplayError(what) if batch == program.batch else BatchCoupledError(what)


def check_sizes(module: nn.Module, program: Program, lowering: Lowering, example: tuple[Tensor, ...]) -> None:
    """Batch independence once more, in float64: the model at several batch sizes against itself at the recorded one.

    The model's own dtype may be too coarse to tell x times the batch size from x, or an offset may hide it. Models that
    cannot run in float64, and large ones, are left to `check_rows`.

    Args:
        module: the model in eval mode.
        program: the recorded graph.
        lowering: its network.
        example: one batch an input.

    Raises:
        BatchCoupledError: if a row depends on the size of its batch.
    """
    if _is_large(program):
        return
    try:
        wide = copy.deepcopy(module).double()
        same = _widely(wide, example, program.batch, program.batch)[0]
        runs = {size: _widely(wide, example, size, program.batch) for size in _OTHER_BATCHES}
    except Exception:  # user code that insists on its own dtype, or on its own batch size (which check_rows judges)
        return
    graph = program.run(tuple(map(_double, trial_inputs(example, program.batch)[0])))
    for size, (found, pieces, nearby) in runs.items():
        for index, layout in lowering.outputs:
            if not found[index].is_floating_point():
                continue
            # Code that casts to float32 or less rounds there; how much is seen where the sizes agree.
            noise = _gap(same[index], graph[index])
            parts = [layout_samples(piece[index], layout, program.batch) for piece in pieces]
            expected, rows = torch.cat(parts)[:size], layout_samples(found[index], layout, size)
            gap, allowed = _gap(rows, expected), TOLERANCE * _size(expected) + 16 * noise
            if gap > allowed:
                allowed += 64 * _gap(layout_samples(nearby[index], layout, size), rows)
            if gap > allowed:
                raise BatchCoupledError(f"output {index} differs by {gap:.3g} in float64 at batch size {size}")


def _widely(
    module: nn.Module, example: tuple[Tensor, ...], size: int, recorded: int
) -> tuple[list[Any], list[list[Any]], list[Any]]:
    """The outputs in float64 for one batch, for its rows in batches of the recorded size, and for nearby inputs."""
    inputs = tuple(map(_double, trial_inputs(example, size)[0]))
    pieces: list[list[Any]] = []
    for start in range(0, size, recorded):
        rows = torch.arange(start, start + recorded).clamp_max(size - 1)
        pieces.append(_called(module, tuple(x[rows] for x in inputs), True))
    nearby = _called(module, tuple(_nudged(x, 2.0**-50) for x in inputs), True)
    return _called(module, inputs, True), pieces, nearby


def _double(x: Tensor) -> Tensor:
    """Real numbers in float64, others as they are."""
    return x.double() if x.is_floating_point() else x


def check_limit(module: nn.Module, exported: ExportedProgram, lowering: Lowering, example: tuple[Tensor, ...]) -> None:
    """Where the export found that its graph holds only up to some batch size: what the model does beyond it.

    Args:
        module: the model in eval mode.
        exported: the exported program.
        lowering: its network.
        example: one batch an input.

    Raises:
        BatchCoupledError: if the model computes something else for larger batches, or they are too large to try.
    """
    uppers = [int(span.upper) for span in exported.range_constraints.values() if int_oo > span.upper]
    if not uppers:
        return
    batch = min(uppers) + 1
    if batch * sum(math.prod(x.shape[1:]) for x in example) > _LARGE:
        raise BatchCoupledError(f"the model's code depends on whether the batch has {batch} rows or more")
    inputs = trial_inputs(example, batch)[0]
    try:
        found = _called(module, inputs, True)
    except ModelError:
        return  # it takes no larger batch
    expected = _rows(lowering, lowering.network(join_inputs(inputs)), found, batch)
    for (index, layout), rows in zip(lowering.outputs, expected, strict=True):
        value = found[index]
        if value.is_floating_point() and _gap(rows, layout_samples(value, layout, batch)) > 1e-2 * _size(rows):
            raise BatchCoupledError(f"the model computes something else for batches of {batch} rows or more")


def _called(module: nn.Module, inputs: tuple[Tensor, ...], must: bool) -> list[Any]:
    """The model's outputs as a flat list; `must` is False at batch sizes that the model may not take."""
    try:
        with torch.no_grad(), quiet():
            return pytree.tree_leaves(module(*inputs))
    except Exception as error:  # user code, at a batch size it was not written for
        if must:
            raise ModelError(f"the model fails on random input: {summary(error)}") from error
        batch = inputs[0].shape[0]
        raise BatchCoupledError(
            f"the model fails at batch size {batch} but not at another: {summary(error)}"
        ) from error


def _check_repeatable(first: list[Any], again: list[Any]) -> None:
    """Two calls with one input must give one output.

    Raises:
        StatefulModelError: if not.
    """
    for index, (a, b) in enumerate(zip(first, again, strict=True)):
        if isinstance(a, Tensor) and not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)):
            raise StatefulModelError(f"output {index} differs between two calls with the same input")


def unused_parameters(program: Program, lowering: Lowering) -> list[str]:
    """Coverage: names of the parameters and real-valued buffers that the output does not depend on."""
    unused: list[str] = []
    for node, name in program.parameters.items():
        value = program.constants[node]
        if node not in lowering.used and isinstance(value, Tensor) and value.is_floating_point():
            unused.append(name)
    return unused


def _is_large(program: Program) -> bool:
    """Whether replaying the program takes seconds."""
    weights = sum(tensor.numel() for tensor in program.constants.values() if isinstance(tensor, Tensor))
    scalars = sum(math.prod(shape) for shape in program.shapes.values() if shape is not None)
    return weights + scalars > _LARGE


def trial_inputs(example: tuple[Tensor, ...], batch: int) -> list[tuple[Tensor, ...]]:
    """Batches to compare on: normal numbers of several sizes, uniform ones, and the example itself."""
    generator = torch.Generator().manual_seed(batch)

    def draw(x: Tensor, scale: float) -> Tensor:
        shape = (batch, *x.shape[1:])
        if x.is_floating_point():
            return (torch.randn(shape, generator=generator) * scale).to(x.dtype)
        rows = torch.randint(0, x.shape[0], (batch,), generator=generator)
        return x[rows]

    repeated = tuple(x[torch.arange(batch) % x.shape[0]] for x in example)
    drawn = [tuple(draw(x, scale) for x in example) for scale in (1.0, 0.01, 30.0)]
    return [drawn[0], repeated, *drawn[1:]]


def join_inputs(inputs: tuple[Tensor, ...]) -> Tensor:
    """The network's input, in float64: the only one, or all flattened end to end."""
    if len(inputs) == 1:
        return inputs[0].double()
    return torch.cat([x.double().flatten(1) for x in inputs], 1)


def _rows(lowering: Lowering, joined: Tensor, outputs: list[Any], batch: int) -> list[Tensor]:
    """The network's output taken apart into the model's outputs, each flattened to rows."""
    flat = joined.reshape(batch, -1)
    if len(lowering.outputs) == 1:
        return [flat]
    sizes = [outputs[index].numel() // (1 if layout.axis < 0 else batch) for index, layout in lowering.outputs]
    if sum(sizes) != flat.shape[1]:
        raise BatchCoupledError(f"the outputs' sizes do not grow with the batch: {sizes} at {batch}")
    return list(flat.split(sizes, 1))


def layout_samples(output: Tensor, layout: Layout, batch: int) -> Tensor:
    """One of the model's outputs as flat rows; a constant one repeated."""
    if layout.axis < 0:
        return output.reshape(1, -1).expand(batch, -1)
    return layout.to_samples(output, batch).reshape(batch, -1)


def _gap(a: Tensor, b: Tensor) -> float:
    """The largest difference; 0 where both are the same non-number, infinite where shapes or non-numbers differ."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.double(), b.double()
    same = (a == b) | (torch.isnan(a) & torch.isnan(b))
    difference = torch.where(same, 0.0, (a - b).abs())
    return float(torch.nan_to_num(difference, nan=float("inf")).max()) if a.numel() else 0.0


def _size(x: Tensor) -> float:
    """The largest finite magnitude."""
    finite = torch.where(torch.isfinite(x), x, 0.0)
    return float(finite.abs().max()) if x.numel() else 0.0


def _nudged(x: Tensor, relative: float) -> Tensor:
    """The input with each entry changed by a relative amount of alternating sign; whole numbers stay."""
    if not x.is_floating_point():
        return x
    signs = torch.ones(x.shape[1:], dtype=x.dtype).flatten()
    signs[1::2] = -1
    return x * (1 + relative * signs.reshape(x.shape[1:]))
