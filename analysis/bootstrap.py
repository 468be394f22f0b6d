"""Bootstrap: replicates over seeds × samples, shared by everything that is computed from them."""

from dataclasses import dataclass

from analysis.claims import Estimand
from analysis.configurations import ConfigurationResult
from analysis.results import Array, Results

COUNT = 2000
"""Replicates of a report."""


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Replicates of the accuracies of N configurations, clean first, then robust at R radii."""

    seed: int
    """Of the generator that drew them."""
    means: Array
    """(N, 1 + R) the point estimates m_i, means over seeds."""
    this_test_set: Array
    """(B, N, 1 + R): other seeds, same images."""
    population: Array | None
    """(B, N, 1 + R): other seeds and other images; None unless every trial carries bits."""
    covariances: Array
    """(N, 1 + R, 1 + R) S_i: covariance of a configuration's mean over seeds, seed noise alone."""
    num_seeds: tuple[int, ...]
    """(N,) k_i."""
    pooled_over_methods: bool
    """True if some method had too few seeds for a pool of its own."""
    variance_explained_by_seed: float | None
    """Share of residual variance that the seed number explains; None without residuals."""

    @property
    def default(self) -> Estimand:
        """Give the estimand of headline numbers: population where there are bits."""
        return "this test set" if self.population is None else "population"

    @property
    def estimands(self) -> tuple[Estimand, ...]:
        """List the estimands that can be had, the default first."""
        return ("this test set",) if self.population is None else ("population", "this test set")

    def of(self, estimand: Estimand) -> Array:
        """Give the replicates (B, N, 1 + R) under this estimand."""
        drawn = self.this_test_set if estimand == "this test set" else self.population
        assert drawn is not None, "population replicates need bits"
        return drawn


def draw_replicates(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    *,
    count: int = COUNT,
    seed: int = 0,
) -> Replicates:
    """Draw replicates of the configurations `found`, the N rows, in their order."""
    raise NotImplementedError
