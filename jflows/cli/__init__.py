"""The `jflows` command. Start at `jflows/cli/app.py`."""

from jflows.cli.app import main

__all__ = ["main"]
