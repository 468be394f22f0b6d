"""Trials: the result of one configuration with one seed, and all that is known of it besides.

Besides its accuracies, a trial may have correctness bits, accuracies in another norm and under
stronger attacks, checks of its evaluation, problems detected in training, and a history of its
epochs. Accuracies are fractions in [0, 1].

Letters: R radii, n test samples, m test samples that a stronger attack saw, A attacks.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Written = Callable[[Any], bool]
"""Whether a field of this owner is written to `front.json`: metadata `written` of the field."""
ARRAYS = {"arbitrary_types_allowed": True}
"""`__pydantic_config__` of a dataclass with arrays: they are in memory alone, and null in JSON."""
UNWRITTEN: Mapping[str, Written] = {"written": lambda owner: False}
"""Metadata of a field that stays in memory: it has a default, and is not written."""

Value = float | int | str


class ResultsError(ValueError):
    """Results that cannot be analysed together; the message names the trial and the rule."""


@dataclass(frozen=True, kw_only=True)
class History:
    """How one trial trained: one entry for each epoch that was measured."""

    method: str
    values: Mapping[str, Value]
    seed: int
    epochs: tuple[int, ...]
    """From 1, rising; of the entries below."""
    train_accuracy: tuple[float, ...]
    """On the batches as they were trained on (perturbed ones, for adversarial training)."""
    validation_clean: tuple[float, ...]
    validation_robust: tuple[float, ...]
    """At the objective radius, under the validation attack."""
    best_epoch: int | None
    """The epoch of the checkpoint `best`."""
    test_best: tuple[float, float] | None
    """Test clean and robust accuracy (objective radius) of the checkpoint `best`."""
    test_last: tuple[float, float] | None
    """The same for the checkpoint `last`."""

    def __post_init__(self) -> None:
        """Check that columns have an entry for each epoch, and entries lie in [0, 1]."""
        place = f"history of {self.method} seed {self.seed}"
        columns = (self.train_accuracy, self.validation_clean, self.validation_robust)
        if {len(column) for column in columns} != {len(self.epochs)}:
            raise ResultsError(
                f"{place}: needs one accuracy for each of its {len(self.epochs)} epochs, "
                f"got {[len(column) for column in columns]}"
            )
        if not self.epochs or self.epochs[0] < 1 or any(a >= b for a, b in pairwise(self.epochs)):
            raise ResultsError(f"{place}: its epochs must rise from 1 on, got {self.epochs}")
        if self.best_epoch is not None and self.best_epoch < 1:
            raise ResultsError(f"{place}: best_epoch must be at least 1, got {self.best_epoch}")
        ends = (self.test_best or (), self.test_last or ())
        for accuracy in (value for column in (*columns, *ends) for value in column):
            if not 0 <= accuracy <= 1:
                raise ResultsError(
                    f"{place}: accuracies must be fractions in [0, 1], got {accuracy}"
                )


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much each hyperparameter of a searched method mattered for one objective."""

    method: str
    objective: Literal["clean", "robust"]
    """Validation accuracy, without an attack or at the objective radius."""
    shares: Mapping[str, float]
    """By hyperparameter, as short names; they add up to 1."""
    configurations: int
    """How many configurations it was computed from."""
    evaluator: str
    """As it is printed: `PED-ANOVA`."""

    def __post_init__(self) -> None:
        """Check that shares are not negative, and add up to 1."""
        shares = self.shares.values()
        if not shares or min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
            raise ResultsError(
                f"{self.method}: importances for {self.objective} accuracy must be shares that "
                f"add up to 1, got {dict(self.shares)}"
            )
        if self.configurations < 1:
            raise ResultsError(
                f"{self.method}: importances need at least one configuration, "
                f"got {self.configurations}"
            )


Bits = NDArray[np.bool_]
Norm = Literal["linf", "l2"]
Verdict = Literal["pass", "warn", "fail", "not run"]

