"""The data of a run, checked to fit its flow: images for a flow of images, a table for a flow of vectors."""

from pathlib import Path
from typing import Any

import numpy as np

from jflows.data import FORMATS, KNOWN, Data, ImageData, Reading, TableData, load, only_classes
from jflows.errors import DataError, InvalidValueError, did_you_mean
from jflows.eval import Evaluation
from jflows.flows import Density, Flow
from jflows.train import ImageConfig, TrainConfig, read_config


def run_data(run: Path, flow: Density, name: str | None, split: str) -> Data:
    """The data that a flow is asked about, checked to fit it.

    Args:
      name: data set or path; None takes the one stored in the run.
    Raises:
      DataError: if they cannot be had, or do not fit the flow.
    """
    config = read_config(run)
    settings = {**config, "data": name or config.get("data", "")}
    if is_table(flow) and name is not None and name not in KNOWN:
        settings["columns"] = config.get("column_names", ())  # by name, in whatever order this file has them
    try:
        data = load_table(settings, split) if is_table(flow) else load_images(settings, split, flow.event_shape[:2])
    except InvalidValueError as error:
        if error.settings != ("columns",):
            raise
        rule = f"must have the columns of the run, {', '.join(config.get('column_names', ()))}"
        raise DataError(f"data {name!r}", "--data", rule, error.got, "Rename them.") from error
    except DataError as error:
        if name is not None:
            raise
        fix = error.fix if "--data" in error.fix else f"{error.fix} Or name other data by --data."
        raise DataError(error.where, error.settings, error.rule, error.got, fix.strip()) from error
    check_fit(flow, data)
    return data


def run_images(run: Path, flow: Density, name: str | None, split: str) -> ImageData:
    """As `run_data`, with the bits of the flow.

    Raises:
      InvalidValueError: for a flow of tables, or a mixture, which has no one latent space.
    """
    if is_table(flow) or not isinstance(flow, Flow):
        rule = "must be that of a flow of images, to draw them"
        got = (
            f"{run}, a {'flow' if isinstance(flow, Flow) else 'mixture'} of {'tables' if is_table(flow) else 'images'}"
        )
        raise InvalidValueError("pictures", "run", rule, got, "Try `jflows sample`.")
    images = run_data(run, flow, name, split)
    assert isinstance(images, ImageData)
    return images.reduced(pixel_bits(flow))


def load_config_data(config: TrainConfig, split: str) -> Data:
    """The split of the data that a config names."""
    if not isinstance(config, ImageConfig):
        return load_table(config.to_json(), split)
    return load_images(config.to_json(), split, (config.image_size, config.image_size))


def load_images(config: dict[str, Any], split: str, size: tuple[int, ...]) -> ImageData:
    """The split of a config's images; folders are resized to `size` if the config asks for resizing."""
    name = config["data"]
    suffix = Path(name).suffix
    if name in _known("table") or (suffix in FORMATS and "images" not in FORMATS[suffix].kinds):
        raise _not_images(name)
    if name not in KNOWN and not Path(name).expanduser().exists():
        rule = f"must be one of {', '.join(_known('images'))}, or the path of a folder of images or an .npz file"
        raise DataError("data", "--data", rule, repr(name), f"{did_you_mean(name, _known('images'))}Check the path.")
    resize = (size[0], size[1]) if config.get("image_size") and Path(name).expanduser().is_dir() else None
    data = load(name, split, num_validation=config.get("num_validation", 0), size=resize)
    if not isinstance(data, ImageData):
        raise _not_images(name)
    return data


def load_table(config: dict[str, Any], split: str) -> TableData:
    """The split of a config's table."""
    name = config["data"]
    if name in _known("images"):
        fix = "Those in logit space are tables: mnist_logit, cifar10_logit."
        raise DataError("data", "--data", "must be a table, for a flow of vectors", f"the images {name!r}", fix)
    if name not in KNOWN and not Path(name).expanduser().exists():
        rule = f"must be one of {', '.join(_known('table'))}, or the path of a .csv, .tsv, .parquet, .npy or .npz file"
        raise DataError("data", "--data", rule, repr(name), f"{did_you_mean(name, _known('table'))}Check the path.")
    given = {option: config[option] for option in ("columns", "fold", "manual_dir") if config.get(option)}
    data = load(name, split, num_validation=config.get("num_validation", 0), **given)
    if not isinstance(data, TableData):
        raise DataError("data", "--data", "must be a table, for a flow of vectors", f"the images {name!r}")
    if config.get("classes"):
        data = only_classes(data, config["classes"])
    num = config.get("num_train", 0) if split == "train" else 0
    return data.take(np.arange(num)) if 0 < num < len(data) else data


def _known(kind: str) -> list[str]:
    return [name for name, known in KNOWN.items() if known.kind == kind]


def _not_images(name: str) -> DataError:
    return DataError("data", "--data", "must hold images, for a flow of images", f"the table {name!r}", "Name others.")


def check_fit(flow: Density, data: Data) -> None:
    """Raises `DataError` unless the flow can score these data."""
    where = f"data {data.name!r}"
    if data.event_shape != flow.event_shape:
        rule = f"must have the shape of the flow's data, {flow.event_shape}"
        raise DataError(where, "x", rule, f"shape {data.event_shape}", "Choose other data by --data.")
    if isinstance(data, ImageData) and data.num_bits < pixel_bits(flow):
        rule = f"must have at least the {pixel_bits(flow)} bits of the flow's data"
        raise DataError(where, "num_bits", rule, data.num_bits, "Choose other data by --data.")
    classes = num_classes(flow)
    if classes is not None and data.num_classes is not None and data.num_classes > classes:
        rule = f"must be labels of the flow's {classes} classes"
        raise DataError(where, "label", rule, f"{data.num_classes} classes", "Choose other data by --data.")


def is_table(flow: Density) -> bool:
    """Whether the flow is one of vectors."""
    return len(flow.event_shape) == 1


def read_options(flow: Density) -> dict[str, Reading]:
    """How `eval_batches` is to read data for this flow."""
    return {"reading": flow.reading}


def summary(flow: Density, score: Evaluation, of_what: str) -> str:
    """One line: the score in the unit of the field, with its standard error, and in the other unit."""
    nats = f"{score.nats:.4f} ± {score.nats_standard_error:.4f} nats"
    bits = f"{score.bits_per_dim:.4f} ± {score.standard_error:.4f} bits/dim"
    first, second = (nats, bits) if is_table(flow) else (bits, nats)
    return f"{first} ({second}) on {score.num_examples:,} {of_what}"


def pixel_bits(flow: Density) -> int:
    """Bits of the integers that a flow of images models."""
    return 8 if flow.dequantize is None else flow.dequantize.num_bits


def num_classes(flow: Density) -> int | None:
    """Classes of the flow's label embedding, or None."""
    return getattr(getattr(flow, "embed", None), "num_classes", None)


def sample_labels(flow: Density, num: int, label: int | None) -> np.ndarray | None:
    """The labels of `num` samples: all `label`, or all classes in turn.

    Raises:
      InvalidValueError: if the flow knows no such label.
    """
    classes = num_classes(flow)
    if classes is None:
        if label is not None:
            fix = "Leave it out." if is_table(flow) else "Leave it out, or train with --class-conditional."
            raise InvalidValueError("sample", "--label", "needs a class-conditional flow", label, fix)
        return None
    if label is None:
        return np.arange(num, dtype=np.int32) % classes
    if not 0 <= label < classes:
        raise InvalidValueError("sample", "--label", f"must be 0 to {classes - 1}", label)
    return np.full(num, label, np.int32)
