"""Does it pay to follow the advice? In studies of known truth, against further seeds of everything.

A short form runs always; RHOEPS_FULL_COVERAGE=1 runs 200 studies of each laboratory.
"""

import math
import os
from dataclasses import dataclass, replace

import numpy as np
import pytest

from analysis.advice.advise import Advice, advise
from analysis.fronts.choice import choose
from analysis.fronts.contrasts import Contrasts, measure_contrasts
from analysis.inference.bootstrap import draw_replicates
from analysis.responses.equivalence import Equivalence, measure_equivalences
from analysis.results.configurations import ConfigurationResult, configurations
from tests.analysis.advice.lab import RADIUS, Cell, Lab, advised, evenly

FULL = os.environ.get("RHOEPS_FULL_COVERAGE") == "1"
SETS = 200
LABS = {
    "normal": Lab(number=0),
    "t3, 1000 images": Lab(number=0, noise="t3", images=1000, deviation=0.06),
    "unequal, sam_at": Lab(number=0, noise="unequal", with_both=True),
    "laplace, 2000 images": Lab(number=0, noise="laplace", images=2000, scale=0.03),
}


@dataclass(frozen=True)
class Measured:
    found: tuple[ConfigurationResult, ...]
    contrasts: Contrasts
    equivalence: Equivalence
    advice: tuple[Advice, ...]

    @property
    def lead_width(self) -> float:
        assert self.contrasts.primary is not None
        low, high = self.contrasts.primary.ends
        return high - low

    def epsilon_width(self, rho: object) -> float:
        """The interval in ln ε; infinite if ε is not given."""
        for value in self.equivalence.values:
            if self.found[value.row].values["rho"] == rho:
                epsilon = value.epsilon
                return math.inf if epsilon is None else math.log(epsilon.high / epsilon.low)
        raise KeyError(rho)


def measured(lab: Lab, cells: list[Cell]) -> Measured:
    results = lab.study(cells)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=400, seed=lab.number)
    contrasts = measure_contrasts(results, found, choose(results), drawn, RADIUS, "population")
    equivalences = measure_equivalences(results, found, drawn, RADIUS, "population")
    equivalence = next(one for one in equivalences if one.sam == "sam")
    return Measured(
        found=found,
        contrasts=contrasts,
        equivalence=equivalence,
        advice=advise(results, found, drawn, contrasts, [equivalence]),
    )


def won(lab: Lab) -> tuple[list[bool], list[bool]]:
    """Whether following narrows the primary contrast, and an equivalent ε, more than seeds of all.

    Each entry is followed alone, and is compared with as many hours of further seeds.
    """
    rng = np.random.default_rng(lab.number)
    cells = lab.first()
    before = measured(lab, cells)
    lead, epsilon = [], []
    for one in before.advice:
        if one.images is not None or one.hours is None or any(new.is_new for new in one.trials):
            continue
        followed = measured(lab, cells + advised(one.trials))
        even = measured(lab, cells + evenly(cells, 3600 * one.hours, rng))
        if one.kind == "primary contrast":
            lead.append(followed.lead_width < even.lead_width)
        else:
            rho = one.values[0]["rho"]
            epsilon.append(followed.epsilon_width(rho) < even.epsilon_width(rho))
    return lead, epsilon


def shares(lab: Lab, sets: int) -> tuple[float, float]:
    both = [won(replace(lab, number=1 + number)) for number in range(sets)]
    lead, epsilon = ([is_won for one in both for is_won in one[at]] for at in (0, 1))
    assert min(len(lead), len(epsilon)) >= 0.6 * sets
    return float(np.mean(lead)), float(np.mean(epsilon))


def test_following_the_advice_narrows_more_than_seeds_of_everything_in_a_few_studies() -> None:
    assert min(shares(LABS["normal"], 4)) >= 0.5


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="minutes; RHOEPS_FULL_COVERAGE=1 runs it")
@pytest.mark.parametrize("name", LABS)
def test_following_the_advice_narrows_more_than_seeds_of_everything(name: str) -> None:
    lead, epsilon = shares(LABS[name], SETS)
    print(f"{name}: narrower in {lead:.3f} of contrasts, {epsilon:.3f} of equivalent ε")
    assert min(lead, epsilon) >= 0.7
