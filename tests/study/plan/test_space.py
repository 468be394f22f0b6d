"""Cells, their keys and search blocks: what is equal has one key, what differs has two."""

import hashlib
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.plan import space
from study.plan.space import Block, Configuration
from study.spec import StudySpec, read_studies
from trainers.config import (
    NUMERICS_VERSION,
    CrossEntropy,
    DataConfig,
    EvaluationConfig,
    Fidelity,
    LookSam,
    Method,
    ModelConfig,
    Pgd,
    PgdAttack,
    Sam,
    StartConfig,
    TrainConfig,
    TrainingConfig,
)

STUDY = """\
about: a small study
data: {name: digits}
model: {name: small_cnn, width: 8}
training: {epochs: 20, batch_size: 64, learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4,
           schedule: cosine}
seeds: [2, 0, 1]
methods:
  standard: {}
  both:
    weights: {sam: {rho: [0.2, 0.1]}}
    inputs: {pgd: {norm: linf, epsilon: [0, 8/255, 0.1], steps: 5}}
  searched:
    weights: {sam: {rho: {low: 0.05, high: 0.5, log: true}}}
    inputs: {pgd: {norm: [linf, l2], epsilon: 0.1, steps: {low: 1, high: 4}}}
search: {trials: 6}
evaluation: {norm: linf, radii: [0.05, 0.1], objective_radius: 0.1,
             attack: {pgd: {steps: 20, restarts: 1}}}
"""
DATA = "fingerprint-of-the-data"

quick = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(folder: Path, study: dict[str, Any], name: str = "digits") -> StudySpec:
    """Read a study through a file, as JSON, which YAML reads."""
    path = folder / "studies.yaml"
    path.write_text(json.dumps({name: study}))
    return read_studies(path)[name]


def declared(**changes: Any) -> dict[str, Any]:
    """Give the study above as plain values; dots in a change's name stand as two underscores."""
    study: dict[str, Any] = yaml.safe_load(STUDY)
    study["training"]["weight_decay"] = 5e-4
    for path, value in changes.items():
        *outer, last = path.split("__")
        inner = study
        for key in outer:
            inner = inner[key]
        inner[last] = value
    return study


def grid_keys(spec: StudySpec) -> list[str]:
    configurations = space.grid_configurations(spec)
    return [cell.key for c in configurations for cell in space.cells(spec, c, DATA)]


@pytest.fixture
def spec(tmp_path: Path) -> StudySpec:
    return read(tmp_path, declared())


def the_block(spec: StudySpec) -> Block:
    return space.search_blocks(spec, DATA)[0]


def a_config(**changes: Any) -> TrainConfig:
    config = TrainConfig(
        data=DataConfig(name="digits"),
        model=ModelConfig(name="small_cnn", width=8),
        training=TrainingConfig(
            epochs=20,
            batch_size=64,
            learning_rate=0.1,
            momentum=0.9,
            weight_decay=0.0,
            schedule="cosine",
        ),
        method=Method(
            weights=Sam(rho=0.1),
            inputs=Pgd(norm="linf", epsilon=8 / 255, steps=5),
            loss=CrossEntropy(),
        ),
        evaluation=EvaluationConfig(
            norm="linf",
            radii=(0.05, 0.1),
            objective_radius=0.1,
            attack=PgdAttack(steps=20, restarts=1),
        ),
        seed=0,
    )
    return replace(config, **changes)


def test_a_grid_has_every_combination_in_the_order_of_the_file(spec):
    standard, *both = space.grid_configurations(spec)
    assert standard == Configuration(method="standard", values=())
    assert [configuration.values for configuration in both] == [
        (("weights.sam.rho", rho), ("inputs.pgd.epsilon", epsilon))
        for rho, epsilon in itertools.product([0.2, 0.1], [0.0, 8 / 255, 0.1])
    ]
    assert {configuration.method for configuration in both} == {"both"}


