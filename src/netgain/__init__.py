"""netgain: measure, prove and control how strongly a network's output can react to its input.

The names below load on first use, so that `import netgain` stays cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netgain.activations.table import activation as activation
    from netgain.certification.audit import AuditOptions as AuditOptions
    from netgain.certification.audit import audit as audit
    from netgain.certification.certificates import save_certificate as save_certificate
    from netgain.certification.certificates import verify as verify
    from netgain.certification.certify import certify as certify
    from netgain.certification.options import CertifyOptions as CertifyOptions
    from netgain.certification.options import Decisions as Decisions
    from netgain.core.errors import NetgainError as NetgainError
    from netgain.core.norms import Norm as Norm
    from netgain.core.results import Bound as Bound
    from netgain.core.results import Enclosure as Enclosure
    from netgain.core.results import Estimate as Estimate
    from netgain.data.dataset import load as load_data  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from netgain.gain.jacobian import jacobian as jacobian
    from netgain.gain.lipschitz import Effort as Effort
    from netgain.gain.lipschitz import analyse as analyse
    from netgain.gain.lipschitz import lipschitz as lipschitz
    from netgain.gain.monotone import monotonicity as monotonicity
    from netgain.gain.opnorm import opnorm as opnorm
    from netgain.network.graph import Network as Network
    from netgain.network.read.read import read as read
    from netgain.report.save import save_report as save_report

__version__ = "0.1.0"

_HOMES = {
    "activation": "netgain.activations.table",
    "analyse": "netgain.gain.lipschitz",
    "audit": "netgain.certification.audit",
    "certify": "netgain.certification.certify",
    "AuditOptions": "netgain.certification.audit",
    "CertifyOptions": "netgain.certification.options",
    "Decisions": "netgain.certification.options",
    "Effort": "netgain.gain.lipschitz",
    "NetgainError": "netgain.core.errors",
    "Norm": "netgain.core.norms",
    "Bound": "netgain.core.results",
    "Enclosure": "netgain.core.results",
    "Estimate": "netgain.core.results",
    "load_data": "netgain.data.dataset:load",
    "jacobian": "netgain.gain.jacobian",
    "lipschitz": "netgain.gain.lipschitz",
    "monotonicity": "netgain.gain.monotone",
    "opnorm": "netgain.gain.opnorm",
    "Network": "netgain.network.graph",
    "read": "netgain.network.read.read",
    "save_certificate": "netgain.certification.certificates",
    "save_report": "netgain.report.save",
    "verify": "netgain.certification.certificates",
}
__all__ = [*_HOMES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'netgain' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)
