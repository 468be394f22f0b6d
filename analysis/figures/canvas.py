"""Canvas: figures with one look, saved as the same bytes whenever they are the same.

Figures are made and saved without pyplot, so that no state outlives a call, and under matplotlib's
own defaults, so that no settings file of the user changes them.
"""

import re
from collections.abc import Iterator, Mapping
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
    (r'(<g|<path|<text) id="[A-Za-z][^"]*?_\d+"', r"\1"),
    (r' transform="rotate\(-0 [^"]*\)"', ""),
    (r" font-family: 'DejaVu Sans';", ""),
    (r"(?<=[:;]) ", ""),
    (r"\s+(?=[LCQz\"])", ""),
)
"""What matplotlib writes into tags and no reader of the figure needs."""
LAYER = "layer:"
"""What the group id of an artist starts with that belongs to a layer."""


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


def layer(*classes: str) -> str:
    """Return the layer of an artist as its `gid`, which `svg` turns into the group's class.

    A page shows and hides classes without a script. Words `c0`, `c1` … are no classes but name what
    the markers of the group stand for, in their order; `svg` gives them its `titles`.

    >>> layer("m0", "population")
    'layer:m0 population'
    """
    return LAYER + " ".join(classes)


def png(figure: Figure, dpi: int = 200) -> bytes:
    """Save a figure as PNG."""
    buffer = BytesIO()
    with look():
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def pdf(figure: Figure) -> bytes:
    """Save a figure as PDF, without a date."""
    buffer = BytesIO()
    with look():
        nothing = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(buffer, format="pdf", metadata=nothing)
    return buffer.getvalue()


def svg(
    figure: Figure, key: str, title: str, description: str, titles: Mapping[str, str] | None = None
) -> str:
    """Save a figure as an SVG element that may stand in a page or a file.

    Its identifiers start with `key`, so that several figures can share one page. `title` and
    `description` are what a screen reader says; `titles` are shown over the markers that a layer
    names. Text stays text; coordinates keep one or two decimals, which no one sees, so that many
    figures fit in one page.
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
    body = _short_names(_layered(re.sub(r">\s+<", "><", body), titles or {}))
    # Only tags are shortened: a text such as "0.025" is a finding, not a coordinate.
    body = re.sub(r"<[^>]+>", lambda tag: _short_tag(tag[0], key), body)
    body = _shared_styles(body)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box[0]} style="{FONTS}" role="img" aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{escape(title)}</title>'
        f'<desc id="{key}-desc">{escape(description)}</desc>'
    )
    return head + body.strip()


def _layered(body: str, titles: Mapping[str, str]) -> str:
    """Turn the ids of layers into classes, and give their markers titles."""
    pieces = re.split(rf'<g id="{LAYER}([^"]*)">', body)
    parts = [pieces[0]]
    for words, drawn in zip(pieces[1::2], pieces[2::2], strict=True):
        marks = [word for word in words.split() if re.fullmatch(r"c\d+", word)]
        classes = " ".join(word for word in words.split() if word not in marks)
        if marks:
            drawn = _titled(drawn, [titles.get(mark, "") for mark in marks])
        parts.append((f'<g class="{classes}">' if classes else "<g>") + drawn)
    return "".join(parts)


def _titled(drawn: str, titles: list[str]) -> str:
    """Write each title into one of the first `use` elements, one for each marker."""
    uses = iter(titles)

    def write(use: re.Match[str]) -> str:
        title = next(uses, "")
        return f"<use{use[1]}><title>{escape(title)}</title></use>" if title else use[0]

    return re.sub(r"<use([^>]*?)/>", write, drawn, count=len(titles))


def _short_tag(tag: str, key: str) -> str:
    for pattern, replacement in _SHORTER:
        tag = re.sub(pattern, replacement, tag)
    tag = re.sub(r'(?<=\sid=")|(?<=href="#)|(?<=url\(#)', f"{key}-", tag)
    if tag.startswith("<use"):
        tag = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", tag)
    if " d=" in tag:
        tag = re.sub(r' d="[^"]*"', _short_path, tag)
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag)


def _short_path(path: re.Match[str]) -> str:
    """Keep one decimal of a path's coordinates, a tenth of a point; write steps as H and V.

    Only paths of straight pieces are changed further: their points follow M, L and z alone.
    """
    text = re.sub(
        r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), path[0]
    )
    pieces = re.findall(r"([A-Za-z])([^A-Za-z\"]*)", text.removeprefix(' d="'))
    if {letter for letter, _ in pieces} - {"M", "L", "z"}:
        return text
    written, here = "", ("", "")
    for letter, numbers in pieces:
        if letter == "z":
            written += "z"
            continue
        there = tuple(numbers.split())
        if letter == "M" or (there[0] != here[0] and there[1] != here[1]):
            written += f"{letter}{there[0]} {there[1]}"
        elif there[0] != here[0]:
            written += f"H{there[0]}"
        elif there[1] != here[1]:
            written += f"V{there[1]}"
        here = there[0], there[1]
    return f' d="{written}"'


def _shared_styles(body: str) -> str:
    """Write the style of a group's marks once, on the group."""

    def share(group: re.Match[str]) -> str:
        styles = re.findall(r'<use[^>]*?( style="[^"]*")', group[0])
        if len(set(styles)) != 1 or group[0].count("<use") != len(styles) or "style" in group[1]:
            return group[0]
        return f"<g{group[1]}{styles[0]}>" + group[2].replace(styles[0], "") + "</g>"

    return re.sub(r"<g([^>]*)>((?:<use[^>]*?(?:/>|><title>[^<]*</title></use>))+)</g>", share, body)


def _short_names(body: str) -> str:
    """Replace the hashes by which matplotlib names marks and clips with numbers."""
    names = list(dict.fromkeys(re.findall(r'id="([mp][0-9a-f]{10})"', body)))
    numbers = {name: f"{name[0]}{number}" for number, name in enumerate(names)}
    pattern = r'(?<=id=")[mp][0-9a-f]{10}(?=")|(?<=#)[mp][0-9a-f]{10}(?=[")])'
    return re.sub(pattern, lambda name: numbers.get(name[0], name[0]), body)
