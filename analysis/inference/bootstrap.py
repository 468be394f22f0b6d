"""Bootstrap: replicates over seeds × samples, shared by everything that is computed from them.

Configurations are a fixed design and are never resampled, since a search puts them where it likes.
Only noise is resampled: that of seeds from pooled residuals, that of test samples by weights that
all configurations share. So every difference of two configurations is paired.

Letters: B replicates, N configurations, R radii, n test samples, k seeds of one configuration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from analysis.inference.claims import Estimand
from analysis.inference.noise import noisy_rows, own_pool
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array, nested_bits

COUNT = 2000
"""Replicates of a report."""
LEAST_FREEDOM = 10
"""Where Σ(k - 1) is below this, a method's own residuals are too few to estimate its noise."""
LEAST_VARIANCE = 1e-4
"""The least scale a(1 - a) of a robust accuracy: residuals near 0 and 1 must not be blown up."""
CHUNK = 250
"""Replicates whose sample weights are held in memory at a time."""

Array32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Replicates of the accuracies of N configurations, clean first, then robust at R radii."""

    seed: int
    """Seed of the generator that drew the replicates."""
    means: Array
    """(N, 1 + R) the point estimates m_i, means over seeds."""
    this_test_set: Array
    """(B, N, 1 + R): other seeds, same images."""
    population: Array | None
    """(B, N, 1 + R): other seeds and other images; None unless every trial carries bits."""
    unshrunk: Array | None = None
    """`population` before its seed noise was shrunk: only the lift of a maximum is read off it."""
    covariances: Array
    """(N, 1 + R, 1 + R) S_i: covariance of a configuration's mean over seeds, seed noise alone."""
    num_seeds: tuple[int, ...]
    """(N,) k_i."""
    pooled_over_methods: bool
    """True if some method had too few seeds for a pool of its own."""
    noisy: Mapping[int, float] = field(default_factory=dict)
    """By row: the seed spread of a configuration in units of its pool's, where it is so large that
    it left the pool."""
    variance_explained_by_seed: float | None
    """Share of residual variance that the seed number explains; None without residuals."""

    @property
    def default(self) -> Estimand:
        """Return the estimand of headline numbers: population where there are bits."""
        return "this test set" if self.population is None else "population"

    @property
    def estimands(self) -> tuple[Estimand, ...]:
        """Return the estimands that the data allow, the default first."""
        return ("this test set",) if self.population is None else ("population", "this test set")

    @property
    def freedom(self) -> int:
        """Count the degrees of freedom Σ(k_i - 1); 0 if nothing is known of seed noise."""
        return sum(k - 1 for k in self.num_seeds)

    def lifted(self, estimand: Estimand) -> Array:
        """Return the replicates (B, N, 1 + R) from which the lift of a maximum is computed.

        They are those before shrinking. Shrunk ones understate by how much noise lifted the best
        of several copies, as a test set has drawn all of their noise.
        """
        is_shrunk = estimand == "population" and self.unshrunk is not None
        return self.unshrunk if is_shrunk and self.unshrunk is not None else self.of(estimand)

    def of(self, estimand: Estimand) -> Array:
        """Return the replicates (B, N, 1 + R) under this estimand."""
        drawn = self.this_test_set if estimand == "this test set" else self.population
        assert drawn is not None, "population replicates need bits"
        return drawn


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """Scaled differences of single seeds from the mean of their configuration, J in all."""

    values: Array
    """(J, 1 + R) e_ij = √(k/(k - 1)) (a_ij - m_i) / s_i; a lone seed has none."""
    rows: NDArray[np.intp]
    """(J,) the row of each residual's configuration."""
    seeds: NDArray[np.intp]
    """(J,) the seed number of each residual."""


def draw_replicates(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    *,
    count: int = COUNT,
    seed: int = 0,
) -> Replicates:
    """Draw replicates of the configurations `found`, the N rows, in their order.

    Replicate b of configuration i is clip(m_i + δ_bi, 0, 1) on this test set and
    clip(t_bi + δ_bi, 0, 1) in the population. δ_bi is s_i times the mean of k_i residuals, drawn
    with replacement as whole vectors from the pool of the method (of all methods, if one of them
    has fewer than `LEAST_FREEDOM` degrees of freedom); t_bi = Σ_s w_bs q_is, where q_is is the
    share of i's seeds that are right on sample s and the weights w_b, Exp(1) draws divided by
    their sum (Rubin 1981, Ann. Stat. 9(1), the Bayesian bootstrap), are the same for all i.
    In the population δ is shrunk by `shrinkages`, as t holds a part of it already.
    Without residuals δ is 0. Scaling robust residuals by √(m(1 - m)), and pooling, is ours: three
    seeds resampled as they are give intervals that are far too short.
    """
    rng = np.random.default_rng(seed)
    means = _mean_accuracies(results, found)
    residuals = seed_residuals(found, means)
    noisy = _noisy(found, residuals)
    pools, pooled = _pools(found, residuals, noisy)
    scales = residual_scales(means)
    counts = tuple(len(c.trials) for c in found)
    noise = _draw_seed_noise(rng, pools, counts, scales, count)
    has_bits = bool(found) and all(t.bits is not None for c in found for t in c.trials)
    population = unshrunk = None
    if has_bits:
        population, interactions = _draw_sample_means(rng, found, count)
        unshrunk = population + noise
        population += noise * shrinkages(pools, interactions / scales**2, counts)
        np.clip(unshrunk, 0.0, 1.0, out=unshrunk)
        np.clip(population, 0.0, 1.0, out=population)
    return Replicates(
        seed=seed,
        means=means,
        this_test_set=np.clip(means + noise, 0.0, 1.0),
        population=population,
        unshrunk=unshrunk,
        covariances=_seed_covariances(pools, counts, scales, results.num_test),
        num_seeds=counts,
        pooled_over_methods=pooled,
        noisy=noisy,
        variance_explained_by_seed=explained_by_seed(residuals),
    )


