"""A training's step with everything it writes, in fixed storage: one for all trials of a shape.

A reused worker trains one trial after another. What differs between trials of one shape are numbers
(0-d tensors) and the contents of tensors, so the storage, the fused attack, the compiled update and
the captured graphs of the first trial serve all later ones: each epoch copies a training in, runs,
and copies it out.
"""

import copy
import functools
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainers.config import Phase, Phases, TrainConfig, own_parts, passes
from trainers.data.dataset import Dataset
from trainers.engine.engine import Engine, narrowed
from trainers.engine.feed import feed_for
from trainers.engine.narrow import compiler_notice
from trainers.networks.build import evaluation_view
from trainers.networks.layers import PRECISIONS, Conv, set_precision
from trainers.step.batches import Draw, Source, on_device
from trainers.step.inputs import crafting, draw_nothing, input_gradient, leave
from trainers.step.losses import cross_entropy_sum, minimised
from trainers.step.numbers import Memory, no_numbers, static
from trainers.step.optimizer import descending
from trainers.step.step import Network, Sides, Update, new_memory, new_sums, step, update
from trainers.step.weights import draw_choice, perturbing, reads_momentum

MOST_PROGRAMS = {"cpu": 16, "cuda": 4}
"""Programs that a process keeps per device; the least recently used one is dropped first."""

WARM_UPS = 3
"""Runs before the recording, in which cuDNN chooses kernels and memory is allocated."""

_programs: dict[tuple[Any, ...], "Program"] = {}
_sources: list[tuple[Dataset, torch.device, Source]] = []


def program_for(
    config: TrainConfig,
    data: Dataset,
    model: nn.Module,
    device: torch.device,
    engine: Engine,
    is_compiled: bool,
) -> "Program":
    """Return the process's program for trainings of this shape, built at the first call.

    model: any of this shape; it is copied.
    """
    key = _key(config, data, device, engine, is_compiled)
    program = _programs.pop(key, None) or Program(config, data, model, device, engine, is_compiled)
    _programs[key] = program  # the last one used stands last
    while len(_programs) > MOST_PROGRAMS[device.type]:
        _programs.pop(next(iter(_programs)))
    return program


def _key(
    config: TrainConfig, data: Dataset, device: torch.device, engine: Engine, is_compiled: bool
) -> tuple[Any, ...]:
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    chosen = engine.narrow, engine.captured, is_compiled, torch.get_num_threads(), *flags
    return (id(data), device, *chosen, *shape(config))


def forget_programs() -> None:
    """Drop all programs and the data on the device."""
    _programs.clear()
    _sources.clear()


def shape(config: TrainConfig) -> tuple[Any, ...]:
    """Return what all trainings of a program share: everything but tabulated numbers and seed."""
    method, training = config.method, config.training
    return (
        config.model,
        config.data.transform,
        training.batch_size,
        training.precision,
        training.optimizer,
        training.nesterov,
        training.ema_decay != "none",
        training.gradient_clip != "none",
        static(method.weights),
        static(method.inputs),
        static(method.loss),
    )


