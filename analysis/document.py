"""Document: everything that an analysis found, as one value and as `front.json`.

The figures, the tables and the page are made from it alone. Fractions, never percent; null, never
NaN. Additions keep the schema's number; a changed meaning raises it; readers refuse one that they
do not know.
"""

import json
from dataclasses import dataclass, replace
from functools import cached_property

from analysis.alarms import Alarm, find_alarms
from analysis.bootstrap import COUNT, Replicates, draw_replicates
from analysis.choice import choose
from analysis.claims import Estimand, Finding
from analysis.codec import from_plain, to_plain
from analysis.configurations import ConfigurationResult, configurations
from analysis.contrasts import Contrasts, measure_contrasts
from analysis.curves import FrontFit, fit_fronts
from analysis.diagnosis import Diagnosis, diagnoses
from analysis.equivalence import Equivalence, measure_equivalences
from analysis.exclusion import Exclusion, leave_out, measure_exclusion
from analysis.fronts import Fronts, measure_fronts
from analysis.gaps import Gap, Rate, measure_gap, measure_rate
from analysis.margins import Margin, measure_margins
from analysis.other_norm import OtherEvaluation, measure_other_norms
from analysis.pairs import compared
from analysis.response import HeatMap, Response, measure_heat_maps, measure_responses
from analysis.results import Results, ResultsError, TrialResult
from analysis.selection import Selection, measure_selection
from analysis.tier_designs import TierDesign, tier_designs
from analysis.tiers import (
    AttackedTwice,
    MethodLoss,
    compare_attacks,
    tier_results,
)

SCHEMA = "rhoeps.front/1"


@dataclass(frozen=True, kw_only=True)
class View:
    """What was found at one radius under one estimand."""

    radius: float
    estimand: Estimand
    fronts: Fronts
    fits: tuple[FrontFit, ...]
    """Curves: at the objective radius, the one declared beforehand, and empty elsewhere."""
    gaps: tuple[Gap, ...]
    rates: tuple[Rate, ...]
    contrasts: Contrasts
    responses: tuple[Response, ...]
    heat_maps: tuple[HeatMap, ...]
    equivalences: tuple[Equivalence, ...]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that the report shows. The bits are not in it."""

    results: Results
    replicates: int
    """How many replicates stand behind each interval."""
    replicate_seed: int
    pooled_over_methods: bool
    """True if seed noise was pooled over all methods, as one had too few seeds for its own."""
    variance_explained_by_seed: float | None
    estimands: tuple[Estimand, ...]
    """Those that the data allow, the default first."""
    covariances: tuple[tuple[tuple[float, ...], ...], ...]
    """(N, 1 + R, 1 + R): seed covariance of each configuration's mean accuracies."""
    views: tuple[View, ...]
    """One for each radius and estimand."""
    selection: Selection
    margins: tuple[Margin, ...]
    alarms: tuple[Alarm, ...]
    exclusion: Exclusion | None
    """What was left out for a failing alarm; None if nothing was."""
    findings: tuple[Finding, ...]
    tiers: tuple["Tier", ...] = ()
    """What stronger attacks left, each beside the evaluation attack."""
    others: tuple[OtherEvaluation, ...] = ()
    """Accuracies in other norms."""
    diagnoses: tuple[Diagnosis, ...] = ()
    """Checks and detections of all trials, of those left out too."""

    @property
    def estimand(self) -> Estimand:
        """Give the default estimand, that of headline numbers."""
        return self.estimands[0]

    @property
    def primary(self) -> View:
        """Give the view at the objective radius under the default estimand."""
        return self.view(self.results.threat.objective_radius)

    @cached_property
    def found(self) -> tuple[ConfigurationResult, ...]:
        """Give the configurations: the rows that views refer to."""
        return configurations(self.results)

    def view(self, radius: float, estimand: Estimand | None = None) -> View:
        """Give what was found at this radius, by default under the default estimand."""
        asked = estimand or self.estimand
        return next(v for v in self.views if v.radius == radius and v.estimand == asked)


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A stronger attack as a study of its own, and beside the evaluation attack."""

    attack: str
    """Say `AutoAttack`; `analysis.results.threat.attack` names it with its samples."""
    samples: int
    parts: tuple[str, ...]
    """The attacks it is made of, in the order in which they ran."""
    partial: tuple[str, ...]
    """Trials attacked at some of their radii only: in nothing that is said of the tier."""
    analysis: Analysis
    """Of the trials attacked; its findings are those that the study's findings hold too."""
    attacked: tuple[AttackedTwice, ...]
    """By radius, then by configuration."""
    losses: tuple[MethodLoss, ...]
    """At the objective radius, in the order of the methods."""


