"""Page: `index.html`, one file that loads no other and needs neither scripts nor a wide screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from analysis.document import Analysis
from analysis.figures.palette import method_styles
from analysis.figures.scene import ESTIMAND_KEYS
from analysis.findings.phrases import reason_text
from analysis.report.attack_tables import (
    attack_table,
    check_table,
    detection_table,
    other_table,
    part_table,
    tier_front_table,
    tier_text,
    verdict_table,
)
from analysis.report.configurations import configuration_table
from analysis.report.front_tables import claim_table, effort_table, gate_table
from analysis.report.limits import Limit, limits, method_notes
from analysis.report.markdown import EXPLORATORY, mark_of, ordered
from analysis.report.plans import Picture, Plan, front_plans, panel_plans
from analysis.report.tables import (
    Table,
    absent_table,
    count_table,
    front_table,
    method_table,
    reference_table,
)
from analysis.results.words import shortened

MOST_BYTES = 480_000
"""The page stays below this size, as it is mailed and shown in a frame of the MLflow UI."""
MOST_FINDINGS = 4
"""Claims that are open from the start; the others are folded."""
MOST_LIMITS = 3
"""Limits that are open from the start; the others are folded, so that the main figure is near."""
GRAVEST = (
    "Anything about accuracy",
    "Absent trials",
    "Data",
    "Other attacks",
    "Other seeds",
    "Other images",
)
"""Topics of limits in the order in which they are shown, after the gravest refusal."""
MOST_UNFOLDED = 60
"""The page has at most so many of each kind; findings.md has all of them."""
AROUND_BYTES = 1_000
"""The most bytes that the page adds around a figure, or about one that is left out."""
SECTIONS = {
    "claims": "Claims of the study",
    "gap": "Gap at equal clean accuracy, exchange rate, attainable robustness",
    "strong": "Stronger attacks",
    "response": "Accuracy against the strength of training",
    "equivalence": "The training ε that each ρ is worth",
    "attack": "Accuracy against the attack radius",
    "other": "Other norms",
    "heat": "Robust accuracy over ρ and ε",
    "search": "Hyperparameters",
    "training": "Training",
    "checks": "Diagnostics",
    "table": "All configurations",
}
"""Titles of the sections between the main figure and the methods, in the order of the page."""
DIAGNOSTICS = "diagnostics"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: figures, and the tables with their numbers."""

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True, kw_only=True)
class Control:
    """A switch of the page: it shows or hides the elements of class `key`."""

    key: str
    label: str
    colour: str = ""


