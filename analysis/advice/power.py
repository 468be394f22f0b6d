"""Power: how wide the primary contrast's interval will be, and how often a lead will be claimed.

The noise of a contrast has three parts: that of training, which falls with the seeds; that of the
images, which falls with the images alone; and their interaction, which falls with both. They are
read off recorded trials, or assumed. The interval is taken to be that of a normal distribution.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.advice.narrowing import gradient
from analysis.fronts.attainment import entering
from analysis.fronts.choice import choose
from analysis.fronts.pareto import mean_attainable_robustness
from analysis.inference.bootstrap import draw_replicates
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results, primary_pair
from analysis.results.trials import Array, nested_bits

FACTOR = 1.96
"""Standard errors from the middle to the end of a 95% interval."""
REPLICATES = 400
"""Enough for a standard deviation to 4%."""
DETECTED = 0.84
"""The 80% quantile of the standard normal distribution: the share of studies that is usual."""


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

    def half_width(self, seeds: int, images: int) -> float:
        """Return the expected half-width of the contrast's 95% interval."""
        return (FACTOR + 0.5 * abs(self.lift)) * self.deviation(seeds, images)

    def power(self, lead: float, seeds: int, images: int) -> float:
        """Return the share of studies in which a true lead is claimed.

        >>> noise = ContrastNoise(training=0.0, interaction=0.0, images=0.2)
        >>> round(noise.power(0.0392, 1, 500), 2), round(noise.power(0.0, 1, 500), 3)
        (0.5, 0.025)
        """
        beyond = lead / self.deviation(seeds, images) - FACTOR - max(self.lift, 0.0)
        return 0.5 * math.erfc(-beyond / math.sqrt(2.0))

    def detected(self, seeds: int, images: int) -> float:
        """Return the lead that is claimed in 80% of studies."""
        return (FACTOR + max(self.lift, 0.0) + DETECTED) * self.deviation(seeds, images)

    def deviation(self, seeds: float, images: int) -> float:
        """Return the standard error of the contrast."""
        of_seeds = (self.training + self.interaction / images) / seeds
        return math.sqrt(of_seeds + self.images / images)


ASSUMED = ContrastNoise(training=2 * 0.02**2, interaction=0.1, images=0.2)
"""Where nothing is recorded: seeds whose robust accuracies differ by 2 points, and two methods that
disagree on a fifth of the images, as at 50% robust accuracy."""


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
    first, second = (list(rows_of[name][0]) for name in pair)
    rows, split = first + second, len(first)

    def measure(points: Array) -> Array:
        ahead = mean_attainable_robustness(points[:, :split], results.clean_floor)
        behind: Array = mean_attainable_robustness(points[:, split:], results.clean_floor)
        return ahead - behind

    columns = [0, 1 + results.threat.objective]
    covariances = replicates.covariances[rows][:, columns][:, :, columns]
    slopes = gradient(measure, replicates.means[rows][:, columns], covariances)
    counts = np.array(replicates.num_seeds)[rows]
    seeded = float(np.sum(np.einsum("ni,nij,nj->n", slopes, covariances, slopes) * counts))
    bits = [_weighted(found[row], slopes[at], columns) for at, row in enumerate(rows)]
    drawn, lifted = (
        measure(one[:, rows][:, :, columns])
        for one in (replicates.of("population"), replicates.lifted("population"))
    )
    estimate = float(measure(replicates.means[np.newaxis, rows][:, :, columns])[0])
    split_noise = _split(seeded, bits, results.num_test)
    return _scaled(split_noise, float(counts.mean()), results.num_test, drawn, lifted - estimate)


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
    return ContrastNoise(
        training=scale * noise.training,
        interaction=scale * noise.interaction,
        images=scale * noise.images,
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
    shared = float(np.sum([one.mean(axis=0) for one in bits], axis=0).var(ddof=1))
    within = sum(float(one.var(axis=0, ddof=1).mean()) / len(one) for one in repeated)
    return ContrastNoise(
        training=max(seeded - interaction / images, 0.0),
        interaction=interaction,
        images=max(shared - within, 0.0),
    )
