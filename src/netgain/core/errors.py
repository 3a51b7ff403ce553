"""Errors that say what was given, what was expected, where, and what to do.

Each class fixes a code of `codes.CODES` and the exit code that the command line returns for it.
"""

from netgain.core.codes import CODES


class NetgainError(Exception):
    """Root of all errors that netgain raises on purpose.

    Attributes:
        code: the stable code, as `netgain explain` takes it.
        exit_code: what the command line returns.
        detail: the specific sentence: what and where.
    """

    code = "NG001"
    exit_code = 4

    def __init__(self, detail: str, *, code: str | None = None):
        self.detail = detail
        if code is not None:
            self.code = code
        entry = CODES[self.code]
        sentence = detail.rstrip(".")
        stop = "" if sentence.endswith("?") else "."
        super().__init__(f"{self.code} {entry.title}: {sentence}{stop} {entry.action}")


class ModelError(NetgainError):
    """The model cannot be read (NG001)."""

    code, exit_code = "NG001", 3


class FactoryError(ModelError):
    """The user's factory fails or gives no module (NG015)."""

    code = "NG015"


class ExampleError(ModelError):
    """The model does not take the example input (NG016)."""

    code, exit_code = "NG016", 2


class UnsafeFileError(ModelError):
    """The file could run code, point elsewhere or exhaust memory (NG002)."""

    code = "NG002"


class DataDependentBranchError(ModelError):
    """Control flow depends on input values (NG003)."""

    code = "NG003"


class ReplayError(ModelError):
    """Graph and model disagree (NG004)."""

    code = "NG004"


class BatchCoupledError(ModelError):
    """Rows of a batch influence each other (NG005)."""

    code = "NG005"


class StatefulModelError(ModelError):
    """The same input gives different outputs (NG006)."""

    code = "NG006"


class NonFiniteWeightError(ModelError):
    """A weight is NaN or infinite (NG007)."""

    code = "NG007"


class CheckpointMismatchError(ModelError):
    """Checkpoint and model do not fit (NG008)."""

    code = "NG008"


class TooLargeError(ModelError):
    """Unfolding would exceed the memory limit (NG009)."""

    code = "NG009"


class NoSoundRuleError(NetgainError):
    """An operation can be shown but not bounded (NG010)."""

    code, exit_code = "NG010", 3


class DiscontinuousError(NoSoundRuleError):
    """The function jumps (NG011)."""

    code = "NG011"


class UnboundedError(NoSoundRuleError):
    """No global Lipschitz constant exists (NG012)."""

    code = "NG012"


class DiscreteInputError(NoSoundRuleError):
    """The model takes integers (NG013)."""

    code = "NG013"


class ArithmeticModeError(NoSoundRuleError):
    """The floating-point mode is not covered by the proofs (NG014)."""

    code = "NG014"


class DataError(NetgainError):
    """The data cannot be read (NG020)."""

    code, exit_code = "NG020", 2


class DataMismatchError(DataError):
    """The data do not fit the model (NG021)."""

    code = "NG021"


class EmptyDataError(DataError):
    """There is nothing to check (NG022)."""

    code, exit_code = "NG022", 5


class LabelError(DataError):
    """Labels are not class numbers (NG023)."""

    code = "NG023"


class UsageError(NetgainError):
    """An argument is not usable (NG024)."""

    code, exit_code = "NG024", 2


class CertificateError(NetgainError):
    """An attack beat a certificate (NG030): a defect of netgain."""

    code, exit_code = "NG030", 4


class RefusedCertificateError(NetgainError):
    """A certificate of a bound does not prove it (NG031)."""

    code, exit_code = "NG031", 1


class CertificateFileError(NetgainError):
    """The file is not a certificate that can be read (NG032)."""

    code, exit_code = "NG032", 2
