"""Does it pay to follow the advice? In studies of known truth, against further seeds of everything.

A short form runs always; RHOEPS_FULL_COVERAGE=1 runs 200 studies of each laboratory.
"""

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from analysis.advice.advise import advise
from analysis.advice.entries import Advice, Study, read_study
from analysis.advice.values import front_width, fronts_of, own_rows
from analysis.curves.fits import FrontFit, fit_fronts
from analysis.curves.gaps import Gap, measure_gap
from analysis.fronts.choice import choose
from analysis.fronts.contrasts import Contrasts, measure_contrasts
from analysis.inference.bootstrap import draw_replicates
from analysis.responses.equivalence import Equivalence, measure_equivalences
from analysis.responses.strength import Response, measure_responses
from analysis.results.configurations import configurations
from tests.analysis.advice.lab import RADIUS, Cell, Lab, advised, evenly

FULL = os.environ.get("RHOEPS_FULL_COVERAGE") == "1"
SETS = 200
LABS = {
    "normal": Lab(number=0),
    "t3, 1000 images": Lab(number=0, noise="t3", images=1000, deviation=0.06),
    "unequal, sam_at": Lab(number=0, noise="unequal", with_both=True),
    "laplace, 2000 images": Lab(number=0, noise="laplace", images=2000, scale=0.03),
    "wide steps": Lab(
        number=0, price=3.0, rhos=(0.1, 0.2, 0.6), epsilons=(0.005, 0.01, 0.02, 0.15), images=2000
    ),
    "wide steps, unequal": Lab(
        number=0,
        price=3.0,
        rhos=(0.05, 0.1, 0.2, 0.6),
        epsilons=(0.01, 0.02, 0.12),
        noise="unequal",
    ),
    "open end": Lab(number=0, top=0.4, images=1000),
    "open end, t3": Lab(number=0, top=0.45, rhos=(0.1, 0.2, 0.4), noise="t3", images=2000),
    "two values of ρ": Lab(number=0, rhos=(0.15, 0.3), images=2000),
    "few values": Lab(
        number=0, price=3.0, rhos=(0.1, 0.3, 0.6), epsilons=(0.01, 0.04, 0.15), images=2000
    ),
}
WITH_VALUES = ("wide steps", "wide steps, unequal", "open end", "open end, t3")


@dataclass(frozen=True)
class Measured:
    lab: Lab
    study: Study
    contrasts: Contrasts
    equivalences: Sequence[Equivalence]
    responses: Sequence[Response]
    fits: Sequence[FrontFit]
    gaps: Sequence[Gap]
    advice: tuple[Advice, ...] = ()

    def width(self, one: Advice) -> float:
        """How much is unknown of what an entry would narrow."""
        if one.kind == "primary contrast":
            assert self.contrasts.primary is not None
            low, high = self.contrasts.primary.ends
            return high - low
        if one.kind == "equivalent epsilon":
            return float(np.mean([self.of_epsilon(one, values) for values in one.values]))
        if one.kind == "curve":
            [fit] = [fit for fit in self.fits if fit.method == one.methods[0]]
            return -next((row.number for row in fit.gate if not row.passed), 4)
        if one.kind == "slope":
            return float(self.equivalences[0].slope is None)
        pairs = fronts_of(self.responses, self.contrasts.hypervolumes)
        [(response, area)] = [pair for pair in pairs if pair[0].method == one.methods[0]]
        if one.kind == "front step":
            return front_width(self.study, response, area)
        rows = own_rows(self.study, response)
        strengths = [float(self.study.found[row].values[response.name]) for row in rows]
        best = int(self.study.means[rows, 1].argmax())
        top = self.lab.top if response.name == "rho" else math.inf
        if best < len(rows) - 1 and strengths[best - 1] < top < strengths[best + 1]:
            return -1.0  # the peak is known to lie between its neighbours
        return -max(self.lab.truth(response.method, {response.name: s})[1] for s in strengths)

    def of_epsilon(self, one: Advice, values: Mapping[str, object]) -> float:
        """The interval in ln ε; of a new level, the interval or the bracket in ε."""
        [found] = [each for each in self.equivalences if each.sam == one.methods[0]]
        [value] = [v for v in found.values if self.study.found[v.row].values == values]
        if one.trials[0].is_new:
            if value.epsilon is not None:
                return value.epsilon.high - value.epsilon.low
            return (math.inf if value.ceiling is None else value.ceiling) - (value.floor or 0.0)
        return (
            math.inf if value.epsilon is None else math.log(value.epsilon.high / value.epsilon.low)
        )


