"""Settings of a base optimiser of one's own are swept as those of a network or a side are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from study.plan import naming, space
from study.plan.plan import make_plan
from study.records.values import run_params
from study.records.view import param_name
from study.search.searcher import StudySearcher
from study.spec import Range, SpecError, StudySpec, around_of, read_studies, settings_of
from study.spec.settings import WholeRange
from tests.parts import LIONS
from tests.records import finished_trial
from trainers.config import TrainConfig
from trainers.data.dataset import load_data
from trainers.train import new_state, train

STUDY = """\
tiny:
  data: {name: digits, samples: 300, test_samples: 100}
  model: {name: small_cnn, width: 2}
  training: {epochs: 2, batch_size: 64, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine, optimizer: {lions:lion: {beta: 1, warm: 3}}}
  seeds: [0]
  methods:
    standard: {}
    other: {training: {optimizer: {lions:lion: {mood: wild}}}}
    word: {training: {optimizer: lions:lion}}
    tiger: {training: {optimizer: {lions:Tiger: {stripes: 2}}, learning_rate: [0.1, 0.2]}}
    ours: {training: {optimizer: [sgd, adamw]}}
    found: {inputs: {pgd: {norm: linf, epsilon: {low: 4/255, high: 0.1}, steps: 2}}}
  search: {trials: 2}
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 2, restarts: 1}}}
"""
RECORDED = {
    "standard": ["5d667db01e922341"],
    "other": ["a74b4d1ff9b7632d"],
    "word": ["d3fc634aa4801cf3"],
    "tiger": ["626a94bbcb2df85d", "a5b9ef940f30fb9c"],
    "ours": ["fe26c476da22e0a2", "19841de31def8929"],
    "found": ["900274e8d97ee9ca"],
}
"""The first digits of keys, recorded before settings of an optimiser could be swept."""


def read(folder: Path, old: str = "", new: str = "", text: str = STUDY) -> StudySpec:
    assert old in text
    (folder / "lions.py").write_text(LIONS, encoding="utf-8")
    (folder / "studies.yaml").write_text(text.replace(old, new), encoding="utf-8")
    return read_studies(folder / "studies.yaml")["tiny"]


def keys(spec: StudySpec, method: str) -> list[str]:
    """Return the keys of a method's cells, then of its search blocks."""
    made = [one for one in space.grid_configurations(spec) if one.method == method]
    blocks = [block.key for block in space.search_blocks(spec, "f") if block.method == method]
    return [cell.key for one in made for cell in space.cells(spec, one, "f")] + blocks


def configs(spec: StudySpec, method: str) -> list[TrainConfig]:
    made = [one for one in space.grid_configurations(spec) if one.method == method]
    return [space.train_config(spec, one, 0) for one in made]


