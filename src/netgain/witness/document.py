"""Certificates as JSON: written with decimal numbers, read strictly, nothing executed."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from netgain.core.errors import CertificateFileError
from netgain.core.norms import Norm
from netgain.witness.certificate import FORMAT, Certificate, Claim, Grid, Piece, Proof

# Larger files are not opened, and more numbers, claims or pieces not taken.
_BYTES, _NUMBERS, _COUNT = 64 << 20, 4_000_000, 100_000
_DIGITS = 12


def rounded(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """The same pieces with metrics and multipliers rounded to 12 significant digits, as `dumps` writes them exactly.

    Args:
        pieces: the pieces as a search found them.
    """
    return tuple(
        dataclasses.replace(
            piece,
            metric=_decimal(piece.metric),
            multipliers={name: _decimal(values) for name, values in piece.multipliers.items()},
        )
        for piece in pieces
    )


def dumps(certificate: Certificate) -> str:
    """The certificate as JSON text; `load` gives it back unchanged.

    Args:
        certificate: the certificate.

    Raises:
        CertificateFileError: if a number is NaN or infinite.
    """
    document = {
        "format": FORMAT,
        "digest": certificate.digest,
        "norm": str(certificate.norm),
        "region": certificate.region,
        "model": certificate.model,
        "created": certificate.created,
        "netgain": certificate.netgain,
        "claims": [
            {
                "bound": claim.bound,
                "target": None if claim.target is None else list(claim.target),
                "method": claim.method,
                "pieces": [_written(piece) for piece in claim.pieces],
            }
            for claim in certificate.claims
        ],
    }
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"
    except ValueError as error:
        raise CertificateFileError("a certificate holds finite numbers only") from error


def load(path: str | Path) -> Certificate:
    """Read a certificate. Nothing in it is believed: `check.check` does that.

    Args:
        path: the file.

    Raises:
        CertificateFileError: if it is not a certificate of this version.
    """
    try:
        if not Path(path).is_file():
            raise CertificateFileError(f"{path} is not a file")
        if Path(path).stat().st_size > _BYTES:
            raise CertificateFileError(f"{path} is larger than {_BYTES >> 20} MiB")
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateFileError(f"{path} cannot be read: {error}") from error
    return loads(text, str(path))


def loads(text: str, origin: str = "the text") -> Certificate:
    """A certificate from JSON text.

    Args:
        text: the JSON.
        origin: what to call it in messages.

    Raises:
        CertificateFileError: if it is not a certificate of this version.
    """
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise CertificateFileError(f"{origin} is not strict JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CertificateFileError(f"{origin} does not say that it is a {FORMAT}")
    try:
        return _certificate(document)
    except _UnexpectedError as error:
        raise CertificateFileError(f"{origin}: {error}") from error


class _UnexpectedError(Exception):
    """Something in a document is not what it should be."""


def _certificate(document: dict[str, Any]) -> Certificate:
    """The certificate of a document."""
    text = ("digest", "norm", "region", "model", "created", "netgain")
    _keys(document, ("format", "claims", *text))
    given = {key: _text(document[key], key) for key in text}
    norm = given.pop("norm")
    if norm not in set(Norm):
        raise _UnexpectedError(f"norm must be l1, l2 or linf, not {_short(norm)}")
    claims = tuple(_claim(item) for item in _list(document["claims"], "claims"))
    if not claims:
        raise _UnexpectedError("there are no claims")
    return Certificate(norm=Norm(norm), claims=claims, **given)


def _claim(item: Any) -> Claim:
    """One claim."""
    _keys(item, ("bound", "target", "method", "pieces"))
    target = item["target"]
    if target is not None:
        first, second = _integers(target, "target", 2)
        target = (first, second)
    pieces = tuple(_piece(piece) for piece in _list(item["pieces"], "pieces"))
    return Claim(
        bound=_number(item["bound"], "bound"), pieces=pieces, target=target, method=_text(item["method"], "method")
    )


def _piece(item: Any) -> Piece:
    """One piece."""
    _keys(item, ("start", "stop", "proof", "metric", "multipliers", "grid"))
    if _text(item["proof"], "proof") not in set(Proof):
        raise _UnexpectedError(f"unknown kind of proof {_short(item['proof'])}")
    grid = item["grid"]
    if grid is not None:
        _keys(grid, ("sizes", "shifts"))
        sizes = _integers(grid["sizes"], "sizes", None)
        grid = Grid(sizes=tuple(sizes), shifts=tuple(_numbers(grid["shifts"], "shifts").tolist()))
    if not isinstance(item["multipliers"], dict):
        raise _UnexpectedError("multipliers must be an object")
    multipliers: Mapping[str, Any] = item["multipliers"]
    return Piece(
        start=_text(item["start"], "start"),
        stop=_text(item["stop"], "stop"),
        proof=Proof(item["proof"]),
        metric=_numbers(item["metric"], "metric"),
        multipliers={name: _rows(values, f"multiplier of {name!r}") for name, values in multipliers.items()},
        grid=grid,
    )


def _written(piece: Piece) -> dict[str, Any]:
    """A piece as JSON values."""
    grid = piece.grid
    return {
        "start": piece.start,
        "stop": piece.stop,
        "proof": str(piece.proof),
        "metric": piece.metric.tolist(),
        "multipliers": {name: values.tolist() for name, values in piece.multipliers.items()},
        "grid": None if grid is None else {"sizes": list(grid.sizes), "shifts": list(grid.shifts)},
    }


def _rows(values: Any, what: str) -> Tensor:
    """Numbers, or rows of as many numbers each."""
    if isinstance(values, list) and values and isinstance(values[0], list):
        rows = [_numbers(row, what) for row in _list(values, what)]
        if len({row.shape for row in rows}) != 1:
            raise _UnexpectedError(f"rows of the {what} differ in length")
        return torch.stack(rows)
    return _numbers(values, what)


def _numbers(values: Any, what: str) -> Tensor:
    """A list of finite numbers as float64."""
    numbers = [_number(value, what) for value in _list(values, what, _NUMBERS)]
    if not numbers:
        raise _UnexpectedError(f"{what} is empty")
    return torch.tensor(numbers, dtype=torch.float64)


def _number(value: Any, what: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _UnexpectedError(f"{what} must be a number, not {_short(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _UnexpectedError(f"{what} must be finite")
    return number


def _integers(values: Any, what: str, count: int | None) -> list[int]:
    """A list of integers of moderate size."""
    items = _list(values, what)
    whole = all(isinstance(item, int) and not isinstance(item, bool) and abs(item) < 1 << 31 for item in items)
    if not items or not whole or count not in (None, len(items)):
        raise _UnexpectedError(f"{what} must be {'' if count is None else count} integers, not {_short(values)}")
    return items


def _list(value: Any, what: str, most: int = _COUNT) -> list[Any]:
    """A list that is not absurdly long."""
    if not isinstance(value, list) or len(value) > most:
        raise _UnexpectedError(f"{what} must be a list of at most {most}, not {_short(value)}")
    return value


def _text(value: Any, what: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise _UnexpectedError(f"{what} must be text, not {_short(value)}")
    return value


def _keys(value: Any, expected: tuple[str, ...]) -> None:
    """Exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(expected):
        given = ", ".join(sorted(map(_short, value))) if isinstance(value, dict) else _short(value)
        raise _UnexpectedError(f"expected an object with {', '.join(expected)}, got {given}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    """NaN and infinity are not JSON."""
    raise ValueError(f"{name} is not a number")


def _short(value: Any) -> str:
    """A value in a few characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _decimal(values: Tensor) -> Tensor:
    """Each number rounded to 12 significant digits."""
    numbers = [float(f"{value:.{_DIGITS}g}") for value in values.reshape(-1).tolist()]
    return torch.tensor(numbers, dtype=torch.float64).reshape(values.shape)
