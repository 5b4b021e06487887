"""The commands that need only a run directory: evaluate, sample, interpolate, reconstruct."""

from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

from jflows.cli import pictures
from jflows.cli.progress import counting
from jflows.data import SOURCES, TABLE_NAMES, ImageData, eval_batches, load
from jflows.errors import DataError, InvalidValueError, did_you_mean
from jflows.eval import evaluate as evaluate_flow
from jflows.flows import Flow
from jflows.train import load as load_run
from jflows.train import read_config


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
    """Prints bits/dim of one split."""
    flow, variables = load_run(run, weights=weights, checkpoint=checkpoint)
    images = run_data(run, flow, data, split)
    batches = eval_batches(images, batch_size, num_bits=pixel_bits(flow), labels=takes_labels(flow))
    with counting("evaluating", len(images)) as on_batch:
        result = evaluate_flow(flow, variables, batches, jax.random.key(seed), num_draws, on_batch)
    click.echo(
        f"{result.bits_per_dim:.4f} ± {result.standard_error:.4f} bits/dim ({result.nats:.2f} nats per image) on "
        f"{result.num_examples:,} {split} images of {images.name}"
    )


def sample(
    run: Path,
    weights: str,
    checkpoint: str | int,
    seed: int,
    num: int,
    temperature: float,
    label: int | None,
    columns: int | None,
    out: Path | None,
) -> None:
    """Writes a grid of samples."""
    flow, variables = load_run(run, weights=weights, checkpoint=checkpoint)
    context = sample_labels(flow, num, label)
    images = pictures.draw(flow, variables, jax.random.key(seed), num, context, temperature)
    path = out or run / "sample.png"
    pictures.save_grid(images, path, pixel_bits(flow), columns)
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
    flow, variables = load_run(run, weights=weights, checkpoint=checkpoint)
    images = run_data(run, flow, data, split).reduced(pixel_bits(flow))
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
    flow, variables = load_run(run, weights=weights, checkpoint=checkpoint)
    images = run_data(run, flow, data, split).reduced(pixel_bits(flow))
    path = out or run / "reconstruction.png"
    error = pictures.reconstruction(flow, variables, images, path, seed=seed, num=num)
    click.echo(
        f"largest |decode(encode(x)) - x| over {num} {split} images: {error:.3g} pixel levels; picture in {path}"
    )


def run_data(run: Path, flow: Flow, name: str | None, split: str) -> ImageData:
    """The images that a flow is asked about, checked to fit it.

    Args:
      name: data set or path; None takes the one stored in the run.
    Raises:
      DataError: if they cannot be had, or do not fit the flow.
    """
    config = read_config(run)
    chosen = name or config.get("data", "")
    height, width, _ = flow.event_shape
    try:
        images = load_images({**config, "data": chosen}, split, size=(height, width))
    except DataError as error:
        if name is not None:
            raise
        fix = error.fix if "--data" in error.fix else f"{error.fix} Or name other data by --data."
        raise DataError(error.where, error.argument, error.rule, error.got, fix.strip()) from error
    check_fit(flow, images)
    return images


def load_images(config: dict[str, Any], split: str, size: tuple[int, int] | None = None) -> ImageData:
    """The split of a config's data; folders are resized to `size` if the config asks for resizing."""
    name = config["data"]
    if name in TABLE_NAMES:
        raise _not_images(name)
    if name not in SOURCES and not Path(name).expanduser().exists():
        rule = f"must be one of {', '.join(SOURCES)}, or the path of a folder of images or an .npz file"
        raise DataError("data", "--data", rule, repr(name), f"{did_you_mean(name, SOURCES)}Check the path.")
    resize = size if config.get("image_size") and Path(name).expanduser().is_dir() else None
    data = load(name, split, num_validation=config.get("num_validation", 0), size=resize)
    if not isinstance(data, ImageData):
        raise _not_images(name)
    return data


def _not_images(name: str) -> DataError:
    return DataError("data", "--data", "must hold images, for a flow of images", f"the table {name!r}", "Name others.")


def check_fit(flow: Flow, images: ImageData) -> None:
    """Raises `DataError` unless the flow can score these images."""
    where = f"data {images.name!r}"
    if images.event_shape != flow.event_shape:
        rule = f"must have the shape of the flow's data, {flow.event_shape}"
        raise DataError(where, "x", rule, f"shape {images.event_shape}", "Choose other data by --data.")
    if images.num_bits < pixel_bits(flow):
        rule = f"must have at least the {pixel_bits(flow)} bits of the flow's data"
        raise DataError(where, "num_bits", rule, images.num_bits, "Choose other data by --data.")
    classes = num_classes(flow)
    if classes is not None and images.num_classes is not None and images.num_classes > classes:
        rule = f"must be labels of the flow's {classes} classes"
        raise DataError(where, "label", rule, f"{images.num_classes} classes", "Choose other data by --data.")


def pixel_bits(flow: Flow) -> int:
    """Bits of the integers that the flow models."""
    return 8 if flow.dequantize is None else flow.dequantize.num_bits


def takes_labels(flow: Flow) -> bool:
    """Whether the flow's context is a class label."""
    return flow.context_shape is not None


def num_classes(flow: Flow) -> int | None:
    """Classes of the flow's label embedding, or None."""
    return getattr(flow.embed, "num_classes", None)


def sample_labels(flow: Flow, num: int, label: int | None) -> np.ndarray | None:
    """The labels of `num` samples: all `label`, or all classes in turn.

    Raises:
      InvalidValueError: if the flow knows no such label.
    """
    classes = num_classes(flow)
    if classes is None:
        if label is not None:
            fix = "Leave it out, or train with --class-conditional."
            raise InvalidValueError("sample", "--label", "needs a class-conditional flow", label, fix)
        return None
    if label is None:
        return np.arange(num, dtype=np.int32) % classes
    if not 0 <= label < classes:
        raise InvalidValueError("sample", "--label", f"must be 0 to {classes - 1}", label)
    return np.full(num, label, np.int32)
