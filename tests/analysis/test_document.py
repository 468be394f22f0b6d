"""One document holds everything that is said, and is read back as it was."""

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from analysis.analysing import analyse, without_bits
from analysis.document import Analysis, from_plain, read_json, to_plain, write_json
from analysis.results.methods import MethodNote
from analysis.results.results import Results, compared
from analysis.results.trials import UNWRITTEN, AbsentTrial, ResultsError

Draw = Callable[..., Results]

CELLS: list[tuple[str, dict[str, float], float, float]] = [
    ("standard", {}, 0.95, 0.05),
    *[
        ("at", {"epsilon": 0.02 * level}, 0.95 - 0.02 * level, 0.2 + 0.1 * level)
        for level in range(1, 6)
    ],
    *[
        ("sam", {"rho": 0.1 * level}, 0.95 - 0.005 * level, 0.05 + 0.03 * level)
        for level in range(1, 6)
    ],
]


Toy = Callable[..., Results]


@pytest.fixture(scope="module")
def toy(draw: Draw) -> Toy:
    return lambda **options: draw(CELLS, **{"num_test": 300, "noise": 0.02, **options})


@pytest.fixture(scope="module")
def analysis(toy: Toy) -> Analysis:
    return analyse(toy(), replicates=200)


def test_an_analysis_is_read_back_as_it_was_written(analysis: Analysis) -> None:
    text = write_json(analysis)
    assert write_json(read_json(text)) == text
    assert read_json(text).findings == analysis.findings


def test_equal_results_and_seed_give_equal_bytes(analysis: Analysis, toy: Toy) -> None:
    assert write_json(analyse(toy(), replicates=200)) == write_json(analysis)


def test_another_replicate_seed_moves_the_intervals_only(analysis: Analysis, toy: Toy) -> None:
    other = analyse(toy(), replicates=200, seed=1)
    one, two = analysis.primary.contrasts.hypervolumes, other.primary.contrasts.hypervolumes
    assert [h.value.estimate for h in one] == [h.value.estimate for h in two]
    assert [h.value.low for h in one] != [h.value.low for h in two]


def test_a_document_holds_no_bits(analysis: Analysis) -> None:
    assert all(trial.bits is None for trial in analysis.results.trials)
    assert analysis.estimand == "population"


def test_without_bits_the_estimand_is_this_test_set(toy: Toy) -> None:
    found = analyse(without_bits(toy()), replicates=200)
    assert found.estimands == ("this test set",)
    assert all(f.estimand != "population" for f in found.findings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "schema must be rhoeps.front/1, got None"),
        ('{"schema": "rhoeps.front/2"}', "got 'rhoeps.front/2'"),
        ('{"schema": "rhoeps.front/1"}', "front.json.results: is missing"),
    ],
)
def test_what_is_no_front_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ResultsError, match=re.escape(message)):
        read_json(text)


def test_every_number_of_a_sentence_stands_in_the_document(analysis: Analysis) -> None:
    numbers = _printed(json.loads(write_json(replace(analysis, findings=()))))
    for finding in analysis.findings:
        text = re.sub(r"PGD-\d+|\d+/255|95%", "", finding.text)
        for said in re.findall(r"(?<![\w.])\d+\.\d+", text):
            assert said in numbers, f"{said} of: {finding.text}"


def _printed(plain: object) -> set[str]:
    """Give every number of a document as a sentence may print it."""
    if isinstance(plain, dict):
        return set().union(*(_printed(item) for item in plain.values()), set())
    if isinstance(plain, list):
        return set().union(*(_printed(item) for item in plain), set())
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        return set()
    size = abs(plain)
    return {f"{100 * size:.1f}", f"{size:.1f}", f"{size:.2f}", f"{size:.3g}", f"{size:.2g}"}


def _few(results: Results, keep: int) -> Results:
    return replace(results, trials=results.trials[:keep])


