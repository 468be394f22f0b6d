"""Tests of the narrow classifier: torch's logits and input gradients, from the weights of now."""

import shlex
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainers.config import ModelConfig, Norm, PgdAttack
from trainers.data.dataset import Dataset
from trainers.engine.narrow import (
    NarrowClassifier,
    Shape,
    compiler_notice,
    is_faster,
    narrow_classifier,
)
from trainers.evaluation.pgd import pgd
from trainers.networks.build import build_model, evaluation_view
from trainers.step.inputs import BALLS, input_gradient
from trainers.step.losses import cross_entropy_sum

MakeImages = Callable[..., Dataset]
needs_compiler = pytest.mark.skipif(compiler_notice() != "", reason=compiler_notice())

SHAPES = {
    "digits": Shape(channels=1, height=8, width=8, narrow=8, classes=10),
    "one vector of classes and more": Shape(channels=1, height=8, width=8, narrow=4, classes=17),
    "odd sides": Shape(channels=2, height=7, width=9, narrow=4, classes=10),
    "smallest": Shape(channels=1, height=2, width=2, narrow=2, classes=2),
    "several vectors of channels": Shape(channels=3, height=6, width=12, narrow=16, classes=3),
    "four lanes": Shape(channels=1, height=5, width=10, narrow=6, classes=5),
    "blocks moved back": Shape(channels=3, height=4, width=62, narrow=4, classes=3),
    "largest network": Shape(channels=1, height=6, width=6, narrow=32, classes=10),
}


def build(
    shape: Shape, make_images: MakeImages, model: str = "small_cnn", **sizes: object
) -> nn.Module:
    """Build a network in training mode, as random as its data."""
    data = make_images(shape[:3], shape.classes)
    config = ModelConfig(name=model, width=shape.narrow, **sizes)  # type: ignore[arg-type]
    return build_model(config, data, torch.Generator().manual_seed(1)).train()


def random_view(shape: Shape, make_images: MakeImages) -> nn.Module:
    """Build a view of a network whose batch normalisations do what they can."""
    model, generator = build(shape, make_images), torch.Generator().manual_seed(2)
    with torch.no_grad():
        model(images_for(shape, 16))
        for norm in norms(model):
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.uniform_(-0.5, 0.5, generator=generator)
    return evaluation_view(model)


def exact_view(shape: Shape, make_images: MakeImages) -> nn.Module:
    """Build a view that computes activations without rounding, from multiples of a quarter.

    Zeros before a ReLU and ties in the pooling are then many, and the same for all who compute.
    """
    view, generator = build(shape, make_images).eval(), torch.Generator().manual_seed(3)

    def steps(tensor: Tensor, per_unit: int) -> None:
        drawn = torch.randint(-per_unit, per_unit + 1, tensor.shape, generator=generator)
        tensor.copy_(drawn / per_unit)

    with torch.no_grad():
        view[0].mean.fill_(0.5)  # type: ignore[index]
        view[0].std.fill_(0.5)  # type: ignore[index]
        for convolution in (view[1], view[4], view[8]):  # type: ignore[index]
            steps(convolution.weight, 2)
        for norm in norms(view):
            norm.running_var.fill_(4096.0)  # type: ignore[union-attr]
            norm.weight.fill_(64.0)  # so that the scale is 1
            steps(norm.running_mean, 4)  # type: ignore[arg-type]
            steps(norm.bias, 4)
    return evaluation_view(view)


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def images_for(shape: Shape, count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape[:3], generator=torch.Generator().manual_seed(seed))


def narrowed(view: nn.Module, shape: Shape) -> NarrowClassifier:
    narrow = narrow_classifier(view, shape[:3])
    assert narrow is not None, compiler_notice()
    return narrow


