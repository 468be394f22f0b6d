"""One document holds everything that is said, and is read back as it was."""

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest

from analysis.analyse import analyse, without_bits
from analysis.document import Analysis, read_json, write_json
from analysis.results.results import Results
from analysis.results.trials import AbsentTrial, ResultsError

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


@pytest.fixture
def toy(draw: Draw) -> Toy:
    return lambda **options: draw(CELLS, **{"num_test": 300, "noise": 0.02, **options})


@pytest.fixture
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
        ('{"schema": "rhoeps.front/1"}', "front.json: lacks results"),
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
