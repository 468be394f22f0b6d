"""Narrowing: how much further seeds of each configuration would narrow an interval.

The variance of an estimate has a part for each configuration, which falls as 1/k with its number of
seeds k, and a part that only other images change. An estimate that is read off many configurations
hangs on few of them: a hypervolume mostly on the most robust one, an equivalent ε on one SAM
configuration and the two levels around it. Seeds of those narrow it most.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.results.trials import Array

Counts = NDArray[np.intp]
Measure = Callable[[Array], Array]
"""An estimate from the accuracies of N configurations, (K, N, 2) to (K,)."""

LEAST_STEP = 1e-4
"""The least step of a difference quotient, far below what any number of images resolves."""
LEAST_RATE = 0.1
"""Seeds are added as long as one removes at least this share of what the first removed in a second:
of a single configuration, from 3 seeds up to 10."""


@dataclass(frozen=True, kw_only=True)
class VarianceParts:
    """Where the variance of one estimate comes from."""

    fixed: float
    """What is left with any number of seeds: the noise of the test images."""
    seeded: Array
    """(N,) the part of each configuration, at its number of seeds."""
    counts: Counts
    """(N,) k_i, the number of seeds of each configuration."""

    def after(self, more: Counts | Array) -> float:
        """Return the variance with so many further seeds (N,) of each configuration."""
        return self.fixed + float(np.sum(self.seeded * self.counts / (self.counts + more)))

    def factor(self, more: Counts | Array) -> float:
        """Return by what factor further seeds are expected to narrow the interval."""
        now = self.after(np.zeros_like(self.counts))
        return float(np.sqrt(self.after(more) / now)) if now > 0 else 1.0


def variance_parts(
    measure: Measure, means: Array, covariances: Array, counts: Counts, variance: float
) -> VarianceParts:
    """Split the variance of an estimate into the parts of the configurations and the rest.

    A configuration's part is gᵀ S g, with S the seed covariance of its mean accuracies and g the
    gradient of the estimate by them. Where the parts exceed the variance, they are scaled down.
    measure: of (K, N, 2); means: (N, 2) clean and robust; covariances: (N, 2, 2) at the present
    numbers of seeds `counts` (N,); variance: of the estimate over the replicates.

    >>> measure = lambda points: points[:, 0, 1] - points[:, 1, 1]
    >>> covariances = np.array([[[1.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]]) * 1e-4
    >>> counts = np.array([3, 3])
    >>> parts = variance_parts(measure, np.full((2, 2), 0.5), covariances, counts, 9e-4)
    >>> print((parts.seeded * 1e4).round(6), round(parts.fixed * 1e4, 6))
    [4. 1.] 4.0
    """
    slopes = gradient(measure, means, covariances)
    seeded = np.einsum("ni,nij,nj->n", slopes, covariances, slopes)
    total = float(np.sum(seeded))
    if total > variance:
        seeded *= variance / total
    return VarianceParts(fixed=max(variance - total, 0.0), seeded=seeded, counts=counts)


def gradient(measure: Measure, means: Array, covariances: Array) -> Array:
    """Return the derivatives (N, 2) of an estimate, as quotients over one standard error.

    A configuration just behind the front counts, too: noise may carry it onto the front.
    """
    steps = np.maximum(np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)), LEAST_STEP)
    count = steps.size
    moves = np.zeros((count, *means.shape))
    moves.reshape(count, count)[np.arange(count), np.arange(count)] = steps.ravel()
    differences = measure(means + moves) - measure(means - moves)
    slopes: Array = (differences / (2 * steps.ravel())).reshape(means.shape)
    return slopes


def spend(parts: VarianceParts, seconds: Array, budget: float) -> Counts:
    """Return the further seeds (N,) that narrow an interval most within a budget of seconds.

    One seed at a time goes to the configuration at which it removes most variance in a second. As
    each further seed of a configuration removes less than the one before, no other choice of the
    same time removes more, but for a rest that is too short for a trial. It ends before the budget
    does where a seed removes too little (`LEAST_RATE`).
    seconds: (N,) of one trial of each configuration.

    >>> parts = VarianceParts(
    ...     fixed=0.0, seeded=np.array([4.0, 1.0]), counts=np.array([3, 3], dtype=np.intp)
    ... )
    >>> print(spend(parts, np.array([10.0, 10.0]), 45.0))
    [4 0]
    """
    more, left = np.zeros_like(parts.counts), budget
    least = LEAST_RATE * float(np.max(parts.seeded / (parts.counts + 1) / seconds))
    while True:
        k = parts.counts + more
        removed = parts.seeded * parts.counts / (k * (k + 1)) / seconds
        removed[seconds > left] = 0.0
        best = int(np.argmax(removed))
        if removed[best] <= least:
            return more
        more[best] += 1
        left -= float(seconds[best])
