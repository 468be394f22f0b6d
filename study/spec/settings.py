"""Settings of sides, training and model: a value is fixed, a list a grid, `{low, high}` a range.

Each side, loss and attack of the trainers has a form here: a pydantic model with the fields of its
dataclass. The trainers' own checks see every value of a list and both ends of a range.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from fractions import Fraction
from functools import partial, reduce
from operator import or_
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from annotated_types import MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    PlainValidator,
    Tag,
    ValidationError,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from study.spec.source import Place
from trainers.config import (
    INPUT_SIDES,
    LOSSES,
    WEIGHT_SIDES,
    Active,
    ConfigError,
    active_text,
    check_active,
    read_active,
)
from trainers.config.own import settings_class
from trainers.config.parts import OwnPart

T = TypeVar("T")

Value = float | int | str

SIDES: dict[str, dict[str, type[Any]]] = {
    "weights": WEIGHT_SIDES,
    "inputs": INPUT_SIDES,
    "loss": LOSSES,
}
RADIUS_FIELDS = (
    *("epsilon", "epsilon_linf", "epsilon_l1", "sigma"),
    *("step_size", "step_size_linf", "step_size_l1"),
    *("radii", "objective_radius", "other_norm_radii"),
)
"""Fields that may be written as a fraction, as papers write them: 8/255."""

MOST_PROBLEMS = 100
"""The number of mistakes shown at once; nobody reads more."""
_FRACTION = re.compile(r"([-+]?[0-9]+(?:\.[0-9]+)?) ?/ ?([0-9]+(?:\.[0-9]+)?)")


class Part(BaseModel):
    """A mapping of the studies file: known keys only, exact types, finite numbers, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Range(Part):
    """Two ends between which the sampler chooses; both can be chosen."""

    low: float
    high: float
    log: bool = False
    """Whether equal ratios, not equal differences, are equally likely."""

    @property
    def is_integer(self) -> bool:
        """Whether only whole numbers are chosen."""
        return isinstance(self.low, int)

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        ends = f"low={self.low!r}, high={self.high!r}"
        if self.low == self.high:
            raise rule_error(f"low must be below high, got {ends}; write a single value instead")
        if self.low > self.high:
            raise rule_error(f"low must be below high, got {ends}; swap them")
        if self.log and self.low <= 0:
            text = f"low must be above 0 where log is true, got {ends}; raise low or drop log"
            raise rule_error(text)
        return self


class WholeRange(Range):
    """A range of whole numbers."""

    low: int
    high: int


class PlainList(tuple[Value, ...]):
    """A list that is one value, such as milestones; every other list is a grid."""

    __slots__ = ()


Setting = Value | tuple[Value, ...] | Range


@dataclass(frozen=True, kw_only=True)
class Side:
    """A weight side, an input side, a loss, or the training or model around them, as declared.

    Its settings have the order of its fields; those that are left out have their defaults.
    """

    name: str
    settings: tuple[tuple[str, Setting], ...] = ()
    part: OwnPart | None = None
    """Of a side of one's own; None for ours."""


def rule_error(text: str, kind: Literal["rule", "trainers"] = "rule") -> PydanticCustomError:
    """Build the error of a broken rule, ours or the trainers'; its text is shown unchanged.

    But pydantic fails on what is not UTF-8, as in names of files, which may be any bytes.
    """
    return PydanticCustomError(kind, "{text}", {"text": text.encode(errors="replace").decode()})


def rule_errors(
    problems: Sequence[tuple[Place, str]], kind: Literal["rule", "trainers"] = "rule"
) -> ValidationError:
    """Build one error from several broken rules, each with its place."""
    details = [
        InitErrorDetails(type=rule_error(text, kind), loc=place, input=None)
        for place, text in problems
    ]
    return ValidationError.from_exception_data("rules", details)


def fraction(text: str) -> float | None:
    """Read a fraction such as `8/255`; return None for any other text.

    >>> fraction("8/255") == 8 / 255
    True
    """
    match = _FRACTION.fullmatch(text.strip())
    if match is None or Fraction(match[2]) == 0:
        return None
    return float(Fraction(match[1]) / Fraction(match[2]))


def with_fraction(value: object) -> object:
    """Return the number that a text such as `8/255` means; any other value unchanged."""
    number = fraction(value) if isinstance(value, str) else None
    return value if number is None else number


