"""Whole trainings on the CPU, run to their end or stopped after an epoch and resumed."""

import io

import torch

from trainers.checkpoint import load_state, save_state
from trainers.config import TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine
from trainers.train import TrainState, new_state, train

CPU = torch.device("cpu")


def run(config: TrainConfig, data: Dataset, engine: Engine = PLAIN) -> TrainState:
    state = new_state(config, data, CPU)
    for _ in train(config, data, CPU, state, engine):
        pass
    return state


def run_in_two_parts(config: TrainConfig, data: Dataset) -> TrainState:
    """Stop after the first epoch, save the state, load it and go on."""
    begun = new_state(config, data, CPU)
    next(train(config, data, CPU, begun, PLAIN))
    file = io.BytesIO()
    save_state(file, begun, "digest")
    file.seek(0)
    resumed = load_state(file, config, data, CPU, "digest")
    assert resumed is not None
    for _ in train(config, data, CPU, resumed, PLAIN):
        pass
    return resumed
