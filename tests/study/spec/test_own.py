"""Own parts in a studies file: read like ours, wrong ones in one line, keyed by their source."""

import os
import pickle
from pathlib import Path

import pytest

from study.plan import space
from study.plan.naming import network_name
from study.plan.reasons import changes
from study.spec import Range, SpecError, StudySpec, read_studies
from tests.parts import LIONS, MY_PARTS, write_parts
from trainers.config import own_parts

STUDY = """\
tiny:
  data: {name: digits}
  model: {name: my_parts:Net, settings: {depth: 2}}
  training: {epochs: 2, batch_size: 64, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine, optimizer: {my_parts:heavy_ball: {}}}
  seeds: [0]
  methods:
    standard: {}
    mine: {weights: {my_parts:Mine: {rho: [0.1, 0.2], active: [0.5, 1]}}}
    found: {inputs: {my_parts:fgsm: {epsilon: {low: 4/255, high: 0.1}}}}
    squares: {loss: my_parts:quadratic}
    at: {inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 2}}}
  search: {trials: 2}
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1, attack: {my_parts:push: {steps: 3}}}
"""
MISTAKES = {
    ("my_parts:Net", "my_parts:Nett"): "3: tiny.model.name: my_parts.py:1: there is no Nett; did "
    "you mean Net?",
    ("depth: 2", "deep: 2"): "3: tiny.model.settings.deep: unknown key; did you mean depth?",
    ("depth: 2", "depth: two"): "3: tiny.model.settings.depth: must be a whole number, got 'two'",
    ("depth: 2}", "depth: 2}, width: 8"): "3: tiny.model.width: is not for a network of your own; "
    "declare it among its parameters, under settings, got 8",
    ("heavy_ball: {}", "heavy_ball: {beta: 1}"): "5: tiny.training.optimizer.my_parts:heavy_ball."
    "beta: unknown key; my_parts:heavy_ball has no settings, remove it",
    ("{my_parts:heavy_ball: {}}", "{lions:Tiger: {stripes: [2, two]}}"): "5: tiny.training."
    "optimizer.lions:Tiger.stripes: must be a whole number, got 'two'",
    ("{my_parts:heavy_ball: {}}", "{lions:Tiger: {stripes: [2, 3]}}"): "5: tiny.training.optimizer."
    "lions:Tiger.stripes: must be even (of lions.py:13), got 3",
    ("{my_parts:heavy_ball: {}}", "{lions:Tiger: {stripes: {low: 2,\n high: 4}}}"): "5: tiny."
    "training.optimizer.lions:Tiger.stripes: must be even (of lions.py:13), got 3, which the range "
    "holds; write a list instead",
    ("{my_parts:heavy_ball: {}}", "{lions:Tiger: {stripes: {low: 2,\n high: 5}}}"): "6: tiny."
    "training.optimizer.lions:Tiger.stripes.high: must be even (of lions.py:13), got 5",
    ("{my_parts:heavy_ball: {}}", "{lions:Tiger: {stripe: [2]}}"): "5: tiny.training.optimizer."
    "lions:Tiger.stripe: unknown key; did you mean stripes?",
    ("standard: {}", "standard: {training: {optimizer: {lions:Tiger: {stripes: [2,\n 3]}}}}"): "9: "
    "tiny.methods.standard.training.optimizer.lions:Tiger.stripes: must be even (of lions.py:13)",
    ("standard: {}", "standard: {training: {optimizer: {lions:Tiger: {stripe: 2}}}}"): "8: tiny."
    "methods.standard.training.optimizer.lions:Tiger.stripe: unknown key; did you mean stripes?",
    ("rho: [0.1, 0.2]", "rho: [-0.1, 0.2]"): "9: tiny.methods.mine.weights.my_parts:Mine.rho: must "
    "be at least 0 (of my_parts.py:26), got -0.1",
    ("{my_parts:heavy_ball: {}}", "[sgd, {my_parts:heavy_ball: {}}]"): "5: tiny.training.optimizer:"
    " must be sgd or adamw, a list of both, or {my_parts:Mine: {...}}, got a list; an own "
    "optimiser stands alone, or overrides in a method",
    ("rho: [0.1, 0.2]", "rhoo: 0.1"): "9: tiny.methods.mine.weights.my_parts:Mine.rhoo: unknown "
    "key; did you mean rho?",
    ("rho: [0.1, 0.2]", "rho: 0.1, zzz: 1"): "9: tiny.methods.mine.weights.my_parts:Mine.zzz: "
    "unknown key; known here: rho, active, every",
    (
        "depth: 2",
        "depth: [[1], [2]]",
    ): "3: tiny.model.settings.depth: must be a whole number, got a "
    "list; a list may hold plain values only",
    ("low: 4/255", "low: 0.2"): "10: tiny.methods.found.inputs.my_parts:fgsm.epsilon: low must be "
    "below high, got low=0.2, high=0.1; swap them",
    ("my_parts:quadratic", "my_parts:fgsm"): "11: tiny.methods.squares.loss: my_parts.py:41: fgsm: "
    "must take logits, labels, got gradient_at, images, epsilon; add logits, labels (see "
    "docs/own_method.md)",
    ("my_parts:push", "my_part:push"): "14: tiny.evaluation.attack.my_part:push: there is no "
    "module my_part in ",
}


