"""Front labels: what is written into the main figure, and beside what."""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.canvas import INK, layer
from analysis.labels import Label
from analysis.results import Array, Value
from analysis.scene import Arrow, MethodScene, Scene
from analysis.words import SYMBOLS, percent, shortened, values_text

NAME = 28
"""Letters of a method's name."""
MOST_VALUES = 2
"""Values that name a point; the table has all."""
LABELLED = 4
"""At most this many points of a method carry their values."""


def method_labels(scene: Scene) -> list[Label]:
    """Name each method beside the highest point of its front that has a free place."""
    labels = []
    for method in scene.methods:
        anchors = method.points[method.is_member]
        if len(anchors):
            by_height = anchors[np.argsort(-anchors[:, 1], kind="stable")]
            labels.append(_method_label(method, by_height, far=True))
    return labels


def tail_labels(scene: Scene, texts: Sequence[str]) -> list[Label]:
    """Name these methods at the level piece of their surface, left of all configurations."""
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


def _method_label(method: MethodScene, anchors: Array, *, far: bool) -> Label:
    return Label(
        text=shortened(method.note.name, NAME),
        anchors=_pairs(anchors),
        fellows=_pairs(method.points),
        colour=method.style.text_colour,
        size=11.0,
        bold=True,
        far=far,
        gid=layer(method.key),
    )


def value_labels(scene: Scene) -> list[Label]:
    """Name some points by their values: both ends of a front, then others."""
    labels = []
    for method in scene.methods:
        members = [row for row in range(len(method.points)) if method.is_member[row]]
        members.sort(key=lambda row: -method.points[row, 0])
        others = [row for row in range(len(method.points)) if not method.is_member[row]]
        chosen = _spaced(members, LABELLED) + _spaced(others, LABELLED - len(members))
        labels += [
            Label(
                text=point_text(method.shown[row].values),
                anchors=_pairs(method.points[row : row + 1]),
                colour=method.style.text_colour,
                gid=layer(method.key),
            )
            for row in chosen
            if point_text(method.shown[row].values)
        ]
    return labels


def point_text(values: Mapping[str, Value]) -> str:
    """Name a point by its values; of many, by the ones that have a symbol, at most two of them.

    >>> point_text({"rho": 0.1, "weight_decay": 0.0001, "epsilon": 0.02, "loss": "trades"})
    'ρ=0.1 ε=0.02'
    """
    if len(values) <= MOST_VALUES:
        return shortened(values_text(values, 2), NAME)
    known = {name: value for name, value in values.items() if name in SYMBOLS}
    return values_text(dict(list(known.items())[:MOST_VALUES]), 2)


def gap_label(arrow: Arrow) -> Label:
    """Print a gap with its simultaneous band, beside its arrow."""
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
    """Say where each configuration left of the figure is, beside its pointer at the edge."""
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


def _pairs(points: Array) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)


def _spaced(items: Sequence[int], most: int) -> list[int]:
    """Keep at most so many items, both ends among them, evenly spread."""
    if most < 1:
        return []
    rows = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[row] for row in rows]
