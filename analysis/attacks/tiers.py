"""Tiers: what a stronger attack left, beside the evaluation attack and never mixed with it.

Within a tier an accuracy is the worst case over everything that was tried in it. A tier is treated
as a study with its own front: the same networks, with the samples and radii that the stronger
attack saw. Both attacks are measured on the same samples with the same replicates, so that their
difference is paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.attacks.alarms import cell_text
from analysis.inference.bootstrap import draw_replicates
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
Draws = tuple[Array, Array]
"""Accuracies by configuration: means (N, 1 + R) and replicates (B, N, 1 + R)."""


@dataclass(frozen=True, kw_only=True)
class TierDesign:
    """The trials that a stronger attack saw, on how many samples, and at which radii."""

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
        """Return what the attack left of one of the trials, at the radii of the tier."""
        key = self.attack, self.norm, self.samples, self.parts
        strong = next(one for one in trial.strong if _key(one) == key)
        return strong if strong.radii == self.radii else _at_radii(strong, self.radii)


@dataclass(frozen=True, kw_only=True)
class AttackedTwice:
    """A configuration at a radius under both attacks; accuracies are means over the same seeds."""

    row: int
    """Its position among the tier's configurations."""
    radius: float
    weaker: Interval
    """Under the evaluation attack, on the samples that the stronger attack saw."""
    weaker_on_all: Interval
    """Under the evaluation attack, on all test samples."""
    stronger: Interval
    lost: Interval
    """weaker - stronger, on the same samples; paired."""
    survivors: tuple[float, ...]
    """Share right without an attack, then after each further part, at this radius alone."""


@dataclass(frozen=True, kw_only=True)
class MethodLoss:
    """What a method's configurations lose to the stronger attack, on average, at a radius."""

    method: str
    radius: float
    rows: tuple[int, ...]
    """Their positions among the tier's configurations."""
    lost: Interval
    kept: tuple[float, float] | None
    """The least and the greatest share of the weaker attack's accuracy that a configuration keeps;
    None if one of them has nothing to lose."""


def tier_designs(results: Results) -> tuple[TierDesign, ...]:
    """List the tiers of a study: one for each attack and number of samples.

    Only trials with bits under both attacks can be compared sample by sample, and only at radii
    that all of them share: compared studies may evaluate another norm at different radii. Trials
    without a common radius form one tier for each set of radii.
    """
    keys = dict.fromkeys(_key(strong) for trial in results.trials for strong in trial.strong)
    # Sorting is stable, so each norm keeps the order of its trials.
    own_norm_first = sorted(keys, key=lambda key: key[1] != results.threat.norm)
    return tuple(design for key in own_norm_first for design in _designs(results, key))


def tier_results(results: Results, design: TierDesign) -> Results:
    """Return the tier as a study, whose attack is printed with its number of samples.

    Its configurations are chosen as in the study, by the study's validation accuracies under the
    evaluation attack in the study's norm. The test data of the tier choose only if the study has
    no validation data.
    """
    # A middle radius stands in where the attack skipped the objective one: at the ends accuracies
    # are saturated, and methods hardly differ.
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
        claims=(),
        is_comparison=True,  # no contrast of this tier was declared beforehand
        histories=(),
        importances=(),
        data_doubts=(),
        references=(),  # published under another attack
    )


def compare_attacks(
    results: Results, design: TierDesign, tier: Results, *, count: int, seed: int
) -> tuple[tuple[AttackedTwice, ...], tuple[MethodLoss, ...]]:
    """Compare both attacks on the trials of `tier`, which are those of the design or fewer.

    Replicates of both are drawn from one seed for one design, so that replicate b has the same
    seeds and the same weights of samples for both. So their difference is paired.
    """
    if not tier.trials:
        return (), ()
    kept = {trial_key(trial) for trial in tier.trials}
    strong = _with_bits(tier, design)
    originals = tuple(trial for trial in design.trials if trial_key(trial) in kept)
    # On the same samples the comparison is paired. The numbers on all samples are those that the
    # rest of the report prints.
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


