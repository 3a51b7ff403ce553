"""`netgain audit`: gain, layers, and with data accuracy, certificates and attacks; one report."""

import click

from netgain.cli import options
from netgain.cli.inputs import check_readable
from netgain.cli.session import debug_option, loading

EPILOG = """\b
Examples:
  netgain audit model.onnx
  netgain audit model.onnx --data test.npz --report report.html --json audit.json
  netgain audit pkg.models:build --weights w.safetensors --data mnist:test --preprocess 0.1307,0.3081
  netgain audit model.onnx --data test.npz --max-gain 25 --min-certified 0.1:0.8 --quiet
"""


@click.command(
    "audit",
    epilog=EPILOG,
)
@click.argument("model", metavar="MODEL")
@options.checks
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
    """Prove how strongly MODEL's output can react to its input, layer by layer and as a whole.

    MODEL is F.onnx, F.pt2, or a factory (a function without arguments that returns a torch module):
    package.module:name or path/to/file.py:name.
    With --data, the accuracy that no change up to --epsilon can break is proved, and attacked from the other side.
    """
    from netgain.cli import output

    output.check_writable(outputs)
    check_readable(model, weights=reading.weights, data=checks.data)

    with loading():
        from netgain.cli.work import audit

    found = audit(model, checks, reading, computing, gates, outputs)
    record = found.record
    results = [*output.gain_gate(record, gates.max_gain), *output.certified_gates(record, gates.min_certified)]
    output.deliver(found, outputs, results)
