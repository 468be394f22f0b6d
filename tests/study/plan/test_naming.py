"""What methods are called in reports."""

from collections.abc import Callable

from study.plan.naming import settings_text, sides_name
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
