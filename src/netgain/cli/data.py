"""`netgain data`: the known data sets, where they were found, how to get them."""

import click

from netgain.cli.session import debug_option


@click.command(
    "data",
    short_help="Known data sets: where found, checksums, how to get them.",
    epilog="Examples: netgain data - netgain data mnist",
)
@click.argument("name", metavar="[NAME]", required=False)
@debug_option
def command(name: str | None) -> None:
    """List the data sets that --data takes by name, or say all about one of them."""
    for line in lines(name):
        click.echo(line)


def lines(name: str | None = None) -> list[str]:
    """The listing, a line an entry."""
    raise NotImplementedError(name)
