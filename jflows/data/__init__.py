"""Data: known images and tables, toys in two dimensions, the user's own files; batches by step."""

from jflows.data import toys
from jflows.data.archives import Archive, cache_dir, fetch
from jflows.data.batches import TrainBatches, eval_batches
from jflows.data.dataset import SPLITS, Data, ImageData, NoData, TableData, reduce_bits
from jflows.data.labels import hide_labels, only_classes
from jflows.data.loading import NUM_FOLDS, TABLE_NAMES, has_validation, load
from jflows.data.sources import SOURCES, Source
from jflows.data.table_files import TABLE_SUFFIXES

__all__ = [
    "NUM_FOLDS",
    "SOURCES",
    "SPLITS",
    "TABLE_NAMES",
    "TABLE_SUFFIXES",
    "Archive",
    "Data",
    "ImageData",
    "NoData",
    "Source",
    "TableData",
    "TrainBatches",
    "cache_dir",
    "eval_batches",
    "fetch",
    "has_validation",
    "hide_labels",
    "load",
    "only_classes",
    "reduce_bits",
    "toys",
]
