"""Results: a study as numbers, its trials with their correctness bits and its absent trials.

Accuracies are fractions in [0, 1]. Letters: R radii, n test samples, S seeds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import combinations, pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.results.methods import MethodNote
from analysis.results.trials import (
    ROUNDING,
    AbsentTrial,
    Declaration,
    History,
    Importance,
    Key,
    Norm,
    OwnSeeds,
    Reference,
    ResultsError,
    TrialKey,
    TrialResult,
    _cell,
    accuracies,
    check_checks,
    check_other_norm,
    check_strong,
    configuration_key,
    trial_key,
)

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """What robust accuracies were measured against."""

    attack: str
    """The attack that test accuracies were measured under, as printed: `PGD-20, 1 restart`."""
    validation_attack: str
    """The same for validation accuracies, often a weaker one: `PGD-10, 1 restart`."""
    norm: Norm
    radii: tuple[float, ...]
    """(R,), strictly increasing, > 0, in units of the pixel range [0, 1]."""
    objective_radius: float
    """One of `radii`."""
    chosen_at: tuple[Norm, float] | None = None
    """For a tier alone: norm and radius of the validation accuracies that the study chose by. None
    where these are `norm` and `objective_radius`."""

    def __post_init__(self) -> None:
        """Check that radii are positive and strictly increasing."""
        rising = all(a < b for a, b in pairwise(self.radii))
        if not (self.radii and rising and self.radii[0] > 0 and math.isfinite(self.radii[-1])):
            raise ResultsError(f"radii must be positive and strictly increasing, got {self.radii}")
        if self.objective_radius not in self.radii:
            raise ResultsError(
                f"the objective radius {self.objective_radius} is not among the radii {self.radii}"
            )

    @property
    def objective(self) -> int:
        """Return the position of the objective radius in `radii`."""
        return self.radii.index(self.objective_radius)


@dataclass(frozen=True, kw_only=True)
class DeclaredClaim:
    """What a study sets out to show of two methods: how their robust accuracies compare."""

    first: str
    second: str
    direction: Literal["more", "equal"]
    """`more`: the first is more robust. `equal`: they differ by no more than the margin."""
    radius: float
    """Of the attack, one of the radii."""
    margin: float | None = None
    """Differences within ±margin count as none; only `more` needs none."""
    at_clean: float | None = None
    """Compares what is attained at this clean accuracy or more; None: the mean attainable robust
    accuracy, as the primary contrast does."""
    trials_before: int | None = None
    """Trials that had run before the claim was declared; None: not known."""

    @property
    def is_late(self) -> bool:
        """Return whether the claim is known to be younger than some trials."""
        return bool(self.trials_before)


@dataclass(frozen=True, kw_only=True, repr=False)
class Results:
    """All that a study found, and all that it did not."""

    study: str
    about: str
    threat: ThreatModel
    checkpoint: Literal["best", "last"]
    num_test: int
    num_validation: int
    clean_floor: float
    """The front's reference point is (clean_floor, 0), fixed before the data (1 / classes)."""
    seeds: tuple[int, ...]
    """The declared seeds."""
    methods: tuple[MethodNote, ...]
    """In the order of the study."""
    trials: tuple[TrialResult, ...]
    absent: tuple[AbsentTrial, ...]
    provenance: Mapping[str, str]
    """Versions, commit, data set, hardware, command: names and values as they are printed."""
    num_classes: int | None = None
    """None if unknown."""
    margin: float | None = None
    """Declared before the data: differences of robust accuracy within ±margin count as none."""
    primary: tuple[str, str] | None = None
    """Methods (first, second) of the primary contrast, the normalised hypervolume difference at
    the objective radius; None: the first adversarial training against the first SAM."""
    is_comparison: bool = False
    """True if several studies are combined, of which no contrast was declared beforehand."""
    histories: tuple[History, ...] = ()
    importances: tuple[Importance, ...] = ()
    clean_margin: float | None = field(
        default=None, metadata={"written": lambda results: results.clean_margin is not None}
    )
    """Declared before the data: clean accuracy that may be given up for robust accuracy."""
    clean_floors: tuple[float, ...] = field(
        default=(), metadata={"written": lambda results: bool(results.clean_floors)}
    )
    """Declared before the data, rising: required clean accuracies at which methods are compared
    where no curve fits."""
    claims: tuple[DeclaredClaim, ...] = field(
        default=(), metadata={"written": lambda results: bool(results.claims)}
    )
    data_doubts: tuple[str, ...] = field(
        default=(), metadata={"written": lambda results: bool(results.data_doubts)}
    )
    """What is seldom meant in the data, each as a clause that ends without a full stop."""
    references: tuple[Reference, ...] = field(
        default=(), metadata={"written": lambda results: bool(results.references)}
    )
    """Published single runs, which no number of the methods depends on."""
    own_seeds: tuple[OwnSeeds, ...] = field(
        default=(), metadata={"written": lambda results: bool(results.own_seeds)}
    )
    """Configurations with seeds of their own, such as further ones of the most robust."""
    declarations: tuple[Declaration, ...] = field(
        default=(), metadata={"written": lambda results: bool(results.declarations)}
    )
    """How configurations are declared; empty: unknown."""
    pictured: tuple[str, ...] = field(
        default=(), metadata={"written": lambda results: bool(results.pictured)}
    )
    """Runs with a picture of adversarial examples in the report's `examples.html`."""

    def __post_init__(self) -> None:
        """Check that the results can be analysed together."""
        _check_study(self)
        for trial in self.trials:
            _check_trial(self, trial)
        _check_cells(self)
        _check_together(self.trials)
        _check_training(self)
        _check_references(self)

    @property
    def stopped(self) -> tuple[AbsentTrial, ...]:
        """Return the trials that a search stopped early, one for each configuration."""
        # The seeds that were not started because their configuration was stopped say so instead.
        return tuple(t for t in self.absent if t.status == "stopped" and "epoch" in t.reason)

    @property
    def spared(self) -> frozenset[Key]:
        """Return the keys of configurations that were spared further seeds, on purpose."""
        return frozenset(
            configuration_key(t.method, t.values) for t in self.absent if t.status == "spared"
        )

    def to_frame(self) -> "DataFrame":
        """Return a pandas table with a row for each trial; columns as in `notebook.frames`."""
        frame: DataFrame = notebook("frames").trials_frame(self)
        return frame

    def configurations(self) -> "DataFrame":
        """Return a pandas table with a row for each configuration, with the ends of intervals.

        The results are analysed for it, which takes seconds: of an `Analysis`, ask that.
        """
        frame: DataFrame = notebook("frames").configurations_frame(self)
        return frame

    def __repr__(self) -> str:
        """Return the study's name and the number of trials."""
        return f"<Results of {self.study}: {len(self.trials)} trials, {len(self.absent)} absent>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return str(notebook("pages").results_page(self))

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """Return the seeds declared for a method."""
        declared = next(note.seeds for note in self.methods if note.name == method)
        return self.seeds if declared is None else declared

    def seeds_by_key(self) -> dict[Key, tuple[int, ...]]:
        """Return the seeds of configurations that have seeds of their own."""
        return {configuration_key(one.method, one.values): one.seeds for one in self.own_seeds}


