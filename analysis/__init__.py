"""Results in, findings out: replicates, fronts, fitted curves, responses, and the report.

A table of accuracies is enough: `analyse(read_table("table.csv", num_test=10_000))`. What needs
matplotlib is imported where it is used: `analysis.figures`, `analysis.report`. What needs scipy is
imported with its first use, half a second: the nondominated points of a study do not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from analysis.fronts.choice import Choice, MethodFront, choose
from analysis.fronts.pareto import (
    attained,
    attainment_surface,
    comparable,
    dominates,
    hypervolume,
    mean_attainable_robustness,
    nondominated,
)
from analysis.inference.bootstrap import Replicates, draw_replicates
from analysis.inference.claims import Finding, Interval
from analysis.results.combine import combine
from analysis.results.configurations import ConfigurationResult, Spread, configurations
from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.table import read_table
from analysis.results.trials import (
    AbsentTrial,
    Check,
    Detection,
    History,
    Importance,
    OtherNorm,
    Reference,
    ResultsError,
    StrongResult,
    TrialResult,
    accuracies,
    configuration_key,
    nested_bits,
)

if TYPE_CHECKING:
    from analysis.analysing import analyse
    from analysis.curves.fits import FrontFit, fit_fronts
    from analysis.document import Analysis, View, read_json, write_json

__all__ = [
    "AbsentTrial",
    "Analysis",
    "Check",
    "Choice",
    "ConfigurationResult",
    "Detection",
    "Finding",
    "FrontFit",
    "History",
    "Importance",
    "Interval",
    "MethodFront",
    "MethodNote",
    "OtherNorm",
    "Reference",
    "Replicates",
    "Results",
    "ResultsError",
    "Spread",
    "StrongResult",
    "ThreatModel",
    "TrialResult",
    "View",
    "accuracies",
    "analyse",
    "attained",
    "attainment_surface",
    "choose",
    "combine",
    "comparable",
    "configuration_key",
    "configurations",
    "dominates",
    "draw_replicates",
    "fit_fronts",
    "hypervolume",
    "mean_attainable_robustness",
    "nested_bits",
    "nondominated",
    "read_json",
    "read_table",
    "write_json",
]

_BY_SCIPY = {
    "analysing": ("analyse",),
    "curves.fits": ("FrontFit", "fit_fronts"),
    "document": ("Analysis", "View", "read_json", "write_json"),
}


def __getattr__(name: str) -> Any:
    """Import a name of `_BY_SCIPY` when it is first asked for."""
    for module, names in _BY_SCIPY.items():
        if name in names:
            return getattr(import_module(f"analysis.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
