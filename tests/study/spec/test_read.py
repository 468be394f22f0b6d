"""A good file is read as it is meant; a bad one gets one clear line for each mistake."""

import json
import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from study.spec import (
    SIDES,
    Range,
    Sampler,
    Side,
    SpecError,
    StudySpec,
    around_config,
    claim_text,
    claims_of,
    read_studies,
    settings_of,
)
from study.spec.mistakes import good_value
from study.spec.model import method_config
from study.spec.settings import WholeRange, choices
from trainers import config
from trainers.config import EvaluationConfig, ModelConfig, PgdAttack, TrainingConfig

VALID = """\
digits:
  about: a small study
  data: {name: digits}
  model: {name: small_cnn, width: 8}
  training:
    epochs: 20
    batch_size: 64
    learning_rate: 0.1
    momentum: 0.9
    weight_decay: 5e-4
    schedule: cosine
  seeds: [0, 1, 2]
  methods:
    standard: {}
    sam: {weights: {sam: {rho: [0.1, 0.2]}}}
    at: {inputs: {pgd: {norm: linf, epsilon: 8/255, steps: 5}}}
    sam_at:
      weights: {sam: {rho: {low: 0.05, high: 0.5, log: true}}}
      inputs: {pgd: {norm: linf, epsilon: [2/255, 0.1], steps: 5, step_size: auto}}
  search: {trials: 6, sampler: tpe}
  evaluation:
    norm: linf
    radii: [0.05, 0.1]
    objective_radius: 0.1
    attack: {pgd: {steps: 20, restarts: 1}}
  resources: {cpu: 1, gpu: 0}
  analysis: {clean_floor: 0.9}
"""


def read(folder: Path, text: str | bytes) -> dict[str, StudySpec]:
    path = folder / "studies.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_studies(path)


def read_one(folder: Path, replace: str = "", by: str = "") -> StudySpec:
    assert replace in VALID
    [spec] = read(folder, VALID.replace(replace, by, 1)).values()
    return spec


def messages(folder: Path, text: str | bytes) -> list[str]:
    """Read a bad file; give its messages without the path, which all begin with."""
    with pytest.raises(SpecError) as caught:
        read(folder, text)
    path = str(folder / "studies.yaml")
    assert all(message.startswith(f"{path}:") for message in caught.value.messages)
    assert str(caught.value) == "\n".join(caught.value.messages)
    return [message.removeprefix(f"{path}:") for message in caught.value.messages]


def test_a_study_is_read_as_it_is_meant(tmp_path):
    spec = read_one(tmp_path)
    assert (spec.name, spec.about, spec.data.name) == ("digits", "a small study", "digits")
    assert around_config(spec, "at", "model", {}) == ModelConfig(name="small_cnn", width=8)
    assert around_config(spec, "at", "training", {}) == TrainingConfig(
        epochs=20,
        batch_size=64,
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=0.0005,
        schedule="cosine",
    )
    assert spec.seeds == (0, 1, 2)
    assert list(spec.methods) == ["standard", "sam", "at", "sam_at"]
    assert spec.methods["standard"].weights == Side(name="none")
    assert spec.methods["sam"].weights == Side(name="sam", settings=(("rho", (0.1, 0.2)),))
    assert dict(settings_of(spec, "sam_at")) == {
        "weights.sam.rho": Range(low=0.05, high=0.5, log=True),
        "inputs.pgd.norm": "linf",
        "inputs.pgd.epsilon": (2 / 255, 0.1),
        "inputs.pgd.steps": 5,
        "inputs.pgd.step_size": "auto",
    }
    assert spec.evaluation == EvaluationConfig(
        norm="linf",
        radii=(0.05, 0.1),
        objective_radius=0.1,
        attack=PgdAttack(steps=20, restarts=1),
    )
    assert spec.search is not None
    assert (spec.search.trials, spec.search.sampler) == (6, "tpe")
    assert (spec.resources.cpu, spec.resources.gpu) == (1, 0.0)
    assert spec.analysis is not None
    assert spec.analysis.clean_floor == 0.9