def read(folder: Path, text: str = STUDY) -> StudySpec:
    (folder / "studies.yaml").write_text(text, encoding="utf-8")
    return read_studies(folder / "studies.yaml")["tiny"]


def keys(spec: StudySpec) -> dict[tuple[str, object], str]:
    return {
        (cell.configuration.method, cell.configuration.values): cell.key
        for configuration in space.grid_configurations(spec)
        for cell in space.cells(spec, configuration, "digits")
    }


def canonical(spec: StudySpec, method: str) -> dict[str, object]:
    first = next(c for c in space.grid_configurations(spec) if c.method == method)
    return space.canonical(space.train_config(spec, first, 0), "digits")


def test_own_parts_are_read_with_grids_and_ranges(tmp_path: Path) -> None:
    spec = read(write_parts(tmp_path))
    assert spec.methods["mine"].weights.settings == (("rho", (0.1, 0.2)), ("active", "0.5-1"))
    assert dict(spec.methods["found"].inputs.settings) == {"epsilon": Range(low=4 / 255, high=0.1)}
    assert [len(one.values) for one in space.grid_configurations(spec)] == [0, 1, 1, 0, 0]
    (block,) = space.search_blocks(spec, "digits")
    cell = space.suggested(block, {"inputs.my_parts:fgsm.epsilon": 0.05}, 0)
    config = space.train_config(spec, cell, 0)
    assert config.method.inputs.settings == {"epsilon": 0.05}
    assert [part.attribute for part in own_parts(config)] == ["Net", "heavy_ball", "fgsm"]
    assert space.taught_values(block, space.canonical(config, "digits")) == {
        "inputs.my_parts:fgsm.epsilon": 0.05
    }


@pytest.mark.parametrize("change", MISTAKES)
def test_a_mistake_in_an_own_part_is_one_line(change: tuple[str, str], tmp_path: Path) -> None:
    write_parts(tmp_path, lions=LIONS)
    assert change[0] in STUDY
    with pytest.raises(SpecError) as refused:
        read(tmp_path, STUDY.replace(*change))
    (message,) = refused.value.messages
    assert message.removeprefix(f"{tmp_path}/studies.yaml:").startswith(MISTAKES[change])


def test_a_file_beside_may_have_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"r\xe9seau.py")).touch()
    with pytest.raises(SpecError, match=r"no module my_parts in .* \(which has r\?seau\.py\)"):
        read(tmp_path)


