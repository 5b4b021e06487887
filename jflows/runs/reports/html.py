"""One HTML page with everything in it: no script, no network, readable on a phone. Parts are strings, escaped here."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jflows.eval import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

PALETTE = 256
QUALITY = 84  # of JPEG
READABLE = 540  # pixels: pictures are not shrunk further on a narrow screen, but scroll
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #282828; background: #fff; margin: 0 auto; max-width: 1180px;
  padding: 0 16px 48px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 28px 0 8px; }
h2 { font-size: 1.2rem; margin: 40px 0 4px; padding-top: 14px; border-top: 1px solid #d8d8d8; }
h3, summary { font-size: 1rem; font-weight: 700; margin: 26px 0 4px; }
summary { cursor: pointer; }
p { margin: 6px 0 12px; max-width: 70ch; }
p.see { font-weight: 600; }
p.note, figcaption, .left-out { color: #666; font-size: .9rem; }
figure { margin: 12px 0 20px; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
.scroll img { display: block; max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; margin: 6px 0 14px; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid #ececec; white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
th.words, td.words { white-space: normal; min-width: 16em; text-align: left; }
nav { font-size: .95rem; margin: 10px 0; }
nav a { margin-right: 14px; color: #2f5d9b; }
"""


def text(value: object) -> str:
    """Any value as text of a page."""
    return html.escape(str(value), quote=True)


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph; its kind is "see" (what to look at), "note", or none."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def heading(words: str) -> str:
    """A heading inside a section."""
    return f"<h3>{text(words)}</h3>"


def folded(words: str, parts: Iterable[str], is_open: bool) -> str:
    """Parts under a heading, which is clicked to open and to close them; browsers do so without any script."""
    body = "\n".join(parts)
    return f"<details{' open' if is_open else ''}><summary>{text(words)}</summary>\n{body}</details>"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], words: Sequence[int] = ()) -> str:
    """A table that scrolls sideways where it is wider than the screen.

    Args:
      head: the head of each column.
      rows: the cells, of which numbers come as text.
      words: the positions of columns of sentences, which are wrapped.
    """
    kind = lambda place: ' class="words"' if place in words else ""
    cells = lambda row: "".join(f"<td{kind(place)}>{text(cell)}</td>" for place, cell in enumerate(row))
    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows)
    top = "".join(f"<th{kind(place)}>{text(cell)}</th>" for place, cell in enumerate(head))
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(image: "Image", caption: str, full: bool = False) -> str:
    """A picture inside the page, as PNG of 256 colours or JPEG, whichever is smaller.

    Args:
      caption: what it shows; it is also read out in the place of the picture.
      full: whether it is never shrunk, as it has small texts.
    """
    from PIL import Image as Images

    few, many = io.BytesIO(), io.BytesIO()
    image.convert("RGB").quantize(PALETTE, dither=Images.Dither.NONE).save(few, format="png", optimize=True)
    image.convert("RGB").save(many, format="jpeg", quality=QUALITY)
    smaller = few if len(few.getvalue()) <= 1.2 * len(many.getvalue()) else many
    kind = "png" if smaller is few else "jpeg"
    return _shown(smaller.getvalue(), kind, caption, image.width if full else min(image.width, READABLE))


def figure(drawn: "Figure", caption: str) -> str:
    """A matplotlib figure inside the page, as PNG."""
    content = io.BytesIO()
    drawing.save(drawn, content)
    return png(content.getvalue(), caption)


def png(content: bytes, caption: str, least: int = READABLE) -> str:
    """The content of a .png file inside the page; it is not shrunk below `least` pixels, but scrolls."""
    return _shown(content, "png", caption, least)


def _shown(content: bytes, kind: str, caption: str, least: int) -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    image = f'<img src="{source}" alt="{text(caption)}" style="min-width: {least}px">'
    return f'<figure><div class="scroll">{image}</div><figcaption>{text(caption)}</figcaption></figure>'


def section(number: int, title: str, see: str, parts: Iterable[str]) -> str:
    """A section with its number; `see` says in one sentence what to look at."""
    body = "\n".join(parts)
    return f'<section id="part{number}"><h2>{number}. {text(title)}</h2>\n{paragraph(see, "see")}\n{body}</section>'


def page(title: str, intro: Sequence[str], titles: Sequence[str], sections: Sequence[str]) -> str:
    """The whole page: title, a few lines, links to sections, and these."""
    links = "".join(f'<a href="#part{place}">{place}. {text(each)}</a>' for place, each in enumerate(titles, start=1))
    lines = "\n".join(paragraph(line) for line in intro)
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style>"
    )
    body = "\n".join(sections)
    top = f"<h1>{text(title)}</h1>\n{lines}\n<nav>{links}</nav>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{top}\n{body}\n</body></html>\n'
