"""Report: truthful, self-contained, the same bytes every time, whole or not there."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from analysis.analysing import analyse
from analysis.document import Analysis, read_json, write_json
from analysis.findings.phrases import declared_seeds_text
from analysis.fronts.choice import choose
from analysis.inference.claims import Interval
from analysis.report.bundle import FILES, bundle, rerender, swap_in, write_report
from analysis.report.configurations import configuration_table, escaped, table_tex
from analysis.report.front_tables import cost_table, equivalence_table
from analysis.report.limits import limits
from analysis.report.markdown import ordered
from analysis.report.page import LAYERS, gravest_first, page
from analysis.report.tables import front_table, printed_share
from analysis.results.methods import MethodNote
from analysis.results.results import Results
from analysis.results.trials import AbsentTrial, ResultsError, TrialResult

RADII = (0.05, 0.1, 0.15, 0.2)
ATTACK = "<script>alert('x')</script>"
ODD = r"50% of $a_b$ & {c} #1 ~^\x"
FEW = 20
"""Replicates, where their number does not matter."""


def analysed(results: Results) -> Analysis:
    return analyse(results, replicates=FEW)


def page_of(results: Results) -> str:
    return page(analysed(results))


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

    VOID = frozenset({"meta", "input", "br"})

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
            # A link is followed by the reader alone, and only to files beside the page.
            is_link = tag == "a" and re.fullmatch(r"[\w.]+", str(value))
            loads = {"src", "href", "xlink:href", "action"} - ({"href"} if is_link else set())
            if name in loads and not str(value).startswith("#"):
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


@pytest.fixture(scope="module")
def one_trial_report(one_trial: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a report that no test changes."""
    folder = tmp_path_factory.mktemp("one") / "report"
    return write_report(one_trial, folder, replicates=FEW).parent


@pytest.fixture(scope="module")
def odd_bundle(one_trial: Results) -> dict[str, bytes]:
    """Return the files of a trial with an odd name, beside a reason that no file can hold."""
    method = replace(one_trial.methods[0], name=ODD)
    absent = replace(
        all_missing(one_trial).absent[0], method=ODD, seed=1, reason="lone \udcff surrogate"
    )
    named = replace(
        one_trial,
        study="a_b|*c*\n# d",
        methods=(method,),
        trials=(replace(one_trial.trials[0], method=ODD),),
        absent=(absent,),
    )
    return bundle(analysed(named))


@pytest.fixture(scope="session")
def digits_analysis(digits: Results) -> Analysis:
    return analysed(digits)


@pytest.fixture(scope="session")
def digits_bundle(digits_analysis: Analysis) -> dict[str, bytes]:
    return bundle(digits_analysis)


@pytest.fixture(scope="session")
def digits_page(digits_bundle: dict[str, bytes]) -> str:
    return digits_bundle["index.html"].decode()


