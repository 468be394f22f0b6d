"""History: how trials trained and which hyperparameters mattered, beside what they reached."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

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
    """Test clean and robust accuracy (objective radius) of the checkpoint `best`, and"""
    test_last: tuple[float, float] | None
    """of the checkpoint `last`."""

    def __post_init__(self) -> None:
        """Refuse entries that are not one for each epoch, or no accuracies."""
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
    """As it is printed, say `PED-ANOVA`."""

    def __post_init__(self) -> None:
        """Refuse shares that are no shares."""
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
