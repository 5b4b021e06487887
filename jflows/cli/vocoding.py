"""The command `jflows vocode`."""

import click

from jflows.cli.groups import FlowCommand
from jflows.cli.run_options import open_run, run_options
from jflows.cli.types import COUNT, NumberType, PathType
from jflows.errors import InvalidValueError

SOURCES = ("input", "mel", "text")


@click.command(cls=FlowCommand)
@run_options
@click.option(
    "--input",
    type=PathType(),
    metavar="WAV",
    help="Recording whose mel spectrogram is turned back into speech: a WAV file of one channel and 16 bits, at the "
    "rate of the run's data.",
)
@click.option(
    "--mel",
    type=PathType(),
    metavar="NPZ",
    help="Mel spectrogram to turn into speech: an .npz file with the array mel, [frames, mels], and the settings by "
    "which it was made, which must be those of the run's data.",
)
@click.option(
    "--text", help="Text to speak: eSpeak NG speaks it, and the mel spectrogram of that is turned into speech."
)
@click.option("--voice", help="Voice of eSpeak NG for --text, such as en-us+f4. [default: en-us]")
@click.option("--out", type=PathType(".wav"), metavar="WAV", help="File to write. [default: RUN/vocode.wav]")
@click.option(
    "--temperature",
    type=NumberType(0),
    default=0.7,
    show_default=True,
    help="Factor of the latent's deviation. Below 1, speech has less noise; 1 samples the density itself.",
)
@click.option(
    "--chunk",
    type=COUNT,
    help="Number of frames that are drawn at once. Fewer need less memory, and more time for what chunks share; the "
    "speech stays the same. [default: four seconds]",
)
@click.option(
    "--figure",
    type=PathType(".png"),
    metavar="PNG",
    help="Picture to write of the first eight seconds, beside the recording and Griffin and Lim's algorithm.",
)
def vocode(run, weights, checkpoint, seed, voice, out, temperature, chunk, figure, **sources) -> None:
    """Turn a recording, a mel spectrogram or a text into speech, by a flow of waveforms.

    Speech of any length is drawn chunk by chunk, in memory that does not grow. The line that is printed tells its
    distance: the mean difference of its log mel spectrogram from the given one, in nats.
    """
    given = {name: value for name, value in sources.items() if value is not None}
    if len(given) != 1:
        rule, got = "must be given, one of the three", ", ".join(f"--{name}" for name in given) or "none"
        raise InvalidValueError("vocode", SOURCES, rule, got)
    if voice is not None and "text" not in given:
        raise InvalidValueError("vocode", "voice", "is for {text} alone", repr(voice), "Leave it out.")
    path = run / "vocode.wav" if out is None else out
    if "input" in given and path.resolve() == given["input"].resolve():
        rule, fix = "must be another file than {input}, which it would replace", "Give {out} another name."
        raise InvalidValueError("vocode", "out", rule, path, fix)
    from jflows.runs import vocoding

    vocoder = vocoding.Vocoder(open_run(run, weights, checkpoint))
    options = {"temperature": temperature, "seed": seed, "chunk": chunk}
    with vocoder.source(**given, voice=voice) as (frames, original):
        found = vocoder.save(frames, path, **options)
        click.echo(in_words(found))
        if figure is not None:
            distances = vocoder.draw(path, frames, figure, original)
            shown = ", ".join(f"{name} {distance:.3f}" for name, distance in distances.items())
            click.echo(f"distances of what is drawn in {figure}: {shown} nats")


def in_words(found) -> str:
    """What was written, how fast, and how near it is to what was given."""
    seconds = found.num_samples / found.rate
    speed = f", {found.speed:.1f} times as fast as it sounds" if found.speed == found.speed else ""
    clipped = f"; {found.num_clipped:,} samples were too loud and are clipped" if found.num_clipped else ""
    return f"{seconds:.2f} s of speech in {found.path}{speed}; distance {found.distance:.3f} nats{clipped}"
