"""Data: known images and tables, toys in two dimensions, your own files; and batches of them, by step."""

from jflows.data import toys
from jflows.data.base import Data
from jflows.data.batches import TrainBatches, eval_batches
from jflows.data.dataset import ImageData, NoData, TableData, reduce_bits
from jflows.data.domains import Domains
from jflows.data.files import FORMATS, FileFormat
from jflows.data.known import KNOWN
from jflows.data.labels import hide_labels, only_classes
from jflows.data.load import has_validation, load
from jflows.data.protocols.base import KnownData
from jflows.data.protocols.tables import NUM_FOLDS
from jflows.data.reading import Reading, check_batch_values
from jflows.data.splits import SPLITS
from jflows.data.statistics import Statistics
from jflows.data.store.archives import Archive, cache_dir, fetch
from jflows.data.waveforms import WaveformData

__all__ = [
    "FORMATS",
    "KNOWN",
    "NUM_FOLDS",
    "SPLITS",
    "Archive",
    "Data",
    "Domains",
    "FileFormat",
    "ImageData",
    "KnownData",
    "NoData",
    "Reading",
    "Statistics",
    "TableData",
    "TrainBatches",
    "WaveformData",
    "cache_dir",
    "check_batch_values",
    "eval_batches",
    "fetch",
    "has_validation",
    "hide_labels",
    "load",
    "only_classes",
    "reduce_bits",
    "toys",
]
