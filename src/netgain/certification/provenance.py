"""What every record says about the model and the machine."""

import os
import platform

import torch

import netgain
from netgain.core.record import ModelInfo
from netgain.network.digest import digest
from netgain.network.graph import Network


def versions() -> dict[str, str]:
    """Versions and machine, as every record keeps them."""
    return {
        "netgain": netgain.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
    }


def model_info(network: Network, preprocess: str | None = None) -> ModelInfo:
    """What was read."""
    return ModelInfo(
        origin=network.origin,
        sha256=digest(network),
        input_shape=network.input_shape,
        output_shape=network.output_shape,
        parameters=network.parameters,
        dtype=network.dtype,
        preprocess=preprocess,
    )
