"""Tests of all networks: counts, initial weights, any image, other weights, and shared views."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainers.config import (
    DEFAULT_WIDTHS,
    MODELS,
    ConfigError,
    Method,
    ModelConfig,
    Pgd,
    PgdAttack,
    Sam,
    TrainConfig,
    check_batches,
    check_image,
)
from trainers.data.dataset import Dataset
from trainers.evaluation.evaluate import evaluate
from trainers.networks.build import NETWORKS, TORCHVISION_NETWORKS, build_model, evaluation_view
from trainers.networks.layers import Normalise
from trainers.step.inputs import input_gradient
from trainers.step.losses import cross_entropy_sum
from trainers.train import new_state, train

MakeImages = Callable[..., Dataset]
MakeConfig = Callable[..., TrainConfig]

SMALLEST = {
    "small_cnn": {"width": 4},
    "preact_resnet18": {"width": 4},
    "wide_resnet": {"width": 1, "depth": 10},
    "resnet18": {"width": 64},
    "vit": {"width": 128, "depth": 1},
}
WITH_NORMS = {
    f"{name} {norm}": {"name": name, **sizes, "norm_layer": norm}
    for name, sizes in SMALLEST.items()
    for norm in (("batch",) if name == "vit" else ("batch", "group"))
}
every_network = pytest.mark.parametrize("sizes", WITH_NORMS.values(), ids=WITH_NORMS)
SHAPE = (1, 8, 8)
SMALL_SHAPES = [(1, 1, 1), (3, 1, 5), (3, 5, 1), (1, 2, 2), (3, 2, 3)]


def build(sizes: dict[str, object], data: Dataset, seed: int = 0) -> nn.Module:
    """Build a network, a vision transformer with a last layer that is not zero."""
    generator = torch.Generator().manual_seed(seed)
    model = build_model(ModelConfig(**sizes), data, generator)  # type: ignore[arg-type]
    if sizes["name"] == "vit":
        with torch.no_grad():
            model[-1].heads.head.weight.normal_(generator=generator)  # type: ignore[index]
    return model


def images_for(shape: tuple[int, ...], count: int) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(3))


def num_weights(name: str, width: int, depth: int, norm_layer: str, data: Dataset) -> int:
    """Count without drawing any."""
    config = ModelConfig(name=name, width=width, depth=depth, norm_layer=norm_layer)
    with torch.device("meta"):
        model = (NETWORKS | TORCHVISION_NETWORKS)[name](config, data)
    return sum(weight.numel() for weight in model.parameters())


def small_cnn_weights(width: int, depth: int, shape: tuple[int, int, int], classes: int) -> int:
    wide = 2 * width
    convolutions = 9 * (shape[0] * width + width * wide + wide * wide)
    return convolutions + 2 * (width + wide + wide) + (wide + 1) * classes


def preactivated_weights(
    stem: int, stages: list[int], blocks: int, channels: int, classes: int
) -> int:
    total, before = 9 * channels * stem, stem
    for number, after in enumerate(stages):
        total += 2 * before + 9 * before * after + 2 * after + 9 * after * after
        changes = number > 0 or before != after
        total += before * after if changes else 0  # the shortcut of a block that changes size
        total += (blocks - 1) * 2 * (2 * after + 9 * after * after)
        before = after
    return total + 2 * before + (before + 1) * classes


def preact_resnet18_weights(
    width: int, depth: int, shape: tuple[int, int, int], classes: int
) -> int:
    return preactivated_weights(width, [width * n for n in (1, 2, 4, 8)], 2, shape[0], classes)


def wide_resnet_weights(width: int, depth: int, shape: tuple[int, int, int], classes: int) -> int:
    stages = [16 * width, 32 * width, 64 * width]
    return preactivated_weights(16, stages, (depth - 4) // 6, shape[0], classes)


def resnet18_weights(width: int, depth: int, shape: tuple[int, int, int], classes: int) -> int:
    def twice(before: int, after: int) -> int:
        """Two convolutions, each with its normalisation."""
        return 9 * before * after + 9 * after**2 + 4 * after

    total = 9 * shape[0] * 64 + 2 * 64 + 2 * twice(64, 64)
    for after in (128, 256, 512):
        shortcut = after // 2 * after + 2 * after
        total += twice(after // 2, after) + shortcut + twice(after, after)
    return total + (512 + 1) * classes


def vit_weights(width: int, depth: int, shape: tuple[int, int, int], classes: int) -> int:
    channels, height, across = shape
    patch = -(-max(height, across) // 8)
    tokens = (-(-max(height, across) // patch)) ** 2 + 1
    attention = 3 * (width + 1) * width + (width + 1) * width
    layers = (width + 1) * 4 * width + (4 * width + 1) * width
    block = 2 * 2 * width + attention + layers
    ends = (channels * patch**2 + 1) * width + width + tokens * width + 2 * width
    return ends + depth * block + (width + 1) * classes


CLOSED_FORMS = {
    "small_cnn": small_cnn_weights,
    "preact_resnet18": preact_resnet18_weights,
    "wide_resnet": wide_resnet_weights,
    "resnet18": resnet18_weights,
    "vit": vit_weights,
}
SIZES = [
    ("small_cnn", 4, 0),
    ("small_cnn", 64, 0),
    ("preact_resnet18", 8, 0),
    ("wide_resnet", 1, 10),
    ("wide_resnet", 2, 22),
    ("resnet18", 64, 0),
    ("vit", 64, 1),
    ("vit", 128, 3),
]
PUBLISHED = {
    "PreActResNet-18": (("preact_resnet18", DEFAULT_WIDTHS["preact_resnet18"], 0), 11_172_170),
    "WRN-28-10": (("wide_resnet", 10, 28), 36_479_194),
    "WRN-34-10": (("wide_resnet", 10, 34), 46_160_474),
    "WRN-16-4": (("wide_resnet", 4, 16), 2_748_890),
    "WRN-40-4": (("wide_resnet", 4, 40), 8_949_210),
    "ResNet-18": (("resnet18", 64, 0), 11_173_962),
}


def test_every_network_of_a_configuration_can_be_built() -> None:
    assert {*NETWORKS, *TORCHVISION_NETWORKS} == {*MODELS} == {*SMALLEST}


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_numbers_of_weights_equal_their_closed_forms(
    size: tuple[str, int, int], make_images: MakeImages
) -> None:
    """Whatever normalises."""
    name, width, depth = size
    for shape, classes in (((1, 8, 8), 10), ((3, 32, 32), 100), ((3, 17, 9), 2)):
        data = make_images(shape, classes)
        expected = CLOSED_FORMS[name](width, depth, shape, classes)
        for norm in ("batch",) if name == "vit" else ("batch", "group"):
            assert num_weights(name, width, depth, norm, data) == expected, (shape, norm)


@pytest.mark.parametrize(("size", "expected"), PUBLISHED.values(), ids=PUBLISHED)
def test_networks_have_their_published_numbers_of_weights(
    size: tuple[str, int, int], expected: int, make_images: MakeImages
) -> None:
    """For ten classes of 32 × 32 RGB images."""
    name, width, depth = size
    assert CLOSED_FORMS[name](width, depth, (3, 32, 32), 10) == expected
    assert num_weights(name, width, depth, "batch", make_images((3, 32, 32))) == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 17, 9)], ids=str)
@every_network
def test_any_image_gives_finite_logits(
    sizes: dict[str, object], shape: tuple[int, int, int], make_images: MakeImages
) -> None:
    model = build(sizes, make_images(shape, classes=7))
    for part in (model.train(), model.eval()):
        logits = part(images_for(shape, 2))
        assert logits.shape == (2, 7)
        assert logits.isfinite().all()
        assert not torch.equal(logits[0], logits[1])


def test_normalisation_belongs_to_the_model(digits: Dataset) -> None:
    """Training images leave the first layer with mean 0 and standard deviation 1."""
    for sizes in WITH_NORMS.values():
        model = build(sizes, digits)
        assert isinstance(model[0], Normalise)  # type: ignore[index]
        assert {"0.mean", "0.std"} <= model.state_dict().keys()
    normalised = model[0](torch.tensor(digits.train.images) / 16)  # type: ignore[index]
    assert normalised.mean().item() == pytest.approx(0, abs=1e-5)
    assert normalised.std(correction=0).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", SMALLEST)
def test_initial_weights_are_decided_by_the_generator_alone(
    name: str, make_images: MakeImages
) -> None:
    """By all of its state, and it goes on from there; the global one is not touched."""
    config, data = ModelConfig(name=name, **SMALLEST[name]), make_images(SHAPE)
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 0, 1)]
    models = []
    for number, generator in enumerate(generators):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        models.append(build_model(config, data, generator).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    model, same, other = models
    assert all(torch.equal(model[key], same[key]) for key in model)
    assert any(not torch.equal(model[key], other[key]) for key in model)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    again = build_model(config, data, generators[0]).state_dict()
    assert any(not torch.equal(model[key], again[key]) for key in model)


SMALL_CNN_NAMES = [
    *("1.weight", "2.weight", "2.bias", "4.weight", "5.weight", "5.bias"),
    *("8.weight", "9.weight", "9.bias", "13.weight", "13.bias"),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_our_networks_draw_uniform_weights_in_the_order_of_their_layers(
    name: str, digits: Dataset
) -> None:
    """A recorded training begins alike only while this order stays, within each block too."""
    model = build({"name": name, **SMALLEST[name]}, digits, seed=5)
    named = dict(model.named_parameters())
    if name == "small_cnn":
        assert list(named) == SMALL_CNN_NAMES
    generator = torch.Generator().manual_seed(5)
    order = [f"{n}.{layer}" for n in range(3, 11) for layer in ("conv1", "conv2", "shortcut")]
    drawn = [f"{layer}.weight" for layer in ("1", *order)] if name != "small_cnn" else named
    layers = [key for key in drawn if key in named and named[key].dim() == 4]
    last = list(named)[-2:]
    assert len(layers) == sum(weight.dim() == 4 for weight in named.values())
    for key in (*layers, *last):
        fan_in = named[last[0]].shape[1] if key in last else named[key][0].numel()
        expected = torch.empty_like(named[key])
        expected.detach().uniform_(
            -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator
        )
        assert torch.equal(named[key], expected), key
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))


@every_network
def test_view_shares_weights_and_leaves_the_model_alone(
    sizes: dict[str, object], make_images: MakeImages
) -> None:
    model = build(sizes, make_images(SHAPE)).train()
    view = evaluation_view(model)
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in view.modules())
    assert all(weight.requires_grad for weight in model.parameters())
    assert not any(weight.requires_grad for weight in view.parameters())
    images = images_for(SHAPE, 8)
    model(images)  # records batch statistics, which the view must see
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01)
    assert model.state_dict().keys() == view.state_dict().keys()
    for ours, theirs in zip(model.state_dict().values(), view.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.data_ptr() == theirs.data_ptr()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    view(images)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


@every_network
def test_view_is_differentiable_by_images_and_repeats_bit_for_bit(
    sizes: dict[str, object], make_images: MakeImages
) -> None:
    """Whether a gradient is asked or not: an attack and an evaluation see one network."""
    model = build(sizes, make_images(SHAPE)).train()
    images, labels = images_for(SHAPE, 6), torch.arange(6)
    model(images)
    view = evaluation_view(model)
    gradient = input_gradient(view, cross_entropy_sum, images, labels)
    assert torch.equal(input_gradient(view, cross_entropy_sum, images, labels), gradient)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
    assert all(weight.grad is None for weight in (*model.parameters(), *view.parameters()))
    asked = view(images.clone().requires_grad_()).detach()
    with torch.no_grad():
        assert torch.equal(view(images), asked)
        assert torch.equal(view(images), asked)
        torch.testing.assert_close(view(images[2:3]), asked[2:3], rtol=1e-4, atol=1e-5)
    twin = input_gradient(model.eval(), cross_entropy_sum, images, labels)
    torch.testing.assert_close(gradient, twin)


@every_network
def test_other_weights_in_training_mode_leave_the_network_alone(
    sizes: dict[str, object], make_images: MakeImages
) -> None:
    """As a weight side takes its second gradient; a network that holds them is the twin."""
    data = make_images(SHAPE)
    model, twin = build(sizes, data).train(), build(sizes, data, seed=1).train()
    images = images_for(SHAPE, 6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = {name: weight.detach().clone() for name, weight in twin.named_parameters()}
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    buffers = {name: buffer.clone() for name, buffer in twin.named_buffers()}
    logits = functional_call(model, weights | buffers, (images,))
    expected = twin(images)
    assert torch.equal(logits, expected)
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in twin.named_buffers())
    found = torch.autograd.grad(logits.square().sum(), list(weights.values()))
    theirs = torch.autograd.grad(expected.square().sum(), list(twin.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, theirs, strict=True))


@every_network
def test_a_step_of_sam_and_pgd_moves_weights_and_an_evaluation_nothing(
    sizes: dict[str, object], make_images: MakeImages, make_config: MakeConfig, cpu: torch.device
) -> None:
    method = Method(weights=Sam(rho=0.05), inputs=Pgd(norm="linf", epsilon=0.05, steps=1))
    given = {key: value for key, value in sizes.items() if key != "name"}
    attack = PgdAttack(steps=1, restarts=1)
    config = make_config(method, model=sizes["name"], epochs=1, attack=attack, **given)
    data = make_images(SHAPE, classes=3, count=6)
    state = new_state(config, data, cpu)
    initial = [weight.clone() for weight in state.model.parameters()]
    (metrics,) = train(config, data, cpu, state)
    assert not metrics.diverged
    assert math.isfinite(metrics.train_loss)
    last = list(state.model.parameters())[-2:]
    assert all(not torch.equal(a, b) for a, b in zip(initial[-2:], last, strict=True))
    assert all(weight.isfinite().all() for weight in state.model.parameters())
    steps = [b for name, b in state.model.named_buffers() if name.endswith("tracked")]
    assert all(count == 1 for count in steps)
    assert bool(steps) == (sizes["norm_layer"] == "batch" and sizes["name"] != "vit")
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    found = evaluate(state.model, data.test, data.divisor, config.evaluation, 0, cpu)
    assert found.bits.shape == (3, 6)
    assert all(torch.equal(before[n], t) for n, t in state.model.state_dict().items())
    assert all(module.training for module in state.model.modules())


@every_network
def test_other_images_of_a_batch_enter_by_batch_normalisation_alone(
    sizes: dict[str, object], make_images: MakeImages, make_config: MakeConfig
) -> None:
    """Without it a batch of one image can be trained on."""
    model = build(sizes, make_images(SHAPE)).train()
    images = images_for(SHAPE, 5)
    with torch.no_grad():
        together, pair = model(images), model(images[:2])
    given = {key: value for key, value in sizes.items() if key != "name"}
    config = make_config(model=sizes["name"], batch_size=1, **given)
    if sizes["norm_layer"] == "batch" and sizes["name"] != "vit":
        assert not torch.allclose(together[:2], pair, rtol=1e-2)
        with pytest.raises(ConfigError, match="must not leave a last batch of one"):
            check_batches(config.model, config.training.batch_size, 7)
        return
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[:2], pair, rtol=1e-4, atol=1e-5)
    check_batches(config.model, config.training.batch_size, 7)
    alone[:1].square().sum().backward()
    assert all(
        weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None
    )


def test_small_cnn_halves_the_image_once_and_then_averages(digits: Dataset) -> None:
    shapes = []
    x = torch.rand(2, *digits.image_shape)
    for module in build({"name": "small_cnn", "width": 4}, digits):  # type: ignore[attr-defined]
        x = module(x)
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(4, 8, 8), (8, 8, 8), (8, 4, 4), (8, 4, 4), (8, 1, 1)]


@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
@pytest.mark.parametrize("name", SMALLEST)
def test_an_image_is_refused_exactly_where_the_network_cannot_take_it(
    make_images: MakeImages, name: str, shape: tuple[int, int, int]
) -> None:
    config = ModelConfig(name=name, **SMALLEST[name])  # type: ignore[arg-type]
    try:
        check_image(config, shape)
        is_refused = False
    except ConfigError:
        is_refused = True
    try:
        build(SMALLEST[name] | {"name": name}, make_images(shape))(images_for(shape, 3))
        fails = False
    except RuntimeError:
        fails = True
    assert is_refused == fails
