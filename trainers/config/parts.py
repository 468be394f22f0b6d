"""Own parts by `module:attribute`: how one is found, what it takes, and what its settings are.

A part is a function, a dataclass or a class. Some of its parameters have documented names
(`CONTRACTS`) and are given to it; every other one is a setting that a studies file may choose. A
dataclass has its settings as fields, and its `__call__` takes what is given. Nothing here imports
torch, but for what a part's own file imports.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from trainers.config.sources import Code, PartError, content, find_code, imported, line_of, located

PartKind = Literal[
    "networks", "data", "weights", "inputs", "losses", "optimizers", "attacks", "transforms"
]


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What a kind of part is given, by the names of its parameters."""

    required: tuple[str, ...]
    """Parameters that every such part has."""
    optional: tuple[str, ...] = ()
    """Parameters that it may have."""
    page: str
    """Where it is documented."""


CONTRACTS: dict[PartKind, Contract] = {
    "networks": Contract(
        required=("image_shape", "num_classes"), optional=(), page="docs/own_network.md"
    ),
    "weights": Contract(
        required=("gradient_at", "weights"),
        optional=("names", "memory", "learning_rate"),
        page="docs/own_method.md",
    ),
    "inputs": Contract(
        required=("gradient_at", "images"),
        optional=("labels", "classify"),
        page="docs/own_method.md",
    ),
    "losses": Contract(
        required=("logits", "labels"), optional=("clean_logits",), page="docs/own_method.md"
    ),
    "optimizers": Contract(
        required=("weights", "gradients", "learning_rate"),
        optional=("momentum", "weight_decay", "memory", "step"),
        page="docs/own_method.md",
    ),
    "attacks": Contract(
        required=("classify", "images", "labels", "radius"),
        optional=("norm",),
        page="docs/own_method.md",
    ),
    "data": Contract(required=(), optional=("train",), page="docs/own_data.md"),
    "transforms": Contract(required=("images",), optional=("generator",), page="docs/own_data.md"),
}
LIBRARIES = ("torchvision", "timm")
"""Distributions whose networks are known by name, as in `timm:vit_tiny_patch16_224`."""
_SETTING_TYPES = (bool, int, float, str)
_RESERVED = (
    *("part", "kind", "gradients", "attack_steps", "images", "has_target", "tabulated", "numbers"),
    *("title", "ready", "source", "active", "every", "settings", "takes"),
)
"""Names that settings may not have, as the sides of a method have other things under them."""


@dataclass(frozen=True, kw_only=True)
class OwnPart:
    """A part that was found; plain data, which workers get and load again."""

    kind: PartKind
    name: str
    """As the studies file has it."""
    attribute: str
    code: Code


@dataclass(frozen=True, kw_only=True)
class PartSetting:
    """A setting of a part."""

    name: str
    hint: Any
    """`int`, `float`, `bool`, `str` or a `Literal`; or a union of them."""
    default: Any = MISSING


@dataclass(frozen=True, kw_only=True)
class LoadedPart:
    """A part, imported."""

    target: Any
    """The function, dataclass or class."""
    is_dataclass: bool
    """Whether settings come first, and the rest is given to `__call__`."""
    takes: frozenset[str]
    """The documented parameters that it has."""
    settings: tuple[PartSetting, ...]
    place: str
    """File and line, for messages."""

    def declared(self, name: str, default: Any) -> Any:
        """Return an attribute that the part declares of itself, such as its `kind`."""
        return getattr(self.target, name, default)


def is_own(name: str, kind: PartKind) -> bool:
    """Return whether a name can be that of an own part: it has a colon, or is an entry point's."""
    return ":" in name or name in entry_point_names(kind)


@cache
def entry_point_names(kind: PartKind) -> tuple[str, ...]:
    """List the names that installed distributions have for parts of a kind."""
    return tuple(sorted({point.name for point in entry_points(group=f"rhoeps.{kind}")}))