def residual_scales(means: Array) -> Array:
    """Return s_i, by which residuals are divided: 1 for clean, √max(m(1 - m), 1e-4) for robust.

    means: (N, 1 + R); returns the same shape. Seed noise of a robust accuracy shrinks towards 0
    and 1 as that of a share does; that of a clean accuracy does not.

    >>> residual_scales(np.array([[0.9, 0.5, 0.0]]))
    array([[1.  , 0.5 , 0.01]])
    """
    scales = np.sqrt(np.maximum(means * (1.0 - means), LEAST_VARIANCE))
    scales[:, 0] = 1.0
    return scales


def shrinkages(pools: Sequence[Array], interactions: Array, counts: Sequence[int]) -> Array:
    """Return the factors √(max(s² - I, 0)/s²) on the seed noise of population replicates.

    A test set of n images shows seeds that differ by more than they do on all images: the variance
    s² of residuals holds the interaction of seeds and images, divided by n. The weights of images
    draw this part again, so it is removed here. I is the mean over images of the variance over
    seeds, divided by n, averaged over the configurations of a pool.
    pools: residuals (J, 1 + R) for each configuration, one array for those that share it;
    interactions: (N, 1 + R) I in the scale of the residuals; counts: (N,) k_i. Returns (N, 1 + R).

    >>> pool = np.array([[0.02], [-0.02]])
    >>> shrinkages([pool], np.array([[0.0003]]), [2])
    array([[0.5]])
    """
    factors = np.ones(interactions.shape)
    repeated = np.array(counts) > 1
    for pool in {id(one): one for one in pools}.values():
        rows = np.array([one is pool for one in pools])
        known = rows & repeated
        if not len(pool) or not known.any():
            continue
        variances = np.mean(pool**2, axis=0)
        shared = np.average(interactions[known], axis=0, weights=np.array(counts)[known])
        kept = np.maximum(variances - shared, 0.0)
        factors[rows] = np.sqrt(np.divide(kept, variances, out=kept, where=variances > 0))
    return factors


def seed_residuals(found: Sequence[ConfigurationResult], means: Array) -> Residuals:
    """Collect the scaled residuals of all configurations with two seeds or more."""
    scales = residual_scales(means)
    values, rows, seeds = [np.empty((0, means.shape[1]))], [], []
    for row, c in enumerate(found):
        k = len(c.trials)
        if k > 1:
            measured = np.array([(t.clean, *t.robust) for t in c.trials], dtype=np.float64)
            values.append(np.sqrt(k / (k - 1)) * (measured - means[row]) / scales[row])
            rows += [row] * k
            seeds += [t.seed for t in c.trials]
    return Residuals(
        values=np.vstack(values),
        rows=np.array(rows, dtype=np.intp),
        seeds=np.array(seeds, dtype=np.intp),
    )


def explained_by_seed(residuals: Residuals) -> float | None:
    """Return the share of residual variance that the seed number explains, 0 to 1.

    Replicates count configurations as independent, which a large share contradicts; by chance
    alone it is about one over the number of configurations. None without residuals.
    """
    total = float(np.sum(residuals.values**2))
    if total == 0.0:
        return None
    numbers, group = np.unique(residuals.seeds, return_inverse=True)
    sums = np.zeros((len(numbers), residuals.values.shape[1]))
    np.add.at(sums, group, residuals.values)
    between = np.sum(sums**2 / np.bincount(group)[:, np.newaxis])
    return float(min(between / total, 1.0))


def _mean_accuracies(results: Results, found: Sequence[ConfigurationResult]) -> Array:
    rows = [(c.clean.mean, *(at_radius.mean for at_radius in c.robust)) for c in found]
    return np.array(rows, dtype=np.float64).reshape(-1, 1 + len(results.threat.radii))


def _pools(
    found: Sequence[ConfigurationResult], residuals: Residuals, noisy: Mapping[int, float]
) -> tuple[list[Array], bool]:
    """Return the pool of residuals (J, 1 + R) of each configuration, and whether all share one.

    A noisy configuration has its own.
    """
    owner, pooled = _owners(found)
    shared = ~np.isin(residuals.rows, list(noisy))
    pools = {}
    for group in dict.fromkeys(owner.tolist()):
        values = residuals.values[shared & (owner[residuals.rows] == group)]
        pools[group] = values - values.mean(axis=0) if len(values) else values
    chosen = [pools[group] for group in owner.tolist()]
    for row in noisy:
        chosen[row] = own_pool(residuals.values[residuals.rows == row], chosen[row])
    return chosen, pooled


