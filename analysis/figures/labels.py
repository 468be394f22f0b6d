"""Labels: text beside points, placed only where it covers nothing and names nothing else.

`place_labels` places any label. The labels of the main figure follow: those of methods, of some
points, of the gap, and of configurations outside the figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from numpy.typing import NDArray

from analysis.figures.canvas import INK, MUTED, layer
from analysis.figures.layers import thinned
from analysis.figures.marks import pairs
from analysis.figures.scene import Arrow, MethodScene, Scene
from analysis.results.trials import Array, Value
from analysis.results.words import SYMBOLS, percent, shortened, values_text

Place = tuple[float, float, str, str]
"""Offset from the point in typographic points, then horizontal and vertical alignment."""
CLEARER = 2.0
"""A label is nearer to what it names than to any other marker by at least so many pixels."""
NAME = 28
"""Most letters of a method's name."""
MOST_VALUES = 2
"""A label names a point by at most so many values; the table has all of them."""
LABELLED = 4
"""At most this many points of a method carry their values."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text, and the points beside which it may be placed, the preferred one first."""

    text: str
    anchors: tuple[tuple[float, float], ...]
    """In data coordinates."""
    fellows: tuple[tuple[float, float], ...] = ()
    """Further points that the text names, too."""
    colour: str
    size: float = 8.0
    bold: bool = False
    far: bool = False
    """Whether it may be further away than the name of a single point."""
    free: bool = False
    """Whether it names no marker and may therefore be near any of them."""
    gid: str = ""
    """The `gid` of its layer, from `canvas.layer`."""


def place_labels(
    axes: Axes, labels: Sequence[Label], markers: Array, lines: Array, strokes: Array
) -> list[bool]:
    """Place each label at its first place that covers nothing; omit labels without such a place.

    markers, lines, strokes: (N, 4) boxes in pixels, left, bottom, right, top, such as those of
    `marker_boxes`. No label covers a marker, a line or an earlier label. It covers a (faint) stroke
    only if every place does. No label is nearer to another marker than to what it names. Returns
    which labels were placed. The limits of the axes must be final.
    """
    figure = _figure(axes)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    frame = np.array(axes.get_window_extent(renderer).extents)
    solid, placed = np.vstack([markers, lines]), []
    centres = 0.5 * (markers[:, :2] + markers[:, 2:])
    for label in labels:
        text = axes.annotate(
            label.text,
            label.anchors[0],
            xytext=(0.0, 0.0),
            textcoords="offset points",
            color=label.colour,
            fontsize=label.size,
            fontweight="bold" if label.bold else "normal",
            annotation_clip=False,
            linespacing=1.1,
            zorder=6,
            gid=label.gid or None,
            bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 1.0} if label.free else None,
        )
        extent = text.get_window_extent(renderer)
        size = np.array([extent.width + 2, extent.height])
        options = [(anchor, place) for anchor in label.anchors for place in _places(label)]
        boxes = np.array([_box(axes, anchor, place, size) for anchor, place in options])
        named = axes.transData.transform(np.array([*label.anchors, *label.fellows]))
        misleading = _names_another(boxes, named, centres) & (not label.free)
        best = _first_free(boxes, ~misleading, frame, solid, strokes)
        if best is None:
            text.remove()
        else:
            _move(text, *options[best])
            solid = np.vstack([solid, boxes[best]])
        placed.append(best is not None)
    return placed


def marker_boxes(axes: Axes, points: Array, size: float) -> Array:
    """Return the boxes in pixels (N, 4) of markers of this size in points at (N, 2) data points."""
    pixels = axes.transData.transform(points.reshape(-1, 2))
    half = 0.5 * size * _figure(axes).dpi / 72
    return np.hstack([pixels - half, pixels + half])


def text_boxes(axes: Axes, text: str) -> Array:
    """Return the boxes in pixels (N, 4) of the placed labels with this text."""
    renderer = FigureCanvasAgg(_figure(axes)).get_renderer()  # type: ignore[no-untyped-call]
    placed = [one for one in axes.texts if one.get_text() == text]
    boxes = [one.get_window_extent(renderer).extents for one in placed]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def method_labels(scene: Scene) -> list[Label]:
    """Build the label of each method, beside the highest point of its front with a free place."""
    labels = []
    for method in scene.methods:
        anchors = method.points[method.is_member]
        if len(anchors):
            by_height = anchors[np.argsort(-anchors[:, 1], kind="stable")]
            labels.append(_method_label(method, by_height, far=True))
    return labels


