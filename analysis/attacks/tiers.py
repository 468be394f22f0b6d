"""Tiers: what a stronger attack left, beside the evaluation attack and never mixed with it.

Within a tier an accuracy is the worst case over everything that was tried in it. A tier is a study
of its own: the same networks, the samples and radii that the stronger attack saw, its own front.
Both attacks are measured on the same samples with the same replicates, so that their difference is
paired.

Tier designs: which trials make up a tier of a stronger attack, and at which radii.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.attacks.alarms import cell_text
from analysis.inference.bootstrap import Replicates, draw_replicates
from analysis.inference.claims import Interval
from analysis.inference.intervals import intervals
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.trials import (
    Array,
    Bits,
    Norm,
    StrongResult,
    TrialResult,
    accuracies,
    nested_bits,
    strong_text,
    trial_key,
)

Key = tuple[str, Norm, int, tuple[str, ...]]
Radii = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TierDesign:
    """Which trials a stronger attack saw, on how many samples, at which radii."""

    attack: str
    norm: Norm
    samples: int
    parts: tuple[str, ...]
    radii: Radii
    """Those at which every one of its trials was evaluated and attacked."""
    trials: tuple[TrialResult, ...]
    """Attacked at every radius of their own evaluation, as the evaluation attack left them."""
    partial: tuple[str, ...]
    """Trials attacked at some of their radii only, as they are printed: not in the tier."""

    def of(self, trial: TrialResult) -> StrongResult:
        """Give what the attack left of one of the trials, at the radii of the tier."""
        key = self.attack, self.norm, self.samples, self.parts
        strong = next(one for one in trial.strong if _key(one) == key)
        return strong if strong.radii == self.radii else _at_radii(strong, self.radii)


def tier_designs(results: Results) -> tuple[TierDesign, ...]:
    """List the tiers of a study: one for each attack and number of samples.

    Only trials with bits under both attacks can be compared sample by sample, and only at radii
    that all of them share: studies that are compared may evaluate another norm at different ones.
    Trials that share none are tiers apart, one for each set of radii.
    """
    keys = dict.fromkeys(_key(strong) for trial in results.trials for strong in trial.strong)
    own_norm_first = sorted(keys, key=lambda key: key[1] != results.threat.norm)
    return tuple(design for key in own_norm_first for design in _designs(results, key))


def evaluated_bits(results: Results, trial: TrialResult, norm: Norm) -> tuple[Radii, Bits] | None:
    """Give radii (R,) and raw bits (1 + R, n) of the evaluation attack; None without bits."""
    if trial.bits is None:
        return None
    if norm == results.threat.norm:
        return results.threat.radii, trial.bits
    if trial.other is None or trial.other.bits is None:
        return None
    return trial.other.radii, np.vstack([trial.bits[:1], trial.other.bits])


def _key(strong: StrongResult) -> Key:
    return strong.attack, strong.norm, strong.samples, strong.parts


def _designs(results: Results, key: Key) -> list[TierDesign]:
    """Put the trials of one attack together, or apart by their radii where they share none."""
    groups: dict[Radii, list[tuple[TrialResult, StrongResult]]] = {}
    for trial in results.trials:
        evaluated = evaluated_bits(results, trial, key[1])
        for strong in trial.strong:
            if _key(strong) == key and strong.bits is not None and evaluated is not None:
                groups.setdefault(evaluated[0], []).append((trial, strong))
    complete = [own for own, seen in groups.items() if any(s.radii == own for _, s in seen)]
    if not complete or set(complete[0]).intersection(*complete):
        together = [(own, *one) for own, seen in groups.items() for one in seen]
        return [_design(key, together)] if together else []
    return [_design(key, [(own, *one) for one in seen]) for own, seen in groups.items()]


def _design(key: Key, seen: Sequence[tuple[Radii, TrialResult, StrongResult]]) -> TierDesign:
    """Make a tier of trials, each with the radii of its own evaluation."""
    complete = [own for own, _, strong in seen if strong.radii == own]
    attacked = {radius for _, _, strong in seen for radius in strong.radii}
    return TierDesign(
        attack=key[0],
        norm=key[1],
        samples=key[2],
        parts=key[3],
        radii=tuple(sorted(attacked.intersection(*complete))),
        trials=tuple(trial for own, trial, strong in seen if strong.radii == own),
        partial=tuple(cell_text(trial) for own, trial, strong in seen if strong.radii != own),
    )


def _at_radii(strong: StrongResult, radii: Radii) -> StrongResult:
    """Keep some of the radii: what smaller ones broke that are dropped stays broken."""
    assert strong.bits is not None, "trials without bits are in no tier"
    kept = [strong.radii.index(radius) for radius in radii]
    rows = [0, *(1 + at for at in kept)]
    dropped = strong.bits.copy()
    dropped[rows] = True
    return replace(
        strong,
        radii=radii,
        robust=tuple(strong.robust[at] for at in kept),
        survivors=tuple(strong.survivors[at] for at in kept),
        bits=(strong.bits & nested_bits(dropped))[rows],
    )


@dataclass(frozen=True, kw_only=True)
class AttackedTwice:
    """A configuration at a radius under both attacks; accuracies are means over the same seeds."""

    row: int
    """Of the tier's configurations."""
    radius: float
    weaker: Interval
    """Under the evaluation attack, on the samples that the stronger one saw, and"""
    weaker_on_all: Interval
    """on all test samples."""
    stronger: Interval
    lost: Interval
    """weaker - stronger, on the same samples; paired."""
    survivors: tuple[float, ...]
    """Right without an attack, then also after each part so far, at this radius alone."""


