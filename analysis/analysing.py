"""Analyse: compute everything that a report shows from the results of a study."""

from dataclasses import replace
from functools import partial

from analysis.advice.advise import advise
from analysis.attacks.alarms import find_alarms
from analysis.attacks.exclusion import diagnoses, leave_out, measure_exclusion
from analysis.attacks.other_norm import measure_other_norms
from analysis.attacks.tiers import TierDesign, compare_attacks, tier_designs, tier_results
from analysis.curves.fits import FrontFit, fit_fronts
from analysis.curves.gaps import Gap, measure_gap
from analysis.curves.rates import measure_rate
from analysis.document import Analysis, Tier, View
from analysis.findings.attacks import tier_findings
from analysis.findings.findings import find
from analysis.findings.phrases import unrepeated_text
from analysis.fronts.attainment import measure_fronts
from analysis.fronts.choice import Choice, choose
from analysis.fronts.contrasts import compared_pairs, measure_contrasts, noisy_at
from analysis.fronts.effort import EffortContrast, measure_effort
from analysis.fronts.floors import measure_floors
from analysis.fronts.optimism import measure_selection
from analysis.fronts.verdicts import measure_claims
from analysis.inference.bootstrap import COUNT, Replicates, draw_replicates
from analysis.inference.claims import Estimand
from analysis.responses.equivalence import measure_equivalences
from analysis.responses.margins import measure_margins
from analysis.responses.strength import measure_heat_maps, measure_responses
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results, compared
from analysis.results.trials import TrialResult


def analyse(results: Results, *, replicates: int = COUNT, seed: int = 0) -> Analysis:
    """Compute everything that the report of a study shows from its results.

    Trials are left out and listed as absent if an alarm reports that their attack failed. Equal
    results, number of replicates and seed give an equal analysis.
    """
    given, alarms = results, find_alarms(results)
    results = leave_out(given, alarms)
    found, choice = configurations(results), choose(results)
    drawn = draw_replicates(results, found, count=replicates, seed=seed)
    views = tuple(
        _view(results, found, choice, drawn, radius, estimand)
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
        noisy=drawn.noisy,
        efforts=_efforts(results, found, drawn),
        claims=measure_claims(results, found, choice, drawn, partial(unrepeated_text, found)),
    )
    advice = advise(results, found, drawn, document.primary)
    return replace(document, findings=find(document), advice=advice)


def _efforts(
    results: Results, found: tuple[ConfigurationResult, ...], drawn: Replicates
) -> tuple[EffortContrast, ...]:
    """Compare the pairs of the study by the number of configurations tried."""
    rows = {
        note.name: [row for row, c in enumerate(found) if c.method == note.name]
        for note in results.methods
    }
    pairs = compared_pairs(results, [name for name, own in rows.items() if own])
    radius = results.threat.objective_radius
    noisy = noisy_at(results, drawn, radius, drawn.default)
    return measure_effort(results, rows, pairs, noisy, radius, drawn.default)


def _tier(results: Results, design: TierDesign, replicates: int, seed: int) -> Tier:
    """Analyse the trials under a stronger attack, and their difference to the weaker attack."""
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
    # In another norm nothing was declared beforehand, so no methods are compared in it.
    own = design.norm == results.threat.norm
    said = tier_findings(tier, results.threat.attack) if own else ()
    return replace(tier, analysis=replace(document, findings=said, advice=()))


def without_bits(results: Results) -> Results:
    """Return the results without the correctness bits, which `front.json` does not hold."""
    return replace(results, trials=tuple(_without_bits(trial) for trial in results.trials))


def _without_bits(trial: TrialResult) -> TrialResult:
    other = None if trial.other is None else replace(trial.other, bits=None)
    strong = tuple(replace(one, bits=None) for one in trial.strong)
    return replace(trial, bits=None, other=other, strong=strong)


def _view(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    choice: Choice,
    drawn: Replicates,
    radius: float,
    estimand: Estimand,
) -> View:
    fits = tuple(fit_fronts(results, drawn, choice=choice, radius=radius, estimand=estimand))
    gaps = _gaps(results, drawn, fits)
    is_objective = radius == results.threat.objective_radius
    open_pairs = [(g.first, g.second) for g in gaps if g.status == "refused" and is_objective]
    return View(
        radius=radius,
        estimand=estimand,
        fronts=measure_fronts(results, found, choice, drawn, radius, estimand),
        fits=fits,
        gaps=gaps,
        rates=tuple(measure_rate(results, drawn, fit) for fit in fits if fit.chosen),
        contrasts=measure_contrasts(results, found, choice, drawn, radius, estimand),
        responses=measure_responses(results, found, drawn, radius, estimand),
        heat_maps=measure_heat_maps(results, found, drawn, radius, estimand),
        equivalences=measure_equivalences(results, found, drawn, radius, estimand),
        floors=measure_floors(results, found, choice, drawn, open_pairs, estimand),
    )


def _gaps(results: Results, drawn: Replicates, fits: tuple[FrontFit, ...]) -> tuple[Gap, ...]:
    """Measure the gap between the curves of each pair of methods that the study compares."""
    by_method = {fit.method: fit for fit in fits}
    return tuple(
        measure_gap(results, drawn, by_method[first], by_method[second])
        for first, second in compared(results, tuple(by_method))
    )
