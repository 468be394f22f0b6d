"""The command `python -m analysis`: a report from a table of results, or from a `front.json`."""

import argparse
import os
import sys
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.rows import radius
from analysis.results.table import read_table
from analysis.results.trials import ResultsError
from analysis.results.words import count_text

EPILOG = """examples:
  python -m analysis table.csv -o report --images 10000 --classes 10 --attack "AutoAttack"
  python -m analysis export.csv -o report --images 10000 --rename algo=method acc=clean \\
      pgd=robust_8/255 --hyperparameters rho epsilon
  python -m analysis reports/digits/front.json -o again

A table has one row for each trial, with the columns method, seed, clean and robust_<radius>, such
as robust_8/255. Accuracies are fractions, or percentages with their sign. An image is robust at a
radius only if it is classified correctly at all smaller radii, too. Optional columns:
validation_clean, validation_robust, cost, seconds, run, status, reason, weights, inputs, bits. Any
other column is a hyperparameter. If it looks like an outcome or a record of the run (train_loss,
runtime), it is an error: --ignore it, or list all --hyperparameters. Columns with other names are
read by --rename.

A row with an empty seed, of a method without any seed, is a published single run: it is shown as a
reference, without an interval, and never compared with the methods.

Without the columns weights and inputs, a method with rho above 0 counts as SAM, one with epsilon
above 0 as adversarial training, any other as standard training.

Cells are separated by commas, semicolons or tabs. In the last two cases decimals may have commas.
A front.json holds a whole report and takes no option but -o.
"""


OPTIONS = {
    "num_test": "images",
    "num_validation": "validation-images",
    "num_classes": "classes",
}
"""Options whose names differ from the fields of `analysis.results.table.Options`."""


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, as everywhere in this project."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message}; see python -m analysis --help\n")


def main(words: list[str] | None = None) -> int:
    """Write a report; return the exit code, 2 for a user's mistake."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # as under LANG=C, where there is ASCII alone
    told = _parser().parse_args(words)
    try:
        page = _rerendered(told) if told.source.suffix == ".json" else _reported(told)
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename or told.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(f"open: {os.path.relpath(page)}")
    return 0


def _reported(told: argparse.Namespace) -> Path:
    """Write the report of a table."""
    given = {name: value for name, value in vars(told).items() if value is not None}
    source, out = given.pop("source"), given.pop("out")
    given["rename"] = dict(given.get("rename", ()))
    several = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    results = read_table(source, bits=given.pop("bits", None), **given | several)
    print(_said(results))
    sys.stdout.flush()
    from analysis.report.bundle import write_report  # matplotlib: a second, only for a good table

    return write_report(results, out)


def _rerendered(told: argparse.Namespace) -> Path:
    """Write a report again from its `front.json`."""
    given = [name for name, value in vars(told).items() if value is not None]
    odd = [name for name in given if name not in ("source", "out")]
    if odd:
        option = OPTIONS.get(odd[0], odd[0].replace("_", "-"))
        rule = "holds a whole report and takes only -o"
        raise ResultsError(f"{told.source}: {rule}, got --{option} too; drop it")
    from analysis.report.bundle import rerender  # matplotlib: a second

    return rerender(told.source, told.out)


def _said(results: Results) -> str:
    """Describe how a table was understood, including what was assumed by default."""
    threat = results.threat
    names = dict.fromkeys(name for trial in results.trials for name in trial.values)
    sides = ", ".join(f"{note.name} = {note.sides}" for note in results.methods)
    radii = ", ".join(f"{value:g}" for value in threat.radii)
    counts = (
        count_text(len(results.trials), "trial"),
        count_text(len(results.absent), "absent trial"),
        count_text(len(configurations(results)), "configuration"),
        count_text(len(results.methods), "method"),
        count_text(len(results.seeds), "seed"),
        count_text(results.num_test, "test image"),
    )
    references = "".join(f"; reference: {one.name}" for one in results.references)
    return (
        f"{results.study}: {', '.join(counts)}{references}; {threat.attack}, {threat.norm}, "
        f"radii {radii}, objective {threat.objective_radius:g}; reference point at clean accuracy "
        f"{results.clean_floor:g}; sides: {sides}; hyperparameters: "
        f"{', '.join(names) or 'none'}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m analysis",
        description="Write a report of clean and robust accuracies measured anywhere.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=None,
    )
    add = parser.add_argument
    add("source", type=Path, help="a table (CSV), or the front.json of a report")
    add("-o", "--out", type=Path, required=True, help="folder of the report, created or replaced")
    add("--images", dest="num_test", type=_count, metavar="N", help="test images; required")
    add(
        "--validation-images",
        dest="num_validation",
        type=_count,
        metavar="N",
        help="validation images; required with validation accuracies",
    )
    add("--classes", dest="num_classes", type=_count, metavar="K", help="classes of the data")
    add(
        "--clean-floor",
        type=_share,
        metavar="C",
        help="clean accuracy of the reference point; by default 1/K, or 0 without --classes",
    )
    add("--attack", help="attack of the robust accuracies, such as 'PGD-20, 1 restart'")
    add("--validation-attack", help="attack on validation images; by default that of --attack")
    add("--norm", choices=("linf", "l2"), help="norm of the radii; by default linf")
    add(
        "--objective-radius",
        type=_radius,
        metavar="E",
        help="radius at which fronts are chosen; by default that of the validation accuracies, "
        "or the middle one without them (the smaller of two)",
    )
    add("--checkpoint", choices=("best", "last"), help="checkpoint measured; by default last")
    add("--bits", type=Path, metavar="FILE", help="correctness bits of each row, an .npz file")
    add("--searched", nargs="+", metavar="METHOD", help="methods whose values a search suggested")
    _add_columns(parser)
    add("--margin", type=_share, help="smallest difference of robust accuracy that matters")
    add("--primary", nargs=2, metavar="METHOD", help="methods of the primary contrast")
    add("--study", help="name of the study; by default that of the file")
    add("--about", help="a sentence about the study")
    return parser


def _add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the columns of a table are."""
    # Extended, so that the options of two messages can be pasted one after the other.
    add = partial(parser.add_argument, nargs="+", action="extend")
    add("--ignore", metavar="COLUMN", help="columns to leave out, such as losses and run times")
    add(
        "--rename",
        type=_names,
        metavar="OLD=NEW",
        help="read the column OLD as NEW, say acc=clean pgd=robust_8/255",
    )
    add(
        "--hyperparameters",
        metavar="COLUMN",
        help="all columns that are hyperparameters; other unknown columns are left out",
    )


def _names(text: str) -> tuple[str, str]:
    old, _, new = text.rpartition("=")
    if not old or not new:
        raise argparse.ArgumentTypeError(f"must be OLD=NEW, as acc=clean, got {text}")
    return old, new


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"must be a fraction in [0, 1), got {text}")
    return share


def _radius(text: str) -> float:
    found = radius(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be a radius such as 0.031 or 8/255, got {text}")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