def reference_labels(scene: Scene) -> list[Label]:
    """Build the label of each reference, beside its point."""
    return [
        Label(text=shortened(name, NAME), anchors=((clean, robust),), colour=MUTED)
        for name, clean, robust in scene.references
    ]


def tail_labels(scene: Scene, texts: Sequence[str]) -> list[Label]:
    """Build the labels of these methods at the level part of their surface, left of all points."""
    labels = []
    for method in scene.methods:
        corners = method.drawn[0].median
        if shortened(method.note.name, NAME) not in texts or len(corners) == 0:
            continue
        shares = np.array([0.04, 0.12, 0.2, 0.28])
        clean = scene.limits[0] + shares * (scene.limits[1] - scene.limits[0])
        kept = clean[clean < corners[-1, 0]]
        places = np.column_stack([kept, np.full(len(kept), corners[-1, 1])])
        if len(places):
            labels.append(_method_label(method, places, far=False))
    return labels


def value_labels(scene: Scene, most: int = LABELLED) -> list[Label]:
    """Build labels of some points with their values: both ends of a front, then others.

    most: of each method.
    """
    labels = []
    for method in scene.methods:
        members = [row for row in range(len(method.points)) if method.is_member[row]]
        members.sort(key=lambda row: -method.points[row, 0])
        others = [row for row in range(len(method.points)) if not method.is_member[row]]
        chosen = [members[at] for at in thinned(len(members), most)]
        chosen += [others[at] for at in thinned(len(others), max(most - len(members), 0))]
        labels += [
            Label(
                text=point_text(method.shown[row].values),
                anchors=pairs(method.points[row : row + 1]),
                colour=method.style.text_colour,
                gid=layer(method.key),
            )
            for row in chosen
            if point_text(method.shown[row].values)
        ]
    return labels


def gap_label(arrow: Arrow) -> Label:
    """Build the label of a gap and its simultaneous band, beside its arrow."""
    low, high = arrow.interval
    heights = np.linspace(*arrow.ends, 7)[[3, 4, 2, 5, 1]]
    return Label(
        text=f"{arrow.estimate:+.1f} pp\n[{low:.1f}, {high:.1f}]",
        anchors=tuple((arrow.clean, float(height)) for height in heights),
        colour=INK,
        size=8.5,
        free=True,
        gid=layer(*arrow.methods, arrow.key),
    )


def left_labels(scene: Scene, heights: Sequence[float]) -> list[Label]:
    """Build the label of each configuration left of the figure, beside its pointer at the edge."""
    styles = {method.note.name: method for method in scene.methods}
    return [
        Label(
            text=f"{values_text(c.values, 2) or shortened(c.method, 28)}: "
            f"{percent(c.clean.mean)}% clean",
            anchors=((scene.limits[0], height),),
            colour=styles[c.method].style.text_colour,
            gid=layer(styles[c.method].key),
        )
        for c, height in zip(scene.outside, heights, strict=True)
    ]


def point_text(values: Mapping[str, Value]) -> str:
    """Format a point by its values; of many values, by at most two that have a symbol.

    >>> point_text({"rho": 0.1, "weight_decay": 0.0001, "epsilon": 0.02, "loss": "trades"})
    'ρ=0.1 ε=0.02'
    """
    if len(values) <= MOST_VALUES:
        return shortened(values_text(values, 2), NAME)
    known = {name: value for name, value in values.items() if name in SYMBOLS}
    return values_text(dict(list(known.items())[:MOST_VALUES]), 2)


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure), "the axes belong to a figure"
    return figure


