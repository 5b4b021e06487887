"""Synthetic speech: how sentences become clips, what may go wrong in speaking, and that it is alike each time."""

import dataclasses
import struct
import zipfile

import numpy as np
import pytest

from jflows.data import KNOWN, load
from jflows.data.audio import MelSetting, log_mel
from jflows.data.known import sentences
from jflows.data.store import espeak
from jflows.errors import DataError, InvalidValueError

MEL = MelSetting(rate=8_000, window=64, hop=32, num_mels=8, high=4000.0)
LENGTHS = (300, 128, 127)  # of spoken sentences: 2, 1 and no clip of 128 samples


@pytest.fixture
def small(monkeypatch):
    """The data set with sentences of a few samples, none of which is spoken."""

    def spoken(pairs, rate, where):
        assert (rate, where) == (8_000, "load") and [voice for voice, _ in pairs[:2]] == ["en-us", "en-us+f4"]
        return [np.full(LENGTHS[index % 3], index + 1.0) for index in range(len(pairs))]

    monkeypatch.setattr(espeak, "spoken", spoken)
    words = {"train": ("One.", "Two.", "Three."), "test": ("Four.",)}
    return dataclasses.replace(KNOWN["speech_espeak"], sentences=words, voices=("en-us", "en-us+f4"), mel=MEL, frames=4)


def test_sentences_are_cut_into_clips_with_the_mels_of_the_whole(small):
    data = small.load("train", 0, {}, None)
    assert data.event_shape == small.event_shape == (128,) and data.context_shape == small.context_shape == (4, 8)
    assert np.rint(data.x.mean(axis=1)).tolist() == [1, 1, 2, 4, 4, 5] and data.mel == MEL
    whole = small.spoken("train")
    np.testing.assert_array_equal(data.x[3:5].ravel(), whole[3][:256])
    np.testing.assert_array_equal(data.context[3:5].reshape(8, 8), log_mel(whole[3], MEL)[:8])
    assert 5e-4 < (data.x - np.rint(data.x)).std() < 2e-3  # the noise


def test_validation_is_the_last_of_the_training_clips(small):
    train, held_out = small.load("train", 2, {}, None), small.load("validation", 2, {}, None)
    both = np.concatenate([train.x, held_out.x])
    np.testing.assert_array_equal(both, small.load("train", 0, {}, None).x)
    assert len(held_out) == 2 and len(small.load("test", 2, {}, None)) == 3
    with pytest.raises(InvalidValueError, match="must be positive for split='validation'"):
        small.load("validation", 0, {}, None)


def test_no_sentence_is_in_both_splits_or_twice():
    every = [*sentences.TRAIN, *sentences.TEST]
    assert len(set(every)) == len(every) > 120
    assert {len(split) for split in KNOWN["speech_espeak"].sentences.values()} == {len(sentences.TRAIN), 16}


@pytest.fixture
def answered(monkeypatch, tmp_path):
    """A synthesiser whose answer is given: pairs of a rate and samples."""
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        wheel.writestr("espeakng_loader/libespeak-ng.so", "no library")
        wheel.writestr(f"espeakng_loader/{espeak.VARIANTS}/f3", "a variant")
    monkeypatch.setattr(espeak, "fetch", lambda archive: tmp_path / "wheel")
    monkeypatch.setattr(espeak, "MACHINE", (espeak.platform.system(), espeak.platform.machine()))

    def answer(*pairs):
        parts = [struct.pack("<ii", rate, len(x)) + np.asarray(x, "<i2").tobytes() for rate, x in pairs]
        monkeypatch.setattr(espeak, "_run", lambda folder, pairs, where: memoryview(b"".join(parts)))

    return answer


def test_samples_are_resampled(answered):
    tone = np.rint(2**14 * np.sin(2 * np.pi * 100 * np.arange(2205) / 22_050))
    answered((22_050, tone), (22_050, tone[:441]))
    found = espeak.spoken([("en-us", "a"), ("en-us", "b")], 16_000, "load")
    assert [len(x) for x in found] == [1600, 320] and found[0].dtype == np.float32
    wanted = 0.5 * np.sin(2 * np.pi * 100 * np.arange(1600) / 16_000)
    np.testing.assert_allclose(found[0][100:-100], wanted[100:-100], atol=2e-3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((0, []), r"vocode: `voice` must be a voice of eSpeak NG; got 'xx'. Try 'en-us' or 'en-us\+f3'."),
        ((22_050, []), "vocode: `text` must hold words that can be spoken; got '...'"),
        ((22_050, [0, 0]), "vocode: `text` must hold words that can be spoken"),
    ],
)
def test_what_cannot_be_spoken_is_refused(answered, answer, message):
    answered(answer)
    with pytest.raises(DataError, match=message):
        espeak.spoken([("xx", "...")], 16_000, "vocode")


@pytest.mark.parametrize("voice", ["en-us+f9", "en-us+F3", "en-us+", "f3"])
def test_a_variant_that_the_library_would_ignore_or_crash_at_is_refused(answered, voice):
    answered((22_050, [1, 2]))
    assert len(espeak.spoken([("en-us+f3", "Yes.")], 22_050, "vocode")[0]) == 2
    with pytest.raises(
        DataError, match="vocode: `voice` must be a voice .* and after a . one of its variants, in their "
    ):
        espeak.spoken([("en-us+f3", "Yes."), (voice, "Yes.")], 22_050, "vocode")


def test_a_library_that_fails_is_named_with_its_last_word(answered):
    rule = r"vocode: `text` must be spoken by espeakng-loader .*, which failed with exit code 1; got OSError: .*\."
    with pytest.raises(DataError, match=rule):
        espeak.spoken([("en-us", "Yes.")], 16_000, "vocode")


def test_another_machine_is_refused_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr(espeak, "MACHINE", ("Plan 9", "pdp11"))
    with pytest.raises(DataError, match="load: `text` needs Plan 9 on pdp11; got .*. Speak the texts elsewhere"):
        load("speech_espeak", "test")


@pytest.mark.network
def test_speech_is_the_same_each_time():
    small_list = [(voice, "Silence is golden.") for voice in ("en-us", "en-us+f4")]
    try:
        first, again = (espeak.spoken(small_list, 16_000, "load") for _ in range(2))
    except DataError as error:
        if any(words in str(error) for words in ("must be downloaded by", "must download within", "needs Linux on")):
            pytest.skip(f"PyPI cannot be reached, or the synthesiser is for other machines: {error}")
        raise
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert 16_000 < len(one) < 48_000 and 0.02 < one.std() < 0.3
    assert len(first[0]) != len(first[1])
