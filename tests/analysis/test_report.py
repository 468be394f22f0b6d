"""Report: truthful, self-contained, the same bytes every time, whole or not there."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from analysis.bundle import results_from_json, results_to_json
from analysis.choice import choose
from analysis.findings import headline, limits, reached
from analysis.report import FILES, bundle, page, write_report
from analysis.results import AbsentTrial, MethodNote, Results, ResultsError, TrialResult
from analysis.tables import configuration_table, front_table

RADII = (0.05, 0.1, 0.15, 0.2)
ATTACK = "<script>alert('x')</script>"


def bare(results: Results) -> Results:
    return replace(results, trials=tuple(replace(trial, bits=None) for trial in results.trials))


def changed(results: Results, change: Callable[[TrialResult], TrialResult]) -> Results:
    return replace(results, trials=tuple(change(trial) for trial in results.trials))


def without_validation(results: Results) -> Results:
    trials = (replace(t, validation_clean=None, validation_robust=None) for t in results.trials)
    return replace(results, num_validation=0, trials=tuple(trials))


def all_missing(results: Results) -> Results:
    absent = tuple(
        AbsentTrial(method=t.method, values=t.values, seed=t.seed, status="missing", reason="")
        for t in results.trials
    )
    return replace(results, trials=(), absent=absent)


def equal_points(results: Results) -> Results:
    first = results.trials[0]
    return changed(
        results,
        lambda t: replace(
            first, method=t.method, values=t.values, seed=t.seed, bits=None, sample_hash=None
        ),
    )


def all_dominated(results: Results) -> Results:
    def worse(trial: TrialResult) -> TrialResult:
        if trial.values == {"epsilon": 0.15}:
            best = replace(trial, clean=1.0, robust=(1.0,) * len(trial.robust), bits=None)
            return replace(best, validation_clean=1.0, validation_robust=1.0)
        return trial

    return changed(results, worse)


def long_names(results: Results) -> Results:
    names = {note.name: f"{note.name}_{'with_a_very_long_name_' * 4}" for note in results.methods}
    return replace(
        results,
        methods=tuple(replace(note, name=names[note.name]) for note in results.methods),
        trials=tuple(replace(t, method=names[t.method]) for t in results.trials),
        absent=tuple(replace(t, method=names[t.method]) for t in results.absent),
    )


def with_radii(results: Results, kept: slice) -> Results:
    def fewer(trial: TrialResult) -> TrialResult:
        return replace(trial, robust=trial.robust[kept], bits=None)

    threat = replace(results.threat, radii=results.threat.radii[kept])
    trials = tuple(fewer(trial) for trial in results.trials)
    return replace(results, threat=threat, trials=trials)


DEGENERATE: dict[str, Callable[[Results], Results]] = {
    "zero trials": all_missing,
    "no trial and no absent one": lambda r: replace(r, trials=(), absent=()),
    "one configuration": lambda r: replace(r, trials=r.trials[:3], absent=()),
    "one trial": lambda r: replace(r, trials=r.trials[:1], absent=()),
    "one seed": lambda r: replace(
        r, seeds=(0,), trials=tuple(t for t in r.trials if t.seed == 0), absent=()
    ),
    "all dominated by one": all_dominated,
    "equal points": equal_points,
    "zero robust accuracy": lambda r: changed(
        r, lambda t: replace(t, robust=(0.0,) * len(t.robust), validation_robust=0.0, bits=None)
    ),
    "nothing right": lambda r: changed(
        r,
        lambda t: replace(
            t,
            clean=0.0,
            robust=(0.0,) * len(t.robust),
            validation_clean=0.0,
            validation_robust=0.0,
            bits=None,
        ),
    ),
    "no bits": bare,
    "no validation": without_validation,
    "missing seeds": lambda r: replace(r, trials=r.trials[::2]),
    "no seconds, no cost": lambda r: changed(r, lambda t: replace(t, seconds=None, cost=None)),
    "one method": lambda r: replace(
        r, methods=r.methods[2:3], trials=tuple(t for t in r.trials if t.method == "at"), absent=()
    ),
    "as it is, with a single radius": lambda r: r,
    "long names": long_names,
    "sides unknown": lambda r: replace(
        r, methods=tuple(replace(note, sides="?") for note in r.methods)
    ),
}


class Page(HTMLParser):
    """The tags of a page that close, the text in it, and what it would load."""

    VOID = frozenset({"meta", "input", "br", "path", "use", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "action"} and not str(value).startswith("#"):
                self.loads.append(str(value))
            if name == "id":
                self.ids.append(str(value))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1] == tag, f"{tag} closes {self.open[-1]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.text += data


@pytest.fixture(scope="session")
def one_radius(digits: Results) -> Results:
    """The digits study with one figure of its front, for tests that draw it often."""
    return with_radii(digits, slice(1, 2))


@pytest.fixture(scope="session")
def one_trial(one_radius: Results) -> Results:
    return DEGENERATE["one trial"](one_radius)


@pytest.fixture(scope="session")
def digits_bundle(digits: Results) -> dict[str, bytes]:
    return bundle(digits)


@pytest.fixture(scope="session")
def digits_page(digits_bundle: dict[str, bytes]) -> str:
    return digits_bundle["index.html"].decode()


@pytest.mark.parametrize("change", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_results_give_a_whole_page_without_nan(
    one_radius: Results, change: Callable[[Results], Results]
):
    results = change(one_radius)
    text = page(results)
    parsed = Page(text)
    assert parsed.open == []
    for absurd in ("nan", "inf%", "None", "Undefined"):
        assert not re.search(rf"\b{absurd}\b", parsed.text), absurd
    assert len(set(parsed.ids)) == len(parsed.ids)
    if not results.trials:
        assert "No trial of this study has a result" in parsed.text
    assert results_from_json(results_to_json(results)) == bare(results)


def test_the_whole_bundle_is_written_without_any_trial(one_trial: Results, tmp_path: Path):
    index = write_report(all_missing(one_trial), tmp_path / "report")
    assert sorted(path.name for path in index.parent.iterdir()) == sorted(FILES)


def test_equal_results_give_equal_bytes(digits: Results, digits_bundle: dict[str, bytes]):
    assert digits_bundle == bundle(replace(digits))


def test_the_page_from_front_json_alone_is_the_same_bytes(digits: Results, digits_page: str):
    text = results_to_json(digits)
    assert results_from_json(text) == bare(digits)
    assert page(results_from_json(text)) == digits_page
    assert results_to_json(results_from_json(text)) == text


def test_front_json_is_strict_json_with_its_schema(digits: Results):
    document = json.loads(results_to_json(digits), parse_constant=pytest.fail)
    assert document["schema"] == "rhoeps.front/1"
    fronts = {front["method"]: front for front in document["fronts"]["methods"]}
    assert fronts["sam"]["complete_seeds"] == [0, 1, 2]
    assert 0 < fronts["at"]["mean_attainable_robustness"] < 1


@pytest.mark.parametrize("text", ['{"schema": "rhoeps.front/2"}', "{}", "[]"])
def test_another_schema_is_refused(text: str):
    with pytest.raises(ResultsError, match=r"schema must be rhoeps\.front/1"):
        results_from_json(text)


def test_the_page_loads_nothing_and_is_small(digits_page: str):
    parsed = Page(digits_page)
    assert parsed.loads == []
    assert not re.search(r"@import|url\((?!#)|localStorage|sessionStorage|fetch\(", digits_page)
    scripts = re.findall(r"<script>(.*?)</script>", digits_page, flags=re.DOTALL)
    assert sum(len(script) for script in scripts) <= 5_000
    assert len(digits_page.encode()) <= 500_000


@pytest.mark.slow
def test_two_hundred_configurations_with_five_seeds_fit(draw: Callable[..., Results]):
    cells = [
        ("sam_at", {"rho": 0.01 + i / 3001, "epsilon": i / 2003}, 0.99 - i / 1009, 0.2 + i / 607)
        for i in range(200)
    ]
    results = draw(cells, seeds=(0, 1, 2, 3, 4), searched=("sam_at",), num_test=200)
    assert len(page(results).encode()) <= 500_000


@pytest.mark.slow
def test_a_page_of_many_methods_and_radii_names_the_figures_that_do_not_fit(
    draw: Callable[..., Results],
):
    radii = tuple(i / 100 for i in range(1, 13))
    cells = [
        (f"method_{i}", {"rho": rho}, 0.99 - i / 500, 0.9 - i / 25 - rho)
        for i in range(20)
        for rho in (0.05, 0.1)
    ]
    results = draw(cells, radii=radii, objective_radius=0.05, num_test=50)
    text = page(results)
    assert len(text.encode()) <= 500_000
    assert Page(text).open == []
    assert 'id="f-front4"' in text
    shown = {int(position) for position in re.findall(r'id="f-front(\d+)"', text)}
    named = {f"{radius:g}" for radius in radii if f"figure at radius {radius:g}," in text}
    assert len(shown) + len(named) >= 11
    assert "Left out, so that this page stays small: the figure" in text


def test_a_reason_that_no_file_can_hold_crashes_nothing(one_trial: Results):
    absent = replace(all_missing(one_trial).absent[0], seed=1, reason="lone \udcff surrogate")
    files = bundle(replace(one_trial, absent=(absent,)))
    for name in ("index.html", "front.json", "seeds.csv"):
        assert "lone ? surrogate" in files[name].decode()


def test_what_users_write_is_escaped(one_radius: Results):
    digits = one_radius
    names = {note.name: note.name + ATTACK for note in digits.methods}
    hostile = replace(
        digits,
        study=ATTACK,
        about=ATTACK,
        threat=replace(digits.threat, attack=ATTACK),
        methods=tuple(
            MethodNote(name=names[note.name], sides=ATTACK, searched=note.searched)
            for note in digits.methods
        ),
        trials=tuple(
            replace(t, method=names[t.method], values={**t.values, ATTACK: ATTACK}, run=ATTACK)
            for t in digits.trials
        ),
        absent=tuple(replace(t, method=names[t.method], reason=ATTACK) for t in digits.absent),
        provenance={ATTACK: ATTACK},
    )
    files = bundle(hostile)
    text = files["index.html"].decode()
    assert "<script>alert" not in text
    assert "<script>alert" not in files["front.svg"].decode()
    assert Page(text).open == []
    assert ATTACK in Page(text).text


def test_the_drawing_is_well_formed_and_says_what_it_shows(digits_bundle: dict[str, bytes]):
    root = ElementTree.fromstring(digits_bundle["front.svg"].decode())
    space = "{http://www.w3.org/2000/svg}"
    title, description = root.find(f"{space}title"), root.find(f"{space}desc")
    assert title is not None
    assert title.text == "digits: clean accuracy and robust accuracy at radius 0.1"
    assert description is not None
    assert "500 test images" in str(description.text)


def test_the_texts_of_a_drawing_are_not_rounded(digits_bundle: dict[str, bytes]):
    texts = re.findall(r"<text[^>]*>([^<]*)", digits_bundle["front.svg"].decode())
    assert "ε=0.025" in texts


def test_the_headline_carries_attack_radius_images_seeds_and_spread(digits: Results):
    text = headline(digits, choose(digits))
    for part in (
        "the most robust configuration on validation data",
        "PGD-20, 1 restart",
        "linf 0.1",
        "500 test images",
    ):
        assert part in text
    assert re.search(r"\d\d\.\d% \(\d\d\.\d–\d\d\.\d over 3 seeds\) under", text)
    assert not re.search(r"significant|because|better|proves|beats", text)


def two_methods(
    draw: Callable[..., Results],
    test: dict[str, tuple[float, float, float]],
    validation: dict[str, float],
) -> Results:
    cells = [("at", {"epsilon": 0.15}, 0.9, 0.5), ("sam_at", {"rho": 0.1}, 0.9, 0.5)]
    results = draw(cells, num_test=100)
    trials = tuple(
        replace(
            t,
            clean=0.95,
            robust=(0.95, test[t.method][t.seed], 0.0, 0.0),
            validation_robust=validation[t.method],
            bits=None,
        )
        for t in results.trials
    )
    return replace(results, trials=trials)


HIGH, MIDDLE, LOW = (0.86, 0.87, 0.88), (0.85, 0.86, 0.87), (0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("at", "sam_at", "words"),
    [
        (HIGH, MIDDLE, "; ahead of “sam_at”, 86.0 (85.0–87.0): the ranges overlap."),
        (MIDDLE, HIGH, "; behind “sam_at”, 87.0 (86.0–88.0): the ranges overlap."),
        (HIGH, LOW, "; ahead of “sam_at”, 30.0 (20.0–40.0): the ranges do not overlap."),
        (LOW, LOW[::-1], "; level with “sam_at”, 30.0 (20.0–40.0): the ranges overlap."),
    ],
    ids=["ahead", "behind", "apart", "level"],
)
def test_validation_decides_which_method_leads_and_test_what_is_said_of_it(
    draw: Callable[..., Results],
    at: tuple[float, float, float],
    sam_at: tuple[float, float, float],
    words: str,
):
    results = two_methods(draw, {"at": at, "sam_at": sam_at}, {"at": 0.9, "sam_at": 0.8})
    text = headline(results, choose(results))
    assert text.startswith("“at” (ε=0.15), the most robust configuration on validation data,")
    assert text.endswith(words)
    turned = two_methods(draw, {"at": at, "sam_at": sam_at}, {"at": 0.8, "sam_at": 0.9})
    assert headline(turned, choose(turned)).startswith("“sam_at” (ρ=0.1), the most robust")
    assert [one.method for one in reached(turned, choose(turned))] == ["sam_at", "at"]


def test_incomplete_configurations_are_listed_and_marked(digits: Results):
    table = configuration_table(digits, choose(digits))
    seeds, place = table.columns.index("Seeds"), table.columns.index("On front of")
    marked = [row for row in table.rows if row[seeds].below == "incomplete"]
    assert [(row[seeds].text, row[place].text) for row in marked] == [("2/3", "–")] * 2
    text = " ".join(limit.text for limit in limits(digits, choose(digits)))
    assert "2 configurations without every declared seed: marked incomplete and in no" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: r,
            "chosen among 19 configurations on 200 validation images, robust accuracy under PGD-10",
        ),
        (without_validation, "not selected independently"),
        (DEGENERATE["one seed"], "Every configuration has one seed"),
        (DEGENERATE["one configuration"], "nothing was chosen"),
        (lambda r: r, "500 test images determine an accuracy of 50.0% to ±4.4"),
        (lambda r: r, "2 of 57 trials have no result (“sam” 1 missing, “at” 1 failed)"),
        (lambda r: r, "upper bound"),
        (all_missing, "55 of 55 trials have no result"),
    ],
    ids=["choice", "no choice", "seed", "one", "images", "absent", "attack", "nothing"],
)
def test_the_limits_of_a_study_are_said(
    digits: Results, change: Callable[[Results], Results], words: str
):
    results = change(digits)
    assert words in " ".join(limit.text for limit in limits(results, choose(results)))


def test_validation_accuracies_name_their_own_attack(
    digits: Results, digits_bundle: dict[str, bytes]
):
    digits_page = digits_bundle["index.html"].decode()
    caption = configuration_table(digits, choose(digits)).caption
    assert "200 validation images, robust under PGD-10, 1 restart, linf 0.1." in caption
    assert "500 test images, robust under PGD-20, 1 restart" in caption
    definition = re.search(r"<li>A configuration is on the.*?</li>", digits_page)
    assert definition is not None
    assert "measured under PGD-10, 1 restart, linf 0.1;" in definition[0]
    for name in ("front.json", "provenance.json"):
        threat = json.loads(digits_bundle[name])["threat"]
        assert (threat["attack"], threat["validation_attack"]) == (
            "PGD-20, 1 restart",
            "PGD-10, 1 restart",
        )
    without = without_validation(digits)
    assert "PGD-10" not in page(with_radii(without, slice(1, 2)))


def test_absent_trials_are_listed_with_their_reason(digits_page: str):
    assert "the training loss is not finite at epoch 7" in digits_page


def test_the_tables_hold_every_configuration_and_every_cell(
    digits: Results, digits_bundle: dict[str, bytes]
):
    configs = list(csv.DictReader(StringIO(digits_bundle["configs.csv"].decode())))
    seeds = list(csv.DictReader(StringIO(digits_bundle["seeds.csv"].decode())))
    assert (len(configs), len(seeds)) == (19, 57)
    row = next(row for row in configs if row["epsilon"] == "0.15")
    trials = [t for t in digits.trials if t.values == {"epsilon": 0.15}]
    assert float(row["robust_0.1_least"]) == min(t.robust[1] for t in trials)
    assert [row["status"] for row in seeds].count("done") == 55
    assert seeds[-1]["reason"] == "the training loss is not finite at epoch 7"


def test_every_column_of_the_tables_is_that_of_the_trials(
    digits: Results, digits_bundle: dict[str, bytes]
):
    configs = list(csv.DictReader(StringIO(digits_bundle["configs.csv"].decode())))
    seeds = list(csv.DictReader(StringIO(digits_bundle["seeds.csv"].decode())))
    trials = [t for t in digits.trials if t.values == {"epsilon": 0.15}]
    measured = {
        "clean": [t.clean for t in trials],
        **{f"robust_{e}": [t.robust[i] for t in trials] for i, e in enumerate(RADII)},
        "validation_clean": [t.validation_clean for t in trials],
        "validation_robust_0.1": [t.validation_robust for t in trials],
    }
    row = next(row for row in configs if row["epsilon"] == "0.15")
    expected: dict[str, object] = {
        "method": "at",
        "rho": "",
        "epsilon": "0.15",
        "seeds": "3",
        "seeds_absent": "",
        "complete": "True",
    }
    parts = {"mean": np.mean, "least": np.min, "greatest": np.max}
    for name, values in measured.items():
        for part, summary in parts.items():
            expected[f"{name}_{part}"] = pytest.approx(float(summary(values)))
        expected[f"{name}_deviation"] = pytest.approx(float(np.std(values, ddof=1)))
    expected["cost"] = pytest.approx(5.0)
    expected["seconds"] = pytest.approx(np.mean([t.seconds for t in trials]))
    texts = {"method", "rho", "epsilon", "seeds", "seeds_absent", "complete"}
    marks = {"on_method_front", "on_study_front"}
    assert row.keys() == expected.keys() | marks
    assert {k: v if k in texts else float(v) for k, v in row.items() if k not in marks} == expected
    one = next(row for row in seeds if row["epsilon"] == "0.15" and row["seed"] == "1")
    numbers = {name: str(values[1]) for name, values in measured.items()}
    assert one == {
        "method": "at",
        "rho": "",
        "epsilon": "0.15",
        "seed": "1",
        "status": "done",
        **numbers,
        "cost": "5.0",
        "seconds": str(trials[1].seconds),
        "run": "at-1",
        "reason": "",
    }


def page_rows(text: str, key: str) -> list[dict[str, str]]:
    """Read a table of the page: each row by its headings, smaller print after a bar."""
    table = re.search(rf'<table[^>]*id="{key}".*?</table>', text, flags=re.DOTALL)
    assert table is not None
    heads = re.findall(r"<th scope=\"col\">(.*?)</th>", table[0])
    rows = re.findall(r"<tr><th scope=row.*?</tr>", table[0])
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    plain = [[re.sub(r"<.*?>", "", c.replace("<small>", "|")) for c in row] for row in cells]
    return [dict(zip(heads, row, strict=True)) for row in plain]


def shown(values: list[float]) -> str:
    percents = [100 * value for value in values]
    return f"{np.mean(percents):.1f}|{min(percents):.1f}–{max(percents):.1f}"


def test_the_cells_of_the_page_stand_below_their_headings(digits: Results, digits_page: str):
    trials = [t for t in digits.trials if t.values == {"epsilon": 0.15}]
    rows = page_rows(digits_page, "configurations")
    row = next(row for row in rows if row["ε"] == "0.15")
    seconds = f"{np.mean([t.seconds for t in trials]):.1f}"
    assert row == {
        "Method": "at",
        "ρ": "–",
        "ε": "0.15",
        "Seeds": "3/3",
        "Validation clean": shown([t.validation_clean for t in trials]),
        "Validation robust 0.1": shown([t.validation_robust for t in trials]),
        "Test clean": shown([t.clean for t in trials]),
        **{f"Test robust {e}": shown([t.robust[i] for t in trials]) for i, e in enumerate(RADII)},
        "On front of": row["On front of"],
        "Cost": "5.0",
        "Seconds": seconds,
    }
    radii = next(row for row in page_rows(digits_page, "radii") if "standard" in row.values())
    standard = [t for t in digits.trials if t.method == "standard"]
    for i, e in enumerate(RADII):
        assert radii[str(e)] == shown([t.robust[i] for t in standard])


def test_marks_say_which_front_a_configuration_is_on(
    digits: Results, digits_page: str, digits_bundle: dict[str, bytes]
):
    choice = choose(digits)
    of_method = [c in front.members for front in choice.fronts for c in front.configurations]
    of_study = [
        c.key in choice.study_front for front in choice.fronts for c in front.configurations
    ]
    marks = [
        "study" if study else "method" if method else "–"
        for study, method in zip(of_study, of_method, strict=True)
    ]
    assert set(marks) == {"study", "method", "–"}
    assert [row["On front of"] for row in page_rows(digits_page, "configurations")] == marks
    rows = list(csv.DictReader(StringIO(digits_bundle["configs.csv"].decode())))
    assert [row["on_method_front"] for row in rows] == [str(mark) for mark in of_method]
    assert [row["on_study_front"] for row in rows] == [str(mark) for mark in of_study]


def test_the_radius_switch_opens_at_the_objective_radius(digits: Results):
    trial = next(t for t in digits.trials if t.method == "standard")
    two = with_radii(replace(digits, trials=(trial,), absent=()), slice(0, 2))
    for position, radius in enumerate(RADII[:2]):
        text = page(replace(two, threat=replace(two.threat, objective_radius=radius)))
        assert re.findall(r'id="(r-front\d)" checked', text) == [f"r-front{position}"]
        label = re.search(r'<label for="r-front' + str(position) + r'">(.*?)</label>', text)
        assert label is not None
        assert label[1] == str(radius)


def test_numbers_of_the_page_are_those_of_the_results(digits: Results, digits_page: str):
    trials = [t for t in digits.trials if t.values == {"rho": 0.4}]
    robust = [100 * t.robust[1] for t in trials]
    shown = f"{sum(robust) / 3:.1f}<small>{min(robust):.1f}–{max(robust):.1f}</small>"
    assert shown in digits_page


def test_a_clean_accuracy_that_no_member_reaches_has_none(draw: Callable[..., Results]):
    results = draw([("at", {}, 0.9, 0.8), ("sam", {}, 0.9, 0.3)], num_validation=0)
    cleans = {"at": (0.95, 0.95, 0.95), "sam": (0.96, 0.982, 0.983)}
    results = changed(results, lambda t: replace(t, clean=cleans[t.method][t.seed], bits=None))
    table = front_table(results, choose(results))
    at, sam = ({c: cell for c, cell in zip(table.columns, row, strict=True)} for row in table.rows)
    assert "none where no member is this clean" in table.caption
    column = "Attained at clean ≥ 97%"
    assert (at[column].text, at[column].below) == ("none", "")
    robust = sorted(t.robust[1] for t in results.trials if t.method == "sam" and t.seed > 0)
    assert sam[column].text == f"{100 * robust[0]:.1f}"
    assert sam[column].below == f"none–{100 * robust[1]:.1f}"
    assert at["Attained at clean ≥ 95%"].text != "none"


def test_a_report_replaces_the_one_before(one_trial: Results, tmp_path: Path):
    folder = tmp_path / "reports" / "digits"
    write_report(all_missing(one_trial), folder)
    write_report(one_trial, folder)
    assert "No trial of this study" not in (folder / "index.html").read_text(encoding="utf-8")
    assert [path.name for path in folder.parent.iterdir()] == ["digits"]


def test_an_interrupted_report_leaves_the_one_before(
    one_trial: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "digits"
    write_report(one_trial, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(self: Path, content: bytes) -> int:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OSError, match="no space left"):
            write_report(all_missing(one_trial), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_swap_that_fails_puts_the_one_before_back(
    one_trial: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "digits"
    write_report(one_trial, folder)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("interrupted")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(OSError, match="interrupted"):
            write_report(one_trial, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_a_folder_with_other_files_is_refused(digits: Results, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ResultsError, match=r"thesis\.tex, which is no part of a report"):
        write_report(digits, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_report_knows_its_template_wherever_it_is_run(
    one_trial: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert page(one_trial).startswith("<!DOCTYPE html>")