@pytest.mark.parametrize("change", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_results_give_a_whole_page_without_nan(
    one_radius: Results, change: Callable[[Results], Results]
):
    analysis = analysed(change(one_radius))
    results, text = analysis.results, page(analysis)
    parsed = Page(text)
    assert parsed.open == []
    for absurd in ("nan", "inf%", "None", "Undefined"):
        assert not re.search(rf"\b{absurd}\b", parsed.text), absurd
    assert len(set(parsed.ids)) == len(parsed.ids)
    if not results.trials:
        assert "No trial of this study has a result" in parsed.text
    written = write_json(analysis)
    assert write_json(read_json(written)) == written


def test_the_whole_bundle_is_written_without_any_trial(one_trial: Results, tmp_path: Path):
    index = write_report(all_missing(one_trial), tmp_path / "report", replicates=FEW)
    assert sorted(path.name for path in index.parent.iterdir()) == sorted(FILES)


def test_the_whole_bundle_is_written_without_any_seed_noise(one_trial_report: Path):
    assert sorted(path.name for path in one_trial_report.iterdir()) == sorted(FILES)


def test_equal_results_give_equal_bytes(digits: Results, digits_bundle: dict[str, bytes]):
    """Of `front.json`, from which the next test makes the same bytes of all other files again."""
    assert write_json(analysed(replace(digits))).encode() == digits_bundle["front.json"]
    assert set(digits_bundle) == set(FILES)


def test_all_files_are_made_again_from_front_json_alone(
    digits_bundle: dict[str, bytes], tmp_path: Path
):
    (tmp_path / "kept").mkdir()
    path = tmp_path / "kept" / "front.json"
    path.write_bytes(digits_bundle["front.json"])
    index = rerender(path, tmp_path / "again")
    assert index == tmp_path / "again" / "index.html"
    for name, content in digits_bundle.items():
        assert (tmp_path / "again" / name).read_bytes() == content, name


def test_a_report_can_be_made_again_in_its_own_folder(one_trial_report: Path, tmp_path: Path):
    folder = shutil.copytree(one_trial_report, tmp_path / "report")
    before = (folder / "index.html").read_bytes()
    assert rerender(folder / "front.json", folder) == folder / "index.html"
    assert (folder / "index.html").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_what_is_no_front_json_is_refused(tmp_path: Path):
    with pytest.raises(ResultsError, match="cannot be read"):
        rerender(tmp_path / "front.json", tmp_path / "report")
    (tmp_path / "front.json").write_text("{}")
    with pytest.raises(ResultsError, match="schema must be"):
        rerender(tmp_path / "front.json", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_front_json_is_strict_json_with_its_schema(digits_bundle: dict[str, bytes]):
    document = json.loads(digits_bundle["front.json"], parse_constant=pytest.fail)
    assert document["schema"] == "rhoeps.front/1"


def test_no_file_of_the_bundle_carries_a_date(digits_bundle: dict[str, bytes]):
    assert b"CreationDate" not in digits_bundle["front.pdf"]
    assert b"tIME" not in digits_bundle["front.png"]
    assert b"dc:date" not in digits_bundle["front.svg"]


def test_the_page_loads_nothing_and_is_small(digits_page: str):
    parsed = Page(digits_page)
    assert parsed.loads == []
    assert not re.search(r"@import|url\((?!#)|localStorage|sessionStorage|fetch\(", digits_page)
    scripts = re.findall(r"<script>(.*?)</script>", digits_page, flags=re.DOTALL)
    assert sum(len(script) for script in scripts) <= 5_000
    assert len(digits_page.encode()) <= 500_000


@pytest.mark.slow
def test_two_hundred_configurations_fit(draw: Callable[..., Results]):
    cells = [
        ("sam_at", {"rho": 0.01 + i / 3001, "epsilon": i / 2003}, 0.99 - i / 1009, 0.2 + i / 607)
        for i in range(200)
    ]
    results = draw(cells, seeds=(0, 1), searched=("sam_at",), num_test=200)
    assert len(page_of(results).encode()) <= 500_000


def test_a_page_that_would_be_too_large_names_the_figures_it_leaves_out(
    digits_analysis: Analysis, monkeypatch: pytest.MonkeyPatch
):
    most = 250_000
    monkeypatch.setattr("analysis.report.page.MOST_BYTES", most)
    text = page(digits_analysis)
    assert len(text.encode()) <= most
    assert Page(text).open == []
    shown = {RADII[int(position)] for position in re.findall(r'id="f-front(\d+)"', text)}
    (said,) = re.findall(r"To keep this page small, it leaves out (.*?)\. Their", text)
    named = {radius for radius in RADII if f"the figure at radius {radius:g}" in said.split(", ")}
    assert 0.1 in shown, "the objective radius comes first"
    assert named
    assert shown.isdisjoint(named)
    assert shown | named == set(RADII)


def test_a_reason_that_no_file_can_hold_crashes_nothing(odd_bundle: dict[str, bytes]):
    for name in ("index.html", "front.json", "seeds.csv"):
        assert "lone ? surrogate" in odd_bundle[name].decode()


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
    files = bundle(analysed(hostile))
    text = files["index.html"].decode()
    assert "<script>alert" not in text
    assert "<script>alert" not in files["front.svg"].decode()
    assert Page(text).open == []
    assert ATTACK in Page(text).text
    assert "<script>" not in files["findings.md"].decode()


def test_what_users_write_is_escaped_for_latex_and_markdown(odd_bundle: dict[str, bytes]):
    assert escaped(ODD) == (
        r"50\% of \$a\_b\$ \& \{c\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{}x"
    )
    assert escaped(ODD) in odd_bundle["table.tex"].decode()
    assert odd_bundle["findings.md"].decode().startswith(r"# a\_b\|\*c\* \# d")


def test_the_drawing_is_well_formed_and_says_what_it_shows(digits_bundle: dict[str, bytes]):
    root = ElementTree.fromstring(digits_bundle["front.svg"].decode())
    space = "{http://www.w3.org/2000/svg}"
    title, description = root.find(f"{space}title"), root.find(f"{space}desc")
    assert title is not None
    assert title.text
    assert description is not None
    assert "500 test images" in str(description.text)


def test_the_texts_of_a_drawing_are_not_rounded(digits_bundle: dict[str, bytes]):
    texts = re.findall(r"<text[^>]*>([^<]*)", digits_bundle["front.svg"].decode())
    assert any(re.search(r"[ρε]=0\.\d{3}", text) for text in texts), texts


def test_incomplete_configurations_are_listed_and_marked(
    digits: Results, digits_analysis: Analysis
):
    table = configuration_table(digits_analysis)
    seeds, place = table.columns.index("Seeds"), table.columns.index("Chosen for front of")
    marked = [row for row in table.rows if row[seeds].below == "incomplete"]
    assert [(row[seeds].text, row[place].text) for row in marked] == [("2/3", "–")] * 2
    text = " ".join(limit.text for limit in limits(digits, choose(digits)))
    assert "2 configurations lack a declared seed and are marked incomplete" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: r,
            "chosen among 19 configurations on 200 validation images, with robust accuracy under ",
        ),
        (without_validation, "not selected independently"),
        (DEGENERATE["one seed"], "Every configuration has one seed"),
        (DEGENERATE["one configuration"], "nothing was chosen"),
        (lambda r: r, "500 test images determine an accuracy of 50.0% to ±4.4"),
        (lambda r: r, "2 of 57 trials have no result (“sam”: 1 missing, “at”: 1 failed)"),
        (lambda r: r, "upper bound"),
        (all_missing, "55 of 55 trials have no result"),
        (
            lambda r: replace(
                r, methods=tuple(replace(m, fewer_steps="2 to 0.2") for m in r.methods)
            ),
            "“sam_at” (2 to 0.2) crafted their first training images with fewer steps",
        ),
        (
            lambda r: replace(
                r,
                trials=(replace(r.trials[0], is_last_read=True), *r.trials[1:]),
                checkpoint="best",
            ),
            "1 of 55 trials is read at the last epoch (“standard” 1 of 3), as the training was for "
            "another norm or objective radius of the evaluation, and which epoch is best at linf "
            "0.1 was not recorded",
        ),
    ],
    ids=[
        *("choice", "no choice", "seed", "one", "images", "absent", "attack", "nothing"),
        *("fewer", "last epoch"),
    ],
)
def test_the_limits_of_a_study_are_said(
    digits: Results, change: Callable[[Results], Results], words: str
):
    results = change(digits)
    assert words in " ".join(limit.text for limit in limits(results, choose(results)))


