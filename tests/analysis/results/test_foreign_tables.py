"""Tables from other programs are read as they are meant, or refused with the way out."""

import csv
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.fronts.choice import choose
from analysis.report.limits import limits
from analysis.results.results import Results
from analysis.results.rows import TableError
from analysis.results.table import read_table

GOOD = """\
method,rho,epsilon,seed,clean,robust_4/255,robust_8/255
standard,,,0,0.95,0.2,0.01
standard,,,1,0.94,0.21,0.02
sam,0.1,,0,0.95,0.3,0.1
sam,0.1,,1,0.94,0.31,0.11
at,,8/255,0,0.85,0.7,0.5
at,,8/255,1,0.84,0.71,0.51
"""
EXPORT = """\
Name,State,Runtime,algo,rho,lr,seed,_step,train_loss,val acc,acc,pgd20,Total CPU time,foo
a1,finished,101,sam,0.1,0.1,0,30,0.31,0.91,0.9,0.4,7.1,0.5
a2,finished,102,sam,0.1,0.1,1,31,0.32,0.92,0.91,0.41,7.2,0.6
a3,finished,103,sam,0.2,0.1,0,32,0.33,0.93,0.88,0.45,7.3,0.7
a4,finished,104,sam,0.2,0.1,1,33,0.34,0.94,0.89,0.46,7.4,0.8
"""
NAMES = {"algo": "method", "acc": "clean", "pgd20": "robust_8/255"}


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode())
    return path


def refused(source: Any, **options: Any) -> list[str]:
    with pytest.raises(TableError) as refusal:
        read_table(source, num_test=1000, **options)
    assert all("\n" not in message for message in refusal.value.messages)
    name = str(source.parent) + "/" if isinstance(source, Path) else ""
    return [message.replace(name, "") for message in refusal.value.messages]


def values(results: Results) -> list[Mapping[str, Any]]:
    return [trial.values for trial in results.trials]


