"""Power: how wide the primary contrast's interval will be, and how often a lead will be claimed.

The noise of a contrast has three parts: that of training, which falls with the seeds; that of the
images, which falls with the images alone; and their interaction, which falls with both. They are
read off recorded trials, or assumed. The interval is taken to be that of a normal distribution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from analysis.advice.narrowing import Counts, gradient
from analysis.fronts.areas import matched_rows
from analysis.fronts.attainment import entering
from analysis.fronts.choice import choose
from analysis.fronts.contrasts import UNEQUAL
from analysis.fronts.pareto import mean_attainable_robustness
from analysis.inference.bootstrap import Replicates, draw_replicates, seed_residuals
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results, primary_pair
from analysis.results.trials import Array, nested_bits

FACTOR = 1.96
"""Standard errors from the middle to the end of a 95% interval."""
REPLICATES = 400
"""Enough for a standard deviation to 4%."""
DETECTED, USUAL = 0.84, 0.8
"""The 80% quantile of the standard normal distribution: the share of studies that is usual."""
ASSUMED_CORRELATION = 0.75
"""Of the contrasts of all configurations and of equal numbers, where nothing is recorded."""
HEAVY = 1.5
"""By how much a range is widened, as training noise may have heavier tails than a normal one, of
which few trials show little. The range then holds the share that is reached in 90% of pilots or
more with normal noise, and in 80% with heavy tails."""
NESTED = 60
"""Replicates whose own lift is computed, and from as many others."""
LEAST_REST = 0.01
"""Below this share of a variable that is its own, two are one."""


@dataclass(frozen=True, kw_only=True)
class ContrastNoise:
    """The variance of a contrast with one seed of each configuration, and one image."""

    training: float
    """Of training, on all images: divided by the number of seeds."""
    interaction: float
    """Of seeds and images together: divided by both numbers."""
    images: float
    """Of the images: divided by their number."""
    lift: float = 0.0
    """By how many standard errors an interval is extended, as noise lifts a maximum: downwards if
    it is positive, else upwards."""
    training_error: float = 0.0
    """The standard error of `training`; 0 where it is assumed."""
    images_error: float = 0.0
    """The standard error of `images`."""
    lift_error: float = 0.0
    """The standard error of `lift`."""
    matched: "MatchedNoise | None" = None
    """Of the contrast at equal numbers of configurations, where a claim must hold there, too."""

    def half_width(self, seeds: int, images: int) -> float:
        """Return the expected half-width of the contrast's 95% interval."""
        return (FACTOR + 0.5 * abs(self.lift)) * self.deviation(seeds, images)

    def power(self, lead: float, seeds: int, images: int, scale: float = 1.0) -> float:
        """Return the share of studies in which a true lead is claimed.

        lead: at equal numbers of configurations; scale: of all standard errors.

        >>> noise = ContrastNoise(training=0.0, interaction=0.0, images=0.2)
        >>> round(noise.power(0.0392, 1, 500), 2), round(noise.power(0.0, 1, 500), 3)
        (0.5, 0.025)
        """
        if self.matched is None:
            return _below(self._beyond(lead, scale * self.deviation(seeds, images)))
        other = self.matched.noise
        return _both_below(
            self._beyond(lead + self.matched.grid, scale * self.deviation(seeds, images)),
            other._beyond(lead, scale * other.deviation(seeds, images)),
            self.matched.correlation,
        )

    def power_range(self, lead: float, seeds: int, images: int) -> tuple[float, float]:
        """Return the 95% interval of the share of claims, as the noise is known from few trials.

        The variance is taken to be known as from the degrees of freedom that have its standard
        error. What its ends change on the normal scale, and what those of the lift and of the finer
        grid's part do, is added as squares, and widened by `HEAVY`.

        >>> noise = ContrastNoise(training=0.0, interaction=0.0, images=0.2, images_error=0.05)
        >>> print(*(f"{share:.2f}" for share in noise.power_range(0.0392, 3, 500)))
        0.24 0.76
        """
        variance = self.deviation(seeds, images) ** 2
        error = math.hypot(self.training_error / seeds, self.images_error / images)
        middle = self.power(lead, seeds, images)
        if error <= 0:
            return middle, middle
        freedom = 2 * (variance / error) ** 2
        ends = []
        for sign in (1.0, -1.0):
            scale = math.sqrt(freedom / _chi2(freedom, -sign * FACTOR))
            shares = [self.power(lead, seeds, images, scale)]
            shares += [one.power(lead, seeds, images) for one in self._shifted(sign * FACTOR)]
            moved = HEAVY * math.hypot(*(_quantile(share) - _quantile(middle) for share in shares))
            ends.append(_below(_quantile(middle) - sign * moved))
        return ends[0], ends[1]

    def _shifted(self, errors: float) -> tuple["ContrastNoise", ...]:
        """Return the noise with the lift so many standard errors higher, and the grid's part lower.

        Both make claims rarer.
        """
        lifted = replace(self, lift=self.lift + errors * self.lift_error)
        if self.matched is None:
            return (lifted,)
        [other] = self.matched.noise._shifted(errors)
        grid = self.matched.grid - errors * self.matched.grid_error
        return (
            replace(lifted, matched=replace(self.matched, noise=other)),
            replace(self, matched=replace(self.matched, grid=grid)),
        )

    def detected(self, seeds: int, images: int) -> float:
        """Return the lead that is claimed in 80% of studies."""
        low = (FACTOR + max(self.lift, 0.0) + DETECTED) * self.deviation(seeds, images)
        if self.matched is None:
            return low
        high = low = max(low - self.matched.grid, self.matched.noise.detected(seeds, images))
        while self.power(high, seeds, images) < USUAL:
            high *= 1.5
        for _ in range(20):
            middle = 0.5 * (low + high)
            is_enough = self.power(middle, seeds, images) >= USUAL
            low, high = (low, middle) if is_enough else (middle, high)
        return high

    def deviation(self, seeds: float, images: int) -> float:
        """Return the standard error of the contrast."""
        of_seeds = (self.training + self.interaction / images) / seeds
        return math.sqrt(of_seeds + self.images / images)

    def _beyond(self, lead: float, deviation: float) -> float:
        """Return by how many standard errors a lead lies beyond what is claimed in half of all."""
        return lead / deviation - FACTOR - max(self.lift, 0.0)


