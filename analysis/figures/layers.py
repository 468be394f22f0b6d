"""The parts of the main figure, each drawn in its own layer of the page.

All coordinates are in percent. `canvas.layer` names the layers, which a page shows and hides.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.typing import LineStyleType

from analysis.figures.canvas import INK, MUTED
from analysis.figures.marks import line_boxes, pairs, write_above
from analysis.figures.palette import MethodStyle
from analysis.results.trials import Array

MEMBER, OTHER, SEED, REFERENCE = 7.0, 5.0, 2.5, 9.0
"""Sizes of the markers in points: front members, other configurations, single seeds, references."""
CHI_SQUARED = 5.991464547107979
"""95% point of χ² with 2 degrees of freedom, −2 ln 0.05: the size of a 95% region."""
MOST_CURVE_POINTS = 60
"""A drawn curve has at most so many points: the pieces between them look smooth."""
KAPPA = 4 / 3 * (2**0.5 - 1)
CIRCLE = np.array(
    [
        (1, 0),
        *((1, KAPPA), (KAPPA, 1), (0, 1)),
        *((-KAPPA, 1), (-1, KAPPA), (-1, 0)),
        *((-1, -KAPPA), (-KAPPA, -1), (0, -1)),
        *((KAPPA, -1), (1, -KAPPA), (1, 0)),
        (1, 0),
    ]
)
"""The unit circle as four cubic Bézier curves, within 0.03%, closed."""
MITRED: dict[str, Any] = {
    "solid_joinstyle": "miter",
    "dash_joinstyle": "miter",
    "solid_capstyle": "butt",
}
"""Line style of steps, which have right angles."""


def draw_seeds(axes: Axes, points: Array, style: MethodStyle, gid: str) -> None:
    """Draw single seeds (N, 2) as small, faint dots."""
    axes.plot(
        *points.T,
        ls="",
        marker="o",
        ms=SEED,
        mew=0,
        color=style.colour,
        alpha=0.45,
        zorder=3,
        gid=gid,
    )


def draw_means(
    axes: Axes, points: Array, style: MethodStyle, gid: str, *, is_member: bool = True
) -> None:
    """Draw means of configurations (N, 2); members of a front are larger than others."""
    axes.plot(
        *points.T,
        ls="",
        marker=style.marker,
        ms=MEMBER if is_member else OTHER,
        mfc="white" if style.searched else style.colour,
        mec=style.colour if style.searched else "white",
        mew=1.4 if style.searched else 0.8,
        alpha=1.0 if is_member else 0.65,
        zorder=4.8 if is_member else 4.5,
        gid=gid,
    )


def draw_reference(axes: Axes, point: tuple[float, float]) -> None:
    """Draw a published single run as a hollow star, which no method has."""
    look: dict[str, Any] = {"marker": "*", "ms": REFERENCE, "mfc": "white", "mec": MUTED}
    axes.plot(*np.array([point]).T, ls="", mew=1.0, zorder=4.6, **look)


def draw_regions(
    axes: Axes, centres: Array, covariances: Array, style: MethodStyle, gid: str
) -> None:
    """Draw the 95% regions of means (N, 2) with covariances (N, 2, 2) as rings."""
    if len(centres) == 0:
        return
    rings = [c + CIRCLE @ _root(s).T for c, s in zip(centres, covariances, strict=True)]
    codes = [Path.MOVETO, *[Path.CURVE4] * 12, Path.CLOSEPOLY]
    path = Path(np.vstack(rings), np.tile(codes, len(centres)))
    ring = PathPatch(path, fc="none", ec=style.colour, lw=0.7, alpha=0.6, zorder=2.9, gid=gid)
    axes.add_patch(ring)


def region_boxes(axes: Axes, centres: Array, covariances: Array) -> Array:
    """Return the boxes in pixels (4 N, 4) of the four outermost pieces of the 95% regions."""
    boxes = []
    for centre, covariance in zip(centres, covariances, strict=True):
        angles = np.linspace(0.0, 2 * np.pi, 13)
        circle = np.column_stack([np.cos(angles), np.sin(angles)])
        boxes.append(line_boxes(axes, centre + circle @ _root(covariance).T))
    return np.vstack(boxes) if boxes else np.empty((0, 4))


def draw_curve(
    axes: Axes,
    curve: Array,
    band: tuple[Array, Array],
    beyond: Array,
    style: MethodStyle,
    gid: str,
    band_gid: str,
) -> None:
    """Draw a fitted front: solid inside the measured range, dotted beyond it, and its band.

    curve: (G, 2) from the robust to the clean end; band: its (G,) low and high ends, cut to
    0 … clean; beyond: (H, 2) outside the measured range.
    """
    kept = thinned(len(curve))
    clean, (low, high) = curve[kept, 0], (end[kept] for end in band)
    low, high = np.clip(low, 0.0, clean), np.clip(high, 0.0, clean)
    look: dict[str, Any] = {"color": style.colour, "alpha": 0.16, "lw": 0, "zorder": 1.6}
    axes.fill_between(clean, low, high, gid=band_gid, **look)
    axes.plot(*curve[kept].T, color=style.colour, lw=2.2, zorder=3.2, gid=gid)
    if len(beyond):
        dotted = beyond[thinned(len(beyond))]
        axes.plot(*dotted.T, color=style.colour, lw=1.6, ls=(0, (1, 1.6)), zorder=3.1, gid=gid)


def draw_surface(axes: Axes, corners: Array, style: MethodStyle, gid: str, *, alone: bool) -> None:
    """Draw a median attainment surface as steps: solid if `alone`, thin and dashed beside a curve.

    corners: (K, 2), from the clean to the robust end.
    """
    steps = staircase(corners, axes.get_xlim()[0])
    if len(steps) == 0:
        return
    dash: LineStyleType = "solid" if alone else (0, (3.2, 1.8))
    line = {"color": style.colour, "lw": 1.5 if alone else 0.8, "ls": dash, "gid": gid, **MITRED}
    # The outermost step follows from the definition, not from a configuration.
    axes.plot(*steps[-2:].T, zorder=2.3, alpha=0.35, **{**line, "lw": 0.8})
    axes.plot(*steps[1:-1].T, zorder=2.4, **line)


def draw_surface_band(
    axes: Axes, pessimistic: Array, optimistic: Array, style: MethodStyle, gid: str, *, alone: bool
) -> None:
    """Shade the area between the pessimistic and the optimistic attainment surface.

    The shade is fainter beside a curve, which has a band of its own, than `alone`.
    """
    left = axes.get_xlim()[0]
    outer, inner = staircase(optimistic, left), staircase(pessimistic, left)
    if len(outer) == 0:
        return
    if len(inner) == 0:
        inner = np.array([[left, 0.0]])
    path = Path(np.vstack([outer, inner[::-1], outer[:1]]))
    strength = 0.08 if alone else 0.045
    shade = PathPatch(path, fc=style.colour, ec="none", alpha=strength, zorder=1.2, gid=gid)
    axes.add_patch(shade)


def draw_shared_range(axes: Axes, low: float, high: float, gid: str) -> None:
    """Shade the clean accuracies at which both methods of the gap were measured."""
    axes.axvspan(low, high, color="#000000", alpha=0.045, lw=0, zorder=0.4, gid=gid)
    write_above(axes, 0.5 * (low + high), "both methods measured", 1.008, gid)


def draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], gid: str) -> None:
    """Draw an arrow between two data points: the gap between two curves."""
    look = {"arrowstyle": "-|>", "color": INK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    _draw_pointer(axes, start, end, look, gid, order=5.2, clip=False)


def draw_shifts(axes: Axes, starts: Array, ends: Array, style: MethodStyle, gid: str) -> None:
    """Draw thin arrows from the validation to the test means of chosen configurations (N, 2)."""
    look = {"arrowstyle": "->", "color": style.colour, "lw": 0.8, "alpha": 0.7}
    look |= {"shrinkA": 0, "shrinkB": 3}
    for start, end in zip(pairs(starts), pairs(ends), strict=True):
        _draw_pointer(axes, start, end, look, gid, order=3.4, clip=True)


def _draw_pointer(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    look: dict[str, Any],
    gid: str,
    *,
    order: float,
    clip: bool,
) -> None:
    arrow = axes.annotate(
        "", end, xytext=start, arrowprops=look, annotation_clip=clip, zorder=order
    )
    # The arrow is an artist of its own, and both belong to the layer.
    arrow.set_gid(gid)
    if arrow.arrow_patch is not None:
        arrow.arrow_patch.set_gid(gid)


def staircase(corners: Array, left: float) -> Array:
    """Return the steps of R(c) = max{r_i : c_i >= c}, from the bottom right to the left edge.

    corners: (K, 2) in any order; dominated ones change nothing. Returns (M, 2) with right angles.

    >>> staircase(np.array([[90.0, 10.0], [80.0, 30.0]]), 70.0).tolist()
    [[90.0, 0.0], [90.0, 10.0], [80.0, 10.0], [80.0, 30.0], [70.0, 30.0]]
    """
    if len(corners) == 0:
        return np.empty((0, 2))
    by_clean = corners[np.lexsort((corners[:, 1], -corners[:, 0]))]
    height, steps = 0.0, [(float(by_clean[0, 0]), 0.0)]
    for clean, robust in by_clean.tolist():
        if robust > height:
            if steps[-1] != (clean, height):
                steps.append((clean, height))
            steps.append((clean, robust))
            height = robust
    steps.append((min(left, steps[-1][0]), height))
    return np.array(steps)


def coarse(corners: Array, clean_step: float, robust_step: float) -> Array:
    """Drop corners that move the steps invisibly little, but keep both ends.

    corners: (K, 2) from the clean to the robust end, in percent.

    >>> coarse(np.array([[90.0, 10.0], [89.99, 10.01], [80.0, 30.0]]), 0.1, 0.1).tolist()
    [[90.0, 10.0], [80.0, 30.0]]
    """
    kept: list[int] = []
    for row in range(len(corners)):
        far = not kept or np.any(
            np.abs(corners[row] - corners[kept[-1]]) >= (clean_step, robust_step)
        )
        if far:
            kept.append(row)
        elif row == len(corners) - 1 and len(kept) > 1:
            kept[-1] = row
    return corners[kept]


def thinned(count: int, most: int = MOST_CURVE_POINTS) -> Array:
    """Choose at most `most` evenly spaced rows, including both ends.

    >>> thinned(5, 3).tolist()
    [0, 2, 4]
    """
    rows: Array = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
    return rows


def curve_boxes(axes: Axes, curve: Array) -> Array:
    """Return the boxes in pixels (G - 1, 4) of the pieces of a curve (G, 2)."""
    return line_boxes(axes, curve[thinned(len(curve), 30)])


def _root(covariance: Array) -> Array:
    """Return A (2, 2) with A Aᵀ = χ² · covariance, so that A maps the unit circle to the region."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = vectors * np.sqrt(CHI_SQUARED * np.maximum(values, 0.0))
    return root
