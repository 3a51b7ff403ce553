"""`netgain doctor`: what this machine has, and whether proofs hold on it."""

import click

from netgain import __version__
from netgain.cli.session import debug_option, loading

_REQUIRED = ("torch", "numpy", "scipy", "safetensors", "jaxtyping", "click", "rich")
_OPTIONAL = {
    "onnx": "reading ONNX files (pip install netgain[onnx])",
    "onnxruntime": "a second check of what is read from ONNX files (pip install onnxruntime)",
    "scikit-learn": "the digits data set (pip install netgain[zoo])",
}


@click.command(
    "doctor",
    epilog="Example: netgain doctor",
)
@debug_option
def command() -> None:
    """Check this installation: versions, threads, the arithmetic that proofs rely on, optional packages, data sets.

    Exits with 3 if the floating-point arithmetic is not the one the proofs are about.
    """
    import platform

    with loading():
        import torch

        from netgain.core.rounding import check_arithmetic

    click.echo(f"netgain {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package in _REQUIRED:
        click.echo(f"  {package} {_version(package) or 'MISSING'}")
    click.echo(f"threads: {torch.get_num_threads()} for proofs and attacks (OMP_NUM_THREADS changes it)")
    gpu = f"{torch.cuda.device_count()} CUDA device(s), unused so far" if torch.cuda.is_available() else "none"
    click.echo(f"accelerator: {gpu}")
    check_arithmetic()
    click.echo("arithmetic: float64 rounds to nearest and keeps subnormal numbers; proofs hold here")
    click.echo("optional packages:")
    for package, purpose in _OPTIONAL.items():
        click.echo(f"  {package} {_version(package) or 'not installed'}: {purpose}")
    _data_sets()


def _version(package: str) -> str | None:
    """The installed version, or None."""
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _data_sets() -> None:
    """The known data sets and where they were found."""
    from netgain.cli.data import lines

    click.echo("data sets:")
    for line in lines():
        click.echo(f"  {line}")
