"""The studies file, read and checked.

Start at `read_studies`. The parts of a `StudySpec` that can hold neither a list nor a range are the
dataclasses of `trainers.config`; the others are sides: settings as they are declared.
"""

from study.spec.around import AROUND
from study.spec.claims import ClaimSpec, claim_text
from study.spec.declared import choose_study, read_declared
from study.spec.model import (
    AnalysisSpec,
    StudySpec,
    all_seeds,
    around_config,
    around_of,
    batch_sizes_of,
    cell_config,
    claims_of,
    fidelity_of,
    models_of,
    settings_of,
    start_of,
    stop_of,
    swept_in,
)
from study.spec.read import read_studies
from study.spec.search import BudgetSpec, Sampler, SearchSpec, StopSpec
from study.spec.settings import SIDES, Range, Side, Value
from study.spec.source import SpecError
from study.spec.start import Start

__all__ = [
    "AROUND",
    "SIDES",
    "AnalysisSpec",
    "BudgetSpec",
    "ClaimSpec",
    "Range",
    "Sampler",
    "SearchSpec",
    "Side",
    "SpecError",
    "Start",
    "StopSpec",
    "StudySpec",
    "Value",
    "all_seeds",
    "around_config",
    "around_of",
    "batch_sizes_of",
    "cell_config",
    "choose_study",
    "claim_text",
    "claims_of",
    "fidelity_of",
    "models_of",
    "read_declared",
    "read_studies",
    "settings_of",
    "start_of",
    "stop_of",
    "swept_in",
]