def _read_ends(value: Any, is_radius: bool = False) -> Any:
    """Check that a mapping has the ends of a range; read those of a radius as fractions."""
    if isinstance(value, Range):
        return value
    if not {"low", "high"} & set(value):
        got = f"the keys {', '.join(map(str, list(value)[:3]))}" if value else "an empty mapping"
        raise rule_error(f"a range needs low and high, got {got}; write a value, list or range")
    return {key: with_fraction(item) if is_radius else item for key, item in value.items()}


Radius = Annotated[float, BeforeValidator(with_fraction)]


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Check that a list holds no value twice."""
    seen = set()
    for value in values:
        if value in seen:
            raise rule_error(f"a list must not repeat a value, got {value!r} twice; remove one")
        seen.add(value)
    return values


def form(cls: type[Any], **hints: Any) -> type[Part]:
    """Build the pydantic model of a trainers' dataclass; `hints` replace types of its fields."""
    own = get_type_hints(cls)
    types = {name: _value_hint(name, hint, members_of(hint)) for name, hint in own.items()} | hints
    parts = {
        item.name: (types[item.name], ...)
        if item.default is MISSING
        else (filled_list(types[item.name], item.default), item.default)
        for item in fields(cls)
    }
    return create_model(cls.__name__, __base__=Part, **parts)  # type: ignore[call-overload,no-any-return]


def read_part(cls: type[T], shape: type[Part], value: object, info: ValidationInfo) -> T:
    """Read a mapping as a trainers' dataclass; a value that it refuses is an error at its field."""
    if isinstance(value, cls):
        return value
    part = shape.model_validate(value, context=info.context)
    given = {name: getattr(part, name) for name in shape.model_fields}
    try:
        return cls(**given)
    except ConfigError as error:
        text = config_text(error) + _meant_text(_meant(cls, given, given.get(error.field), error))
        raise rule_errors([((error.field,), text)], "trainers") from None


def config_text(error: ConfigError) -> str:
    """Format an error of the trainers as rule and value."""
    value = error.value
    shown = f"[{', '.join(map(repr, value))}]" if isinstance(value, tuple) else repr(value)
    return f"{error.rule}, got {shown}"


def _meant_text(numbers: Sequence[float]) -> str:
    """Return the question whether whole numbers of a radius were meant as 255ths.

    >>> _meant_text([8, 16]), _meant_text([])
    ('; did you mean 8/255, 16/255?', '')
    """
    listed = ", ".join(f"{number:g}/255" for number in numbers)
    return f"; did you mean {listed}?" if listed else ""


def _meant(
    build: Callable[..., Any], values: Mapping[str, Any], setting: Any, error: ConfigError
) -> list[float]:
    """List the numbers of a refused radius, from 1 to 255, that are legal when divided by 255.

    Empty if the refused value is none of them, or if none is above 1. `build` refused `values`, and
    `setting` is what the file holds for the refused field.
    """
    if error.field not in RADIUS_FIELDS:
        return []

    def is_legal(entry: Any) -> bool:
        try:
            build(**{**values, error.field: entry})
        except ConfigError as other:
            return other.field != error.field
        return True

    numbers = [n for n in choices(setting) if isinstance(n, int | float) and 1 <= n <= 255]
    refused = values.get(error.field)
    if isinstance(refused, tuple):  # a list that is judged as a whole
        divided = tuple(n / 255 if n in numbers else n for n in refused)
        numbers = numbers if is_legal(divided) else []
    else:
        numbers = [number for number in numbers if is_legal(number / 255)]
    return numbers if error.value in numbers and max(numbers) > 1 else []


def choices(setting: Setting) -> tuple[Value, ...]:
    """List the values of a setting: its one value, its list, or the two ends of its range."""
    if isinstance(setting, Range):
        return (setting.low, setting.high)
    return setting if is_grid(setting) else (setting,)  # type: ignore[return-value]


def each_choice(setting: Setting) -> Iterable[Value]:
    """List the values of a setting; of a range of whole numbers, all of them."""
    if isinstance(setting, WholeRange):
        return range(setting.low, setting.high + 1)
    return choices(setting)