TOLERANCE = 1e-6
"""Accuracies that differ by less are the same number."""
VOIDING = 6
"""A fail of a check up to this number voids the robust accuracies of its trial."""


@dataclass(frozen=True, kw_only=True)
class OtherNorm:
    """Accuracies of a trial under the evaluation attack in another norm; nothing is chosen by it.

    The worst case within the same tier as the study's own norm, and never put together with it.
    """

    __pydantic_config__ = ARRAYS

    norm: Norm
    radii: tuple[float, ...]
    """(R,), strictly increasing."""
    robust: tuple[float, ...]
    """(R,) nested: right without an attack, at this radius and at all smaller ones."""
    bits: Bits | None = None
    """(R, n) raw, on all test samples."""


@dataclass(frozen=True, kw_only=True)
class StrongResult:
    """What a stronger attack left of a trial: a tier of its own, beside the evaluation attack."""

    __pydantic_config__ = ARRAYS

    attack: str
    """As it is printed: `AutoAttack`."""
    norm: Norm
    radii: tuple[float, ...]
    """(R,), strictly increasing, some of those of the evaluation attack in this norm."""
    samples: int
    """m: the first m test samples were attacked."""
    parts: tuple[str, ...]
    """The A attacks it is made of, in the order in which they ran."""
    clean: float
    """On these samples, without an attack."""
    robust: tuple[float, ...]
    """(R,) worst case over all parts, nested over the radii."""
    survivors: tuple[tuple[float, ...], ...]
    """(R, A) share of the samples that are still right after each part, at each radius alone."""
    bits: Bits | None = None
    """(1 + R, m) raw: without an attack, then the worst case over all parts at each radius."""
    sample_hash: str | None = None
    """A hash of the samples attacked: equal for equal samples."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the checklist on a trial, which asks if its evaluation can be trusted."""

    number: int
    """From 1; a fail up to `VOIDING` voids the robust accuracies. Parts of a row share it."""
    name: str
    verdict: Verdict
    text: str
    """The sentence, with what was measured and the threshold."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Something that went wrong while a trial trained; its numbers stand."""

    name: str
    """As it is printed: `catastrophic overfitting`."""
    text: str
    """The sentence, with the epoch and the numbers."""


def strong_text(attack: str, samples: int, num_test: int) -> str:
    """Format a stronger attack with the images it saw.

    >>> strong_text("AutoAttack", 100, 500), strong_text("AutoAttack", 500, 500)
    ('AutoAttack on the first 100 of 500 images', 'AutoAttack')
    """
    return (
        attack if samples == num_test else f"{attack} on the first {samples} of {num_test} images"
    )


def strong_key(attack: str, norm: str, radius: float, samples: int, num_test: int) -> str:
    """Return the name of a column of a stronger attack's accuracies.

    >>> strong_key("AutoAttack", "linf", 0.1, 100, 500)
    'autoattack_linf_0.1_first_100'
    """
    words = re.sub(r"[^a-z0-9]+", "_", attack.lower())
    first = "" if samples == num_test else f"_first_{samples}"
    return f"{words}_{norm}_{radius:g}{first}"


def check_other_norm(cell: str, other: OtherNorm, norm: str, clean: float, num_test: int) -> None:
    """Check that accuracies of another norm fit their trial; raises `ResultsError`."""
    place = f"{cell}, {other.norm}"
    if other.norm == norm:
        raise ResultsError(f"{place}: the other norm must differ from the study's {norm}")
    _check_radii(place, other.radii)
    _check_nested(place, clean, other.robust, len(other.radii))
    _check_shape(place, other.bits, (len(other.radii), num_test))


