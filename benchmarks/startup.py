"""How long the command line takes to answer --help."""

import statistics
import subprocess
import sys
import time
from typing import Any

TITLE = "Start-up of the command line"
HEADERS = ("command", "seconds", "bare python seconds")
TARGETS = "Target: `netgain --help` under 0.25 s."


def run(quick: bool) -> list[dict[str, Any]]:
    """Median wall time of a fresh process, beside a Python that does nothing."""
    times = 3 if quick else 9
    bare = _median([sys.executable, "-c", "pass"], times)
    return [
        {
            "command": "netgain " + " ".join(command),
            "seconds": _median([sys.executable, "-m", "netgain", *command], times),
            "bare python seconds": bare,
        }
        for command in (["--help"], ["audit", "--help"], ["explain", "NG012"])
    ]


def _median(command: list[str], times: int) -> float:
    """Median wall time of a command."""
    found: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        found.append(time.perf_counter() - began)
    return statistics.median(found)
