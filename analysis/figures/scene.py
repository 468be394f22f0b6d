"""Scene: what the main figure shows at one radius, in percent, gathered from an analysis.

A collapsed configuration far to the left is outside the frame, and named beside it instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.document import Analysis, View
from analysis.figures.layers import coarse
from analysis.figures.palette import MethodStyle, method_styles
from analysis.fronts.choice import Choice, MethodFront, mean_points
from analysis.inference.claims import Estimand
from analysis.results.configurations import ConfigurationResult
from analysis.results.methods import MethodNote
from analysis.results.trials import Array, Reference
from analysis.results.words import method_text, percent, values_text

ESTIMAND_KEYS = {"population": "population", "this test set": "test-set"}
"""The class of an estimand's layer in the page."""
CHI = 2.4477468306808166
"""√ of the 95% point of χ² with 2 degrees of freedom: half-width of a region in deviations."""
FAR, LEAST_WIDTH = 3, 0.02
"""Far left is more than so many widths of the range of the other points, of at least 2 points."""
VISIBLE = 0.1
"""A fitted curve is drawn if it spans this share of the axis."""
ROOM, GAIN = 0.25, 1.5
"""A configuration that is no member of a front may lie left of all members by this share of their
range. Those further left are outside the figure where the range is then so many times narrower."""


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """A gap at one clean accuracy, from the second method's curve to the first's."""

    key: str
    """The class of its estimand's layer."""
    methods: tuple[str, str]
    """The classes of its methods' layers."""
    clean: float
    ends: tuple[float, float]
    """Robust accuracy of the second and of the first method."""
    interval: tuple[float, float]
    """The simultaneous band there, in points."""
    shared: tuple[float, float]
    """The range of clean accuracies in which both methods were measured."""

    @property
    def estimate(self) -> float:
        """Return the gap, in points."""
        return self.ends[1] - self.ends[0]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What belongs to one method under one estimand."""

    estimand: Estimand
    key: str
    """The class of its layer."""
    covariances: Array
    """(N, 2, 2) of the clean and robust means shown."""
    median: Array
    """(K, 2) corners of the median attainment surface, from the clean to the robust end.

    The corners of the optimistic and the pessimistic surface follow, in the same form.
    """
    optimistic: Array
    pessimistic: Array
    curve: Array
    """(G, 2) points of the fitted front; empty if it was refused."""
    band: tuple[Array, Array]
    """(G,) low and high ends of its band."""
    beyond: Array
    """(H, 2) points of its continuation outside the measured range."""
    close: tuple[Array, ...]
    """Curves (G, 2) of the other families that fit as well."""


@dataclass(frozen=True, kw_only=True)
class MethodScene:
    """What belongs to one method; N configurations are inside the figure."""

    note: MethodNote
    key: str
    """The class of its layer."""
    style: MethodStyle
    shown: tuple[ConfigurationResult, ...]
    rows: tuple[int, ...]
    """(N,) their rows in `configurations(results)`."""
    points: Array
    """(N, 2) their means."""
    is_member: NDArray[np.bool_]
    """(N,) whether they are on the chosen front of their method."""
    members: Array
    """(M, 2) means of the members of the front, also of those outside the figure."""
    seeds: Array
    """(T, 2) single seeds."""
    shifts: tuple[Array, Array]
    """(M, 2) validation means and (M, 2) test means of the members, if a search chose them."""
    drawn: tuple[Drawn, ...]
    """The default estimand first."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the main figure shows."""

    limits: tuple[float, float, float]
    """Lowest and highest clean accuracy, and highest robust accuracy, of the axes."""
    methods: tuple[MethodScene, ...]
    outside: tuple[ConfigurationResult, ...]
    """Configurations left of the figure."""
    outside_rows: tuple[int, ...]
    """Their rows in `configurations(results)`."""
    outside_heights: tuple[float, ...]
    """Their robust accuracies."""
    arrows: tuple[Arrow, ...]
    """The gap of the first pair that has one, under each estimand."""
    references: tuple[tuple[str, float, float], ...]
    """Return name, clean and robust accuracy of each reference inside the figure."""


