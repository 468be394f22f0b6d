"""The figures of the page with their captions. All are planned, but only those that fit are drawn.

The main figure is planned at every radius, and the small figures at the objective radius.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.curves.gaps import Gap
from analysis.document import Analysis
from analysis.figures.canvas import svg
from analysis.figures.epochs import fig_training, training_caption
from analysis.figures.front import fig_front, front_conditions, front_reading, front_title
from analysis.figures.gaps import (
    fig_floors,
    fig_gap,
    fig_hypervolume,
    fig_rate,
    fig_residuals,
    is_cut,
)
from analysis.figures.responses import fig_equivalence, fig_heat, fig_margins, fig_response
from analysis.figures.search import (
    fig_importance,
    fig_parallel,
    importance_caption,
    parallel_caption,
    searched_methods,
)
from analysis.findings.phrases import ESTIMAND_TEXTS
from analysis.report.attack_tables import importance_table, training_table
from analysis.report.front_tables import (
    contrast_table,
    cost_table,
    dominance_table,
    equivalence_table,
    floor_table,
    gap_table,
    margin_table,
    rate_table,
)
from analysis.report.tables import Table, interval_text, printed_share
from analysis.results.words import (
    SYMBOLS,
    attack_text,
    configuration_text,
    count_text,
    method_text,
    percent,
    value_text,
)

MOST_TITLED = 80
"""With more configurations than this, marks show no numbers on hovering: the table has them."""
FEWEST = 8
"""A heat map or parallel coordinates of fewer configurations show nothing that a table does not."""
MOST_GAPS = 3
"""Pairs of methods whose gap is drawn."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure of the page: its drawing, its caption, and where its numbers are."""

    section: str
    key: str
    svg: Markup
    caption: str
    label: str = ""
    """The text of its switch, if it has one."""
    order: int = 0
    """Its position among its alternatives."""
    numbers: str = ""
    """The key of the table that holds its numbers."""
    tables: Sequence[Table] = field(default=())
    """Tables that belong to it alone."""
    chosen: bool = False
    """Whether it is the alternative that is shown first."""

    @property
    def size(self) -> int:
        """Estimate the bytes of its drawing, caption and tables."""
        cells = [cell for table in self.tables for row in table.rows for cell in row]
        tables = sum(len(f"{cell.text}{cell.below}".encode()) + 40 for cell in cells)
        return len(self.svg.encode()) + len(self.caption.encode()) + tables


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A picture that can be drawn, with the name that the page lists if it does not fit."""

    name: str
    draw: Callable[[], Picture]


def front_plans(analysis: Analysis) -> list[Plan]:
    """Plan the main figure at every radius, nearest to the objective first; none without trials."""
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


def panel_plans(analysis: Analysis) -> list[Plan]:
    """Plan the small figures, in the order of the page."""
    if not analysis.found:
        return []
    return [
        *_gap_plans(analysis),
        *_strong_plans(analysis),
        *_response_plans(analysis),
        *_equivalence_plans(analysis),
        *_attack_plans(analysis),
        *_heat_plans(analysis),
        *_search_plans(analysis),
        *_training_plans(analysis),
        *_diagnostic_plans(analysis),
    ]


def front_drawing(analysis: Analysis, figure: Figure, key: str, radius: float) -> str:
    """Save the main figure as SVG, with the numbers of each configuration at its mark."""
    title, titles = front_title(analysis, radius), _titles(analysis, radius)
    conditions = front_conditions(analysis, radius, analysis.estimand)
    reading = front_reading(analysis, radius, analysis.estimand)
    return svg(figure, key, title, f"{title}. {conditions}. {reading}", titles)


def _front_picture(analysis: Analysis, position: int) -> Picture:
    threat = analysis.results.threat
    radius, key = threat.radii[position], f"front{position}"
    figure = fig_front(analysis, radius, header=False, layered=True)
    title, titles = front_title(analysis, radius), _titles(analysis, radius)
    reading = front_reading(analysis, radius, analysis.estimand, layered=True)
    return Picture(
        section="front",
        key=key,
        label=value_text(radius),
        order=position,
        svg=Markup(svg(figure, key, title, reading, titles, linked=True)),
        caption=reading,
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


def _plan(
    section: str,
    key: str,
    name: str,
    caption: str,
    draw: "partial[Figure]",
    *,
    numbers: str = "",
    tables: Sequence[Table] = (),
) -> Plan:
    """Plan one figure. `name` is its title, and the name that the page lists if it does not fit."""

    def picture() -> Picture:
        return Picture(
            section=section,
            key=key,
            svg=Markup(svg(draw(), key, f"{name[0].upper()}{name[1:]}", caption)),
            caption=caption,
            numbers=numbers or (tables[0].key if tables else ""),
            tables=tuple(table for table in tables if table.rows),
        )

    return Plan(name=f"the figure of {name}", draw=picture)


def _conditions(analysis: Analysis) -> str:
    """Describe the attack, the images and the intervals of a panel, for the end of its caption."""
    estimand = ESTIMAND_TEXTS[analysis.estimand]
    return f"{_measured(analysis)}; 95% intervals for {estimand}."


def _measured(analysis: Analysis) -> str:
    """Describe the attack and the images of a panel without intervals."""
    threat = analysis.results.threat
    attack = attack_text(threat, threat.objective_radius)
    return f"{attack}; {count_text(analysis.results.num_test, 'test image')}"


def _said(analysis: Analysis, kind: str) -> str:
    """Return the first claim of this kind, for the start of a caption, or an empty text."""
    claims = (f.text for f in analysis.findings if f.kind == kind and f.status == "claimed")
    text = next(claims, "")
    return f"{text.rstrip('.')}. " if text else ""


def _gap_plans(analysis: Analysis) -> list[Plan]:
    view, results = analysis.primary, analysis.results
    conditions = _conditions(analysis)
    drawn = [gap for gap in view.gaps if gap.range is not None]
    plans = [_gap_plan(analysis, gap, number) for number, gap in enumerate(drawn[:MOST_GAPS])]
    compared_at = [one for one in view.floors if one.points]
    if compared_at:
        caption = (
            "Difference in attained robust accuracy at required clean accuracies, for pairs of "
            "methods whose fronts are not both fitted by a curve. Filled: claimed, also against a "
            f"finer grid of the method behind. Intervals hold together. {conditions}"
        )
        draw = partial(fig_floors, compared_at)
        own = tuple(floor_table(analysis, one, f"floors{at}") for at, one in enumerate(compared_at))
        plans.append(_plan("gap", "floors", "differences at floors", caption, draw, tables=own))
    if any(rate.clean for rate in view.rates):
        caption = (
            "Exchange rates along the fitted fronts, on a log axis, with pointwise bands: robust "
            "points gained per clean point given up. Hollow markers: knees, where the rate equals "
            f"that of the chord between the ends of the measured range. {conditions}"
        )
        draw = partial(fig_rate, results, view.rates)
        tables = (rate_table(analysis),)
        plans.append(_plan("gap", "rate", "exchange rates", caption, draw, tables=tables))
    if view.contrasts.hypervolumes:
        caption = (
            "Mean attainable robust accuracy of each method, and differences between methods. "
            "Filled: the primary contrast, with an interval that is not adjusted. Hollow: the "
            "other contrasts, with intervals adjusted to hold together. "
            f"{conditions}"
        )
        compared = (
            contrast_table(results, view.contrasts),
            cost_table(results, view.contrasts),
            dominance_table(results, view.contrasts),
        )
        name = "attainable robustness"
        draw = partial(fig_hypervolume, results, view.contrasts)
        plans.append(_plan("gap", "forest", name, caption, draw, tables=compared))
    return plans


def _gap_plan(analysis: Analysis, gap: Gap, number: int) -> Plan:
    name = f"the gap between {method_text(gap.first)} and {method_text(gap.second)}"
    cut = "The parts outside the figure are in the table. " if is_cut(gap) else ""
    caption = (
        f"{_said(analysis, 'gap') if number == 0 else ''}Robust accuracy of "
        f"{method_text(gap.first)} minus that of {method_text(gap.second)} at equal clean "
        "accuracy. Band: simultaneous, for the chosen families. Dashed: envelope over all families "
        "that fit about as well. Bar at the bottom: the band excludes 0. "
        f"{cut}{_conditions(analysis)}"
    )
    draw, tables = (
        partial(fig_gap, analysis.results, gap),
        gap_table(analysis, gap, f"gaps{number}"),
    )
    return _plan("gap", f"gap{number}", name, caption, draw, tables=(tables,))


def _strong_plans(analysis: Analysis) -> list[Plan]:
    """Plan a front for each stronger attack in the study's norm, from the numbers of it alone."""
    plans = []
    for number, tier in enumerate(analysis.tiers):
        own, threat = tier.analysis, tier.analysis.results.threat
        if not own.found or threat.norm != analysis.results.threat.norm:
            continue
        radius, name = threat.objective_radius, f"the front under {threat.attack}"
        caption = (
            f"The front under {threat.attack}, of the configurations attacked. It holds no numbers "
            f"of {analysis.results.threat.attack}. "
            f"{front_conditions(own, radius, own.estimand)}. "
            f"{front_reading(own, radius, own.estimand)}"
        )
        draw = partial(fig_front, own, radius, header=False)
        key, numbers = f"strong{number}", f"strong-attack{number}"
        plans.append(_plan("strong", key, name, caption, draw, numbers=numbers))
    return plans


