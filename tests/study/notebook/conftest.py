"""A project whose trials were really trained, in this process and without Ray."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import study
from study.launch.launch import data_fingerprint, launch_tags
from study.launch.states import FileStates, TrialContext
from study.launch.trial import Trial
from study.plan import space
from study.records.runs import open_study
from study.records.store import connect, find_store
from study.search.searcher import ray_config
from trainers.data.dataset import load_data

DECLARED: dict[str, Any] = {
    "about": "Five cells of a few digits & a tiny <network>.",
    "data": {"name": "digits", "samples": 100, "test_samples": 60},
    "model": {"name": "small_cnn", "width": 2},
    "training": {
        "epochs": 2,
        "batch_size": 50,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "schedule": "cosine",
    },
    "seeds": [0, 1],
    "methods": {
        "standard": {},
        "sam": {"weights": {"sam": {"rho": [0.1, 0.123456]}}},
        "at": {"inputs": {"pgd": {"norm": "linf", "epsilon": [8 / 255], "steps": 1}}},
    },
    "evaluation": {
        "norm": "linf",
        "radii": [0.05, 0.1],
        "objective_radius": 0.1,
        "attack": {"pgd": {"steps": 1, "restarts": 1}},
        "checkpoint": "last",
    },
}
"""A study as Python declares it."""
MISSING = ("at", 1)
"""Method and seed of the one cell that is left to run."""


@dataclass(frozen=True)
class Trained:
    """A study of which all cells but one are done."""

    study: "study.Study"
    runs: list[str]


def train_cells(opened: "study.Study", skip: tuple[str, int] | None = None) -> Trained:
    """Run the cells of a study one after another, as workers would, but for one to skip."""
    threads = torch.get_num_threads()
    spec, project = opened.spec, opened.project
    store = find_store(project)
    client = connect(store)
    dataset = load_data(spec.data, project)
    context = TrialContext(
        spec=spec,
        dataset=dataset,
        store=store,
        runs=open_study(client, store, spec, {}),
        tags=launch_tags(project),
        states=FileStates(folder=project / "states"),
        expected_trials={},
        began=0.0,
        workers_lock=None,
    )
    fingerprint = data_fingerprint(spec.data, project)
    runs = []
    for configuration in space.grid_configurations(spec):
        for cell in space.cells(spec, configuration, fingerprint):
            if (configuration.method, cell.seed) == skip:
                continue
            trial = Trial(context, ray_config(cell), f"trial{len(runs)}", Counter())
            while not trial.advance()["done"]:
                pass
            assert trial._run is not None
            runs.append(trial._run.id)
    torch.set_num_threads(threads)
    return Trained(opened, runs)


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    return train_cells(study.from_dict(DECLARED, "tiny", folder=folder), MISSING)