@dataclass(frozen=True, kw_only=True)
class MatchedNoise:
    """The same contrast at equal numbers of configurations."""

    noise: ContrastNoise
    grid: float
    """By how much the contrast of all configurations lies above: the part of the finer grid."""
    grid_error: float
    """Its standard error."""
    correlation: float
    """Of both contrasts."""


ASSUMED = ContrastNoise(training=2 * 0.02**2, interaction=0.1, images=0.2)
"""Where nothing is recorded: seeds whose robust accuracies differ by 2 points, and two methods that
disagree on a fifth of the images, as at 50% robust accuracy."""


def assumed_noise(sizes: tuple[int, int]) -> ContrastNoise:
    """Return the assumed noise of a contrast of so many configurations of the two methods."""
    if not is_unequal(sizes):
        return ASSUMED
    matched = MatchedNoise(noise=ASSUMED, grid=0.0, grid_error=0.0, correlation=ASSUMED_CORRELATION)
    return replace(ASSUMED, matched=matched)


def is_unequal(sizes: tuple[int, int]) -> bool:
    """Return whether numbers of configurations differ so that a claim must hold at equal ones."""
    return max(sizes) >= UNEQUAL * min(sizes)


@dataclass(frozen=True, kw_only=True)
class _Pilot:
    """Recorded trials from which noise is measured."""

    results: Results
    found: tuple[ConfigurationResult, ...]
    replicates: Replicates

    @property
    def columns(self) -> list[int]:
        """Return the columns of clean and robust accuracy."""
        return [0, 1 + self.results.threat.objective]

    def pool(self, row: int) -> tuple[str, int]:
        """Return a name for the residuals that a configuration's noise is estimated from."""
        if row in self.replicates.noisy:
            return "", row
        return ("" if self.replicates.pooled_over_methods else self.found[row].method), -1

    @property
    def means(self) -> Array:
        """Return clean and robust accuracy (N, 2) at the objective radius."""
        return self.replicates.means[:, self.columns]


