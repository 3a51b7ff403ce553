"""torch.export of an eval-mode copy, with its noise captured and its failures put in one sentence."""

import contextlib
import copy
import dataclasses
import io
import logging
import warnings
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from netgain.core.errors import DataDependentBranchError, ModelError
from netgain.network.read.provenance import error_line


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        program: functional, with whole activations, convolutions and recurrent layers as single operations.
        dynamic: whether the export proved that the graph is the same for every batch size.
    """

    program: ExportedProgram
    dynamic: bool


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """No logging, warnings or printing from what runs inside."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def eval_copy(module: nn.Module) -> tuple[nn.Module, bool]:
    """A copy in eval mode on the CPU, and whether the module (or a part of it) was in training mode.

    The module itself is not touched.

    Raises:
        ModelError: if it cannot be copied.
    """
    training = any(part.training for part in module.modules())
    try:
        twin = copy.deepcopy(module, _computed_attributes(module))
    except Exception as error:  # user code: any exception is theirs, reported as such
        raise ModelError(f"the module cannot be copied: {summary(error)}") from error
    return twin.eval().cpu().requires_grad_(False), training


def _computed_attributes(module: nn.Module) -> dict[int, Any]:
    """Copies of tensors that modules keep from their last call (old-style weight_norm), which deepcopy refuses."""
    held = (value for part in module.modules() for value in vars(part).values())
    return {id(value): value.detach().clone() for value in held if isinstance(value, Tensor) and not value.is_leaf}


def export(module: nn.Module, inputs: tuple[Tensor, ...]) -> Exported:
    """Export a model for every batch size, or where that cannot be proved for the given one.

    Args:
        module: in eval mode.
        inputs: one batch of at least two rows for each tensor input.

    Returns:
        The program, decomposed with an empty table: functional, single operations kept whole.

    Raises:
        DataDependentBranchError: if control flow depends on the input's values.
        ModelError: if the model cannot be exported.
    """
    dynamic = tuple({0: Dim.DYNAMIC} for _ in inputs)
    with quiet():
        try:
            return Exported(_exported(module, inputs, dynamic), True)
        except Exception as error:  # torch.export raises many private classes; sorted out below
            _refuse_branch(error)
        try:
            return Exported(_exported(module, inputs, None), False)
        except Exception as error:  # as above
            _refuse_branch(error)
            raise ModelError(f"torch.export failed{at(error)}: {summary(error)}") from error


def _exported(module: nn.Module, inputs: tuple[Tensor, ...], dynamic: Any) -> ExportedProgram:
    """Export and decompose with an empty table."""
    with torch.no_grad():
        return torch.export.export(module, inputs, dynamic_shapes=dynamic).run_decompositions({})


def _refuse_branch(error: BaseException) -> None:
    """Raise if an export failed because of a branch on the input's values."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    for link in chain:
        names = [base.__name__ for base in type(link).__mro__]
        if "GuardOnDataDependentSymNode" in names or "data-dependent" in str(link).lower():
            place = next((line for line in map(error_line, chain) if line), "")
            where = f" at {place}" if place else ""
            raise DataDependentBranchError(f"the model's Python code branches on input values{where}") from None


def at(error: BaseException) -> str:
    """The user's line that raised, " at file.py:12", or ""."""
    line = error_line(error)
    return f" at {line}" if line else ""


def summary(error: BaseException) -> str:
    """An exception in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
