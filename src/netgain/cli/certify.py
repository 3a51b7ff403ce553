"""`netgain certify`: a proved radius for each sample of a data set."""

import dataclasses

import click

from netgain.cli import options
from netgain.cli.inputs import check_readable
from netgain.cli.session import debug_option, loading

EPILOG = """\b
Examples:
  netgain certify model.onnx test.npz --epsilon 0.1,0.25 --csv radii.csv
  netgain certify model.onnx mnist:test --attack all --seconds 60
  netgain certify model.onnx test.npz --epsilon 0.1 --min-certified 0.1:0.8
"""


@click.command("certify", epilog=EPILOG)
@click.argument("model", metavar="MODEL")
@options.checks_of_argument
@options.reading
@options.computing
@options.all_gates
@options.all_outputs
@debug_option
def command(
    model: str,
    checks: options.Checks,
    reading: options.Reading,
    computing: options.Computing,
    gates: options.Gates,
    outputs: options.Outputs,
) -> None:
    """Prove for each sample of DATA a radius within which MODEL's decision cannot change.

    MODEL is F.onnx, F.pt2, or a factory: package.module:name or path/to/file.py:name. DATA is F.npz (arrays x and y),
    F.csv, package.module:dataset, or a name of `netgain data` such as mnist:test; inputs in raw units.
    """
    from netgain.cli import output

    output.check_writable(outputs)
    check_readable(model, weights=reading.weights, data=checks.data)

    with loading():
        from netgain.cli.work import audit

    found = audit(model, dataclasses.replace(checks, command="certify"), reading, computing, gates, outputs)
    record = found.record
    results = [*output.gain_gate(record, gates.max_gain), *output.certified_gates(record, gates.min_certified)]
    output.deliver(found, outputs, results)
