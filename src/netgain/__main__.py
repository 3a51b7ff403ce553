"""`python -m netgain` is the `netgain` command."""

from netgain.cli.main import main

main()
