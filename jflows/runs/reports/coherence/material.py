"""`Material`: what all sections of the page are made from, and pictures of latents with captions; `Section`.

Read next: `base.py`, `attributes.py`, `classes.py`, the sections.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jflows.data import Data
from jflows.eval.captions import captioned_grid
from jflows.eval.coherence import Decoded, Embedded, LatentBase, decoded
from jflows.eval.coherence.base import Context
from jflows.flows import Flow
from jflows.runs.reports import html
from jflows.runs.reports.samples import contexts, pixel_bits
from jflows.typing import Variables

COLUMNS = 5  # of pictures, so that a row can be read on a phone
MOST_COLUMNS = 8  # of a table of numbers, of rows of tables
TEMPERATURE = 0.7


class Section(NamedTuple):
    """One section of the page.

    Attributes:
      title: a few words.
      see: one sentence that says what to look at.
      parts: the HTML of the section, part by part.
      numbers: what coherence.json holds of it.
      left_out: what was left out, and why, in sentences.
    """

    title: str
    see: str
    parts: list[str]
    numbers: dict[str, Any]
    left_out: tuple[str, ...] = ()


class Material(NamedTuple):
    """A flow, and the rows that are embedded.

    Attributes:
      flow, variables, base: the flow, and its base as the report asks it.
      train, test: the rows to fit to, and those to judge by, as the flow reads them.
      of_train, of_test: the latents of these rows.
      checked: further training rows, to which checks of samples are fitted.
      seed: seed of all draws.
      class_names: the names of the classes of the rows; () where they have none.
      title: what the report is about.
    """

    flow: Flow
    variables: Variables
    base: LatentBase
    train: Data
    test: Data
    of_train: Embedded
    of_test: Embedded
    checked: Data
    seed: int
    class_names: tuple[str, ...]
    title: str

    @property
    def has_pictures(self) -> bool:
        """Whether rows are images."""
        return self.flow.reading.kind.has_pixels

    @property
    def noun(self) -> str:
        """What rows are called: images or rows."""
        return self.flow.reading.kind.rows

    def contexts(self, num: int) -> Context:
        """The contexts of `num` draws: every class in turn, those of the first test rows, or None."""
        return contexts(self.flow, self.test, num, None)

    def decode(self, latents: np.ndarray, context: Context) -> Decoded:
        """Decodes latents [num, *latent_shape], each with its context."""
        return decoded(self.flow, self.variables, self.base, latents, context)

    def shown(
        self, found: Decoded, caption: str, *, headings: Sequence[str] = (), extra: Sequence[str] = ()
    ) -> list[str]:
        """Decoded rows with ln p(x) and ln p(u): a picture of images, or a table of rows.

        Args:
          headings: a name for each row, or none.
          extra: further text for each row, or none.
        """
        lines = [
            [
                *([headings[i]] if headings else []),
                f"ln p(x) {nats(found.log_prob[i])}",
                f"ln p(u) {nats(found.base_log_prob[i])}",
            ]
            + ([extra[i]] if extra else [])
            for i in range(len(found.x))
        ]
        if not self.has_pictures:
            return self._listed(found, caption, headings, extra)
        return [html.picture(self.grid(found.x, lines, COLUMNS), caption, full=True)]

    def grid(self, x: np.ndarray, lines: Sequence[Sequence[str]], columns: int, **options: Any):
        """A Pillow image of images [num, height, width, channels] with lines under each, filled up with white."""
        bits, columns = pixel_bits(self.flow), min(columns, len(x))
        rest = -len(x) % columns
        white = np.full((rest, *x.shape[1:]), 2**bits - 1, x.dtype)
        tiles = np.concatenate([x, white]).reshape(-1, columns, *x.shape[1:])
        texts = np.array([*("\n".join(each) for each in lines), *[""] * rest], object).reshape(-1, columns)
        return captioned_grid(tiles, texts.tolist(), num_bits=bits, **options)

    def _listed(self, found: Decoded, caption: str, headings: Sequence[str], extra: Sequence[str]) -> list[str]:
        names = self.test.columns[:MOST_COLUMNS]
        more = len(self.test.columns) - len(names)
        head = [*(["of"] if headings else []), *names, "ln p(x)", "ln p(u)", *(["ln p(c)"] if extra else [])]
        rows = []
        for i in range(len(found.x)):
            values = [f"{value:.4g}" for value in found.x[i].ravel()[: len(names)]]
            own = [nats(found.log_prob[i]), nats(found.base_log_prob[i])]
            last = [extra[i].removeprefix("ln p(c) ")] if extra else []
            rows.append([*([headings[i]] if headings else []), *values, *own, *last])
        note = f" The first {len(names)} of {len(names) + more} columns are shown." if more else ""
        return [html.paragraph(caption + note, "note"), html.table(head, rows)]


def nats(value: float) -> str:
    """A log density in nats with as many digits as are of use: -3.3e+12, -143,472, -1,234.5, 3.21."""
    if not np.isfinite(value):
        return "-inf" if value == -np.inf else "no number"
    size = abs(float(value))
    if size >= 1e7:
        return f"{value:.1e}"
    return f"{value:,.0f}" if size >= 10_000 else f"{value:,.1f}" if size >= 100 else f"{value:.2f}"
