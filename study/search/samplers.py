"""Optuna's samplers under their names in studies.yaml, and the Optuna study of a search block.

To add a sampler, add its name to `study.spec.model.Sampler` and an entry to `SAMPLERS`.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)

from study.plan.space import Block
from study.spec import Sampler, StudySpec

RANDOM_TRIALS = 10
"""Points that TPE first draws at random, Optuna's default; at most half of a small budget."""

SAMPLERS: Mapping[Sampler, Callable[[int, int], BaseSampler]] = {
    "tpe": lambda seed, trials: TPESampler(
        seed=seed, n_startup_trials=min(RANDOM_TRIALS, trials // 2)
    ),
    "nsga2": lambda seed, trials: NSGAIISampler(seed=seed),
    "gp": lambda seed, trials: GPSampler(seed=seed),
    "random": lambda seed, trials: RandomSampler(seed=seed),
}
"""How each sampler is built from a seed and the number of trials that the study declares."""


def new_study(spec: StudySpec, block: Block, num_known: int) -> optuna.Study:
    """Build a block's Optuna study, in memory and empty; both objectives are maximised."""
    # Optuna would print a line for each suggestion and each result into the live view.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = make_sampler(spec, block, num_known)
    return optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)


def make_sampler(spec: StudySpec, block: Block, num_known: int) -> BaseSampler:
    """Build a block's sampler, seeded by the block and by how many of its points are known."""
    assert spec.search is not None
    # A seed that stayed the same would draw its first points again after every relaunch.
    digest = hashlib.sha256(f"{block.key} {num_known}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    with warnings.catch_warnings():
        # Whoever names a sampler in studies.yaml has chosen it, experimental or not.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[spec.search.sampler](seed, spec.search.trials)


def distributions(block: Block) -> dict[str, BaseDistribution]:
    """Convert a block's ranges to Optuna's distributions."""
    return {
        name: IntDistribution(int(limits.low), int(limits.high), log=limits.log)
        if limits.is_integer
        else FloatDistribution(float(limits.low), float(limits.high), log=limits.log)
        for name, limits in block.ranges
    }
