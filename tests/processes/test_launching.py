"""The launcher ends all processes when one dies, and its last line says which died and of what."""

import os
import signal
import subprocess
import sys
import threading

import jax
import pytest

from jflows.processes import launching, starting
from jflows.processes.launching import Ended, launch
from tests.cli.conftest import in_process

HEAD = "import os, signal, sys, threading\nindex = int(os.environ['JFLOWS_PROCESS_INDEX'])\n"
FOR_EVER = "threading.Event().wait()\n"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"  # as a process is that waits inside XLA for another


def launched(code: str, num: int = 3, **options) -> tuple[Ended, bytes, bytes]:
    out, err = [], []
    ended = launch([sys.executable, "-c", HEAD + code], num, out=out.append, err=err.append, **options)
    return ended, b"".join(out), b"".join(err)


@pytest.mark.parametrize(
    ("death", "ended"),
    [
        ("os.kill(os.getpid(), 9)", Ended(137, "process 1 of 3 was killed by SIGKILL; the others were ended.")),
        ("sys.exit(3)", Ended(3, "process 1 of 3 ended with exit code 3; the others were ended.")),
        ("os.kill(os.getpid(), 40)", Ended(168, "process 1 of 3 was killed by signal 40; the others were ended.")),
    ],
)
def test_the_death_of_one_ends_all_and_is_told(death, ended):
    code = f"if index == 1:\n  print('why', file=sys.stderr, flush=True); {death}\n"
    assert launched(code + FOR_EVER) == (ended, b"", b"why\n")


def test_processes_that_do_not_hear_are_killed(monkeypatch):
    monkeypatch.setattr("jflows.processes.launching.GRACE_SECONDS", 0.1)
    ended, _, _ = launched(f"if index == 2: sys.exit(1)\n{DEAF}{FOR_EVER}")
    assert ended.message == "process 2 of 3 ended with exit code 1; the others were ended."


def test_of_several_dead_the_cause_is_named_and_not_those_that_jax_has_ended():
    deaths = ["os.abort()", "os.kill(os.getpid(), 9)", "os.abort()"]
    started = [subprocess.Popen([sys.executable, "-c", f"import os\n{death}"]) for death in deaths]
    for process in started:  # all are dead at the first look, which is chance in processes that `launch` starts
        process.wait()
    assert launching._first_to_die(started) == 1


def test_process_0_speaks_for_all_without_the_noise_of_the_network():
    code = "print('[Gloo] Rank 0 is connected')\nprint('a', index, sys.argv)\n"
    assert launched(code) == (Ended(0), b"a 0 ['-c']\n", b"")
    assert launched("sys.exit(4)", num=1)[0] == Ended(4, "process 0 of 1 ended with exit code 4.")


def test_sigterm_is_passed_on_to_all():
    code = "signal.signal(signal.SIGTERM, lambda *_: (print('saved', index), sys.exit(0)))\nprint('up')\n"
    up = threading.Event()
    killer = threading.Thread(target=lambda: (up.wait(), os.kill(os.getpid(), signal.SIGTERM)))
    killer.start()
    out = []
    command = [sys.executable, "-uc", HEAD + code + FOR_EVER]
    ended = launch(command, 1, out=lambda line: (out.append(line), up.set()))
    killer.join()
    assert (ended, out) == (Ended(0), [b"up\n", b"saved 0\n"])


def test_the_last_line_of_the_command_says_which_process_died(tmp_path):
    script = tmp_path / "dies.py"
    script.write_text(HEAD + "print('hello', sys.argv[1:], os.environ['JAX_NUM_CPU_DEVICES'])\nif index: sys.exit(7)\n")
    found = in_process("launch", "--processes", 2, "--devices", 4, script, "--steps", 5)
    assert found.exit_code == 7 and "hello ['--steps', '5'] 4\n" in found.stdout
    assert found.stderr.endswith("jflows: launch: process 1 of 2 ended with exit code 7; the others were ended.\n")


def test_commands_whose_work_is_not_divided_are_not_launched(monkeypatch):
    monkeypatch.setenv("JFLOWS_COORDINATOR", "127.0.0.1:1")
    found = in_process("compare", "some_run")
    assert found.exit_code == 2
    assert "`command` must be one whose work many processes divide; got compare. Launch train, evaluate" in found.stderr


def test_a_program_that_is_missing_is_not_launched():
    found = in_process("launch", "nowhere.py")
    assert found.exit_code == 2
    assert "launch: `command` must be a command of jflows or a .py file; got nowhere.py, which is no" in found.stderr


def test_a_process_that_has_lost_another_says_so_in_one_line(monkeypatch):
    broken = jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer\nat a place")
    assert starting.failed_together(broken) is None  # a single process has nobody to lose
    monkeypatch.setattr(starting, "is_one_of_many", lambda: True)
    assert starting.failed_together(RuntimeError("of the user")) is None
    found = str(starting.failed_together(broken))
    assert "`processes` must be able to compute together until the end; got UNKNOWN: Gloo all-reduce failed" in found
    assert "\n" not in found and "goes on from the last checkpoint." in found


def test_the_command_line_words_errors_of_a_start():
    options = ["--distributed", "--coordinator", "nowhere", "--num-processes", "2", "--process-index", "1"]
    found = in_process("evaluate", "some_run", *options)
    assert found.exit_code == 2
    assert "jflows: evaluate: `--coordinator` must be a host and a port; got 'nowhere'." in found.stderr
    found = in_process("train", "realnvp", "--data", "two_moons", "--distributed")
    assert "`--coordinator` must be given where the environment does not tell it" in found.stderr
    silent = ["--coordinator", "127.0.0.1:1", "--num-processes", "2", "--process-index", "1", "--start-timeout", "0.2"]
    found = in_process("sample", "some_run", *silent)
    assert "sample: `--coordinator` must answer within 0.2 s; got no answer at 127.0.0.1:1" in found.stderr
    assert "or raise --start-timeout." in found.stderr
