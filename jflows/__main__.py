"""`python -m jflows` is the command `jflows`."""

from jflows.cli import main

main()