def test_what_may_be_left_out_has_its_default(tmp_path):
    text = VALID.replace("  about: a small study\n", "").replace(", width: 8", "")
    text = text.replace("  analysis: {clean_floor: 0.9}\n", "").replace(", sampler: tpe", "")
    text = text.replace("  resources: {cpu: 1, gpu: 0}\n", "")
    spec = read(tmp_path, text)["digits"]
    assert (spec.about, spec.analysis) == ("", None)
    assert around_config(spec, "at", "model", {}) == ModelConfig(name="small_cnn", width=16)
    assert (spec.resources.cpu, spec.resources.gpu) == (1, 0.0)
    assert spec.search is not None
    assert spec.search.sampler == "tpe"


DECLARED = {
    "{}": (None, None, None),
    "{clean_floor: 0.5}": (None, 0.5, None),
    "{primary: hypervolume_difference, margin: 0.02}": (None, None, 0.02),
    "{primary: {hypervolume_difference: [sam_at, at]}}": (("sam_at", "at"), None, None),
}


@pytest.mark.parametrize(("written", "meant"), DECLARED.items(), ids=DECLARED)
def test_what_is_declared_before_the_results_is_read(tmp_path, written, meant):
    analysis = read_one(tmp_path, "{clean_floor: 0.9}", written).analysis
    assert analysis is not None
    assert (analysis.primary, analysis.clean_floor, analysis.margin) == meant


@pytest.mark.parametrize("written", ["0.5pp", "0.5 pp", "0.005", "5e-3"])
def test_a_clean_margin_is_a_fraction_or_percentage_points(tmp_path, written):
    analysis = read_one(tmp_path, "{clean_floor: 0.9}", f"{{clean_margin: {written}}}").analysis
    assert analysis is not None
    assert analysis.clean_margin == 0.005


@pytest.mark.parametrize("written", ["[90%, 95.5%]", "[0.955, 0.9]", "[95.5 %, 0.9]"])
def test_clean_floors_are_percentages_or_fractions_and_rise(tmp_path, written):
    analysis = read_one(tmp_path, "{clean_floor: 0.9}", f"{{clean_floors: {written}}}").analysis
    assert analysis is not None
    assert analysis.clean_floors == (0.9, 0.955)


def test_claims_are_read_and_leave_their_radius_and_margin_to_the_study(tmp_path):
    more = "methods: [at, sam], direction: more"
    equal = "methods: [sam, sam_at], direction: equal, radius: 1/20, margin: 1 pp, at_clean: 90%"
    text = f"{{margin: 0.02}}\n  claims: [{{{more}}}, {{{equal}}}]"
    assert [
        claim_text(one) for one in claims_of(read_one(tmp_path, "{clean_floor: 0.9}", text))
    ] == [
        "at more than sam, radius 0.1, margin 0.02",
        "sam equal to sam_at, radius 0.05, margin 0.01, clean 0.9",
    ]


def test_a_primary_contrast_is_not_blamed_for_a_mistake_in_its_method(tmp_path):
    text = VALID.replace("{clean_floor: 0.9}", "{primary: {hypervolume_difference: [at, sam]}}")
    [message] = messages(tmp_path, text.replace("rho: [0.1, 0.2]", "rho: [0.1, -1]"))
    assert "digits.methods.sam.weights.sam.rho" in message


NUMBERS = {
    "1e-3": 0.001,
    "1e3": 1000.0,
    "1.0e-3": 0.001,
    "5E-4": 0.0005,
    "+0.5": 0.5,
    ".5": 0.5,
    "2.": 2.0,
    "0": 0.0,
    "1": 1.0,
}


@pytest.mark.parametrize(("text", "number"), NUMBERS.items(), ids=NUMBERS)
def test_every_usual_spelling_of_a_number_is_a_number(tmp_path, text, number):
    spec = read_one(tmp_path, "learning_rate: 0.1", f"learning_rate: {text}")
    found = dict(spec.training.settings)["learning_rate"]
    assert found == number
    assert isinstance(found, float)


