"""Tests of one step: against slow twins, what it records, and as one graph without a break."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import (
    Asam,
    Awp,
    CrossEntropy,
    FgsmRs,
    Gsam,
    Mart,
    Method,
    NFgsm,
    Noise,
    NoWeights,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
    WeightSide,
)
from trainers.data.dataset import Dataset
from trainers.networks.build import build_model, evaluation_view
from trainers.step.batches import Draw, Source, on_device, padding, take, take_cropped
from trainers.step.inputs import crafting
from trainers.step.losses import cross_entropy, minimised
from trainers.step.numbers import Numbers, no_numbers
from trainers.step.optimizer import descending
from trainers.step.step import Network, Sides, new_memory, new_sums, step
from trainers.step.weights import perturbing

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
BETA = 6.0
PGD = Pgd(norm="linf", epsilon=0.1, steps=2, step_size=0.125)
STANDARD = Method()
SAM_PGD = Method(weights=Sam(rho=0.3), inputs=PGD)
TRADES = Method(inputs=PGD, loss=Trades(beta=BETA))
MART = Method(weights=Sam(rho=0.3), inputs=PGD, loss=Mart(beta=BETA))
EVERY = {
    "standard": STANDARD,
    "sam": Method(weights=Sam(rho=0.3)),
    "asam": Method(weights=Asam(rho=0.5)),
    "gsam": Method(weights=Gsam(rho=0.3)),
    "awp": Method(weights=Awp(gamma=0.02)),
    "noise": Method(inputs=Noise(sigma=0.1)),
    "pgd": Method(inputs=PGD),
    "pgd of five steps": Method(inputs=Pgd(norm="l2", epsilon=0.5, steps=5)),
    "fgsm_rs": Method(inputs=FgsmRs(norm="linf", epsilon=0.1)),
    "n_fgsm": Method(inputs=NFgsm(norm="linf", epsilon=0.1)),
    "sam and pgd": SAM_PGD,
    "trades": TRADES,
    "trades of noise": Method(inputs=Noise(sigma=0.1), loss=Trades()),
    "gsam and trades": Method(weights=Gsam(rho=0.3), inputs=PGD, loss=Trades()),
    "mart": Method(inputs=PGD, loss=Mart()),
    "awp and mart": Method(weights=Awp(gamma=0.02), inputs=PGD, loss=Mart()),
}


def numbers(method: Method = STANDARD, **values: float) -> Numbers:
    """The numbers of a method's step, but for those given."""
    weights, inputs, loss = method.weights, method.inputs, method.loss
    used = {
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "rho": getattr(weights, "gamma", getattr(weights, "rho", 0.0)),
        "eta": getattr(weights, "eta", 0.0),
        "alpha": getattr(weights, "alpha", 0.0),
        "epsilon": getattr(inputs, "sigma", getattr(inputs, "epsilon", 0.0)),
        "step_length": getattr(inputs, "step_length", 0.0),
        "beta": getattr(loss, "beta", 0.0),
        "first_correction": 0.1,
        "second_correction": 0.001,
        "divisor": 16.0,
    }
    tensors = {name: torch.tensor(value) for name, value in (used | values).items()}
    return no_numbers(CPU)._replace(**tensors)


def network(config: TrainConfig, data: Dataset) -> Network:
    model = build_model(config.model, data, torch.Generator().manual_seed(3)).train()
    named, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    return Network(
        model=model,
        classify=model,
        attacked=evaluation_view(model),
        refresh=lambda: None,
        names=list(named),
        weights=list(named.values()),
        buffer_names=list(buffers),
        buffers=list(buffers.values()),
        memory=new_memory(config, model, 10),
    )


def sides(config: TrainConfig) -> Sides:
    method, training = config.method, config.training
    loss = minimised(method.loss)
    return Sides(
        take=take,
        craft=crafting(method.inputs, loss.inner).craft,
        gradients=perturbing(method.weights),
        loss=loss.loss,
        descend=descending(training),
        clips=training.gradient_clip != "none",
    )


def draw_of(method: Method, samples: list[int], shape: tuple[int, ...]) -> Draw:
    inputs = crafting(method.inputs, minimised(method.loss).inner)
    noise = inputs.draw((len(samples), *shape), torch.Generator().manual_seed(5))
    return Draw(torch.tensor(samples), torch.empty(0), torch.empty(0), noise)


def step_of(config: TrainConfig, data: Dataset, trained: Network, **values: float) -> None:
    """Take a step on the first 32 images."""
    draw = draw_of(config.method, list(range(32)), data.image_shape)
    used = numbers(config.method, **values)
    step(sides(config), trained, used, on_device(data, CPU), draw, new_sums(CPU))


