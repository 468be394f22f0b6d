"""The settings of an own part as a frozen dataclass, and what its kind declares beside them.

`settings_class` builds the class from the part's signature. Its instances stand where those of our
own sides, losses and attacks stand: their fields are the settings, and what a side declares beside
its settings (`kind`, gradients per step) comes from attributes of the part, or has a default.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any, ClassVar

from trainers.config.activity import ALWAYS, Active, active_of, check_steps
from trainers.config.checks import ConfigError
from trainers.config.parts import OwnPart, PartSetting, loaded, ready
from trainers.config.sources import PartError

HOSTED: Mapping[str, tuple[str, ...]] = {"weights": ("active", "every"), "inputs": ("active",)}
"""Settings that every side of a kind has, and that decide on which steps it acts."""
SIDE_KINDS = ("sharpness", "adversarial", "other")


@dataclass(frozen=True, kw_only=True)
class Own:
    """Settings of an own part; itself it is the settings of no part."""

    part: ClassVar[OwnPart]
    tabulated: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check the settings as a dataclass does itself; raise `ConfigError` if it refuses one."""
        if type(self) is Own:
            return
        if self.part.kind in HOSTED:
            check_steps(active_of(self), getattr(self, "every", 1))
        if not loaded(self.part).is_dataclass:
            return
        try:
            loaded(self.part).target(**self.settings)
        except Exception as error:  # of the part's own check of its settings
            raise _refusal(error, self.part, self.settings) from None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the part's name and text, not its class: a worker builds it again."""
        return (Own, ()) if type(self) is Own else (_rebuilt, (self.part, vars(self)))

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings of the part by name, without those that the host follows."""
        hosted = HOSTED.get(self.part.kind, ())
        return {i.name: getattr(self, i.name) for i in fields(self) if i.name not in hosted}

    def __str__(self) -> str:
        """Return the part's name, with its settings."""
        listed = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return f"{self.part.name} ({listed})" if listed else self.part.name

    def ready(self) -> Callable[..., Any]:
        """Return the part's function with its settings filled in."""
        return ready(self.part, self.settings)

    @property
    def takes(self) -> frozenset[str]:
        """Return the documented parameters that the part has."""
        return loaded(self.part).takes


NO_SETTINGS = Own()
_HOST_FIELDS = {
    "active": ("active", Active, field(default=ALWAYS)),
    "every": ("every", int, field(default=1)),
}


class OwnWeights(Own):
    """A weight side of one's own; it has the settings `active` and `every` of ours, too."""

    kind: ClassVar[Any] = "sharpness"
    gradients: ClassVar[float] = 2

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step: none, as settings are filled in."""
        return {}


class OwnInputs(Own):
    """An input side of one's own."""

    kind: ClassVar[Any] = "adversarial"
    attack_steps: ClassVar[int] = 1

    def numbers(self, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step: none, as settings are filled in."""
        return {}


class OwnLoss(Own):
    """A loss of one's own."""

    images: ClassVar[int] = 1
    has_target: ClassVar[bool] = False

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of each step: none, as settings are filled in."""
        return {}


class OwnAttack(Own):
    """An evaluation attack of one's own."""

    @property
    def title(self) -> str:
        """Return the name of the attack as reports print it."""
        return str(self)


_BASES: Mapping[str, type[Own]] = {
    "weights": OwnWeights,
    "inputs": OwnInputs,
    "losses": OwnLoss,
    "attacks": OwnAttack,
}


@cache
def settings_class(part: OwnPart) -> type[Any]:
    """Build the class of a part's settings. Raises `PartError` if the part cannot be loaded."""
    found = loaded(part)
    own: dict[str, Any] = {"part": part, "__doc__": (found.target.__doc__ or "").strip()}
    if part.kind == "weights":
        own |= {"kind": _kind(part), "gradients": _count(part, "gradients", 2)}
    if part.kind == "inputs":
        own |= {"kind": _kind(part), "attack_steps": _count(part, "attack_steps", 1)}
    if part.kind == "losses":
        own["images"] = 2 if "clean_logits" in found.takes else 1
    return make_dataclass(
        part.attribute.replace(".", "_"),
        [*map(_field, found.settings), *(_HOST_FIELDS[name] for name in HOSTED.get(part.kind, ()))],
        bases=(_BASES.get(part.kind, Own),),
        namespace=own,
        frozen=True,
        kw_only=True,
    )


def _field(setting: PartSetting) -> Any:
    if setting.default is MISSING:
        return setting.name, setting.hint
    return setting.name, setting.hint, field(default=setting.default)


def _kind(part: OwnPart) -> str:
    """Return what a side is for, as the part declares it by an attribute `kind`."""
    usual = "sharpness" if part.kind == "weights" else "adversarial"
    kind = loaded(part).declared("kind", usual)
    if kind not in SIDE_KINDS:
        rule = f"kind must be one of {', '.join(SIDE_KINDS)}, got {kind!r}; correct it"
        raise PartError(f"{loaded(part).place}: {part.attribute}: {rule}")
    return str(kind)


def _count(part: OwnPart, name: str, usual: float) -> float:
    """Return how often a side takes a gradient per step, as an attribute of the part says."""
    count = loaded(part).declared(name, usual)
    if isinstance(count, bool) or not isinstance(count, int | float) or count < 0:
        rule = f"{name} must be a number ≥ 0, got {count!r}; correct it"
        raise PartError(f"{loaded(part).place}: {part.attribute}: {rule}")
    return count


def _refusal(error: Exception, part: OwnPart, settings: Mapping[str, Any]) -> ConfigError:
    """Build the refusal of settings by a part's own check, whose text may begin with a setting."""
    text = " ".join(str(error).split()) or type(error).__name__
    name = next((name for name in settings if text.startswith(name)), next(iter(settings), ""))
    rule = f"{text.removeprefix(name).lstrip(': ')} (of {loaded(part).place})"
    return ConfigError(name, rule, settings.get(name))


def _rebuilt(part: OwnPart, settings: Mapping[str, Any]) -> Any:
    """Build the settings of a part again, in another process."""
    return settings_class(part)(**settings)
