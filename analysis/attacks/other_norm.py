"""Other norm: robust accuracies in a norm that nothing was chosen by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.inference.bootstrap import draw_replicates
from analysis.inference.claims import Estimand, Interval
from analysis.inference.intervals import intervals
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.trials import Key, Norm, TrialResult


@dataclass(frozen=True, kw_only=True)
class OtherAccuracies:
    """One configuration's robust accuracies, nested: means over seeds with intervals."""

    row: int
    """Its position among the study's configurations."""
    seeds: int
    robust: tuple[Interval, ...]
    """(R,)"""


@dataclass(frozen=True, kw_only=True)
class OtherEvaluation:
    """All configurations that were evaluated at these radii of another norm."""

    norm: Norm
    radii: tuple[float, ...]
    estimand: Estimand
    configurations: tuple[OtherAccuracies, ...]


def measure_other_norms(
    results: Results, found: Sequence[ConfigurationResult], *, count: int, seed: int
) -> tuple[OtherEvaluation, ...]:
    """Measure the accuracies in other norms; one evaluation for each set of radii that occurs."""
    designs = dict.fromkeys(
        (trial.other.norm, trial.other.radii) for trial in results.trials if trial.other is not None
    )
    rows = {c.key: row for row, c in enumerate(found)}
    return tuple(
        _measured(results, norm, radii, rows, count=count, seed=seed) for norm, radii in designs
    )


def _measured(
    results: Results,
    norm: Norm,
    radii: tuple[float, ...],
    rows: dict[Key, int],
    *,
    count: int,
    seed: int,
) -> OtherEvaluation:
    # A threat model needs an objective radius. Nothing is chosen in this norm, so any will do.
    threat = replace(results.threat, norm=norm, radii=radii, objective_radius=radii[0])
    trials = tuple(
        _in_other_norm(trial)
        for trial in results.trials
        if trial.other is not None and (trial.other.norm, trial.other.radii) == (norm, radii)
    )
    other = replace(results, threat=threat, trials=trials, absent=(), claims=(), references=())
    found = configurations(other)
    drawn = draw_replicates(other, found, count=count, seed=seed)
    replicates = drawn.of(drawn.default)
    return OtherEvaluation(
        norm=norm,
        radii=radii,
        estimand=drawn.default,
        configurations=tuple(
            OtherAccuracies(
                row=rows[c.key],
                seeds=len(c.trials),
                robust=tuple(intervals(drawn.means[at, 1:], replicates[:, at, 1:])),
            )
            for at, c in enumerate(found)
        ),
    )


def _in_other_norm(trial: TrialResult) -> TrialResult:
    """Replace the study's own robust accuracies by those in the other norm."""
    assert trial.other is not None
    bits = None
    if trial.bits is not None and trial.other.bits is not None:
        # Without an attack the norm makes no difference: the clean bits serve both.
        bits = np.vstack([trial.bits[:1], trial.other.bits])
    changed = replace(trial, other=None, strong=(), checks=(), detections=())
    return replace(changed, robust=trial.other.robust, bits=bits)
