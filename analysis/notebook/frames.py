"""Tables of pandas with tidy columns: a row for each trial, or for each configuration.

Columns, in this order; every accuracy is a fraction:

- `method`, and each hyperparameter under its short name (`rho`); empty where a method has it not;
- `seed` of a trial; `seeds` of a configuration, the number of its trials, and `complete`;
- `clean_accuracy`, and `robust_accuracy@RADIUS` of the evaluation attack at each radius, on test
  images, the radius as reports print it (`0.1`, `8/255`);
- `validation_clean_accuracy` and `validation_robust_accuracy@RADIUS`, at the objective radius;
- other norms and stronger attacks, under their names in `seeds.csv`;
- `cost`, in forward passes per image and epoch, and `seconds` of training and evaluation;
- `run` of a trial, its id in MLflow; `on_study_front` and `on_method_front` of a configuration.

Of a configuration, an accuracy is the mean over seeds. `…_low` and `…_high` are the ends of its 95%
interval, and `…_deviation` the standard deviation over seeds. All are those of the report.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from analysis.analysing import analyse
from analysis.document import Analysis
from analysis.report.configurations import configuration_rows
from analysis.report.data_files import trial_row
from analysis.results.results import Results
from analysis.results.trials import ResultsError, Value
from analysis.results.words import value_text

if TYPE_CHECKING:
    from pandas import DataFrame

UNSHOWN = ("status", "reason", "alarms", "seeds_absent")
"""Columns of the report's files that hold text for readers."""
DIGITS = 6
"""Of a radius in a column's name."""


def trials_frame(results: Results) -> "DataFrame":
    """Build the table with a row for each finished trial."""
    names = accuracy_names(results)
    rows = [_renamed(trial_row(results, trial), names) for trial in results.trials]
    return _frame(rows, [trial.values for trial in results.trials])


def configurations_frame(results: Results | Analysis) -> "DataFrame":
    """Build the table with a row for each configuration, from results or from their analysis.

    Results are analysed, which takes seconds. Trials that the report leaves out are left out here.
    """
    analysis = analyse(results) if isinstance(results, Results) else results
    names = {
        f"{ours}{end}": f"{theirs}{new}"
        for ours, theirs in accuracy_names(analysis.results).items()
        for end, new in (("_mean", ""), ("_low", "_low"), ("_high", "_high"))
    }
    names |= {
        f"{ours}_deviation": f"{theirs}_deviation"
        for ours, theirs in accuracy_names(analysis.results).items()
    }
    rows = [_renamed(row, names) for row in configuration_rows(analysis)]
    return _frame(rows, [one.values for one in analysis.found])


def accuracy_names(results: Results) -> dict[str, str]:
    """Return what accuracies are called here by their names in the report's files."""
    threat = results.threat
    objective = threat.objective_radius
    return {
        "clean": "clean_accuracy",
        **{f"robust_{r:g}": f"robust_accuracy@{value_text(r, DIGITS)}" for r in threat.radii},
        "validation_clean": "validation_clean_accuracy",
        f"validation_robust_{objective:g}": (
            f"validation_robust_accuracy@{value_text(objective, DIGITS)}"
        ),
    }


def _renamed(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Rename the columns of a row, and leave out those that are not for programs."""
    return {
        names.get(name, name): value
        for name, value in row.items()
        if name not in UNSHOWN and not name.endswith(("_least", "_greatest"))
    }


def _frame(rows: list[dict[str, Any]], values: Iterable[Mapping[str, Value]]) -> "DataFrame":
    """Build a table that begins with the method and all hyperparameters that are in `values`."""
    try:
        from pandas import DataFrame  # half a second: only for a table
    except ImportError as error:
        text = f"a table needs pandas, which cannot be imported ({error}); pip install pandas"
        raise ResultsError(text) from None
    first = ["method", *(name for some in values for name in some)]
    names = dict.fromkeys([*first, *(name for row in rows for name in row)])
    return DataFrame(rows, columns=list(names))