def twin_crafted(
    model: nn.Module, x: Tensor, y: Tensor, noise: Tensor, loss: CrossEntropy | Trades | Mart
) -> Tensor:
    """Two steps of PGD in evaluation mode, by backward() into everything."""
    model.eval()
    is_near = not isinstance(loss, CrossEntropy)
    crafted = x + 0.001 * noise if is_near else (x + 0.1 * noise).clamp(0, 1)
    for _ in range(2):
        crafted = crafted.detach().requires_grad_()
        if isinstance(loss, Trades):
            p = F.softmax(model(x), dim=1).detach()
            F.kl_div(F.log_softmax(model(crafted), dim=1), p, reduction="sum").backward()
        else:
            F.cross_entropy(model(crafted), y, reduction="sum").backward()
        assert crafted.grad is not None
        moved = crafted.detach() + 0.125 * crafted.grad.sign()
        crafted = torch.min(torch.max(moved, x - 0.1), x + 0.1).clamp(0, 1)
    model.train()
    return crafted.detach()


def twin_loss(
    model: nn.Module, x: Tensor, crafted: Tensor, y: Tensor, loss: CrossEntropy | Trades | Mart
) -> Tensor:
    """As the published code."""
    if isinstance(loss, CrossEntropy):
        return F.cross_entropy(model(crafted), y)
    clean, logits = model(x), model(crafted)
    p, q = clean.softmax(1), logits.softmax(1)
    if isinstance(loss, Trades):
        divergence = F.kl_div(q.log(), p, reduction="batchmean")
        return F.cross_entropy(clean, y) + BETA * divergence
    order = torch.argsort(q, dim=1)[:, -2:]
    rival = torch.where(order[:, -1] == y, order[:, -2], order[:, -1])
    boosted = F.cross_entropy(logits, y) + F.nll_loss((1.0001 - q + 1e-12).log(), rival)
    weight = 1.0000001 - p.gather(1, y[:, None]).squeeze()
    divergence = F.kl_div((q + 1e-12).log(), p, reduction="none").sum(1)
    return boosted + BETA * (divergence * weight).mean()


def twin_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss_of: Callable[[], Tensor], rho: float
) -> float:
    """SAM as usually written: move the weights, take a gradient, move back, step."""
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    if rho > 0:
        kept = [weight.detach().clone() for weight in model.parameters()]
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        with torch.no_grad():
            for weight in model.parameters():
                weight += rho * weight.grad / norm  # type: ignore[operator]
        optimizer.zero_grad()
        loss_of().backward()
        with torch.no_grad():
            for weight, before in zip(model.parameters(), kept, strict=True):
                weight.copy_(before)
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
    optimizer.step()
    return float(loss.detach())


TWINS = {"sam and pgd": SAM_PGD, "trades": TRADES, "sam and mart": MART}


