"""`netgain verify`: a certificate checked against a model, independently of the search that found it."""

import click

from netgain.cli import options
from netgain.cli.inputs import check_certificate, check_readable
from netgain.cli.session import debug_option, loading

EPILOG = """\b
Examples:
  netgain bound model.onnx --certificate c.json
  netgain verify c.json model.onnx
  netgain verify c.json pkg.models:build --weights w.safetensors --preprocess 0.1307,0.3081
  netgain verify c.json tiny.onnx --exact

\b
Exit codes: 0 every claim is proved; 1 the certificate is refused (netgain explain NG031);
2 the certificate cannot be read, or --exact does not apply; 3 the model cannot be read.
"""


@click.command("verify", epilog=EPILOG)
@click.argument("certificate", metavar="CERTIFICATE")
@click.argument("model", metavar="MODEL")
@click.option(
    "--exact",
    is_flag=True,
    help="Check in rational arithmetic, without any rounding: for tiny networks in l2 (64 inputs and units at most).",
)
@options.reading
@options.quiet_option
@options.json_option
@debug_option
def command(certificate: str, model: str, exact: bool, reading: options.Reading, quiet: bool, json: str | None) -> None:
    """Prove again, from MODEL and the multipliers in CERTIFICATE, every bound that CERTIFICATE claims.

    CERTIFICATE is what `netgain bound|certify|audit --certificate F.json` wrote; MODEL is the same model, read with the
    same options (--preprocess is part of the network). Nothing is searched and nothing is believed: the checker takes
    the weights of MODEL, verifies each condition with rounding included, and refuses a certificate whose model, norm
    or claim differ.
    """
    from netgain.cli import output

    outputs = options.Outputs(report=None, json=json)
    output.check_writable(outputs)
    check_certificate(certificate)
    check_readable(model, weights=reading.weights)

    with loading():
        from netgain.cli.work import verify

    output.deliver_verification(verify(certificate, model, exact, reading, quiet), outputs)
