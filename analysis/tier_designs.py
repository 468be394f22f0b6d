"""Tier designs: which trials make up a tier of a stronger attack, and at which radii."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.alarms import cell_text
from analysis.evidence import Bits, Norm, StrongResult
from analysis.results import Results, TrialResult, nested_bits

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
