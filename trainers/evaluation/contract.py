"""The contract of own parts, checked on random images: what a launch could only find out later.

Each part of a configuration takes two steps forwards and backwards, and each breach is one line
with file and line. The images are random, so a part that passes may still be of no use.
"""

import copy
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import TrainConfig
from trainers.config.own import Own, OwnAttack, OwnInputs, OwnWeights
from trainers.config.parts import loaded
from trainers.config.sources import PartError, located
from trainers.data.dataset import Dataset
from trainers.engine.engine import generator
from trainers.engine.feed import transforming
from trainers.evaluation.pgd import Attacked, attacking
from trainers.networks.build import build_model, evaluation_view
from trainers.networks.layers import Normalise
from trainers.step.inputs import Classify, crafting
from trainers.step.losses import CROSS_ENTROPY, minimised
from trainers.step.numbers import NO_MEMORY, Numbers, no_numbers
from trainers.step.optimizer import descending, new_moments
from trainers.step.own import own_gradients
from trainers.step.weights import Gradients, new_side_memory, plain

SAMPLES = 8
SAME = 1e-4
"""Largest difference of two logits or gradients that are the same but for rounding, relative."""
RADII = ("rho", "radius", "gamma", "epsilon", "sigma")
"""Settings that are a radius by their name: at 0 a side must change nothing."""
CPU = torch.device("cpu")


def breaches(
    config: TrainConfig, data: Dataset, parts: Collection[Own]
) -> Iterator[tuple[Own, str]]:
    """Yield every breach of the contract by some of the own parts of a configuration.

    Only the shape of the images, the classes and the statistics of `data` are used.
    """
    method, evaluation = config.method, config.evaluation
    network = config.model.settings
    if network in parts:
        found = _told(network, lambda: _network_breaches(config, data))
        yield from found
        if found:  # the others would be judged on a network that does not work
            return
    batch = _Batch(config, data)
    checks: list[tuple[object, Callable[[], Iterator[str]]]] = [
        (config.data.transform, lambda: _transform_breaches(config.data.transform, batch)),
        (config.training.optimizer, lambda: _optimizer_breaches(config, batch)),
        (method.weights, lambda: _weight_breaches(method.weights, batch)),
        (method.inputs, lambda: _input_breaches(method.inputs, batch)),
        (method.loss, lambda: _loss_breaches(method.loss, batch)),
        (evaluation.attack, lambda: _attack_breaches(config, batch)),
    ]
    for own, check in checks:
        if isinstance(own, Own) and own in parts:
            yield from _told(own, check)


def _told(own: Own, check: Callable[[], Iterator[str]]) -> list[tuple[Own, str]]:
    """Run the checks of a part from one random state; an error inside is a breach, too."""
    where = f"{loaded(own.part).place}: {own.part.attribute}"
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            for text in check():
                found.append((own, f"{where}: {text}"))
        except PartError as error:
            found.append((own, str(error)))
        except Exception as error:  # of any kind: it is the part's own
            found.append((own, located(error, own.part.code)))
    return found