def _places(label: Label) -> tuple[Place, ...]:
    """Return the places around a point: those beside it first, then those further out."""
    near, far = 5.0, 5.0 + label.size
    further = 20.0 + label.size
    if label.free:
        return (
            (-near, 0.0, "right", "center"),
            (near, 0.0, "left", "center"),
        )
    distant: tuple[Place, ...] = (
        (further, 0.5 * further, "left", "bottom"),
        (-further, -0.5 * further, "right", "top"),
        (0.5 * further, further, "left", "bottom"),
        (-0.5 * further, -further, "right", "top"),
        (further, -0.5 * further, "left", "top"),
        (-further, 0.5 * further, "right", "bottom"),
    )
    around: tuple[Place, ...] = (
        (near, near, "left", "bottom"),
        (near + 2, 0.0, "left", "center"),
        (-near, -near, "right", "top"),
        (-near - 2, 0.0, "right", "center"),
        (0.0, near + 1, "center", "bottom"),
        (0.0, -near - 1, "center", "top"),
        (near, -near, "left", "top"),
        (-near, near, "right", "bottom"),
        (near, far, "left", "bottom"),
        (-near, -far, "right", "top"),
        (near, -far, "left", "top"),
        (-near, far, "right", "bottom"),
    )
    return around + distant if label.far else around


def _box(axes: Axes, anchor: tuple[float, float], place: Place, size: Array) -> Array:
    """Return the box in pixels (4,) of a text of this size (2,) at this place."""
    dx, dy, horizontal, vertical = place
    point = axes.transData.transform(anchor) + np.array([dx, dy]) * _figure(axes).dpi / 72
    across = {"left": 0.0, "center": 0.5, "right": 1.0}[horizontal]
    up = {"bottom": 0.0, "center": 0.5, "top": 1.0}[vertical]
    corner = point - size * np.array([across, up])
    return np.concatenate([corner, corner + size])


def _move(text: Annotation, anchor: tuple[float, float], place: Place) -> None:
    dx, dy, horizontal, vertical = place
    text.xy = anchor
    text.set_position((dx, dy))
    text.set(ha=horizontal, va=vertical)


def _first_free(
    boxes: Array, allowed: NDArray[np.bool_], frame: Array, solid: Array, faint: Array
) -> int | None:
    """Choose the first box (row) inside the frame that covers nothing, else nothing solid."""
    inside = np.all(boxes[:, :2] >= frame[:2], axis=1) & np.all(boxes[:, 2:] <= frame[2:], axis=1)
    allowed = allowed & inside & ~_covers(boxes, solid)
    for choice in (allowed & ~_covers(boxes, faint), allowed):
        if np.any(choice):
            return int(np.argmax(choice))
    return None


def _names_another(boxes: Array, named: Array, centres: Array) -> NDArray[np.bool_]:
    """Mark the boxes (N, 4) that are not clearly nearer to a named point than to another marker.

    named: (K, 2), centres: (M, 2) of all markers, in pixels.
    """
    foreign = centres[np.all(_lengths(centres[:, np.newaxis] - named) > 0.5, axis=1)]
    own = _distances(boxes, named).min(axis=1)
    other = _distances(boxes, foreign).min(axis=1, initial=np.inf)
    misleading: NDArray[np.bool_] = own + CLEARER > other
    return misleading


def _distances(boxes: Array, points: Array) -> Array:
    """Return the distances (N, K) from boxes (N, 4) to points (K, 2)."""
    near, far = boxes[:, np.newaxis, :2], boxes[:, np.newaxis, 2:]
    return _lengths(np.maximum(0.0, np.maximum(near - points, points - far)))


def _lengths(offsets: Array) -> Array:
    lengths: Array = np.hypot(offsets[..., 0], offsets[..., 1])
    return lengths


def _covers(boxes: Array, others: Array) -> NDArray[np.bool_]:
    """Mark the boxes (N, 4) that overlap one of the others (M, 4)."""
    one, two = boxes[:, np.newaxis], others[np.newaxis]
    apart = np.any((one[..., 2:] <= two[..., :2]) | (two[..., 2:] <= one[..., :2]), axis=-1)
    overlap: NDArray[np.bool_] = np.any(~apart, axis=1)
    return overlap


def _method_label(method: MethodScene, anchors: Array, *, far: bool) -> Label:
    return Label(
        text=shortened(method.note.name, NAME),
        anchors=pairs(anchors),
        fellows=pairs(method.points),
        colour=method.style.text_colour,
        size=11.0,
        bold=True,
        far=far,
        gid=layer(method.key),
    )
