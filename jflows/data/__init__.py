"""Data: known images and tables, toys in two dimensions, the user's own files; batches by step."""

from jflows.data import toys
from jflows.data.archives import Archive, cache_dir, fetch
from jflows.data.batches import TrainBatches, eval_batches
from jflows.data.dataset import SPLITS, Data, ImageData, TableData, reduce_bits
from jflows.data.labels import hide_labels
from jflows.data.loading import TABLE_NAMES, load
from jflows.data.sources import SOURCES, Source

__all__ = [
    "SOURCES",
    "SPLITS",
    "TABLE_NAMES",
    "Archive",
    "Data",
    "ImageData",
    "Source",
    "TableData",
    "TrainBatches",
    "cache_dir",
    "eval_batches",
    "fetch",
    "hide_labels",
    "load",
    "reduce_bits",
    "toys",
]
