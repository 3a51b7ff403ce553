"""`netgain explain`: what a code means and what to do."""

import click

from netgain.cli.session import debug_option


@click.command(
    "explain",
    epilog="Examples: netgain explain NG012 - netgain explain list",
)
@click.argument("code", metavar="CODE|list")
@debug_option
def command(code: str) -> None:
    """Explain an error (NG0xx) or finding (NG1xx) code, or list them all."""
    import difflib

    from netgain.core.codes import CODES
    from netgain.core.errors import UsageError

    if code.lower() == "list":
        for entry in CODES.values():
            click.echo(f"{entry.code}  {entry.title}")
        return
    wanted = f"NG{code.upper().removeprefix('NG').zfill(3)}"
    if wanted not in CODES:
        near = difflib.get_close_matches(wanted, CODES, n=3, cutoff=0.5)
        offer = f"; near it are {', '.join(near)}" if near else ""
        raise UsageError(f"there is no code {code!r}{offer}; `netgain explain list` lists all")
    entry = CODES[wanted]
    click.echo(f"{entry.code}: {entry.title}\n\n{entry.meaning}\n\nWhat to do: {entry.action}")