def _noisy(found: Sequence[ConfigurationResult], residuals: Residuals) -> Mapping[int, float]:
    """Return the rows that leave their pool, each with its spread in units of the pool's."""
    counts = np.array([len(c.trials) for c in found], dtype=np.intp)
    squares = np.zeros((len(found), residuals.values.shape[1]))
    np.add.at(squares, residuals.rows, residuals.values**2)
    return noisy_rows(squares / np.maximum(counts, 1)[:, np.newaxis], counts, _owners(found)[0])


def _owners(found: Sequence[ConfigurationResult]) -> tuple[NDArray[np.intp], bool]:
    """Return the number of the pool of each configuration, and whether all methods share one."""
    methods = list(dict.fromkeys(c.method for c in found))
    freedom = {m: sum(len(c.trials) - 1 for c in found if c.method == m) for m in methods}
    # All or none, so that methods are compared with noise estimated in one way.
    pooled = len(methods) > 1 and min(freedom.values()) < LEAST_FREEDOM
    numbers = [0 if pooled else methods.index(c.method) for c in found]
    return np.array(numbers, dtype=np.intp), pooled


def _draw_seed_noise(
    rng: np.random.Generator,
    pools: list[Array],
    counts: Sequence[int],
    scales: Array,
    count: int,
) -> Array:
    """Draw δ (B, N, 1 + R)."""
    noise = np.zeros((count, *scales.shape))
    for row, (pool, k) in enumerate(zip(pools, counts, strict=True)):
        # A lone seed says nothing about seed noise: without a pool it has none.
        if len(pool):
            drawn = pool[rng.integers(len(pool), size=(count, k))]
            noise[:, row] = scales[row] * drawn.mean(axis=1)
    return noise


def _seed_covariances(
    pools: list[Array], counts: Sequence[int], scales: Array, num_test: int
) -> Array:
    """Return S_i (N, 1 + R, 1 + R), with variances of at least the rounding of an accuracy."""
    width = scales.shape[1]
    covariances = np.zeros((len(scales), width, width))
    floor = 1.0 / (12.0 * num_test**2)
    known: dict[int, Array] = {}
    for row, (pool, k) in enumerate(zip(pools, counts, strict=True)):
        if len(pool):
            if id(pool) not in known:
                known[id(pool)] = pool.T @ pool / len(pool)
            covariances[row] = np.outer(scales[row], scales[row]) * known[id(pool)] / k
        np.fill_diagonal(covariances[row], np.maximum(np.diag(covariances[row]), floor))
    return covariances


def _draw_sample_means(
    rng: np.random.Generator, found: Sequence[ConfigurationResult], count: int
) -> tuple[Array, Array]:
    """Draw t (B, N, 1 + R), the accuracies on the reweighted samples; and return I (N, 1 + R).

    Equal rows of q are multiplied once, so that they give equal numbers to the last bit; the first
    row, of ones, gives the sum that the weights are divided by.
    """
    shares, column = _sample_shares(found)
    # The variance over k seeds of a bit with mean q is q(1 - q) k/(k - 1).
    spread = np.array([np.dot(q, 1 - q) for q in shares])[column] / shares.shape[1] ** 2
    seeds = np.array([[len(c.trials)] for c in found])
    interactions = spread * seeds / np.maximum(seeds - 1, 1)
    means = np.empty((count, *column.shape))
    for start in range(0, count, CHUNK):
        rows = min(CHUNK, count - start)
        # The one place in float32, for half the memory: a rounding of 1e-7 is far below the noise
        # of any number of test images.
        weights = rng.standard_exponential((rows, shares.shape[1]), dtype=np.float32)
        totals = (weights @ shares.T).astype(np.float64)
        means[start : start + rows] = (totals / totals[:, :1])[:, column]
    return means, interactions


def _sample_shares(found: Sequence[ConfigurationResult]) -> tuple[Array32, NDArray[np.intp]]:
    """Return the distinct rows of q (U, n), ones first, and the index of each accuracy's row."""
    first = found[0].trials[0].bits
    assert first is not None, "population replicates need bits"
    ones = np.ones(first.shape[1], dtype=np.float32)
    rows, places = [ones], {blake2b(ones.tobytes()).digest(): 0}
    column = np.empty((len(found), len(first)), dtype=np.intp)
    for at, c in enumerate(found):
        bits = [nested_bits(t.bits) for t in c.trials if t.bits is not None]
        for accuracy, right in enumerate(np.sum(bits, axis=0) / np.float32(len(bits))):
            share = right.astype(np.float32)
            # Arrays are no keys of a dict; their digest is one.
            name = blake2b(share.tobytes()).digest()
            if name not in places:
                places[name] = len(rows)
                rows.append(share)
            column[at, accuracy] = places[name]
    return np.stack(rows), column
