"""Tests of the training loop: limit cases, resuming, random streams, cost, endings."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers.config import ConfigError, Method, Pgd, PgdAttack, Sam, TrainConfig, check_batches
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, generator
from trainers.evaluation.evaluate import adversarial_examples, evaluate
from trainers.step.step import step
from trainers.train import TrainState, evaluated_model, evaluated_weights, new_state, train

MakeConfig = Callable[..., TrainConfig]


def run(config: TrainConfig, data: Dataset, state: TrainState | None = None) -> TrainState:
    state = new_state(config, data, torch.device("cpu")) if state is None else state
    for _ in train(config, data, torch.device("cpu"), state):
        pass
    return state


def tensors(state: TrainState) -> dict[str, Tensor]:
    """Everything that training writes: weights, batch statistics, moments."""
    moments = {f"moment {i}": tensor for i, tensor in enumerate(state.memory.moments)}
    return state.model.state_dict() | moments


def differing(one: TrainState, other: TrainState) -> list[str]:
    """Names of the tensors that are not equal bit for bit."""
    theirs = tensors(other)
    return [name for name, tensor in tensors(one).items() if not torch.equal(tensor, theirs[name])]


def without_seconds(state: TrainState) -> list[Any]:
    return [replace(m, seconds=0.0, validation_seconds=0.0) for m in state.metrics]


def pgd(norm: str = "linf", epsilon: float = 0.1, steps: int = 2, **more: float) -> Pgd:
    return Pgd(norm=norm, epsilon=epsilon, steps=steps, **more)  # type: ignore[arg-type]


METHODS = {
    "standard": Method(),
    "sam": Method(weights=Sam(rho=0.2)),
    "pgd": Method(inputs=pgd()),
    "sam and pgd l2": Method(weights=Sam(rho=0.2), inputs=pgd("l2", 0.5)),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_same_seed_gives_same_training_and_another_seed_another(
    method: Method, make_config: MakeConfig, few_digits: Dataset
) -> None:
    first = run(make_config(method), few_digits)
    run(make_config(method, seed=1), few_digits)  # another trial in the same process
    again = run(make_config(method), few_digits)
    other = run(make_config(method, seed=1), few_digits)
    assert differing(first, again) == []
    assert without_seconds(first) == without_seconds(again)
    assert differing(first, other) != []


def test_going_on_after_an_epoch_equals_not_stopping(
    make_config: MakeConfig, few_digits: Dataset, cpu: torch.device
) -> None:
    config = make_config(METHODS["sam and pgd l2"])
    state = new_state(config, few_digits, cpu)
    assert len(list(itertools.islice(train(config, few_digits, cpu, state), 1))) == 1
    assert len(list(train(config, few_digits, cpu, state))) == 2
    whole = run(config, few_digits)
    assert differing(state, whole) == []
    assert without_seconds(state) == without_seconds(whole)
    assert (state.best_epoch, state.best_score) == (whole.best_epoch, whole.best_score)


def test_evaluating_between_epochs_changes_nothing(
    make_config: MakeConfig, few_digits: Dataset, cpu: torch.device
) -> None:
    config = make_config(METHODS["sam and pgd l2"])
    state = new_state(config, few_digits, cpu)
    for _ in train(config, few_digits, cpu, state):
        evaluate(state.model, few_digits.test, 16, config.evaluation, seed=0, device=cpu)
    assert differing(state, run(config, few_digits)) == []


def test_validation_changes_nothing(make_config: MakeConfig, few_digits: Dataset) -> None:
    config = make_config()
    other = replace(config, evaluation=replace(config.evaluation, objective_radius=0.05))
    assert differing(run(config, few_digits), run(other, few_digits)) == []


def test_training_validation_and_evaluation_keep_cudnn_to_a_fixed_order(
    make_config: MakeConfig, few_digits: Dataset, cpu: torch.device
) -> None:
    config = make_config(epochs=1)
    state = new_state(config, few_digits, cpu)
    seen: list[bool] = []
    judged = config.evaluation, 0, cpu, PLAIN
    with torch.backends.cudnn.flags(enabled=True, deterministic=False):
        with watching_forwards(lambda: seen.append(torch.backends.cudnn.deterministic)):
            for _ in train(config, few_digits, cpu, state, PLAIN):
                assert not torch.backends.cudnn.deterministic
            evaluate(state.model, few_digits.test, 16, *judged)
            adversarial_examples(state.model, few_digits.test, 16, *judged)
        assert not torch.backends.cudnn.deterministic
    assert len(seen) > 3 + 1 + 10
    assert all(seen)


@contextmanager
def watching_forwards(look: Callable[[], None]) -> Iterator[None]:
    """Call `look` before every convolution, of any network and view."""

    def hook(module: nn.Module, arguments: Any) -> None:
        if isinstance(module, nn.Conv2d):
            look()

    handle = nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def test_global_random_state_is_neither_read_nor_written(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(METHODS["sam and pgd l2"])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = run(config, few_digits)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert differing(first, run(config, few_digits)) == []


def test_input_noise_does_not_move_the_batch_order(
    make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def orders(method: Method) -> list[list[int]]:
        seen: list[list[int]] = []

        def record(*arguments: Any) -> None:
            seen.append(arguments[4].samples.tolist())
            step(*arguments)

        monkeypatch.setattr("trainers.engine.program.step", record)
        run(make_config(method, epochs=2), few_digits)
        return seen

    standard = orders(METHODS["standard"])
    assert standard == orders(METHODS["pgd"]) == orders(METHODS["sam and pgd l2"])
    first, second = ([*itertools.chain(*part)] for part in (standard[:3], standard[3:]))
    assert sorted(first) == sorted(second) == list(range(150))
    assert first != second


def test_best_is_the_first_epoch_with_the_highest_mean_of_both_accuracies(
    make_config: MakeConfig, few_digits: Dataset, cpu: torch.device
) -> None:
    config = make_config(epochs=8, learning_rate=0.3)
    state = new_state(config, few_digits, cpu)
    kept: list[dict[str, Tensor]] = []
    for _ in train(config, few_digits, cpu, state):
        kept.append({name: t.clone() for name, t in state.model.state_dict().items()})
    scores = [(m.validation_clean + m.validation_robust) / 2 for m in state.metrics]
    best = scores.index(max(scores))
    assert (state.best_epoch, state.best_score) == (best + 1, scores[best])
    assert all(torch.equal(t, kept[best][name]) for name, t in state.best_weights.items())
    so_far = list(itertools.accumulate(scores, max, initial=-math.inf))
    expected = [score > before for score, before in zip(scores, so_far, strict=False)]
    assert [m.is_best for m in state.metrics] == expected


def test_sums_are_divided_by_the_samples_seen(make_config: MakeConfig, few_digits: Dataset) -> None:
    """With a learning rate of zero, batch by batch, 64 + 64 + 22: the last one is short."""
    config = make_config(epochs=1, learning_rate=0.0)
    model = new_state(config, few_digits, torch.device("cpu")).model
    stream = generator(0, "batch order", 0, device=torch.device("cpu"))
    loss = correct = 0.0
    for batch in torch.randperm(150, generator=stream).split(64):
        logits = model(torch.tensor(few_digits.train.images[batch.numpy()]) / 16).detach()
        labels = torch.tensor(few_digits.train.labels[batch.numpy()])
        loss -= float(logits.log_softmax(1)[torch.arange(len(batch)), labels].sum())
        correct += float((logits.argmax(1) == labels).sum())
    (found,) = run(config, few_digits).metrics
    assert found.train_loss == pytest.approx(loss / 150, rel=1e-5)
    assert found.train_accuracy == pytest.approx(correct / 150)
    assert correct > 0


def test_scheduled_learning_rate_follows_its_formula(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    cosine = run(make_config(epochs=4, learning_rate=0.1), few_digits)
    expected = [0.05 * (1 + math.cos(math.pi * done / 4)) for done in range(4)]
    assert [m.learning_rate for m in cosine.metrics] == pytest.approx(expected)
    config = make_config(epochs=20, learning_rate=0.1, schedule="step", batch_size=150)
    steps = run(config, few_digits)
    expected = [0.1] * 15 + [0.01] * 3 + [0.001] * 2
    assert [m.learning_rate for m in steps.metrics] == pytest.approx(expected)


def test_divergence_ends_the_training_at_its_epoch(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(learning_rate=1e30, epochs=5)
    state = run(config, few_digits)
    assert len(state.metrics) < 5
    assert state.metrics[-1].diverged
    assert not state.metrics[-1].is_best
    assert math.isnan(state.metrics[-1].validation_robust)
    assert list(train(config, few_digits, torch.device("cpu"), state)) == []


def test_a_training_that_is_stuck_ends_at_its_epoch_unless_the_study_goes_on(
    make_config: MakeConfig, few_digits: Dataset, cpu: torch.device
) -> None:
    config = make_config(learning_rate=0.0, epochs=7)
    state = run(config, few_digits)
    assert [m.epoch for m in state.metrics] == [1, 2, 3, 4, 5]
    assert list(train(config, few_digits, cpu, state)) == []
    going_on = make_config(learning_rate=0.0, epochs=7, end_on=())
    assert [m.epoch for m in train(going_on, few_digits, cpu, state)] == [6, 7]


def test_averaging_with_decay_zero_is_no_averaging_in_what_is_evaluated(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    plain = run(make_config(METHODS["sam"]), few_digits)
    averaged = run(make_config(METHODS["sam"], ema_decay=0.0), few_digits)
    assert differing(plain, averaged) == []
    assert without_seconds(plain) == without_seconds(averaged)
    for judged in (evaluated_weights, lambda state: state.best_weights):
        theirs = judged(averaged)
        assert all(torch.equal(t, theirs[name]) for name, t in judged(plain).items())


@pytest.mark.parametrize("decay", [0.3, 0.99])
def test_averages_follow_the_rising_decay_step_by_step(
    decay: float, make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a loop over single numbers; with decay 0.99 the ramp (1 + t) / (10 + t) decides."""
    config = make_config(epochs=2, ema_decay=decay)
    initial = new_state(config, few_digits, torch.device("cpu")).model.state_dict()
    means = {name: [*map(float, tensor.flatten())] for name, tensor in initial.items()}
    counts = [name for name, tensor in initial.items() if not tensor.is_floating_point()]
    taken = itertools.count()

    def follow(*arguments: Any) -> None:
        step(*arguments)
        network, rate = arguments[1], next(taken)
        share = min(decay, (1 + rate) / (10 + rate))
        names, now = [*network.names, *network.buffer_names], [*network.weights, *network.buffers]
        for name, tensor in zip(names, now, strict=True):
            values = [*map(float, tensor.detach().flatten())]
            kept = 0.0 if name in counts else share
            means[name] = [
                kept * m + (1 - kept) * v for m, v in zip(means[name], values, strict=True)
            ]

    monkeypatch.setattr("trainers.engine.program.step", follow)
    state = run(config, few_digits)
    assert next(taken) == 6
    judged, own = evaluated_weights(state), state.model.state_dict()
    assert judged.keys() == means.keys()
    for name, tensor in judged.items():
        assert [*map(float, tensor.flatten())] == pytest.approx(means[name], abs=1e-5), name
    assert any(not torch.allclose(tensor, own[name], atol=1e-3) for name, tensor in judged.items())


