"""Trials beyond lists and seeds are read, planned once, and declared in the results."""

from collections.abc import Callable

import pytest

from study.plan import space
from study.plan.plan import make_plan
from study.spec import SpecError, StudySpec, all_seeds
from tests.records import DATA, finished_trial

Read = Callable[..., StudySpec]
MORE = """\
  more_trials:
  - {method: sam, values: {rho: 0.2}, seeds: [1, 2, 3]}
  - {method: sam, values: {rho: 0.4}}
  - {method: standard, seeds: [5]}
  - {method: sam_at, values: {weights.sam.rho: 0.1}, seeds: [2]}
  - {method: standard, seeds: [5, 0]}
"""


def test_more_trials_are_all_that_a_launch_adds(read: Read) -> None:
    before = {planned.cell.key for planned in make_plan(read(), DATA, []).cells}
    spec = read(MORE)
    plan = make_plan(spec, DATA, [])
    added = [planned.cell for planned in plan.cells if planned.cell.key not in before]
    assert [(c.configuration.method, c.configuration.values, c.seed) for c in added] == [
        ("sam", (("weights.sam.rho", 0.2),), 2),
        ("sam", (("weights.sam.rho", 0.2),), 3),
        ("sam", (("weights.sam.rho", 0.4),), 0),
        ("sam", (("weights.sam.rho", 0.4),), 1),
        ("standard", (), 5),
        ("sam_at", (("weights.sam.rho", 0.1),), 2),
    ]
    assert len(plan.cells) == len(before) + len(added) == len({p.cell.key for p in plan.cells})
    assert all_seeds(spec) == (0, 1, 2, 3, 5)


def test_a_further_seed_is_the_cell_that_a_longer_list_of_seeds_would_make(read: Read) -> None:
    longer = read(text=read.text.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))  # type: ignore[attr-defined]
    more = read("  more_trials: [{method: standard, seeds: [2]}]\n")
    [made] = [c for c in space.grid_configurations(longer) if c.method == "standard"]
    wanted = space.cells(longer, made, DATA)[2].key
    plan = make_plan(more, DATA, [])
    assert [p.cell.key for p in plan.cells if p.cell.seed == 2] == [wanted]
    done = make_plan(more, DATA, [finished_trial(p.cell) for p in plan.cells])
    assert done.count("done") == len(plan.cells)


MISTAKES = {
    "{method: sam}": "tiny.more_trials: must be a list of trials, each a mapping; write for "
    "example more_trials: [{method: at, values: {epsilon: 0.2}, seeds: [3, 4]}]",
    "[{method: sma, values: {rho: 0.2}}]": "tiny.more_trials.method: names the method 'sma', "
    "which the study does not have; did you mean sam?",
    "[{method: sam, value: {rho: 0.2}}]": "tiny.more_trials.value: unknown key; did you mean "
    "values?",
    "[{method: sam}]": "tiny.more_trials.values: must be values of weights.sam.rho, got none; "
    "name each setting that the method varies, and no other",
    "[{method: standard, values: {rho: 0.2}}]": "tiny.more_trials.values: must be left out, as "
    "the method varies nothing, got rho",
    "[{method: sam, values: {rho: big}}]": "tiny.more_trials.values: weights.sam.rho must be of "
    "the kind of its list, 0.1, 0.2, got 'big'",
    "[{method: sam, values: {rho: -1}}]": "tiny.more_trials.values: ",
    "[{method: standard, seeds: [2, 2]}]": "tiny.more_trials.seeds: ",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_in_more_trials_is_one_line(read: Read, text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(f"  more_trials: {text}\n")
    [line] = caught.value.messages
    assert message in line