def test_a_configuration_has_one_cell_for_each_seed_in_order(spec):
    configuration = space.grid_configurations(spec)[1]
    cells = space.cells(spec, configuration, DATA)
    assert [cell.seed for cell in cells] == [2, 0, 1]
    assert [cell.config.seed for cell in cells] == [2, 0, 1]
    assert len({cell.key for cell in cells}) == 3
    assert all(cell.configuration is configuration for cell in cells)
    for cell in cells:
        assert cell.config == space.train_config(spec, configuration, cell.seed)
        assert cell.key == space.cell_key(cell.config, DATA)
    assert cells[0].config.method == Method(
        weights=Sam(rho=0.2), inputs=Pgd(norm="linf", epsilon=0.0, steps=5)
    )


def test_a_block_stands_for_each_combination_of_lists_beside_ranges(spec):
    blocks = space.search_blocks(spec, DATA)
    assert [block.fixed for block in blocks] == [
        (("inputs.pgd.norm", "linf"),),
        (("inputs.pgd.norm", "l2"),),
    ]
    assert [path for path, _ in blocks[0].ranges] == ["weights.sam.rho", "inputs.pgd.steps"]
    assert len({block.key for block in blocks}) == 2


@quick
@given(st.lists(st.integers(1, 4), min_size=2, max_size=2), st.integers(1, 3))
def test_the_size_of_a_grid_is_the_product_of_its_lists(tmp_path, lengths, seeds):
    rho, epsilon = ([(i + 1) / 100 for i in range(length)] for length in lengths)
    study = declared(
        methods__both__weights__sam__rho=rho,
        methods__both__inputs__pgd__epsilon=epsilon,
        seeds=list(range(seeds)),
    )
    keys = grid_keys(read(tmp_path, study))
    assert len(keys) == (1 + math.prod(lengths)) * seeds
    assert len(set(keys)) == len(keys), "distinct configurations have distinct keys"


