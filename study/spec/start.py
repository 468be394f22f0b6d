"""What a training starts from: a trial of another study, a file of weights, or neither.

The weights themselves are found later, in the records (`study.records.starts`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import BeforeValidator, ValidationInfo, create_model

from study.spec.mistakes import shown
from study.spec.settings import Part, Value, read_number_or_word, rule_error, with_fraction
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