def contrast_noise(results: Results) -> ContrastNoise | None:
    """Measure the noise of the primary contrast in recorded trials; None without bits and seeds.

    The contrast is linearised at the means of the configurations. The noise of training is pooled
    over them, as in the intervals of a report.
    """
    found = configurations(results)
    present = tuple(dict.fromkeys(c.method for c in found))
    pair = primary_pair(results, present)
    has_bits = all(trial.bits is not None for trial in results.trials)
    if pair is None or not has_bits or not set(pair) <= set(present):
        return None
    replicates = draw_replicates(results, found, count=REPLICATES)
    if replicates.freedom == 0:
        return None
    rows_of = entering(results, found, choose(results))
    pilot = _Pilot(results=results, found=found, replicates=replicates)
    first, second = (rows_of[name][0] for name in pair)
    noise, estimate, drawn = _measured(pilot, first, second)
    if not is_unequal((len(first), len(second))):
        return noise
    matched, at_equal, others = _measured(pilot, *matched_rows(first, second, pilot.means))
    varies = drawn.std() > 0 and others.std() > 0
    return replace(
        noise,
        matched=MatchedNoise(
            noise=matched,
            grid=estimate - at_equal,
            grid_error=float(np.std(drawn - others)),
            correlation=float(np.corrcoef(drawn, others)[0, 1]) if varies else 1.0,
        ),
    )


def _measured(
    pilot: _Pilot, first: Sequence[int], second: Sequence[int]
) -> tuple[ContrastNoise, float, Array]:
    """Measure the noise of a contrast of these rows; return it with the estimate and replicates."""
    results, replicates, columns = pilot.results, pilot.replicates, pilot.columns
    rows, split = [*first, *second], len(first)

    def measure(points: Array) -> Array:
        ahead = mean_attainable_robustness(points[:, :split], results.clean_floor)
        behind: Array = mean_attainable_robustness(points[:, split:], results.clean_floor)
        return ahead - behind

    covariances = replicates.covariances[rows][:, columns][:, :, columns]
    slopes = gradient(measure, pilot.means[rows], covariances)
    counts = np.array(replicates.num_seeds)[rows]
    seeded = np.einsum("ni,nij,nj->n", slopes, covariances, slopes) * counts
    bits = [_weighted(pilot.found[row], slopes[at], columns) for at, row in enumerate(rows)]
    drawn, lifted = (
        measure(one[:, rows][:, :, columns])
        for one in (replicates.of("population"), replicates.lifted("population"))
    )
    estimate = float(measure(pilot.means[np.newaxis, rows])[0])
    noise = _split(float(np.sum(seeded)), bits, results.num_test)
    noise = replace(noise, training_error=_training_error(pilot, rows, seeded))
    scaled = _scaled(noise, float(counts.mean()), results.num_test, drawn, lifted - estimate)
    # The lift of a study that would lie where a replicate does, by the noise of others.
    others = replicates.of("population")[:, rows][:, :, columns]
    middles, moved = others[:NESTED], others[NESTED : 2 * NESTED] - pilot.means[rows]
    lifts = measure((middles[:, np.newaxis] + moved).reshape(-1, *moved.shape[1:]))
    each = lifts.reshape(len(middles), -1).mean(axis=1) - measure(middles)
    deviation = float(drawn.std())
    lift_error = 2 * float(each.std()) / deviation if deviation > 0 else 0.0
    return replace(scaled, lift_error=lift_error), estimate, drawn


def _training_error(pilot: _Pilot, rows: Sequence[int], seeded: Array) -> float:
    """Return the standard error of the summed seed variance (N,), known from pools of residuals."""
    residuals = seed_residuals(pilot.found, pilot.replicates.means)
    sizes = np.mean(residuals.values[:, pilot.columns] ** 2, axis=1)
    pools = [pilot.pool(row) for row in range(len(pilot.found))]
    squares = 0.0
    for pool in set(pools[row] for row in rows):
        part = float(np.sum(seeded[[pools[row] == pool for row in rows]]))
        squares += (part * _relative_error(sizes, residuals.rows, pools, pool)) ** 2
    return math.sqrt(squares)