@pytest.mark.parametrize("method", TWINS.values(), ids=TWINS)
def test_steps_equal_an_obvious_twin(
    method: Method, make_config: MakeConfig, digits: Dataset
) -> None:
    """Craft x′ in evaluation mode, clear gradients, then step by backward() on a copy's weights."""
    config = make_config(method)
    ours = network(config, digits)
    model = copy.deepcopy(ours.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    source, sums = on_device(digits, CPU), new_sums(CPU)
    total = 0.0
    for first in (0, 32):
        draw = draw_of(method, list(range(first, first + 32)), digits.image_shape)
        x = source.images[first : first + 32].float() / 16
        y = source.labels[first : first + 32]
        crafted = twin_crafted(model, x, y, draw.noise, method.loss)
        rho = getattr(method.weights, "rho", 0.0)

        def loss_of(x: Tensor = x, crafted: Tensor = crafted, y: Tensor = y) -> Tensor:
            return twin_loss(model, x, crafted, y, method.loss)

        total += 32 * twin_step(model, optimizer, loss_of, rho)
        step(sides(config), ours, numbers(method), source, draw, sums)
    # TRADES first differentiates a difference of near predictions, so rounding decides the sign of
    # a pixel in thousands; `test_published.py` compares in float64.
    atol = 1e-3 if isinstance(method.loss, Trades) else 1e-5
    assert sums.loss.item() == pytest.approx(total, rel=atol)
    for (name, weight), twin in zip(
        ours.model.state_dict().items(), model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(weight, twin, rtol=1e-4, atol=atol, msg=name)


@pytest.mark.parametrize("side", [Sam(rho=0.5), Asam(rho=0.5), Gsam(rho=0.5), Awp(gamma=0.5)])
def test_second_pass_leaves_batch_statistics_as_standard_training_would(
    side: WeightSide, make_config: MakeConfig, digits: Dataset
) -> None:
    found = []
    for weights in (NoWeights(), side):
        config = make_config(Method(weights=weights))
        trained = network(config, digits)
        before = {name: buffer.clone() for name, buffer in trained.model.named_buffers()}
        step_of(config, digits, trained)
        buffers = dict(trained.model.named_buffers())
        assert not torch.equal(buffers["2.running_mean"], before["2.running_mean"])
        found.append(buffers)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("method", EVERY.values(), ids=EVERY)
def test_batches_are_counted_once_and_twice_where_the_loss_sees_clean_images_too(
    method: Method, make_config: MakeConfig, digits: Dataset
) -> None:
    """Whatever the attack's steps and the weight side; no mode changes either."""
    config = make_config(method)
    trained = network(config, digits)
    for _ in range(3):
        step_of(config, digits, trained)
    counts = {
        int(buffer)
        for name, buffer in trained.model.named_buffers()
        if name.endswith("num_batches_tracked")
    }
    assert counts == {3 if isinstance(method.loss, CrossEntropy) else 6}
    assert all(module.training for module in trained.model.modules())
    assert isinstance(trained.attacked, nn.Module)
    assert not any(module.training for module in trained.attacked.modules())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", EVERY.values(), ids=EVERY)
def test_zero_learning_rate_leaves_weights_bit_identical(
    method: Method, optimizer: str, make_config: MakeConfig, digits: Dataset
) -> None:
    config = make_config(method, optimizer=optimizer)
    trained = network(config, digits)
    before = [weight.detach().clone() for weight in trained.weights]
    addresses = [weight.data_ptr() for weight in trained.weights]
    step_of(config, digits, trained, learning_rate=0.0)
    assert all(torch.equal(a, b) for a, b in zip(trained.weights, before, strict=True))
    assert [weight.data_ptr() for weight in trained.weights] == addresses
    assert all(weight.grad is None and weight.requires_grad for weight in trained.weights)
    step_of(config, digits, trained)
    assert not any(torch.equal(a, b) for a, b in zip(trained.weights, before, strict=True))


@pytest.mark.parametrize("side", [Sam(rho=0.5), Asam(rho=0.5), Gsam(rho=0.5), Awp(gamma=0.5)])
def test_weight_decay_is_absent_from_the_ascent(
    side: WeightSide, make_config: MakeConfig, digits: Dataset
) -> None:
    """With decay λ the step differs by -η λ w alone, so e is that of λ = 0."""
    config = make_config(Method(weights=side))
    moved = []
    for weight_decay in (0.0, 0.5):
        trained = network(config, digits)
        before = [weight.detach().clone() for weight in trained.weights]
        step_of(config, digits, trained, weight_decay=weight_decay)
        moved.append([w.detach() - b for w, b in zip(trained.weights, before, strict=True)])
    for without, with_decay, weight in zip(*moved, before, strict=True):
        torch.testing.assert_close(with_decay - without, -0.1 * 0.5 * weight, rtol=1e-3, atol=1e-6)


def test_failure_in_the_second_pass_leaves_weights_and_moments(
    make_config: MakeConfig, digits: Dataset
) -> None:
    config = make_config(Method(weights=Sam(rho=0.5)))
    trained = network(config, digits)
    before = [tensor.detach().clone() for tensor in (*trained.weights, *trained.memory.moments)]
    calls = []

    def failing(*arguments: Any) -> tuple[Tensor, Tensor]:
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return cross_entropy(*arguments)

    draw = draw_of(config.method, list(range(32)), digits.image_shape)
    chosen, used = sides(config)._replace(loss=failing), numbers(config.method)
    with pytest.raises(RuntimeError, match="out of memory"):
        step(chosen, trained, used, on_device(digits, CPU), draw, new_sums(CPU))
    after = (*trained.weights, *trained.memory.moments)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_the_optimiser_gets_a_gradient_no_longer_than_the_limit(
    make_config: MakeConfig, digits: Dataset
) -> None:
    """Clipped is what the weight side gives, so the first step is η times the limit at most."""
    lengths = {}
    for limit in (0.05, 1e6):
        config = make_config(Method(weights=Gsam(rho=0.3)), gradient_clip=limit)
        trained = network(config, digits)
        before = [weight.detach().clone() for weight in trained.weights]
        step_of(config, digits, trained, gradient_clip=limit, weight_decay=0.0)
        moved = [w.detach() - b for w, b in zip(trained.weights, before, strict=True)]
        lengths[limit] = torch.cat([tensor.flatten() for tensor in moved]).norm().item()
    assert lengths[0.05] == pytest.approx(0.1 * 0.05, rel=1e-4)
    assert lengths[1e6] > 5 * lengths[0.05]


def test_averages_follow_weights_and_batch_statistics_after_each_step(
    make_config: MakeConfig, digits: Dataset
) -> None:
    config = make_config(ema_decay=0.9)
    trained = network(config, digits)
    expected = [tensor.clone() for tensor in trained.memory.averages]
    for decay in (0.5, 0.9, 0.0):
        step_of(config, digits, trained, ema_decay=decay)
        current = [*trained.weights, *trained.buffers]
        for which, tensor in enumerate(current):
            mean = decay * expected[which] + (1 - decay) * tensor.detach()
            expected[which] = mean if tensor.is_floating_point() else tensor.clone()
        for ours, theirs in zip(trained.memory.averages, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert all(torch.equal(a, b) for a, b in zip(trained.memory.averages, current, strict=True))


COMPILED: dict[str, tuple[Method, dict[str, Any]]] = {
    "standard": (STANDARD, {}),
    "sam and pgd": (SAM_PGD, {}),
    "gsam and trades by adamw, clipped": (
        EVERY["gsam and trades"],
        {"optimizer": "adamw", "gradient_clip": 1.0},
    ),
    "awp and mart by nesterov": (EVERY["awp and mart"], {"nesterov": True, "ema_decay": 0.9}),
    "asam and n_fgsm": (
        Method(weights=Asam(rho=0.5), inputs=NFgsm(norm="l2", epsilon=0.5)),
        {},
    ),
    "noise": (EVERY["noise"], {}),
}


@pytest.mark.skipif(
    torch.__version__ < "2.13",
    reason="torch before 2.13 traces no requires_grad_ in a step; trainings trace it by make_fx",
)
@pytest.mark.parametrize(("method", "training"), COMPILED.values(), ids=COMPILED)
def test_step_is_one_graph_that_serves_other_numbers(
    method: Method, training: dict[str, Any], make_config: MakeConfig, digits: Dataset
) -> None:
    """No graph break, so no host synchronisation either; a second trial compiles nothing."""
    torch._dynamo.reset()
    config = make_config(method, **training)
    source = on_device(digits, CPU)
    draw = draw_of(method, list(range(32)), digits.image_shape)
    cases = [
        numbers(method, gradient_clip=1.0, ema_decay=0.5),
        numbers(
            method,
            gradient_clip=0.1,
            ema_decay=0.9,
            rho=0.01,
            eta=0.1,
            alpha=0.1,
            beta=1.0,
            epsilon=0.05,
            step_length=0.02,
            learning_rate=0.2,
            weight_decay=0.1,
        ),
    ]
    chosen = sides(config)
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        compiled = torch.compile(step, fullgraph=True, backend="eager")
        ours, twin = network(config, digits), network(config, digits)
        sums, twin_sums = new_sums(CPU), new_sums(CPU)
        for number, used in enumerate(cases):
            stance = "fail_on_recompile" if number else "default"
            with torch.compiler.set_stance(stance):
                compiled(chosen, ours, used, source, draw, sums)
            step(chosen, twin, used, source, draw, twin_sums)
    for (name, a), b in zip(
        ours.model.state_dict().items(), twin.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(torch.stack(list(sums)[:3]), torch.stack(list(twin_sums)[:3]))


def test_crop_and_flip_equal_an_obvious_twin(make_images: Callable[..., Dataset]) -> None:
    data = make_images((3, 32, 32), count=10)
    source = on_device(data, CPU)
    generator = torch.Generator().manual_seed(0)
    samples = torch.randperm(10, generator=generator)
    corner = torch.randint(9, (10, 2), generator=generator)
    corner[0], corner[1], corner[2] = (
        torch.tensor([0, 0]),
        torch.tensor([8, 8]),
        torch.tensor([4, 4]),
    )
    is_flipped = torch.arange(10) % 2 == 1
    draw = Draw(samples, corner, is_flipped, torch.empty(0))
    images, labels = take_cropped(source, draw, border=padding(data.image_shape))
    for row, sample in enumerate(samples.tolist()):
        stored = torch.tensor(data.train.images[sample]).float()
        padded = F.pad(stored[None], (4, 4, 4, 4), mode="reflect")[0]
        top, left = corner[row].tolist()
        expected = padded[:, top : top + 32, left : left + 32]
        expected = expected.flip(2) if is_flipped[row] else expected
        assert torch.equal(images[row].float(), expected), row
        assert labels[row] == data.train.labels[sample]
    centre = images[2]
    assert torch.equal(centre, torch.tensor(data.train.images[samples[2]]))


def test_source_is_a_copy_of_read_only_arrays(make_images: Callable[..., Dataset]) -> None:
    data = make_images((1, 8, 8))
    data.train.images.flags.writeable = data.train.labels.flags.writeable = False
    source: Source = on_device(data, CPU)
    images, labels = take(source, Draw(torch.tensor([3, 1]), *[torch.empty(0)] * 3))
    assert torch.equal(images, torch.tensor(data.train.images[[3, 1]]))
    assert labels.tolist() == data.train.labels[[3, 1]].tolist()