@pytest.mark.parametrize("text", ["8/255", "8 / 255", '"8/255"', "16/510", "0.03137254901960784"])
def test_a_radius_may_be_written_as_papers_write_it(tmp_path, text):
    spec = read_one(tmp_path, "epsilon: 8/255", f"epsilon: {text}")
    assert dict(settings_of(spec, "at"))["inputs.pgd.epsilon"] == 8 / 255


def test_fractions_are_read_in_every_radius(tmp_path):
    text = VALID.replace("radii: [0.05, 0.1]", "radii: [4/255, 8/255]")
    text = text.replace("objective_radius: 0.1", "objective_radius: 8/255")
    text = text.replace("step_size: auto", "step_size: [auto, 1/255]")
    text = text.replace("epsilon: 8/255", "epsilon: {low: 1/255, high: 8/255}")
    spec = read(tmp_path, text)["digits"]
    assert spec.evaluation.radii == (4 / 255, 8 / 255)
    assert spec.evaluation.objective_radius == 8 / 255
    at = dict(settings_of(spec, "at"))
    assert at["inputs.pgd.epsilon"] == Range(low=1 / 255, high=8 / 255)
    sam_at = dict(settings_of(spec, "sam_at"))
    assert sam_at["inputs.pgd.step_size"] == ("auto", 1 / 255)


def test_a_range_of_steps_is_of_whole_numbers(tmp_path):
    spec = read_one(tmp_path, "epsilon: 8/255, steps: 5", "epsilon: 0, steps: {low: 1, high: 9}")
    steps = dict(settings_of(spec, "at"))["inputs.pgd.steps"]
    assert steps == WholeRange(low=1, high=9)
    assert isinstance(steps, Range)
    assert steps.is_integer
    assert choices(steps) == (1, 9)


def test_whole_ends_of_a_number_range_become_floats(tmp_path):
    spec = read_one(tmp_path, "low: 0.05, high: 0.5", "low: 1, high: 2")
    [(_, rho), *_] = settings_of(spec, "sam_at")
    assert isinstance(rho, Range)
    assert not rho.is_integer
    assert [type(end) for end in (rho.low, rho.high)] == [float, float]


def test_a_list_of_words_is_a_grid(tmp_path):
    spec = read_one(
        tmp_path, "norm: linf, epsilon: 8", "norm: [l2, linf], epsilon: 0.5, steps: 3}}}#"
    )
    assert dict(settings_of(spec, "at"))["inputs.pgd.norm"] == ("l2", "linf")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("[0.9, 1]", "0.9-1"),
        ("[0, 2/3]", "0-0.6666666666666666"),
        ("[[0, 1], [0.9, 1.0]]", ("0-1", "0.9-1")),
    ],
)
def test_when_a_side_acts_is_one_pair_or_a_list_of_pairs(tmp_path, written, meant):
    spec = read_one(tmp_path, "rho: [0.1, 0.2]", f"rho: 0.1, active: {written}")
    assert dict(settings_of(spec, "sam"))["weights.sam.active"] == meant


@pytest.mark.parametrize("written", ["0.5", "[0.9]", "[0.9, 0.1]", "[0, 1.5]", "{low: 0, high: 1}"])
def test_a_pair_that_is_none_gets_one_message(tmp_path, written):
    bad = VALID.replace("rho: [0.1, 0.2]", f"rho: 0.1, active: {written}", 1)
    [message] = messages(tmp_path, bad)
    assert "digits.methods.sam.weights.sam.active: must be a pair of shares" in message
    assert message.endswith("; write for example [0.9, 1]")


def test_a_side_may_be_a_bare_word(tmp_path):
    sam = "weights: {sam: {rho: [0.1, 0.2]}}"
    spec = read_one(tmp_path, sam, "weights: none, inputs: {pgd: {norm: l2, epsilon: 1, steps: 1}}")
    assert spec.methods["sam"].weights == Side(name="none")
    spec = read_one(tmp_path, sam, f"{sam}, inputs: none, loss: cross_entropy")
    assert spec.methods["sam"].inputs == Side(name="none")