class Program:
    """The step of one shape. Between `load` and `store` it holds one training's state."""

    def __init__(
        self,
        config: TrainConfig,
        data: Dataset,
        model: nn.Module,
        device: torch.device,
        engine: Engine,
        is_compiled: bool,
    ) -> None:
        self._data = data  # kept alive, as the key of the program holds its id
        self._device = device
        self._own = ", ".join(part.name for part in own_parts(config))
        may_be_fast = not self._own  # what an own part does inside is unknown
        self._is_captured = may_be_fast and device.type == "cuda" and engine.captured
        self._may_compile = may_be_fast and is_compiled
        self.is_compiled = False
        """Whether whole batches run through torch.compile."""
        self._batch_size = config.training.batch_size
        self._precision = config.training.precision
        self.feed = feed_for(config, data, device, lambda: _source(data, device))
        method = config.method
        minimised_by = minimised(method.loss)
        inputs = crafting(method.inputs, minimised_by.inner)
        self._sides = Sides(
            take=self.feed.take,
            craft=inputs.craft,
            gradients=perturbing(method.weights),
            loss=minimised_by.loss,
            descend=descending(config.training),
            clips=config.training.gradient_clip != "none",
            reads_momentum=reads_momentum(method.weights),
        )
        self._draw_noise = inputs.draw
        self._is_attacked = passes(method).input_backward > 0
        self._weight_side = method.weights
        self._is_crafted = method.inputs.kind != "none"
        self.network, self._attack = _network(model, config, data, device, engine)
        self.numbers = no_numbers(device)
        self.sums = new_sums(device)
        self.source = self.feed.source
        self._runs: dict[tuple[int, Phases], Callable[[Draw], None]] = {}
        """By batch size, and by what both sides do."""

    def load(self, model: nn.Module, memory: Memory) -> None:
        """Copy a training in, and begin an epoch's sums."""
        _copy(model.parameters(), self.network.weights)
        _copy(model.buffers(), self.network.buffers)
        _copy(memory.tensors, self.network.memory.tensors)
        _copy(new_sums(self._device), self.sums)

    def store(self, model: nn.Module, memory: Memory) -> None:
        """Copy the training out, at the end of an epoch."""
        _copy(self.network.weights, model.parameters())
        _copy(self.network.buffers, model.buffers())
        _copy(self.network.memory.tensors, memory.tensors)

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, phase: Phase
    ) -> Tensor:
        """Draw the noise of a batch for the input side, in a phase of it."""
        draw = self._draw_noise if phase == "act" else draw_nothing
        return draw(shape, generator)

    def draw_choice(self, generator: torch.Generator, phase: Phase) -> Tensor:
        """Draw what is random about a step of the weight side, in a phase of it."""
        return draw_choice(self._weight_side, phase, len(self.network.weights), generator)

    def run(self, numbers: Tensor, draw: Draw, phases: Phases) -> None:
        """Run one step; the host does not wait for it.

        numbers: a row of `numbers.schedule`. phases: what both sides do; each pair has a compiled
        update and a captured graph of its own.
        """
        torch._foreach_copy_(list(self.numbers), list(numbers.unbind()))
        key = len(draw.samples), phases
        if key not in self._runs:
            self._runs[key] = self._prepare(draw, phases)
        self._runs[key](draw)

    def describe(self) -> dict[str, str]:
        """Return how steps are executed, by part."""
        is_last = any(
            weight.dim() == 4 and not weight.is_contiguous() for weight in self.network.weights
        )
        plain = f"operators: {self._own} is of one's own" if self._own else "operators"
        renews = any(phases.weights == "refresh" for _, phases in self._runs)
        renewals = ", but renewals by operators" if renews else ""
        return {
            "device": self._device.type,
            "precision": self._precision,
            "memory_format": "channels_last" if is_last else "contiguous",
            "step": "CUDA graph" if self._is_captured else plain,
            "update": f"torch.compile{renewals}" if self.is_compiled else plain,
            "attack": self._attack,
            "threads": str(torch.get_num_threads()),
        }

    def _prepare(self, draw: Draw, phases: Phases) -> Callable[[Draw], None]:
        """Compile and capture the step for batches of one size, where both sides do this."""
        acts = phases.inputs == "act"
        sides = self._sides._replace(
            gradients=perturbing(self._weight_side, phases.weights),
            craft=self._sides.craft if acts else leave,
        )
        updated: Update = update
        # A renewal goes backward twice, which is not compiled: it is one step of a hundred.
        may_compile = self._may_compile and phases.weights != "refresh"
        if may_compile and len(draw.samples) == self._batch_size:
            updated = self._compile(sides, draw, acts)
        run = partial(self._step, sides=sides, updated=updated)
        if not self._is_captured:
            return run
        network = self.network
        written = (*network.weights, *network.buffers, *network.memory.tensors)
        try:
            return captured(run, draw, (*written, *self.sums))
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            _notice("no CUDA graph could be captured", error)
            self._is_captured = False
            return run

    def _step(self, draw: Draw, sides: Sides, updated: Update) -> None:
        step(sides, self.network, self.numbers, self.source, draw, self.sums, updated)

    def _compile(self, sides: Sides, draw: Draw, acts: bool) -> Update:
        """Compile the update, and the attack if there is one and it is not fused already.

        acts: whether the input side crafts images.
        """
        from trainers.engine.compiled import (  # a second to import
            compiled_classifier,
            compiled_update,
        )

        stored, labels = self._sides.take(self.source, draw)
        images = stored.to(torch.float32) / self.numbers.divisor
        crafted = images.clone() if self._is_crafted and acts else images
        view = self.network.attacked
        try:
            batch = images, crafted, labels, draw.choice
            compiled = compiled_update(sides, self.network, self.numbers, *batch)
            if self._is_attacked and acts and isinstance(view, nn.Module):
                attacked = compiled_classifier(view, images)
                input_gradient(attacked, cross_entropy_sum, images, labels)
                self.network = self.network._replace(attacked=attacked)
                self._attack = "torch.compile"
        except Exception as error:  # torch raises many types, for example without a C++ compiler
            _notice("torch.compile failed", error)
            return update
        self.is_compiled = True
        return compiled


