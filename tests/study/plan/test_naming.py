"""What methods are called in reports."""

from collections.abc import Callable

from study.plan.naming import configuration_name, settings_text, sides_name, threat_name
from study.plan.space import grid_configurations
from study.spec import StudySpec

MORE = """\
    at_awp: {weights: {awp: {gamma: 0.005}}, loss: {trades: {beta: 6}},
             inputs: {pgd: {norm: l2, epsilon: [0.25, 0.5], steps: 4}}}
"""


def test_settings_tell_apart_methods_of_the_same_sides(read: Callable[..., StudySpec]) -> None:
    text = read.text.replace("  search:", f"{MORE}  search:")  # type: ignore[attr-defined]
    spec = read(text=text)
    assert sides_name(spec, "at_awp") == "awp + pgd"
    assert settings_text(spec, "at_awp") == (
        "awp: gamma 0.005; pgd: norm l2, epsilon 0.25 / 0.5, steps 4; trades: beta 6"
    )
    assert settings_text(spec, "sam_at") == (
        "sam: rho 0.05 to 0.8; pgd: norm linf, epsilon 0.1, steps 1; cross_entropy"
    )
    assert settings_text(spec, "standard") == "cross_entropy"


def test_when_a_side_acts_is_named_like_any_value(read: Callable[..., StudySpec]) -> None:
    late = "late: {weights: {sam: {rho: 0.2, active: [[0, 1], [0.9, 1]], every: 2}}}"
    text = read.text.replace("standard: {}", late)  # type: ignore[attr-defined]
    spec = read(text=text)
    names = [configuration_name(spec, made) for made in grid_configurations(spec)]
    assert names[:2] == ["late active=0-1", "late active=0.9-1"]
    assert settings_text(spec, "late") == "sam: rho 0.2, active 0-1 / 0.9-1, every 2; cross_entropy"


def test_radii_are_named_as_the_report_prints_them(read: Callable[..., StudySpec]) -> None:
    """255ths where a radius is one; as they are where they are short, as those of the digits."""
    text = read.text.replace("standard: {}", "at: {inputs: {pgd: RADII}}")  # type: ignore[attr-defined]
    radii = "{norm: linf, epsilon: [0.25/255, 8/255, 0.0625, 0.2], steps: 4}"
    spec = read(text=text.replace("RADII", radii))
    names = [configuration_name(spec, made) for made in grid_configurations(spec)]
    assert names[:4] == [
        f"at epsilon={radius}" for radius in ("0.0009804", "8/255", "0.0625", "0.2")
    ]
    assert "epsilon 0.0009804 / 8/255 / 0.0625 / 0.2" in settings_text(spec, "at")
    assert threat_name("linf", 2 / 255, 0.1) == "linf 2/255, 0.1"
    assert threat_name("l2", 128 / 255) == "l2 128/255"
