"""Power: what the design of a study can see of its primary contrast, before it is launched."""

from dataclasses import dataclass

from study.plan.plan import Plan
from study.report.like import expected_noise
from study.spec import StudySpec

USUAL_LEAD = 0.03
"""The lead whose power is computed where no margin is declared."""
ASSUMED_IMAGES = 1000
SEEDS = (3, 5, 10, 20)
"""Numbers of seeds that are in use."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """How often the lead is claimed with a number of seeds."""

    seeds: int
    claimed: float
    """The share of studies in which it is claimed."""
    low: float
    high: float
    """Its 95% interval, as the noise is known from few trials; both `claimed` if it is assumed."""


@dataclass(frozen=True, kw_only=True)
class Power:
    """What a study can see of the primary contrast."""

    first: str
    second: str
    """The methods of the contrast, whose lead is the first one's."""
    lead: float
    """The true lead that is asked for, at equal numbers of configurations."""
    images: int
    trials: int
    """Number of recorded trials in which the noise was measured; 0 if it is assumed."""
    is_matched: bool
    """Whether the numbers of configurations differ so that a lead must hold at equal ones, too."""
    half_width: float
    """Of the primary contrast's 95% interval, with the study's seeds."""
    detected: float
    """The lead that is claimed in 80% of studies with the study's seeds."""
    designs: tuple[Design, ...]
    """The study's own number of seeds, and two larger ones."""


def expected_power(spec: StudySpec, plan: Plan) -> Power | None:
    """Return what a study can see; None if it declares no primary contrast."""
    expected = expected_noise(spec, plan)
    if expected is None:
        return None
    noise, images = expected.noise, expected.images or ASSUMED_IMAGES
    declared = spec.analysis.margin if spec.analysis else None
    lead, seeds = declared or USUAL_LEAD, len(spec.seeds)
    first, second = expected.pair
    designs = []
    for k in (seeds, *more_seeds(seeds)):
        low, high = noise.power_range(lead, k, images)
        claimed = noise.power(lead, k, images)
        designs.append(Design(seeds=k, claimed=claimed, low=low, high=high))
    return Power(
        first=first,
        second=second,
        lead=lead,
        images=images,
        trials=expected.trials,
        is_matched=noise.matched is not None,
        half_width=noise.half_width(seeds, images),
        detected=noise.detected(seeds, images),
        designs=tuple(designs),
    )


def more_seeds(seeds: int) -> tuple[int, int]:
    """Return two larger numbers of seeds, of those in use.

    >>> more_seeds(2), more_seeds(5), more_seeds(40)
    ((3, 5), (10, 20), (80, 160))
    """
    first, second, *_ = (k for k in (*SEEDS, 2 * seeds, 4 * seeds) if k > seeds)
    return first, second
