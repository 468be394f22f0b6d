"""Document: everything that an analysis found, as one value and as `front.json`.

Figures, tables and the page are made from this value alone. Accuracies are fractions, never
percent. Unknown values are null, never NaN. Additions keep the number in `SCHEMA`, and a changed
meaning raises it. Readers refuse a number that they do not know.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from analysis.advice.entries import Advice
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
from analysis.fronts.effort import EffortContrast
from analysis.fronts.floors import FloorContrast
from analysis.fronts.optimism import Selection
from analysis.fronts.verdicts import JudgedClaim
from analysis.inference.claims import Estimand, Finding
from analysis.responses.equivalence import Equivalence
from analysis.responses.margins import Margin
from analysis.responses.strength import HeatMap, Response
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results, notebook
from analysis.results.trials import ResultsError

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")

SCHEMA = "rhoeps.front/1"


@dataclass(frozen=True, kw_only=True)
class View:
    """What was found at one radius under one estimand."""

    radius: float
    estimand: Estimand
    fronts: Fronts
    fits: tuple[FrontFit, ...]
    """Fitted curves at the objective radius, which was declared beforehand; empty elsewhere."""
    gaps: tuple[Gap, ...]
    rates: tuple[Rate, ...]
    contrasts: Contrasts
    responses: tuple[Response, ...]
    heat_maps: tuple[HeatMap, ...]
    equivalences: tuple[Equivalence, ...]
    floors: tuple[FloorContrast, ...] = field(
        default=(), metadata={"written": lambda view: bool(view.floors)}
    )
    """Pairs without a gap, at required clean accuracies; only at the objective radius."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Analysis:
    """Everything that the report shows, without the correctness bits."""

    results: Results
    replicates: int
    """Number of replicates behind each interval."""
    replicate_seed: int
    pooled_over_methods: bool
    """True if seed noise was pooled over all methods, as one of them had too few seeds."""
    variance_explained_by_seed: float | None
    estimands: tuple[Estimand, ...]
    """The estimands that the data allow, the default first."""
    covariances: tuple[tuple[tuple[float, ...], ...], ...]
    """(N, 1 + R, 1 + R): seed covariance of each configuration's mean accuracies."""
    views: tuple[View, ...]
    """One for each radius and estimand."""
    selection: Selection
    margins: tuple[Margin, ...]
    alarms: tuple[Alarm, ...]
    exclusion: Exclusion | None
    """What was left out because of a failing alarm; None if nothing was."""
    findings: tuple[Finding, ...]
    tiers: tuple["Tier", ...] = ()
    """Stronger attacks, each compared with the evaluation attack."""
    others: tuple[OtherEvaluation, ...] = ()
    """Accuracies in other norms."""
    diagnoses: tuple[Diagnosis, ...] = ()
    """Checks and detections of all trials, including those left out."""
    noisy: Mapping[int, float] = field(
        default_factory=dict, metadata={"written": lambda analysis: bool(analysis.noisy)}
    )
    """By row: how many times as far a configuration's seeds spread as those of the others, where
    this is so far that its noise is estimated from them alone."""
    claims: tuple[JudgedClaim, ...] = field(
        default=(), metadata={"written": lambda analysis: bool(analysis.claims)}
    )
    """The claims that the study declared, each with its verdict."""
    efforts: tuple[EffortContrast, ...] = field(
        default=(), metadata={"written": lambda analysis: bool(analysis.efforts)}
    )
    """The compared pairs by the number of configurations tried, at the objective radius."""
    advice: tuple[Advice, ...] = field(
        default=(), metadata={"written": lambda analysis: bool(analysis.advice)}
    )
    """What to run next, the most useful first."""

    @property
    def estimand(self) -> Estimand:
        """Return the default estimand, which headline numbers have."""
        return self.estimands[0]

    @property
    def primary(self) -> View:
        """Return the view at the objective radius under the default estimand."""
        return self.view(self.results.threat.objective_radius)

    @cached_property
    def found(self) -> tuple[ConfigurationResult, ...]:
        """Return the configurations: the rows that views refer to."""
        return configurations(self.results)

    @cached_property
    def choice(self) -> Choice:
        """Return each method's front and best configuration, chosen at the objective radius."""
        return choose(self.results)

    def configurations(self) -> "DataFrame":
        """Return a pandas table with a row for each configuration, with the ends of intervals."""
        frame: DataFrame = notebook("frames").configurations_frame(self)
        return frame

    def __repr__(self) -> str:
        """Return the study's name and the number of configurations."""
        return f"<Analysis of {self.results.study}: {len(self.found)} configurations>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: findings and the main figure."""
        return str(notebook("pages").analysis_page(self))

    def view(self, radius: float, estimand: Estimand | None = None) -> View:
        """Return what was found at this radius, by default under the default estimand."""
        asked = estimand or self.estimand
        return next(v for v in self.views if v.radius == radius and v.estimand == asked)


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A stronger attack, as a study of its own and compared with the evaluation attack."""

    attack: str
    """Its name, such as `AutoAttack`; `analysis.results.threat.attack` adds the samples."""
    samples: int
    parts: tuple[str, ...]
    """The attacks that it consists of, in the order in which they ran."""
    partial: tuple[str, ...]
    """Trials attacked at only some of their radii: no number of the tier uses them."""
    analysis: Analysis
    """Analysis of the trials attacked. Its findings are among those of the study, too."""
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

    Raises `ResultsError` for an unknown schema, and for any entry that does not fit the schema.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ResultsError(f"front.json:{error.lineno}: is not JSON: {error.msg}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ResultsError(f"front.json: schema must be {SCHEMA}, got {schema!r}")
    return from_plain(Analysis, document, "front.json")


def to_plain(value: Any, place: str = "") -> Any:
    """Turn dataclasses into dicts and tuples into lists, as `json.dumps` takes them.

    A field is left out where the rule `written` in its metadata says so. NaN and infinity raise a
    `TypeError` that names their place: an unknown number must be None.

    >>> from analysis.inference.claims import Interval
    >>> to_plain(Interval(estimate=0.5, low=0.25, high=0.75))
    {'estimate': 0.5, 'low': 0.25, 'high': 0.75}
    """
    # Not pydantic's serializer: it writes NaN as null, and its errors do not name the place.
    if is_dataclass(value):
        return {
            one.name: to_plain(getattr(value, one.name), f"{place}.{one.name}")
            for one in fields(value)
            if one.metadata.get("written", lambda owner: True)(value)
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
    """Build a value of this type from what `to_plain` returned.

    Types are strict: a bool is not a number, and 1 is not 1.0 where both are allowed. Raises a
    `ResultsError` with the place of the first entry that does not fit.

    >>> from analysis.inference.claims import Interval
    >>> from_plain(Interval, {"estimate": 0.5, "low": 0.25, "high": 0.75})
    Interval(estimate=0.5, low=0.25, high=0.75)
    """
    # Imported here for a fast start: only reports that are written again are read.
    from pydantic import TypeAdapter, ValidationError

    try:
        # As text, because strict mode accepts a list as a tuple only in JSON.
        return TypeAdapter(kind).validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ResultsError):
            raise cause from error
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        rule = first["msg"].replace("Input should", "must").replace("Field required", "is missing")
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise ResultsError(f"{place or kind.__name__}{''.join(parts)}: {rule}{got}") from error