def notebook(module: str) -> ModuleType:
    """Import a module of `analysis.notebook`, which lies above this one, when it is first needed.

    With it come pandas or matplotlib, which take a second.
    """
    return import_module(f"analysis.notebook.{module}")


def compared(results: Results, present: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """List the pairs of methods that a study compares, (adversarial training, SAM) first.

    Every adversarial training against every SAM; without such a pair, every two methods that
    perturb something. `present`: the methods that have results.
    """
    notes = [note for note in results.methods if note.name in present]
    trained = [note.name for note in notes if note.kind == "adversarial"]
    sharpness = [note.name for note in notes if note.kind == "sharpness"]
    pairs = tuple((first, second) for first in trained for second in sharpness)
    perturbing = [note.name for note in notes if note.kind != "standard"]
    return pairs or tuple(combinations(perturbing, 2))


def primary_pair(results: Results, present: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the methods of the primary contrast: as declared, else the first pair compared.

    Return None if fewer than two methods have results, and in a comparison of studies.
    """
    if results.is_comparison:
        return None
    if results.primary is not None:
        return results.primary if set(results.primary) <= set(present) else None
    pairs = compared(results, present) or tuple(combinations(present, 2))
    return pairs[0] if pairs else None


def _check_study(results: Results) -> None:
    names = [f"method {note.name}" for note in results.methods]
    seeds = [f"seed {seed}" for seed in results.seeds]
    for name in (*names, *seeds):
        if (names + seeds).count(name) > 1:
            raise ResultsError(f"{results.study}: the {name} is declared twice")
    if results.num_test < 1 or results.num_validation < 0:
        raise ResultsError(
            f"{results.study}: needs num_test >= 1 and num_validation >= 0, "
            f"got {results.num_test} and {results.num_validation}"
        )
    if not 0 <= results.clean_floor < 1:
        raise ResultsError(
            f"{results.study}: clean_floor must lie in [0, 1), got {results.clean_floor}"
        )
    if results.margin is not None and not 0 < results.margin < 1:
        raise ResultsError(f"{results.study}: margin must lie in (0, 1), got {results.margin}")
    if results.clean_margin is not None and not 0 < results.clean_margin < 1:
        raise ResultsError(
            f"{results.study}: clean_margin must lie in (0, 1), got {results.clean_margin}"
        )
    floors = results.clean_floors
    if not all(0 <= floor < 1 for floor in floors) or list(floors) != sorted(set(floors)):
        raise ResultsError(
            f"{results.study}: clean_floors must lie in [0, 1) and rise, got {floors}"
        )
    if results.num_classes is not None and results.num_classes < 2:
        raise ResultsError(
            f"{results.study}: num_classes must be at least 2, got {results.num_classes}"
        )
    _check_methods(results)


def _check_methods(results: Results) -> None:
    declared = [note.name for note in results.methods]
    for name in results.primary or ():
        if name not in declared:
            raise ResultsError(
                f"{results.study}: the primary contrast names {name}, "
                f"which is not among the methods {', '.join(declared)}"
            )
    if results.primary and results.primary[0] == results.primary[1]:
        raise ResultsError(
            f"{results.study}: the primary contrast needs two methods, got {results.primary[0]} "
            "twice"
        )
    for claim in results.claims:
        _check_claim(results, claim, declared)
    for note in results.methods:
        own = note.seeds
        if own is not None and not (own and set(own) <= set(results.seeds)):
            raise ResultsError(
                f"{note.name}: its seeds must be some of the study's {results.seeds}, got {own}"
            )
        if own is not None and len(set(own)) < len(own):
            raise ResultsError(f"{note.name}: list each of its seeds once, got {own}")


def _check_claim(results: Results, claim: DeclaredClaim, declared: list[str]) -> None:
    pair, place = (claim.first, claim.second), f"{results.study}: the claim about {claim.first}"
    if claim.first == claim.second or not set(pair) <= set(declared):
        raise ResultsError(
            f"{place} and {claim.second} needs two of the methods {', '.join(declared)}"
        )
    if claim.radius not in results.threat.radii:
        raise ResultsError(f"{place}: radius {claim.radius} is not among {results.threat.radii}")
    if claim.margin is None and claim.direction == "equal":
        raise ResultsError(f"{place}: equal means within a margin, so it needs one")
    if claim.margin is not None and not 0 < claim.margin < 1:
        raise ResultsError(f"{place}: margin must lie in (0, 1), got {claim.margin}")
    if claim.at_clean is not None and not 0 <= claim.at_clean < 1:
        raise ResultsError(f"{place}: at_clean must lie in [0, 1), got {claim.at_clean}")


def _check_trial(results: Results, trial: TrialResult) -> None:
    threat, cell = results.threat, _cell(trial)
    if len(trial.robust) != len(threat.radii):
        raise ResultsError(
            f"{cell}: needs one robust accuracy for each of the {len(threat.radii)} radii, "
            f"got {len(trial.robust)}"
        )
    validation = (trial.validation_clean, trial.validation_robust)
    if (None in validation) != (results.num_validation == 0) or validation.count(None) == 1:
        raise ResultsError(
            f"{cell}: {results.num_validation} validation samples, "
            f"but validation accuracies {validation[0]} and {validation[1]}"
        )
    given = [trial.clean, *trial.robust, *(v for v in validation if v is not None)]
    if not all(0 <= accuracy <= 1 for accuracy in given):
        raise ResultsError(f"{cell}: accuracies must be fractions in [0, 1], got {given}")
    # An image counts as robust only if it is right at all smaller radii too, so none can rise.
    nested = [trial.clean, *trial.robust]
    if any(later > earlier + ROUNDING for earlier, later in pairwise(nested)):
        raise ResultsError(f"{cell}: nested accuracies must not rise with the radius, got {nested}")
    for name, number in (("seconds", trial.seconds), ("cost", trial.cost), *trial.values.items()):
        if isinstance(number, float) and not math.isfinite(number):
            raise ResultsError(f"{cell}: {name} must be finite, got {number}")
    _check_bits(results, trial)
    _check_evidence(results, trial)


def _check_evidence(results: Results, trial: TrialResult) -> None:
    cell, threat = _cell(trial), results.threat
    if trial.other is not None:
        check_other_norm(cell, trial.other, threat.norm, trial.clean, results.num_test)
        if trial.bits is not None and trial.other.bits is not None:
            counted = accuracies(np.vstack([trial.bits[:1], trial.other.bits]))[1:]
            if np.abs(counted - np.array(trial.other.robust)).max() > ROUNDING:
                raise ResultsError(
                    f"{cell}, {trial.other.norm}: accuracies {trial.other.robust} are not those of "
                    f"the bits, {counted.tolist()}"
                )
    evaluated = {threat.norm: threat.radii}
    if trial.other is not None:
        evaluated[trial.other.norm] = trial.other.radii
    seen: set[tuple[object, ...]] = set()
    for strong in trial.strong:
        check_strong(cell, strong, evaluated, results.num_test)
        name = strong.attack, strong.norm, strong.samples, strong.parts
        if name in seen:
            raise ResultsError(f"{cell}: {strong.attack}, {strong.norm}, is given twice")
        seen.add(name)
    check_checks(cell, trial.checks)


def _check_bits(results: Results, trial: TrialResult) -> None:
    if trial.bits is None:
        return
    cell, shape = _cell(trial), (1 + len(results.threat.radii), results.num_test)
    if trial.bits.shape != shape or trial.bits.dtype != np.bool_:
        raise ResultsError(
            f"{cell}: bits must be bool of shape {shape}, "
            f"got {trial.bits.dtype} of shape {trial.bits.shape}"
        )
    if trial.sample_hash is None:
        raise ResultsError(f"{cell}: bits need the sample_hash that names their test samples")
    counted = accuracies(trial.bits)
    if np.abs(counted - np.array([trial.clean, *trial.robust])).max() > ROUNDING:
        raise ResultsError(
            f"{cell}: accuracies {[trial.clean, *trial.robust]} "
            f"are not those of the bits, {counted.tolist()}"
        )


def _check_cells(results: Results) -> None:
    declared = {note.name: results.seeds_of(note.name) for note in results.methods}
    own = results.seeds_by_key()
    seen: set[TrialKey] = set()
    trials: tuple[TrialResult | AbsentTrial, ...] = (*results.trials, *results.absent)
    for trial in trials:
        if trial.method not in declared:
            raise ResultsError(f"{_cell(trial)}: the method is not among the study's methods")
        seeds = own.get(configuration_key(trial.method, trial.values), declared[trial.method])
        if trial.seed not in seeds:
            raise ResultsError(f"{_cell(trial)}: the seed is not declared, {seeds} are")
        cell = trial_key(trial)
        if cell in seen:
            raise ResultsError(f"{_cell(trial)}: given twice; each cell has one result")
        seen.add(cell)


def _check_together(trials: tuple[TrialResult, ...]) -> None:
    hashes = sorted({trial.sample_hash for trial in trials if trial.sample_hash is not None})
    if len(hashes) > 1:
        odd = next(trial for trial in trials if trial.sample_hash == hashes[1])
        raise ResultsError(
            f"{_cell(odd)}: measured on other test samples ({hashes[1]}) than {hashes[0]}; "
            "results are compared on the same samples only"
        )


def _check_training(results: Results) -> None:
    seen: set[TrialKey] = set()
    known = {note.name for note in results.methods}
    declared = {*results.seeds, *(seed for one in results.own_seeds for seed in one.seeds)}
    for history in results.histories:
        cell = trial_key(history)
        if history.method not in known or history.seed not in declared or cell in seen:
            raise ResultsError(
                f"{_cell(history)}: a history of training must be of a declared method and seed, "
                "and given once"
            )
        seen.add(cell)
    pairs = [(importance.method, importance.objective) for importance in results.importances]
    for method, objective in pairs:
        if method not in known or pairs.count((method, objective)) > 1:
            raise ResultsError(
                f"{method}: importances for {objective} accuracy must be of a declared method, "
                "and given once"
            )


def _check_references(results: Results) -> None:
    names = [note.name for note in results.methods] + [one.name for one in results.references]
    for one in results.references:
        if names.count(one.name) > 1:
            raise ResultsError(f"reference {one.name}: its name is used twice; give it another")
        given = [one.clean, *(value for value in one.robust if value is not None)]
        fits = len(one.robust) == len(results.threat.radii) and len(given) > 1
        if not fits or not all(0 <= value <= 1 for value in given):
            raise ResultsError(
                f"reference {one.name}: needs fractions in [0, 1], one robust accuracy or None for "
                f"each of the {len(results.threat.radii)} radii, got {one.clean} and {one.robust}"
            )