def gather(analysis: Analysis, radius: float, estimands: Sequence[Estimand]) -> Scene:
    """Gather what the main figure shows at this radius under these estimands."""
    choice = analysis.choice
    views = [analysis.view(radius, estimand) for estimand in estimands]
    limits, keys = _limits(analysis, choice, views), [c.key for c in analysis.found]
    methods = tuple(
        _method(analysis, number, front, views, limits)
        for number, front in enumerate(choice.fronts)
    )
    return Scene(
        limits=limits,
        methods=tuple(method for method in methods if len(method.points) or len(method.members)),
        outside=left_out(choice),
        outside_rows=tuple(keys.index(c.key) for c in left_out(choice)),
        outside_heights=tuple(
            100 * c.robust[analysis.results.threat.radii.index(radius)].mean
            for c in left_out(choice)
        ),
        arrows=tuple(arrow for view in views for arrow in _arrows(view, methods)),
        references=tuple(
            (one.name, 100 * one.clean, 100 * robust)
            for one in analysis.results.references
            for robust in [one.robust[analysis.results.threat.radii.index(radius)]]
            if robust is not None and 100 * one.clean >= limits[0]
        ),
    )


def shown_range(clean: Array) -> tuple[float, float]:
    """Choose the clean accuracies (fractions) between which a figure is drawn.

    These are all, unless at most a quarter of them lies beyond a gap that is more than three times
    as wide as the range of the rest (at least 2 points). One collapsed configuration would press
    all others into a corner. clean: (N,); returns the lowest and the highest one shown.

    >>> shown_range(np.array([0.99, 0.98, 0.97, 0.96, 0.62]))
    (0.96, 0.99)
    """
    if len(clean) == 0:
        return 0.0, 1.0
    falling = np.sort(clean)[::-1]
    for kept in range(1, len(falling)):
        few_left_out = 4 * (len(falling) - kept) <= len(falling)
        gap = falling[kept - 1] - falling[kept]
        if few_left_out and gap > FAR * max(falling[0] - falling[kept - 1], LEAST_WIDTH):
            return float(falling[kept - 1]), float(falling[0])
    return float(falling[-1]), float(falling[0])


def shown_from(choice: Choice) -> float:
    """Choose the clean accuracy (a fraction) at which a figure begins.

    The figure shows all members of fronts, unless one collapsed. Others that lie far left of them
    were trained too strongly, and would press all that matters into a corner.
    """
    found = tuple(c for front in choice.fronts for c in front.configurations)
    members = tuple(c for front in choice.fronts for c in front.members)
    clean, on_front = mean_points(found, 0)[:, 0], mean_points(members, 0)[:, 0]
    low, high = shown_range(clean)
    inside = on_front[on_front >= low]
    if len(inside) == 0:
        return low
    width = max(high - float(inside.min()), LEAST_WIDTH)
    from_members = float(inside.min()) - ROOM * width
    kept = float(clean[clean >= from_members].min())
    return kept if high - low > GAIN * max(high - kept, LEAST_WIDTH) else low


def frame(
    choice: Choice, position: int, references: Sequence[Reference] = ()
) -> tuple[float, float, float]:
    """Return the lowest clean, highest clean and highest robust accuracy of a figure (fractions).

    The range contains the means shown, and the references except those far left of all means.
    """
    found = tuple(c for front in choice.fronts for c in front.configurations)
    low = shown_from(choice)
    shown = [c for c in found if c.clean.mean >= low]
    high = max((c.clean.mean for c in shown), default=1.0)
    width = max(high - low, LEAST_WIDTH)
    published = [
        (one.clean, robust)
        for one in references
        if (robust := one.robust[position]) is not None and one.clean >= low - FAR * width
    ]
    ends = [low, high, *(clean for clean, _ in published)]
    tops = [*(c.robust[position].high for c in shown), *(robust for _, robust in published)]
    return min(ends), max(ends), max(tops, default=0.0)


