"""Single trials that a study names: those that its trainings start from, and further ones to run.

A training starts from a trial of another study, a file of weights, or neither. The weights
themselves are found later, in the records (`study.records.starts`). Further trials are seldom a
whole grid: some seeds of two configurations, or one new value, as a report's `next.yaml` has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from pydantic import AfterValidator, BeforeValidator, ValidationInfo, create_model

from study.spec.mistakes import shown
from study.spec.settings import (
    Part,
    Setting,
    Value,
    choices,
    distinct,
    is_grid,
    is_swept,
    read_number_or_word,
    rule_error,
    with_fraction,
)
from trainers.config import StartConfig

NOT_FOUND = StartConfig(weights="not found yet", origin="")
"""Stands for weights that were not looked for; no key is made of it."""
_EXAMPLE = "write for example start: {from: pretraining, method: sam}, or start: weights.pt"


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a training starts from, as declared; without a study and a file, fresh weights."""

    study: str = ""
    """The study whose trial it is."""
    method: str = ""
    values: tuple[tuple[str, Value], ...] = ()
    """As many of the trial's values as tell it from the others."""
    seed: int | Literal["same"] = "same"
    checkpoint: Literal["best", "last"] = "best"
    file: str = ""
    """An absolute path."""
    found: tuple[tuple[int, StartConfig], ...] = ()
    """The weights by the seed of the training, once they were looked for."""

    @property
    def is_fresh(self) -> bool:
        """Return whether nothing but the seed decides the first weights."""
        return not self.study and not self.file

    def config(self, seed: int) -> StartConfig | Literal["none"]:
        """Return what the trainers are told of the weights that a seed starts from."""
        return "none" if self.is_fresh else dict(self.found).get(seed, NOT_FOUND)


FRESH = Start()


def read_values(value: object) -> Mapping[str, Value]:
    """Read the values of a trial: `{rho: 0.2, epsilon: 8/255}`."""
    if not isinstance(value, Mapping):
        got = f"got {shown(value)}; write for example values: {{rho: 0.2}}"
        raise rule_error(f"must be a mapping of the trial's values, {got}")
    read: dict[str, Any] = {name: with_fraction(item) for name, item in value.items()}
    for name, item in read.items():
        if not isinstance(item, int | float | str):
            raise rule_error(f"{name} must be one value of the trial, got {shown(item)}; name one")
    return read


def _read_seed(value: object) -> float | str:
    seed = read_number_or_word(("same",), False, True, value)
    if not isinstance(seed, str) and seed < 0:
        raise rule_error(f"must be same or a whole number ≥ 0, got {value!r}; raise it")
    return seed


_TRIAL_FORM = create_model(
    "trial",
    __base__=Part,
    **{  # type: ignore[call-overload]
        "from": (Annotated[str, MinLen(1)], ...),
        "method": (Annotated[str, MinLen(1)], ...),
        "values": (Annotated[Mapping[str, Any], BeforeValidator(read_values)], {}),
        "seed": (Annotated[Any, BeforeValidator(_read_seed)], "same"),
        "checkpoint": (Literal["best", "last"], "best"),
    },
)
_FILE_FORM = create_model("file", __base__=Part, file=(Annotated[str, MinLen(1)], ...))
START_KEYS = [*_TRIAL_FORM.model_fields, *_FILE_FORM.model_fields]


def read_start(value: object, info: ValidationInfo) -> Start:
    """Read a start: a trial, a file (relative to the studies file's folder), or the word none."""
    if isinstance(value, Start):
        return value
    if value == "none":
        return FRESH
    if isinstance(value, str):
        value = {"file": value}
    if not isinstance(value, Mapping):
        raise rule_error(f"must be a trial, a file or none, got {shown(value)}; {_EXAMPLE}")
    if "file" in value:
        others = ", ".join(str(key) for key in value if key in _TRIAL_FORM.model_fields)
        if others:
            raise rule_error(f"takes a trial or a file, got file and {others}; remove one of them")
        path = Path(_FILE_FORM.model_validate(value).file).expanduser()  # type: ignore[attr-defined]
        folder = info.context["folder"] if info.context else Path()
        return Start(file=str((folder / path).absolute()))
    part = _TRIAL_FORM.model_validate(value)
    given = {name: getattr(part, name) for name in _TRIAL_FORM.model_fields}
    values = tuple(given.pop("values").items())
    return Start(study=given.pop("from"), values=values, **given)


_MORE_EXAMPLE = (
    "write for example more_trials: [{method: at, values: {epsilon: 0.2}, seeds: [3, 4]}]"
)


class MoreTrials(Part):
    """Trials of one configuration, beside those of the study's lists and seeds."""

    method: Annotated[str, MinLen(1)]
    """The name of one of the study's methods."""
    values: Annotated[Mapping[str, Any], BeforeValidator(read_values)] = {}
    """A value for each setting that the method's lists and ranges choose, by its short name."""
    seeds: (
        Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), AfterValidator(distinct)] | None
    ) = None
    """None: those of the study."""


def read_more(value: object) -> object:
    """Check that more trials are a list of mappings."""
    if not isinstance(value, tuple) or not all(isinstance(one, Mapping) for one in value):
        raise rule_error(f"must be a list of trials, each a mapping; {_MORE_EXAMPLE}")
    return value


def configuration_values(
    settings: tuple[tuple[str, Setting], ...], given: Mapping[str, Value]
) -> tuple[tuple[str, Value], ...] | str:
    """Return the values of more trials by path, lists first; or what is wrong with them, as text.

    settings: what decides the method's configurations; given: a value for each that a list or a
    range chooses, by the path or an ending of it in whole words.

    >>> settings = (("weights.sam.rho", (0.1, 0.2)), ("inputs.pgd.steps", 4))
    >>> configuration_values(settings, {"rho": 0.4})
    (('weights.sam.rho', 0.4),)
    >>> configuration_values(settings, {"steps": 5})
    'must be values of weights.sam.rho, got steps; name each setting that the method varies, and no\
 other'
    """
    swept = {path: setting for path, setting in settings if is_swept(setting)}
    ordered = sorted(swept, key=lambda path: not is_grid(swept[path]))
    placed: dict[str, Value] = {}
    for name, value in given.items():
        fits = [path for path in ordered if f".{path}".endswith(f".{name}")]
        if len(fits) == 1:
            placed[fits[0]] = value
    if len(placed) == len(given) == len(ordered):
        for path, value in placed.items():
            if all(_kind(value) != _kind(known) for known in choices(swept[path])):
                listed = ", ".join(map(shown, choices(swept[path])))
                return f"{path} must be of the kind of its list, {listed}, got {shown(value)}"
        return tuple((path, placed[path]) for path in ordered)
    got = ", ".join(given) or "none"
    if not ordered:
        return f"must be left out, as the method varies nothing, got {got}"
    rule = f"must be values of {', '.join(ordered)}, got {got}"
    return f"{rule}; name each setting that the method varies, and no other"


def _kind(value: object) -> type:
    """Return the type of a value, one for all numbers."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
