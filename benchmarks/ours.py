"""Our side of every comparison: `trainers` by its public surface, as a study uses it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from trainers.config import TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine
from trainers.evaluation.evaluate import evaluate
from trainers.train import TrainState, new_state, train


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to execute our training."""

    engine: Engine
    precision: str = "float32"


FORMS = {
    "ours": Form(engine=Engine()),
    "plain": Form(engine=PLAIN),
    "uncompiled": Form(engine=Engine(compiled="never")),
    "compiled": Form(engine=Engine(compiled="always")),
    "bfloat16": Form(engine=Engine(), precision="bfloat16"),
    "bfloat16_uncompiled": Form(engine=Engine(compiled="never"), precision="bfloat16"),
    "bfloat16_compiled": Form(engine=Engine(compiled="always"), precision="bfloat16"),
}
"""By name. `ours` is what a study gets that says nothing about it: it compiles when that pays; so
does `bfloat16`. `plain` is torch, operator by operator."""


def in_form(config: TrainConfig, form: str) -> TrainConfig:
    """Set the precision of a form."""
    return replace(config, training=replace(config.training, precision=FORMS[form].precision))


def our_state(config: TrainConfig, data: Dataset, device: torch.device, form: str) -> TrainState:
    """Return the state before the first epoch."""
    return new_state(in_form(config, form), data, device)


def train_ours(
    config: TrainConfig,
    data: Dataset,
    device: torch.device,
    form: str = "ours",
    state: TrainState | None = None,
) -> Iterator[dict[str, Any]]:
    """Train one network; yield each epoch's metrics as it ends.

    With them: `seconds` of its training, `validation_seconds`, and by what it was executed.
    """
    state = our_state(config, data, device, form) if state is None else state
    for metrics in train(in_form(config, form), data, device, state, FORMS[form].engine):
        yield asdict(metrics) | {"engine": dict(state.engine)}


def our_trial(
    config: TrainConfig, data: Dataset, device: torch.device, form: str = "ours"
) -> dict[str, float]:
    """Train, and evaluate both checkpoints on the test part: a trial without its records."""
    state = our_state(config, data, device, form)
    for _ in train_ours(config, data, device, form, state):
        pass
    threat, engine, found = config.evaluation, FORMS[form].engine, {}
    for checkpoint in ("last", "best"):
        if checkpoint == "best":
            state.model.load_state_dict(state.best_weights)
        judged = evaluate(state.model, data.test, data.divisor, threat, config.seed, device, engine)
        robust = dict(zip(threat.radii, judged.robust, strict=True))
        found[f"{checkpoint}_clean"] = judged.clean
        found[f"{checkpoint}_robust"] = robust[threat.objective_radius]
    return found