def assert_close(found: Tensor, expected: Tensor) -> None:
    """To 1e-5 of the largest value."""
    scale = expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_logits_equal_torchs(shape: Shape, make_images: MakeImages) -> None:
    view = random_view(shape, make_images)
    narrow = narrowed(view, shape)
    with torch.no_grad():
        for count in (1, 33):
            images = images_for(shape, count)
            assert_close(narrow(images), view(images))


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_input_gradients_equal_torchs(shape: Shape, make_images: MakeImages) -> None:
    """For cross-entropy and for any gradient with respect to the logits."""
    view = exact_view(shape, make_images)
    narrow = narrowed(view, shape)
    generator = torch.Generator().manual_seed(4)
    images = (images_for(shape, 33) * 4).round() / 4
    labels = torch.randint(shape.classes, (33,), generator=generator)
    by_logits = torch.randn(33, shape.classes, generator=generator)

    def weighted(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits * by_logits).sum()

    for loss in (cross_entropy_sum, weighted):
        expected = input_gradient(view, loss, images, labels)
        assert expected.abs().max() > 0
        assert_close(input_gradient(narrow, loss, images, labels), expected)


@needs_compiler
def test_first_of_equal_pixels_takes_the_gradient(make_images: MakeImages) -> None:
    """On one grey image all pixels of a window are equal, but at the border."""
    shape = SHAPES["digits"]
    view = exact_view(shape, make_images)
    grey = torch.full((1, *shape[:3]), 0.75)
    with torch.no_grad():
        windows = view[:7](grey).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)  # type: ignore[index]
    is_tied = (windows > 0) & (windows == windows[..., :1])
    assert is_tied.all(-1).sum() > 10
    labels = torch.zeros(1, dtype=torch.int64)
    expected = input_gradient(view, cross_entropy_sum, grey, labels)
    found = input_gradient(narrowed(view, shape), cross_entropy_sum, grey, labels)
    assert_close(found, expected)


@needs_compiler
def test_dead_network_has_no_gradient(make_images: MakeImages) -> None:
    """A ReLU passes none at 0 itself: there all channels of the last convolution are."""
    shape = SHAPES["digits"]
    view = exact_view(shape, make_images)
    with torch.no_grad():
        view[8].weight.zero_()  # type: ignore[index]
        norms(view)[2].bias.zero_()
        norms(view)[2].running_mean.zero_()  # type: ignore[union-attr]
    images, labels = images_for(shape, 4), torch.arange(4)
    gradient = input_gradient(narrowed(view, shape), cross_entropy_sum, images, labels)
    assert torch.equal(gradient, torch.zeros_like(images))


@needs_compiler
def test_sample_does_not_depend_on_its_batch(make_images: MakeImages) -> None:
    shape = SHAPES["digits"]
    narrow = narrowed(random_view(shape, make_images), shape)
    images, labels = images_for(shape, 20), torch.arange(20) % shape.classes
    gradient = input_gradient(narrow, cross_entropy_sum, images, labels)
    logits = narrow(images)
    for at in (0, 7, 19):
        one = slice(at, at + 1)
        assert torch.equal(narrow(images[one]), logits[one])
        alone = input_gradient(narrow, cross_entropy_sum, images[one], labels[one])
        assert torch.equal(alone, gradient[one])
    assert narrow(images[:0]).shape == (0, shape.classes)


@needs_compiler
def test_refresh_follows_weights_and_statistics(make_images: MakeImages) -> None:
    """Written in place, as a training does; without a refresh the old ones are kept."""
    shape = SHAPES["digits"]
    model = build(shape, make_images)
    narrow, images = narrowed(evaluation_view(model), shape), images_for(shape, 8)
    before = narrow(images)
    model(images_for(shape, 16))  # records batch statistics
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.3).add_(0.05)
    assert torch.equal(narrow(images), before)
    narrow.refresh()
    with torch.no_grad():
        expected = evaluation_view(model)(images)
    assert not torch.allclose(expected, before, rtol=0.1)
    assert_close(narrow(images), expected)


@needs_compiler
def test_gradient_across_a_refresh_is_refused(make_images: MakeImages) -> None:
    shape = SHAPES["digits"]
    narrow = narrowed(random_view(shape, make_images), shape)
    leaf = images_for(shape, 2).requires_grad_()
    logits = narrow(leaf)
    narrow.refresh()
    with pytest.raises(RuntimeError, match="compute the logits again"):
        torch.autograd.grad(logits.sum(), leaf)


@needs_compiler
def test_images_and_weights_are_left_alone(make_images: MakeImages) -> None:
    shape = SHAPES["several vectors of channels"]
    model = build(shape, make_images)
    view = evaluation_view(model)
    images = images_for(shape, 5).requires_grad_()
    given = images.detach().clone()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    narrowed(view, shape)(images).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(images.detach(), given)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None for weight in (*model.parameters(), *view.parameters()))