def first_choices(side: Side) -> dict[str, Any]:
    """Return a side's settings with the first value of each list and the low end of each range."""
    return {name: choices(setting)[0] for name, setting in side.settings}


def is_swept(setting: Setting) -> bool:
    """Return whether a setting is a grid or a range."""
    return is_grid(setting) or isinstance(setting, Range)


def is_grid(setting: Setting) -> bool:
    """Return whether a setting is a list of values to choose from."""
    return isinstance(setting, tuple) and not isinstance(setting, PlainList)


def choice_form(kind: str, parts: Mapping[str, type[Part]]) -> type[Part]:
    """Build the model of a mapping that has exactly one of several keys, such as `{sam: {...}}`."""
    optional = {name: (part, None) for name, part in parts.items()}
    return create_model(kind, __base__=Part, **optional)  # type: ignore[call-overload,no-any-return]


def read_choice(kind: str, shape: type[Part], value: object) -> tuple[str, Part]:
    """Read `{sam: {rho: 0.1}}`, or just the word if it needs no settings, as name and part."""
    if isinstance(value, str):
        value = {value: {}}
    names = f"{', '.join(shape.model_fields)}, or your own, such as my_parts:Mine"
    if isinstance(value, tuple):
        raise rule_error(f"takes one of {names}, got a list; name one")
    if isinstance(value, Mapping) and len(value) != 1:
        got = f"{' and '.join(value)}; keep one" if value else "nothing; name one"
        raise rule_error(f"takes one of {names}, got {got}")
    chosen = shape.model_validate(value)
    [name] = chosen.model_fields_set
    return name, getattr(chosen, name)


def class_of(kind: str, side: Side) -> type[Any]:
    """Return the trainers' class of a side."""
    return SIDES[kind][side.name] if side.part is None else settings_class(side.part)


def read_side(
    kind: str, value: object, shape: type[Part] | None = None, cls: type[Any] | None = None
) -> Side:
    """Read a side of a method; its settings are checked by the trainers.

    shape, cls: the form and the class of a side that is not ours.
    """
    if isinstance(value, Side):
        return value
    name, part = read_choice(kind, shape or SIDE_FORMS[kind], value)
    side = as_side(name, part)
    check_side(cls or SIDES[kind][name], side, (name,))
    return side


def as_side(name: str, part: Part) -> Side:
    """Return what a part of the file declares, without the settings that it leaves out."""
    given = [key for key in type(part).model_fields if key in part.model_fields_set]
    return Side(name=name, settings=tuple((key, getattr(part, key)) for key in given))


def check_side(build: Callable[..., Any], side: Side, above: Place) -> None:
    """Raise the errors of the trainers, each at its place below `above`."""
    problems: dict[Place, str] = {}
    for place, text in _refused_settings(build, side):
        problems.setdefault((*above, *place), text)
        if len(problems) == MOST_PROBLEMS:
            break
    if problems:
        raise rule_errors(list(problems.items()), "trainers")


def _refused_settings(build: Callable[..., Any], side: Side) -> Iterator[tuple[Place, str]]:
    """Yield each error of the trainers among all combinations of lists and range ends."""
    names = [name for name, _ in side.settings]
    settings = dict(side.settings)
    lists = [choices(setting) for setting in settings.values()]
    for values in itertools.product(*lists):
        chosen = dict(zip(names, values, strict=True))
        try:
            built_side(build, **chosen)
        except ConfigError as error:
            setting = settings.get(error.field)
            meant = _meant(build, chosen, setting, error)
            # One message for all the numbers that are meant as 255ths.
            place = place_of(error.field, setting, meant[0] if meant else error.value)
            if isinstance(setting, Range) and len(meant) == 2:
                place = (error.field,)
            yield place, config_text(error) + _meant_text(meant)


def built_side(build: Callable[..., Any], **chosen: Any) -> Any:
    """Build the trainers' side. When it acts is one word in a study, and a pair to the trainers."""
    if isinstance(chosen.get("active"), str):
        chosen["active"] = read_active(chosen["active"])
    return build(**chosen)


def place_of(field: str, setting: Setting | None, value: object) -> Place:
    """Return the place of a refused value within the settings of its part."""
    if isinstance(setting, Range):
        return (field, "low" if value == setting.low else "high")
    if isinstance(setting, tuple) and value in setting:
        return (field, setting.index(value))
    return (field,)


