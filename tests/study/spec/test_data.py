"""Data and transforms of one's own in a studies file: what is read, keyed and said of mistakes."""

import json
from pathlib import Path

import pytest

from study.plan import space
from study.plan.reasons import changes
from study.spec import SpecError, StudySpec, read_studies

PARTS = """\
def pets(root: str, size: int = 8, mode: str = "plain"):
    return root


def tint(images, generator, strength: float = 0.1):
    return images
"""
STUDIES = """\
mine:
  data: {name: my_data:pets, settings: {root: ../pets}, transform: {my_data:tint: {strength: 1}}}
  model: {name: small_cnn, width: 4}
  training: {epochs: 1, batch_size: 8, learning_rate: 0.1, momentum: 0, weight_decay: 0,
             schedule: cosine}
  seeds: [0]
  methods: {standard: {}}
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 2, restarts: 1}}}
"""


def read(folder: Path, studies: str = STUDIES, parts: str = PARTS) -> StudySpec:
    (folder / "my_data.py").write_text(parts)
    (folder / "studies.yaml").write_text(studies)
    return read_studies(folder / "studies.yaml")["mine"]


def key_of(spec: StudySpec) -> dict[str, object]:
    """Return what a cell's key is made of, as it is recorded."""
    config = space.cell_config(spec, "standard", {}, 0)
    found: dict[str, object] = json.loads(json.dumps(space.canonical(config, "content")))
    return found


def test_a_path_among_the_settings_is_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    data = read(tmp_path).data
    settings = {"root": str(tmp_path / "../pets"), "size": 8, "mode": "plain"}
    assert data.settings.settings == settings
    assert data.transform.settings == {"strength": 1.0}
    word = read(tmp_path, STUDIES.replace("../pets", "pets"))
    assert word.data.settings.settings["root"] == "pets"
    named = read(tmp_path, STUDIES.replace("{my_data:tint: {strength: 1}}", "my_data:tint"))
    assert named.data.transform.settings == {"strength": 0.1}


def test_a_key_holds_content_and_source_of_data_but_not_its_path(tmp_path: Path) -> None:
    key = key_of(read(tmp_path))
    assert key["data"] == "content"
    assert key == key_of(read(tmp_path, STUDIES.replace("../pets", "../moved")))
    stronger = key_of(read(tmp_path, STUDIES.replace("strength: 1", "strength: 2")))
    assert changes(key, stronger) == "transform.my_data:tint.strength 1 → 2"


@pytest.mark.parametrize("line", ["return root", "return images"])
def test_an_edit_of_data_or_transform_is_named(tmp_path: Path, line: str) -> None:
    before = key_of(read(tmp_path))
    after = key_of(read(tmp_path, parts=PARTS.replace(line, f"{line} or None")))
    assert changes(before, after) == "my_data.py changed since"
    other = key_of(read(tmp_path, parts=PARTS + "\n\ndef unused():\n    pass\n"))
    assert other == before


@pytest.mark.parametrize(
    ("replace", "by", "says"),
    [
        ("root:", "rot:", "data.settings.rot: unknown key; did you mean root?"),
        ("../pets", "3", "data.settings.root: must be text"),
        ("{root: ../pets}", "{}", "data.settings.root: is missing"),
        ("my_data:pets", "my_data:pts", "data.name: my_data.py:1: there is no pts; did you mean"),
        ("name: my_data:pets", "name: digits", "data.settings: are for data of your own"),
        ("strength: 1", "strenght: 1", "strenght: unknown key; did you mean strength?"),
        ("{my_data:tint: {strength: 1}}", "flip", "data.transform: must name a function"),
        ("my_data:tint", "my_data:pets", "must take images, got root, size, mode"),
    ],
)
def test_a_mistake_in_own_data_gets_one_line(
    tmp_path: Path, replace: str, by: str, says: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, STUDIES.replace(replace, by, 1))
    (line,) = str(caught.value).splitlines()
    assert says in line, line
    assert line.startswith(f"{tmp_path / 'studies.yaml'}:2: mine.")