def left_out(choice: Choice) -> tuple[ConfigurationResult, ...]:
    """Return the configurations whose mean clean accuracy is left of the range shown."""
    found = tuple(c for front in choice.fronts for c in front.configurations)
    low = shown_from(choice)
    return tuple(c for c in found if c.clean.mean < low)


def left_out_text(
    choice: Choice,
    position: int,
    references: Sequence[Reference] = (),
    *,
    with_seeds: bool = True,
) -> str:
    """Describe what lies left of the figure at this radius; empty if nothing does.

    with_seeds: also count single seeds there whose configuration is inside; for figures with seeds.
    """
    low, high, _ = frame(choice, position, references)
    outside = [
        f"{method_text(c.method, 24)} {values_text(c.values)}".strip()
        + f" ({percent(c.clean.mean)}% clean, {percent(c.robust[position].mean)}% robust)"
        for c in left_out(choice)
    ] + [
        f"reference {one.name} ({percent(one.clean)}% clean, {percent(robust)}% robust)"
        for one in references
        if (robust := one.robust[position]) is not None and one.clean < low
    ]
    more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
    listed = f"Left of the figure: {', '.join(outside[:3])}{more}." if outside else ""
    dropped = {c.key for c in left_out(choice)}
    shown = [c for front in choice.fronts for c in front.configurations if c.key not in dropped]
    edge = _sides(100 * low, 100 * high)[0]
    seeds = sum(100 * trial.clean < edge for c in shown for trial in c.trials)
    clipped = f"Single seeds left of the figure: {seeds}." if with_seeds and seeds else ""
    return f"{listed} {clipped}".strip()


def _method(
    analysis: Analysis,
    number: int,
    front: MethodFront,
    views: Sequence[View],
    limits: tuple[float, float, float],
) -> MethodScene:
    results, radius = analysis.results, views[0].radius
    position = results.threat.radii.index(radius)
    numbered = [(row, c) for row, c in enumerate(analysis.found) if c.method == front.note.name]
    inside = [
        (row, c)
        for row, c in numbered
        if 100 * c.clean.mean >= limits[0] and 100 * c.robust[position].mean <= limits[2]
    ]
    chosen = {c.key for c in front.members}
    rows, shown = tuple(row for row, _ in inside), tuple(c for _, c in inside)
    return MethodScene(
        note=front.note,
        key=f"m{number}",
        style=method_styles(results.methods)[front.note.name],
        shown=shown,
        rows=rows,
        points=_points([(c.clean.mean, c.robust[position].mean) for c in shown]),
        is_member=np.array([c.key in chosen for c in shown], dtype=np.bool_),
        members=_points([(c.clean.mean, c.robust[position].mean) for c in front.members]),
        seeds=_points([(t.clean, t.robust[position]) for _, c in numbered for t in c.trials]),
        shifts=_shifts(analysis, front, radius),
        drawn=tuple(_drawn(view, front.note.name, rows, limits) for view in views),
    )


def _shifts(analysis: Analysis, front: MethodFront, radius: float) -> tuple[Array, Array]:
    """Return the validation and the test means of the members of a searched front."""
    threat = analysis.results.threat
    ends = [
        ((c.validation_clean.mean, c.validation_robust.mean), (c.clean.mean, robust.mean))
        for c in front.members
        for robust in [c.robust[threat.objective]]
        if c.validation_clean is not None and c.validation_robust is not None
    ]
    # A tier's configurations were chosen under another attack, and no figure mixes attacks.
    if not front.note.searched or radius != threat.objective_radius or threat.chosen_at:
        ends = []
    return _points([start for start, _ in ends]), _points([end for _, end in ends])