def page(analysis: Analysis) -> str:
    """Build the page, smaller than `MOST_BYTES`; list figures that no longer fit by name."""
    environment = Environment(
        loader=PackageLoader("analysis.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"parted": parted, "reason": reason_text, "mark": mark_of}
    template = environment.get_template("report.html")
    fronts, panels = front_plans(analysis), panel_plans(analysis)
    rest = len(_render(template, analysis, {}, []).encode(errors="replace"))
    pictures, left_out = _fitting([*fronts[:1], *panels, *fronts[1:]], MOST_BYTES - rest)
    # Digits are grouped by thin spaces, at which a line must not break.
    return _render(template, analysis, pictures, left_out).replace("\u2009", "\u202f")


def parted(text: str) -> tuple[str, str]:
    """Split a finding into its statement and the conditions in brackets under which it holds.

    >>> parted("A is better than B (95% interval 1 to 2 pp; PGD). So it is.")
    ('A is better than B', ' (95% interval 1 to 2 pp; PGD). So it is.')
    """
    said, bracket, conditions = text.partition(" (95%")
    return said, bracket + conditions


def gravest_first(bounds: Sequence[Limit], *, on_validation: bool) -> list[Limit]:
    """Sort the limits of a study: what is missing, then what could change its numbers most.

    Without validation data, the choice on test data comes first of all.
    """
    order = GRAVEST if on_validation else ("Other choices", *GRAVEST)
    places = {topic: place for place, topic in enumerate(order)}
    return sorted(bounds, key=lambda bound: places.get(bound.topic, len(order)))


def _render(
    template: Template,
    analysis: Analysis,
    pictures: Mapping[str, Picture],
    left_out: Sequence[str],
) -> str:
    results, choice = analysis.results, analysis.choice
    fronts = [picture for picture in pictures.values() if picture.section == "front"]
    findings = ordered(analysis.findings)
    styles = method_styles(results.methods)
    unsaid = [f for f in findings if f.status != "claimed"]
    bounds = gravest_first(limits(results, choice), on_validation=choice.on_validation)
    open_limits = MOST_LIMITS - len(unsaid[:1])
    return template.render(
        results=results,
        alarms=analysis.alarms,
        said=[f for f in findings if f.status == "claimed"],
        unsaid=unsaid,
        exploratory=EXPLORATORY,
        most=MOST_FINDINGS,
        most_unfolded=MOST_UNFOLDED,
        nothing_said="Nothing is claimed. The reasons are below."
        if results.trials
        else "No trial of this study has a result, so nothing can be said about its methods.",
        limits=bounds,
        open_limits=open_limits,
        fronts=sorted(fronts, key=lambda picture: picture.order),
        methods=[
            Control(
                key=f"m{number}",
                label=shortened(front.note.name, 40),
                colour=styles[front.note.name].text_colour,
            )
            for number, front in enumerate(choice.fronts)
            if front.configurations
        ],
        estimands=[
            Control(key=ESTIMAND_KEYS[estimand], label=label)
            for estimand in analysis.estimands
            for label in [
                "other seeds and images" if estimand == "population" else "other seeds, same images"
            ]
        ],
        left_out=left_out,
        sections=_sections(analysis, pictures),
        notes=method_notes(analysis),
        diagnostics=_diagnostics(analysis, pictures),
        provenance=_provenance(analysis),
    )


def _sections(analysis: Analysis, pictures: Mapping[str, Picture]) -> list[Section]:
    """Build the sections between the main figure and the methods, without empty ones."""
    tables = section_tables(analysis)
    attacks = ", ".join(dict.fromkeys(tier.attack for tier in analysis.tiers))
    titles = {**SECTIONS, "strong": attacks}
    texts = {"strong": " ".join(tier_text(analysis, tier) for tier in analysis.tiers)}
    sections = []
    for key, title in titles.items():
        shown = [picture for picture in pictures.values() if picture.section == key]
        filled = [table for table in tables.get(key, []) if table.rows]
        filled += [table for picture in shown for table in picture.tables]
        if shown or filled or texts.get(key):
            text = texts.get(key, "")
            sections.append(Section(title=title, text=text, pictures=shown, tables=filled))
    return sections


def section_tables(analysis: Analysis) -> Mapping[str, list[Table]]:
    """Return the tables that each section has, whether or not its figures fit."""
    strong = []
    for number, tier in enumerate(analysis.tiers):
        key = f"strong-attack{number}"
        strong.append(attack_table(analysis.results, tier, key))
        strong.append(attack_table(analysis.results, tier, f"{key}-radii", at_objective=False))
        strong.append(part_table(tier, f"strong-parts{number}"))
        if tier.analysis.results.threat.norm == analysis.results.threat.norm:
            strong.append(tier_front_table(tier, f"strong-fronts{number}"))
    return {
        "claims": [claim_table(analysis)],
        "gap": [front_table(analysis), effort_table(analysis), reference_table(analysis.results)],
        "strong": strong,
        "other": [
            other_table(analysis, other, f"other{number}")
            for number, other in enumerate(analysis.others)
        ],
        "training": [detection_table(analysis)],
        "checks": [check_table(analysis), verdict_table(analysis)],
        "table": [configuration_table(analysis)],
    }


def _diagnostics(analysis: Analysis, pictures: Mapping[str, Picture]) -> Section:
    results, choice = analysis.results, analysis.choice
    tables = [method_table(results), gate_table(analysis), count_table(results, choice)]
    tables += [absent_table(results)] if results.absent else []
    return Section(
        title="Methods and diagnostics",
        pictures=[picture for picture in pictures.values() if picture.section == DIAGNOSTICS],
        tables=[table for table in tables if table.rows],
    )


def _provenance(analysis: Analysis) -> Mapping[str, str]:
    hashes = {trial.sample_hash for trial in analysis.results.trials if trial.sample_hash}
    return {
        **analysis.results.provenance,
        "test samples": ", ".join(sorted(hashes)) or "unknown, as no trial has correctness bits",
        "replicates": f"{analysis.replicates}, drawn with seed {analysis.replicate_seed}",
    }


def _fitting(plans: Sequence[Plan], room: int) -> tuple[dict[str, Picture], list[str]]:
    """Draw the first figure and those that fit into `room` bytes; return the others' names."""
    pictures: dict[str, Picture] = {}
    left_out: list[str] = []
    for plan in plans:
        if not left_out:
            picture = plan.draw()
            room -= picture.size + AROUND_BYTES
            if room >= 0 or not pictures:
                pictures[picture.key] = picture
                continue
        left_out.append(plan.name)
    return pictures, left_out
