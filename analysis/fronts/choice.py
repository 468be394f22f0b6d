"""Choice: which configurations make up a method's front, and what that front is worth.

Members are chosen on validation data where there are any, but every number about them is a test
number. So a front chosen on validation need not be a front on test; its members stay all the same.
Configurations that lack a declared seed are not ranked, since a mean over fewer seeds is noisier.
If all configurations of a method lack one, all of them are ranked.
"""

from dataclasses import dataclass

import numpy as np

from analysis.fronts.pareto import comparable, mean_attainable_robustness, nondominated
from analysis.results.configurations import ConfigurationResult, configurations, spread
from analysis.results.methods import MethodNote
from analysis.results.results import Results
from analysis.results.trials import Array, Key


@dataclass(frozen=True, kw_only=True)
class MethodFront:
    """One method: its configurations and the front chosen among them."""

    note: MethodNote
    configurations: tuple[ConfigurationResult, ...]
    members: tuple[ConfigurationResult, ...]
    """Nondominated within the method, at the objective radius, from clean to robust end."""
    best: ConfigurationResult | None
    """The member of highest robust accuracy at the objective radius, where it was chosen."""
    complete_seeds: tuple[int, ...]
    """Seeds with which every member has a result: only their staircases can be compared."""
    attainable: float | None
    """Mean attainable robust accuracy, a fraction: the mean over the complete seeds, or that of
    the members' test means where no seed is complete."""
    attainable_by_seed: tuple[float, ...]
    """The same for each complete seed."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen in a study, and on which data."""

    on_validation: bool
    fronts: tuple[MethodFront, ...]
    """One for each method of the study, in its order, also for those without configurations."""
    study_front: frozenset[Key]
    """Ranked configurations that no ranked one of any method dominates."""


def choose(results: Results) -> Choice:
    """Choose each method's front and best configuration at the objective radius."""
    found = configurations(results)
    candidates = ranked(found)
    on_front = nondominated(choice_values(candidates, results))
    return Choice(
        on_validation=results.num_validation > 0,
        fronts=tuple(_method_front(results, note, found) for note in results.methods),
        study_front=frozenset(c.key for c, kept in zip(candidates, on_front, strict=True) if kept),
    )


def ranked(found: tuple[ConfigurationResult, ...]) -> tuple[ConfigurationResult, ...]:
    """Keep the configurations with every declared seed, or all if none has every one."""
    return tuple(c for c in found if c.complete) or found


def choice_values(found: tuple[ConfigurationResult, ...], results: Results) -> Array:
    """Return the (N, 2) clean and robust means that configurations are chosen by.

    Validation means where there are validation data, else test means. They are rounded, so that
    equal totals over the seeds give equal means.
    """
    rows = [
        (c.validation_clean.mean, c.validation_robust.mean)
        if c.validation_clean is not None and c.validation_robust is not None
        else (c.clean.mean, c.robust[results.threat.objective].mean)
        for c in found
    ]
    return comparable(np.array(rows, dtype=np.float64).reshape(-1, 2))


def mean_points(found: tuple[ConfigurationResult, ...], radius: int) -> Array:
    """Return the (N, 2) test means: clean accuracy, robust accuracy at this radius position."""
    rows = [(c.clean.mean, c.robust[radius].mean) for c in found]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def seed_points(
    found: tuple[ConfigurationResult, ...], radius: int, seeds: tuple[int, ...]
) -> list[Array]:
    """Return for each seed the (N, 2) test accuracies of the configurations with this seed."""
    return [
        np.array(
            [(t.clean, t.robust[radius]) for c in found for t in c.trials if t.seed == seed],
            dtype=np.float64,
        ).reshape(-1, 2)
        for seed in seeds
    ]


def _method_front(
    results: Results, note: MethodNote, found: tuple[ConfigurationResult, ...]
) -> MethodFront:
    own = tuple(c for c in found if c.method == note.name)
    declared = results.seeds_of(note.name)
    candidates = ranked(own)
    values = choice_values(candidates, results)
    kept = np.flatnonzero(nondominated(values))
    by_clean = sorted(kept, key=lambda row: (-values[row, 0], values[row, 1], row))
    members = tuple(candidates[row] for row in by_clean)
    # Ties in robust accuracy go to the cleaner one, which comes first.
    best = candidates[max(by_clean, key=lambda row: float(values[row, 1]))] if members else None
    absent = {seed for member in members for seed in member.absent_seeds}
    complete = tuple(seed for seed in declared if seed not in absent) if members else ()
    radius, floor = results.threat.objective, results.clean_floor
    by_seed = tuple(
        float(mean_attainable_robustness(points, floor))
        for points in seed_points(members, radius, complete)
    )
    of_means = float(mean_attainable_robustness(mean_points(members, radius), floor))
    return MethodFront(
        note=note,
        configurations=own,
        members=members,
        best=best,
        complete_seeds=complete,
        attainable=spread(by_seed).mean if by_seed else of_means if members else None,
        attainable_by_seed=by_seed,
    )
