"""Run the benchmarks and print their tables.

python -m benchmarks [--quick] [--markdown FILE] [NAME ...]
"""

import argparse
import datetime
import importlib
import platform
import sys
from pathlib import Path
from typing import Any

import torch

MODULES = (
    "dense_norm",
    "conv_norm",
    "optimum",
    "dense_bounds",
    "convolutional_bounds",
    "certificates",
    "pairs",
    "reading",
    "startup",
    "audit",
)


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(MODULES)} (all by default)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, one repetition")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file as well")
    options = parser.parse_args()
    if unknown := set(options.names) - set(MODULES):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}")
    text = [
        "# Numbers",
        "",
        f"Made by `make bench` on {datetime.date.today().isoformat()}: {platform.machine()}, "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}. "
        "Seconds depend on the machine; ratios are within one run.",
    ]
    print(text[-1])
    for name in options.names or MODULES:
        module = importlib.import_module(f"benchmarks.{name}")
        rows = module.run(options.quick)
        lines = ["", f"## {module.TITLE}", "", module.TARGETS, "", *table(module.HEADERS, rows)]
        print("\n".join(lines), flush=True)
        text += lines
    if options.markdown:
        options.markdown.write_text("\n".join(text) + "\n")
    return 0


def table(headers: tuple[str, ...], rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table, its columns aligned."""
    cells = [[_text(row.get(header)) for header in headers] for row in rows]
    widths = [max(len(header), *(len(line[i]) for line in cells), 3) for i, header in enumerate(headers)]
    lines = [[*headers], ["-" * width for width in widths], *cells]
    return ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]


def _text(value: Any) -> str:
    """A number in four digits, anything else as it is."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
