"""What is declared: studies.yaml, read and checked.

`read_studies` is the way in. The parts of a `StudySpec` that hold no setting of their own are the
dataclasses of `trainers.config`.
"""

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
    "read_studies",
    "settings_of",
]
