"""The look of all figures, and how they are saved: equal figures as equal bytes.

Figures are made and saved without pyplot, so that no state outlives a call, and under matplotlib's
own defaults, so that no settings file of the user changes them.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from io import BytesIO, StringIO
from typing import Any
from xml.etree import ElementTree

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
    # TrueType: conferences refuse Type 3 fonts.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "rhoeps",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
FONTS = "font-family:'DejaVu Sans',Verdana,Arial,sans-serif"
"""matplotlib's own font and others that are no wider, so that text never outgrows its place."""

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_HASHED = re.compile(r"[mp][0-9a-f]{10}")
"""A name that matplotlib generates for a mark or a clip."""
_REFERENCE = re.compile(r"#[mp][0-9a-f]{10}\b")
_COUNTED = re.compile(r"[A-Za-z].*_\d+")
"""A name that matplotlib generates for a part of a figure, which no reader needs."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that a name in a study may hold, but an XML file may not."""
_MARK = "data-mark"
"""Attribute of a marker while its figure is written."""
_LAYER = "layer:"
"""Prefix of the group id of an artist that belongs to a layer."""


@contextmanager
def look() -> Iterator[None]:
    """Set matplotlib's settings while a figure is made or saved, and restore them after."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_LOOK}
    # The backend is the caller's business, and setting it would load one.
    with matplotlib.rc_context({k: v for k, v in settings.items() if "backend" not in k}):
        yield


def new_axes(width: float, height: float, **margins: float) -> tuple[Figure, Axes]:
    """Build a figure of this size in inches, with one pair of axes within the margins."""
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    figure.subplots_adjust(**margins)
    return figure, figure.add_subplot()


def layer(*classes: str) -> str:
    """Return the `gid` of an artist in a layer, which `svg` turns into the group's classes.

    A page shows and hides classes without a script. The words `c0`, `c1` … are not classes: they
    are the keys of the `titles` that `svg` writes to the markers of the group, in their order.

    >>> layer("m0", "population")
    'layer:m0 population'
    """
    return _LAYER + " ".join(classes)


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
    figure: Figure,
    key: str,
    title: str,
    description: str,
    titles: Mapping[str, str] | None = None,
    *,
    linked: bool = False,
) -> str:
    """Save a figure as an SVG element, for a page or a file.

    Its identifiers start with `key`, so that several figures can share one page. A screen reader
    reads `title` and `description`. `titles` appear over the markers that a layer names; `linked`
    makes each marker c3 a link to #d3 with this name instead, which the keyboard reaches. Text
    stays text. Coordinates are rounded to one or two decimals, which is invisible: without this and
    the rest of `_shorten`, the page of the digits study would be twice as large.
    """
    buffer = StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with look():
        figure.savefig(buffer, format="svg", metadata=nothing)
    root = ElementTree.fromstring(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", buffer.getvalue()))
    hashed = (element.get("id", "") for element in root.iter())
    names = list(filter(_HASHED.fullmatch, hashed))
    numbered = {f"#{name}": f"#{key}-{name[0]}{number}" for number, name in enumerate(names)}
    for element in root.iter():
        _shorten(element, key, numbered)
        name = element.get("id", "")
        if name.startswith(_LAYER):
            _turn_into_layer(element, name.removeprefix(_LAYER).split())
    for group in root.iter("g"):
        _share_style(group)
        _name_marks(group, titles or {}, linked=linked)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{root.get("viewBox")}" style="{FONTS}" '
        f'role="{"group" if linked else "img"}" '
        f'aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{escape(title)}</title>'
        f'<desc id="{key}-desc">{escape(description)}</desc>'
    )
    body = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    return head + body.replace(" />", "/>").replace("&#10;", "\n") + "</svg>"


def _shorten(element: ElementTree.Element, key: str, numbered: Mapping[str, str]) -> None:
    """Drop what no reader of the figure needs from an element, and round its coordinates.

    Only attributes are rounded: a text such as "0.025" is a finding, not a coordinate.
    numbered: the reference to each mark or clip that matplotlib names by a hash, and its
    replacement. With `key`, names stay unique in a page of several figures.
    """
    # Without its namespace, a tag is written as matplotlib wrote it.
    element.tag = element.tag.rpartition("}")[2]
    element.text = (element.text or "").strip() and element.text
    element.tail = None
    attributes = {name.replace(_XLINK, "xlink:"): text for name, text in element.items()}
    element.attrib.clear()
    for name, text in attributes.items():
        # matplotlib numbers what has no name, and writes a rotation by 0 for every text.
        if text.startswith("rotate(-0 ") or (name == "id" and _COUNTED.fullmatch(text)):
            continue
        if name == "id":
            text = numbered[f"#{text}"][1:] if f"#{text}" in numbered else text
        else:
            text = _REFERENCE.sub(lambda found: numbered[found[0]], text)
        if name == "style":
            text = re.sub(r"(?<=[:;]) ", "", text.replace(" font-family: 'DejaVu Sans';", ""))
        elif name == "d":
            text = _short_path(re.sub(r"\s+(?=[LCQz]|$)", "", text))
        if element.tag == "use":
            text = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", text)
        text = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text)
        element.set(name, text.strip())


def _turn_into_layer(group: ElementTree.Element, words: list[str]) -> None:
    """Replace the id of a layer by its classes, and mark its markers by their keys."""
    marks = [word for word in words if re.fullmatch(r"c\d+", word)]
    classes = " ".join(word for word in words if word not in marks)
    del group.attrib["id"]
    if classes:
        group.attrib = {"class": classes, **group.attrib}
    for mark, use in zip(marks, group.iter(f"{_SVG}use"), strict=False):
        use.set(_MARK, mark)


def _name_marks(group: ElementTree.Element, titles: Mapping[str, str], *, linked: bool) -> None:
    """Add titles to the marks of a group, or make the marks links that have these as names."""
    for place, use in enumerate(list(group)):
        mark = use.attrib.pop(_MARK, "")
        title = titles.get(mark, "")
        if title and linked:
            link = ElementTree.Element("a", {"href": f"#d{mark[1:]}", "aria-label": title})
            group[place] = link
            link.append(use)
        elif title:
            ElementTree.SubElement(use, "title").text = title


def _share_style(group: ElementTree.Element) -> None:
    """Write a style that all marks of a group share once, on the group."""
    styles = {use.get("style") if use.tag == "use" else None for use in group}
    if len(styles) != 1 or "style" in group.attrib:
        return
    style = styles.pop()
    if style is not None:
        group.set("style", style)
        for use in group:
            del use.attrib["style"]


def _short_path(path: str) -> str:
    """Round a path's coordinates to a tenth of a point, and write steps as H and V.

    Only paths of straight pieces, with M, L and z alone, have their steps rewritten.
    """
    path = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), path)
    pieces = re.findall(r"([A-Za-z])([^A-Za-z]*)", path)
    if {letter for letter, _ in pieces} - {"M", "L", "z"}:
        # Each ring is on a line of its own, as matplotlib writes it: an XML parser joins lines.
        return path.replace(" M", "\nM")
    written, here = "", ("", "")
    for letter, numbers in pieces:
        if letter == "z":
            written += "z"
            continue
        x, y = numbers.split()
        if letter == "M" or (x != here[0] and y != here[1]):
            written += f"{letter}{x} {y}"
        elif x != here[0]:
            written += f"H{x}"
        elif y != here[1]:
            written += f"V{y}"
        here = x, y
    return written
