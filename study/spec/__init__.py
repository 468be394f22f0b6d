"""The studies file, read and checked.

Start at `read_studies`. The parts of a `StudySpec` that can hold neither a list nor a range
are the dataclasses of `trainers.config`.
"""

from study.spec.declared import choose_study, read_declared
from study.spec.model import AnalysisSpec, Sampler, StudySpec, cell_config, settings_of
from study.spec.read import read_studies
from study.spec.settings import SIDES, Range, Side, Value
from study.spec.source import SpecError

__all__ = [
    "SIDES",
    "AnalysisSpec",
    "Range",
    "Sampler",
    "Side",
    "SpecError",
    "StudySpec",
    "Value",
    "cell_config",
    "choose_study",
    "read_declared",
    "read_studies",
    "settings_of",
]
