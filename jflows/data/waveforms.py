"""`WaveformData`: clips of waveforms, all of one length, each with the features that it is conditioned on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jflows.data.audio import MelSetting
from jflows.data.base import Data
from jflows.data.checks import as_array, check_context
from jflows.data.kinds import WAVEFORMS, Kind
from jflows.data.statistics import Statistics, moments
from jflows.errors import DataError


@dataclass(frozen=True, eq=False, repr=False)
class WaveformData(Data):
    """Clips of waveforms, checked at construction.

    Attributes:
      name: name of the data, for messages and file names.
      x: finite floats [num, samples], in [-1, 1] as a rule; float32 is stored.
      context: finite numbers [num, frames, channels], such as mel spectrograms; None for no context.
      mel: the setting by which contexts were made of x, which a run stores; None if they were made otherwise.
      weight: how much each clip counts: finite numbers [num], at least 0 and not all 0, or None for all alike.
    Raises:
      DataError: if dtype, rank, values, contexts or weights break these rules.
    Example:
      >>> WaveformData("noise", np.random.default_rng(0).normal(size=(4, 512)), np.zeros((4, 2, 80)))
      WaveformData('noise', 4 clips of 512 samples, context of shape (2, 80))
    """

    kind: ClassVar[Kind] = WAVEFORMS
    label: ClassVar[None] = None
    num_classes: ClassVar[None] = None
    partly_labelled: ClassVar[bool] = False

    name: str
    x: np.ndarray
    context: np.ndarray | None = None
    mel: MelSetting | None = None
    weight: np.ndarray | None = None

    def __post_init__(self):
        where = f"WaveformData {self.name!r}"
        x = as_array(self.x, where, "x")
        if x.ndim != 2 or 0 in x.shape:
            raise DataError(where, "x", "must be [num, samples] with no empty axis", f"shape {x.shape}")
        if x.dtype.kind != "f":
            fix = "Convert 16-bit samples: (x / 2**15).astype(np.float32)."
            raise DataError(where, "x", "must hold floats", f"dtype {x.dtype}", fix)
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if bad.size:
            got = f"NaN or infinity in clip {bad[0]} ({bad.size} bad clips)"
            raise DataError(where, "x", "must be finite", got, "Remove these clips.")
        object.__setattr__(self, "x", np.ascontiguousarray(x, np.float32))
        if self.context is not None:
            object.__setattr__(self, "context", check_context(self.context, where, len(x)))
        self._check_weight()

    def statistics(
        self, before: Callable[[np.ndarray], np.ndarray] | None = None, covariance: bool = False
    ) -> Statistics:
        """Mean and deviation of each sample of a clip, and of each entry of the context."""
        x = self.x[self._counts]
        found = moments(x if before is None else before(x), self._weight_that_counts)
        statistics = Statistics(found.mean, found.deviation, *self._context_moments())
        return self._with_covariance(statistics, before) if covariance else statistics

    def _facts(self) -> tuple[str, ...]:
        return repr(self.name), f"{len(self):,} clips of {self.x.shape[1]:,} samples"
