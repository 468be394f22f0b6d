"""Claims: an estimate with its interval, and the sentence that states it or refuses to.

The words of this module are those that `front.json` writes, so they change with its schema only.
"""

from dataclasses import dataclass, field
from typing import Literal

LEVEL = 0.95
"""The coverage of every interval, band and region."""
TAILS = (100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2)
"""The percentiles of replicates that an interval ends at."""

Estimand = Literal["population", "this test set"]
"""`this test set`: other seeds, same images. `population`: other seeds and other images."""
Status = Literal["claimed", "bracketed", "refused"]
"""`claimed`: the data carry it. `bracketed`: it is printed, but something speaks against claiming
it. `refused`: the data carry no number; the reason says what would."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval, in the units of the estimate."""

    estimate: float
    """From the data themselves, not the mean of the replicates."""
    low: float
    """The lower end."""
    high: float
    """The upper end. Not necessarily symmetric: intervals are percentiles of replicates."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a study says, or refuses to say. A refusal is a finding."""

    kind: str
    """What it is about, a short noun: `hypervolume difference`, `gap`, `equivalent epsilon` …"""
    text: str
    """The sentence, complete with its numbers, interval, range, sample sizes and attack."""
    status: Status
    estimate: float | None = None
    """In the unit that `kind` implies: a fraction for accuracies and their differences."""
    low: float | None = None
    high: float | None = None
    """The ends of the interval, in the unit of the estimate."""
    level: float = LEVEL
    """The probability with which such intervals cover."""
    estimand: Estimand | None = None
    """What the interval covers; None if it has none."""
    range: tuple[float, float] | None = None
    """The range of clean accuracy (or strength) over which it holds."""
    n: str = ""
    """Configurations × seeds and images."""
    interval_method: str = ""
    """How the interval was made: percentiles, or simultaneous over how many."""
    family: str = ""
    """The family of the fitted curve that the number was read off; empty without one."""
    reason: str = ""
    """Why it is bracketed or refused, with the numbers, and the way out."""
    primary: bool = False
    """The one contrast declared before the data; all others are exploratory or adjusted."""
    plain: str = field(default="", metadata={"written": lambda finding: bool(finding.plain)})
    """The same in one or two short sentences, without the conditions that all findings share."""
    declared: bool = field(default=False, metadata={"written": lambda finding: finding.declared})
    """True if it answers a claim or a clean margin that was declared before the data."""

    @property
    def is_exploratory(self) -> bool:
        """Return whether the study did not declare it before the data."""
        return not (self.primary or self.declared)
