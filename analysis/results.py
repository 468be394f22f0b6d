"""Results of a study as numbers: trials with their correctness bits, grouped into configurations.

Accuracies are fractions in [0, 1]. Letters: R radii, n test samples, S seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Value = float | int | str
Bits = NDArray[np.bool_]
Array = NDArray[np.float64]


class ResultsError(ValueError):
    """Results that cannot be analysed together; the message names the trial and the rule."""


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """What robust accuracies were measured against."""

    attack: str
    """As it is printed, say `PGD-20, 1 restart`."""
    norm: Literal["linf", "l2"]
    radii: tuple[float, ...]
    """(R,), strictly increasing, > 0, in units of the pixel range [0, 1]."""
    objective_radius: float
    """One of `radii`."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric over the epochs of a training, for drawing only."""

    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One finished cell: a configuration with one seed."""

    method: str
    """The method's name in the study; `values` tell its configurations apart."""
    values: Mapping[str, Value]
    """What varies within the method, by short names: {"rho": 0.1}. Empty if nothing does."""
    seed: int
    clean: float
    """Test accuracy without an attack."""
    robust: tuple[float, ...]
    """(R,) test accuracy at each radius, nested: right at this radius and at all smaller ones."""
    validation_clean: float | None
    validation_robust: float | None
    """At the objective radius; None where there are no validation data."""
    bits: Bits | None = None
    """(1 + R, n): row 0 without an attack, row 1 + i at radius i, raw (not nested)."""
    sample_hash: str | None = None
    """Names the test samples and their order; equal for all trials that carry bits."""
    seconds: float | None = None
    """Wall time of the trial."""
    cost: float | None = None
    """Training cost in forward passes per training sample and epoch (standard training is 3)."""
    run: str = ""
    """The tracker's id of the run, for a reader who wants to look it up."""
    curves: Mapping[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AbsentTrial:
    """A cell of the study without a result. It is listed wherever its absence matters."""

    method: str
    values: Mapping[str, Value]
    seed: int
    status: Literal["missing", "failed", "given up"]
    reason: str
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class MethodNote:
    """How a method is drawn and told apart."""

    name: str
    sides: str
    """Weight side and input side, say `sam + pgd`; decides colour and marker."""
    searched: bool
    """True if its configurations were suggested by a search, not declared as a grid."""


@dataclass(frozen=True, kw_only=True)
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
