"""`netgain bound`: the proved enclosure of the gain and the layer table, without data."""

import click

from netgain.cli import options
from netgain.cli.inputs import check_readable
from netgain.cli.session import debug_option, loading

EPILOG = """\b
Examples:
  netgain bound model.onnx
  netgain bound model.pt2 --norm linf --seconds 30
  netgain bound pkg.models:build --weights w.safetensors --input-shape 1,28,28 --max-gain 25
"""


@click.command("bound", epilog=EPILOG)
@click.argument("model", metavar="MODEL")
@options.reading
@options.computing
@options.gain_gate
@options.report_outputs
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
    """
    from netgain.cli import output

    output.check_writable(outputs)
    check_readable(model, weights=reading.weights)

    with loading():
        from netgain.cli.work import bound

    record = bound(model, reading, computing)
    output.deliver(record, outputs, output.gain_gate(record, gates.max_gain))
