"""A good table is read as it is meant; a bad one gets one clear line for each mistake."""

import re
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.rows import TableError
from analysis.results.table import read_table
from analysis.results.trials import ResultsError

GOOD = """\
method,rho,epsilon,seed,clean,robust_4/255,robust_8/255
standard,,,0,0.95,0.2,0.01
standard,,,1,0.94,0.21,0.02
sam,0.1,,0,0.95,0.3,0.1
sam,0.1,,1,0.94,0.31,0.11
at,,8/255,0,0.85,0.7,0.5
at,,8/255,1,0.84,0.71,0.51
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(source: Any, **options: Any) -> list[str]:
    """Read a bad table; give its messages."""
    with pytest.raises(TableError) as refusal:
        read_table(source, **{"num_test": 1000, **options})
    assert all("\n" not in message for message in refusal.value.messages)
    assert isinstance(refusal.value, ResultsError)
    return list(refusal.value.messages)


def test_a_table_is_read_as_it_is_meant(tmp_path: Path):
    results = read_table(write(tmp_path, GOOD), num_test=1000, num_classes=10)
    assert results.study == "table"
    assert results.threat.radii == (4 / 255, 8 / 255)
    assert results.threat.objective_radius == 4 / 255
    assert (results.threat.norm, results.num_test, results.num_validation) == ("linf", 1000, 0)
    assert (results.clean_floor, results.num_classes, results.seeds) == (0.1, 10, (0, 1))
    sides = [(note.name, note.sides, note.searched) for note in results.methods]
    assert sides == [("standard", "none", False), ("sam", "sam", False), ("at", "pgd", False)]
    first, last = results.trials[0], results.trials[-1]
    assert (first.method, first.values, first.seed) == ("standard", {}, 0)
    assert (first.clean, first.robust, first.bits) == (0.95, (0.2, 0.01), None)
    assert last.values == {"epsilon": 8 / 255}
    assert [len(c.trials) for c in configurations(results)] == [2, 2, 2]


def test_a_report_reads_the_table_that_it_wrote(digits: Results, tmp_path: Path):
    from analysis.report.data_files import seeds_csv

    read = read_table(
        write(tmp_path, seeds_csv(digits)),
        num_test=500,
        num_validation=200,
        num_classes=10,
        attack=digits.threat.attack,
        validation_attack=digits.threat.validation_attack,
        checkpoint="best",
        searched=("sam_at",),
    )
    assert read.threat == digits.threat
    before = {(t.method, *t.values.items(), t.seed): t for t in digits.trials}
    assert len(read.trials) == len(before)
    for trial in read.trials:
        other = before[(trial.method, *trial.values.items(), trial.seed)]
        assert (trial.clean, trial.robust) == (other.clean, other.robust)
        assert trial.validation_robust == other.validation_robust
        assert (trial.cost, trial.seconds, trial.run) == (other.cost, other.seconds, other.run)
    assert [(a.method, a.seed, a.status, a.reason, a.run) for a in read.absent] == [
        (a.method, a.seed, a.status, a.reason, a.run) for a in digits.absent
    ]


def test_dicts_and_data_frames_are_tables_too(tmp_path: Path):
    pandas = pytest.importorskip("pandas")
    path = write(tmp_path, GOOD)
    frame = pandas.read_csv(path)
    dicts = [
        {name: None if pandas.isna(cell) else cell for name, cell in row.items()}
        for row in frame.to_dict("records")
    ]
    before = [dict(row) for row in dicts]
    expected = read_table(path, num_test=1000).trials
    assert read_table(frame, num_test=1000).trials == expected
    assert read_table(dicts, num_test=1000).trials == expected
    assert dicts == before


NUMBERS = {
    "whole": (["1", "2"], [1, 2]),
    "mixed": (["1", "0.5"], [1.0, 0.5]),
    "fractions": (["8/255", "0"], [8 / 255, 0.0]),
    "words": (["auto", "0.5"], ["auto", "0.5"]),
    "exponents": (["1e-3", "5E-4"], [0.001, 0.0005]),
}


@pytest.mark.parametrize(("written", "meant"), NUMBERS.values(), ids=NUMBERS)
def test_a_hyperparameter_has_one_type_throughout(written: list[str], meant: list[Any]):
    rows = [
        {"method": "m", "x": text, "seed": 0, "clean": 0.5, "robust_1/255": 0.5} for text in written
    ]
    read = [trial.values["x"] for trial in read_table(rows, num_test=10).trials]
    assert read == meant
    assert [type(value) for value in read] == [type(value) for value in meant]


RADII = {
    "the only one": ({"robust_0.1": 0.5}, {}, 0.1),
    "the middle one": ({"robust_0.3": 0.1, "robust_0.1": 0.3, "robust_0.2": 0.2}, {}, 0.2),
    "the smaller one of two": ({"robust_0.1": 0.3, "robust_0.2": 0.2}, {}, 0.1),
    "that of the validation": (
        {
            "robust_0.1": 0.3,
            "robust_0.2": 0.2,
            "validation_clean": 0.5,
            "validation_robust_0.2": 0.2,
        },
        {"num_validation": 10},
        0.2,
    ),
    "the one asked for": (
        {"robust_0.1": 0.3, "robust_0.2": 0.2},
        {"objective_radius": 0.2},
        0.2,
    ),
}


@pytest.mark.parametrize(("cells", "options", "radius"), RADII.values(), ids=RADII)
def test_the_objective_radius_is(cells: dict[str, float], options: dict[str, Any], radius: float):
    row = {"method": "at", "seed": 0, "clean": 0.9, **cells}
    results = read_table([row], num_test=100, **options)
    assert results.threat.objective_radius == radius
    assert results.threat.radii == tuple(sorted(results.threat.radii))


def test_validation_columns_that_are_blank_are_none():
    row = {"method": "at", "seed": 0, "clean": 0.9, "robust_0.1": 0.5}
    blank = {"validation_clean": None, "validation_robust_0.1": float("nan")}
    assert read_table([row | blank], num_test=100).num_validation == 0


def test_sides_may_stand_in_the_table():
    row = {"method": "x", "weights": "awp", "inputs": "pgd", "seed": 0, "clean": 0.9}
    results = read_table([{**row, "robust_0.1": 0.5}], num_test=100)
    assert results.methods[0].sides == "awp + pgd"


def test_methods_have_the_seeds_of_their_rows():
    row = {"clean": 0.9, "robust_0.1": 0.5}
    rows = [{"method": "at", "seed": seed, **row} for seed in (0, 1, 2)]
    rows += [{"method": "sam", "seed": seed, **row} for seed in (1, 2)]
    results = read_table(rows, num_test=100)
    assert results.seeds == (0, 1, 2)
    assert [note.seeds for note in results.methods] == [None, (1, 2)]
    assert all(c.complete for c in configurations(results))


BAD = {
    "no seed": (
        lambda t: t.replace("seed", "Seed", 1),
        [
            "table.csv:1: needs a column seed; if Seed is that, rename it (--rename Seed=seed)",
        ],
    ),
    "no clean": (
        lambda t: t.replace("clean", "x", 1),
        [
            "table.csv:1: needs a column clean; the table has method, rho, epsilon, seed, x, "
            "robust_4/255, robust_8/255; rename one (--rename NAME=clean), or add it"
        ],
    ),
    "no column as it should be": (
        lambda t: (
            t.replace("method", "Algo", 1)
            .replace("seed", "run_seed", 1)
            .replace("clean", "clean acc", 1)
            .replace("robust_4/255,robust_8/255", "AA,pgd", 1)
        ),
        [
            "table.csv:1: needs a column method; if Algo is that, rename it (--rename Algo=method)",
            "table.csv:1: needs a column seed; if run_seed is that, rename it "
            "(--rename run_seed=seed)",
            "table.csv:1: needs a column clean; if clean acc is that, rename it "
            "(--rename 'clean acc=clean')",
            "table.csv:1: needs a column robust_<radius>, as in robust_0.031 or robust_8/255; "
            "if AA is that, rename it, with its radius (--rename AA=robust_8/255)",
        ],
    ),
    "no seed at all": (
        lambda t: re.sub(r"(?m),(seed|\d)(?=,(clean|0\.))", "", t),
        [
            "table.csv:1: needs a column seed; add it, 0 in each row if every configuration was "
            "trained once"
        ],
    ),
    "a capital radius": (
        lambda t: t.replace("robust_4", "Robust_4", 1),
        [
            "table.csv:1: Robust_4/255: is not a known column; did you mean robust_4/255? "
            "Rename it (--rename Robust_4/255=robust_4/255), or ignore it (--ignore Robust_4/255)"
        ],
    ),
    "no radius": (
        lambda t: t.replace("robust_4/255", "robust_low").replace(",robust_8/255", ",robust"),
        [
            "table.csv:1: robust_low: must end in a radius above 0, as in robust_0.031 or "
            "robust_8/255; rename it (--rename), or ignore it (--ignore robust_low)",
            "table.csv:1: needs a column robust_<radius>, as in robust_0.031 or robust_8/255; "
            "if robust is that, rename it, with its radius (--rename robust=robust_8/255)",
        ],
    ),
    "one radius twice": (
        lambda t: t.replace("robust_8/255", "robust_0.0156863"),
        ["table.csv:1: robust_0.0156863: has radius 0.0156863, as another column has; drop it"],
    ),
    "a radius in 255ths": (
        lambda t: t.replace("robust_8/255", "robust_8"),
        [
            "table.csv:1: robust_8: linf radii are parts of the pixel range [0, 1]; "
            "write robust_8/255 for 8 of 255"
        ],
    ),
    "a column twice": (
        lambda t: t.replace("epsilon", "rho", 1),
        ["table.csv:1: rho: appears twice in the header; keep one of the columns"],
    ),
    "a misspelled column": (
        lambda t: t.replace("rho", "validation_clan", 1),
        [
            "table.csv:1: validation_clan: is not a known column; did you mean "
            "validation_clean? Rename it (--rename validation_clan=validation_clean), or ignore it "
            "(--ignore validation_clan)"
        ],
    ),
    "half of a validation": (
        lambda t: t.replace("rho", "validation_clean", 1).replace(",,0,", ",0.5,0,"),
        [
            "table.csv:1: needs validation_clean and one validation_robust at the objective "
            "radius 0.0156863, or neither; got validation_clean"
        ],
    ),
    "percent": (
        lambda t: t.replace("0.95", "95").replace("0.94", "94"),
        [
            "table.csv:2: clean: must be a fraction in [0, 1], got 95, and 3 more above 1; "
            "if the table is in percent, divide its accuracies by 100"
        ],
    ),
    "a negative accuracy": (
        lambda t: t.replace("0.2,", "-0.2,", 1),
        ["table.csv:2: robust_4/255: must be a fraction in [0, 1], got -0.2"],
    ),
    "NaN": (
        lambda t: t.replace("0.95", "nan", 1),
        ["table.csv:2: clean: must be a fraction in [0, 1], got nan"],
    ),
    "a blank accuracy": (
        lambda t: t.replace("0.95", "", 1),
        [
            "table.csv:2: clean: must be a fraction in [0, 1], got nothing; "
            "if the trial has no results, change its status"
        ],
    ),
    "words": (
        lambda t: t.replace("0.95", "good", 1),
        ["table.csv:2: clean: must be a fraction in [0, 1], got good"],
    ),
    "rising": (
        lambda t: t.replace("0.01\n", "0.3\n"),
        [
            "table.csv:2: robust_8/255: is 0.3, above robust_4/255 with 0.2; an image is right "
            "only if it is right at all smaller radii; count it so, or drop the radius"
        ],
    ),
    "robust above clean": (
        lambda t: t.replace("0.85,0.7", "0.6,0.7"),
        [
            "table.csv:6: robust_4/255: is 0.7, above clean with 0.6; an image is right only if "
            "it is right at all smaller radii; count it so, or drop the radius"
        ],
    ),
    "a trial twice": (
        lambda t: t.replace("at,,8/255,1", "at,,0.03137254901960784,0"),
        [
            "table.csv:7: has the same method, values and seed as in table.csv:6; "
            "each trial has one row: delete one, or add the hyperparameter that differs"
        ],
    ),
    "no method": (
        lambda t: t.replace("sam,", ",", 1),
        ["table.csv:4: method: is blank; name the method"],
    ),
    "an odd seed": (
        lambda t: t.replace("sam,0.1,,0,", "sam,0.1,,0.5,"),
        [
            "table.csv:4: seed: must be a whole number of at least 0, got 0.5; "
            "write 0 if there is only one seed",
        ],
    ),
    "some seeds of a method": (
        lambda t: re.sub("at,,8/255,0,(.*)\n", r"at,,8/255,,\1\nat,,9/255,,\1\n", t),
        [
            "table.csv:6: seed: is blank, but other rows of at have one; number the seeds of a "
            "method, and name a published single run differently"
        ],
    ),
    "a reference twice": (
        lambda t: t + "paper,,,,0.8,0.6,0.4\npaper,,1/255,,0.8,0.6,0.4\n",
        [
            "table.csv:9: seed: is blank, as in table.csv:8, but a published single run has one "
            "row; give each run a name of its own, or number the seeds of a method from 0"
        ],
    ),
    "a reference without robust accuracy, and one without results": (
        lambda t: (
            "\n".join(
                (line + (",status" if line.startswith("method") else ",done"))
                for line in t.splitlines()
            )
            + "\npaper,,,,0.8,,,\nother,,,,0.8,0.6,0.4,failed\n"
        ),
        [
            *(
                f"table.csv:8: robust_{radius}/255: must be a fraction in [0, 1], got nothing; "
                "if the trial has no results, change its status"
                for radius in (4, 8)
            ),
            "table.csv:9: status: must be done without a seed; add its seed",
        ],
    ),
    "no seed in any row": (
        lambda t: "\n".join(t.splitlines()[:2]).replace("standard,,,0", "standard,,,"),
        [
            "table.csv:2: seed: must be a whole number of at least 0, got nothing; "
            "write 0 if there is only one seed"
        ],
    ),
    "an infinite value": (
        lambda t: t.replace("sam,0.1", "sam,inf", 1),
        ["table.csv:4: rho: must be finite or blank, got inf"],
    ),
    "a row too long": (
        lambda t: t.replace("0.51\n", "0.51,7\n"),
        [
            "table.csv:7: has 8 cells, the header 7; quote each cell with commas in it, "
            "and write decimals with a point"
        ],
    ),
    "no rows": (
        lambda t: t.splitlines()[0],
        ["table.csv: has no rows below its column names; add one for each trial"],
    ),
    "empty": (lambda t: "", ["table.csv: is empty; it needs a line of column names, then rows"]),
    "blank": (
        lambda t: "\n\n",
        ["table.csv: is empty; it needs a line of column names, then rows"],
    ),
    "not UTF-8": (
        lambda t: t.encode().replace(b"sam", b"s\xe9m", 1),
        ["table.csv:4: must be UTF-8, got the byte 0xe9; save it as UTF-8 CSV"],
    ),
    "UTF-16": (
        lambda t: t.encode("utf-16"),
        ["table.csv:1: must be UTF-8, got the byte 0xff; save it as UTF-8 CSV"],
    ),
    "an open quote": (
        lambda t: t.replace("sam", '"sam', 1),
        ["table.csv:7: is not CSV: unexpected end of data"],
    ),
    "an identifier": (
        lambda t: (
            t.replace("rho", "id", 1)
            .replace("standard,,,0", "standard,a,,0")
            .replace("standard,,,1", "standard,b,,1")
            .replace("sam,0.1,,1", "sam,0.2,,1")
            .replace("at,,8/255,0", "at,c,8/255,0")
            .replace("at,,8/255,1", "at,d,8/255,1")
        ),
        [
            "table.csv:1: id: is named like results or records of the run; ignore it "
            "(--ignore id), or list all hyperparameters (--hyperparameters epsilon)"
        ],
    ),
    "two mistakes": (
        lambda t: t.replace("0.95", "x", 1).replace("0.51\n", "-1\n"),
        [
            "table.csv:2: clean: must be a fraction in [0, 1], got x",
            "table.csv:7: robust_8/255: must be a fraction in [0, 1], got -1",
        ],
    ),
}


@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=BAD)
def test_a_bad_table_gets_a_line_for_each_mistake(
    tmp_path: Path, change: Callable[[str], str | bytes], says: list[str]
):
    path = write(tmp_path, change(GOOD))
    assert [message.replace(f"{tmp_path}/", "") for message in refused(path)] == says


def test_a_table_with_many_mistakes_shows_a_hundred(tmp_path: Path):
    rows = "".join(f"at,,{n},0,x,0.1,0.1\n" for n in range(150))
    found = refused(write(tmp_path, GOOD.splitlines(keepends=True)[0] + rows))
    assert len(found) == 101
    assert found[-1] == "50 more mistakes are not shown"


OPTIONS = {
    "images": (
        {"num_test": None},
        "table.csv: the number of test images is not in a table; give it (--images N, num_test=N)",
    ),
    "a radius": (
        {"objective_radius": 0.3},
        "table.csv:1: the objective radius 0.3 must be one of the radii 0.0156863, 0.0313725; "
        "choose one (--objective-radius)",
    ),
    "a searched method": (
        {"searched": ("sma",)},
        "table.csv: has no method sma; it has at, sam, standard",
    ),
    "a primary contrast": (
        {"primary": ("at", "trades")},
        "table.csv: has no method trades; it has at, sam, standard",
    ),
    "an ignored column": (
        {"ignore": ("loss",)},
        "table.csv: has no column loss to ignore; it has method, rho, epsilon, seed, clean, "
        "robust_4/255, robust_8/255",
    ),
    "no images": ({"num_test": 0}, "num_test must be a whole number of at least 1, got 0"),
    "images as text": (
        {"num_test": "1000"},
        "num_test must be a whole number of at least 1, got '1000'",
    ),
    "the command's word": (
        {"images": 9},
        "images is not an option of read_table; did you mean num_test?",
    ),
    "a misspelt option": (
        {"atack": "PGD"},
        "atack is not an option of read_table; did you mean attack?",
    ),
    "a norm": ({"norm": "l1"}, "norm must be one of linf, l2, got 'l1'"),
    "a checkpoint": ({"checkpoint": "end"}, "checkpoint must be one of best, last, got 'end'"),
    "a name for names": ({"searched": "at"}, "searched must be a list of names, got the text at"),
    "a floor": ({"clean_floor": 1.0}, "table.csv: table: clean_floor must lie in [0, 1)"),
}


@pytest.mark.parametrize(("options", "says"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_do_not_fit_the_table_are_refused(
    tmp_path: Path, options: dict[str, Any], says: str
):
    [found] = refused(write(tmp_path, GOOD), **options)
    assert found.replace(f"{tmp_path}/", "").startswith(says)


def test_a_status_that_is_none_is_refused():
    row = {"method": "at", "seed": 0, "status": "crashed", "clean": 0.9, "robust_0.1": 0.5}
    assert refused([row]) == [
        "row 1: status: must be one of done, missing, failed, given up, stopped, spared, got "
        "crashed; write done if it has results"
    ]


@pytest.mark.parametrize("source", [3, {"method": "at"}, ["at"], None], ids=str)
def test_what_is_no_table_is_refused(source: object):
    [message] = refused(source)
    assert message.startswith("a table is the path of a CSV file, a data frame or a list of dicts")


def test_a_workbook_is_refused(tmp_path: Path):
    [found] = refused(write(tmp_path, b"PK\x03\x04 and so on"))
    assert found.endswith("table.csv: is a workbook or an archive; save its sheet as UTF-8 CSV")


def test_what_other_people_call_seeds_may_be_a_hyperparameter_beside_them(tmp_path: Path):
    table = GOOD.replace("rho", "model", 1)
    assert "model" in read_table(write(tmp_path, table), num_test=1000).trials[2].values


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path):
    assert refused(tmp_path) == [f"{tmp_path}: is a folder; name a CSV file"]
    missing = tmp_path / "no.csv"
    assert refused(missing) == [f"{missing}: cannot be read: No such file or directory"]


BITS = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
ROWS = [
    {"method": "at", "seed": seed, "clean": 0.75, "robust_0.1": 0.5, "robust_0.2": 0.25}
    for seed in (0, 1)
]


def test_bits_are_read_by_row_number_or_name(tmp_path: Path):
    np.savez(tmp_path / "bits.npz", **{"1": BITS, "2": BITS[:, ::-1].astype(bool)})
    results = read_table(ROWS, bits=tmp_path / "bits.npz")
    assert results.num_test == 4
    assert results.trials[0].bits is not None
    assert (results.trials[0].bits == BITS).all()
    assert results.trials[0].sample_hash == results.trials[1].sample_hash
    np.savez(tmp_path / "named.npz", a=BITS, sample_hash="5f1c")
    rows = [{**row, "bits": "a"} for row in ROWS]
    results = read_table(rows, bits=tmp_path / "named.npz")
    assert [trial.sample_hash for trial in results.trials] == ["5f1c", "5f1c"]


def test_rounded_accuracies_give_way_to_those_of_the_bits(tmp_path: Path):
    np.savez(tmp_path / "bits.npz", **{"1": BITS})
    [trial] = read_table([{**ROWS[0], "clean": 0.7504}], bits=tmp_path / "bits.npz").trials
    assert trial.clean == 0.75


BAD_BITS = {
    "none of a row": ({"1": BITS}, "row 2: bits: bits.npz has no array 2; add it"),
    "of another shape": (
        {"1": BITS, "2": BITS[:2]},
        "row 2: bits: array 2 must hold 0 and 1 in shape (3, 4), got int64 (2, 4)",
    ),
    "no bits": (
        {"1": BITS, "2": BITS * 0.5},
        "row 2: bits: array 2 must hold 0 and 1 in shape (3, 4), got float64 (3, 4)",
    ),
    "of another row": (
        {"1": BITS, "2": BITS * 0},
        "row 2: bits: array 2 has the accuracies 0.0000, 0.0000, 0.0000, but the row has others",
    ),
    "objects": ({"1": np.array([{}])}, "bits.npz: is not an .npz file of plain arrays"),
    "nothing": ({"sample_hash": np.array("a")}, "bits.npz: holds no array of shape"),
}


@pytest.mark.parametrize(("arrays", "says"), BAD_BITS.values(), ids=BAD_BITS)
def test_bits_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], says: str):
    np.savez(tmp_path / "bits.npz", **arrays)
    [found] = refused(ROWS, bits=tmp_path / "bits.npz")
    assert found.replace(f"{tmp_path}/", "").startswith(says)


NO_BITS = {
    "text": (b"not an archive", "is not an .npz file of plain arrays; write it with numpy.savez"),
    "a cut archive": (b"PK\x03\x04 cut", "is not an .npz file of plain arrays"),
    "empty": (b"", "is not an .npz file of plain arrays"),
}


@pytest.mark.parametrize(("content", "says"), NO_BITS.values(), ids=NO_BITS)
def test_a_file_that_holds_no_bits_is_refused(tmp_path: Path, content: bytes, says: str):
    path = tmp_path / "bits.npz"
    path.write_bytes(content)
    [found] = refused(ROWS, bits=path)
    assert found.startswith(f"{path}: {says}")


def test_one_bare_array_and_a_folder_are_refused(tmp_path: Path):
    path = tmp_path / "bits.npy"
    np.save(path, BITS)
    assert refused(ROWS, bits=path)[0].startswith(f"{path}: holds no array of shape")
    assert refused(ROWS, bits=tmp_path) == [f"{tmp_path}: is a folder; name an .npz file"]


def test_the_command_writes_a_report_and_says_how_it_read_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path, out = write(tmp_path, GOOD), tmp_path / "out"
    options = ["--images", "1000", "--classes", "10", "--objective-radius", "8/255"]
    assert main([str(path), "-o", str(out), *options, "--attack", "PGD-20"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "table: 6 trials, 0 absent trials, 3 configurations, 3 methods, 2 seeds, "
    )
    assert "; PGD-20, linf, radii 0.0156863, 0.0313725, objective 0.0313725; reference" in said
    assert said.endswith("out/index.html\n")
    again = tmp_path / "again"
    assert main([str(out / "front.json"), "-o", str(again)]) == 0
    assert (again / "index.html").read_bytes() == (out / "index.html").read_bytes()


def test_the_command_runs_where_the_terminal_knows_ascii_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written = BytesIO()
    monkeypatch.setattr("sys.stdout", TextIOWrapper(written, encoding="ascii"))
    path, out = write(tmp_path, GOOD.replace("standard", "ständard")), tmp_path / "out"
    assert main([str(path), "-o", str(out), "--images", "1000"]) == 0
    assert b"1?000 test images; an unnamed attack" in written.getvalue()
    assert "“ständard”" in (out / "index.html").read_text(encoding="utf-8")


COMMANDS = {
    "a mistake in the table": (["bad.csv", "-o", "out", "--images", "10"], "bad.csv:2: clean: "),
    "no table": (["no.csv", "-o", "out", "--images", "10"], "no.csv: cannot be read: No such file"),
    "no front.json": (["no.json", "-o", "out"], "no.json: "),
    "a table for a front.json": (["bad.json", "-o", "out"], "front.json"),
    "too much for a front.json": (
        ["no.json", "-o", "out", "--images", "10"],
        "no.json: holds a whole report and takes only -o, got --images too; drop it",
    ),
    "an occupied folder": (["good.csv", "-o", ".", "--images", "10"], "/"),
}


@pytest.mark.parametrize(("words", "says"), COMMANDS.values(), ids=COMMANDS)
def test_a_mistake_is_one_line_and_exit_code_two(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text(GOOD)
    Path("bad.csv").write_text(GOOD.replace("0.95", "x", 1))
    Path("bad.json").write_text(GOOD)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


ARGUMENTS = {
    "nothing": [],
    "no folder": ["table.csv"],
    "no images": ["table.csv", "-o", "out", "--images", "0"],
    "an odd radius": ["table.csv", "-o", "out", "--objective-radius", "8/x"],
    "an odd floor": ["table.csv", "-o", "out", "--clean-floor", "1"],
    "an unknown option": ["table.csv", "-o", "out", "--imagse", "7"],
    "an unknown norm": ["table.csv", "-o", "out", "--norm", "l3"],
}


@pytest.mark.parametrize("words", ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_wrong_argument_is_one_line_and_exit_code_two(
    words: list[str], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error.endswith("; see python -m analysis --help\n")
    assert error.count("\n") == 1