@dataclass(frozen=True, kw_only=True)
class MethodLoss:
    """What a method's configurations lose to the stronger attack, on average, at a radius."""

    method: str
    radius: float
    rows: tuple[int, ...]
    """Of the tier's configurations."""
    lost: Interval
    kept: tuple[float, float] | None
    """The least and the greatest share of the weaker attack's accuracy that one of them keeps;
    None where one has nothing to lose."""


def tier_results(results: Results, design: TierDesign) -> Results:
    """Give the tier as a study: every number of it is named by its attack and its samples.

    Its configurations are chosen as in the study, by the study's validation accuracies (of another
    attack, and for another norm's tier in the study's own): never by the test data of the tier,
    unless the study has no validation data.
    """
    objective, middle = results.threat.objective_radius, design.radii[(len(design.radii) - 1) // 2]
    name = strong_text(design.attack, design.samples, results.num_test)
    threat = replace(
        results.threat,
        attack=name,
        norm=design.norm,
        radii=design.radii,
        objective_radius=objective if objective in design.radii else middle,
        chosen_at=(results.threat.norm, objective) if results.num_validation else None,
    )
    return replace(
        results,
        threat=threat,
        num_test=design.samples,
        trials=tuple(_as_attacked(trial, design.of(trial)) for trial in design.trials),
        absent=(),
        provenance={},
        primary=None,
        is_comparison=True,  # no contrast of this tier was declared beforehand
        histories=(),
        importances=(),
    )


def compare_attacks(
    results: Results, design: TierDesign, tier: Results, *, count: int, seed: int
) -> tuple[tuple[AttackedTwice, ...], tuple[MethodLoss, ...]]:
    """Compare both attacks on the trials of a tier, as `tier_results` made it, or fewer of them.

    Replicates of both are drawn from one seed for one design, so that replicate b takes the same
    seeds and the same weights of samples for both: their difference is paired.
    """
    if not tier.trials:
        return (), ()
    kept = {trial_key(trial) for trial in tier.trials}
    strong = _with_bits(tier, design)
    originals = tuple(trial for trial in design.trials if trial_key(trial) in kept)
    same = _reduced(strong, originals, results, design, design.samples)
    every = _reduced(strong, originals, results, design, results.num_test)
    stronger, weaker, on_all = (
        _drawn(one, count=count, seed=seed) for one in (strong, same, every)
    )
    found = configurations(strong)
    twice = tuple(
        attacked
        for at, radius in enumerate(design.radii)
        for attacked in _attacked(found, design, (stronger, weaker, on_all), at, radius)
    )
    position = tier.threat.objective
    losses = tuple(
        _method_loss(found, (stronger, weaker), name, position, tier.threat.objective_radius)
        for name in dict.fromkeys(c.method for c in found)
    )
    return twice, losses


def _as_attacked(trial: TrialResult, strong: StrongResult) -> TrialResult:
    """Put the stronger attack's numbers in the place of the evaluation attack's."""
    return replace(
        trial,
        clean=strong.clean,
        robust=strong.robust,
        bits=strong.bits,
        sample_hash=strong.sample_hash or trial.sample_hash,
        other=None,
        strong=(),
        checks=(),
        detections=(),
    )


def _with_bits(tier: Results, design: TierDesign) -> Results:
    """Give a tier's trials their bits back, which its document does not hold."""
    attacked = {trial_key(trial): design.of(trial).bits for trial in design.trials}
    trials = tuple(replace(trial, bits=attacked[trial_key(trial)]) for trial in tier.trials)
    return replace(tier, trials=trials)


def _reduced(
    tier: Results,
    originals: Sequence[TrialResult],
    results: Results,
    design: TierDesign,
    samples: int,
) -> Results:
    """Give the same trials under the evaluation attack, on the first so many samples.

    The worst case within its own tier: right at every radius up to this one that it was run at.
    """
    trials = []
    for trial in originals:
        evaluated = evaluated_bits(results, trial, design.norm)
        assert evaluated is not None, "trials without bits are in no tier"
        rows = [0, *(1 + evaluated[0].index(radius) for radius in design.radii)]
        bits = nested_bits(evaluated[1])[rows, :samples]
        clean, *robust = accuracies(bits).tolist()
        as_attacked = _as_attacked(trial, design.of(trial))
        hashed = replace(as_attacked, sample_hash=trial.sample_hash)
        trials.append(replace(hashed, clean=clean, robust=tuple(robust), bits=bits))
    return replace(tier, trials=tuple(trials), num_test=samples)


def _drawn(results: Results, *, count: int, seed: int) -> Replicates:
    return draw_replicates(results, configurations(results), count=count, seed=seed)


def _attacked(
    found: Sequence[ConfigurationResult],
    design: TierDesign,
    drawn: tuple[Replicates, Replicates, Replicates],
    at: int,
    radius: float,
) -> list[AttackedTwice]:
    """Compare both attacks at one radius, the `at`-th, for every configuration."""
    strong, weak, on_all = ((one.means[:, 1 + at], _of(one)[:, :, 1 + at]) for one in drawn)
    lost = intervals(weak[0] - strong[0], weak[1] - strong[1])
    columns = [intervals(*one) for one in (weak, on_all, strong)]
    left = {trial_key(trial): design.of(trial) for trial in design.trials}
    return [
        AttackedTwice(
            row=row,
            radius=radius,
            weaker=columns[0][row],
            weaker_on_all=columns[1][row],
            stronger=columns[2][row],
            lost=lost[row],
            survivors=_mean_survivors([left[trial_key(trial)] for trial in c.trials], at),
        )
        for row, c in enumerate(found)
    ]


def _mean_survivors(strongs: Sequence[StrongResult], at: int) -> tuple[float, ...]:
    shares = np.array([(one.clean, *one.survivors[at]) for one in strongs], dtype=np.float64)
    return tuple(shares.mean(axis=0).tolist())


def _method_loss(
    found: Sequence[ConfigurationResult],
    drawn: tuple[Replicates, Replicates],
    name: str,
    at: int,
    radius: float,
) -> MethodLoss:
    """Average the paired loss over a method's configurations, a fixed design."""
    rows = [row for row, c in enumerate(found) if c.method == name]
    strong, weak = ((one.means[rows, 1 + at], _of(one)[:, rows, 1 + at]) for one in drawn)
    lost = np.array([np.mean(weak[0] - strong[0])])
    by_replicate = np.mean(weak[1] - strong[1], axis=1)[:, np.newaxis]
    shares = strong[0] / weak[0] if np.all(weak[0] > 0) else None
    return MethodLoss(
        method=name,
        radius=radius,
        rows=tuple(rows),
        lost=intervals(lost, by_replicate)[0],
        kept=None if shares is None else (float(shares.min()), float(shares.max())),
    )


def _of(drawn: Replicates) -> Array:
    return drawn.of(drawn.default)
