"""Certificates in files: written whole, read with care, checked against a model."""

import dataclasses
import datetime
import os
import pathlib
import time
from typing import Any

from torch import nn

import netgain
from netgain.certification.logits import logits
from netgain.certification.provenance import model_info, versions
from netgain.core.errors import RefusedCertificateError, UsageError
from netgain.core.record import ClaimInfo, Verification
from netgain.core.results import Bound
from netgain.gain.lipschitz import Analysis
from netgain.network.digest import digest
from netgain.network.graph import Network
from netgain.network.read.read import read
from netgain.report.write import write_text
from netgain.witness import document
from netgain.witness.certificate import Certificate
from netgain.witness.check import check
from netgain.witness.exact import proved_exactly


def save_certificate(certificate: Certificate | Analysis, path: str | os.PathLike[str]) -> pathlib.Path:
    """Write a certificate to a JSON file, whole or not at all; docs/schema.md says what is in it.

    Args:
        certificate: the certificate, or the analysis that proved it (`netgain.analyse`).
        path: the file; its folder must exist.

    Returns:
        The file.

    Raises:
        UsageError: if the file cannot be written.
    """
    held = certificate.certificate() if isinstance(certificate, Analysis) else certificate
    return write_text(path, written(held))


def written(certificate: Certificate) -> str:
    """A certificate as JSON text, with the date and the version of netgain.

    Args:
        certificate: the certificate.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return document.dumps(dataclasses.replace(certificate, created=now, netgain=netgain.__version__))


def verify(
    certificate: Certificate | str | os.PathLike[str], model: Network | str, *, exact: bool = False
) -> tuple[Bound, ...]:
    """Prove every claim of a certificate again, from the network's weights and the certificate's multipliers.

    A certificate about the scores in front of a last softmax (what `certify` proves) is checked against those, and the
    bounds say that they are about the scores: the softmax itself may have a larger gain.

    Guarantee:
        The bounds returned are upper bounds for the network in real numbers with the stored weights, rounding
        included, whoever wrote the certificate and however it was found.

    Args:
        certificate: the certificate, or its file.
        model: the network as `netgain.read` gives it, or a file or factory that it can read alone.
        exact: in rational arithmetic, for tiny networks.

    Returns:
        One proved bound a claim, in their order; the first is about the whole output.

    Raises:
        RefusedCertificateError: if a claim is not proved, or the certificate is about another network.
        CertificateFileError: if the file is not a readable certificate.
        UsageError: if rational arithmetic does not apply (`exact`).
    """
    held = certificate if isinstance(certificate, Certificate) else document.load(pathlib.Path(certificate))
    return _checked(held, _network(model), exact)[0]


def verification(path: str, network: Network, *, exact: bool = False, preprocess: str | None = None) -> Verification:
    """As `verify`, as a record of what was checked.

    Args:
        path: the certificate's file.
        network: the network as read.
        exact: in rational arithmetic.
        preprocess: the preprocessing in words, part of the network already.
    """
    held = document.load(path)
    began = time.monotonic()
    bounds, cut = _checked(held, network, exact)
    seconds = time.monotonic() - began
    return Verification(
        command="verify",
        norm=str(held.norm),
        region=held.region,
        certificate=path,
        written=", ".join(part for part in (held.created, f"netgain {held.netgain}", held.model) if part.strip()),
        arithmetic="rational arithmetic, without rounding" if exact else "float64 arithmetic, rounding included",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        versions=versions(),
        model=model_info(network, preprocess),
        claims=tuple(
            ClaimInfo(
                about=about(claim.target) + _in_front(cut),
                target=claim.target,
                claimed=claim.bound,
                proved=bound.value,
                inflation=claim.bound / bound.value - 1.0 if bound.value > 0 else 0.0,
                method=claim.method,
            )
            for claim, bound in zip(held.claims, bounds, strict=True)
        ),
    )


def about(target: tuple[int, int] | None) -> str:
    """What a claim bounds, in words.

    Args:
        target: as in `Claim`.
    """
    if target is None:
        return "the whole output"
    first, second = target
    return f"output {first}" if second < 0 else f"output {first} - output {second}"


def _in_front(cut: str) -> str:
    """What a bound of the scores adds to its name, where something was cut off behind them."""
    return f" (of the scores in front of {cut})" if cut else ""


def _checked(certificate: Certificate, network: Network, exact: bool) -> tuple[tuple[Bound, ...], str]:
    """The bounds, about the network or about its scores, whichever the certificate names; what was cut behind these."""
    cut = ""
    if certificate.digest != digest(network):
        try:
            head, behind = logits(network)
        except UsageError:
            head, behind = network, ""
        if behind and certificate.digest == digest(head):
            network, cut = head, behind
    bounds = check(certificate, network)
    if exact:
        for claim in certificate.claims:
            try:
                proved = proved_exactly(network, claim, certificate.norm)
            except RefusedCertificateError as error:
                # Proved above with rounding included: nothing is wrong with the certificate.
                raise UsageError(
                    f"exact checking does not apply: {error.detail}; "
                    "without it (--exact) the certificate is proved, rounding included"
                ) from error
            if not proved:
                raise RefusedCertificateError(
                    f"in rational arithmetic its multipliers do not prove {claim.bound!r} of {about(claim.target)}"
                )
    return tuple(dataclasses.replace(one, quantity=one.quantity + _in_front(cut)) for one in bounds), cut


def _network(model: Any) -> Network:
    """What the caller gave as a network.

    Raises:
        UsageError: if it is a module, for which an example input is needed.
    """
    if isinstance(model, Network):
        return model
    if isinstance(model, nn.Module):
        raise UsageError("an nn.Module was given: call netgain.read(model, example) first and pass what it returns")
    return read(model)
