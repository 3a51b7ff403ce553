"""Files that the command line names, looked for before anything slow is imported."""

from netgain.core.errors import CertificateFileError, DataError, FactoryError, ModelError
from netgain.core.files import missing, names_object, python_file


def check_readable(*models: str, weights: str | None = None, data: str | None = None) -> None:
    """Refuse a misspelled file at once, not after the seconds that importing torch takes.

    Args:
        *models: files or factories; for `compare` also the documents of audits.
        weights: the file of `--weights`.
        data: the data as the user named them; only files are looked for here.

    Raises:
        ModelError: if a model or its weights are not there.
        DataError: if the data, or a document of an audit, are not there.
    """
    for model in models:
        file = python_file(model) if names_object(model) else model
        if file is not None and (reason := missing(file)):
            suffix = file.lower().rpartition(".")[2]
            if suffix == "json":
                raise DataError(reason)
            raise FactoryError(reason) if suffix == "py" else ModelError(f"{reason}{_factory(model)}")
    if weights is not None and (reason := missing(weights)):
        raise ModelError(f"the weights {reason}")
    if data is not None and data.endswith((".npz", ".csv")) and (reason := missing(data)):
        raise DataError(reason)


def check_certificate(path: str) -> None:
    """Refuse a misspelled certificate at once.

    Args:
        path: the file.

    Raises:
        CertificateFileError: if it is not there.
    """
    if reason := missing(path):
        raise CertificateFileError(reason)


def _factory(model: str) -> str:
    """A hint for "package.module", which may lack its factory."""
    dotted = "." in model and all(piece.isidentifier() for piece in model.split("."))
    known = model.lower().endswith((".onnx", ".pt2", ".pt", ".pth", ".safetensors"))
    return f"; for a Python module name the factory in it, as in {model}:build" if dotted and not known else ""