def measured(lab: Lab, cells: list[Cell], *, with_fits: bool = False) -> Measured:
    results = lab.study(cells)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=400, seed=lab.number)
    at = RADIUS, "population"
    fits = fit_fronts(results, drawn) if with_fits else []
    named = {fit.method: fit for fit in fits}
    seen = Measured(
        lab=lab,
        study=read_study(results, found, drawn),
        contrasts=measure_contrasts(results, found, choose(results), drawn, *at),  # type: ignore[arg-type]
        equivalences=[
            one
            for one in measure_equivalences(results, found, drawn, *at)  # type: ignore[arg-type]
            if one.sam == "sam"
        ],
        responses=measure_responses(results, found, drawn, *at),  # type: ignore[arg-type]
        fits=fits,
        gaps=[measure_gap(results, drawn, named["at"], named["sam"])] if named else [],
    )
    return replace(seen, advice=advise(results, found, drawn, seen))


def won(lab: Lab, *, with_fits: bool = False) -> Mapping[str, list[bool]]:
    """Whether following an entry narrows what it is about more than seeds of all, by its kind.

    Each entry is followed alone, and is compared with as many hours of further seeds.
    """
    rng = np.random.default_rng(lab.number)
    cells = lab.first()
    before = measured(lab, cells, with_fits=with_fits)
    found = defaultdict(list)
    for one in before.advice:
        if one.images is not None or one.hours is None:
            continue
        needs = with_fits and one.kind == "curve"
        followed = measured(lab, cells + advised(one.trials), with_fits=needs)
        more = evenly(cells, 3600 * one.hours, rng)
        even = measured(lab, cells + more, with_fits=needs)
        what = "new values" if any(new.is_new for new in one.trials) else "seeds"
        widths = followed.width(one), even.width(one)
        # Where neither resolves anything, none has won.
        if widths[0] != widths[1]:
            found[f"{one.kind}, {what}"].append(widths[0] < widths[1])
    return found


def shares(lab: Lab, sets: int, *, with_fits: bool = False) -> Mapping[str, tuple[float, int]]:
    """The share of entries that it paid to follow, and their number, by kind."""
    both: dict[str, list[bool]] = defaultdict(list)
    for number in range(sets):
        for kind, wins in won(replace(lab, number=1 + number), with_fits=with_fits).items():
            both[kind] += wins
    return {kind: (float(np.mean(wins)), len(wins)) for kind, wins in both.items()}


@pytest.mark.parametrize("name", ["normal", "wide steps"])
def test_following_the_advice_narrows_more_than_seeds_of_everything_in_a_few_studies(
    name: str,
) -> None:
    found = shares(LABS[name], 2)
    won_of, counts = zip(*found.values(), strict=True)
    assert np.average(won_of, weights=counts) >= 0.5
    expected = "front step, new values" if name == "wide steps" else "primary contrast, seeds"
    assert expected in found


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="minutes; RHOEPS_FULL_COVERAGE=1 runs it")
@pytest.mark.parametrize("name", LABS)
def test_following_the_advice_narrows_more_than_seeds_of_everything(name: str) -> None:
    found = shares(LABS[name], SETS, with_fits=name == "few values")
    for kind, (share, count) in found.items():
        print(f"{name}, {kind}: it pays to follow in {share:.3f} of {count}")
    assert {
        share for share, count in found.values() if count >= 0.2 * SETS and share < 0.7
    } == set()
    if name in WITH_VALUES:
        assert sum(count for kind, (_, count) in found.items() if kind.startswith("front")) >= 100