def test_settings_of_an_own_network_are_swept_and_overridden(tmp_path: Path) -> None:
    text = STUDY.replace("{depth: 2}", "{depth: [1, 2], dropout: {low: 0.0, high: 0.5}}")
    text = text.replace("standard: {}", "standard: {model: {name: small_cnn, width: 4}}")
    spec = read(write_parts(tmp_path), text)
    (plain,) = [c for c in space.grid_configurations(spec)]
    assert space.train_config(spec, plain, 0).model.width == 4
    mine = [block for block in space.search_blocks(spec, "digits") if block.method == "mine"]
    assert len(mine) == 4
    found = space.suggested(mine[0], {"model.settings.dropout": 0.25}, 0)
    model = space.train_config(spec, found, 0).model
    assert model.settings.settings == {"depth": 1, "dropout": 0.25}
    assert network_name(model) == "my_parts:Net, depth 1, dropout 0.25"
    assert space.short_values(spec, found) == {"rho": 0.1, "depth": 1, "dropout": 0.25}
    recorded = space.canonical(space.train_config(spec, found, 0), "digits")
    assert space.taught_values(mine[0], recorded) == {"model.settings.dropout": 0.25}


def test_a_method_overrides_one_setting_of_the_study_s_own_network(tmp_path: Path) -> None:
    text = STUDY.replace("{depth: 2}", "{depth: 2, dropout: 0.5}")
    over = "standard: {model: {name: my_parts:Net, settings: {depth: 3}}}"
    spec = read(write_parts(tmp_path), text.replace("standard: {}", over))
    (plain, *_) = space.grid_configurations(spec)
    model = space.train_config(spec, plain, 0).model
    assert model.settings.settings == {"depth": 3, "dropout": 0.5}


def test_settings_are_refused_for_our_networks(tmp_path: Path) -> None:
    write_parts(tmp_path)
    with pytest.raises(SpecError, match="settings: are for a network of your own"):
        read(tmp_path, STUDY.replace("name: my_parts:Net", "name: small_cnn"))


def test_a_study_travels_with_the_text_of_its_parts(tmp_path: Path) -> None:
    spec = read(write_parts(tmp_path))
    for file in tmp_path.glob("*.py"):
        file.unlink()
    there = pickle.loads(pickle.dumps(spec))
    assert keys(there) == keys(spec)


def test_an_edit_changes_the_keys_of_the_cells_that_it_decides(tmp_path: Path) -> None:
    study = STUDY.replace("my_parts:push: {steps: 3}", "pgd: {steps: 2, restarts: 1}")
    before = read(write_parts(tmp_path), study)
    again = read(tmp_path, study)
    assert keys(again) == keys(before)
    write_parts(tmp_path, my_parts=MY_PARTS.replace("1e-12", "1e-9"))
    after = read(tmp_path, study)
    old, new = keys(before), keys(after)
    assert {name for name, _ in old if old[name, _] != new[name, _]} == {"mine"}
    said = changes(canonical(before, "mine"), canonical(after, "mine"))
    assert said == "my_parts.py changed since"
    write_parts(tmp_path, my_layers="HIDDEN = 13\n")
    old, new = keys(after), keys(read(tmp_path, study))
    assert not set(old.values()) & set(new.values())


def test_a_study_without_own_parts_has_the_keys_that_it_had(tmp_path: Path) -> None:
    """Recorded before own parts existed, with `space.cell_key`."""
    write_parts(tmp_path)
    text = STUDY.replace("{name: my_parts:Net, settings: {depth: 2}}", "{name: small_cnn}")
    text = text.replace(", optimizer: {my_parts:heavy_ball: {}}", "")
    text = text.replace("my_parts:push: {steps: 3}", "pgd: {steps: 2, restarts: 1}")
    spec = read(tmp_path, text)
    assert keys(spec)["standard", ()] == RECORDED["standard"]
    assert keys(spec)["at", ()] == RECORDED["at"]


RECORDED = {
    "standard": "289cfdb0539882fafb77f4b263636148e4fd60bb22f2047f80c43758bcd4ad47",
    "at": "76c0834e76c751c67cc840bd081c7731476085870f73649ede598fb20136f402",
}


def test_what_a_dataclass_refuses_at_any_end_of_a_range_is_found(tmp_path: Path) -> None:
    write_parts(tmp_path)
    text = STUDY.replace("rho: [0.1, 0.2]", "rho: {low: -0.1, high: 0.2}")
    with pytest.raises(SpecError, match=r"rho.low: must be at least 0"):
        read(tmp_path, text)
