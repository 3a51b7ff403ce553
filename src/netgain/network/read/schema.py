"""What an aten operation is called and which arguments it was given."""

from typing import Any

import torch
from torch import fx

_OVERLOAD = type(torch.ops.aten.relu.default)


def operation_name(target: Any) -> str:
    """The overload's full name, "aten.conv2d.default"; the plain name for anything else."""
    return str(target) if isinstance(target, _OVERLOAD) else str(getattr(target, "__name__", target))


def argument_names(target: Any) -> list[str]:
    """An overload's argument names in order, none for anything else."""
    if not isinstance(target, _OVERLOAD):
        return []
    return [argument.name for argument in target._schema.arguments]  # pyright: ignore[reportPrivateUsage]


def arguments(node: fx.Node) -> dict[str, Any]:
    """A call's arguments by name, defaults included, nodes unresolved; "arg0", "arg1", ... where it has no schema."""
    target = node.target
    if not isinstance(target, _OVERLOAD):
        return {f"arg{index}": value for index, value in enumerate(node.args)} | dict(node.kwargs)
    declared = target._schema.arguments  # pyright: ignore[reportPrivateUsage]
    values = {argument.name: argument.default_value for argument in declared if argument.has_default_value()}
    positional = {argument.name: value for argument, value in zip(declared, node.args, strict=False)}
    return values | positional | dict(node.kwargs)


def draws_random_numbers(target: Any) -> bool:
    """Whether an operation is tagged as random."""
    return isinstance(target, _OVERLOAD) and torch.Tag.nondeterministic_seeded in target.tags
