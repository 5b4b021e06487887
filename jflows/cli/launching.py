"""`jflows launch`: one command in many processes of this machine."""

import sys
from pathlib import Path

import click

from jflows.cli.groups import SETTINGS, Stop
from jflows.cli.types import COUNT
from jflows.errors import InvalidValueError

RUN_JFLOWS = "from jflows.cli import main; main()"


@click.command(context_settings={**SETTINGS, "ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--processes", type=COUNT, default=2, show_default=True, help="Number of processes on this machine.")
@click.option(
    "--devices",
    type=COUNT,
    default=1,
    show_default=True,
    help="Number of devices of each process: virtual ones of the CPU, or GPUs, of which each process takes the next "
    "ones of the machine.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def launch(processes: int, devices: int, command: tuple[str, ...]) -> None:
    """Run COMMAND in several processes of this machine that compute together.

    COMMAND is a command of jflows with its options, such as `train glow_digits`, or a .py file that calls
    `jflows.start_processes()`. What process 0 prints is shown. If a process dies, the others are ended too, and the
    last line says which it was.
    """
    from jflows.processes.launching import launch as launched

    if command[0].endswith(".py") and not Path(command[0]).is_file():
        rule, got = "must be a command of jflows or a .py file", f"{command[0]}, which is no file"
        raise InvalidValueError("launch", "command", rule, got, "Check the path.")
    program = [sys.executable] if command[0].endswith(".py") else [sys.executable, "-c", RUN_JFLOWS]
    ended = launched([*program, *command], processes, devices)
    if ended.code:
        raise Stop(f"launch: {ended.message}", ended.code)
