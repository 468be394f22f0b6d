"""Document: everything that an analysis found, as one value and as `front.json`.

The figures, the tables and the page are made from it alone. Fractions, never percent; null, never
NaN. Additions keep the schema's number; a changed meaning raises it; readers refuse one that they
do not know.

Codec: frozen dataclasses as JSON and back, by their declared types.
"""

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from analysis.attacks.alarms import Alarm
from analysis.attacks.exclusion import Diagnosis, Exclusion
from analysis.attacks.other_norm import OtherEvaluation
from analysis.attacks.tiers import AttackedTwice, MethodLoss
from analysis.curves.fits import FrontFit
from analysis.curves.gaps import Gap
from analysis.curves.rates import Rate
from analysis.fronts.attainment import Fronts
from analysis.fronts.choice import Choice, choose
from analysis.fronts.contrasts import Contrasts
from analysis.fronts.optimism import Selection
from analysis.inference.claims import Estimand, Finding
from analysis.responses.equivalence import Equivalence
from analysis.responses.margins import Margin
from analysis.responses.strength import HeatMap, Response
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.trials import ResultsError

T = TypeVar("T")


def to_plain(value: Any, place: str = "") -> Any:
    """Turn dataclasses into dicts and tuples into lists; what JSON cannot hold is an error.

    Fields marked `UNWRITTEN` are left out. No NaN and no infinity: they are None where they mean
    something.

    >>> from analysis.inference.claims import Interval
    >>> to_plain(Interval(estimate=0.5, low=0.25, high=0.75))
    {'estimate': 0.5, 'low': 0.25, 'high': 0.75}
    """
    if is_dataclass(value):
        return {
            field.name: to_plain(getattr(value, field.name), f"{place}.{field.name}")
            for field in fields(value)
            if field.metadata.get("written", True)
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item, f"{place}[{at}]") for at, item in enumerate(value)]
    if isinstance(value, bool | str | int | None):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise TypeError(f"{place}: cannot be written as JSON: {value!r} ({type(value).__name__})")


def from_plain(kind: type[T], plain: Any, place: str = "") -> T:
    """Make a value of this type from what `to_plain` wrote; `ResultsError` names what is odd.

    >>> from analysis.inference.claims import Interval
    >>> from_plain(Interval, {"estimate": 0.5, "low": 0.25, "high": 0.75})
    Interval(estimate=0.5, low=0.25, high=0.75)
    """
    return typing.cast(T, _read(kind, plain, place or kind.__name__))


def _read(kind: Any, plain: Any, place: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _read_dataclass(kind, plain, place)
    if origin is tuple:
        return _read_tuple(arguments, plain, place)
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, plain, place)
    if origin is typing.Literal:
        if plain not in arguments:
            raise ResultsError(f"{place}: must be one of {arguments}, got {plain!r}")
        return plain
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(plain, dict):
            raise ResultsError(f"{place}: must be an object, got {plain!r}")
        return {key: _read(arguments[1], item, f"{place}.{key}") for key, item in plain.items()}
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if not isinstance(plain, kind) or (kind in (int, float) and isinstance(plain, bool)):
        raise ResultsError(f"{place}: must be {kind.__name__}, got {plain!r}")
    return plain


def _read_dataclass(kind: Any, plain: Any, place: str) -> Any:
    if not isinstance(plain, dict):
        raise ResultsError(f"{place}: must be an object, got {plain!r}")
    hints = get_type_hints(kind)
    written = [field for field in fields(kind) if field.metadata.get("written", True)]
    values = {}
    for field in written:
        if field.name in plain:
            values[field.name] = _read(
                hints[field.name], plain[field.name], f"{place}.{field.name}"
            )
    try:
        return kind(**values)
    except TypeError as error:
        needed = [one for one in written if one.default is MISSING]
        lacking = [field.name for field in needed if field.name not in plain]
        raise ResultsError(f"{place}: lacks {', '.join(lacking)}") from error


