"""The refusal of a value that no training can use, and the checks that raise it."""

import math
from collections.abc import Callable


class ConfigError(ValueError):
    """A value that no training can use. `field` is its name inside the part that refused it."""

    def __init__(self, field: str, rule: str, value: object) -> None:
        super().__init__(f"{field}: {rule}, got {value!r}")
        self.field = field
        self.rule = rule
        self.value = value


def check(holds: bool, field: str, rule: str, value: object) -> None:
    """Raise `ConfigError` unless the rule holds."""
    if not holds:
        raise ConfigError(field, rule, value)


def check_number(value: float, field: str, rule: str, holds: Callable[[float], bool]) -> None:
    """Raise `ConfigError` unless the value is a finite number for which the rule holds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    check(is_number and math.isfinite(value) and holds(value), field, rule, value)


def check_count(value: int, field: str, least: int) -> None:
    """Raise `ConfigError` unless the value is a whole number of at least `least`."""
    is_count = isinstance(value, int) and not isinstance(value, bool)
    check(is_count and value >= least, field, f"must be a whole number ≥ {least}", value)


def check_choice(value: object, field: str, known: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless the value is one of the known words."""
    check(value in known, field, f"must be one of {', '.join(known)}", value)
