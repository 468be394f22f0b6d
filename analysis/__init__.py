"""Results in, findings out: dominance, attainment, hypervolume, and the report.

What needs matplotlib is imported where it is used: `analysis.plots`, `analysis.report`.
"""

from analysis.choice import Choice, MethodFront, choose
from analysis.configurations import ConfigurationResult, Spread, configurations
from analysis.front import (
    attained,
    attainment_surface,
    comparable,
    dominates,
    hypervolume,
    mean_attainable_robustness,
    nondominated,
)
from analysis.results import (
    AbsentTrial,
    MethodNote,
    Results,
    ResultsError,
    ThreatModel,
    TrialResult,
    accuracies,
    configuration_key,
    nested_bits,
)

__all__ = [
    "AbsentTrial",
    "Choice",
    "ConfigurationResult",
    "MethodFront",
    "MethodNote",
    "Results",
    "ResultsError",
    "Spread",
    "ThreatModel",
    "TrialResult",
    "accuracies",
    "attained",
    "attainment_surface",
    "choose",
    "comparable",
    "configuration_key",
    "configurations",
    "dominates",
    "hypervolume",
    "mean_attainable_robustness",
    "nested_bits",
    "nondominated",
]