def test_studies_may_share_parts_by_anchors_and_merges(tmp_path):
    text = ".shared:\n  training: &training {epochs: 3, momentum: 0.5}\n" + VALID.replace(
        "    epochs: 20\n", "    <<: *training\n    epochs: 7\n"
    ).replace("    momentum: 0.9\n", "")
    [spec] = read(tmp_path, text).values()
    training = dict(spec.training.settings)
    assert training["epochs"] == 7, "a study's own value comes before a merged one"
    assert training["momentum"] == 0.5


def test_of_several_merged_mappings_the_first_wins(tmp_path):
    text = "".join(
        f".{name}: &{name} {{momentum: {name}}}\n".replace(f": {name}}}", f": 0.{i}}}")
        for i, name in enumerate("ab", start=1)
    )
    text += VALID.replace("    momentum: 0.9\n", "    <<: [*a, *b]\n")
    assert dict(read(tmp_path, text)["digits"].training.settings)["momentum"] == 0.1


def test_an_alias_may_stand_for_a_whole_part(tmp_path):
    other = VALID.replace("digits:", "other:", 1).replace("seeds: [0, 1, 2]", "seeds: *seeds")
    text = VALID.replace("seeds: [", "seeds: &seeds [") + other
    assert read(tmp_path, text)["other"].seeds == (0, 1, 2)


def test_a_mistake_in_a_shared_part_is_located_where_it_stands(tmp_path):
    text = ".shared: &training {momentum: 2}\n" + VALID.replace(
        "    momentum: 0.9\n", "    <<: *training\n"
    )
    assert messages(tmp_path, text) == ["1: digits.training.momentum: must lie in [0, 1), got 2.0"]


def test_a_folder_is_resolved_against_the_studies_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path("sub/studies.yaml").write_text(VALID.replace("name: digits", "name: folder:images", 1))
    spec = read_studies(Path("sub/studies.yaml"))["digits"]
    assert spec.data.name == f"folder:{tmp_path}/sub/images"


def test_a_folder_in_the_home_directory_may_be_written_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    spec = read_one(tmp_path, "name: digits", "name: folder:~/images")
    assert spec.data.name == "folder:/somewhere/images"


def test_extra_images_are_read_with_their_share_beside_the_studies_file(tmp_path: Path) -> None:
    extra = "name: digits, extra: {name: npz:made.npz, share: 0.7}"
    spec = read_one(tmp_path, "name: digits", extra)
    assert spec.data.extra == config.ExtraData(name=f"npz:{tmp_path}/made.npz", share=0.7)
    for text in ("name: digits", "name: digits, extra: none"):
        assert read_one(tmp_path, "name: digits", text).data.extra == "none"


def test_methods_of_several_norms_and_of_class_means_are_read(tmp_path: Path) -> None:
    by = "inputs: {e_at: {epsilon_linf: 8/255, epsilon_l1: 12, steps: 5}}, loss: {ikl: {beta: 10}}"
    spec = read_one(tmp_path, "inputs: {pgd: {norm: linf, epsilon: 8/255, steps: 5}}", by)
    method = method_config(spec.methods["at"], {})
    assert method.inputs == config.EAt(epsilon_linf=8 / 255, epsilon_l1=12.0, steps=5)
    assert method.loss == config.Ikl(beta=10.0)