def check_strong(
    cell: str, strong: StrongResult, evaluated: Mapping[Norm, tuple[float, ...]], num_test: int
) -> None:
    """Check that results of a stronger attack fit the study; raises `ResultsError`.

    evaluated: the radii of the evaluation attack, by norm.
    """
    place = f"{cell}, {strong.attack}"
    _check_radii(place, strong.radii)
    if not set(strong.radii) <= set(evaluated.get(strong.norm, ())):
        known = "; ".join(f"{norm} {radii}" for norm, radii in evaluated.items())
        raise ResultsError(
            f"{place}: needs a norm and radii of the evaluation attack ({known}), "
            f"got {strong.norm} {strong.radii}"
        )
    if not 1 <= strong.samples <= num_test:
        raise ResultsError(f"{place}: samples must lie in 1 to {num_test}, got {strong.samples}")
    shape = (len(strong.radii), len(strong.parts))
    if {len(row) for row in strong.survivors} - {shape[1]} or len(strong.survivors) != shape[0]:
        raise ResultsError(f"{place}: survivors must be of shape {shape}, got {strong.survivors}")
    _check_nested(place, strong.clean, strong.robust, len(strong.radii))
    for row in strong.survivors:
        _check_nested(place, strong.clean, row, len(strong.parts))
    _check_shape(place, strong.bits, (1 + len(strong.radii), strong.samples))
    if strong.bits is not None:
        # Both are recorded apart, so bits of another trial or another order show here.
        counted = np.logical_and.accumulate(strong.bits, axis=0).mean(axis=1, dtype=np.float64)
        if np.abs(counted - np.array([strong.clean, *strong.robust])).max() > TOLERANCE:
            raise ResultsError(
                f"{place}: accuracies {[strong.clean, *strong.robust]} are not those of the "
                f"bits, {counted.tolist()}"
            )


def check_checks(cell: str, checks: tuple[Check, ...]) -> None:
    """Check that each check has one verdict and a number from 1; raises `ResultsError`."""
    named = [(check.number, check.name) for check in checks]
    if len(set(named)) < len(named) or min(named, default=(1, ""))[0] < 1:
        raise ResultsError(f"{cell}: list each check once, numbered from 1; got {named}")


def _check_radii(place: str, radii: tuple[float, ...]) -> None:
    # NaN fails every comparison, so a chain that rises from above 0 to a finite end has none.
    rising = all(a < b for a, b in pairwise(radii))
    if not (radii and rising and radii[0] > 0 and math.isfinite(radii[-1])):
        raise ResultsError(f"{place}: radii must be positive and strictly increasing, got {radii}")


def _check_nested(place: str, clean: float, robust: tuple[float, ...], count: int) -> None:
    nested = (clean, *robust)
    falls = all(later <= earlier + TOLERANCE for earlier, later in pairwise(nested))
    if len(robust) != count or not falls or not all(0 <= one <= 1 for one in nested):
        raise ResultsError(
            f"{place}: needs {count} accuracies in [0, 1] that do not rise from the clean one on, "
            f"got {list(nested)}"
        )


def _check_shape(place: str, bits: Bits | None, shape: tuple[int, int]) -> None:
    if bits is not None and (bits.shape != shape or bits.dtype != np.bool_):
        raise ResultsError(
            f"{place}: bits must be bool of shape {shape}, got {bits.dtype} of shape {bits.shape}"
        )


Array = NDArray[np.float64]
Key = tuple[str, tuple[tuple[str, Value], ...]]
TrialKey = tuple[Key, int]

