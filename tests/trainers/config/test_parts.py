"""Own parts are found by `module:attribute`; what is wrong with one is one line."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import MY_PARTS, own, write_parts
from trainers.config import ConfigError
from trainers.config.own import settings_class
from trainers.config.parts import PartKind, entry_point_names, find_part, loaded, source_of
from trainers.config.sources import PartError, package_of

WRONG: dict[str, tuple[PartKind, str, str, str]] = {
    "no such module": ("networks", "nets:Net", "", "there is no module nets in"),
    "no such attribute": (
        *("networks", "wrong:Nett", "def Net(image_shape, num_classes): ..."),
        r"wrong\.py:1: there is no Nett; did you mean Net\?",
    ),
    "own names come first": (
        *("networks", "wrong:Vit", "from math import tau, pi\nclass Own: ..."),
        r"wrong\.py:1: there is no Vit; it has Own, tau, pi",
    ),
    "an ending": ("networks", "wrong.py:Net", "", "without the ending .py"),
    "an error inside": (
        *("networks", "wrong:Net", "import math\n\nX = math.foo\n"),
        r"wrong\.py:3: AttributeError: .*foo.*; correct the line",
    ),
    "a syntax error": (
        *("networks", "wrong:Net", "x = 1\nx = = 2\n"),
        r"wrong\.py:2: SyntaxError: .*; correct the line",
    ),
    "an error in what it imports": (
        *("networks", "wrong:Net", "import wrong_too\n"),
        r"wrong_too\.py:2: ZeroDivisionError: .*; correct the line",
    ),
    "a signature without weights": (
        *("weights", "wrong:mine", "\n\ndef mine(gradient_at, *, rho: float): ..."),
        r"wrong\.py:3: mine: must take gradient_at, weights, got .*; add weights \(see docs/",
    ),
    "a setting without a type": (
        *("weights", "wrong:mine", "def mine(gradient_at, weights, rho): ..."),
        r"wrong\.py:1: mine: the setting rho must have a type",
    ),
    "a setting of a strange type": (
        *("weights", "wrong:mine", "def mine(gradient_at, weights, rho: dict): ..."),
        r"the setting rho must be int, float, .* got dict; change its type",
    ),
    "a setting with a taken name": (
        *("weights", "wrong:mine", "def mine(gradient_at, weights, kind: str = 'a'): ..."),
        "the setting kind has the name of something else here; rename it",
    ),
    "an object that can be called": (
        *("losses", "wrong:mine", "import functools\nmine = functools.partial(print)"),
        r"wrong\.py:2: mine: must be a function or a class, got partial; write a function",
    ),
    "an end of Python": (
        *("networks", "wrong:Net", "raise SystemExit(3)"),
        r"wrong\.py:1: it ends Python \(3\) as it is imported; remove that",
    ),
    "no function": ("losses", "wrong:mine", "mine = 3", "must be a function or a class, got int"),
    "an unknown kind": (
        *("weights", "wrong:mine", "def mine(gradient_at, weights): ...\nmine.kind = 'sharp'"),
        r"kind must be one of sharpness, adversarial, other, got 'sharp'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_part_is_one_line(case: str, tmp_path: Path) -> None:
    kind, name, text, expected = WRONG[case]
    write_parts(tmp_path, wrong=text, wrong_too="x = 1\nx / 0\n")
    with pytest.raises(PartError) as refused:
        settings_class(find_part(kind, name, tmp_path))
    assert re.search(expected, str(refused.value)), refused.value
    assert "\n" not in str(refused.value)


def test_settings_are_what_is_not_given(tmp_path: Path) -> None:
    write_parts(tmp_path)
    network = loaded(find_part("networks", "my_parts:Net", tmp_path))
    assert [(s.name, s.hint, s.default) for s in network.settings] == [
        ("depth", int, 1),
        ("dropout", float, 0.1),
    ]
    assert own(tmp_path, "weights", "my_parts:Mine", rho=0.1).takes == {"gradient_at", "weights"}


def test_a_dataclass_refuses_its_settings_itself(tmp_path: Path) -> None:
    write_parts(tmp_path)
    with pytest.raises(ConfigError, match=r"must be at least 0 \(of my_parts.py:26\)") as refused:
        own(tmp_path, "weights", "my_parts:Mine", rho=-1.0)
    assert (refused.value.field, refused.value.value) == ("rho", -1.0)


def test_a_part_travels_as_text(tmp_path: Path) -> None:
    """Another process, without the file, builds the same settings and runs the same code."""
    source, elsewhere = tmp_path / "here", tmp_path / "there"
    source.mkdir()
    elsewhere.mkdir()
    text = (
        "def loss(logits, labels, *, by: float = 2.0):\n    import later\n    return later.X * by\n"
    )
    write_parts(source, mine=text, later="X = 21\n")
    packed = pickle.dumps(own(source, "losses", "mine:loss"))
    assert pickle.loads(packed) == own(source, "losses", "mine:loss")
    for file in source.glob("*.py"):
        file.unlink()
    (elsewhere / "packed").write_bytes(packed)
    reading = "import pickle; part = pickle.load(open('packed', 'rb')); "
    command = [sys.executable, "-c", reading + "print(part.ready()(logits=1, labels=2))"]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.stdout == "42.0\n", done.stderr


def test_two_folders_may_have_modules_of_one_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        text = f"import other\ndef loss(logits, labels):\n    return '{name}', other.X"
        write_parts(tmp_path / name, mine=text, other=f"X = '{name}'")
    first, second = (own(tmp_path / name, "losses", "mine:loss") for name in ("a", "b"))
    again = own(tmp_path / "a", "losses", "mine:loss")
    given = {"logits": 0, "labels": 0}
    found = [one.ready()(**given) for one in (first, second, again)]
    assert found == [("a", "a"), ("b", "b"), ("a", "a")]


def test_a_library_of_the_same_name_stays_what_it_is(tmp_path: Path) -> None:
    import colorsys

    text = "import colorsys\ndef loss(logits, labels):\n    return colorsys.X"
    write_parts(tmp_path, mine=text, colorsys="X = 'mine'")
    assert own(tmp_path, "losses", "mine:loss").ready()(logits=0, labels=0) == "mine"
    assert sys.modules["colorsys"] is colorsys


def test_an_edit_changes_the_source_of_the_parts_that_it_decides(tmp_path: Path) -> None:
    def sources() -> dict[str, dict[str, str]]:
        kinds: dict[str, PartKind] = {"Net": "networks", "Mine": "weights", "fgsm": "inputs"}
        found = {a: find_part(kind, f"my_parts:{a}", tmp_path) for a, kind in kinds.items()}
        return {attribute: source_of(part) for attribute, part in found.items()}

    def changed(**files: str) -> set[str]:
        write_parts(tmp_path, **files)
        after = sources()
        return {name for name in before if before[name] != after[name]}

    write_parts(tmp_path)
    before = sources()
    assert list(before["Net"]) == ["my_parts.py", "my_layers.py"]
    assert list(before["Mine"]) == ["my_parts.py"]
    assert changed(my_parts=MY_PARTS.replace("1e-12", "1e-9")) == {"Mine"}
    assert changed(my_parts=MY_PARTS.replace("sign()", "sign().neg()")) == {"fgsm"}
    assert changed(my_layers="HIDDEN = 13\n") == {"Net"}
    assert changed(my_parts=MY_PARTS + "\n# A comment.\n") == set()
    assert changed(my_parts=MY_PARTS + "\ntorch.set_num_threads(1)\n") == {"Net", "Mine", "fgsm"}


def _install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution with an entry point, as pip lays it out."""
    info = folder / "their_parts-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-parts\nVersion: 1.2\n")
    (info / "top_level.txt").write_text("their_parts\n")
    (info / "entry_points.txt").write_text("[rhoeps.losses]\nmean = their_parts:mean_loss\n")
    (folder / "their_parts.py").write_text("def mean_loss(logits, labels):\n    return 7\n")
    monkeypatch.syspath_prepend(str(folder))
    entry_point_names.cache_clear()
    package_of.cache_clear()


def test_an_installed_part_is_found_by_entry_point_and_known_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "site", monkeypatch)
    for name in ("mean", "their_parts:mean_loss"):
        part = find_part("losses", name, tmp_path)
        assert settings_class(part)().ready()(logits=0, labels=0) == 7
        assert source_of(part) == {"their-parts": "1.2"}
    entry_point_names.cache_clear()
    package_of.cache_clear()
