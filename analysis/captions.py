"""Captions: under which conditions a figure holds, and how it is read."""

from analysis.choice import Choice
from analysis.framing import left_out_text
from analysis.results import Results
from analysis.words import SYMBOLS, attack_text, count_text, method_text, value_text

MOST_SEED_POINTS = 400
"""More trials than this are drawn as means alone: single seeds would be one grey cloud."""


def front_conditions(results: Results, choice: Choice, radius: float) -> str:
    """State of how many configurations, seeds and images, and against what, a front is made."""
    found = sum(len(front.configurations) for front in choice.fronts)
    absent = f", {len(results.absent)} absent" if results.absent else ""
    return (
        f"{count_text(found, 'configuration')} × {count_text(len(results.seeds), 'seed')} "
        f"({count_text(len(results.trials), 'trial')}{absent}) · "
        f"{count_text(results.num_test, 'test image')} · {attack_text(results.threat, radius)}"
    )


def front_reading(results: Results, choice: Choice, radius: float) -> str:
    """Say how the main figure is read, and what is outside it."""
    where = (
        f"validation data (robust under {results.threat.validation_attack})"
        if choice.on_validation
        else "these test data"
    )
    several = len(results.seeds) > 1 and len(results.trials) <= MOST_SEED_POINTS
    others = any(len(front.members) < len(front.configurations) for front in choice.fronts)
    searched = any(front.note.searched and front.configurations for front in choice.fronts)
    parts = [
        f"Large markers and steps: each method's front, chosen on {where} at radius "
        f"{value_text(results.threat.objective_radius)}, drawn at its mean test accuracies",
        "small markers: all other configurations" if others else "",
        "dots: single seeds, joined to their mean" if several else "",
        "hollow and dashed: searched" if searched else "",
    ]
    incomplete = sum(not c.complete for front in choice.fronts for c in front.configurations)
    if incomplete:
        parts.append(f"{count_text(incomplete, 'configuration')} incomplete (seeds lacking)")
    outside = left_out_text(choice, results.threat.radii.index(radius))
    return f"{'; '.join(part for part in parts if part)}. {outside}".strip()


def radii_caption(results: Results, choice: Choice) -> str:
    """Say what the figure of accuracy against attack radius shows."""
    threat = results.threat
    where = (
        f"validation data under {threat.validation_attack}" if choice.on_validation else "test data"
    )
    return (
        "Robust accuracy against attack radius: each method's most robust configuration at radius "
        f"{value_text(threat.objective_radius)}, chosen on {where}. Drawn: {threat.attack}, "
        f"{threat.norm}; {count_text(results.num_test, 'test image')}; means over seeds, bars from "
        "the least to the greatest. Radius 0 is clean accuracy."
    )


def strength_caption(results: Results, method: str, strength: str) -> str:
    """Say what the figure of accuracy against a strength shows."""
    symbol = SYMBOLS.get(strength, strength)
    return (
        f"Accuracy of {method_text(method)} against {symbol} (log scale, 0 apart): clean, and "
        f"robust under {attack_text(results.threat, results.threat.objective_radius)}; "
        f"{count_text(results.num_test, 'test image')}; means over seeds, bars from the least to "
        "the greatest."
    )
