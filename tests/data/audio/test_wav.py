"""WAV files: a round trip, reading from any place, and files of another form."""

import wave

import numpy as np
import pytest

from jflows.data.audio.wav import WavFile, writing
from jflows.errors import DataError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.wav"


def make(path, channels=1, width=2, rate=16_000, num=100):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes(num * channels * width))


def test_samples_are_read_back_from_any_place(path):
    samples = np.arange(-50, 50) / 2**15
    with writing(path, 16_000) as writer:
        writer.write(samples[:30])
        writer.write(samples[30:])
    assert (writer.num_samples, writer.num_clipped) == (100, 0)
    file = WavFile(path, 16_000, "vocode")
    assert file.num_samples == 100
    np.testing.assert_array_equal(file.read(0, 100), samples.astype(np.float32))
    np.testing.assert_array_equal(file.read(95, 105), [*samples[95:].astype(np.float32), *[0] * 5])
    np.testing.assert_array_equal(file.read(-3, 2), [0, 0, 0, *samples[:2].astype(np.float32)])
    np.testing.assert_array_equal(file.read(200, 203), [0, 0, 0])
    file.close()


def test_samples_that_are_too_large_are_clipped_and_counted(path):
    with writing(path, 8_000) as writer:
        writer.write(np.array([0.5, 1.0, -1.0, -1.5]))
    assert writer.num_clipped == 2
    file = WavFile(path, 8_000, "vocode")
    np.testing.assert_array_equal(file.read(0, 4), np.float32([0.5, 1 - 2**-15, -1, -1]))
    file.close()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"channels": 2}, r"vocode: `input` must have one channel; got 2 channels in .*a.wav. Convert it.*-r 16000 -c"),
        ({"width": 1}, r"must have 16 bits a sample; got 8 bits"),
        ({"rate": 22_050}, r"must have 16,000 samples a second; got 22,050"),
    ],
)
def test_files_of_another_form_are_refused(path, form, message):
    make(path, **form)
    with pytest.raises(DataError, match=message):
        WavFile(path, 16_000, "vocode")


def test_what_is_no_wav_file_is_refused(path):
    for content in (b"", b"RIFF", b"ID3 this is something else"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="`input` must be a WAV file of uncompressed samples that can be read; got"):
            WavFile(path, 16_000, "vocode")
    with pytest.raises(DataError, match="No such file"):
        WavFile(path.with_name("none.wav"), 16_000, "vocode")


def test_a_file_that_is_cut_off_is_refused(path):
    make(path)
    path.write_bytes(path.read_bytes()[:-20])
    file = WavFile(path, 16_000, "vocode")
    with pytest.raises(DataError, match="must hold the 100 samples that its head states; got fewer in"):
        file.read(0, 100)
    file.close()