def _response_plans(analysis: Analysis) -> list[Plan]:
    plans = []
    for number, response in enumerate(analysis.primary.responses):
        symbol = SYMBOLS.get(response.name, response.name)
        name = f"accuracy of {method_text(response.method)} against {symbol}"
        caption = (
            f"Clean (hollow) and robust accuracy of {method_text(response.method)} against "
            f"{symbol}, on a log scale"
            f"{', with 0 set apart' if 0.0 in response.strengths else ''}. "
            + ("Line: non-increasing fit to clean accuracy. " if response.clean_fit else "")
            + _conditions(analysis)
        )
        draw = partial(fig_response, analysis.results, response)
        key = f"response{number}"
        plans.append(_plan("response", key, name, caption, draw, numbers="configurations"))
    return plans


def _equivalence_plans(analysis: Analysis) -> list[Plan]:
    plans = []
    compared = [e for e in analysis.primary.equivalences if any(v.rho for v in e.values)]
    for number, equivalence in enumerate(compared):
        pair = f"{method_text(equivalence.sam)} in ε of {method_text(equivalence.adversarial)}"
        caption = (
            f"The training ε at which {method_text(equivalence.adversarial)} is as robust as "
            f"{method_text(equivalence.sam)} with a given ρ, at the same attack radius. Each "
            "interval is the union over two ways to interpolate between the trained ε. Where the "
            f"data only bound ε, a bracket is drawn. {_conditions(analysis)}"
        )
        draw = partial(fig_equivalence, analysis.results, equivalence)
        key = f"equivalence{number}"
        tables = (equivalence_table(analysis, equivalence, f"equivalences{number}"),)
        plans.append(_plan("equivalence", key, pair, caption, draw, tables=tables))
    return plans


