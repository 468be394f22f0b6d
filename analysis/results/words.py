"""Words: numbers, values and names as they are printed. Percent appears here and nowhere before."""

import math
from collections.abc import Mapping

from analysis.results.configurations import ConfigurationResult
from analysis.results.results import ThreatModel
from analysis.results.trials import Value

SYMBOLS = {"rho": "ρ", "epsilon": "ε", "beta": "β", "sigma": "σ", "eta": "η", "gamma": "γ"}


def percent(fraction: float) -> str:
    """Print a fraction as a percentage with one decimal, without its sign.

    >>> percent(0.8804)
    '88.0'
    """
    return f"{100 * fraction:.1f}"


def value_text(value: Value, digits: int = 3) -> str:
    """Print a value: as it is if it is short, as papers write fractions of 255, else rounded.

    >>> value_text(0.025), value_text(8 / 255), value_text(0.2513724), value_text("relu")
    ('0.025', '8/255', '0.251', 'relu')
    """
    if not isinstance(value, float):
        return str(value)
    # Short decimals first: 0.2 is also 51/255, but nobody wrote it so.
    in_255 = value * 255
    if float(f"{value:.4g}") == value:
        return f"{value:.4g}"
    if abs(in_255 - round(in_255)) < 1e-9 * max(1.0, abs(in_255)):
        return f"{round(in_255)}/255"
    return f"{value:.{digits}g}"


def values_text(values: Mapping[str, Value], digits: int = 3) -> str:
    """Print the values of a configuration.

    >>> values_text({"rho": 0.1, "epsilon": 8 / 255})
    'ρ=0.1 ε=8/255'
    """
    return " ".join(
        f"{SYMBOLS.get(name, name)}={value_text(value, digits)}" for name, value in values.items()
    )


def configuration_text(configuration: ConfigurationResult, length: int) -> str:
    """Format a configuration: its method, quoted and cut, and its values in brackets."""
    values = values_text(configuration.values)
    method = method_text(configuration.method, length)
    return f"{method} ({values})" if values else method


def method_text(method: str, length: int = 40) -> str:
    """Quote a method's name, cut to this length: some of them, such as "at", are English words.

    >>> method_text("at")
    '“at”'
    """
    return f"“{shortened(method, length)}”"


def attack_text(threat: ThreatModel, radius: float) -> str:
    """Format what a robust accuracy was measured against: attack, norm and radius."""
    return f"{threat.attack}, {threat.norm} {value_text(radius)}"


def count_text(count: int, one: str, many: str | None = None) -> str:
    """Print a count with its noun.

    >>> count_text(1, "seed"), count_text(3, "seed"), count_text(0, "test image")
    ('1 seed', '3 seeds', '0 test images')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}".replace(",", "\N{THIN SPACE}")


def resolution(accuracy: float, samples: int) -> float:
    """Return the half-width 1.96 √(a(1 - a)/n) that n samples leave an accuracy, as a fraction.

    >>> round(resolution(0.5, 500), 4)
    0.0438
    """
    return 1.96 * math.sqrt(accuracy * (1.0 - accuracy) / samples)


def shortened(text: str, length: int) -> str:
    """Cut a longer text, and mark the cut with an ellipsis.

    >>> shortened("a_very_long_method", 10)
    'a_very_lo…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"
