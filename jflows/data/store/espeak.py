"""`spoken`: speech by eSpeak NG, whose library and voices are in an archive that the data set fetches.

eSpeak NG is under the GPL, version 3. It is no part of jflows and never installed: the archive is unpacked into a
folder that is deleted at the end, and another process runs what is in it.
"""

import json
import platform
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jflows.data.store.archives import Archive, fetch
from jflows.errors import DataError

ARCHIVE = Archive(
    registry="pypi",
    package="espeakng-loader",
    version="0.2.4",
    file_name="espeakng_loader-0.2.4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
    megabytes=10.1,
)
MACHINE = ("Linux", "x86_64")  # that the library in the archive is for
SECONDS_OF_TEXT, SECONDS_TO_START = 30, 60  # after which speaking is given up; a text takes some milliseconds
_WORKER = Path(__file__).with_name("espeak_worker.py")
VARIANTS = "espeak-ng-data/voices/!v"  # the folder of what may follow a + in a voice, such as f3 in en-us+f3
TRY_VOICES = "Try 'en-us' or 'en-us+f3'."
_HEAD = struct.Struct("<ii")


def spoken(pairs: Sequence[tuple[str, str]], rate: int, where: str) -> list[np.ndarray]:
    """Speaks texts by voices of eSpeak NG, which are alike each time for the same list.

    Args:
      pairs: a voice, such as "en-us" or "en-us+f3", and a text each.
      rate: samples per second of the result; it is resampled by a polyphase filter.
      where: name of the function that is given the texts, for messages.
    Returns:
      For each pair, float32 [num], in [-1, 1) but for overshoots of the filter.
    Raises:
      DataError: if the archive cannot be fetched or is not for this machine, if a voice or its variant is unknown, or
        if a text is silent.
    """
    if (platform.system(), platform.machine()) != MACHINE:
        rule, got = f"needs {' on '.join(MACHINE)}", f"{platform.system()} on {platform.machine()}"
        raise DataError(where, "text", rule, got, "Speak the texts elsewhere, and use the WAV files here.")
    with tempfile.TemporaryDirectory(prefix="jflows-espeak-") as folder:
        with zipfile.ZipFile(fetch(ARCHIVE)) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith("espeakng_loader/")])
        unpacked = Path(folder) / "espeakng_loader"
        variants = {path.name for path in (unpacked / VARIANTS).iterdir()}
        for voice, _ in pairs:
            _check_variant(voice, variants, where)
        output = _run(unpacked, pairs, where)
    found = []
    for voice, text in pairs:
        own_rate, num = _HEAD.unpack_from(output)
        samples = np.frombuffer(output, "<i2", num, _HEAD.size)
        output = output[_HEAD.size + 2 * num :]
        if not own_rate:
            raise DataError(where, "voice", "must be a voice of eSpeak NG", repr(voice), TRY_VOICES)
        if not samples.any():
            raise DataError(where, "text", "must hold words that can be spoken", repr(text))
        found.append(resampled(samples / np.float32(2**15), own_rate, rate))
    return found


def resampled(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """A waveform at another rate: [num] -> float32 [ceil(num * new_rate / rate)]."""
    from scipy.signal import resample_poly

    return samples if rate == new_rate else np.asarray(resample_poly(samples, new_rate, rate), np.float32)


def _check_variant(voice: str, variants: set[str], where: str) -> None:
    """Raises unless what follows a + is a variant, which the library ignores if unknown; one alone makes it crash."""
    name, plus, variant = voice.partition("+")
    if name in variants or (plus and variant not in variants):
        rule = "must be a voice of eSpeak NG, and after a + one of its variants, in their case"
        raise DataError(where, "voice", rule, repr(voice), TRY_VOICES)


def _run(folder: Path, pairs: Sequence[tuple[str, str]], where: str) -> memoryview:
    """What the worker writes."""
    command = [sys.executable, "-I", str(_WORKER), str(folder)]
    seconds = SECONDS_TO_START + SECONDS_OF_TEXT * len(pairs)
    try:
        done = subprocess.run(
            command, input=json.dumps(pairs).encode(), capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(where, "text", f"must be spoken within {seconds} seconds", "no answer") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        rule = f"must be spoken by {ARCHIVE}, which failed with exit code {done.returncode}"
        raise DataError(where, "text", rule, lines[-1][:200].rstrip("."))
    return memoryview(done.stdout)
