"""Speaks texts by the library of eSpeak NG, in a process of its own: `python -I espeak_worker.py FOLDER`.

The library keeps a state, so that what a text sounds like depends on those before it: a fresh process speaks a list of
texts alike each time, and a fault of the library ends no other process. It reads pairs of a voice and a text from stdin
as JSON, and writes for each its rate and the number of its samples, int32, and the samples, int16. An unknown voice has
rate 0. Only `jflows/data/store/espeak.py` starts it.
"""

import ctypes
import json
import struct
import sys
from pathlib import Path

SYNCHRONOUS, UTF8 = 2, 1  # constants of the library's interface, speak_lib.h

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def main(folder: Path) -> None:
    """Speaks all pairs of stdin by the library in a folder."""
    library = ctypes.CDLL(str(folder / "libespeak-ng.so"))
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, str(folder).encode(), 0)
    pieces: list[bytes] = []

    @Callback
    def heard(samples, num, events) -> int:
        if samples and num > 0:
            pieces.append(ctypes.string_at(samples, 2 * num))
        return 0

    library.espeak_SetSynthCallback(heard)
    for voice, text in json.load(sys.stdin):
        pieces.clear()
        is_known = library.espeak_SetVoiceByName(voice.encode()) == 0
        if is_known:
            content = text.encode()
            library.espeak_Synth(content, len(content) + 1, 0, 1, 0, UTF8, None, None)
            library.espeak_Synchronize()
        spoken = b"".join(pieces)
        sys.stdout.buffer.write(struct.pack("<ii", rate if is_known else 0, len(spoken) // 2) + spoken)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