def _relative_error(
    sizes: Array, owners: Counts, pools: Sequence[tuple[str, int]], pool: tuple[str, int]
) -> float:
    """Return the relative standard error of a pool's variance.

    It is that of a normal distribution, or the one by how much configurations differ, which is
    larger for heavy tails and unequal spreads. sizes: (J,) squared residuals; owners: (J,) rows.
    """
    own = [row for row, one in enumerate(pools) if one == pool]
    each = np.array([sizes[owners == row].mean() for row in own if (owners == row).any()])
    freedom = max(int(np.isin(owners, own).sum()) - len(each), 1)
    if len(each) < 2 or each.mean() <= 0:
        return math.sqrt(2 / freedom)
    scatter = float(each.std(ddof=1) / each.mean()) / math.sqrt(len(each))
    return max(math.sqrt(2 / freedom), scatter)


def _scaled(
    noise: ContrastNoise, seeds: float, images: int, drawn: Array, lifts: Array
) -> ContrastNoise:
    """Scale the parts to the variance of the replicates, which know how far it is from linear.

    drawn: (B,) the contrast's replicates; lifts: (B,) those before shrinking, minus the estimate.
    """
    linear, deviation = noise.deviation(seeds, images), float(drawn.std())
    if min(linear, deviation) <= 0:
        return noise
    scale = (deviation / linear) ** 2
    return replace(
        noise,
        training=scale * noise.training,
        interaction=scale * noise.interaction,
        images=scale * noise.images,
        training_error=scale * noise.training_error,
        images_error=scale * noise.images_error,
        lift=2 * float(lifts.mean()) / deviation,
    )


def _weighted(c: ConfigurationResult, slopes: Array, columns: list[int]) -> Array:
    """Return the contrast's change by each seed and image of a configuration, (k, n)."""
    nested = [nested_bits(t.bits)[columns] for t in c.trials if t.bits is not None]
    weighted: Array = np.einsum("a,kan->kn", slopes, np.array(nested, dtype=np.float64))
    return weighted


def _split(seeded: float, bits: list[Array], images: int) -> ContrastNoise:
    """Split the noise; seeded: of one seed on these images; bits: (k_i, n) by configuration."""
    repeated = [one for one in bits if len(one) > 1]
    each = sum(float(one.var(axis=0, ddof=1).mean()) for one in repeated)
    # A lone seed's interaction is taken to be that of the others.
    interaction = each * len(bits) / max(len(repeated), 1)
    by_image = np.sum([one.mean(axis=0) for one in bits], axis=0)
    squares = (by_image - by_image.mean()) ** 2
    shared = float(by_image.var(ddof=1))
    within = sum(float(one.var(axis=0, ddof=1).mean()) / len(one) for one in repeated)
    return ContrastNoise(
        training=max(seeded - interaction / images, 0.0),
        interaction=interaction,
        images=max(shared - within, 0.0),
        images_error=float(squares.std()) / math.sqrt(images),
    )


def _below(beyond: float) -> float:
    """Return the standard normal probability of less."""
    return 0.5 * math.erfc(-beyond / math.sqrt(2.0))


def _quantile(share: float) -> float:
    """Return the standard normal quantile of a share, within ±5."""
    return NormalDist().inv_cdf(min(max(share, 3e-7), 1 - 3e-7))


def _both_below(one: float, other: float, correlation: float) -> float:
    """Return the probability that two standard normal variables are both less.

    >>> round(_both_below(0.0, 0.0, 0.5), 4), round(_both_below(1.0, 9.0, 0.3), 4)
    (0.3333, 0.8413)
    """
    rest = math.sqrt(max(1 - correlation**2, 0.0))
    if rest < LEAST_REST:
        return _below(min(one, other))
    nodes = np.linspace(-8.0, min(one, 8.0), 401)
    middles, step = 0.5 * (nodes[1:] + nodes[:-1]), float(nodes[1] - nodes[0])
    shares = [_below((other - correlation * x) / rest) for x in middles.tolist()]
    return float(np.dot(np.exp(-0.5 * middles**2), shares)) * step / math.sqrt(2 * math.pi)


def _chi2(freedom: float, z: float) -> float:
    """Return a quantile of χ², by Wilson and Hilferty (1931), PNAS 17(12).

    z: the standard normal quantile of the same share.

    >>> round(_chi2(10.0, 1.96), 1), round(_chi2(10.0, -1.96), 1)
    (20.5, 3.2)
    """
    spread = 2 / (9 * freedom)
    return freedom * max(1 - spread + z * math.sqrt(spread), 0.1) ** 3
