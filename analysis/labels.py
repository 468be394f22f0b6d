"""Labels: text beside points, put only where it covers nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.results import Array

Place = tuple[float, float, str, str]
"""Offset from the point in typographic points, then horizontal and vertical alignment."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text and the points beside which it may stand, the preferred first."""

    text: str
    anchors: tuple[tuple[float, float], ...]
    """In data coordinates."""
    colour: str
    size: float = 8.0
    bold: bool = False


def place_labels(axes: Axes, labels: Sequence[Label], taken: Array) -> list[bool]:
    """Put each label at its first place that covers nothing; leave out those without one.

    taken: (N, 4) boxes in pixels, left, bottom, right, top, such as `marker_boxes` gives. Earlier
    labels take their places before later ones. Returns which labels were placed.
    """
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure), "the axes belong to a figure"
    # The limits and the layout must stand before anything is measured.
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    frame = axes.get_window_extent(renderer)
    boxes = [tuple(box) for box in taken]
    placed = []
    for label in labels:
        found = False
        for anchor, place in ((a, p) for a in label.anchors for p in _places(label.size)):
            dx, dy, horizontal, vertical = place
            text = axes.annotate(
                label.text,
                anchor,
                xytext=(dx, dy),
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                color=label.colour,
                fontsize=label.size,
                fontweight="bold" if label.bold else "normal",
                annotation_clip=False,
                zorder=6,
            )
            extent = text.get_window_extent(renderer)
            box = (extent.x0 - 1, extent.y0, extent.x1 + 1, extent.y1)
            inside = (
                frame.x0 <= box[0]
                and box[2] <= frame.x1
                and frame.y0 <= box[1]
                and box[3] <= frame.y1
            )
            if inside and not any(_overlap(box, other) for other in boxes):
                boxes.append(box)
                found = True
                break
            text.remove()
        placed.append(found)
    return placed


def marker_boxes(axes: Axes, points: Array, size: float) -> Array:
    """Give the boxes in pixels (N, 4) of markers of this size in points at (N, 2) data points."""
    pixels = axes.transData.transform(points.reshape(-1, 2))
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure), "the axes belong to a figure"
    half = 0.5 * size * figure.dpi / 72
    return np.hstack([pixels - half, pixels + half])


def step_boxes(axes: Axes, corners: Array) -> Array:
    """Give the boxes in pixels (N - 1, 4) of the level and upright pieces between data points."""
    pixels = axes.transData.transform(corners.reshape(-1, 2))
    ends = np.stack([pixels[:-1], pixels[1:]])
    return np.hstack([ends.min(axis=0) - 1, ends.max(axis=0) + 1])


def _places(size: float) -> tuple[Place, ...]:
    """List the places around a point, beside it first, then a line further out."""
    near, far = 5.0, 5.0 + size
    return (
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
    )


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    return not apart