def rows_of(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Complete rows that hold a seed and hyperparameters alone."""
    return [{"method": "sam", "clean": 0.9, "robust_0.1": 0.5, **row} for row in cells]


def test_an_export_of_a_tracker_is_refused_in_two_lines_that_say_what_to_type(tmp_path: Path):
    path = write(tmp_path, EXPORT)
    named, differing = refused(path, rename=NAMES)
    odd = ["Name", "State", "Runtime", "_step", "train_loss", "val acc", "Total CPU time"]
    assert named == (
        f"table.csv:1: {', '.join(odd)}: are named like results or records of the run; ignore them "
        "(--ignore Name State Runtime _step train_loss 'val acc' 'Total CPU time'), or list all "
        "hyperparameters (--hyperparameters rho lr)"
    )
    assert differing == (
        "table.csv:1: foo: is different for each seed of a configuration, like results; ignore it "
        "(--ignore foo), or list all hyperparameters (--hyperparameters rho lr); where each row is "
        "a configuration of its own, number its seeds from 0"
    )
    expected = [{"rho": rho, "lr": 0.1} for rho in (0.1, 0.1, 0.2, 0.2)]
    assert values(read_table(path, num_test=9, rename=NAMES, ignore=(*odd, "foo"))) == expected
    declared = read_table(path, num_test=9, rename=NAMES, hyperparameters=("rho", "lr"))
    assert values(declared) == expected


def test_the_command_takes_what_the_messages_propose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = [str(write(tmp_path, EXPORT)), "-o", str(tmp_path / "out"), "--images", "1000"]
    assert main(out) == 2
    lines = capsys.readouterr().err.splitlines()
    proposed = [line.rpartition("(")[2].rstrip(")") for line in lines]
    assert proposed == [f"--rename {old}={new}" for old, new in NAMES.items()]
    words = [*out, *(word for line in proposed for word in shlex.split(line))]
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    ignored = [line.partition("(--ignore ")[2].partition(")")[0] for line in lines]
    words += [word for names in ignored for word in ("--ignore", *shlex.split(names))]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.endswith("; sides: sam = sam; hyperparameters: rho, lr")


OUTCOMES = [
    *("train_loss", "test_loss", "loss", "runtime", "Runtime", "val acc", "valAccuracy", "top1"),
    *("_step", "_timestamp", "step", "epoch", "Total CPU time", "time_total_s", "metrics.error"),
    *("Name", "run_id", "Created", "hostname", "_wandb", "Source Name", "Duration", "tags.user"),
]
SETTINGS = [
    *("epochs", "warmup_epochs", "steps", "step_size", "learning_rate", "weight_decay"),
    *("loss_weight", "loss_beta", "label_smoothing", "max_step", "beta", "momentum", "lr_step"),
    *("batch_size", "depth", "params.rho", "lr_schedule", "temperature"),
]


def one_column(name: str, cells: tuple[Any, Any] = (1, 2)) -> list[dict[str, Any]]:
    """Write rows of two configurations that a column tells apart, each with two seeds."""
    return rows_of([{name: cell, "seed": seed} for cell in cells for seed in (0, 1)])


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_column_named_like_an_outcome_is_refused(name: str):
    [message] = refused(one_column(name))
    assert message.startswith(f"rows: {name}: is named like results or records of the run; ignore")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_column_named_like_a_setting_is_a_hyperparameter(name: str):
    assert values(read_table(one_column(name), num_test=9))[0] == {name: 1}


@pytest.mark.parametrize("name", ["Duration", "Name", "tags.user", "State"])
def test_a_record_of_a_run_is_refused_in_words_too(name: str):
    [message] = refused(one_column(name, ("1 min", "2 min")))
    assert message.startswith(f"rows: {name}: is named like results or records of the run; ignore")


def test_a_loss_in_words_is_a_setting_and_a_blank_column_is_nothing():
    rows = one_column("loss", ("ce", "trades"))
    assert values(read_table(rows, num_test=9))[0] == {"loss": "ce"}
    blank = [{**row, "train_loss": None, "_step": None} for row in rows]
    assert values(read_table(blank, num_test=9))[0] == {"loss": "ce"}


GRID = [{"rho": rho, "seed": seed} for rho in (0.1, 0.2, 0.3) for seed in (0, 1)]
MORE = [{"rho": rho, "seed": seed} for rho in (0.4, 0.5) for seed in (0, 1)]
SEARCH = [{"rho": rho, "seed": seed} for seed, rho in enumerate((0.1, 0.1, 0.2, 0.2, 0.3, 0.3))]
TRUE_SETTINGS: dict[str, list[dict[str, Any]]] = {
    "a grid": GRID,
    "a second one that follows the first": [{**row, "foo": row["rho"] / 4} for row in GRID],
    "one seed for each row": SEARCH,
    "a seed that failed": GRID[:-1],
    "two of different configurations": [GRID[0], GRID[3]],
    "one seed in all": [{"rho": 0.1 * n, "foo": n * n, "seed": 0} for n in range(1, 7)],
}


@pytest.mark.parametrize("cells", TRUE_SETTINGS.values(), ids=TRUE_SETTINGS)
def test_hyperparameters_are_not_taken_for_outcomes(cells: list[dict[str, Any]]):
    read = values(read_table(rows_of(cells), num_test=9))
    assert read == [{n: v for n, v in row.items() if n != "seed"} for row in cells]


DIFFERING: dict[str, tuple[list[dict[str, Any]], str]] = {
    "in every row": ([{**row, "foo": n / 7} for n, row in enumerate(GRID)], "foo"),
    "two columns at once": (
        [{**row, "foo": n / 7, "bar": -n} for n, row in enumerate(GRID)],
        "foo, bar",
    ),
    "now and then equal": (
        [{**row, "foo": cell} for row, cell in zip(GRID, (3, 5, 5, 2, 8, 3), strict=True)],
        "foo",
    ),
    "with blank cells": (
        [{**row, "foo": n if n else None} for n, row in enumerate(GRID)],
        "foo",
    ),
    "words": ([{**row, "foo": f"node-{n}"} for n, row in enumerate(GRID)], "foo"),
    "of runs of which one was logged twice": (
        [{**row, "foo": n} for n, row in enumerate([*GRID, *MORE, GRID[0]])],
        "foo",
    ),
}


@pytest.mark.parametrize(("cells", "names"), DIFFERING.values(), ids=DIFFERING)
def test_a_column_that_differs_between_seeds_is_refused(cells: list[dict[str, Any]], names: str):
    [message] = refused(rows_of(cells))
    assert message.startswith(f"rows: {names}: ")
    assert "different for each seed of a configuration" in message
    assert "(--hyperparameters rho)" in message


def test_a_column_that_the_user_declares_is_a_hyperparameter():
    rows = rows_of([{**row, "foo": n, "epoch": 3} for n, row in enumerate(GRID)])
    read = read_table(rows, num_test=9, hyperparameters=("foo", "epoch", "rho"))
    assert values(read)[1] == {"rho": 0.1, "foo": 1, "epoch": 3}


DECLARED = {
    "a column of results": (
        {"hyperparameters": ("clean",)},
        "rows: clean: is a column of results, and cannot be a hyperparameter (--hyperparameters); "
        "the others are rho",
    ),
    "no column": (
        {"hyperparameters": ("lr",)},
        "rows: lr: is not a column, and cannot be a hyperparameter (--hyperparameters); "
        "the others are rho",
    ),
    "a text": (
        {"hyperparameters": "rho"},
        "hyperparameters must be a list of names, got the text rho",
    ),
    "a rename of no column": (
        {"rename": {"acc": "clean"}},
        "rows: has no column acc to rename; it has method, clean, robust_0.1, rho, seed",
    ),
    "a rename to a name that is taken": (
        {"rename": {"rho": "seed"}},
        "rows: seed: is the new name of rho and seed; ignore all but one (--ignore)",
    ),
    "a rename of a list": ({"rename": ("rho", "x")}, "rename must map old names to new ones, got "),
}


@pytest.mark.parametrize(("options", "says"), DECLARED.values(), ids=DECLARED)
def test_a_declaration_that_does_not_fit_is_refused(options: dict[str, Any], says: str):
    assert refused(rows_of(GRID), **options)[0].startswith(says)


def test_columns_are_renamed_and_ignored_whatever_they_are_called():
    rows = [{"a": "x", "s": 0, "c": 0.9, "r": 0.5, "robust_l2_0.5": 0.1, "robust": 7}]
    names = {"a": "method", "s": "seed", "c": "clean", "r": "robust_0.1"}
    read = read_table(rows, num_test=9, rename=names, ignore=("robust_l2_0.5", "robust"))
    [trial] = read.trials
    assert (trial.method, trial.clean, trial.robust, trial.values) == ("x", 0.9, (0.5,), {})
    assert list(rows[0]) == ["a", "s", "c", "r", "robust_l2_0.5", "robust"]


@pytest.mark.parametrize("word", ["acc", "=clean", "acc="])
def test_a_rename_without_two_names_is_refused(word: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["table.csv", "-o", "out", "--rename", word])
    assert f"--rename: must be OLD=NEW, as acc=clean, got {word}; see" in capsys.readouterr().err


def resaved(separator: str, comma: bool = False, quoting: int = csv.QUOTE_MINIMAL) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, quoting=quoting, lineterminator="\n")
    for row in csv.reader(GOOD.splitlines()):
        writer.writerow([cell.replace(".", ",") if comma else cell for cell in row])
    return out.getvalue()


def in_percent(text: str) -> str:
    head, *lines = text.splitlines()
    cells = [line.split(",") for line in lines]
    return "\n".join(
        [head, *(",".join([*c[:4], *(f"{100 * float(x):g}%" for x in c[4:])]) for c in cells)]
    )


SAVED = {
    "with semicolons": resaved(";"),
    "with semicolons and decimal commas": resaved(";", comma=True),
    "with tabs": resaved("\t"),
    "with tabs and decimal commas": resaved("\t", comma=True),
    "with every cell quoted": resaved(",", quoting=csv.QUOTE_ALL),
    "with every cell quoted, semicolons and decimal commas": resaved(";", True, csv.QUOTE_ALL),
    "with a byte order mark": "\ufeff" + GOOD,
    "with a byte order mark before a quote": "\ufeff" + resaved(",", quoting=csv.QUOTE_ALL),
    "with the ends of lines of Windows": GOOD.replace("\n", "\r\n"),
    "with the ends of lines of old Macs": GOOD.replace("\n", "\r"),
    "with blank lines and no end": "\n" + GOOD.replace("\nat", "\n\nat").rstrip(),
    "in percent": in_percent(GOOD),
    "as a European spreadsheet saves it": "\ufeff" + resaved(";", comma=True).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("text", SAVED.values(), ids=SAVED)
def test_a_table_is_read_alike_however_it_was_saved(tmp_path: Path, text: str):
    expected = read_table(write(tmp_path, GOOD), num_test=9).trials
    read = read_table(write(tmp_path, text), num_test=9).trials
    assert [(t.method, t.values, t.seed) for t in read] == [
        (t.method, t.values, t.seed) for t in expected
    ]
    for trial, other in zip(read, expected, strict=True):
        assert (trial.clean, *trial.robust) == pytest.approx((other.clean, *other.robust))


MISSAVED: dict[str, tuple[Callable[[str], str], str]] = {
    "points and commas": (
        lambda t: resaved(";").replace("0.95", "0,95", 1),
        "table.csv:2: clean: 0,95 has a comma and 0.2 in table.csv:2, robust_4/255, has a point; "
        "write each decimal with a point",
    ),
    "a thousand beside points": (
        lambda t: resaved(";").replace("sam;0.1", "sam;1,000", 1),
        "table.csv:4: rho: 1,000 has a comma and 0.95 in table.csv:2, clean, has a point; "
        "write each decimal with a point",
    ),
    "a thousand and a decimal": (
        lambda t: resaved(";", comma=True).replace("sam;0,1", "sam;1.000,5", 1),
        "table.csv:4: rho: must be written like 1000 or 0.5, got 1.000,5; correct it, or ignore "
        "the column (--ignore)",
    ),
    "a thousand in quotes": (
        lambda t: t.replace("sam,0.1", 'sam,"1,000"', 1),
        "table.csv:4: rho: must be written like 1000 or 0.5, got 1,000; correct it, or ignore "
        "the column (--ignore)",
    ),
    "a thousand with a blank": (
        lambda t: t.replace("sam,0.1", "sam,10 000", 1),
        "table.csv:4: rho: must be written like 1000 or 0.5, got 10 000; correct it, or ignore "
        "the column (--ignore)",
    ),
    "a decimal comma in quotes": (
        lambda t: t.replace("0.95", '"0,95"', 1),
        "table.csv:2: clean: must be a fraction in [0, 1], got 0,95",
    ),
    "a strength with a decimal comma": (
        lambda t: t.replace("sam,0.1", 'sam,"0,1"', 1),
        "table.csv:4: rho: must be written like 1000 or 0.5, got 0,1; correct it, or ignore the "
        "column (--ignore)",
    ),
    "a bare decimal comma": (
        lambda t: t.replace("0.95", "0,95", 1),
        "table.csv:2: has 8 cells, the header 7; quote each cell with commas in it, and write "
        "decimals with a point",
    ),
    "a radius with a decimal comma": (
        lambda t: resaved(";").replace("robust_4/255", "robust_0,015"),
        "table.csv:1: robust_0,015: must end in a radius above 0, as in robust_0.031 or "
        "robust_8/255; rename it (--rename), or ignore it (--ignore robust_0,015)",
    ),
    "a thousand seconds": (
        lambda t: t.replace("epsilon", "seconds", 1).replace("8/255,0", '"1,234",0', 1),
        "table.csv:6: seconds: must be a number of at least 0, or blank, got 1,234; correct it",
    ),
    "more than all": (
        lambda t: in_percent(t).replace("95%", "9500%", 1),
        "table.csv:2: clean: must be a fraction in [0, 1], got 95; if the table is in percent, "
        "divide its accuracies by 100",
    ),
}


@pytest.mark.parametrize(("change", "says"), MISSAVED.values(), ids=MISSAVED)
def test_a_number_that_can_be_misread_is_refused(
    tmp_path: Path, change: Callable[[str], str], says: str
):
    assert says in refused(write(tmp_path, change(GOOD)))


def test_a_report_without_standard_training_says_what_is_unknown(tmp_path: Path):
    lone = "".join(line for line in GOOD.splitlines(keepends=True) if line[:3] != "sta")
    path = write(tmp_path, lone)
    assert main([str(path), "-o", str(tmp_path / "out"), "--images", "1000"]) == 0
    page = (tmp_path / "out" / "findings.md").read_text(encoding="utf-8")
    assert "**Standard training.** No configuration is standard training" in page


STANDARDS = {
    "a method without strengths": ({}, False),
    "a method without sides": ({"weights": "none", "inputs": "none", "rho": 0.3}, False),
    "strength 0": ({"method": "at", "epsilon": 0.0}, False),
    "none of them": ({"method": "sam", "rho": 0.3}, True),
    "one strength of two": ({"method": "sam_at", "rho": 0.0, "epsilon": 0.1}, True),
}


@pytest.mark.parametrize(("cells", "lacks"), STANDARDS.values(), ids=STANDARDS)
def test_standard_training_is_recognised_by(cells: dict[str, Any], lacks: bool):
    sides = {"weights": "none", "inputs": "pgd"} if "weights" in cells else {}
    rows = rows_of([{"method": "at", "epsilon": 0.1, "seed": 0, **sides}])
    rows += rows_of([{"method": "plain", "seed": 0, **cells}])
    results = read_table(rows, num_test=100)
    topics = [limit.topic for limit in limits(results, choose(results))]
    assert ("Standard training" in topics) == lacks