def trained(config: TrainConfig, cache: Path) -> dict[str, torch.Tensor]:
    device, data = torch.device("cpu"), load_data(config.data, cache)
    state = new_state(config, data, device)
    for _ in train(config, data, device, state):
        pass
    return {name: tensor.clone() for name, tensor in state.model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("method", RECORDED)
def test_fixed_settings_have_the_keys_that_they_had(method: str, tmp_path: Path) -> None:
    assert [key[:16] for key in keys(read(tmp_path), method)] == RECORDED[method]


def test_a_list_is_a_cell_for_each_value_with_the_key_and_the_training_of_that_value(
    tmp_path: Path,
) -> None:
    fixed = [read(tmp_path, "beta: 1", f"beta: {beta}") for beta in (0.1, 0.9)]
    both = read(tmp_path, "beta: 1", "beta: [0.1, 0.9]")
    assert keys(both, "standard") == [key for one in fixed for key in keys(one, "standard")]
    assert len(set(keys(both, "standard"))) == 2
    low, high = [trained(config, tmp_path) for config in configs(both, "standard")]
    assert not equal(low, high)
    for spec, of_list in zip(fixed, (low, high), strict=True):
        assert equal(trained(configs(spec, "standard")[0], tmp_path), of_list)


def test_a_range_is_searched_and_its_trials_are_recorded(tmp_path: Path) -> None:
    text = STUDY.replace(
        "found: {",
        "found: {training: {optimizer: {lions:lion: {beta: {low: 0.1,"
        " high: 0.4, log: true}, warm: {low: 2, high: 5}}}}, ",
    )
    text = text.replace("epsilon: {low: 4/255, high: 0.1}", "epsilon: 0.1")
    spec = read(tmp_path, text=text)
    beta, warm = (f"training.optimizer.lions:lion.{name}" for name in ("beta", "warm"))
    (block,) = space.search_blocks(spec, "f")
    assert dict(block.ranges) == {
        beta: Range(low=0.1, high=0.4, log=True),
        warm: WholeRange(low=2, high=5),
    }
    records: list[Any] = []
    searcher = StudySearcher(spec, make_plan(spec, "f", ()))
    while isinstance(searcher.suggest(name := f"trial{len(records)}"), dict):
        records.append(finished_trial(searcher.trial_cells[name], "f", run=name))
    suggested = [record for record in records if record.block]
    assert len({record.cell_key for record in suggested}) == 2
    for record in suggested:
        own = record.canonical["training"]["optimizer"]["lions:lion"]
        assert 0.1 <= own["beta"] <= 0.4
        assert own["warm"] in (2, 3, 4, 5)
        taught = space.taught_values(block, record.canonical)
        assert taught == {beta: own["beta"], warm: own["warm"]}
    assert make_plan(spec, "f", records).num_open == 0


def test_a_fixed_trial_teaches_a_range_that_holds_its_value(tmp_path: Path) -> None:
    spec = read(tmp_path, "beta: 1", "beta: {low: 0.5, high: 1.0}")
    block = next(one for one in space.search_blocks(spec, "f") if one.method == "standard")
    [path] = [path for path, _ in block.ranges]
    fixed = read(tmp_path)
    recorded = [space.canonical(configs(fixed, name)[0], "f") for name in ("standard", "other")]
    assert space.taught_values(block, recorded[0]) == {path: 1.0}
    assert space.taught_values(block, recorded[1]) is None, "another number of warm steps"
    ours = space.canonical(configs(fixed, "ours")[0], "f")
    assert space.taught_values(block, ours) is None, "another optimiser"
    assert (
        space.cells(spec, space.suggested(block, {path: 1.0}, 0), "f")[0].key
        == (keys(fixed, "standard")[0])
    )


def test_an_optimiser_of_a_method_replaces_the_study_s_with_all_its_settings(
    tmp_path: Path,
) -> None:
    spec = read(tmp_path, "beta: 1, warm: 3", "beta: [0.1, 0.9], warm: 3")
    path = "training.optimizer.lions:lion.beta"
    assert settings_of(spec, "standard") == ((path, (0.1, 0.9)),)
    for method in ("other", "word", "tiger", "ours"):
        assert path not in dict(settings_of(spec, method))
    [other] = configs(spec, "other")
    assert other.training.optimizer.settings == {  # type: ignore[union-attr]
        "beta": 0.99,
        "warm": 1,
        "mood": "wild",
    }
    assert [name for name in around_of(spec, "ours", "training") if "." in name] == []
    within = read(tmp_path, "{mood: wild}", "{mood: [wild, calm]}")
    moods = [one.training.optimizer.settings["mood"] for one in configs(within, "other")]  # type: ignore[union-attr]
    assert moods == ["wild", "calm"]
    assert len(configs(within, "standard")) == 1


def test_a_study_is_counted_with_the_lists_of_its_optimisers_and_needs_a_search_for_a_range(
    tmp_path: Path,
) -> None:
    many = list(range(400))
    with pytest.raises(SpecError, match=r"methods: must have at most 100000 cells"):
        read(tmp_path, "beta: 1, warm: 3", f"beta: {many}, warm: {many}")
    text = STUDY.replace("  search: {trials: 2}\n", "")
    with pytest.raises(SpecError, match=r"search: is missing, but standard has a range"):
        read(tmp_path, "beta: 1", "beta: {low: 0.1, high: 0.9}", text)


def test_names_parameters_and_texts_hold_what_is_swept(tmp_path: Path) -> None:
    spec = read(tmp_path, "beta: 1, warm: 3", "beta: [0.1, 0.9], warm: 3")
    made = next(one for one in space.grid_configurations(spec) if one.method == "standard")
    assert naming.configuration_name(spec, made) == "standard beta=0.1"
    assert naming.swept_text(spec, "standard") == "beta 0.1 / 0.9"
    shown = naming.training_settings(spec)["optimizer"]
    assert shown == "lions:lion (beta 0.1 / 0.9, warm 3, mood calm)"
    assert naming.settings_text(spec, "other") == (
        "cross_entropy; training: optimizer lions:lion, beta 0.99, warm 1, mood wild"
    )
    params = run_params(spec, space.cells(spec, made, "f")[0])
    [(path, _)] = made.values
    assert params[param_name(path)] == 0.1
