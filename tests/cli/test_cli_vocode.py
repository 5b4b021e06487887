"""`jflows vocode`: recordings, mel spectrograms and texts to speech, and what is refused with one line."""

import dataclasses
import re
import wave

import numpy as np
import pytest

import jflows as package
from jflows.cli.vocoding import in_words
from jflows.data.audio import MelSetting, log_mel
from jflows.data.audio.frames import read_mel
from jflows.data.audio.wav import WavFile, writing
from jflows.data.known.speech_espeak import DATA
from jflows.data.store import espeak
from jflows.runs.trained import TrainedRun
from jflows.runs.vocoding import Vocoded, Vocoder

RATE, SIZE = 16_000, 4096
TINY = dict(num_levels=1, num_steps=1, width=2, num_layers=1, group=16, context_width=2)


def noise(pairs, rate, where):
    random = np.random.default_rng(0)
    return [0.1 * random.standard_normal(SIZE + 1000).astype(np.float32) for _ in pairs]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run on noise in the place of speech."""
    out = tmp_path_factory.mktemp("vocode") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(espeak, "spoken", noise)
        options = dict(
            steps=2, batch_size=4, parallel="none", init_batch=4, num_train=8, steps_per_call=1, eval_batch_size=128
        )
        package.run("waveglow", out, data=DATA.name, progress=False, **TINY, **options)
    return out


@pytest.fixture
def recording(tmp_path):
    samples = noise([0], RATE, "")[0]
    with writing(tmp_path / "in.wav", RATE) as writer:
        writer.write(np.tile(samples, 3))
    return tmp_path / "in.wav"


def samples_of(path):
    file = WavFile(path, RATE, "test")
    found = file.read(0, file.num_samples)
    file.close()
    return found


def test_a_recording_comes_out_at_its_length_whatever_the_chunks(jflows, run, recording, tmp_path):
    outs = [tmp_path / f"{name}.wav" for name in ("whole", "chunks")]
    for out, more in zip(outs, ([], ["--chunk", "10", "--figure", tmp_path / "a.png"]), strict=True):
        done = jflows("vocode", run, "--input", recording, "--out", out, *more)
        assert done.exit_code == 0, done.stderr
        assert f"0.96 s of speech in {out}" in done.stdout.replace("\n", " ")
    whole, chunks = map(samples_of, outs)
    assert len(whole) == 60 * 256 >= 3 * (SIZE + 1000) > len(whole) - 256
    assert np.abs(whole - chunks).max() <= 1 / 2**15 and whole.std() > 0.01
    assert "times as fast as it sounds; distance" in done.stdout and "Griffin-Lim, 60 iterations" in done.stdout
    assert (tmp_path / "a.png").stat().st_size < 300_000


def test_a_mel_spectrogram_and_a_text_do_as_the_recording(jflows, run, recording, tmp_path, monkeypatch):
    mel = log_mel(samples_of(recording), DATA.mel)
    np.savez(tmp_path / "a.npz", mel=mel, **dataclasses.asdict(DATA.mel))
    monkeypatch.setattr(espeak, "spoken", lambda pairs, rate, where: [samples_of(recording)])
    vocoder = Vocoder(TrainedRun.open(run))
    sources = {"input": recording, "mel": tmp_path / "a.npz", "text": "Yes."}
    found = {}
    for name, value in sources.items():
        with vocoder.source(**{name: value}) as (frames, original):
            found[name] = frames.read(3, 9)
            assert (original is None) == (name == "mel")
    np.testing.assert_allclose(found["mel"], found["input"], atol=1e-5)
    np.testing.assert_allclose(found["text"], found["input"], atol=1e-5)
    done = jflows("vocode", run, "--text", "Yes.", "--voice", "en-us")
    assert done.exit_code == 0 and f"0.96 s of speech in {run / 'vocode.wav'}" in done.stdout.replace("\n", " ")


def other_wav(path, channels=1, rate=RATE, num=5000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * num * channels))
    return path


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"rate": 22_050}, "`--input` must have 16,000 samples a second; got 22,050 in"),
        ({"channels": 2}, "`--input` must have one channel; got 2 channels in"),
        ({"num": 1000}, "`--input` must have at least 1,024 samples, one window of the mel spectrogram; got 1,000."),
    ],
)
def test_recordings_that_do_not_fit_are_refused_with_one_line(jflows, run, tmp_path, form, message):
    done = jflows("vocode", run, "--input", other_wav(tmp_path / "in.wav", **form), "--out", tmp_path / "out.wav")
    assert done.exit_code == 2 and done.stderr.startswith(f"jflows: vocode: {message}") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.wav").exists()


def test_other_mistakes_are_refused_with_one_line(jflows, run, recording, trained, tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", mel=np.zeros((9, 80)), **dataclasses.asdict(MelSetting()))
    before = recording.read_bytes()
    cases = {
        ("vocode", run): "`--input, --mel, --text` must be given, one of the three; got none.",
        ("vocode", run, "--input", recording, "--text", "Yes."): "one of the three; got --input, --text.",
        ("vocode", run, "--input", recording, "--out", recording): "`--out` must be another file than --input, which",
        (
            "vocode",
            run,
            "--input",
            recording,
            "--voice",
            "en",
        ): "`--voice` is for --text alone; got 'en'. Leave it out.",
        (
            "vocode",
            run,
            "--mel",
            tmp_path / "a.npz",
        ): "`--mel` must be made with floor=0.001, as those that the run was",
        ("vocode", trained, "--input", recording): "must be one of waveglow; got",
        ("pairs", run): f"must be that of a table; got {run}, of waveforms.",
        ("reconstruct", run): f"must be that of a flow of images, to draw them; got {run}, a flow of waveforms.",
        ("vocode", run, "--input", recording, "--chunk", "0"): "0 is not in the range 1<=x",
    }
    monkeypatch.setattr(espeak, "spoken", noise)
    for args, message in cases.items():
        done = jflows(*args)
        assert done.exit_code == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert recording.read_bytes() == before


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        (np.zeros((3, 80)), "must have at least 4 frames, one window of the mel spectrogram; got 3 in"),
        (np.zeros((9, 79)), "must hold floats [frames, 80] under the key mel; got float64 of shape (9, 79) in"),
        (np.full((9, 80), np.nan), "must hold natural logarithms between -6.908 and 3.527, as waveforms"),
        (
            np.full((9, 80), -60.0),
            "and 3.527, as waveforms in [-1, 1] have; got -60 to -60 in",
        ),  # decibels of the floor
        (np.full((9, 80), 5.0), "and 3.527, as waveforms in [-1, 1] have; got 5 to 5 in"),
    ],
)
def test_mels_that_no_waveform_has_are_refused(tmp_path, mel, message):
    np.savez(tmp_path / "a.npz", mel=mel, **dataclasses.asdict(DATA.mel))
    with pytest.raises(package.errors.DataError, match="vocode: `mel` .*" + re.escape(message)):
        read_mel(tmp_path / "a.npz", DATA.mel, "vocode")


def test_the_range_of_log_mels_is_that_of_waveforms():
    """A loud tone is below the bound by less than 1.5 nats; silence is its other end."""
    low, high = DATA.mel.log_range
    tones = np.sin(2 * np.pi * np.arange(1, 8)[:, None] * 62.5 * np.arange(4096) / RATE)
    found = max(log_mel(tone, DATA.mel).max() for tone in tones)
    assert high - 1.5 < found < high and low == log_mel(np.zeros(4096), DATA.mel).max()


def test_contexts_that_are_no_mels_are_refused(run):
    trained = TrainedRun.open(run)
    facts = {name: fact for name, fact in trained.stored.facts.items() if name != "mel"}
    other = dataclasses.replace(trained, stored=trained.stored._replace(facts=facts))
    with pytest.raises(
        package.InvalidValueError, match="`run` must be one of data that say how their mel spectrograms"
    ):
        Vocoder(other)


def test_clipped_samples_are_told(tmp_path):
    found = Vocoded(tmp_path / "a.wav", 32_000, 7, RATE, 0.5, 0.25)
    wanted = "2.00 s of speech in {}, 4.0 times as fast as it sounds; distance 0.250 nats; 7 samples were too loud"
    assert in_words(found).startswith(wanted.format(tmp_path / "a.wav"))
