"""The checks of every reading: finite weights, replay, coverage, batch independence, no state."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netgain.core.errors import BatchCoupledError, NonFiniteWeightError, ReplayError, StatefulModelError
from netgain.network.read.assemble import Lowering
from netgain.network.read.export import quiet
from netgain.network.read.layout import Layout
from netgain.network.read.program import Program

# Replay in float64: relative to the largest output, beside the graph's own sensitivity to rounding.
TOLERANCE = 1e-12
_BATCHES = (1, 2, 3, 5)


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
    for inputs in trial_inputs(example, program.batch):
        reference = program.run(inputs)
        nearby = program.run(tuple(_nudged(x, 2.0**-50) for x in inputs))
        joined = lowering.network(join_inputs(inputs))
        for (index, layout), found in zip(lowering.outputs, split_outputs(joined, lowering, reference), strict=True):
            expected = layout_samples(reference[index], layout, program.batch)
            noise = layout_samples(nearby[index], layout, program.batch)
            gap = _gap(found, expected)
            allowed = TOLERANCE * _size(expected) + 64 * _gap(noise, expected)
            if gap > allowed and expected.is_floating_point():
                raise ReplayError(f"output {index} differs by {gap:.3g} (allowed {allowed:.3g}) in float64")


def check_rows(module: nn.Module, lowering: Lowering, example: tuple[Tensor, ...]) -> None:
    """Batch independence and determinism: the model at several batch sizes against the network row by row.

    The network treats rows one by one, so a model that agrees with it at every size and with every partner does too.

    Args:
        module: the model in eval mode.
        lowering: its network.
        example: one batch an input.

    Raises:
        StatefulModelError: if two calls differ.
        BatchCoupledError: if a row depends on its batch.
        ReplayError: if model and network disagree at the size that was read.
    """
    fixed = example[0].shape[0] if example[0].shape[0] == 1 else None
    for batch in (1,) if fixed else _BATCHES:
        for inputs in trial_inputs(example, batch)[:2]:
            _compare(module, lowering, inputs, example[0].shape[0])


def _compare(module: nn.Module, lowering: Lowering, inputs: tuple[Tensor, ...], read_batch: int) -> None:
    """One batch through the model and the network."""
    batch = inputs[0].shape[0]
    with torch.no_grad(), quiet():
        try:
            first, again, nearby = (
                pytree.tree_leaves(module(*trial)) for trial in (inputs, inputs, tuple(map(_ulps_away, inputs)))
            )
        except Exception as error:  # user code at a batch size it may not take
            if batch == read_batch:
                raise
            raise BatchCoupledError(
                f"the model works for a batch of {read_batch} but not of {batch}: {error}"
            ) from error
    joined = lowering.network(join_inputs(inputs))
    for (index, layout), found in zip(lowering.outputs, split_outputs(joined, lowering, first, batch), strict=True):
        if not torch.equal(torch.nan_to_num(first[index]), torch.nan_to_num(again[index])):
            raise StatefulModelError(f"output {index} differs between two calls with the same input")
        if not first[index].is_floating_point():
            continue
        try:
            expected = layout_samples(first[index], layout, batch)
        except RuntimeError as error:
            raise BatchCoupledError(f"output {index} has shape {tuple(first[index].shape)} at batch {batch}") from error
        eps = torch.finfo(first[index].dtype).eps
        gap, size = _gap(found, expected), _size(expected)
        noise = _gap(layout_samples(nearby[index], layout, batch), expected)
        if gap > 2000 * eps * size + 64 * noise:
            message = (
                f"output {index} at batch {batch} differs by {gap:.3g} from its rows taken alone (size {size:.3g})"
            )
            if batch == read_batch:
                raise ReplayError(message)
            raise BatchCoupledError(message)


def unused_parameters(program: Program, lowering: Lowering) -> list[str]:
    """Coverage: names of the parameters and real-valued buffers that the output does not depend on."""
    unused: list[str] = []
    for node, name in program.parameters.items():
        value = program.constants[node]
        if node not in lowering.used and isinstance(value, Tensor) and value.is_floating_point():
            unused.append(name)
    return unused


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


def split_outputs(joined: Tensor, lowering: Lowering, outputs: list[Any], batch: int | None = None) -> list[Tensor]:
    """The network's output as the model's outputs, each flattened to rows."""
    rows = joined.shape[0] if batch is None else batch
    flat = joined.reshape(rows, -1)
    if len(lowering.outputs) == 1:
        return [flat]
    sizes = [outputs[index].numel() // (1 if layout.axis < 0 else rows) for index, layout in lowering.outputs]
    return list(flat.split(sizes, 1)) if sum(sizes) == flat.shape[1] else [flat] * len(sizes)


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


def _ulps_away(x: Tensor) -> Tensor:
    """The input changed by a few units in the last place."""
    return _nudged(x, 4 * torch.finfo(x.dtype).eps) if x.is_floating_point() else x