def _drawn(
    view: View, method: str, rows: tuple[int, ...], limits: tuple[float, float, float]
) -> Drawn:
    fit = next((fit for fit in view.fits if fit.method == method), None)
    curve = None if fit is None else fit.curve
    drawn = curve if curve is not None or fit is None else fit.steps
    # A fit over next to no range is a dot, and its band a stray line.
    if drawn is not None and 100 * (max(drawn.clean) - min(drawn.clean)) < VISIBLE * (
        limits[1] - limits[0]
    ):
        drawn = curve = None
    others = [] if fit is None else [fit.family(name).curve for name in fit.close[1:]]
    front = next((one for one in view.fronts.methods if one.method == method), None)
    step = (limits[1] - limits[0]) / 400, limits[2] / 300
    median, optimistic, pessimistic = (
        coarse(_points(corners), *step)
        for corners in (
            ((), (), ()) if front is None else (front.median, front.optimistic, front.pessimistic)
        )
    )
    return Drawn(
        estimand=view.estimand,
        key=ESTIMAND_KEYS[view.estimand],
        covariances=1e4
        * np.array(
            [view.fronts.configurations[row].covariance for row in rows], dtype=np.float64
        ).reshape(-1, 2, 2),
        median=median,
        optimistic=optimistic,
        pessimistic=pessimistic,
        curve=_points([] if drawn is None else list(zip(drawn.clean, drawn.robust, strict=True))),
        band=(
            100 * np.array([] if drawn is None else drawn.low),
            100 * np.array([] if drawn is None else drawn.high),
        ),
        beyond=_points([] if curve is None else curve.beyond),
        close=tuple(
            _points(list(zip(other.clean, other.robust, strict=True)))
            for other in others
            if other is not None
        ),
    )


def _arrows(view: View, methods: Sequence[MethodScene]) -> list[Arrow]:
    """Place the arrow of the first gap in the middle of its shared range."""
    gap = next((gap for gap in view.gaps if gap.range is not None), None)
    if gap is None or gap.range is None:
        return []
    key, middle = ESTIMAND_KEYS[view.estimand], len(gap.clean) // 2
    drawn = {
        method.note.name: (method.key, one.curve)
        for method in methods
        for one in method.drawn
        if one.key == key
    }
    clean = 100 * gap.clean[middle]
    pair = (gap.second, gap.first)
    if any(name not in drawn or len(drawn[name][1]) == 0 for name in pair):
        return []
    # One end is on its curve and the other at the gap, so that the length is the number printed.
    start = float(np.interp(clean, *drawn[gap.second][1].T))
    return [
        Arrow(
            key=key,
            methods=(drawn[gap.first][0], drawn[gap.second][0]),
            clean=clean,
            ends=(start, start + 100 * gap.estimate[middle]),
            interval=(100 * gap.low[middle], 100 * gap.high[middle]),
            shared=(100 * gap.range[0], 100 * gap.range[1]),
        )
    ]


def _limits(
    analysis: Analysis, choice: Choice, views: Sequence[View]
) -> tuple[float, float, float]:
    """Choose the limits of the axes so that all means are inside, with room for labels.

    Regions may reach beyond the sides: they are as wide as the whole range where images are few.
    """
    position = analysis.results.threat.radii.index(views[0].radius)
    low, high, top = frame(choice, position, analysis.results.references)
    dropped = {c.key for c in left_out(choice)}
    for row, c in enumerate(analysis.found):
        if c.key in dropped:
            continue
        for view in views:
            covariance = view.fronts.configurations[row].covariance
            robust = CHI * max(covariance[1][1], 0.0) ** 0.5
            top = max(top, c.robust[position].mean + robust)
    low, high, top = 100 * low, 100 * high, 100 * top
    return *_sides(low, high), min(max(1.06 * top, 5.0), 104.0)


def _sides(low: float, high: float) -> tuple[float, float]:
    """Return where the clean axis begins and ends around these accuracies, in percent."""
    margin = max(0.1 * (high - low), 0.3)
    # Nothing but half a marker can be beyond 100%.
    return max(low - margin, -0.5), min(high + margin, 100.2 + 0.02 * (high - low))


def _points(fractions: Sequence[Sequence[float]]) -> Array:
    return 100 * np.array(fractions, dtype=np.float64).reshape(-1, 2)
