"""Curves: families fitted to a method's front, the gate that refuses them, and the choice."""

from dataclasses import dataclass, field
from typing import Literal

from analysis.bootstrap import Replicates
from analysis.claims import Estimand
from analysis.codec import UNWRITTEN
from analysis.results import Array, Results

FamilyName = Literal["power", "superellipse", "ellipse", "probit"]


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """One condition of the identifiability gate."""

    number: int
    """1 to 8."""
    condition: str
    measured: str
    """With its numbers, as printed: `clean span 0.6 pp`."""
    threshold: str
    """As printed: `≥ 6 × 0.2 pp`."""
    passed: bool
    way_out: str
    """What a user can do; empty if passed."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A fitted curve with its pointwise 95% band, fractions, over a grid of clean accuracies."""

    clean: tuple[float, ...]
    """Rising. Inside the measured range; `beyond` holds the dotted continuation."""
    robust: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    beyond: tuple[tuple[float, float], ...]
    """(clean, robust) outside the measured range, from its clean end on: an extrapolation."""


@dataclass(frozen=True, kw_only=True)
class FamilyFit:
    """One family fitted to one method's points."""

    family: FamilyName
    names: tuple[str, ...]
    """Of the parameters."""
    parameters: tuple[float, ...]
    """Natural units."""
    covariance: tuple[tuple[float, ...], ...]
    """Of the parameters over the replicates; empty where there are none."""
    chi2: float
    """χ²⊥, the squared whitened distance to the curve."""
    chi2_sampson: float
    aicc: float | None
    """None with fewer than p + 2 points."""
    gate: tuple[GateRow, ...]
    curve: Curve | None
    """None where the gate failed."""
    theta: Array | None = field(default=None, metadata=UNWRITTEN)
    """(p,) transformed parameters, and"""
    draws: Array | None = field(default=None, metadata=UNWRITTEN)
    """(B, p) those of each replicate, for what is derived from the curve."""

    @property
    def passed(self) -> bool:
        """Tell whether every row of the gate holds."""
        return all(row.passed for row in self.gate)


@dataclass(frozen=True, kw_only=True)
class FrontFit:
    """One method's front at one radius under one estimand: the families, and which is drawn."""

    method: str
    radius: float
    estimand: Estimand
    points: tuple[int, ...]
    """Rows (of `configurations(results)`) that were fitted."""
    which: str
    """Said of the points: `all its configurations`, `the members chosen on validation`."""
    families: tuple[FamilyFit, ...]
    chosen: FamilyName | None
    """The family of least AICc among those that pass the gate; None is a refusal."""
    close: tuple[FamilyName, ...]
    """Passing families within 2 of the chosen's AICc, the chosen first."""
    scatter: float | None
    """τ, if the configurations do not lie on one curve (fraction); None if they do."""
    refusal: str
    """Why no curve is drawn, with numbers; empty if one is."""
    way_out: str

    def family(self, name: FamilyName) -> FamilyFit:
        """Give the fit of this family."""
        return next(fit for fit in self.families if fit.family == name)


def fit_fronts(
    results: Results,
    replicates: Replicates,
    *,
    radius: float | None = None,
    estimand: Estimand | None = None,
) -> list[FrontFit]:
    """Fit every method's front at one radius, by default the objective radius."""
    raise NotImplementedError