def _read_tuple(arguments: tuple[Any, ...], plain: Any, place: str) -> Any:
    if not isinstance(plain, list):
        raise ResultsError(f"{place}: must be a list, got {plain!r}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item, f"{place}[{at}]") for at, item in enumerate(plain))
    if len(plain) != len(arguments):
        raise ResultsError(f"{place}: must have {len(arguments)} entries, got {len(plain)}")
    return tuple(
        _read(kind, item, f"{place}[{at}]")
        for at, (kind, item) in enumerate(zip(arguments, plain, strict=True))
    )


def _read_union(arguments: tuple[Any, ...], plain: Any, place: str) -> Any:
    if plain is None and type(None) in arguments:
        return None
    # Exact types first: 1 is not 1.0 where both are allowed.
    for kind in arguments:
        if isinstance(kind, type) and type(plain) is kind:
            return plain
    for kind in arguments:
        if kind is not type(None):
            try:
                return _read(kind, plain, place)
            except ResultsError:
                continue
    raise ResultsError(f"{place}: must be one of {arguments}, got {plain!r}")


SCHEMA = "rhoeps.front/1"


@dataclass(frozen=True, kw_only=True)
class View:
    """What was found at one radius under one estimand."""

    radius: float
    estimand: Estimand
    fronts: Fronts
    fits: tuple[FrontFit, ...]
    """Curves: at the objective radius, the one declared beforehand, and empty elsewhere."""
    gaps: tuple[Gap, ...]
    rates: tuple[Rate, ...]
    contrasts: Contrasts
    responses: tuple[Response, ...]
    heat_maps: tuple[HeatMap, ...]
    equivalences: tuple[Equivalence, ...]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that the report shows. The bits are not in it."""

    results: Results
    replicates: int
    """How many replicates stand behind each interval."""
    replicate_seed: int
    pooled_over_methods: bool
    """True if seed noise was pooled over all methods, as one had too few seeds for its own."""
    variance_explained_by_seed: float | None
    estimands: tuple[Estimand, ...]
    """Those that the data allow, the default first."""
    covariances: tuple[tuple[tuple[float, ...], ...], ...]
    """(N, 1 + R, 1 + R): seed covariance of each configuration's mean accuracies."""
    views: tuple[View, ...]
    """One for each radius and estimand."""
    selection: Selection
    margins: tuple[Margin, ...]
    alarms: tuple[Alarm, ...]
    exclusion: Exclusion | None
    """What was left out for a failing alarm; None if nothing was."""
    findings: tuple[Finding, ...]
    tiers: tuple["Tier", ...] = ()
    """What stronger attacks left, each beside the evaluation attack."""
    others: tuple[OtherEvaluation, ...] = ()
    """Accuracies in other norms."""
    diagnoses: tuple[Diagnosis, ...] = ()
    """Checks and detections of all trials, of those left out too."""

    @property
    def estimand(self) -> Estimand:
        """Give the default estimand, that of headline numbers."""
        return self.estimands[0]

    @property
    def primary(self) -> View:
        """Give the view at the objective radius under the default estimand."""
        return self.view(self.results.threat.objective_radius)

    @cached_property
    def found(self) -> tuple[ConfigurationResult, ...]:
        """Give the configurations: the rows that views refer to."""
        return configurations(self.results)

    @cached_property
    def choice(self) -> Choice:
        """Return each method's front and best configuration, chosen at the objective radius."""
        return choose(self.results)

    def view(self, radius: float, estimand: Estimand | None = None) -> View:
        """Give what was found at this radius, by default under the default estimand."""
        asked = estimand or self.estimand
        return next(v for v in self.views if v.radius == radius and v.estimand == asked)


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A stronger attack as a study of its own, and beside the evaluation attack."""

    attack: str
    """Say `AutoAttack`; `analysis.results.threat.attack` names it with its samples."""
    samples: int
    parts: tuple[str, ...]
    """The attacks it is made of, in the order in which they ran."""
    partial: tuple[str, ...]
    """Trials attacked at some of their radii only: in nothing that is said of the tier."""
    analysis: Analysis
    """Of the trials attacked; its findings are those that the study's findings hold too."""
    attacked: tuple[AttackedTwice, ...]
    """By radius, then by configuration."""
    losses: tuple[MethodLoss, ...]
    """At the objective radius, in the order of the methods."""


def write_json(analysis: Analysis) -> str:
    """Write an analysis as `front.json`."""
    document = {"schema": SCHEMA, **to_plain(analysis)}
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def read_json(text: str) -> Analysis:
    """Read an analysis from the text of a `front.json`.

    Raises `ResultsError` for an unknown schema and for whatever does not fit it.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ResultsError(f"front.json:{error.lineno}: is not JSON: {error.msg}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ResultsError(f"front.json: schema must be {SCHEMA}, got {schema!r}")
    return from_plain(Analysis, document, "front.json")