class _Batch:
    """A batch of random images, and a network for them in training mode."""

    def __init__(self, config: TrainConfig, data: Dataset) -> None:
        self.model = _built(config, data).train()
        drawn = generator(0, "contract images", device=CPU)
        self.images = torch.rand(SAMPLES, *data.image_shape, generator=drawn)
        self.labels = torch.arange(SAMPLES) % len(data.classes)
        self.names = [name for name, _ in self.model.named_parameters()]
        self.weights: list[Tensor] = list(self.model.parameters())
        self.numbers: Numbers = no_numbers(CPU)._replace(
            learning_rate=torch.tensor(0.01), momentum=torch.tensor(0.9)
        )

    @property
    def view(self) -> Classify:
        """Return the network in evaluation mode."""
        return evaluation_view(self.model)

    def loss_at(self, weights: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        """Return cross-entropy and logits, at other weights if given; no statistics are kept."""
        model = copy.deepcopy(self.model).eval()
        own = dict(zip(self.names, weights or self.weights, strict=True))
        logits = torch.func.functional_call(model, own, (self.images,))
        return F.cross_entropy(logits, self.labels), logits


def _transform_breaches(own: Own, batch: _Batch) -> Iterator[str]:
    transform, before = transforming(own), batch.images.clone()
    for images in (batch.images, batch.images[:1]):  # a last batch may be short
        first, again = (
            transform(images, generator(0, "contract transform", device=CPU)) for _ in range(2)
        )
        if not torch.equal(first, again):
            yield "must be decided by images and generator alone; draw from the generator it takes"
            return
    if not torch.equal(batch.images, before):
        yield "must leave the images it is given as they are; return others"


def _built(config: TrainConfig, data: Dataset) -> nn.Module:
    return build_model(config.model, data, generator(0, "contract", device=CPU))


def _network_breaches(config: TrainConfig, data: Dataset) -> Iterator[str]:
    model = _built(config, data)
    again = _built(config, data)
    pairs = list(zip(model.parameters(), again.parameters(), strict=True))
    if not pairs:
        yield "has no weights to train; register them as parameters or modules"
        return
    if not all(torch.equal(a, b) for a, b in pairs):
        yield "draws other weights each time; draw them from torch's global generator"
    frozen = [name for name, weight in _weights_of(model) if not weight.requires_grad]
    if frozen:
        yield f"every weight is trained, but {frozen[0]} requires no gradient; make it a buffer"
        return
    try:
        copy.deepcopy(model)
    except Exception as error:  # of what the module holds
        yield f"cannot be copied ({' '.join(str(error).split())[:100]}); hold modules and tensors"
        return
    images = torch.rand(SAMPLES, *data.image_shape)
    labels = torch.arange(SAMPLES) % len(data.classes)
    for number in (1, 2):
        leaf = images.clone().requires_grad_()
        logits = model.train()(leaf)
        expected = (SAMPLES, len(data.classes))
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            got = tuple(getattr(logits, "shape", ())) or type(logits).__name__
            yield f"must return logits of shape {expected} for {SAMPLES} images, got {got}"
            return
        if logits.dtype != torch.float32:
            yield f"must return logits of torch.float32, got {logits.dtype}; convert them"
            return
        if not logits.isfinite().all():
            yield f"returns logits that are not finite in step {number}, in training mode"
            return
        given = [leaf, *model.parameters()]
        found = torch.autograd.grad(F.cross_entropy(logits, labels), given, allow_unused=True)
        names = ["the images", *(name for name, _ in _weights_of(model))]
        none = [name for name, gradient in zip(names, found, strict=True) if gradient is None]
        if none:
            yield f"no gradient reaches {none[0]}; use it in forward, without detach or no_grad"
            return
        if found[0] is not None and not found[0].abs().sum() > 0:
            yield "the gradient with respect to the images is 0 everywhere, so no attack can work"
        with torch.no_grad():
            for weight, gradient in zip(model.parameters(), found[1:], strict=True):
                weight.sub_(0.01 * gradient)
    yield from _view_breaches(model, images)


def _weights_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of an own network by the names that its own code has for them."""
    first, *rest = [*model.children(), model]
    yield from (rest[0] if isinstance(first, Normalise) else model).named_parameters()


def _view_breaches(model: nn.Module, images: Tensor) -> Iterator[str]:
    """Check a network in evaluation mode."""
    before = [tensor.clone() for tensor in model.state_dict().values()]
    view = evaluation_view(model)
    with torch.no_grad():
        first, second = view(images), view(images)
        alone = torch.cat([view(image[None]) for image in images])
    if not first.isfinite().all():
        yield "returns logits that are not finite in evaluation mode"
    elif not torch.equal(first, second):
        yield "two passes of one batch differ in evaluation mode; draw nothing unless self.training"
    elif _differ(first, alone):
        yield "an image's logits depend on its batch in evaluation mode; use running statistics"
    after = model.state_dict().values()
    if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
        yield "writes its weights or buffers in evaluation mode; write them only if self.training"


def _weight_breaches(side: Any, batch: _Batch) -> Iterator[str]:
    counted = [0]

    def loss_at(weights: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        counted[0] += torch.is_grad_enabled()
        return batch.loss_at(weights)

    def run(one: OwnWeights) -> Gradients:
        torch.manual_seed(0)
        memory = new_side_memory(one, batch.weights)
        given = batch.weights, batch.names, batch.numbers, memory
        for _ in range(2):
            counted[0] = 0
            found = own_gradients(one, one.ready(), loss_at, *given)
        return Gradients(*found)

    found = run(side)
    broken = list(_gradient_breaches(found.gradients, batch))
    yield from broken
    if broken:
        return
    if counted[0] != side.gradients and float(side.gradients).is_integer():
        name, declared = side.part.attribute, side.gradients
        yield (
            f"takes {_gradients(counted[0])} a step, but counts as {declared:g}; write below it: "
            + (f"{name}.gradients = {counted[0]}")
        )
    if _far(run(side).gradients, found.gradients):
        yield "two runs from one state differ; draw only from torch's global generator"
    still = _at_zero(side)
    if still is not None:
        here = plain(batch.loss_at, batch.weights, batch.names, batch.numbers, [])
        if _far(run(still).gradients, here.gradients):
            yield f"at {_radius(side)} 0 the gradient must be that of standard training"


def _gradient_breaches(gradients: tuple[Tensor, ...], batch: _Batch) -> Iterator[str]:
    if [tuple(g.shape) for g in gradients] != [tuple(w.shape) for w in batch.weights]:
        yield "must return a gradient of each weight's shape, in the order of weights"
    elif not all(gradient.isfinite().all() for gradient in gradients):
        yield "returns a gradient that is not finite"


def _input_breaches(side: Any, batch: _Batch) -> Iterator[str]:
    counted = [0]

    def count(logits: Tensor, targets: Tensor) -> Tensor:
        counted[0] += 1
        return CROSS_ENTROPY.sum_of_losses(logits, targets)

    inner = CROSS_ENTROPY._replace(sum_of_losses=count)

    def run(one: OwnInputs) -> Tensor:
        torch.manual_seed(0)
        craft = crafting(one, inner).craft
        none = torch.empty(0)
        counted[0] = 0
        images, memory = batch.images.clone(), NO_MEMORY
        return craft(batch.view, images, batch.labels, none, batch.numbers, memory)

    found = run(side)
    if found.shape != batch.images.shape:
        yield f"must return images of shape {tuple(batch.images.shape)}, got {tuple(found.shape)}"
        return
    if found.dtype != batch.images.dtype:
        yield f"must return images of {batch.images.dtype}, got {found.dtype}; convert them"
        return
    if not found.isfinite().all() or found.min() < 0 or found.max() > 1:
        ends = f"{found.min().item():.4g} to {found.max().item():.4g}"
        yield f"must return finite images in [0, 1], got {ends}; clamp them"
    if "classify" not in side.takes and counted[0] != side.attack_steps:
        name = side.part.attribute
        yield (
            f"takes {_gradients(counted[0])} a batch, but counts as {side.attack_steps:g}; write "
            f"below it: {name}.attack_steps = {counted[0]}"
        )
    if not torch.equal(run(side), found):
        yield "two runs from one state differ; draw only from torch's global generator"
    still = _at_zero(side)
    if still is not None and not torch.equal(run(still), batch.images):
        yield f"at {_radius(side)} 0 the images must be returned as they are"


def _loss_breaches(side: Any, batch: _Batch) -> Iterator[str]:
    loss_of = minimised(side).loss
    loss, _ = loss_of(batch.model, batch.images, batch.images, batch.labels, batch.numbers, [])
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        yield f"must return one number, a 0-d tensor, got {got}; take the mean"
        return
    if not loss.isfinite():
        yield "returns a loss that is not finite"
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, batch.weights, allow_unused=True)
        if any(gradient is None or not gradient.isfinite().all() for gradient in gradients):
            yield "the gradient of the loss is missing or not finite for a weight"
    else:
        yield "no gradient flows from the loss to the logits; compute it from them, by torch"


def _optimizer_breaches(config: TrainConfig, batch: _Batch) -> Iterator[str]:
    def moved(learning_rate: float) -> list[Tensor]:
        weights = [weight.detach().clone() for weight in batch.weights]
        moments = new_moments(config.training, weights)
        numbers = batch.numbers._replace(learning_rate=torch.tensor(learning_rate))
        loss, _ = batch.loss_at(None)
        gradients = torch.autograd.grad(loss, batch.weights)
        with torch.no_grad():
            for _ in range(2):
                descending(config.training)(weights, moments, gradients, numbers)
        return weights

    found = moved(0.01)
    if not all(weight.isfinite().all() for weight in found):
        yield "makes weights that are not finite"
    elif all(torch.equal(a, b) for a, b in zip(found, batch.weights, strict=True)):
        yield "leaves the weights as they are; update them in place, as by weight.sub_(...)"
    if _far(tuple(moved(0.0)), tuple(batch.weights)):
        yield "moves the weights at learning rate 0; multiply every step by learning_rate"


def _attack_breaches(config: TrainConfig, batch: _Batch) -> Iterator[str]:
    attack, evaluation = config.evaluation.attack, config.evaluation
    assert isinstance(attack, OwnAttack)

    def run() -> Attacked:
        torch.manual_seed(0)
        return attacking(attack)(
            batch.view,
            batch.images.clone(),
            batch.labels,
            norm=evaluation.norm,
            radius=evaluation.objective_radius,
            attack=attack,
            draw=lambda _: batch.images,
        )

    if not torch.equal(run().images, run().images):
        yield "two runs from one state differ; draw only from torch's global generator"


def _gradients(count: int) -> str:
    return f"{count} gradient{'' if count == 1 else 's'}"


def _radius(side: Own) -> str | None:
    """Return the setting of a side that is a radius by its name, None if there is none."""
    return next((name for name in side.settings if name in RADII), None)


def _at_zero(side: Any) -> Any:
    """Return a side with radius 0, None if it has no radius or refuses 0."""
    name = _radius(side)
    try:
        return None if name is None else replace(side, **{name: 0.0})
    except ValueError:
        return None


def _differ(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() > SAME * (1 + b.abs().max()))


def _far(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return any(_differ(one.detach(), other.detach()) for one, other in zip(a, b, strict=True))
