"""What is written is read back equal, and what does not fit is refused by its place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from analysis.document import from_plain, to_plain
from analysis.results.trials import UNWRITTEN, ResultsError


@dataclass(frozen=True, kw_only=True)
class Leaf:
    number: float
    name: Literal["one", "two"]


@dataclass(frozen=True, kw_only=True)
class Tree:
    leaves: tuple[Leaf, ...]
    pair: tuple[int, float]
    values: Mapping[str, float | int | str]
    maybe: Leaf | None
    nested: tuple[tuple[float, ...], ...]
    is_tall: bool = False
    memory: object = field(default=None, metadata=UNWRITTEN)


TREE = Tree(
    leaves=(Leaf(number=0.1, name="one"), Leaf(number=2.0, name="two")),
    pair=(3, 0.5),
    values={"rho": 0.1, "steps": 4, "norm": "linf"},
    maybe=None,
    nested=((1.0, 2.0), ()),
    is_tall=True,
)


def test_a_value_survives_json() -> None:
    again = from_plain(Tree, json.loads(json.dumps(to_plain(TREE))))
    assert again == TREE
    assert isinstance(again.values["steps"], int)
    assert isinstance(again.leaves[1].number, float)


def test_what_stays_in_memory_is_not_written() -> None:
    assert "memory" not in to_plain(TREE)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_is_named_by_its_place(number: float) -> None:
    with pytest.raises(TypeError, match=r"\.number: cannot be written"):
        to_plain(Leaf(number=number, name="one"))


ODD = [
    ({"leaves": 3}, r"Tree\.leaves: must be a list, got 3"),
    ({"leaves": [{"number": "x", "name": "one"}]}, r"leaves\[0\]\.number: must be float"),
    ({"leaves": [{"number": 1, "name": "three"}]}, r"leaves\[0\]\.name: must be one of"),
    ({"leaves": [{"name": "one"}]}, r"leaves\[0\]: lacks number"),
    ({"pair": [1]}, r"Tree\.pair: must have 2 entries, got 1"),
    ({"values": []}, r"Tree\.values: must be an object"),
    ({"is_tall": 1}, r"Tree\.is_tall: must be bool, got 1"),
    ({"maybe": 3}, r"Tree\.maybe: must be one of"),
    ({"pair": [True, 0.5]}, r"Tree\.pair\[0\]: must be int, got True"),
]


@pytest.mark.parametrize(("change", "message"), ODD, ids=[m for _, m in ODD])
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        from_plain(Tree, {**to_plain(TREE), **change})
