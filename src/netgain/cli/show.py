"""`netgain show`: the network as it was read, operation by operation."""

import click

from netgain.cli import options
from netgain.cli.inputs import check_readable
from netgain.cli.session import debug_option, loading

EPILOG = """\b
Examples:
  netgain show model.onnx
  netgain show pkg.models:build --input-shape 1,28,28
"""


@click.command("show", epilog=EPILOG)
@click.argument("model", metavar="MODEL")
@options.reading
@options.quiet_option
@options.json_option
@debug_option
def command(model: str, reading: options.Reading, quiet: bool, json: str | None) -> None:
    """List MODEL's operations with shapes, parameters and source lines, without bounding anything.

    The column "rule" says what can be proved: "yes", or the code of the reason why not (`netgain explain CODE`).
    """
    from netgain.cli import output

    outputs = options.Outputs(report=None, json=json)
    output.check_writable(outputs)
    check_readable(model, weights=reading.weights)

    with loading():
        from netgain.cli.work import show

    record, rules = show(model, reading, quiet)
    output.deliver_show(record, rules, outputs)