def test_a_study_cannot_be_changed(tmp_path):
    spec = read_one(tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        spec.seeds = (1,)  # type: ignore[misc]


def test_a_study_survives_pickling(tmp_path):
    spec = read_one(tmp_path)
    assert pickle.loads(pickle.dumps(spec)) == spec


def _filled_in(message: str) -> str:
    crafting = [name for name in config.INPUT_SIDES if name != "none"]
    named = {"SAMPLERS": get_args(Sampler), "INPUT_SIDES": crafting}
    for constant in (
        "WEIGHT_SIDES",
        "TORCHVISION_SETS",
        "ATTACKS",
        "MODELS",
        "SCHEDULES",
        "OPTIMIZERS",
        "DETECTORS",
        "AUGMENTATIONS",
    ):
        named[constant] = getattr(config, constant)
    for constant, names in named.items():
        message = message.replace(constant, ", ".join(names))
    return message


def _mistakes() -> list[object]:
    blocks = (Path(__file__).parent / "mistakes.txt").read_text().split("\n\n")[1:]
    cases = []
    for block in blocks:
        title, *lines = block.strip("\n").splitlines()
        replace, by = (line[9:].encode().decode("unicode_escape") for line in lines[:2])
        says = [_filled_in(line[9:]) for line in lines[2:]]
        cases.append(pytest.param(replace, by, says, id=title.removeprefix("# ")))
    return cases


@pytest.mark.parametrize(("replace", "by", "says"), _mistakes())
def test_a_mistake_gets_its_one_message(tmp_path, replace, by, says):
    assert replace in VALID
    assert messages(tmp_path, VALID.replace(replace, by, 1)) == says


def test_all_mistakes_are_told_at_once(tmp_path):
    changes = {
        "{name: digits}": "{name: cifar}",
        "width: 8": "width: wide",
        "epochs: 20": "epochs: 0",
        "batch_size: 64": "batch_size: 0",
        "momentum: 0.9": "momentun: 0.9",
        "seeds: [0, 1, 2]": "seeds: [0, -1]",
        "standard: {}": "standard:",
        "rho: [0.1, 0.2]": "rho: [0.1, 0.1]",
        "norm: linf, epsilon: 8/255, steps: 5": "norm: linf, epsilon: 8, steps: 0",
        "low: 0.05, high: 0.5": "low: 0.5, high: 0.05",
        "trials: 6": "trails: 6",
        "objective_radius: 0.1": "objective_radius: 0.2",
        "steps: 20": "steps: true",
        "cpu: 1": "cpu: 0",
        "clean_floor: 0.9": "clean_floor: 1.5",
    }
    text = VALID
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    found = messages(tmp_path, text)
    assert [message.split(": ")[1] for message in found] == [
        "digits.data.name",
        "digits.model.width",
        "digits.training.epochs",
        "digits.training.batch_size",
        "digits.training.momentun",
        "digits.seeds",
        "digits.methods.standard",
        "digits.methods.sam.weights.sam.rho",
        "digits.methods.at.inputs.pgd.epsilon",
        "digits.methods.at.inputs.pgd.steps",
        "digits.methods.sam_at.weights.sam.rho",
        "digits.search.trails",
        "digits.evaluation.objective_radius",
        "digits.evaluation.attack.pgd.steps",
        "digits.resources.cpu",
        "digits.analysis.clean_floor",
    ]
    lines = [int(message.split(":")[0]) for message in found]
    assert lines == sorted(lines)


def test_mistakes_of_several_studies_are_told_together(tmp_path):
    other = VALID.replace("digits:", "other:", 1).replace("epochs: 20", "epochs: 0")
    text = VALID.replace("epochs: 20", "epochs: -1") + other
    assert messages(tmp_path, text) == [
        "6: digits.training.epochs: must be a whole number ≥ 1, got -1",
        "33: other.training.epochs: must be a whole number ≥ 1, got 0",
    ]


def test_wrong_radii_do_not_also_blame_the_objective_radius(tmp_path):
    text = VALID.replace("radii: [0.05, 0.1]", "radii: [0.05, 20]")
    assert len(messages(tmp_path, text)) == 1


def _without(part: str) -> str:
    lines = VALID.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"  {part}:"))
    end = start + 1
    while end < len(lines) and lines[end].startswith("   "):
        end += 1
    return "\n".join(lines[:start] + lines[end:])


@pytest.mark.parametrize("part", ["data", "model", "training", "seeds", "methods", "evaluation"])
def test_a_missing_part_is_named_with_an_example_that_is_right(tmp_path, part):
    [message] = messages(tmp_path, _without(part))
    start = f"1: digits.{part}: is missing; add {part}: "
    assert message.startswith(start)
    example = message.removeprefix("1: digits." + part + ": is missing; add ")
    repaired = _without(part) + f"\n  {example}\n"
    if part == "methods":
        repaired = repaired.replace("  search: {trials: 6, sampler: tpe}\n", "")
    assert read(tmp_path, repaired)