def find_part(kind: PartKind, name: str, folder: Path) -> OwnPart:
    """Find a part by `module:attribute`, or by the name of an entry point, and import it.

    folder: of the studies file; its modules come before installed ones. Raises `PartError`.
    """
    target = name
    if ":" not in name:
        target = next(point.value for point in entry_points(group=f"rhoeps.{kind}", name=name))
    module, _, attribute = target.partition(":")
    if kind == "networks" and module in LIBRARIES:
        return OwnPart(kind=kind, name=name, attribute=attribute, code=_library_code(module))
    words = (*module.split("."), *attribute.split("."))
    if module.endswith(".py") or not all(word.isidentifier() for word in words):
        rule = "must be module:attribute, such as my_parts:Mine, without the ending .py"
        raise PartError(f"{rule}, got {target}; correct it")
    part = OwnPart(kind=kind, name=name, attribute=attribute, code=find_code(module, folder))
    loaded(part)
    return part


def _library_code(library: str) -> Code:
    """Return the code of a network that a library has by name; nothing is imported yet."""
    try:
        return Code(module=library, distribution=(library, version(library)))
    except PackageNotFoundError:
        way_out = f"run: pip install 'rhoeps[{library}]'"
        raise PartError(f"{library} is not installed; {way_out}") from None


def source_of(part: OwnPart) -> dict[str, str]:
    """Return what decides a part, for the keys of the cells that use it."""
    return dict(content(part.code, part.attribute.partition(".")[0]))


@cache
def loaded(part: OwnPart) -> LoadedPart:
    """Import a part and read its signature. Raises `PartError` with file, line and way out."""
    if part.kind == "networks" and part.code.module in LIBRARIES:
        return _library_network(part)
    target: Any = imported(part.code)
    for word in part.attribute.split("."):
        names = _names(target, part.code.module)
        if not hasattr(target, word):
            near = difflib.get_close_matches(word, names, n=1)
            way_out = f"did you mean {near[0]}?" if near else f"it has {', '.join(names[:8])}"
            raise PartError(f"{part.code.shown}:1: there is no {word}; {way_out}")
        target = getattr(target, word)
    place = part.code.shown
    if part.code.files:
        place += f":{line_of(part.code, part.attribute.partition('.')[0])}"
    if not (isinstance(target, type) or inspect.isroutine(inspect.unwrap(target))):
        rule = f"must be a function or a class, got {type(target).__name__}"
        raise PartError(f"{place}: {part.attribute}: {rule}; write a function that calls it")
    has_fields = is_dataclass(target) and isinstance(target, type)
    return _read_signature(part, target, has_fields and "__call__" in vars(target), place)


def _names(target: Any, module: str) -> list[str]:
    """List the names in a module or class; what it defines stands before what it imports."""
    found = [name for name in vars(target) if not name.startswith("_")]
    return sorted(found, key=lambda n: getattr(vars(target)[n], "__module__", "") != module)


def _library_network(part: OwnPart) -> LoadedPart:
    """Return a network that a library has by name; it has no settings."""

    def build(image_shape: Any, num_classes: Any) -> Any:
        # By name, as networks are above configurations; and it imports torch.
        networks = importlib.import_module("trainers.networks.named")
        return networks.LIBRARIES[part.code.module](part.attribute, image_shape, num_classes)

    takes = frozenset(CONTRACTS["networks"].required)
    return LoadedPart(target=build, is_dataclass=False, takes=takes, settings=(), place=part.name)


