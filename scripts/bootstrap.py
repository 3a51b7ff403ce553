#!/usr/bin/env python3
"""Make .venv with netgain in it. Standard library only; run by `make`, or by hand: python3 scripts/bootstrap.py --help.

Uses uv where it can be had and pip otherwise. On Linux the torch on the default index is a CUDA build of several
gigabytes, so a CPU build is looked for first: among the wheels that pip is configured to find, then through uv's
torch backend, then the default index.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
CONSTRAINTS = ROOT / "constraints.txt"


def main() -> int:
    """Create the environment; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default="test", help="extras of netgain to install (default: test)")
    parser.add_argument(
        "--torch",
        choices=("cpu", "cuda", "skip"),
        default="cpu",
        help="cpu: a CPU build (default); cuda: the default index's build; skip: the torch of the system's Python",
    )
    parser.add_argument("--pip", action="store_true", help="do not use uv")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  (the point is to say so on an older Python)
        print(f"netgain needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable})")
        return 2
    say("creating .venv")
    make_venv(system=options.torch == "skip")
    install = Installer(use_uv=not options.pip)
    if options.torch != "skip":
        say(f"installing torch ({options.torch}); this is the largest part")
        if not install_torch(install, options.torch):
            return 1
    say("installing netgain and what it needs")
    if not install("--constraint", str(CONSTRAINTS), "--editable", f"{ROOT}[{options.extras}]"):
        return 1
    (VENV / ".ok").write_text("made by scripts/bootstrap.py\n")
    say("done: .venv/bin/netgain --help")
    return 0


def say(what: str) -> None:
    """One line of progress."""
    print(f"bootstrap: {what}", flush=True)


def make_venv(*, system: bool) -> None:
    """A fresh environment, or the one that is there if it works."""
    if PYTHON.exists() and run([str(PYTHON), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], quiet=True):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    venv.EnvBuilder(with_pip=True, system_site_packages=system, symlinks=os.name != "nt").create(VENV)


def run(command: list[str], *, quiet: bool = False, env: dict[str, str] | None = None) -> bool:
    """Whether a command succeeds; what it printed is shown when it fails, unless `quiet`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    except OSError as error:
        if not quiet:
            print(f"bootstrap: {command[0]}: {error}")
        return False
    if done.returncode and not quiet:
        lines = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if "WARNING" not in line]
        print("bootstrap: failed:", " ".join(command), *lines[-30:], sep="\n")
    return done.returncode == 0


class Installer:
    """`pip install` or `uv pip install` into .venv; uv sees the same places for wheels as pip does."""

    def __init__(self, *, use_uv: bool):
        self.uv = self._find_uv() if use_uv else None
        self.env = dict(os.environ)
        links = find_links()
        if links:
            self.env.setdefault("UV_FIND_LINKS", ",".join(links))
        self.env.setdefault("UV_HTTP_TIMEOUT", "30")

    def _find_uv(self) -> str | None:
        """A uv that runs: the user's, or one installed into .venv."""
        own = BIN / ("uv.exe" if os.name == "nt" else "uv")
        for candidate in (shutil.which("uv"), str(own)):
            if candidate and run([candidate, "--version"], quiet=True):
                return candidate
        if run([str(PYTHON), "-m", "pip", "install", "--quiet", "uv"], quiet=True):
            return str(own)
        say("uv cannot be had here; using pip, which is slower")
        return None

    def __call__(self, *arguments: str, quiet: bool = False) -> bool:
        """Install; where uv fails, pip is tried."""
        if self.uv and run([self.uv, "pip", "install", "--python", str(PYTHON), *arguments], quiet=True, env=self.env):
            return True
        plain = [argument for argument in arguments if not argument.startswith("--torch-backend")]
        if self.uv and plain != list(arguments):
            return False
        return run([str(PYTHON), "-m", "pip", "install", "--quiet", *plain], quiet=quiet, env=self.env)


def install_torch(install: Installer, kind: str) -> bool:
    """The torch of constraints.txt, as a CPU build where one can be had."""
    found = re.search(r"^torch==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE)
    version = found.group(1) if found else "2.13.0"
    has = f"import torch, sys; sys.exit(torch.__version__.split('+')[0] != '{version}')"
    if run([str(PYTHON), "-c", has], quiet=True):
        return True
    constraint = ("--constraint", str(CONSTRAINTS))
    if kind == "cpu" and sys.platform.startswith("linux"):
        if install(f"torch=={version}+cpu", quiet=True):
            return True
        if install.uv and install(*constraint, "--torch-backend=cpu", f"torch=={version}", quiet=True):
            return True
        say("no CPU build found; taking the default index's build, which may be several gigabytes")
    return install(*constraint, f"torch=={version}")


def find_links() -> list[str]:
    """Where pip is configured to look for wheels besides its index."""
    places = os.environ.get("PIP_FIND_LINKS", "").split()
    done = subprocess.run(
        [str(PYTHON), "-m", "pip", "config", "get", "global.find-links"], capture_output=True, text=True, check=False
    )
    return list(dict.fromkeys(places + done.stdout.split()))


if __name__ == "__main__":
    sys.exit(main())