def test_no_methods_are_refused(tmp_path):
    text = _without("methods") + "\n  methods: {}\n"
    assert messages(tmp_path, text) == [
        "21: digits.methods: needs at least one entry, but has none; write methods: {standard: {}}"
    ]


@pytest.mark.parametrize("kind", SIDES)
def test_the_example_of_every_side_is_right(kind):
    for name, cls in SIDES[kind].items():
        example = good_value((kind, name))
        values = {
            key: 0.1 if isinstance(value, str) and "/" in value else value
            for key, value in example.items()
        }
        cls(**values)


@pytest.mark.parametrize("name", config.ATTACKS)
def test_the_example_of_every_attack_is_right(name):
    config.ATTACKS[name](**good_value(("attack", name)))


FILES = {
    "empty": (b"", " is empty; declare a study, such as digits: {...}"),
    "only a byte order mark": (
        b"\xef\xbb\xbf",
        " is empty; declare a study, such as digits: {...}",
    ),
    "only a tab": (b" \n\t\n", "2: is not valid YAML, found a tab; write spaces instead"),
    "only a comment": (b"# nothing\n", " is empty; declare a study, such as digits: {...}"),
    "a list": (b"- a\n- b\n", "1: must be a mapping of studies, got a list; write digits: {...}"),
    "a number": (b"3\n", "1: must be a mapping of studies, got 3; write digits: {...}"),
    "null": (b"null\n", "1: must be a mapping of studies, got nothing; write digits: {...}"),
    "no study": (b".shared: {a: 1}\n", "1: declares no study; write one, such as digits: {...}"),
    "not UTF-8": (
        b"digits:\n  about: caf\xe9\n",
        "2: must be UTF-8, got the byte 0xe9; save it as UTF-8",
    ),
    "UTF-16": (
        "digits: {}".encode("utf-16"),
        "1: must be UTF-8, got the byte 0xff; save it as UTF-8",
    ),
    "noise": (
        random.Random(0).randbytes(10_000_000),
        " must be at most 256 KiB, but is larger; is it a studies file?",
    ),
    "open brackets": (
        b"[" * 200_000,
        "1: is not valid YAML, it is nested more than 32 levels deep; "
        "check indentation, brackets and quotes",
    ),
    "alias bomb": (
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (this, this, b",".join([b"*%c" % before] * 10))
            for before, this in zip(b"abcdefgh", b"bcdefghi", strict=True)
        ),
        "1: holds more than 50000 values, aliases expanded; use fewer aliases",
    ),
}