def _shape(value: object) -> str:
    """Return the tag of a setting's shape, so that a mistake gets one message and not three."""
    if isinstance(value, tuple):
        return "<list>"
    return "<range>" if isinstance(value, Mapping | Range) else "<value>"


def setting_hint(name: str, hint: Any) -> Any:
    """Return the type of a setting in the studies file, from that of the trainers' field."""
    if hint == Active:
        return Annotated[Any, PlainValidator(_read_active)]
    members = members_of(hint)
    one = _value_hint(name, hint, members)
    several = tuple.__class_getitem__((one, ...))
    forms: list[Any] = [
        Annotated[one, Tag("<value>")],
        Annotated[several, MinLen(1), AfterValidator(distinct), Tag("<list>")],
    ]
    if int in members:
        forms.append(Annotated[WholeRange, BeforeValidator(_read_ends), Tag("<range>")])
    elif float in members:
        reading = partial(_read_ends, is_radius=name in RADIUS_FIELDS)
        forms.append(Annotated[Range, BeforeValidator(reading), Tag("<range>")])
    return Annotated[reduce(or_, forms), Discriminator(_shape)]


def _read_active(value: object) -> str | tuple[str, ...]:
    """Read when a side acts, `[0.9, 1]`, as the word `0.9-1`; a list of pairs is a grid."""
    if not isinstance(value, tuple) or not value or not all(isinstance(v, tuple) for v in value):
        return _active_word(value)
    return distinct(tuple(map(_active_word, value)))


def _active_word(value: Any) -> str:
    pair: Any = tuple(map(with_fraction, value)) if isinstance(value, tuple) else value
    try:
        check_active(pair)
    except ConfigError as error:
        text = f"{error.rule}, got {_as_written(value)}; write for example [0.9, 1]"
        raise rule_error(text) from None
    return active_text(pair)


def _value_hint(name: str, hint: Any, members: tuple[Any, ...]) -> Any:
    """Return the type of one value; a field that takes a number or a word gets its own reader."""
    words = tuple(itertools.chain(*(get_args(m) for m in members if get_origin(m) is Literal)))
    is_radius = name in RADIUS_FIELDS
    if words and (float in members or int in members):
        reading = partial(read_number_or_word, words, is_radius, float not in members)
        return Annotated[Any, PlainValidator(reading)]
    return Radius if is_radius and float in members else hint


def members_of(hint: Any) -> tuple[Any, ...]:
    """List the types of a union; of any other type, itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def read_number_or_word(
    words: tuple[str, ...], is_radius: bool, is_whole: bool, value: object
) -> float | str:
    """Read a number or one of some words, so that a mistake gets one message and not two."""
    number = with_fraction(value) if is_radius else value
    if isinstance(number, str) and number in words:
        return number
    kinds = int if is_whole else int | float
    if isinstance(number, kinds) and not isinstance(number, bool):
        return number if is_whole else float(number)
    kind = "a whole number" if is_whole else "a number"
    got = f"{_as_written(value)}; write for example {words[0]}"
    raise rule_error(f"must be {' or '.join(words)} or {kind}, got {got}")


def _as_written(value: object) -> str:
    """Format a value as YAML writes it."""
    if value is None:
        return "nothing"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_written, value))}]"
    if isinstance(value, Mapping):
        return "a mapping"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def filled_list(hint: Any, default: Any) -> Any:
    """Return the hint of a list; a list left empty is refused with an example of what to write."""
    if get_origin(hint) is not tuple:
        return hint
    entry = ", ".join(map(str, default)) or "0.5"

    def filled(value: object) -> object:
        if value is None:
            raise rule_error(f"is empty; write for example [{entry}], or delete the line")
        return value

    return Annotated[hint, BeforeValidator(filled)]


def _side_form(kind: str) -> type[Part]:
    """Build the model of one kind of side, of which a method has one."""
    parts = {}
    for name, cls in SIDES[kind].items():
        hints = {key: setting_hint(key, hint) for key, hint in get_type_hints(cls).items()}
        parts[name] = form(cls, **hints)
    return choice_form(kind, parts)


SIDE_FORMS = {kind: _side_form(kind) for kind in SIDES}
