"""Swept settings of training and model choose configurations as those of a method do."""

from collections.abc import Callable

from study.plan import naming, space
from study.plan.plan import make_plan
from study.spec import StudySpec
from study.spec.settings import Range

Read = Callable[..., StudySpec]
METHODS = """\
    standard: {}
    sam: {weights: {sam: {rho: [0.1, 0.2]}}, training: {weight_decay: 0.001, learning_rate: 0.05}}
"""


def swept(read: Read, **changes: str) -> StudySpec:
    text: str = read.text  # type: ignore[attr-defined]
    start, end = text.index("    standard"), text.index("  search")
    text = text[:start] + METHODS + text[end:]
    for name, value in changes.items():
        [old] = [part for part in text.replace("}", ",").split(",") if f" {name}: " in part][:1]
        text = text.replace(old, f" {name}: {value}", 1)
    if "low" not in text:
        text = text.replace("  search: {trials: 3}\n", "")
    return read(text=text)


def test_keys_of_a_swept_study_are_those_of_studies_with_one_value_each(read: Read) -> None:
    both = swept(read, learning_rate="[0.1, 0.2]", width="[2, 3]")
    keys = [
        cell.key
        for made in space.grid_configurations(both)
        if made.method == "standard"
        for cell in space.cells(both, made, "f")
    ]
    alone = [
        cell.key
        for learning_rate in ("0.1", "0.2")
        for width in ("2", "3")
        for spec in [swept(read, learning_rate=learning_rate, width=width)]
        for cell in space.cells(spec, space.grid_configurations(spec)[0], "f")
    ]
    assert keys == alone
    assert len(set(keys)) == 8


def test_names_hold_what_varies(read: Read) -> None:
    spec = swept(read, learning_rate="[0.1, 0.2]", width="[2, 3]")
    names = [naming.configuration_name(spec, made) for made in space.grid_configurations(spec)]
    assert names[:2] == ["standard learning_rate=0.1 width=2", "standard learning_rate=0.1 width=3"]
    assert names[4:6] == ["sam rho=0.1 width=2", "sam rho=0.1 width=3"]
    assert naming.settings_text(spec, "sam") == (
        "sam: rho 0.1 / 0.2; cross_entropy; training: learning_rate 0.05, weight_decay 0.001"
    )
    assert naming.network_names(spec) == ["small_cnn, width 2", "small_cnn, width 3"]
    assert naming.training_settings(spec)["learning_rate"] == "0.1 / 0.2"
    assert naming.swept_text(spec, "standard") == "learning_rate 0.1 / 0.2, width 2 / 3"


def test_a_range_of_the_training_makes_a_block_that_learns_from_the_grid(read: Read) -> None:
    spec = swept(read, weight_decay="{low: 0.0, high: 0.01}", learning_rate="[0.1, 0.2]")
    first, second = space.search_blocks(spec, "f")
    assert (first.method, first.fixed) == ("standard", (("training.learning_rate", 0.1),))
    assert first.ranges == (("training.weight_decay", Range(low=0.0, high=0.01)),)
    assert first.key != second.key
    grid = swept(read, weight_decay="0.002")
    [cell, _] = space.cells(grid, space.grid_configurations(grid)[0], "f")
    canonical = space.canonical(cell.config, "f")
    assert space.taught_values(first, canonical) == {"training.weight_decay": 0.002}
    assert space.taught_values(second, canonical) is None
    made = space.suggested(first, {"training.weight_decay": 0.002}, 0)
    assert space.cells(spec, made, "f")[0].key == cell.key


def test_a_plan_counts_the_trials_of_a_swept_method(read: Read) -> None:
    spec = swept(read, weight_decay="{low: 0.0, high: 0.01}", learning_rate="[0.1, 0.2]")
    plan = make_plan(spec, "f", ())
    assert plan.num_trials("standard") == 2 * 2 * 3, "learning rates, seeds, suggestions"
    assert plan.num_trials("sam") == 2 * 2, "its radii and seeds, as it overrides what is swept"
    assert plan.num_cells == 16


def test_what_is_swept_around_a_method_is_no_strength_of_it(read: Read) -> None:
    spec = swept(read, learning_rate="[0.1, 0.2]", width="[2, 3]")
    assert naming.setup_names(spec, "standard") == ("learning_rate", "width")
    assert naming.setup_names(spec, "sam") == ("width",)