def _read_signature(part: OwnPart, target: Any, in_two: bool, place: str) -> LoadedPart:
    """Divide the parameters of a part into given ones and settings. in_two: fields, then call."""
    contract = CONTRACTS[part.kind]
    known = (*contract.required, *contract.optional)
    given = _parameters(target.__call__ if in_two else target, part, place)
    given.pop("self", None)
    hints = _hints(target, part)
    settings = []
    if in_two:
        extra = [name for name in given if name not in known]
        if extra:
            rule = f"__call__ must take only {', '.join(known)}, got {', '.join(extra)}"
            raise PartError(f"{place}: {part.attribute}: {rule}; make it a field")
        for item in fields(target):
            if item.default_factory is not MISSING:
                rule = f"{item.name} must have a plain default, got a default_factory"
                raise PartError(f"{place}: {part.attribute}: {rule}; write a number or a word")
            settings.append((item.name, hints.get(item.name), item.default))
    else:
        for name, parameter in given.items():
            if name not in known:
                empty = parameter.default is parameter.empty
                default = MISSING if empty else parameter.default
                settings.append((name, hints.get(name), default))
    lacking = [name for name in contract.required if name not in given]
    if lacking:
        got = ", ".join(given) or "no parameter"
        rule = f"must take {', '.join(contract.required)}, got {got}"
        way_out = f"add {', '.join(lacking)} (see {contract.page})"
        raise PartError(f"{place}: {part.attribute}: {rule}; {way_out}")
    return LoadedPart(
        target=target,
        is_dataclass=in_two,
        takes=frozenset(given) & frozenset(known),
        settings=tuple(_setting(part, place, *setting) for setting in settings),
        place=place,
    )


def _parameters(target: Any, part: OwnPart, place: str) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a function, or of a class's construction."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        rule = "must have a signature that Python can read"
        raise PartError(f"{place}: {part.attribute}: {rule}; wrap it in a function") from None
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = {name: one for name, one in signature.parameters.items() if one.kind not in variable}
    unnamed = [n for n, one in found.items() if one.kind is inspect.Parameter.POSITIONAL_ONLY]
    if unnamed:
        rule = f"parameters are given by name, but {', '.join(unnamed)} cannot be"
        raise PartError(f"{place}: {part.attribute}: {rule}; remove the /")
    return found


def _hints(target: Any, part: OwnPart) -> dict[str, Any]:
    """Return the annotations of a part's settings, resolved."""
    is_plain_class = isinstance(target, type) and not is_dataclass(target)
    try:
        return get_type_hints(target.__init__ if is_plain_class else target)
    except Exception as error:  # an annotation may be any expression
        raise PartError(located(error, part.code)) from None


def _setting(part: OwnPart, place: str, name: str, hint: Any, default: Any) -> PartSetting:
    """Check a setting's name, annotation and default."""
    where = f"{place}: {part.attribute}: the setting {name}"
    if name in _RESERVED:
        raise PartError(f"{where} has the name of something else here; rename it")
    if hint is None:
        if not isinstance(default, _SETTING_TYPES):
            raise PartError(f"{where} must have a type, such as {name}: float = 0.1; annotate it")
        hint = type(default)
    members = get_args(hint) if get_origin(hint) not in (None, Literal) else (hint,)
    if not all(one in _SETTING_TYPES or get_origin(one) is Literal for one in members):
        rule = "must be int, float, bool, str or a Literal, as a studies file holds it"
        raise PartError(f"{where} {rule}, got {getattr(hint, '__name__', hint)}; change its type")
    if default is not MISSING and not isinstance(default, _SETTING_TYPES):
        raise PartError(f"{where} must have a plain default, got {default!r}; write a plain value")
    return PartSetting(name=name, hint=hint, default=default)


def ready(part: OwnPart, settings: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a part's function with its settings filled in; it takes `loaded(part).takes`.

    Raises `PartError` if a dataclass refuses its settings.
    """
    found = loaded(part)
    target = found.target
    if found.is_dataclass:
        try:
            target = target(**settings)
        except Exception as error:  # of the part's own check of its settings
            raise PartError(located(error, part.code)) from None
        settings = {}

    def run(**given: Any) -> Any:
        try:
            return target(**given, **settings)
        except PartError:
            raise
        except Exception as error:  # of any kind: the part's own mistake, or of its settings
            if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
                raise
            raise PartError(located(error, part.code)) from error

    return run