def test_the_fronts_at_equal_cost_stand_in_their_table(digits_analysis: Analysis):
    contrasts = digits_analysis.primary.contrasts
    points = [point for one in contrasts.costs for point in one.points]
    assert points
    table = cost_table(digits_analysis.results, contrasts)
    columns = [table.columns.index(name) for name in ("Budget", "First attains", "Second attains")]
    for row, point in zip(table.rows, points, strict=True):
        budget, first, second = (row[column] for column in columns)
        assert budget.below == f"{point.budget / 3:.2g} × standard"
        assert first.text == f"{100 * point.first.estimate:.1f}"
        assert second.text == f"{100 * point.second.estimate:.1f}"


def test_validation_accuracies_name_their_own_attack(
    digits: Results, digits_analysis: Analysis, digits_bundle: dict[str, bytes]
):
    caption = configuration_table(digits_analysis).caption
    assert "200 validation images, robust under PGD-10, 1 restart, linf 0.1." in caption
    assert "500 test images, robust under PGD-20, 1 restart" in caption
    threat = json.loads(digits_bundle["provenance.json"])["threat"]
    assert (threat["attack"], threat["validation_attack"]) == (
        "PGD-20, 1 restart",
        "PGD-10, 1 restart",
    )
    without = with_radii(without_validation(digits), slice(1, 2))
    assert "PGD-10" not in page_of(without)


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
    digits: Results, digits_analysis: Analysis, digits_bundle: dict[str, bytes]
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
        "alarms": row["alarms"],
    }
    parts = {"mean": np.mean, "least": np.min, "greatest": np.max}
    for name, values in measured.items():
        for part, summary in parts.items():
            expected[f"{name}_{part}"] = pytest.approx(float(summary(values)))
        expected[f"{name}_deviation"] = pytest.approx(float(np.std(values, ddof=1)))
    number = next(i for i, c in enumerate(digits_analysis.found) if c.values == {"epsilon": 0.15})
    fronts = {e: digits_analysis.view(e).fronts.configurations[number] for e in RADII}
    intervals = {"clean": fronts[0.1].clean, **{f"robust_{e}": fronts[e].robust for e in RADII}}
    for name, interval in intervals.items():
        assert interval.low < interval.high
        expected[f"{name}_low"], expected[f"{name}_high"] = interval.low, interval.high
    expected["p_study_front"] = fronts[0.1].on_study_front
    expected["p_method_front"] = fronts[0.1].on_method_front
    expected["cost"] = pytest.approx(5.0)
    expected["seconds"] = pytest.approx(np.median([t.seconds for t in trials]))
    texts = {"method", "rho", "epsilon", "seeds", "seeds_absent", "complete", "alarms"}
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


