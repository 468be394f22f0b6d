"""Tests of one step: against torch.optim.SGD, a slow twin, and as one graph without a break."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers import batches, inputs, weights
from trainers.batches import Draw, Source, on_device, take, take_cropped
from trainers.config import InputSide, NoInputs, NoWeights, Pgd, Sam, TrainConfig, WeightSide
from trainers.data import Dataset
from trainers.losses import cross_entropy
from trainers.models import build_model, evaluation_view
from trainers.step import Network, Numbers, Sides, descend, new_sums, step

MakeConfig = Callable[..., TrainConfig]


def numbers(**values: float) -> Numbers:
    defaults = {
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "rho": 0.0,
        "epsilon": 0.0,
        "step_length": 0.0,
        "divisor": 16.0,
    }
    return Numbers(**{name: torch.tensor(value) for name, value in (defaults | values).items()})


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
        momentum=[torch.zeros_like(weight) for weight in named.values()],
    )


def sides(weight_side: WeightSide, input_side: InputSide) -> Sides:
    perturbing, crafting = weights.perturbing(weight_side), inputs.crafting(input_side)
    return Sides(take, crafting.craft, perturbing.gradients, cross_entropy)


def draw_of(input_side: InputSide, samples: list[int], shape: tuple[int, ...]) -> Draw:
    crafting, nothing = inputs.crafting(input_side), torch.empty(0)
    noise = crafting.draw((len(samples), *shape), torch.Generator().manual_seed(5))
    return Draw(torch.tensor(samples), nothing, nothing, noise)


STANDARD = (NoWeights(), NoInputs())
SAM_PGD = (Sam(rho=0.3), Pgd(norm="linf", epsilon=0.1, steps=2))


def test_sgd_equals_torchs_own_with_weight_decay_and_two_rates() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(3, 2, generator=generator), torch.randn(4, generator=generator)]
    theirs = [nn.Parameter(weight.clone()) for weight in ours]
    momentum = [torch.zeros_like(weight) for weight in ours]
    optimizer = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=0.05)
    for learning_rate in (0.1, 0.1, 0.01):
        gradients = tuple(torch.randn(w.shape, generator=generator) for w in ours)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        for weight, gradient in zip(theirs, gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
        descend(ours, momentum, gradients, numbers(learning_rate=learning_rate, weight_decay=0.05))
    for weight, twin in zip(ours, theirs, strict=True):
        torch.testing.assert_close(weight, twin.detach())
        ours_momentum = momentum[0] if weight is ours[0] else momentum[1]
        torch.testing.assert_close(ours_momentum, optimizer.state[twin]["momentum_buffer"])


def test_sam_with_pgd_equals_an_obvious_twin(make_config: MakeConfig, digits: Dataset) -> None:
    """Craft x′ in evaluation mode, clear gradients, then SAM by backward() on a copy's weights."""
    ours = network(make_config(), digits)
    model = copy.deepcopy(ours.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    used = numbers(rho=0.3, epsilon=0.1, step_length=0.125)
    source, sums = on_device(digits, torch.device("cpu")), new_sums(torch.device("cpu"))
    total = 0.0
    for first in (0, 32):
        draw = draw_of(SAM_PGD[1], list(range(first, first + 32)), digits.image_shape)
        x = source.images[first : first + 32].float() / 16
        y = source.labels[first : first + 32]
        model.eval()
        crafted = (x + 0.1 * draw.noise).clamp(0, 1)
        for _ in range(2):
            crafted = crafted.detach().requires_grad_()
            F.cross_entropy(model(crafted), y, reduction="sum").backward()
            assert crafted.grad is not None
            offset = (crafted.detach() + 0.125 * crafted.grad.sign() - x).clamp(-0.1, 0.1)
            crafted = (x + offset).clamp(0, 1)
        model.train()
        total += 32 * twin_sam_step(model, optimizer, crafted.detach(), y, 0.3)
        step(sides(*SAM_PGD), ours, used, source, draw, sums)
    assert sums.loss.item() == pytest.approx(total, rel=1e-5)
    for (name, weight), twin in zip(
        ours.model.state_dict().items(), model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(weight, twin, rtol=1e-4, atol=1e-5, msg=name)


def twin_sam_step(
    model: nn.Module, optimizer: torch.optim.SGD, images: Tensor, labels: Tensor, rho: float
) -> float:
    """SAM as usually written: move the weights, take a gradient, move back, step."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    kept = [weight.detach().clone() for weight in model.parameters()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    with torch.no_grad():
        for weight in model.parameters():
            weight += rho * weight.grad / norm  # type: ignore[operator]
    optimizer.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    with torch.no_grad():
        for weight, before in zip(model.parameters(), kept, strict=True):
            weight.copy_(before)
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    optimizer.step()
    return float(loss.detach())


def test_second_sam_pass_leaves_batch_statistics_as_standard_training_would(
    make_config: MakeConfig, digits: Dataset
) -> None:
    source = on_device(digits, torch.device("cpu"))
    draw = draw_of(NoInputs(), list(range(32)), digits.image_shape)
    found = []
    for side in (NoWeights(), Sam(rho=0.5)):
        trained = network(make_config(), digits)
        before = {name: buffer.clone() for name, buffer in trained.model.named_buffers()}
        step(
            sides(side, NoInputs()),
            trained,
            numbers(rho=0.5),
            source,
            draw,
            new_sums(torch.device("cpu")),
        )
        buffers = dict(trained.model.named_buffers())
        assert not torch.equal(buffers["2.running_mean"], before["2.running_mean"])
        found.append(buffers)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_zero_learning_rate_leaves_weights_bit_identical(
    make_config: MakeConfig, digits: Dataset
) -> None:
    trained = network(make_config(), digits)
    before = [weight.detach().clone() for weight in trained.weights]
    addresses = [weight.data_ptr() for weight in trained.weights]
    source = on_device(digits, torch.device("cpu"))
    draw = draw_of(SAM_PGD[1], list(range(32)), digits.image_shape)
    used = numbers(learning_rate=0.0, rho=0.5, epsilon=0.1, step_length=0.05)
    step(sides(*SAM_PGD), trained, used, source, draw, new_sums(torch.device("cpu")))
    assert all(torch.equal(a, b) for a, b in zip(trained.weights, before, strict=True))
    assert [weight.data_ptr() for weight in trained.weights] == addresses
    assert all(weight.grad is None and weight.requires_grad for weight in trained.weights)
    assert trained.model.training


def test_weight_decay_is_absent_from_the_ascent(make_config: MakeConfig, digits: Dataset) -> None:
    """With decay λ the step differs by -η λ w alone, so e is that of λ = 0."""
    source = on_device(digits, torch.device("cpu"))
    draw = draw_of(NoInputs(), list(range(32)), digits.image_shape)
    moved = []
    for weight_decay in (0.0, 0.5):
        trained = network(make_config(), digits)
        before = [weight.detach().clone() for weight in trained.weights]
        used = numbers(rho=0.5, weight_decay=weight_decay)
        chosen = sides(Sam(rho=0.5), NoInputs())
        step(chosen, trained, used, source, draw, new_sums(torch.device("cpu")))
        moved.append([w.detach() - b for w, b in zip(trained.weights, before, strict=True)])
    for without, with_decay, weight in zip(*moved, before, strict=True):
        torch.testing.assert_close(with_decay - without, -0.1 * 0.5 * weight, rtol=1e-3, atol=1e-6)


def test_failure_in_the_second_pass_leaves_weights_and_momentum(
    make_config: MakeConfig, digits: Dataset
) -> None:
    trained = network(make_config(), digits)
    before = [tensor.detach().clone() for tensor in (*trained.weights, *trained.momentum)]
    calls = []

    def failing(*arguments: Any) -> tuple[Tensor, Tensor]:
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return cross_entropy(*arguments)

    chosen = sides(Sam(rho=0.5), NoInputs())._replace(loss=failing)
    source = on_device(digits, torch.device("cpu"))
    draw = draw_of(NoInputs(), list(range(32)), digits.image_shape)
    with pytest.raises(RuntimeError, match="out of memory"):
        step(chosen, trained, numbers(rho=0.5), source, draw, new_sums(torch.device("cpu")))
    after = (*trained.weights, *trained.momentum)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


COMPILED = {"standard": STANDARD, "sam and pgd": SAM_PGD}


@pytest.mark.skipif(
    not hasattr(torch._dynamo.config, "trace_autograd_ops"),
    reason="this torch traces no torch.autograd.grad",
)
@pytest.mark.parametrize("pair", COMPILED.values(), ids=COMPILED)
def test_step_is_one_graph_that_serves_other_numbers(
    pair: tuple[WeightSide, InputSide], make_config: MakeConfig, digits: Dataset
) -> None:
    """No graph break, so no host synchronisation either; a second trial compiles nothing."""
    torch._dynamo.reset()
    source = on_device(digits, torch.device("cpu"))
    draw = draw_of(pair[1], list(range(32)), digits.image_shape)
    cases = [
        numbers(rho=0.3, epsilon=0.1, step_length=0.05),
        numbers(rho=0.1, epsilon=0.2, step_length=0.1, learning_rate=0.2, weight_decay=0.1),
    ]
    chosen = sides(*pair)
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        compiled = torch.compile(step, fullgraph=True, backend="eager")
        ours, twin = network(make_config(), digits), network(make_config(), digits)
        sums, twin_sums = new_sums(torch.device("cpu")), new_sums(torch.device("cpu"))
        for number, used in enumerate(cases):
            stance = "fail_on_recompile" if number else "default"
            with torch.compiler.set_stance(stance):
                compiled(chosen, ours, used, source, draw, sums)
            step(chosen, twin, used, source, draw, twin_sums)
    for (name, a), b in zip(
        ours.model.state_dict().items(), twin.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)
    torch.testing.assert_close(torch.stack(list(sums)[:3]), torch.stack(list(twin_sums)[:3]))


def test_crop_and_flip_equal_an_obvious_twin(make_images: Callable[..., Dataset]) -> None:
    data = make_images((3, 32, 32), count=10)
    source = on_device(data, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    samples = torch.randperm(10, generator=generator)
    corner = torch.randint(9, (10, 2), generator=generator)
    corner[0], corner[1], corner[2] = (
        torch.tensor([0, 0]),
        torch.tensor([8, 8]),
        torch.tensor([4, 4]),
    )
    is_flipped = torch.arange(10) % 2 == 1
    images, labels = take_cropped(source, Draw(samples, corner, is_flipped, torch.empty(0)))
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
    source: Source = on_device(data, torch.device("cpu"))
    images, labels = take(source, Draw(torch.tensor([3, 1]), *[torch.empty(0)] * 3))
    assert torch.equal(images, torch.tensor(data.train.images[[3, 1]]))
    assert labels.tolist() == data.train.labels[[3, 1]].tolist()
    assert batches.PADDING == 4
