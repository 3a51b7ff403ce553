"""`netgain bound`: the proved enclosure of the gain and the layer table, without data."""

import click

from netgain.cli import options
from netgain.cli.inputs import check_readable
from netgain.cli.session import debug_option, loading

EPILOG = """\b
Examples:
  netgain bound model.onnx
  netgain bound model.pt2 --norm linf --seconds 30
  netgain bound model.onnx --method newton --certificate c.json
  netgain bound pkg.models:build --weights w.safetensors --input-shape 1,28,28 --max-gain 25
"""


@click.command("bound", epilog=EPILOG)
@click.argument("model", metavar="MODEL")
@options.reading
@options.computing
@options.gain_gate
@options.bound_outputs
@debug_option
def command(
    model: str,
    reading: options.Reading,
    computing: options.Computing,
    gates: options.Gates,
    outputs: options.Outputs,
) -> None:
    """Prove a lower and an upper bound of MODEL's gain (Lipschitz constant), over all inputs.

    MODEL is F.onnx, F.pt2, or a factory: package.module:name or path/to/file.py:name.
    By default methods run from cheap to dear and the tightest bound is kept; --seconds sets the time. Ctrl-C ends the
    search: what was proved by then is printed and written (exit code 130).
    """
    from netgain.cli import output

    output.check_writable(outputs)
    check_readable(model, weights=reading.weights)

    with loading():
        from netgain.cli.work import bound

    found = bound(model, reading, computing, outputs)
    output.deliver(found, outputs, output.gain_gate(found.record, gates.max_gain))
