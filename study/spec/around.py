"""The training and the model around a method: settings that may be swept, and overridden by it."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, replace
from typing import Annotated, Any, get_origin, get_type_hints

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, create_model

from study.spec.own import (
    flat_optimizer,
    keys_of,
    network_settings,
    read_network,
    read_optimizer,
    training_fields,
)
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
    rule_error,
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
    given = network_settings(given)
    name = given["name"]
    usual = {"width": DEFAULT_WIDTHS.get(name, 1), "depth": DEFAULT_DEPTHS.get(name, 0)}
    return ModelConfig(**{**usual, **given})


def training_config(**given: Any) -> TrainingConfig:
    """Build a training, with an optimiser of one's own if it names one."""
    return TrainingConfig(**training_fields(given))


BUILT: dict[str, Callable[..., Any]] = {"training": training_config, "model": model_config}


def read_around(kind: str, value: object, info: ValidationInfo) -> Side:
    """Read a study's training or model; it is checked by the trainers."""
    if isinstance(value, Side):
        return value
    side = _read(kind, AROUND_FORMS, value, info)
    check_side(BUILT[kind], side, ())
    _check_between(BUILT[kind], side)
    return side


def read_override(kind: str, value: object, info: ValidationInfo) -> Side:
    """Read what a method overrides of training or model; it is checked with the study's later."""
    if isinstance(value, Side):
        return value
    return _read(kind, _OVERRIDE_FORMS, value, info)


def _read(kind: str, forms: Mapping[str, type[Part]], value: object, info: ValidationInfo) -> Side:
    """Read the training or the model, with the optimiser or the network of one's own in it."""
    rest, own = read_network(value, info) if kind == "model" else (value, ())
    side = as_side(kind, forms[kind].model_validate(rest, context=info.context))
    found = flat_optimizer(dict(side.settings)) | dict(own)
    # In the order of the trainers' fields, whatever the order in the file.
    names = [item.name for item in fields(AROUND[kind])]
    known = [name for name in names if name in found]
    return replace(
        side, settings=tuple((n, found[n]) for n in (*known, *(n for n in found if n not in names)))
    )


def _not_ours(value: object) -> object:
    """Raise an error for settings without the name of a network of one's own."""
    text = "are for a network of your own, such as name: my_nets:Net; remove them or name it"
    raise rule_error(text, "trainers")


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
                raise rule_errors([(keys_of(name), text)], "trainers") from None


def _around_form(cls: type[Any], required: Iterable[str]) -> type[Part]:
    """Build the form of the training or the model: all settings but the `required` may be left out.

    A list is a grid, unless the trainers' field takes a list.
    """
    parts: dict[str, Any] = {}
    for item in fields(cls):
        hint = get_type_hints(cls)[item.name]
        if item.name == "settings":
            one: Any = Annotated[Any, BeforeValidator(_not_ours)]
        elif item.name == "optimizer":
            one = Annotated[Any, BeforeValidator(read_optimizer)]
        elif get_origin(hint) is tuple:
            one = Annotated[filled_list(hint, item.default), AfterValidator(PlainList)]
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