def within(value: Interval) -> str:
    return f"{100 * value.estimate:.1f}|{100 * value.low:.1f}–{100 * value.high:.1f}"


def test_the_cells_of_the_page_stand_below_their_headings(
    digits: Results, digits_analysis: Analysis, digits_page: str
):
    trials = [t for t in digits.trials if t.values == {"epsilon": 0.15}]
    rows = page_rows(digits_page, "configurations")
    row = next(row for row in rows if row["ε"] == "0.15")
    seconds = f"{np.median([t.seconds for t in trials]):.1f}"
    number = next(i for i, c in enumerate(digits_analysis.found) if c.values == {"epsilon": 0.15})
    views = [digits_analysis.view(e).fronts.configurations[number] for e in RADII]
    assert row == {
        "Method": "at",
        "ρ": "–",
        "ε": "0.15",
        "Seeds": "3/3",
        "Validation clean": shown([t.validation_clean for t in trials]),
        "Validation robust 0.1": shown([t.validation_robust for t in trials]),
        "Test clean": within(views[0].clean),
        **{f"Test robust {e}": within(v.robust) for e, v in zip(RADII, views, strict=True)},
        "P(on front)": "|".join(
            printed_share(share).replace("<", "&lt;").replace(">", "&gt;")
            for share in (views[1].on_study_front, views[1].on_method_front)
        ),
        "Chosen for front of": row["Chosen for front of"],
        "Cost": "5.0|1.7 ×",
        "Seconds": seconds,
        **({"Alarms": row["Alarms"]} if "Alarms" in row else {}),
    }


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
    assert [row["Chosen for front of"] for row in page_rows(digits_page, "configurations")] == marks
    rows = list(csv.DictReader(StringIO(digits_bundle["configs.csv"].decode())))
    assert [row["on_method_front"] for row in rows] == [str(mark) for mark in of_method]
    assert [row["on_study_front"] for row in rows] == [str(mark) for mark in of_study]