DEGENERATE = {
    "no trial": lambda draw, toy: replace(toy(), trials=()),
    "one configuration, one seed": lambda draw, toy: _few(toy(), 1),
    "one configuration": lambda draw, toy: draw(CELLS[:1], num_test=300),
    "one seed": lambda draw, toy: toy(seeds=(0,)),
    "two seeds": lambda draw, toy: toy(seeds=(0, 1)),
    "no validation": lambda draw, toy: toy(num_validation=0),
    "no bits": lambda draw, toy: without_bits(toy()),
    "equal points": lambda draw, toy: draw(
        [("at", {"epsilon": 0.1 * i}, 0.9, 0.3) for i in range(1, 7)], num_test=300, noise=0.0
    ),
    "zero robust accuracy": lambda draw, toy: draw(
        [("sam", {"rho": 0.1 * i}, 0.95 - 0.01 * i, 1e-12) for i in range(1, 7)], num_test=300
    ),
    "all dominated by one": lambda draw, toy: draw(
        [
            ("at", {"epsilon": 0.1}, 0.97, 0.6),
            *[("sam", {"rho": 0.1 * i}, 0.95 - 0.01 * i, 0.3 - 0.01 * i) for i in range(1, 7)],
        ],
        num_test=300,
    ),
    "missing seeds": lambda draw, toy: replace(
        toy(),
        trials=tuple(t for at, t in enumerate(toy().trials) if at % 4),
        absent=(
            AbsentTrial(
                method="at", values={"epsilon": 0.5}, seed=0, status="failed", reason="NaN"
            ),
        ),
    ),
    "one radius": lambda draw, toy: draw(CELLS, num_test=300, radii=(0.1,)),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_odd_results_give_a_truthful_document(name: str, draw: Draw, toy: Toy) -> None:
    results = DEGENERATE[name](draw, toy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = analyse(results, replicates=100)
    assert write_json(read_json(write_json(found)))
    if not results.trials:
        return
    assert found.findings
    for finding in found.findings:
        assert finding.text.endswith((".", ")"))
        assert "nan" not in finding.text.lower().replace("nan)", "")
        if finding.status != "claimed":
            assert finding.reason, finding.text


def test_a_document_of_before_the_additions_is_still_read(analysis: Analysis) -> None:
    document = json.loads(write_json(analysis))
    for name in ("tiers", "others", "diagnoses"):
        del document[name]
    for trial in document["results"]["trials"]:
        for name in ("other", "strong", "checks", "detections"):
            del trial[name]
    assert write_json(read_json(json.dumps(document))) == write_json(analysis)


@dataclass(frozen=True, kw_only=True)
class Leaf:
    number: float
    name: Literal["one", "two"]


@dataclass(frozen=True, kw_only=True)
class Tree:
    leaves: tuple[Leaf, ...]
    pair: tuple[int, float]
    values: Mapping[str, float | int | str]
    maybe: Leaf | None
    nested: tuple[tuple[float, ...], ...]
    is_tall: bool = False
    memory: object = field(default=None, metadata=UNWRITTEN)


TREE = Tree(
    leaves=(Leaf(number=0.1, name="one"), Leaf(number=2.0, name="two")),
    pair=(3, 0.5),
    values={"rho": 0.1, "steps": 4, "norm": "linf"},
    maybe=None,
    nested=((1.0, 2.0), ()),
    is_tall=True,
)


def test_a_value_survives_json() -> None:
    again = from_plain(Tree, json.loads(json.dumps(to_plain(TREE))))
    assert again == TREE
    assert isinstance(again.values["steps"], int)
    assert isinstance(again.leaves[1].number, float)


def test_what_stays_in_memory_is_not_written() -> None:
    assert "memory" not in to_plain(TREE)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_is_named_by_its_place(number: float) -> None:
    with pytest.raises(TypeError, match=r"\.number: cannot be written"):
        to_plain(Leaf(number=number, name="one"))


ODD = [
    ({"leaves": 3}, r"Tree\.leaves: must be a valid array, got 3"),
    ({"leaves": [{"number": "x", "name": "one"}]}, r"leaves\[0\]\.number: must be a valid number"),
    (
        {"leaves": [{"number": 1, "name": "three"}]},
        r"leaves\[0\]\.name: must be 'one' or 'two', got",
    ),
    ({"leaves": [{"name": "one"}]}, r"leaves\[0\]\.number: is missing$"),
    ({"pair": [1]}, r"Tree\.pair\[1\]: is missing$"),
    ({"values": []}, r"Tree\.values: must be an object, got \[\]"),
    ({"is_tall": 1}, r"Tree\.is_tall: must be a valid boolean, got 1"),
    ({"maybe": 3}, r"Tree\.maybe: must be an object, got 3"),
    ({"pair": [True, 0.5]}, r"Tree\.pair\[0\]: must be a valid integer, got True"),
]


@pytest.mark.parametrize(("change", "message"), ODD, ids=[m for _, m in ODD])
def test_what_does_not_fit_is_refused_by_its_place(change: dict[str, object], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        from_plain(Tree, {**to_plain(TREE), **change})


def test_results_that_do_not_belong_together_are_refused_in_their_own_words(
    analysis: Analysis,
) -> None:
    document = json.loads(write_json(analysis))
    document["results"]["clean_floor"] = 2.0
    with pytest.raises(ResultsError, match=r"^toy: clean_floor must lie in \[0, 1\), got 2.0$"):
        read_json(json.dumps(document))


def test_kinds_are_written_only_where_the_names_of_the_sides_mislead(draw: Draw) -> None:
    results = draw(CELLS, sides={"standard": "none", "at": "pgd", "sam": "looksam"})
    standard, at, sam = results.methods
    kinds = [("none", "none"), ("none", "adversarial"), ("sharpness", "none")]
    typed = tuple(
        replace(note, weights=weights, inputs=inputs)
        for note, (weights, inputs) in zip((standard, at, sam), kinds, strict=True)
    )
    assert [note.kind for note in typed] == ["standard", "adversarial", "sharpness"]
    written = [to_plain(note) for note in typed]
    assert [("weights" in one, "inputs" in one) for one in written] == [
        (False, False),
        (False, False),
        (True, True),
    ]
    assert [from_plain(MethodNote, one).kind for one in written] == [note.kind for note in typed]
    names = ("standard", "at", "sam")
    assert compared(replace(results, methods=typed), names) == (("at", "sam"),)
    # Without the kinds a new SAM is a stranger, still compared with each other method.
    assert sam.kind == "other"


@pytest.mark.parametrize("before", ["", "import analysis.report.bundle; "], ids=["first", "late"])
def test_public_names_are_what_they_say_in_a_new_process(before: str) -> None:
    code = (
        f"{before}import types, analysis; "
        "from analysis import analyse, read_table; "
        "kinds = {name: type(getattr(analysis, name)) for name in analysis.__all__}; "
        "assert types.ModuleType not in kinds.values(), kinds; "
        "assert callable(analyse) and callable(read_table)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
