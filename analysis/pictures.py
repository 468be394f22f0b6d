"""Pictures: the figures of the page, each with its caption, planned before they are drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.canvas import svg
from analysis.captions import front_conditions, front_reading, front_title
from analysis.document import Analysis
from analysis.plots import fig_front
from analysis.tables import Table, interval_text, printed_share
from analysis.words import configuration_text, percent, value_text

MOST_TITLED = 80
"""With more configurations their marks carry no numbers to hover over: the table does."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure in the page: its drawing, what it shows, and where its numbers are."""

    section: str
    key: str
    svg: Markup
    caption: str
    label: str = ""
    """On its switch, if it has one."""
    order: int = 0
    """Among its alternatives."""
    numbers: str = ""
    """The key of the table that holds its numbers."""
    tables: Sequence[Table] = field(default=())
    """Tables that belong to it alone."""
    chosen: bool = False
    """Shown first among its alternatives."""

    @property
    def size(self) -> int:
        """Count the bytes of its drawing, caption and tables, roughly."""
        cells = [cell for table in self.tables for row in table.rows for cell in row]
        tables = sum(len(f"{cell.text}{cell.below}".encode()) + 40 for cell in cells)
        return len(self.svg.encode()) + len(self.caption.encode()) + tables


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A picture that can be drawn, with its name for readers in case it does not fit."""

    name: str
    draw: Callable[[], Picture]


def front_plans(analysis: Analysis) -> list[Plan]:
    """Plan the main figure at every radius, the objective radius first; none without trials."""
    threat = analysis.results.threat
    if not analysis.found:
        return []
    order = sorted(range(len(threat.radii)), key=lambda at: (abs(at - threat.objective), at))
    return [
        Plan(
            name=f"the figure at radius {value_text(threat.radii[at])}",
            draw=partial(_front_picture, analysis, at),
        )
        for at in order
    ]


def front_drawing(analysis: Analysis, figure: Figure, key: str, radius: float) -> str:
    """Save the main figure as SVG, with the numbers of each configuration over its mark."""
    caption = front_caption(analysis, radius)
    return svg(figure, key, front_title(analysis, radius), caption, _titles(analysis, radius))


def front_caption(analysis: Analysis, radius: float) -> str:
    """Say what the main figure shows: its finding, its conditions, how it is read."""
    estimand = analysis.estimand
    return (
        f"{front_title(analysis, radius)}. {front_conditions(analysis, radius, estimand)}. "
        f"{front_reading(analysis, radius, estimand)}"
    )


def _front_picture(analysis: Analysis, position: int) -> Picture:
    threat = analysis.results.threat
    radius, key = threat.radii[position], f"front{position}"
    figure = fig_front(analysis, radius, header=False, layered=True)
    return Picture(
        section="front",
        key=key,
        label=value_text(radius),
        order=position,
        svg=Markup(front_drawing(analysis, figure, key, radius)),
        caption=front_caption(analysis, radius),
        numbers="configurations",
        chosen=radius == threat.objective_radius,
    )


def _titles(analysis: Analysis, radius: float) -> dict[str, str]:
    found, members = analysis.found, analysis.view(radius).fronts.configurations
    if len(found) > MOST_TITLED:
        return {}
    return {
        f"c{row}": f"{configuration_text(c, 30)}\nclean {percent(member.clean.estimate)}% "
        f"[{interval_text(member.clean)}]\nrobust {percent(member.robust.estimate)}% "
        f"[{interval_text(member.robust)}]\nP(on front) {printed_share(member.on_study_front)}"
        for row, (c, member) in enumerate(zip(found, members, strict=True))
    }
