"""`netgain compare`: two models, or two audits, side by side."""

import click

from netgain.cli import options
from netgain.cli.inputs import check_readable
from netgain.cli.session import debug_option, loading

EPILOG = """\b
Examples:
  netgain compare before.onnx after.onnx --data test.npz --report compare.html
  netgain compare before.json after.json
  netgain compare before.json after.onnx --data test.npz
"""


@click.command("compare", epilog=EPILOG)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@options.checks
@options.reading
@options.computing
@options.report_outputs
@debug_option
def command(
    before: str,
    after: str,
    checks: options.Checks,
    reading: options.Reading,
    computing: options.Computing,
    outputs: options.Outputs,
) -> None:
    """Compare B with A: gain, layers, certified accuracy, and what of the difference is proved.

    A and B are models (audited here, with the same options) or JSON documents of earlier audits (F.json).
    """
    import sys

    from netgain.cli import output

    output.check_writable(outputs)
    check_readable(before, after, weights=reading.weights, data=checks.data)

    with loading():
        from netgain.cli.work import compared
    from netgain.report import json, write
    from netgain.report.compare import compare
    from netgain.report.comparison import print_comparison, render_comparison

    first, second = (
        json.load(name) if name.endswith(".json") else compared(name, checks, reading, computing)
        for name in (before, after)
    )
    comparison = compare(first, second)
    document = json.document(comparison.to_dict())
    page = render_comparison(comparison, output.command_line()) if outputs.report else ""
    if outputs.json == "-":
        sys.stdout.write(document)
    else:
        print_comparison(comparison, output.console())
    if outputs.json and outputs.json != "-":
        write.write_text(outputs.json, document)
    if outputs.report:
        write.write_text(outputs.report, page)
    output.tell(outputs)