ROUNDING = 1e-6
"""Accuracies that differ by less are the same number: float32 keeps 1e-7 of a fraction."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One finished cell: a configuration with one seed."""

    __pydantic_config__ = ARRAYS

    method: str
    """The method's name in the study; `values` tell its configurations apart."""
    values: Mapping[str, Value]
    """What varies within the method, by short names: {"rho": 0.1}. Empty if nothing does."""
    seed: int
    clean: float
    """Test accuracy without an attack."""
    robust: tuple[float, ...]
    """(R,) test accuracy at each radius, nested: right at this radius and at all smaller ones,
    radius 0 (no attack) among them; so it never exceeds `clean` and never rises."""
    validation_clean: float | None
    validation_robust: float | None
    """At the objective radius (of a tier: where `chosen_at` says); None where there are no
    validation data."""
    bits: Bits | None = None
    """(1 + R, n): row 0 without an attack, row 1 + i at radius i, raw (not nested)."""
    sample_hash: str | None = None
    """A hash of the test samples in their order: equal for all trials that carry bits."""
    seconds: float | None = None
    """Wall time of the training."""
    cost: float | None = None
    """Training cost in forward passes per training sample and epoch (standard training is 3)."""
    run: str = ""
    """The tracker's id of the run, for a reader who wants to look it up."""
    address: str = field(default="", metadata={"written": lambda trial: bool(trial.address)})
    """Where a browser shows that run; empty: unknown."""
    other: OtherNorm | None = None
    strong: tuple[StrongResult, ...] = ()
    """What stronger attacks left, each named once."""
    checks: tuple[Check, ...] = ()
    detections: tuple[Detection, ...] = ()
    is_last_read: bool = field(
        default=False, metadata={"written": lambda trial: trial.is_last_read}
    )
    """Whether the numbers are of the last epoch, although the results are of the best ones: which
    epoch of this trial is the best is unknown."""


AbsentStatus = Literal["missing", "failed", "given up", "stopped", "spared"]
"""`stopped`: at a share of its training, by validation accuracy. `spared`: a further seed of a
configuration that one seed, or a few, put far from the front."""
ON_PURPOSE: tuple[AbsentStatus, ...] = ("stopped", "spared")
"""The absences that the study wanted: no failure, and nothing is left to run."""


@dataclass(frozen=True, kw_only=True)
class AbsentTrial:
    """A cell of the study without a result. It is listed wherever its absence matters."""

    method: str
    values: Mapping[str, Value]
    seed: int
    status: AbsentStatus
    reason: str
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class OwnSeeds:
    """The seeds declared for one configuration, where they are not those of its method."""

    method: str
    values: Mapping[str, Value]
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A published single run: shown beside the methods, and never compared with them."""

    name: str
    clean: float
    robust: tuple[float | None, ...]
    """(R,), None where nothing was published."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a configuration needs to be trained again."""

    method: str
    values: Mapping[str, Value]
    text: str
    """As the launching side declares it, such as an entry of a studies file."""


def configuration_key(method: str, values: Mapping[str, Value]) -> Key:
    """Return the key of a configuration: method and values, in the order of their names.

    >>> configuration_key("sam_at", {"rho": 0.1, "epsilon": 0.05})
    ('sam_at', (('epsilon', 0.05), ('rho', 0.1)))
    """
    return method, tuple(sorted(values.items(), key=lambda item: item[0]))


def trial_key(trial: TrialResult | AbsentTrial | History) -> TrialKey:
    """Return the key of a trial: configuration and seed, never as they are printed."""
    return configuration_key(trial.method, trial.values), trial.seed


def nested_bits(bits: Bits) -> Bits:
    """Keep a sample right at a radius only if it is right at all smaller radii too.

    bits: (1 + R, n), row 0 without an attack; returns the same shape. A sample that a weak attack
    breaks is broken, whatever a later, unluckier attack says.

    >>> nested_bits(np.array([[True, True], [False, True], [True, False]])).astype(int)
    array([[1, 1],
           [0, 1],
           [0, 0]])
    """
    return np.logical_and.accumulate(bits, axis=0)


def accuracies(bits: Bits) -> Array:
    """Compute the nested accuracies (1 + R,) of bits (1 + R, n): clean first, then each radius.

    >>> accuracies(np.array([[True, True], [False, True], [True, False]]))
    array([1. , 0.5, 0. ])
    """
    right: Array = nested_bits(bits).mean(axis=1, dtype=np.float64)
    return right


def _cell(trial: TrialResult | AbsentTrial | History) -> str:
    values = " ".join(f"{name}={value}" for name, value in trial.values.items())
    return " ".join(part for part in (trial.method, values, f"seed {trial.seed}") if part)