@pytest.mark.parametrize(("content", "says"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_studies_file_is_refused_quickly(tmp_path, content, says):
    start = time.process_time()
    assert messages(tmp_path, content) == [says]
    # Of this process alone: other processes take none of these seconds.
    assert time.process_time() - start < 5


def test_a_merge_bomb_is_refused(tmp_path):
    bomb = ".k0: &k0 {x: 1}\n" + "".join(
        f".k{i}: &k{i} {{<<: [{', '.join([f'*k{i - 1}'] * 9)}]}}\n" for i in range(1, 20)
    )
    [message] = messages(tmp_path, bomb)
    assert "aliases expanded" in message


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbf" + VALID.replace("\n", "\r\n").encode())


def test_a_missing_file_is_named_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        read_studies(Path("sub/none.yaml"))
    [message] = caught.value.messages
    assert message == "sub/none.yaml: there is no such file; check its name and folder"


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SpecError, match="is a folder; name the studies file inside it"):
        read_studies(tmp_path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "studies.yaml"
    path.write_text(VALID)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(SpecError, match="may not be read by this user"):
        read_studies(path)


def test_a_path_that_no_file_can_have_is_refused():
    with pytest.raises(SpecError, match="cannot be read"):
        read_studies(Path("a\0b"))


def test_a_grid_too_large_to_run_is_refused_with_its_size(tmp_path):
    values = ", ".join(f"{i / 1000}" for i in range(1, 301))
    pgd = f"{{pgd: {{norm: linf, steps: 5, epsilon: [{values}]}}}}"
    by = f"{{sam: {{rho: [{values}]}}}}, inputs: {pgd}"
    text = VALID.replace("{sam: {rho: [0.1, 0.2]}}", by)
    assert messages(tmp_path, text) == [
        "13: digits.methods: must have at most 100000 cells, seeds included, got 270042; "
        "shorten its lists"
    ]


def test_more_mistakes_than_anybody_reads_are_counted(tmp_path):
    text = "".join(f"study{i}: 3\n" for i in range(150))
    found = messages(tmp_path, text)
    assert len(found) == 101
    assert found[-1] == " 50 more mistakes are not shown"


def test_reading_a_study_starts_no_heavy_library():
    program = (
        "import sys, study.plan.space\n"
        "print([m for m in ('ray', 'optuna', 'mlflow', 'torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_shipped_studies_are_right():
    assert read_studies(Path(__file__).parents[3] / "studies.yaml")


quick = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _read_or_refuse(folder: Path, content: bytes) -> None:
    """Read; the only failure may be SpecError, one line a message."""
    try:
        read(folder, content)
    except SpecError as error:
        told = error.messages
    else:
        return
    assert told
    assert all(len(message.splitlines()) == 1 for message in told)


@quick
@given(st.text(max_size=200))
def test_no_text_ends_in_a_traceback(tmp_path, text):
    _read_or_refuse(tmp_path, text.encode("utf-8", "surrogatepass"))


@quick
@given(st.binary(max_size=200))
def test_no_bytes_end_in_a_traceback(tmp_path, content):
    _read_or_refuse(tmp_path, content)


PIECES = (
    *("{", "}", "[", "]", ":", ",", "- ", "\n", "  ", "&a ", "*a", "<<: ", "? ", "| ", "!!int "),
    *("null", "true", "on", ".nan", "1e999", "8/0", "-1", "010", "'", '"', "{}", "[]", "#", "\0"),
    *("{low: 1, high: 2}", "weights", "sam", "none", "name", "methods", "model_config", "é"),
)


@quick
@given(
    st.lists(
        st.tuples(st.integers(0, len(VALID)), st.integers(0, 12), st.sampled_from(PIECES)),
        min_size=1,
        max_size=4,
    )
)
def test_no_mutation_of_a_study_ends_in_a_traceback(tmp_path, edits):
    text = VALID
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    _read_or_refuse(tmp_path, text.encode())


odd_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.floats(-1, 20)
    | st.sampled_from(["none", "sam", "8/255", "auto", "linf", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["low", "high", "log", "sam", "rho", "pgd"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@quick
@given(st.data())
def test_no_odd_value_ends_in_a_traceback(tmp_path, data):
    """Put any value in the place of any other; the file is JSON, which is YAML."""
    document = yaml.safe_load(VALID)
    inner = document
    while True:
        key = data.draw(st.sampled_from(sorted(inner, key=str)))
        if not isinstance(inner[key], dict) or not inner[key] or data.draw(st.booleans()):
            break
        inner = inner[key]
    inner[key] = data.draw(odd_values)
    _read_or_refuse(tmp_path, json.dumps(document).encode())


GRID = VALID.replace("{low: 0.05, high: 0.5, log: true}", "0.1")


def test_a_study_without_ranges_may_stop_trainings_and_race_seeds(tmp_path):
    for stop in ("{rungs: [0.2, 0.5], keep: 0.5, grids: true}", "never"):
        search = f"search: {{stop: {stop}, seeds: adaptive}}"
        text = GRID.replace("search: {trials: 6, sampler: tpe}", search)
        declared = read(tmp_path, text)["digits"].search
        assert declared.seeds == "adaptive"
        assert declared.stop is None if stop == "never" else declared.stop.rungs == (0.2, 0.5)


def test_what_acts_on_no_grid_is_refused_in_a_study_without_ranges(tmp_path):
    search = "search: {trials: 6, stop: {rungs: [0.5], keep: 0.5}}"
    text = GRID.replace("search: {trials: 6, sampler: tpe}", search)
    assert messages(tmp_path, text) == [
        "20: digits.search.trials: has no effect, as no method has a range; remove it",
        "20: digits.search.stop.grids: must be true, as no method has a range; add grids: true, "
        "or remove stop",
    ]