@needs_compiler
def test_memory_format_of_images_and_gradients_changes_nothing(make_images: MakeImages) -> None:
    shape = SHAPES["several vectors of channels"]
    narrow = narrowed(random_view(shape, make_images), shape)
    images = images_for(shape, 6)
    by_logits = torch.randn(6, shape.classes, generator=torch.Generator().manual_seed(0))
    logits, pull_back = narrow.pullback(images)
    gradient = pull_back(by_logits)
    every_other = torch.stack((images, -images), 1).flatten(0, 1)[::2]
    for same in (images.contiguous(memory_format=torch.channels_last), every_other):
        assert not same.is_contiguous()
        leaf = same.detach().requires_grad_()
        found = narrow(leaf)
        assert torch.equal(found, logits)
        (pulled,) = torch.autograd.grad(found, leaf, by_logits.T.contiguous().T)
        assert torch.equal(pulled, gradient)


@needs_compiler
def test_only_a_first_gradient_is_given_and_only_where_asked(make_images: MakeImages) -> None:
    shape = SHAPES["digits"]
    narrow = narrowed(random_view(shape, make_images), shape)
    images = images_for(shape, 2)
    assert not narrow(images).requires_grad
    leaf = images.requires_grad_()
    with torch.no_grad():
        assert not narrow(leaf).requires_grad
    (gradient,) = torch.autograd.grad(narrow(leaf).square().sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        gradient.sum().backward()  # type: ignore[no-untyped-call]


@needs_compiler
def test_other_images_are_refused(make_images: MakeImages) -> None:
    shape = SHAPES["digits"]
    narrow = narrowed(random_view(shape, make_images), shape)
    images = images_for(shape, 2)
    for other in (images[..., 1:], images.double(), images[0], images.expand(2, 3, 8, 8)):
        with pytest.raises(ValueError, match=r"must be \(B, 1, 8, 8\) float32 on the CPU"):
            narrow(other)


@needs_compiler
@pytest.mark.parametrize("shape", ["odd sides", "smallest"])
@pytest.mark.parametrize("name", ["1.weight", "4.weight", "9.running_var", "13.bias", "images"])
def test_nan_shows_in_the_logits_and_leaves_no_trace(
    name: str, shape: str, make_images: MakeImages
) -> None:
    model, sizes = build(SHAPES[shape], make_images), SHAPES[shape]
    narrow = narrowed(evaluation_view(model), sizes)
    images, labels = images_for(sizes, 2), torch.arange(2)
    gradient = input_gradient(narrow, cross_entropy_sum, images, labels)
    spoilt = images.clone()
    value = {**model.state_dict(), "images": spoilt}[name]
    first = (0,) * value.dim()
    before = value[first].item()
    value[first] = torch.nan
    narrow.refresh()
    is_nan = narrow(spoilt)[0].isnan()
    assert is_nan[0]
    assert is_nan.all() or name == "13.bias"
    input_gradient(narrow, cross_entropy_sum, spoilt, labels)
    value[first] = before
    narrow.refresh()
    assert torch.equal(input_gradient(narrow, cross_entropy_sum, images, labels), gradient)


def train_a_little(model: nn.Module, digits: Dataset) -> None:
    images = torch.tensor(digits.train.images) / digits.divisor
    labels = torch.tensor(digits.train.labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for batch in (slice(start, start + 25) for start in range(0, 900, 25)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@needs_compiler
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attack_finds_the_same_bits(norm: Norm, digits: Dataset, make_images: MakeImages) -> None:
    """Rounding may decide for a sample in two hundred, and carries no image out of its ball."""
    shape = SHAPES["digits"]
    model = build(shape, make_images)
    train_a_little(model, digits)
    images = torch.tensor(digits.test.images[:200]) / digits.divisor
    labels = torch.tensor(digits.test.labels[:200])
    radius = {"linf": 0.05, "l2": 0.4}[norm]

    def draw(restart: int) -> Tensor:
        generator = torch.Generator().manual_seed(restart)
        return BALLS[norm].draw(tuple(images.shape), generator)

    def attacked(classify: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        attack = PgdAttack(steps=10, restarts=2)
        given = {"norm": norm, "radius": radius, "attack": attack, "draw": draw}
        return pgd(classify, images, labels, **given)  # type: ignore[arg-type]

    view = evaluation_view(model)
    expected, _ = attacked(view)
    bits, crafted = attacked(narrowed(view, shape))
    assert 20 < expected.sum() < 180
    assert (bits != expected).sum() <= 1
    offset = (crafted - images).flatten(1)
    distance = offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)
    assert distance.max() <= radius * (1 + 1e-5)
    assert crafted.min() >= 0
    assert crafted.max() <= 1


def changed(view: nn.Module, at: int, layer: nn.Module) -> nn.Module:
    view[at] = layer.eval()  # type: ignore[operator]
    return view


DIGITS = SHAPES["digits"]
OTHERS: dict[str, tuple[Shape, Callable[[nn.Module], nn.Module]]] = {
    "training mode": (DIGITS, lambda view: view.train()),
    "float64": (DIGITS, lambda view: view.double()),
    "channels first": (DIGITS, lambda view: view.to(memory_format=torch.contiguous_format)),  # type: ignore[call-overload]
    "no device": (DIGITS, lambda view: view.to("meta")),
    "another pooling": (DIGITS, lambda view: changed(view, 7, nn.AvgPool2d(2))),
    "another stride": (DIGITS, lambda view: changed(view, 8, nn.Conv2d(16, 16, 3, 2, 1))),
    "no bias": (DIGITS, lambda view: changed(view, 13, nn.Linear(16, 10, bias=False))),
    "another layer": (DIGITS, lambda view: nn.Sequential(*view.children(), nn.ReLU()).eval()),
    "odd width": (DIGITS._replace(narrow=7), lambda view: view),
    "wide": (DIGITS._replace(narrow=64), lambda view: view),
    "one row": (DIGITS._replace(height=1), lambda view: view),
}


@pytest.mark.parametrize(("shape", "change"), OTHERS.values(), ids=OTHERS)
def test_there_is_none_for_other_networks_and_shapes(
    shape: Shape, change: Callable[[nn.Module], nn.Module], make_images: MakeImages
) -> None:
    view = evaluation_view(build(shape, make_images))
    assert narrow_classifier(change(view), shape[:3]) is None


NETWORKS: dict[str, tuple[int, dict[str, object]]] = {
    "small_cnn": (8, {"norm_layer": "group"}),
    "preact_resnet18": (8, {}),
    "wide_resnet": (1, {"depth": 16}),
    "resnet18": (64, {}),
    "vit": (64, {"depth": 1}),
}


@pytest.mark.parametrize(("name", "size"), NETWORKS.items(), ids=NETWORKS)
def test_there_is_none_for_other_networks_or_group_normalisation(
    name: str, size: tuple[int, dict[str, object]], make_images: MakeImages
) -> None:
    model = build(DIGITS._replace(narrow=size[0]), make_images, name, **size[1])
    assert narrow_classifier(evaluation_view(model), DIGITS[:3]) is None


def test_there_is_none_for_other_channels(make_images: MakeImages) -> None:
    view = random_view(DIGITS, make_images)
    assert narrow_classifier(view, (3, 8, 8)) is None


def test_widths_that_are_not_faster_are_told_by_shape_alone() -> None:
    used = [n for n in range(1, 80) if is_faster(DIGITS._replace(narrow=n))]
    assert used == [2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32]


def test_without_a_compiler_there_is_none_but_a_notice(
    make_images: MakeImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = random_view(DIGITS, make_images)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert narrow_classifier(view, DIGITS[:3]) is None
    assert "no cc, gcc, clang on the PATH" in compiler_notice()
    monkeypatch.setenv("CC", "no-such-compiler -v")
    assert narrow_classifier(view, DIGITS[:3]) is None
    assert "CC=no-such-compiler -v is not found" in compiler_notice()


@pytest.mark.parametrize("arguments", ["", " -c pass"], ids=["fails", "writes nothing"])
def test_a_failed_compilation_gives_none_and_a_notice(
    arguments: str, make_images: MakeImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = random_view(DIGITS, make_images)
    monkeypatch.setenv("CC", shlex.quote(sys.executable) + arguments)
    assert compiler_notice() == ""
    assert narrow_classifier(view, DIGITS[:3]) is None
    assert f"{sys.executable} could not compile narrow.c" in compiler_notice()
    assert "\n" not in compiler_notice()
