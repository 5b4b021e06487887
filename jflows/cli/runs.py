"""The commands that need only a run directory: evaluate, sample, interpolate, reconstruct."""

from pathlib import Path

import click
import jax

from jflows.cli import mixture_output, pictures, table_output
from jflows.cli.datasets import is_table, pixel_bits, read_options, run_data, run_images, sample_labels, summary
from jflows.cli.progress import counting
from jflows.data import ImageData, eval_batches
from jflows.errors import InvalidValueError
from jflows.eval import evaluate as evaluate_flow
from jflows.flows import Flow, MixtureOfFlows
from jflows.train import load as load_run
from jflows.train import read_config
from jflows.typing import Variables

IMAGE_TEMPERATURE = 0.7  # of samples of images, as in the pictures of Kingma and Dhariwal 2018, section 5


def evaluate(
    run: Path,
    weights: str,
    checkpoint: str | int,
    seed: int,
    data: str | None,
    split: str,
    num_draws: int,
    batch_size: int,
) -> None:
    """Prints bits/dim of one split of images, or nats of one of a table."""
    flow, variables = load_run(run, weights=weights, checkpoint=checkpoint)
    rows = run_data(run, flow, data, split)
    batches = eval_batches(rows, batch_size, **read_options(flow))
    with counting("evaluating", len(rows), is_table(flow)) as on_batch:
        result = evaluate_flow(flow, variables, batches, jax.random.key(seed), num_draws, on_batch)
    click.echo(summary(flow, result, f"{split} {'rows' if is_table(flow) else 'images'} of {rows.name}"))
    if isinstance(flow, MixtureOfFlows):
        found = mixture_output.summary(mixture_output.report_on(flow, variables, rows, batch_size))
        click.echo(mixture_output.in_words(found))


def sample(
    run: Path,
    weights: str,
    checkpoint: str | int,
    seed: int,
    num: int,
    temperature: float | None,
    label: int | None,
    columns: int | None,
    out: Path | None,
) -> None:
    """Writes a grid of images, or the rows of a table."""
    flow, variables = load_run(run, weights=weights, checkpoint=checkpoint)
    context = None if isinstance(flow, MixtureOfFlows) else sample_labels(flow, num, label)
    table = is_table(flow)
    temperature = (1.0 if table else IMAGE_TEMPERATURE) if temperature is None else temperature
    path = out or run / ("sample.csv" if table else "sample.png")
    if path.suffix.lower() not in (suffixes := table_output.SUFFIXES if table else (".png",)):
        rule = f"must end in {' or '.join(suffixes)} for {'a table' if table else 'images'}"
        raise InvalidValueError("sample", "out", rule, str(path))
    if table and columns is not None:
        raise InvalidValueError("sample", "columns", "is for images, not for a table", columns, "Leave it out.")
    key = jax.random.key(seed)
    if isinstance(flow, MixtureOfFlows) and label is not None:
        samples = mixture_output.samples_of(flow, variables, key, num, label, temperature)
    else:
        samples = pictures.draw(flow, variables, key, num, context, temperature)
    if table:
        table_output.save_rows(samples, read_config(run).get("column_names"), path)
    else:
        pictures.save_grid(samples, path, pixel_bits(flow), columns)
    click.echo(f"{num} samples at temperature {temperature:g} in {path}")


def interpolate(
    run: Path,
    weights: str,
    checkpoint: str | int,
    seed: int,
    data: str | None,
    split: str,
    num_pairs: int,
    num_steps: int,
    mode: str,
    out: Path | None,
) -> None:
    """Writes a picture of latent paths, one row per pair of images."""
    flow, variables, images = _load_images(run, weights, checkpoint, data, split)
    path = out or run / "interpolation.png"
    pictures.interpolation(
        flow, variables, images, path, seed=seed, num_pairs=num_pairs, num_steps=num_steps, mode=mode
    )
    click.echo(f"{num_pairs} {mode} paths between {split} images of {images.name} in {path}")


def reconstruct(
    run: Path,
    weights: str,
    checkpoint: str | int,
    seed: int,
    data: str | None,
    split: str,
    num: int,
    out: Path | None,
) -> None:
    """Writes images, their reconstructions and the error, and prints its maximum."""
    flow, variables, images = _load_images(run, weights, checkpoint, data, split)
    path = out or run / "reconstruction.png"
    error = pictures.reconstruction(flow, variables, images, path, seed=seed, num=num)
    click.echo(
        f"largest |decode(encode(x)) - x| over {num} {split} images: {error:.3g} pixel levels; picture in {path}"
    )


def _load_images(
    run: Path, weights: str, checkpoint: str | int, data: str | None, split: str
) -> tuple[Flow, Variables, ImageData]:
    flow, variables = load_run(run, weights=weights, checkpoint=checkpoint)
    images = run_images(run, flow, data, split)
    assert isinstance(flow, Flow)
    return flow, variables, images
