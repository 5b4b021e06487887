"""The options by which a command becomes one of many processes, and how it then joins the others."""

import os
import sys
import warnings
from typing import Any

import click

from jflows.cli.types import COUNT
from jflows.errors import RunError
from jflows.processes.starting import COORDINATOR, START_SECONDS, start_processes


def process_options() -> list[click.Option]:
    """The options of a command whose work many processes can do together."""
    return [
        click.Option(
            ["--distributed"],
            is_flag=True,
            help="Compute together with other processes that were given the same command, and divide rows among the "
            "devices of all. SLURM, Kubernetes, Cloud TPU and Open MPI tell each process which it is; elsewhere give "
            "the three options below, or use `jflows launch`.",
        ),
        click.Option(
            ["--coordinator"], metavar="HOST:PORT", help="Address at which process 0 listens for the other processes."
        ),
        click.Option(["--num-processes"], type=COUNT, help="Number of processes that compute together."),
        click.Option(
            ["--process-index"], type=click.IntRange(0), help="Position of this process among all of them, from 0 on."
        ),
        click.Option(
            ["--start-timeout"],
            type=click.FloatRange(0, min_open=True),
            default=START_SECONDS,
            show_default=True,
            help="Seconds after which a process gives up waiting for the others to start.",
        ),
    ]


def join(given: dict[str, Any]) -> None:
    """Joins the other processes, if the command was asked to, and is silent in all but process 0 from then on.

    Args:
      given: values of the options of a command; those of `process_options` are taken out.
    """
    distributed, *values, timeout = (given.pop(option.name) for option in process_options())
    if not (distributed or COORDINATOR in os.environ or any(value is not None for value in values)):
        return
    start_processes(*values, start_timeout=timeout)
    import jax

    if jax.process_index():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the end of the process)
        warnings.simplefilter("ignore")


def refuse_to_join(command: str) -> None:
    """Raises `RunError` if a command whose work is not divided was launched in many processes."""
    if COORDINATOR in os.environ:
        rule, fix = "must be one whose work many processes divide", "Launch train, evaluate, sample or score."
        raise RunError("launch", "command", rule, command, fix)
