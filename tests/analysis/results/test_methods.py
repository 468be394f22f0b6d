"""Tests of what a method is compared as: by the kinds of its sides, else by their names."""

from dataclasses import replace
from typing import get_args

import pytest

from analysis.document import from_plain, to_plain
from analysis.results.methods import MethodNote, SideKind
from trainers.config import INPUT_SIDES, WEIGHT_SIDES, Kind

LOOK = MethodNote(name="look", sides="look_sam", searched=False, weights="sharpness", inputs="none")


def test_a_side_that_no_list_here_knows_is_compared_by_its_kind() -> None:
    assert LOOK.kind == "sharpness"
    assert replace(LOOK, weights=None, inputs=None).kind == "other"
    assert replace(LOOK, inputs="adversarial").kind == "other"
    assert replace(LOOK, weights="none", inputs="adversarial").kind == "adversarial"


def test_kinds_are_written_where_the_names_do_not_say_them() -> None:
    assert from_plain(MethodNote, to_plain(LOOK)) == LOOK
    sam = MethodNote(name="s", sides="sam", searched=True, weights="sharpness", inputs="none")
    assert "weights" not in to_plain(sam)
    assert from_plain(MethodNote, to_plain(sam)).kind == sam.kind == "sharpness"


@pytest.mark.parametrize("cls", [*WEIGHT_SIDES.values(), *INPUT_SIDES.values()])
def test_every_side_declares_a_kind_that_analyses_know(cls: type) -> None:
    assert get_args(SideKind) == get_args(Kind)
    assert cls.kind in get_args(SideKind)  # type: ignore[attr-defined]
