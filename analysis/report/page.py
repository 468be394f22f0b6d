"""Page: `index.html`, one file that loads no other and needs neither scripts nor a wide screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from analysis.document import Analysis
from analysis.figures.palette import method_styles
from analysis.figures.scene import ESTIMAND_KEYS
from analysis.findings.phrases import reason_text
from analysis.inference.claims import Finding
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
from analysis.report.cards import build_cards
from analysis.report.configurations import configuration_table
from analysis.report.front_tables import claim_table, effort_table, gate_table
from analysis.report.limits import Limit, limits, method_notes
from analysis.report.markdown import EXPLORATORY, is_told, mark_of, ordered
from analysis.report.plans import Picture, Plan, front_plans, panel_plans
from analysis.report.screen import first_screen, sentences
from analysis.report.tables import (
    Cell,
    Table,
    absent_table,
    advice_table,
    count_table,
    front_table,
    method_table,
    reference_table,
)
from analysis.results.words import shortened

MOST_BYTES = 480_000
"""The page stays below this size, as it is mailed and shown in a frame of the MLflow UI."""
MOST_FINDINGS = 2
"""Findings after the answer that are there from the start; the others are folded."""
GRAVEST = (
    "Anything about accuracy",
    "Absent trials",
    "Data",
    "Trials at the last epoch",
    "Fewer attack steps",
    "Other attacks",
    "Other seeds",
    "Other images",
)
"""Topics of limits in the order in which they are shown."""
NOTHING_CLAIMED = "Nothing is claimed."
NO_RESULT = "No trial of this study has a result, so nothing can be said about its methods."
MOST_UNFOLDED = 60
"""The page has at most so many of each kind; findings.md has all of them."""
AROUND_BYTES = 1_000
"""The most bytes that the page adds around a figure, or about one that is left out."""
SECTIONS = {
    "claims": ("Claims of the study", "Claims"),
    "next": ("What to run next", "Next"),
    "gap": ("Comparison of the methods", "Methods compared"),
    "strong": ("Stronger attacks", "Stronger attacks"),
    "response": ("Accuracy against the strength of training", "Strength"),
    "equivalence": ("The training ε that each ρ is worth", "Worth of a ρ"),
    "attack": ("Accuracy against the attack radius", "Attack radius"),
    "other": ("Other norms", "Other norms"),
    "heat": ("Robust accuracy over ρ and ε", "ρ and ε"),
    "search": ("Hyperparameters", "Hyperparameters"),
    "training": ("Training", "Training"),
    "checks": ("Diagnostics", "Diagnostics"),
    "table": ("All configurations", "All configurations"),
}
"""Titles of the sections between the findings and the methods, in the order of the page, and as
the contents have them."""
DIAGNOSTICS = "diagnostics"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: figures, and the tables with their numbers."""

    key: str
    title: str
    short: str
    """Its title in the contents."""
    text: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True, kw_only=True)
class Control:
    """A switch of the page: it shows or hides the elements of class `key`."""

    key: str
    label: str
    colour: str = ""
    chosen: bool = False


LAYERS = (
    Control(key="ring", label="regions"),
    Control(key="band", label="bands"),
    Control(key="seed", label="seeds"),
)
"""What the main figure shows only where it is asked for."""
FILES = (
    Cell(text="PDF", target="front.pdf"),
    Cell(text="PDF of one column", target="front_column.pdf"),
    Cell(text="LaTeX", target="table.tex"),
    Cell(text="CSV", target="configs.csv"),
    Cell(text="Markdown", target="findings.md"),
    Cell(text="YAML", target="next.yaml"),
    Cell(text="JSON", target="front.json"),
)
"""Files beside the page that it links to."""


def page(analysis: Analysis) -> str:
    """Build the page, smaller than `MOST_BYTES`; list figures that no longer fit by name."""
    environment = Environment(
        loader=PackageLoader("analysis.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"said": said, "reason": reason_text, "mark": mark_of}
    environment.filters["sentences"] = sentences
    template = environment.get_template("report.html")
    fronts, panels = front_plans(analysis), panel_plans(analysis)
    rest = len(_render(template, analysis, {}, []).encode(errors="replace"))
    pictures, left_out = _fitting([*fronts[:1], *panels, *fronts[1:]], MOST_BYTES - rest)
    # Digits are grouped by thin spaces, at which a line must not break.
    return _render(template, analysis, pictures, left_out).replace("\u2009", "\u202f")


def said(finding: Finding) -> str:
    """Return a finding in plain words, or its text without the conditions in brackets."""
    return finding.plain or f"{finding.text.partition(' (95%')[0].rstrip('.')}."


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
    screen = first_screen(analysis, findings)
    told = [f for f in findings if is_told(f) and f not in screen.answer]
    sections = _sections(analysis, pictures)
    return template.render(
        results=results,
        screen=screen,
        alarms=analysis.alarms,
        declared=[f for f in told if not f.is_exploratory],
        told=[f for f in told if f.is_exploratory],
        exploratory=EXPLORATORY,
        unsaid=[f for f in findings if not is_told(f) and f not in screen.answer],
        most=MOST_FINDINGS,
        most_unfolded=MOST_UNFOLDED,
        nothing_said=NOTHING_CLAIMED if results.trials else NO_RESULT,
        limits=gravest_first(limits(results, choice), on_validation=choice.on_validation),
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
            Control(key=ESTIMAND_KEYS[estimand], label=label, chosen=estimand == analysis.estimand)
            for estimand in analysis.estimands
            for label in ["seeds and images" if estimand == "population" else "seeds alone"]
        ],
        layers=LAYERS,
        files=FILES,
        left_out=left_out,
        contents=_contents(told, sections),
        sections=sections,
        cards=build_cards(analysis),
        notes=method_notes(analysis),
        diagnostics=_diagnostics(analysis, pictures),
        provenance=_provenance(analysis),
    )


def _contents(told: Sequence[Finding], sections: Sequence[Section]) -> list[Control]:
    """List the parts of the page below the first screen, as the contents name them."""
    return [
        *([Control(key="findings", label="Findings")] if told else []),
        Control(key="limits", label="Limits"),
        *(Control(key=section.key, label=section.short) for section in sections),
        *([Control(key="cards", label="One by one")] if sections else []),
        Control(key="methods", label="Methods"),
        Control(key="provenance", label="Provenance"),
    ]


def _sections(analysis: Analysis, pictures: Mapping[str, Picture]) -> list[Section]:
    """Build the sections between the main figure and the methods, without empty ones."""
    tables = section_tables(analysis)
    attacks = ", ".join(dict.fromkeys(tier.attack for tier in analysis.tiers))
    titles = {**SECTIONS, "strong": (attacks, attacks)}
    texts = {"strong": " ".join(tier_text(analysis, tier) for tier in analysis.tiers)}
    sections = []
    for key, (title, short) in titles.items():
        shown = [picture for picture in pictures.values() if picture.section == key]
        filled = [table for table in tables.get(key, []) if table.rows]
        filled += [table for picture in shown for table in picture.tables]
        if shown or filled or texts.get(key):
            sections.append(
                Section(
                    key=key,
                    title=title,
                    short=short,
                    text=texts.get(key, ""),
                    pictures=shown,
                    tables=filled,
                )
            )
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
        "next": [advice_table(analysis)],
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
        key="methods",
        title="Methods and diagnostics",
        short="Methods",
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
