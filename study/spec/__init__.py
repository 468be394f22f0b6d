"""What is declared: studies.yaml, read and checked."""

from study.spec.mistakes import good_value
from study.spec.model import AnalysisSpec, StudySpec, settings_of
from study.spec.read import read_studies
from study.spec.settings import SIDES, Range, Side, Value, WholeRange, choices
from study.spec.source import SpecError

__all__ = [
    "SIDES",
    "AnalysisSpec",
    "Range",
    "Side",
    "SpecError",
    "StudySpec",
    "Value",
    "WholeRange",
    "choices",
    "good_value",
    "read_studies",
    "settings_of",
]
