"""What is wrong with a start is said in a sentence, within the time that was given, and in every process."""

import json
import re
import socket
import threading
from collections import Counter

import jax
import pytest

import jflows
from jflows.processes import launching, roll_call, starting
from jflows.processes.roll_call import Card

VERSIONS = {"jflows": "1.0", "jax": "0.10"}


def free_address() -> tuple[str, int]:
    return "127.0.0.1", launching._free_port()


def card(index: int, num: int = 2, **versions: str) -> Card:
    return Card(index, num, {**VERSIONS, **versions})


def roll(*cards: Card, timeout: float = 5.0) -> list[str]:
    """What each process of a roll call is told; "" if all is well."""
    address, told = free_address(), [""] * len(cards)

    def call(position: int, own: Card) -> None:
        try:
            (roll_call.answer_roll_call if own.index else roll_call.call_roll)(address, own, timeout)
        except jflows.RunError as error:
            told[position] = str(error)

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate(cards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def test_processes_that_agree_may_start():
    assert roll(card(0, 3), card(1, 3), card(2, 3)) == ["", "", ""]
    assert roll(card(0, 1)) == [""]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            [card(1, jflows="0.9")],
            "start_processes: `jflows` must have the same version in all processes; got 1.0 in process 0 and 0.9 in "
            "process 1. Install the same.",
        ),
        ([card(1, jax="0.11")], "`jax` must have the same version in all processes; got 0.10 in process 0 and 0.11 in"),
        ([card(1, 3)], "`num_processes` must be the same in all processes; got 2 in process 0 and 3 in process 1."),
        (
            [card(2)],
            "`process_index` must be another one in each process; got a second process 2. Number them 0 to 1, each "
            "once.",
        ),
    ],
    ids=["jflows", "jax", "number", "index"],
)
def test_all_processes_are_told_what_is_wrong(others, message):
    told = roll(card(0), *others)
    assert all(message in each for each in told), told


def test_the_first_names_the_processes_that_do_not_come():
    told = roll(card(0, 4), card(2, 4), timeout=0.3)
    message = "`processes` must all call within 0.3 s; got no call of process 1, 3 of 4. Look why they did not start"
    assert all(message in each for each in told), told


def test_others_say_that_the_coordinator_does_not_answer(monkeypatch):
    monkeypatch.setattr(roll_call, "READ_SECONDS", 0.1)
    host, port = free_address()
    message = rf"`coordinator` must answer within 0\.3 s; got no answer at {host}:{port} for process 1\. Check that"
    with pytest.raises(jflows.RunError, match=message):
        jflows.start_processes(f"{host}:{port}", 2, 1, start_timeout=0.3)
    with socket.create_server((host, port)), pytest.raises(jflows.RunError, match=message):  # it listens, but is mute
        roll_call.answer_roll_call((host, port), card(1), 0.3)


def test_the_first_says_that_its_port_is_in_use():
    address = free_address()
    with socket.create_server(address), pytest.raises(jflows.RunError, match="at which process 0 can listen; got 127"):
        roll_call.call_roll(address, card(0), 0.3)


def test_a_stranger_who_calls_is_not_counted():
    address, told = free_address(), []

    def first() -> None:
        try:
            roll_call.call_roll(address, card(0), 5.0)
        except jflows.RunError as error:
            told.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    for words in (b"GET / HTTP/1.1\r\n\n", b"[1]\n", json.dumps({"index": 1}).encode() + b"\n", b""):
        while True:
            try:
                with socket.create_connection(address) as line:
                    line.sendall(words)
                break
            except ConnectionRefusedError:
                continue
    roll_call.answer_roll_call(address, card(1), 5.0)
    thread.join()
    assert told == []


def test_slurm_and_the_launcher_tell_each_process_which_it_is(monkeypatch):
    slurm = {"JOB_ID": "4097", "STEP_NODELIST": "node[3-5]", "NTASKS": "6", "PROCID": "4", "LOCALID": "1"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    found = starting.place_of(None, None, None)
    assert found[:3] == ("node3:61441", 6, 4) and found.local_devices == [1]
    assert starting.place_of("10.0.0.1:5", 6, None)[:3] == ("10.0.0.1:5", 6, 4)
    for name, value in launching._environment("127.0.0.1:7", 2, 1, 4).items():
        monkeypatch.setenv(name, value)
    assert starting.place_of(None, None, None) == ("127.0.0.1:7", 2, 1, None)
    assert launching._environment("", 2, 1, 4)["JAX_LOCAL_DEVICE_IDS"] == "4,5,6,7"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, 2, 0), "`coordinator` must be given where the environment does not tell it (SLURM, Kubernetes"),
        (("a:1", None, 0), "`num_processes` must be given where"),
        (("a:1", 2, None), "`process_index` must be given where"),
        (("a:1", 2, 2), "`process_index` must be 0 to 1 of 2 processes; got 2"),
        (("a:1", 0, 0), "`num_processes` must be positive; got 0"),
        (("a", 2, 1), "`coordinator` must be a host and a port; got 'a'. Write the address of process 0, such as 10."),
        (("a:70000", 2, 1), "`coordinator` must be a host and a port; got 'a:70000'"),
    ],
)
def test_a_place_that_is_none_is_refused(given, message):
    with pytest.raises(jflows.InvalidValueError, match=re.escape(message)):
        jflows.start_processes(*given)


def test_times_must_be_positive_and_jax_must_not_be_in_use():
    for name in ("start_timeout", "heartbeat"):
        with pytest.raises(jflows.InvalidValueError, match=f"`{name}` must be positive; got 0"):
            jflows.start_processes("127.0.0.1:1", 1, 0, **{name: 0})
    assert jax.devices()  # JAX is in use
    with pytest.raises(
        jflows.RunError, match="`processes` must be started before JAX is used; got jax.*Call start_pro"
    ):
        host, port = free_address()
        jflows.start_processes(f"{host}:{port}", 1, 0)


def test_devices_must_be_equally_many():
    starting.check_devices(Counter({0: 2, 1: 2}))
    message = "`devices` must be equally many in all processes; got 2 in process 0 and 1 in process 3. Give all of them"
    with pytest.raises(jflows.RunError, match=message):
        starting.check_devices(Counter({0: 2, 3: 1, 1: 2}))
