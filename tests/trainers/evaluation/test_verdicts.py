"""Verdicts on trained networks of the digits study: honest ones pass, hidden gradients void.

The networks are trained as that study trains them, seconds each, and judged by its own attack.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainers.evaluation import masked
from trainers.config import EvaluationConfig, Method, Noise, Pgd, PgdAttack, Sam, TrainConfig
from trainers.data.dataset import Dataset
from trainers.data.subset import Split
from trainers.engine.engine import Engine
from trainers.evaluation.diagnose import diagnose
from trainers.evaluation.evaluate import evaluate
from trainers.evaluation.masking import Check, Verdict, worst
from trainers.evaluation.probes import Probe, accuracy_of, pgd
from trainers.train import new_state, train

MakeConfig = Callable[..., TrainConfig]
Trained = Callable[[str], nn.Module]
CPU = torch.device("cpu")
FULL = os.environ.get("RHOEPS_FULL_COVERAGE") == "1"
JUDGED = 500 if FULL else 200
"""Test images that are judged; all of them are 500."""
QUERIED = ("standard", "sam", "at 0.02", "at 0.2", "noise") if FULL else ("standard", "at 0.2")
"""The networks that Square queries."""
UNBROKEN = {0.1: np.ones((2, JUDGED), dtype=bool)}
"""Bits of AutoAttack that stand in for the slow queries of Square, where it finds nothing."""
VOIDING = 6
"""A fail up to this row voids the robust numbers."""
EVALUATION = EvaluationConfig(
    norm="linf",
    radii=(0.05, 0.1, 0.15, 0.2),
    objective_radius=0.1,
    attack=PgdAttack(steps=10, restarts=3),
)
METHODS = {
    "standard": Method(),
    "sam": Method(weights=Sam(rho=0.6)),
    "at 0.02": Method(inputs=Pgd(norm="linf", epsilon=0.02, steps=4)),
    "at 0.2": Method(inputs=Pgd(norm="linf", epsilon=0.2, steps=4)),
    "noise": Method(inputs=Noise(sigma=0.1)),
}
MASKS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "logits x 30": lambda model: masked.large_logits(model, 30),
    "logits x 1000": lambda model: masked.large_logits(model, 1000),
    "eight levels": lambda model: masked.quantised(model, 8),
    "noisy forward": lambda model: masked.noisy(model, 0.01),
    "saturated front": lambda model: masked.saturated(model, 100),
}


@pytest.fixture(scope="module")
def judged(digits: Dataset) -> Split:
    test = digits.test
    return Split(images=test.images[:JUDGED], labels=test.labels[:JUDGED])


@pytest.fixture(scope="module")
def trained(make_config: MakeConfig, digits: Dataset) -> Trained:
    @cache
    def network(name: str) -> nn.Module:
        config = make_config(METHODS[name], width=8, epochs=20)
        state = new_state(config, digits, CPU)
        list(train(config, digits, CPU, state))
        return state.model

    return network


def failures(checks: tuple[Check, ...]) -> list[str]:
    flagged = ("warn", "fail")
    return [f"{check.number}: {check.text}" for check in checks if check.verdict in flagged]


@pytest.mark.parametrize("name", METHODS)
def test_an_honest_network_passes(name: str, trained: Trained, judged: Split) -> None:
    model = trained(name)
    bits = evaluate(model, judged, 16, EVALUATION, 0, CPU).bits
    strong = {} if name in QUERIED else UNBROKEN
    checks = diagnose(model, judged, 16, EVALUATION, seed=0, device=CPU, bits=bits, strong=strong)
    assert worst(checks) == "pass", failures(checks)
    assert all(check.verdict != "not run" for check in checks if check.name == "Square")


@pytest.mark.parametrize(
    ("name", "mask"), [*(("standard", mask) for mask in MASKS), ("at 0.2", "saturated front")]
)
def test_hidden_gradients_void_the_numbers(
    name: str, mask: str, trained: Trained, judged: Split
) -> None:
    """As rows 1 to 6 alone decide."""
    model = MASKS[mask](trained(name))
    checks = diagnose(
        model,
        judged,
        16,
        EVALUATION,
        seed=0,
        device=CPU,
        bits=None,
        strong=UNBROKEN,
        samples=40,
    )
    assert [check for check in checks if check.verdict == "fail" and check.number <= VOIDING]
    assert worst(checks) == "fail"


def accuracy_under(attack: PgdAttack, model: nn.Module, judged: Split) -> float:
    """At the objective radius, from the starts of a diagnosis."""
    probe = Probe(
        model=model,
        split=judged,
        divisor=16,
        norm="linf",
        radius=0.1,
        seed=0,
        device=CPU,
        engine=Engine(),
    )
    return accuracy_of(pgd(probe, attack, probe.view, norm="linf", radius=0.1).is_right)


ATTACKS = {
    "the study's": (EVALUATION.attack, "PGD-10, 3 restarts", "pass"),
    "weakest": (PgdAttack(steps=1, restarts=1), "PGD-1, 1 restart", "warn"),
}


@pytest.mark.parametrize(("attack", "title", "verdict"), ATTACKS.values(), ids=ATTACKS)
def test_the_attack_that_is_judged_is_the_study_s(
    attack: PgdAttack, title: str, verdict: Verdict, trained: Trained, judged: Split
) -> None:
    """Even the weakest, far from what more steps and restarts leave, only warns."""
    model, evaluation = trained("at 0.02"), replace(EVALUATION, attack=attack)
    checks = diagnose(model, judged, 16, evaluation, seed=0, device=CPU, bits=None, strong=UNBROKEN)
    named = {check.name: check for check in checks}
    for row in ("returned images", "plateau", "logit scale"):
        assert f"{title} " in named[row].text
    longer = replace(attack, steps=5 * attack.steps)
    more = replace(attack, restarts=5 * attack.restarts)
    own, *left = (accuracy_under(each, model, judged) for each in (attack, longer, more))
    assert named["plateau"].numbers == pytest.approx(
        {"accuracy": own, "by steps": own - left[0], "by restarts": own - left[1]}
    )
    assert named["plateau"].verdict == verdict
    assert worst(checks) == verdict, failures(checks)
    if attack.steps == 1:
        assert own - min(left) > 0.1