def test_the_radius_switch_opens_at_the_objective_radius(digits: Results):
    trial = next(t for t in digits.trials if t.method == "standard")
    two = with_radii(replace(digits, trials=(trial,), absent=()), slice(0, 2))
    for position, radius in enumerate(RADII[:2]):
        text = page_of(replace(two, threat=replace(two.threat, objective_radius=radius)))
        assert re.findall(r'id="(r-front\d)" checked', text) == [f"r-front{position}"]
        label = re.search(r'<label for="r-front' + str(position) + r'">(.*?)</label>', text)
        assert label is not None
        assert label[1] == str(radius)


def test_a_clean_accuracy_that_no_configuration_reaches_has_none(draw: Callable[..., Results]):
    results = draw([("at", {}, 0.9, 0.8), ("sam", {}, 0.99, 0.3)], num_validation=0, radii=(0.1,))
    table = front_table(analysed(results))
    at, sam = ({c: cell for c, cell in zip(table.columns, row, strict=True)} for row in table.rows)
    assert "none where no configuration has this clean accuracy" in table.caption
    column = "Attained at clean ≥ 95%"
    assert (at[column].text, at[column].below) == ("none", "")
    assert sam[column].text != "none"
    assert at["Attained at clean ≥ 85%"].text != "none"


def test_the_page_has_a_switch_for_each_radius_estimand_and_method(
    digits: Results, digits_page: str
):
    names = re.findall(r'<input type="radio" name="(\w+)"', digits_page)
    assert (names.count("radius"), names.count("estimand")) == (4, 2)
    assert digits_page.count('<input type="checkbox"') == len(digits.methods) + len(LAYERS)
    for switch in re.findall(r'<input[^>]* id="([^"]+)"', digits_page):
        assert f'<label for="{switch}"' in digits_page
        assert f"#{switch}:" in digits_page or f'id="{switch}" checked' in digits_page


def test_without_bits_there_is_one_estimand_and_no_switch_for_it(one_radius: Results):
    text = page_of(bare(one_radius))
    assert 'name="estimand"' not in text
    assert 'id="e-' not in text
    assert 'class="m0 test-set"' in text


def test_headings_descend_one_level_at_a_time(digits_page: str):
    levels = [int(level) for level in re.findall(r"<h(\d)", digits_page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_sections_stand_in_their_order(digits_page: str):
    titles = re.findall(r"<h2>(.*?)</h2>", digits_page)
    expected = [
        "Answer",
        "Findings",
        "Robust against clean accuracy",
        "What this study cannot say",
        "All configurations",
        "Methods and diagnostics",
        "Provenance",
    ]
    assert [title for title in titles if title in expected] == expected


def test_bold_in_the_table_is_only_what_is_surely_the_best(digits_analysis: Analysis):
    radius = digits_analysis.results.threat.radii[-1]
    members = digits_analysis.view(radius).fronts.configurations
    text = table_tex(digits_analysis)
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "pm" in line]
    assert len(rows) == len(members)
    assert sum(member.most_robust for member in members) >= 1.0
    for row, member in zip(rows, members, strict=True):
        last = row.removesuffix(r" \\").split(" & ")[-1]
        assert ("mathbf" in last) == (member.most_robust > 0.95)
        assert f"{100 * member.robust.estimate:.1f}" in last


def files_of(content: bytes) -> Callable[[], dict[str, bytes]]:
    return lambda: dict.fromkeys(FILES, content)


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_report_replaces_the_one_before(tmp_path: Path):
    folder = tmp_path / "reports" / "digits"
    for content in (b"one", b"other"):
        assert swap_in(folder, files_of(content)) == folder / "index.html"
        assert read(folder) == files_of(content)()
    assert [path.name for path in folder.parent.iterdir()] == ["digits"]


def test_an_interrupted_report_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "digits"
    swap_in(folder, files_of(b"one"))

    def full_disk(self: Path, content: bytes) -> int:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OSError, match="no space left"):
            swap_in(folder, files_of(b"other"))
    assert read(folder) == files_of(b"one")()
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_swap_that_fails_puts_the_one_before_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "digits"
    swap_in(folder, files_of(b"one"))
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("interrupted")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(OSError, match="interrupted"):
            swap_in(folder, files_of(b"other"))
    assert read(folder) == files_of(b"one")()


