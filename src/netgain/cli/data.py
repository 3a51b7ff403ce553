"""`netgain data`: the known data sets, where they were found, how to get them."""

import click

from netgain.cli.session import debug_option


@click.command(
    "data",
    epilog="Examples: netgain data - netgain data mnist",
)
@click.argument("name", metavar="[NAME]", required=False)
@debug_option
def command(name: str | None) -> None:
    """List the data sets that --data takes by name, with what was found on this machine; or all about one of them."""
    if name is None:
        for line in lines():
            click.echo(line)
        click.echo("Your own: --data F.npz (arrays x, y), F.csv (a label column), package.module:dataset")
        return
    for line in _about(name):
        click.echo(line)


def lines() -> list[str]:
    """What was found, a line a part; files are read and their checksums compared."""
    from netgain.data import known

    return [f"{name}: {_found(name, where) if where else advice}" for name, where, advice in known.status()]


def _found(name: str, where: str) -> str:
    """Where a data set is, and how far it was checked."""
    from netgain.data import known

    checked = ", checksums verified" if name.partition(":")[0] in known.IMAGES else ""
    return f"found in {where}{checked}"


def _about(name: str) -> list[str]:
    """Everything about one data set."""
    from netgain.core.errors import UsageError
    from netgain.data import known

    plain = name.partition(":")[0]
    if plain not in known.NAMES:
        raise UsageError(f"unknown data set {name!r}; known: {', '.join(known.NAMES)}")
    found = [line for line in lines() if line.startswith(f"{plain}:")]
    if plain not in known.IMAGES:
        return [*found, "comes with scikit-learn: pip install netgain[zoo]"]
    images = known.IMAGES[plain]
    sums = [f"md5 {digest}  {file}" for file, digest in images.md5.items()]
    return [*found, f"looked in: {', '.join(images.places)}", f"to get it: {images.advice}", *sums]