@functools.cache
def _pool() -> Any:
    """Return the memory that all graphs of the process share: only one runs at a time."""
    return torch.cuda.graph_pool_handle()


def captured(
    run: Callable[[Draw], None], draw: Draw, written: Sequence[Tensor]
) -> Callable[[Draw], None]:
    """Record `run` as a CUDA graph for draws of the shape of `draw`.

    Launching some thousand kernels one by one takes the host longer than a GPU needs to run them; a
    graph launches them all at once.

    `run` reads its draw and fixed tensors, writes `written` in place, and never waits for the
    device. Their contents are the same afterwards. Raises `RuntimeError` if it cannot be recorded.
    """
    fixed = Draw(*(tensor.clone() for tensor in draw))
    before = [tensor.detach().clone() for tensor in written]
    graph = torch.cuda.CUDAGraph()
    try:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                run(fixed)
        torch.cuda.current_stream().wait_stream(stream)
        here = torch.cuda.stream(torch.cuda.current_stream())  # where a failed recording ends, too
        with here, torch.cuda.graph(graph, pool=_pool()):
            run(fixed)
    finally:
        with torch.no_grad():
            for tensor, content in zip(written, before, strict=True):
                tensor.copy_(content)

    def replay(draw: Draw) -> None:
        for kept, fresh in zip(fixed, draw, strict=True):
            kept.copy_(fresh)
        graph.replay()

    return replay


def _notice(what: str, error: Exception) -> None:
    """Warn in one line why the slower form is used."""
    reason = " ".join(str(error).split())[:200]
    warnings.warn(f"{what}, so steps run by operators: {reason}", RuntimeWarning, stacklevel=2)


def _network(
    model: nn.Module, config: TrainConfig, data: Dataset, device: torch.device, engine: Engine
) -> tuple[Network, str]:
    """Copy a network into storage of its own, and choose how it is attacked."""
    own = copy.deepcopy(model).train()
    dtype = PRECISIONS[config.training.precision]
    set_precision(own, dtype)
    view = evaluation_view(own)
    narrow = narrowed(view, data.image_shape, device, engine)
    attacked: Callable[[Tensor], Tensor] = narrow or view
    refresh = narrow.refresh if narrow else _round_body(view, dtype)
    names, weights = zip(*own.named_parameters(), strict=True)
    buffers = dict(own.named_buffers())  # an own network may have none
    network = Network(
        model=own,
        classify=own,
        attacked=attacked,
        refresh=refresh,
        names=list(names),
        weights=list(weights),
        buffer_names=list(buffers),
        buffers=list(buffers.values()),
        memory=new_memory(config, own, len(data.classes)),
    )
    if narrow:
        return network, "fused"
    notice = compiler_notice() if engine.narrow and device.type == "cpu" else ""
    return network, f"operators: {notice}" if notice else "operators"


def _round_body(view: nn.Module, dtype: torch.dtype) -> Callable[[], None]:
    """Cache the view's weights in bfloat16, so that a multi-step attack rounds them once.

    Returns the function that rounds the current weights. In float32 it does nothing.
    """
    if dtype == torch.float32:
        return lambda: None
    set_precision(view, dtype)
    convolutions = [module for module in view.modules() if isinstance(module, Conv)]
    exact = [module.weight for module in convolutions]
    rounded = [weight.detach().to(dtype) for weight in exact]
    for module, weight in zip(convolutions, rounded, strict=True):
        module.weight = nn.Parameter(weight, requires_grad=False)

    def refresh() -> None:
        with torch.no_grad():
            torch._foreach_copy_(rounded, exact)

    return refresh


def _source(data: Dataset, device: torch.device) -> Source:
    """Return the training part on the device; only the last one used is kept there."""
    for known, place, source in _sources:
        if known is data and place == device:
            return source
    _sources[:] = [(data, device, on_device(data, device))]
    return _sources[0][2]


def _copy(contents: Any, places: Any) -> None:
    with torch.no_grad():
        for place, content in zip(places, contents, strict=True):
            place.copy_(content)