def test_a_folder_with_other_files_is_refused(digits: Results, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ResultsError, match=r"thesis\.tex, which is not part of a report"):
        write_report(digits, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_report_knows_its_template_wherever_it_is_run(
    one_trial: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert page_of(one_trial).startswith("<!DOCTYPE html>")


def test_all_findings_and_limits_are_in_the_page_each_once(
    digits: Results, digits_analysis: Analysis, digits_page: str
):
    text = digits_page
    section = text[text.index("What this study cannot say</h2>") :]
    section = section[: section.index("</section>")]
    bounds = limits(digits, choose(digits))
    items = text[: text.index('id="s-limits"')].count("<li><details>")
    items += text[: text.index('id="s-limits"')].count('<li class="primary"><details>')
    items += section.count("<li")
    assert items == len(digits_analysis.findings) + len(bounds)
    for bound in bounds:
        assert f"<b>{bound.topic}.</b>" in section


def test_doubts_about_the_data_are_limits_and_leave_other_documents_as_they_were(
    digits: Results, digits_analysis: Analysis
):
    plain = digits_analysis
    assert "data_doubts" not in write_json(plain)
    doubtful = replace(digits, data_doubts=("3 test images are seen; delete them", "one; add"))
    bounds = gravest_first(limits(doubtful, choose(doubtful)), on_validation=True)
    texts = [bound.text for bound in bounds if bound.topic == "Data"]
    assert texts == ["3 test images are seen; delete them.", "One; add."]
    assert [bound.topic for bound in bounds[:2]] == ["Absent trials", "Data"]
    assert len(bounds) == len(limits(digits, choose(digits))) + 2
    results = replace(plain.results, data_doubts=doubtful.data_doubts)
    again = read_json(write_json(replace(plain, results=results)))
    assert again.results.data_doubts == doubtful.data_doubts


def test_a_choice_on_test_data_is_the_gravest_limit(digits: Results):
    bounds = limits(digits, choose(digits))
    assert gravest_first(bounds, on_validation=False)[0].topic == "Other choices"
    assert gravest_first(bounds, on_validation=True)[0].topic == "Absent trials"


def test_the_first_finding_of_each_leading_kind_is_not_hidden_by_many_others(
    digits_analysis: Analysis,
):
    some = digits_analysis.findings[0]
    kinds = ("contrast", "contrast", "gap", "gap", "dominance")
    findings = tuple(
        replace(some, kind=kind, text=str(n), status="claimed", primary=n == 1)
        for n, kind in enumerate(kinds)
    )
    assert [f.text for f in ordered(findings)] == ["1", "2", "4", "0", "3"]


def test_digits_are_grouped_by_spaces_at_which_no_line_ends(digits_page: str):
    assert "\N{THIN SPACE}" not in digits_page


@pytest.mark.parametrize(
    ("own", "says"), [((0, 1), "2 to 3 seeds"), ((0,), "1 to 3 seeds"), (None, "3 seeds")]
)
def test_seeds_are_counted_by_method(digits: Results, own: tuple[int, ...] | None, says: str):
    first, *others = digits.methods
    kept = (
        digits.trials
        if own is None
        else tuple(t for t in digits.trials if t.method != first.name or t.seed in own)
    )
    results = replace(digits, methods=(replace(first, seeds=own), *others), trials=kept)
    assert declared_seeds_text(results) == says
    if own == (0, 1):
        assert f"images, {says}." in table_tex(analysed(results))


def test_the_table_of_equivalent_radii_holds_each_rho_of_the_outcome(digits_analysis: Analysis):
    (equivalence, *_) = digits_analysis.primary.equivalences
    table = equivalence_table(digits_analysis, equivalence, "equivalent")
    assert len(table.rows) == len(equivalence.values) > 0
    for row, value in zip(table.rows, equivalence.values, strict=True):
        assert len(row) == len(table.columns)
        assert any(f"{100 * value.robust.estimate:.1f}" in cell.text for cell in row)
