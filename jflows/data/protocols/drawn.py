"""`Drawn`: a table whose rows are drawn from a density, by a seed for each split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from jflows.data.dataset import TableData
from jflows.data.kinds import TABLE, Kind
from jflows.data.protocols.base import KnownData, Places
from jflows.data.splits import SPLITS
from jflows.typing import Shape

NUM_ROWS: Mapping[str, int] = MappingProxyType({"train": 20000, "validation": 5000, "test": 10000})


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawn(KnownData):
    """A table whose rows are drawn from a density.

    Attributes:
      draw: `draw(num, seed=seed)` draws `num` independent rows.
    """

    kind: ClassVar[Kind] = TABLE
    has_validation: ClassVar[bool] = True
    protocol: ClassVar[str] = (
        f"{NUM_ROWS['train']:,} training, {NUM_ROWS['validation']:,} validation and {NUM_ROWS['test']:,} test rows are "
        "drawn, each split from a seed of its own."
    )

    draw: Callable[..., TableData]

    @property
    def event_shape(self) -> Shape:
        """Shape of one row: (dim,)."""
        return self._sample.event_shape

    @property
    def num_classes(self) -> int | None:
        """Number of parts of the density, by which rows are labelled; None if it has no parts."""
        return self._sample.num_classes

    @property
    def _sample(self) -> TableData:
        return self.draw(NUM_ROWS["validation"], seed=SPLITS.index("validation"))

    def load(self, split: str, num_validation: int, options: Mapping[str, Any], places: Places) -> TableData:
        """Draws one split; see `KnownData.load`."""
        del options, places
        self._refuse_num_validation(num_validation)
        return self.draw(NUM_ROWS[split], seed=SPLITS.index(split))