def analyse(results: Results, *, replicates: int = COUNT, seed: int = 0) -> Analysis:
    """Analyse the results of a study: everything that its report says.

    Trials whose attack failed, by an alarm, are left out and listed as absent. Equal results,
    number of replicates and seed give an equal analysis.
    """
    from analysis.findings import find  # findings are made from a document without them

    given, alarms = results, find_alarms(results)
    results = leave_out(given, alarms)
    found, choice = configurations(results), choose(results)
    drawn = draw_replicates(results, found, count=replicates, seed=seed)
    views = tuple(
        _view(results, found, drawn, radius, estimand)
        for radius in results.threat.radii
        for estimand in drawn.estimands
    )
    document = Analysis(
        results=without_bits(results),
        replicates=replicates,
        replicate_seed=seed,
        pooled_over_methods=drawn.pooled_over_methods,
        variance_explained_by_seed=drawn.variance_explained_by_seed,
        estimands=drawn.estimands,
        covariances=tuple(
            tuple(tuple(row) for row in matrix) for matrix in drawn.covariances.tolist()
        ),
        views=views,
        selection=measure_selection(results, found, choice, drawn),
        margins=measure_margins(results, found, choice, drawn, drawn.default),
        alarms=alarms,
        exclusion=measure_exclusion(given, results, count=replicates, seed=seed),
        findings=(),
        tiers=tuple(_tier(results, design, replicates, seed) for design in tier_designs(results)),
        others=measure_other_norms(results, found, count=replicates, seed=seed),
        diagnoses=diagnoses(given, results),
    )
    return replace(document, findings=find(document))


def _tier(results: Results, design: TierDesign, replicates: int, seed: int) -> Tier:
    """Analyse what a stronger attack left: its own fronts, and its difference to the weaker one."""
    from analysis.tier_findings import tier_findings  # they are made from a document, too

    document = analyse(tier_results(results, design), replicates=replicates, seed=seed)
    attacked, losses = compare_attacks(
        results, design, document.results, count=replicates, seed=seed
    )
    tier = Tier(
        attack=design.attack,
        samples=design.samples,
        parts=design.parts,
        partial=design.partial,
        analysis=document,
        attacked=attacked,
        losses=losses,
    )
    # Nothing was declared in another norm, and nothing is compared in it.
    own = design.norm == results.threat.norm
    said = tier_findings(tier, results.threat.attack) if own else ()
    return replace(tier, analysis=replace(document, findings=said))


def without_bits(results: Results) -> Results:
    """Drop the correctness bits: what is left is what `front.json` carries."""
    return replace(results, trials=tuple(_without_bits(trial) for trial in results.trials))


def _without_bits(trial: TrialResult) -> TrialResult:
    other = None if trial.other is None else replace(trial.other, bits=None)
    strong = tuple(replace(one, bits=None) for one in trial.strong)
    return replace(trial, bits=None, other=other, strong=strong)


def write_json(analysis: Analysis) -> str:
    """Write an analysis as `front.json`."""
    document = {"schema": SCHEMA, **to_plain(analysis)}
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def read_json(text: str) -> Analysis:
    """Read an analysis from the text of a `front.json`.

    Raises `ResultsError` for an unknown schema and for whatever does not fit it.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ResultsError(f"front.json:{error.lineno}: is not JSON: {error.msg}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ResultsError(f"front.json: schema must be {SCHEMA}, got {schema!r}")
    return from_plain(Analysis, document, "front.json")


def _view(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    drawn: Replicates,
    radius: float,
    estimand: Estimand,
) -> View:
    fits = tuple(fit_fronts(results, drawn, radius=radius, estimand=estimand))
    return View(
        radius=radius,
        estimand=estimand,
        fronts=measure_fronts(results, found, choose(results), drawn, radius, estimand),
        fits=fits,
        gaps=_gaps(results, drawn, fits),
        rates=tuple(measure_rate(results, drawn, fit) for fit in fits if fit.chosen),
        contrasts=measure_contrasts(results, found, drawn, radius, estimand),
        responses=measure_responses(results, found, drawn, radius, estimand),
        heat_maps=measure_heat_maps(results, found, drawn, radius, estimand),
        equivalences=measure_equivalences(results, found, drawn, radius, estimand),
    )


def _gaps(results: Results, drawn: Replicates, fits: tuple[FrontFit, ...]) -> tuple[Gap, ...]:
    """Compare the curves of the pairs of methods that the study compares."""
    by_method = {fit.method: fit for fit in fits}
    return tuple(
        measure_gap(results, drawn, by_method[first], by_method[second])
        for first, second in compared(results, tuple(by_method))
    )