def _evaluated_bits(results: Results, trial: TrialResult, norm: Norm) -> tuple[Radii, Bits] | None:
    """Return radii (R,) and raw bits (1 + R, n) of the evaluation attack; None without bits."""
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
    """Join the trials of one attack to one tier, or to one by radii if they share none."""
    groups: dict[Radii, list[tuple[TrialResult, StrongResult]]] = {}
    for trial in results.trials:
        evaluated = _evaluated_bits(results, trial, key[1])
        for strong in trial.strong:
            if _key(strong) == key and strong.bits is not None and evaluated is not None:
                groups.setdefault(evaluated[0], []).append((trial, strong))
    complete = [own for own, seen in groups.items() if any(s.radii == own for _, s in seen)]
    if not complete or set(complete[0]).intersection(*complete):
        together = [(own, *one) for own, seen in groups.items() for one in seen]
        return [_design(key, together)] if together else []
    return [_design(key, [(own, *one) for one in seen]) for own, seen in groups.items()]


def _design(key: Key, seen: Sequence[tuple[Radii, TrialResult, StrongResult]]) -> TierDesign:
    """Build a tier from trials, each with the radii of its own evaluation."""
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
    """Keep some of the radii: what an attack at a dropped smaller radius broke stays broken."""
    assert strong.bits is not None, "trials without bits are in no tier"
    kept = [strong.radii.index(radius) for radius in radii]
    rows = [0, *(1 + at for at in kept)]
    # Only the dropped radii count here: the kept ones are nested with the tier.
    dropped = strong.bits.copy()
    dropped[rows] = True
    return replace(
        strong,
        radii=radii,
        robust=tuple(strong.robust[at] for at in kept),
        survivors=tuple(strong.survivors[at] for at in kept),
        bits=(strong.bits & nested_bits(dropped))[rows],
    )


def _as_attacked(trial: TrialResult, strong: StrongResult) -> TrialResult:
    """Replace the evaluation attack's numbers by those of the stronger attack."""
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
    """Restore the bits of a tier's trials, which its document does not hold."""
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
    """Return the same trials under the evaluation attack, on the first `samples` test samples.

    A sample counts as right at a radius if it is right at every smaller one that was run, too.
    """
    trials = []
    for trial in originals:
        evaluated = _evaluated_bits(results, trial, design.norm)
        assert evaluated is not None, "trials without bits are in no tier"
        rows = [0, *(1 + evaluated[0].index(radius) for radius in design.radii)]
        bits = nested_bits(evaluated[1])[rows, :samples]
        clean, *robust = accuracies(bits).tolist()
        as_attacked = _as_attacked(trial, design.of(trial))
        hashed = replace(as_attacked, sample_hash=trial.sample_hash)
        trials.append(replace(hashed, clean=clean, robust=tuple(robust), bits=bits))
    return replace(tier, trials=tuple(trials), num_test=samples)


def _drawn(results: Results, *, count: int, seed: int) -> Draws:
    drawn = draw_replicates(results, configurations(results), count=count, seed=seed)
    return drawn.means, drawn.of(drawn.default)


def _attacked(
    found: Sequence[ConfigurationResult],
    design: TierDesign,
    drawn: tuple[Draws, Draws, Draws],
    at: int,
    radius: float,
) -> list[AttackedTwice]:
    """Compare both attacks at one radius, the `at`-th, for every configuration."""
    strong, weak, on_all = ((means[:, 1 + at], draws[:, :, 1 + at]) for means, draws in drawn)
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
    drawn: tuple[Draws, Draws],
    name: str,
    at: int,
    radius: float,
) -> MethodLoss:
    """Average the paired loss over a method's configurations, a fixed design."""
    rows = [row for row, c in enumerate(found) if c.method == name]
    strong, weak = ((means[rows, 1 + at], draws[:, rows, 1 + at]) for means, draws in drawn)
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