def _attack_plans(analysis: Analysis) -> list[Plan]:
    if not any(margin.curve for margin in analysis.margins):
        return []
    caption = (
        f"{_said(analysis, 'attack strength')}Accuracy against attack radius, of each method's "
        "most robust configuration as chosen. Lines: fitted survival curves with pointwise bands. "
        "Accuracy at radius 0 is clean accuracy. White diamonds: the radius at which half of it is "
        f"lost. {analysis.results.threat.attack}, {analysis.results.threat.norm}; "
        f"{count_text(analysis.results.num_test, 'test image')}; 95% intervals for "
        f"{ESTIMAND_TEXTS[analysis.estimand]}."
    )
    draw = partial(fig_margins, analysis.results, analysis.margins)
    name = "accuracy against attack radius"
    return [_plan("attack", "attack", name, caption, draw, tables=(margin_table(analysis),))]


def _heat_plans(analysis: Analysis) -> list[Plan]:
    plans = []
    large = [heat for heat in analysis.primary.heat_maps if len(heat.cells) >= FEWEST]
    for number, heat in enumerate(large):
        name = f"robust accuracy of {method_text(heat.method)} over ρ and ε"
        caption = (
            f"Robust accuracy of {method_text(heat.method)} over ρ and ε: "
            f"{'mean ± standard error, in %' if heat.is_grid else 'darker is higher'}. "
            "A cross marks a configuration that is on the study's front in at least half of the "
            "replicates. "
            f"{_measured(analysis)}."
        )
        draw = partial(fig_heat, analysis.results, heat)
        plans.append(_plan("heat", f"heat{number}", name, caption, draw, numbers="configurations"))
    return plans


def _search_plans(analysis: Analysis) -> list[Plan]:
    results, plans = analysis.results, []
    searched = searched_methods(results, analysis.found)
    counts = [sum(c.method == method for c in analysis.found) for method in searched]
    if max(counts, default=0) >= FEWEST:
        caption = parallel_caption(results, analysis.found)
        draw = partial(fig_parallel, results, analysis.choice, analysis.found)
        name = "searches as parallel coordinates"
        plans.append(_plan("search", "parallel", name, caption, draw, numbers="configurations"))
    if results.importances:
        caption = importance_caption(results)
        draw, tables = partial(fig_importance, results), (importance_table(results),)
        name = "importances of hyperparameters"
        plans.append(_plan("search", "importance", name, caption, draw, tables=tables))
    return plans


def _training_plans(analysis: Analysis) -> list[Plan]:
    results = analysis.results
    if not results.histories:
        return []
    draw = partial(fig_training, results, analysis.choice)
    tables = (training_table(results, analysis.choice),)
    caption = training_caption(results, analysis.choice)
    return [_plan("training", "training-curves", "training", caption, draw, tables=tables)]


def _diagnostic_plans(analysis: Analysis) -> list[Plan]:
    fits = [fit for fit in analysis.primary.fits if fit.chosen]
    if not fits:
        return []
    caption = (
        "Distances of the configurations from their curves, in standard errors of seed noise. If a "
        f"curve is right, about 95% of them lie between −2 and 2. {_measured(analysis)}."
    )
    draw = partial(fig_residuals, analysis.results, fits)
    return [_plan("diagnostics", "residuals", "residuals", caption, draw, numbers="gates")]