def test_averages_are_what_is_validated_and_kept_as_best(
    make_config: MakeConfig, few_digits: Dataset, cpu: torch.device
) -> None:
    config = make_config(epochs=6, batch_size=32, ema_decay=0.9)
    state = new_state(config, few_digits, cpu)
    validated = replace(config.evaluation, attack=PgdAttack(steps=1, restarts=1))

    def clean(model: nn.Module) -> float:
        return evaluate(model, few_digits.validation, 16, validated, seed=0, device=cpu).clean

    kept: list[dict[str, Tensor]] = []
    own: list[float] = []
    for metrics in train(config, few_digits, cpu, state):
        kept.append({name: tensor.clone() for name, tensor in evaluated_weights(state).items()})
        assert clean(evaluated_model(state)) == metrics.validation_clean
        own.append(clean(state.model))
    assert own != [metrics.validation_clean for metrics in state.metrics]
    best = kept[state.best_epoch - 1]
    assert all(torch.equal(tensor, best[name]) for name, tensor in state.best_weights.items())


def test_last_batch_of_one_sample_is_refused(
    make_config: MakeConfig, few_digits: Dataset, cpu: torch.device
) -> None:
    for batch_size in (149, 1):
        with pytest.raises(ConfigError, match="must not leave a last batch of one") as caught:
            new_state(make_config(batch_size=batch_size), few_digits, cpu)
        assert caught.value.field == "batch_size"
    check_batches(make_config().model, 64, 1000)


def test_batch_statistics_are_counted_once_per_step_whatever_the_method(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    for name, method in METHODS.items():
        state = run(make_config(method, epochs=2), few_digits)
        counts = {
            int(buffer)
            for key, buffer in state.model.named_buffers()
            if key.endswith("num_batches_tracked")
        }
        assert counts == {6}, name


@pytest.mark.slow
def test_adversarial_training_is_more_robust_than_standard_training(
    make_config: MakeConfig, digits: Dataset, cpu: torch.device
) -> None:
    robust = {}
    for name, method in {
        "standard": Method(),
        "at": Method(inputs=pgd(epsilon=0.1, steps=5)),
    }.items():
        config = make_config(method, width=8, epochs=10, attack=PgdAttack(steps=20, restarts=1))
        state = run(config, digits)
        found = evaluate(state.model, digits.test, 16, config.evaluation, seed=0, device=cpu)
        assert found.clean > 0.97
        robust[name] = found.robust[-1]
    assert robust["at"] > robust["standard"] + 0.2
