"""The training and the model around a method: settings that may be swept, and overridden by it."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_origin, get_type_hints

from pydantic import AfterValidator, create_model

from study.spec.settings import (
    Part,
    PlainList,
    Side,
    WholeRange,
    as_side,
    check_side,
    config_text,
    each_choice,
    filled_list,
    first_choices,
    rule_errors,
    setting_hint,
)
from trainers.config import (
    DEFAULT_DEPTHS,
    DEFAULT_WIDTHS,
    ConfigError,
    ModelConfig,
    TrainingConfig,
)

AROUND: dict[str, type[Any]] = {"training": TrainingConfig, "model": ModelConfig}
"""The parts around a method whose settings may be swept, and overridden by a method."""
MOST_BETWEEN = 10_000
"""The most whole numbers of a range that are checked."""


def model_config(**given: Any) -> ModelConfig:
    """Build a network's configuration; width and depth default to what is usual for its kind."""
    name = given["name"]
    usual = {"width": DEFAULT_WIDTHS.get(name, 1), "depth": DEFAULT_DEPTHS.get(name, 0)}
    return ModelConfig(**{**usual, **given})


BUILT: dict[str, Callable[..., Any]] = {"training": TrainingConfig, "model": model_config}


def read_around(kind: str, value: object) -> Side:
    """Read a study's training or model; it is checked by the trainers."""
    if isinstance(value, Side):
        return value
    side = as_side(kind, AROUND_FORMS[kind].model_validate(value))
    check_side(BUILT[kind], side, ())
    _check_between(BUILT[kind], side)
    return side


def read_override(kind: str, value: object) -> Side:
    """Read what a method overrides of training or model; it is checked with the study's later."""
    if isinstance(value, Side):
        return value
    return as_side(kind, _OVERRIDE_FORMS[kind].model_validate(value))


def _check_between(build: Callable[..., Any], side: Side) -> None:
    """Check the whole numbers between the ends of each range, as of a width in multiples of 64."""
    chosen = first_choices(side)
    for name, setting in side.settings:
        if not isinstance(setting, WholeRange):
            continue
        for number in itertools.islice(each_choice(setting), MOST_BETWEEN):
            try:
                build(**{**chosen, name: number})
            except ConfigError as error:
                text = f"{config_text(error)}, which the range holds; write a list instead"
                raise rule_errors([((name,), text)], "trainers") from None


def _around_form(cls: type[Any], required: Iterable[str]) -> type[Part]:
    """Build the form of the training or the model: all settings but the `required` may be left out.

    A list is a grid, unless the trainers' field takes a list.
    """
    parts: dict[str, Any] = {}
    for item in fields(cls):
        hint = get_type_hints(cls)[item.name]
        if get_origin(hint) is tuple:
            one: Any = Annotated[filled_list(hint, item.default), AfterValidator(PlainList)]
        else:
            one = setting_hint(item.name, hint)
        parts[item.name] = (one, ... if item.name in required else None)
    return create_model(cls.__name__, __base__=Part, **parts)


_NEEDED = {
    "training": [item.name for item in fields(TrainingConfig) if item.default is MISSING],
    "model": ["name"],
}
AROUND_FORMS = {kind: _around_form(cls, _NEEDED[kind]) for kind, cls in AROUND.items()}
_OVERRIDE_FORMS = {kind: _around_form(cls, ()) for kind, cls in AROUND.items()}