def _shuffled(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    keys = list(value)
    rng.shuffle(keys)
    return {key: _shuffled(value[key], rng) for key in keys}


@quick
@given(st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_no_cell_and_no_block(tmp_path, rng):
    spec = read(tmp_path, declared())
    shuffled = read(tmp_path, _shuffled(declared(), rng))
    assert sorted(grid_keys(shuffled)) == sorted(grid_keys(spec))
    assert space.search_blocks(shuffled, DATA) == space.search_blocks(spec, DATA)


SAME = {
    "whole and float": ("methods__both__inputs__pgd__epsilon", [0], [0.0]),
    "minus zero": ("methods__both__weights__sam__rho", [0.0], [-0.0]),
    "fraction and decimal": (
        "methods__both__inputs__pgd__epsilon",
        ["8/255"],
        [0.03137254901960784],
    ),
    "one and 1.0": ("methods__both__weights__sam__rho", [1], [1.0]),
    "fraction of a radius": (
        "evaluation",
        *(
            {"norm": "linf", "radii": [r], "objective_radius": r, "attack": a}
            for r, a in (
                ("8/255", {"pgd": {"steps": 20, "restarts": 1}}),
                (8 / 255, {"pgd": {"restarts": 1, "steps": 20}}),
            )
        ),
    ),
    "the usual width": (
        "model",
        {"name": "small_cnn"},
        {"name": "small_cnn", "width": 16},
    ),
    "a default given": (
        "methods__standard",
        {},
        {"weights": "none", "inputs": {"none": {}}, "loss": "cross_entropy"},
    ),
    "a setting's default given": (
        "methods__both__inputs__pgd",
        {"norm": "l2", "epsilon": 1, "steps": 1},
        {"norm": "l2", "epsilon": 1, "steps": 1, "step_size": "auto"},
    ),
    "about": ("about", "one thing", "another"),
    "resources": ("resources", {"cpu": 1}, {"cpu": 4, "gpu": 0.5}),
    "analysis": ("analysis", {"clean_floor": 0.5}, {"clean_floor": 0.9}),
    "claims": (
        "claims",
        [{"methods": ["both", "searched"], "direction": "more"}],
        [{"methods": ["both", "standard"], "direction": "more"}],
    ),
    "search": ("search", {"trials": 1}, {"trials": 9, "sampler": "random"}),
}


@pytest.mark.parametrize(("path", "one", "other"), SAME.values(), ids=SAME)
def test_what_means_the_same_has_the_same_key(tmp_path, path, one, other):
    first = read(tmp_path, declared(**{path: one}))
    second = read(tmp_path, declared(**{path: other}))
    assert grid_keys(first) == grid_keys(second)
    assert space.search_blocks(first, DATA)[0].key == space.search_blocks(second, DATA)[0].key


def test_whole_numbers_in_fields_of_floats_change_no_key():
    training = replace(a_config().training, weight_decay=0, learning_rate=1)
    whole = a_config(method=Method(weights=Sam(rho=1)), training=training)
    floats = a_config(
        method=Method(weights=Sam(rho=1.0)), training=replace(training, learning_rate=1.0)
    )
    assert space.cell_key(whole, DATA) == space.cell_key(floats, DATA)


def test_neither_the_name_of_a_study_nor_of_a_method_is_in_a_key(tmp_path, spec):
    study = declared()
    study["methods"] = {f"my_{name}": method for name, method in study["methods"].items()}
    renamed = read(tmp_path, study, name="other")
    assert grid_keys(renamed) == grid_keys(spec)
    assert the_block(renamed).key == the_block(spec).key


def test_the_width_of_a_range_is_not_in_the_key_of_its_block(tmp_path, spec):
    narrow = declared(methods__searched__weights__sam__rho={"low": 0.1, "high": 0.2})
    assert the_block(read(tmp_path, narrow)).key == the_block(spec).key


def test_seeds_are_not_in_the_key_of_a_block(tmp_path, spec):
    assert the_block(read(tmp_path, declared(seeds=[7]))).key == the_block(spec).key


OTHER: dict[str, Callable[[Any], Any]] = {
    "name": lambda name: "preact_resnet18",
    "schedule": lambda schedule: "step",
    "norm": lambda norm: "l2",
    "step_size": lambda size: 0.01,
    "radii": lambda radii: (*radii, 0.15),
    "objective_radius": lambda radius: 0.05,
    "momentum": lambda momentum: momentum / 2,
    "epsilon": lambda epsilon: math.nextafter(epsilon, 1),
    "rho": lambda rho: math.nextafter(rho, 1),
    "norm_layer": lambda layer: "group",
    "optimizer": lambda optimizer: "adamw",
    "nesterov": lambda nesterov: True,
    "ema_decay": lambda decay: 0.5,
    "gradient_clip": lambda clip: 1.0,
    "end_on": lambda detectors: (),
    "label_smoothing": lambda smoothing: 0.1,
    "other_norm_radii": lambda radii: (0.5,),
    "active": lambda active: (0.0, 0.5),
    "start": lambda start: StartConfig(weights="w", origin="o"),
    "fidelity": lambda fidelity: Fidelity(until=(1,), steps=(1,)),
}
NOT_KEYED = ("evaluation.checkpoint",)
ELSEWHERE = ("training.precision", "training.milestones", "model.depth")
"""They apply to other trainings than this one."""


def _neighbours(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Change each field of a dataclass and of those in it, one at a time."""
    for item in fields(value):
        old = getattr(value, item.name)
        place = f"{path}.{item.name}".removeprefix(".")
        if isinstance(old, DataConfig):
            continue
        if is_dataclass(old):
            for below, new in _neighbours(old, place):
                yield below, replace(value, **{item.name: new})
        elif place not in (*NOT_KEYED, *ELSEWHERE):
            change = OTHER.get(item.name, lambda number: number + 1)
            yield place, replace(value, **{item.name: change(old)})


NEIGHBOURS = dict(_neighbours(a_config()))


@pytest.mark.parametrize(("place", "changed"), NEIGHBOURS.items(), ids=NEIGHBOURS)
def test_every_field_that_decides_numbers_changes_the_key(place, changed):
    assert space.cell_key(changed, DATA) != space.cell_key(a_config(), DATA), place


@pytest.mark.parametrize(
    "changed", [{"precision": "bfloat16"}, {"milestones": (0.5, 0.75)}], ids=["precision", "drops"]
)
def test_settings_of_other_trainings_are_in_the_key(changed):
    model = ModelConfig(name="preact_resnet18", width=4)
    config = a_config(model=model, training=replace(a_config().training, schedule="step"))
    other = replace(config, training=replace(config.training, **changed))
    assert space.cell_key(other, DATA) != space.cell_key(config, DATA)


@dataclass(frozen=True, kw_only=True)
class LaterModel(ModelConfig):
    """The network's configuration as some day it may be, with one more setting."""

    gates: int = 0


def test_a_setting_that_comes_later_changes_only_the_keys_of_cells_that_use_it():
    model = vars(a_config().model)
    unused, used = (a_config(model=LaterModel(**model, gates=gates)) for gates in (0, 2))
    assert space.cell_key(unused, DATA) == space.cell_key(a_config(), DATA)
    assert space.cell_key(used, DATA) != space.cell_key(a_config(), DATA)


LEFT_OUT = {
    CrossEntropy: {"label_smoothing": 0.0},
    EvaluationConfig: {"other_norm_radii": ()},
    ModelConfig: {"depth": 0, "norm_layer": "batch"},
    LookSam: {"every": 5, "alpha": 0.7, "active": (0.0, 1.0)},
    Pgd: {"warmup_epochs": 0, "active": (0.0, 1.0)},
    Sam: {"active": (0.0, 1.0), "every": 1},
    TrainingConfig: {
        "optimizer": "sgd",
        "nesterov": False,
        "milestones": (0.75, 0.9),
        "ema_decay": "none",
        "gradient_clip": "none",
        "end_on": ("stuck",),
    },
}


@pytest.mark.parametrize("cls", LEFT_OUT)
def test_defaults_that_keys_leave_out_are_those_of_recorded_cells(cls):
    """Another default would give recorded keys another meaning: raise the numerics' version."""
    now = {item.name: item.default for item in fields(cls)}
    assert {name: now[name] for name in LEFT_OUT[cls]} == LEFT_OUT[cls]


def test_the_depth_of_a_network_is_in_the_key():
    deep, deeper = (ModelConfig(name="wide_resnet", width=1, depth=depth) for depth in (10, 16))
    keys = [space.cell_key(a_config(model=model), DATA) for model in (deep, deeper)]
    assert keys[0] != keys[1]


def test_a_searched_setting_may_have_its_default(tmp_path):
    study = declared()
    study["methods"] = {
        "warm": {"inputs": {"pgd": {"norm": "linf", "epsilon": 0.1, "steps": 2}}},
    }
    study["methods"]["warm"]["inputs"]["pgd"]["warmup_epochs"] = {"low": 0, "high": 2}
    spec = read(tmp_path, study)
    block = the_block(spec)
    for epochs in (0, 1):
        configuration = space.suggested(block, {"inputs.pgd.warmup_epochs": epochs}, 0)
        config = space.train_config(spec, configuration, 0)
        recorded = json.loads(json.dumps(space.canonical(config, DATA)))
        assert ("warmup_epochs" in recorded["method"]["inputs"]["pgd"]) == (epochs > 0)
        assert space.taught_values(block, recorded) == {"inputs.pgd.warmup_epochs": epochs}


def test_the_side_itself_is_in_the_key():
    """SAM with radius 0 is standard training, yet another cell: it is declared as another."""
    with_sam = a_config(method=Method(weights=Sam(rho=0.0)))
    assert space.cell_key(with_sam, DATA) != space.cell_key(a_config(method=Method()), DATA)


def test_the_data_are_known_by_their_fingerprint_alone():
    here, there = (a_config(data=DataConfig(name=f"folder:/{name}")) for name in ("here", "there"))
    assert space.cell_key(here, DATA) == space.cell_key(there, DATA)
    assert space.cell_key(here, DATA) != space.cell_key(here, "another fingerprint")


def test_which_checkpoint_a_study_reads_changes_no_key():
    config = a_config()
    last = replace(config, evaluation=replace(config.evaluation, checkpoint="last"))
    assert space.cell_key(last, DATA) == space.cell_key(config, DATA)


def test_a_key_is_the_hash_of_this_json():
    """Written down by hand: a change here loses every result that users have recorded."""
    text = (
        '{"data":"fingerprint-of-the-data","evaluation":{"attack":{"pgd":{"restarts":1,'
        '"steps":20}},"norm":"linf","objective_radius":0.1,'
        '"radii":[0.05,0.1]},"method":{"inputs":{"pgd":{"epsilon":0.03137254901960784,'
        '"norm":"linf","step_size":"auto","steps":5}},"loss":{"cross_entropy":{}},'
        '"weights":{"sam":{"rho":0.1}}},"model":{"name":"small_cnn","width":8},'
        f'"numerics":{NUMERICS_VERSION},"seed":0,"training":{{"batch_size":64,"epochs":20,'
        '"learning_rate":0.1,"momentum":0.9,"precision":"float32","schedule":"cosine","weight_decay":0.0}}'
    )
    assert space.cell_key(a_config(), DATA) == hashlib.sha256(text.encode()).hexdigest()


@quick
@given(st.floats(0, 10), st.floats(0, 0.5), st.floats(1e-300, 1e300))
def test_a_canonical_form_survives_json_exactly(rho, epsilon, learning_rate):
    method = Method(weights=Sam(rho=rho), inputs=Pgd(norm="linf", epsilon=epsilon, steps=1))
    training = replace(a_config().training, learning_rate=learning_rate)
    canonical = space.canonical(a_config(method=method, training=training), DATA)
    restored = json.loads(json.dumps(canonical))
    assert restored == canonical
    assert restored["method"]["weights"]["sam"]["rho"] == rho
    assert restored["training"]["learning_rate"] == learning_rate


@quick
@given(rho=st.floats(0.05, 0.5), steps=st.integers(1, 4), number=st.integers(0, 99))
def test_a_suggestion_is_found_again_in_the_cells_it_made(tmp_path, rho, steps, number):
    spec = read(tmp_path, declared())
    for block in space.search_blocks(spec, DATA):
        chosen = {"inputs.pgd.steps": steps, "weights.sam.rho": rho}
        configuration = space.suggested(block, chosen, number)
        assert (configuration.block, configuration.number) == (block.key, number)
        for cell in space.cells(spec, configuration, DATA):
            recorded = json.loads(json.dumps(space.canonical(cell.config, DATA)))
            before = json.dumps(recorded)
            assert space.taught_values(block, recorded) == chosen
            assert json.dumps(recorded) == before, "the record is left as it was"


def test_a_block_learns_nothing_from_cells_that_it_could_not_suggest(tmp_path, spec):
    first, second = space.search_blocks(spec, DATA)
    configuration = space.suggested(first, {"weights.sam.rho": 0.4, "inputs.pgd.steps": 3}, 0)
    config = space.train_config(spec, configuration, 0)
    recorded = space.canonical(config, DATA)
    assert space.taught_values(first, recorded) is not None
    assert space.taught_values(second, recorded) is None, "another norm"
    assert space.taught_values(first, space.canonical(config, "other")) is None, "other data"
    plain = replace(config, method=Method())
    assert space.taught_values(first, space.canonical(plain, DATA)) is None, "another method"
    longer = replace(config, training=replace(config.training, epochs=21))
    assert space.taught_values(first, space.canonical(longer, DATA)) is None, "other training"
    old = recorded | {"numerics": NUMERICS_VERSION - 1}
    assert space.taught_values(first, old) is None, "other numerics"
    narrow = declared(methods__searched__weights__sam__rho={"low": 0.1, "high": 0.2})
    assert space.taught_values(the_block(read(tmp_path, narrow)), recorded) is None, "outside"
    assert space.taught_values(first, {}) is None, "no record of ours"


def test_a_grid_cell_teaches_the_block_whose_ranges_hold_it(tmp_path):
    study = declared(methods__gridded=declared()["methods"]["searched"])
    study["methods"]["gridded"] = {
        "weights": {"sam": {"rho": [0.05, 0.3, 0.6]}},
        "inputs": {"pgd": {"norm": "linf", "epsilon": 0.1, "steps": 2}},
    }
    spec = read(tmp_path, study)
    taught = [
        space.taught_values(
            the_block(spec), space.canonical(space.train_config(spec, configuration, 0), DATA)
        )
        for configuration in space.grid_configurations(spec)
        if configuration.method == "gridded"
    ]
    assert taught == [
        {"weights.sam.rho": 0.05, "inputs.pgd.steps": 2},
        {"weights.sam.rho": 0.3, "inputs.pgd.steps": 2},
        None,
    ]


def test_a_suggestion_has_the_types_of_its_ranges_whatever_the_sampler_gives(spec):
    configuration = space.suggested(
        the_block(spec), {"inputs.pgd.steps": 3.0, "weights.sam.rho": 1}, 0
    )
    assert configuration.values == (
        ("inputs.pgd.norm", "linf"),
        ("weights.sam.rho", 1.0),
        ("inputs.pgd.steps", 3),
    )
    assert [type(value) for _, value in configuration.values] == [str, float, int]


CONTAINED = {
    "low end": (0.05, True),
    "high end": (0.5, True),
    "below": (0.049, False),
    "above": (0.51, False),
    "a word": ("auto", False),
    "a boolean": (True, False),
    "nothing": (None, False),
    "not a number": (math.nan, False),
}


@pytest.mark.parametrize(("value", "holds"), CONTAINED.values(), ids=CONTAINED)
def test_a_range_contains_its_ends_and_numbers_between(spec, value, holds):
    rho, steps = (limits for _, limits in the_block(spec).ranges)
    assert space.contains(rho, value) == holds
    assert space.contains(steps, 4)
    assert not space.contains(steps, 2.5)


def test_the_points_of_whole_ranges_are_counted_and_listed(tmp_path, spec):
    assert space.num_points(the_block(spec)) is None
    whole = read(tmp_path, declared(methods__searched__weights="none"))
    block = the_block(whole)
    assert space.num_points(block) == 4
    assert list(space.points(block)) == [{"inputs.pgd.steps": steps} for steps in (1, 2, 3, 4)]


def test_values_have_short_names(spec):
    configuration = space.grid_configurations(spec)[1]
    assert space.short_values(spec, configuration) == {"rho": 0.2, "epsilon": 0.0}


def test_a_short_name_is_as_long_as_it_must_be():
    paths = ["weights.a.size", "inputs.a.size", "inputs.b.steps"]
    assert [space.short_name(path, paths) for path in paths] == [
        "weights.a.size",
        "inputs.a.size",
        "steps",
    ]
    assert space.short_name("inputs.b.size", ["inputs.a.size"]) == "b.size"


def test_sides_are_named_as_in_the_studies_file():
    method = Method(weights=Sam(rho=0.1))
    assert space.side_names(method) == {
        "weights": "sam",
        "inputs": "none",
        "loss": "cross_entropy",
    }


def test_nothing_of_a_study_is_changed_by_expanding_it(spec):
    before = repr(spec)
    grid_keys(spec)
    space.search_blocks(spec, DATA)
    assert repr(spec) == before
