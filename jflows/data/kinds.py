"""`Kind`: a kind of data, with all that differs between kinds: `IMAGES`, `TABLE`, `WAVEFORMS` and `NONE`.

Data, known data sets, dequantization and densities state their kind. Nobody asks which one it is: what a kind allows,
and what it is called, is an attribute here, so that a further kind is one more constant.
"""

import dataclasses
from types import MappingProxyType


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
      name: its name in tables of data sets and in messages.
      noun: what data of this kind are called, after "must be".
      plural: several data of this kind, after "a flow of".
      rows: what their rows are called.
      has_rows: whether there are rows, which can be scored; a kind without fits every density, as the loss draws x.
      has_pixels: whether rows are images of integers, which can be mirrored and drawn in a grid.
      has_columns: whether rows are numbers in columns, which can be standardised and written to a table.
    """

    name: str
    noun: str
    plural: str
    rows: str
    has_rows: bool = True
    has_pixels: bool = False
    has_columns: bool = False

    def __str__(self) -> str:
        return self.name


IMAGES = Kind("images", "images", "images", "images", has_pixels=True)
TABLE = Kind("table", "a table", "tables", "rows", has_columns=True)
WAVEFORMS = Kind("waveforms", "waveforms", "waveforms", "clips")
NONE = Kind("none", "no data", "no data", "samples", has_rows=False)

OF_FLOATS = MappingProxyType({kind.name: kind for kind in (TABLE, WAVEFORMS)})
"""The kinds of data that are floats as they come, by their names."""
