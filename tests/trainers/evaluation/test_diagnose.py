"""Tests of the diagnosis: masked networks fail, an honest one passes, thresholds at their edges."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from tests.trainers.evaluation import masked
from trainers.config import EvaluationConfig, Method, Pgd, PgdAttack, TrainConfig
from trainers.data.dataset import Dataset
from trainers.data.subset import Split
from trainers.engine.engine import Engine
from trainers.evaluation import soundness
from trainers.evaluation.autoattack import autoattack
from trainers.evaluation.diagnose import _radius_order, _tier_gap, diagnose
from trainers.evaluation.evaluate import Bits, evaluate, even, take
from trainers.evaluation.masking import (
    VERDICTS,
    Check,
    attack_order,
    black_box,
    largest_rise,
    logit_differences,
    logit_scale,
    plateau,
    radius_order,
    square_alone,
    tier_gap,
    worst,
)
from trainers.evaluation.pgd import Attacked
from trainers.evaluation.probes import (
    Probe,
    last_iterates,
    pgd,
    random_images,
    right,
    weights_hash,
)
from trainers.evaluation.soundness import grey_image, plain_forward, returned_images, zero_gradients
from trainers.train import new_state, train

MakeConfig = Callable[..., TrainConfig]
RADIUS = 0.1
EVALUATION = EvaluationConfig(
    norm="linf",
    radii=(0.05, RADIUS),
    objective_radius=RADIUS,
    attack=PgdAttack(steps=10, restarts=1),
)


@pytest.fixture(scope="module")
def honest(make_config: MakeConfig, digits: Dataset, cpu: torch.device) -> nn.Module:
    """A network after adversarial training, in training mode; it takes two seconds."""
    method = Method(inputs=Pgd(norm="linf", epsilon=0.1, steps=5))
    config = make_config(method, width=8, epochs=20)
    state = new_state(config, digits, cpu)
    list(train(config, digits, cpu, state))
    return state.model


@pytest.fixture
def probe(honest: nn.Module, digits: Dataset, cpu: torch.device) -> Probe:
    return Probe(
        model=honest,
        split=take(digits.test, even(60, 500)),
        divisor=16,
        norm="linf",
        radius=RADIUS,
        seed=0,
        device=cpu,
        engine=Engine(),
    )


def fabricated(*accuracies: float, count: int = 500) -> Bits:
    """Rows whose right samples are the first ones."""
    return np.stack([np.arange(count) < round(count * accuracy) for accuracy in accuracies])


def by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_an_honest_network_passes_with_all_that_can_be_handed_over(
    honest: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    rival = masked.large_logits(honest, 0.5)
    bits = evaluate(honest, digits.test, 16, EVALUATION, 0, cpu).bits
    first = Split(images=digits.test.images[:40], labels=digits.test.labels[:40])
    white_then_square = ("apgd-ce", "apgd-t", "square")
    attacked = autoattack(
        honest,
        first,
        16,
        norm="linf",
        radius=RADIUS,
        seed=0,
        device=cpu,
        attacks=white_then_square,
    )
    checks = diagnose(
        honest,
        digits.test,
        16,
        EVALUATION,
        seed=0,
        device=cpu,
        bits=bits,
        strong={RADIUS: attacked.bits},
        rivals=(rival,),
    )
    assert [check.number for check in checks] == [1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 10]
    assert {check.verdict for check in checks} == {"pass"}, checks
    assert weights_hash(honest) in checks[0].text
    for check in checks:
        assert check.text.endswith(".")
        assert check.numbers
        assert all(math.isfinite(number) for number in check.numbers.values())
    accuracies = by_name(checks)["attack order"].numbers
    assert 0.6 < accuracies["PGD"] < accuracies["FGSM"] < accuracies["clean"]


def test_an_honest_network_passes_alone(
    honest: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    checks = diagnose(honest, digits.test, 16, EVALUATION, seed=0, device=cpu, bits=None)
    named = by_name(checks)
    assert worst(checks) == "pass", checks
    is_missing = {name: check.text for name, check in named.items() if check.verdict == "not run"}
    assert is_missing == {
        "radius order": "Not run: needs the bits of the evaluation.",
        "transfer": "Not run: needs the network of another seed.",
        "tier gap": "Not run: needs the bits of AutoAttack.",
    }


def test_large_logits_fail(honest: nn.Module, digits: Dataset, cpu: torch.device) -> None:
    large = masked.large_logits(honest, 1000)
    strong = {RADIUS: fabricated(1.0, 1.0)}
    checks = diagnose(
        large,
        digits.test,
        16,
        EVALUATION,
        seed=0,
        device=cpu,
        bits=None,
        strong=strong,
        samples=40,
    )
    named = by_name(checks)
    assert worst(checks) == "fail"
    assert named["zero gradients"].verdict == "fail"
    assert named["zero gradients"].numbers["share"] > 0.9
    assert named["logit differences"].verdict == "fail"
    assert named["grey image"].verdict == "fail"


def test_a_quantised_input_fails(honest: nn.Module, digits: Dataset, cpu: torch.device) -> None:
    quantised = masked.quantised(honest, 16)
    evaluation = replace(EVALUATION, radii=(0.35,), objective_radius=0.35)
    checks = diagnose(
        quantised,
        digits.test,
        16,
        evaluation,
        seed=0,
        device=cpu,
        bits=None,
        rivals=(honest,),
        samples=40,
    )
    named = by_name(checks)
    assert worst(checks) == "fail"
    assert named["zero gradients"].numbers == {"share": 1.0}
    for name in ("zero gradients", "Square", "transfer", "grey image"):
        assert named[name].verdict == "fail", named[name]


def test_a_stochastic_forward_fails(probe: Probe) -> None:
    check = plain_forward(replace(probe, model=masked.noisy(probe.model, 0.05)))
    assert check.verdict == "fail"
    assert "differ" in check.text
    assert plain_forward(replace(probe, model=masked.noisy(probe.model, 1e-7))).verdict == "pass"


def test_probabilities_fail(probe: Probe) -> None:
    check = plain_forward(replace(probe, model=masked.probabilities(probe.model)))
    assert check.verdict == "fail"
    assert "probabilities" in check.text
    assert check.numbers["difference"] == 0


@pytest.mark.parametrize("gradient", [masked.by_grad, masked.by_backward, masked.by_function])
def test_a_forward_that_asks_for_gradients_fails(probe: Probe, gradient: Callable) -> None:  # type: ignore[type-arg]
    check = plain_forward(replace(probe, model=masked.purifying(probe.model, gradient)))
    assert check.verdict == "fail"
    assert check.numbers == {"difference": 0, "probabilities": 0, "gradient calls": 5}


def test_a_diagnosis_leaves_no_trace_and_repeats_by_its_seed(
    honest: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    """Of a network that draws from the global state, in a mixed mode. No image survives the radius,
    so that APGD ends early."""
    model = masked.noisy(honest, 0.05)
    model[1][2].eval()  # type: ignore[index]
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 0.5)
    evaluation = replace(EVALUATION, radii=(RADIUS, 0.5), objective_radius=0.5)
    bits = fabricated(0.9, 0.85, 0.8)
    strong = {0.5: fabricated(0.9, 0.8, count=50)}
    given_bits, given_strong = bits.copy(), strong[0.5].copy()

    def checked() -> tuple[Check, ...]:
        return diagnose(
            model,
            digits.test,
            16,
            evaluation,
            seed=0,
            device=cpu,
            bits=bits,
            strong=strong,
            samples=20,
        )

    torch.manual_seed(7)
    state = torch.get_rng_state()
    one = checked()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert checked() == one
    assert [module.training for module in model.modules()] == modes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for weight in model.parameters():
        assert weight.requires_grad
        assert weight.grad is not None
        assert (weight.grad == 0.5).all()
    assert np.array_equal(bits, given_bits)
    assert np.array_equal(strong[0.5], given_strong)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_and_l2_are_diagnosed(
    classes: int, make_images: Callable[..., Dataset], make_config: MakeConfig, cpu: torch.device
) -> None:
    data = make_images((1, 8, 8), classes=classes, count=12)
    state = new_state(make_config(), data, cpu)
    evaluation = replace(EVALUATION, norm="l2", radii=(0.5,), objective_radius=0.5)
    strong = {0.5: fabricated(0.5, 0.5, count=12)}
    checks = diagnose(
        state.model,
        data.test,
        255,
        evaluation,
        seed=0,
        device=cpu,
        bits=None,
        strong=strong,
    )
    named = by_name(checks)
    assert named["logit differences"].verdict == ("not run" if classes == 2 else "pass")
    assert "linf 0.5" in named["grey image"].text
    assert "l2 0.5" in named["plateau"].text
    assert named["returned images"].verdict == "pass"


def test_returned_images_are_judged_for_ball_box_number_and_bits(probe: Probe) -> None:
    attacked = pgd(probe, EVALUATION.attack, probe.view, norm="linf", radius=RADIUS)
    assert returned_images(probe, attacked, "PGD").verdict == "pass"
    white, dark, grey = (
        int((probe.images.flatten(1) == value).any(1).nonzero()[0]) for value in (1.0, 0.0, 0.5)
    )

    def counts(index: int, value: float, change: float) -> dict[str, float]:
        images = attacked.images.clone()
        images[index][probe.images[index] == value] = value + change
        is_right = right(probe, images)
        check = returned_images(probe, Attacked(is_right, images), "PGD")
        assert check.verdict == "fail"
        return {name: number for name, number in check.numbers.items() if number}

    assert counts(grey, 0.5, RADIUS * 1.001) == {"outside the ball": 1}
    assert counts(white, 1.0, RADIUS * 0.5) == {"outside [0, 1]": 1}
    assert counts(dark, 0.0, -RADIUS * 0.5) == {"outside [0, 1]": 1}
    assert counts(grey, 0.5, math.nan)["not finite"] == 1
    check = returned_images(probe, attacked._replace(is_right=~attacked.is_right), "PGD")
    assert check.verdict == "fail"
    assert check.numbers["other bits"] > 50


def test_another_seed_starts_elsewhere(probe: Probe) -> None:
    other = replace(probe, seed=1)
    for images in (random_images, lambda probe: last_iterates(probe, probe.view, 1)):
        assert torch.equal(images(probe), images(replace(probe)))
        assert not torch.equal(images(probe), images(other))


def test_bits_of_other_weights_are_noticed(probe: Probe) -> None:
    attacked = pgd(probe, EVALUATION.attack, probe.view, norm="linf", radius=RADIUS)
    other = copy.deepcopy(probe.model)
    with torch.no_grad():
        next(other.parameters()).neg_()
    assert returned_images(replace(probe, model=other), attacked, "PGD").numbers["other bits"] > 0
    assert weights_hash(other) != weights_hash(probe.model)
    assert weights_hash(copy.deepcopy(other)) == weights_hash(other)


def test_images_of_l2_may_use_their_ball_and_no_more(probe: Probe) -> None:
    round_probe = replace(probe, norm="l2", radius=0.5)
    attacked = pgd(round_probe, EVALUATION.attack, round_probe.view, norm="l2", radius=0.5)
    assert returned_images(round_probe, attacked, "PGD").verdict == "pass"
    smaller = replace(round_probe, radius=0.45)
    assert returned_images(smaller, attacked, "PGD").numbers["outside the ball"] > 30


def test_a_share_of_zero_gradients_is_found(probe: Probe) -> None:
    assert zero_gradients(probe).numbers == {"share": 0.0}
    check = zero_gradients(replace(probe, model=masked.large_logits(probe.model, 1000)))
    assert check.verdict == "fail"


def test_gradients_of_a_wrong_sign_break_the_order_of_attacks(
    probe: Probe, digits: Dataset
) -> None:
    """Logits with the sign of the label's gradient turned: PGD then mends what noise breaks."""

    class Turned(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            nn.Module.__init__(self)
            self.model = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.model(2 * images.detach() - images)  # type: ignore[no-any-return]

    far = replace(probe, radius=0.35, split=digits.test)
    clean = right(far, far.images)
    assert soundness.attack_order(far, clean).verdict == "pass"
    turned = replace(far, model=Turned(far.model))
    check = soundness.attack_order(turned, clean)
    assert check.verdict == "fail"
    assert "PGD stands" in check.text


def test_a_grey_image_is_in_reach_of_an_honest_network(probe: Probe) -> None:
    assert grey_image(probe).numbers == {"accuracy": 0.0}
    assert grey_image(replace(probe, norm="l2")).numbers == {"accuracy": 0.0}


def test_a_network_that_knows_one_class_alone_hides_nothing_from_the_grey_image(
    probe: Probe,
) -> None:
    """All samples of its class are right at any radius, truly."""

    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(len(images), 10)
            logits[:, 3] = 1.0
            return logits + 0 * images.sum((1, 2, 3), keepdim=True)[:, :, 0, 0]

    split = Split(images=probe.split.images, labels=np.full_like(probe.split.labels, 3))
    constant = replace(probe, model=Constant(), split=split)
    assert right(constant, constant.images).all()
    assert grey_image(constant).verdict == "pass"
    assert grey_image(constant).numbers == {"accuracy": 0.0}
    check = zero_gradients(replace(probe, model=Constant()))
    assert check.verdict == "not run", "its gradients are zero truly"
    assert "answers every sample with one class" in check.text


def test_an_honest_network_of_three_classes_passes(
    make_config: MakeConfig, digits: Dataset, cpu: torch.device
) -> None:
    """DLR, the one logit difference of three classes, may be weaker than cross-entropy."""

    def three(split: Split) -> Split:
        kept = split.labels < 3
        return Split(images=split.images[kept], labels=split.labels[kept])

    parts = {name: three(getattr(digits, name)) for name in ("train", "validation", "test")}
    data = replace(digits, classes=("0", "1", "2"), **parts)
    method = Method(inputs=Pgd(norm="linf", epsilon=0.15, steps=3))
    state = new_state(make_config(method, width=8, epochs=8), data, cpu)
    list(train(make_config(method, width=8, epochs=8), data, cpu, state))
    evaluation = replace(EVALUATION, radii=(0.15,), objective_radius=0.15)
    checks = diagnose(
        state.model,
        data.test,
        16,
        evaluation,
        seed=0,
        device=cpu,
        bits=None,
        strong={0.15: fabricated(1.0, 1.0, count=100)},
        samples=100,
    )
    losses = by_name(checks)["logit differences"]
    assert losses.verdict == "pass"
    assert by_name(checks)["grey image"].verdict == "pass"


def rising(count: int, samples: int = 500) -> Bits:
    """Bits (2, samples) whose second row is right on `count` samples more."""
    return fabricated(0.5, 0.5 + count / samples, count=samples)


RISES = [(-3, "pass"), (0, "pass"), (1, "pass"), (2, "warn"), (8, "warn"), (9, "fail")]
"""Of k samples out of 500 that rise, none falling: √(499 k / (500 - k)) standard errors."""


@pytest.mark.parametrize(("count", "verdict"), RISES)
def test_a_rise_with_the_radius_is_judged_in_standard_errors(count: int, verdict: str) -> None:
    check = radius_order(rising(count), (0.1,), "PGD")
    assert check.verdict == verdict
    if count > 0:
        expected = math.sqrt(499 * count / (500 - count))
        assert check.numbers["standard errors"] == pytest.approx(expected)


def test_a_rise_is_found_between_any_two_radii_and_paired() -> None:
    bits = fabricated(1.0, 0.5, 0.498, 0.506)
    rise = largest_rise(bits)
    assert (rise.earlier, rise.later) == (2, 3)
    assert "from radius 0.2 to 0.3" in radius_order(bits, (0.1, 0.2, 0.3), "PGD").text
    half = fabricated(0.5, 0.5)
    half[1] = half[1][::-1]
    assert largest_rise(half).difference == 0
    assert largest_rise(fabricated(0.0, 1.0, count=10)).standard_errors == pytest.approx(10)


ORDERS = [
    ((0.9, 0.8, 0.5, 0.4), "pass"),
    ((0.9, 0.9, 0.9, 0.9), "pass"),
    ((0.9, 0.904, 0.5, 0.4), "pass"),
    ((0.9, 0.99, 0.5, 0.4), "pass"),
    ((0.9, 0.99, 0.904, 0.4), "warn"),
    ((0.9, 0.99, 0.92, 0.4), "fail"),
    ((0.9, 0.8, 0.82, 0.4), "fail"),
    ((0.9, 0.8, 0.5, 0.52), "fail"),
    ((0.5, 0.4, 0.3, 0.6), "fail"),
]
"""Accuracies on 500 samples: clean, noise, FGSM, PGD. Noise may stand above clean."""


@pytest.mark.parametrize(("accuracies", "verdict"), ORDERS)
def test_stronger_attacks_leave_less(accuracies: tuple[float, ...], verdict: str) -> None:
    assert attack_order(fabricated(*accuracies), "here").verdict == verdict


FALLS = {
    "black box": (lambda v: black_box("", v, ""), 0.002, 0.02),
    "differences better": (lambda v: logit_differences(0.5 + v, 0.5, "", ""), 0.02, 0.05),
    "scale": (lambda v: logit_scale({1: 0.5, 0.1: 0.6, 10: 0.5 - v}, "", ""), 0.02, 0.05),
}
"""Judgements of a value, with the largest that passes and the largest that only warns."""


@pytest.mark.parametrize(("judge", "warn", "fail"), FALLS.values(), ids=FALLS)
def test_limits_hold_at_their_edges(
    judge: Callable[[float], Check], warn: float, fail: float
) -> None:
    values = (warn, warn + 1e-4, fail, fail + 1e-4)
    assert [judge(value).verdict for value in values] == ["pass", "warn", "warn", "fail"]


@pytest.mark.parametrize("count", [50, 200, 500, 1_000_000])
def test_a_weak_attack_warns_beyond_chance_and_never_fails(count: int) -> None:
    """More steps or restarts that break more say nothing of the network."""
    for fall, verdict in ((0, "pass"), (0.05, "pass"), (0.9, "warn")):
        assert plateau((0.9, 0.9 - fall, 0.9), count, "", "").verdict == verdict
        assert plateau((0.9, 0.9, 0.9 - fall), count, "", "").verdict == verdict
    first = (stats.binom.ppf(0.95, count, 0.05) + 1) / count  # the normal law is off by few samples
    assert plateau((0.9, 0.9 - first - 2 / count, 0.9), count, "", "").verdict == "warn"
    assert plateau((0.9, 0.9 - first + 3 / count, 0.9), count, "", "").verdict == "pass"


def test_logit_differences_that_only_weaken_the_attack_pass() -> None:
    assert logit_differences(0.63, 0.81, "", "").verdict == "pass"


def test_logits_whose_scale_only_weakens_the_attack_pass() -> None:
    assert logit_scale({1: 0.14, 0.1: 0.28, 10: 0.37}, "", "").verdict == "pass"


@pytest.mark.parametrize(
    ("alone", "verdict"), [(0, "pass"), (1, "pass"), (2, "warn"), (10, "warn"), (11, "fail")]
)
def test_square_counts_what_it_breaks_alone_at_the_worst_radius(alone: int, verdict: str) -> None:
    strong = {
        0.1: fabricated(0.9, 0.5, 0.5),
        0.2: fabricated(0.9, 0.4, 0.4 - alone / 500),
    }
    check = square_alone(strong, "linf", "AutoAttack")
    assert check.verdict == verdict
    assert check.numbers == {"broken alone": pytest.approx(alone / 500)}


@pytest.mark.parametrize(("gap", "verdict"), [(0, "pass"), (5, "pass"), (6, "warn"), (60, "warn")])
def test_the_tiers_are_compared_on_the_first_samples(gap: int, verdict: str) -> None:
    """Of 300 samples only the first 100 count; one of them is wrong without an attack."""
    bits = np.zeros((3, 300), dtype=bool)
    bits[0, 1:] = True
    bits[1, :100] = True
    bits[2, :61] = True
    strong = {
        0.2: fabricated(0.99, (60 - gap) / 100, count=100),
        0.1: fabricated(0.99, 0.99, count=100),
    }
    check = tier_gap(bits, (0.1, 0.2), strong, "PGD", "linf", "AutoAttack")
    assert check.verdict == verdict
    assert check.numbers == {
        "gap at 0.2": pytest.approx(gap / 100),
        "gap at 0.1": pytest.approx(0),
    }


def test_the_worst_verdict_counts_and_none_run_is_the_mildest() -> None:
    def check(verdict: str) -> Check:
        return Check(number=1, name="", verdict=verdict, text="", numbers={})  # type: ignore[arg-type]

    assert worst(()) == "not run"
    for index, verdict in enumerate(VERDICTS):
        assert worst(check(milder) for milder in reversed(VERDICTS[: index + 1])) == verdict


BAD = [
    ({"bits": np.ones((2, 500), dtype=bool)}, r"bits: must be .*\(3, 500\), got \(2, 500\)"),
    ({"bits": np.ones((3, 499), dtype=bool)}, r"bits: must be .*\(3, 500\), got \(3, 499\)"),
    ({"strong": {0.3: np.ones((2, 9), dtype=bool)}}, r"strong: .*radii \(0.05, 0.1\), got 0.3"),
    ({"strong": {0.1: np.ones((1, 9), dtype=bool)}}, r"strong: must be .* got \(1, 9\)"),
    ({"strong": {0.1: np.ones((2, 501), dtype=bool)}}, r"strong: must be .* got \(2, 501\)"),
    ({"strong": {0.1: np.ones((2, 0), dtype=bool)}}, r"strong: must be .* got \(2, 0\)"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bits_that_fit_nothing_are_refused(
    given: dict[str, object], message: str, honest: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    arguments = {"bits": None} | given
    with pytest.raises(ValueError, match=message):
        diagnose(honest, digits.test, 16, EVALUATION, seed=0, device=cpu, **arguments)  # type: ignore[arg-type]


@dataclass(frozen=True)
class AnotherAttack:
    """Settings without the counts of PGD."""

    title: str = "Another, at once"


def test_the_checklist_prints_an_attack_by_its_title() -> None:
    """The title is all that it needs to know of an attack."""
    evaluation = replace(EVALUATION, attack=AnotherAttack())  # type: ignore[arg-type]
    bits = np.ones((3, 10), dtype=bool)
    strong = {RADIUS: np.ones((2, 10), dtype=bool)}
    assert "Another, at once (linf)" in _radius_order(evaluation, bits).text
    assert "Another, at once" in _tier_gap(evaluation, bits, strong, "AA").text
