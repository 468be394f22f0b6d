"""Canvas: figures with one look, saved as the same bytes whenever they are the same.

Figures are made and saved without pyplot, so that no state outlives a call, and under matplotlib's
own defaults, so that no settings file of the user changes them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import BytesIO, StringIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1A1A1A"
MUTED = "#595959"
FAINT = "#E6E6E6"

_LOOK: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#8C8C8C",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "rhoeps",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
FONTS = "font-family:'DejaVu Sans',Verdana,Arial,sans-serif"
"""Beside matplotlib's own font, ones that are no wider: text never outgrows its place."""

_SHORTER = (
    (r'(<g|<path|<text) id="[a-z][^"]*?_\d+"', r"\1"),
    (r' transform="rotate\(-0 [^"]*\)"', ""),
    (r" font-family: 'DejaVu Sans';", ""),
    (r"(?<=[:;]) ", ""),
    (r"\s+(?=[LCQz\"])", ""),
)
"""What matplotlib writes into tags and no reader of the figure needs."""


@contextmanager
def look() -> Iterator[None]:
    """Set matplotlib's settings while a figure is made or saved, and restore them after."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_LOOK}
    # The backend is the caller's business, and setting it would load one.
    with matplotlib.rc_context({k: v for k, v in settings.items() if "backend" not in k}):
        yield


def new_axes(width: float, height: float, **margins: float) -> tuple[Figure, Axes]:
    """Make a figure of this size in inches with one pair of axes within the margins."""
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    figure.subplots_adjust(**margins)
    return figure, figure.add_subplot()


def png(figure: Figure, dpi: int = 200) -> bytes:
    """Save a figure as PNG."""
    buffer = BytesIO()
    with look():
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure, key: str, title: str, description: str) -> str:
    """Save a figure as an SVG element that may stand in a page or a file.

    Its identifiers start with `key`, so that several figures can share one page. `title` and
    `description` are what a screen reader says. Text stays text; coordinates keep two decimals,
    which no one sees, so that many figures fit in one page.
    """
    buffer = StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with look():
        figure.savefig(buffer, format="svg", metadata=nothing)
    drawn = buffer.getvalue()
    body = drawn[drawn.index("<svg") :]
    head, body = body[: body.index(">") + 1], body[body.index(">") + 1 :]
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None, "matplotlib writes a viewBox"
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r">\s+<", "><", body)
    # Only tags are shortened: a text such as "0.025" is a finding, not a coordinate.
    body = re.sub(r"<[^>]+>", lambda tag: _short_tag(tag[0], key), body)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box[0]} style="{FONTS}" role="img" aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{escape(title)}</title>'
        f'<desc id="{key}-desc">{escape(description)}</desc>'
    )
    return head + body.strip()


def _short_tag(tag: str, key: str) -> str:
    for pattern, replacement in _SHORTER:
        tag = re.sub(pattern, replacement, tag)
    tag = re.sub(r'(?<=\sid=")|(?<=href="#)|(?<=url\(#)', f"{key}-", tag)
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag)
