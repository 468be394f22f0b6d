"""A chain of two studies: adversarial training that starts from networks trained by SAM."""

import re
from pathlib import Path

import pytest
import torch

from study.launch.launch import plan_of
from study.plan.plan import Plan
from study.records.runs import weights_file
from study.records.starts import StartError
from study.spec import read_studies
from tests.study.conftest import Project
from trainers.checkpoint import load_weights

pytestmark = pytest.mark.slow

CHAIN = """\
.both: &both
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: &training {epochs: 1, batch_size: 250, learning_rate: 0.1, momentum: 0.9,
             weight_decay: 0.0, schedule: cosine}
  seeds: [0, 1]
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
first:
  <<: *both
  methods: {sam: {weights: {sam: {rho: [0.1, 0.2]}}}}
second:
  <<: *both
  start: {from: first, method: sam, values: {rho: 0.2}}
  methods:
    still: {training: {learning_rate: 0.0}}
    at: {inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}}
    one: {start: {from: first, method: sam, values: {rho: 0.1}, seed: 1, checkpoint: last}}
"""


def plan(project: Project, name: str) -> Plan:
    return plan_of(read_studies(project.file)[name], project.folder)[1]


def parameters(address: str, checkpoint: str) -> dict[str, torch.Tensor]:
    """Read a trial's trained tensors; batch statistics move without a step of the optimizer."""
    weights, _ = load_weights(Path(re.sub("^file://", "", address)) / weights_file(checkpoint))
    return {name: t for name, t in weights.items() if name.endswith(("weight", "bias"))}


def test_a_study_starts_from_the_trials_of_another(project: Project) -> None:
    project.write(CHAIN)
    with pytest.raises(StartError) as caught:
        plan(project, "second")
    assert str(caught.value) == (
        "second.start: study first has no finished trial; study launch first first"
    )
    assert project.run("launch", "first")[0] == 0
    code, output = project.run("launch", "second")
    assert code == 0, output
    assert "start of still, at: first sam rho=0.2 of the same seed, best (" in output
    assert "start of one: first sam rho=0.1 seed=1, last (" in output

    sources = {
        (record.labels["values"], record.labels["seed"]): record.artifacts
        for record in (planned.record for planned in plan(project, "first").cells)
        if record is not None
    }
    second = plan(project, "second")
    assert (second.num_open, second.count("done")) == (0, 6)
    done = {
        (planned.cell.configuration.method, planned.cell.seed): planned.record
        for planned in second.cells
    }
    for seed in (0, 1):
        record = done["still", seed]
        assert record is not None
        source = parameters(sources['{"weights.sam.rho": 0.2}', str(seed)], "best")
        kept = parameters(record.artifacts, "last")
        assert all(torch.equal(kept[name], tensor) for name, tensor in source.items())
        assert "all layers" in record.labels["started_from"]
        changed = done["at", seed]
        assert changed is not None
        moved = parameters(changed.artifacts, "last")
        assert any(not torch.equal(moved[name], tensor) for name, tensor in source.items())
