"""The seam between commands and computation: reads the model and the data, calls, and returns a Record."""

from collections.abc import Mapping

from netgain.cli.options import Checks, Computing, Gates, Outputs, Reading
from netgain.core.errors import UsageError
from netgain.core.record import Record


def check_gates(gates: Gates, checks: Checks) -> None:
    """Refuse a gate that nothing could meet.

    Raises:
        UsageError: if certified accuracy is wanted without data.
    """
    if gates.min_certified and not checks.data:
        raise UsageError("--min-certified needs --data")


def audit(
    model: str,
    checks: Checks,
    reading: Reading,
    computing: Computing,
    gates: Gates | None = None,
    outputs: Outputs | None = None,
) -> Record:
    """Audit a model, with data if there are any."""
    epsilon = tuple(sorted({*checks.epsilon, *(wanted for wanted, _ in gates.min_certified if gates)})) if gates else ()
    raise NotImplementedError((model, reading, computing, outputs, epsilon))


def bound(model: str, reading: Reading, computing: Computing) -> Record:
    """The gain and the layer table of a model, without data."""
    raise NotImplementedError((model, reading, computing))


def show(model: str, reading: Reading) -> tuple[Record, Mapping[str, str]]:
    """The layers of a model as read, and by name what can be proved for each."""
    raise NotImplementedError((model, reading))
