"""Which statements of a file decide a part: all that it reaches, and all that have an effect."""

import pytest

from trainers.config.reached import reached

FILE = '''\
"""A module."""

import os
from functools import cache

import torch
from my_tools import register

SIZE = 3
OTHER = [1, 2]
TOTAL = sum(OTHER)


class Base:
    size = SIZE


class Net(Base):
    """A network."""

    def part(self) -> "Late":
        return helper()


@cache
def helper():
    return Late


class Late:
    pass


def unused():
    return os.sep


@register
def noted():
    return 1


torch.manual_seed(0)
Net.extra = 1
'''
ALWAYS = {"TOTAL", "OTHER", "noted", "torch.manual_seed", "Net.extra", "import torch", "register"}
REACHED = {
    "Net": {"class Base", "SIZE = 3", "def helper", "class Late", "import cache"},
    "unused": {"def unused", "import os"},
}
PARTS = {
    *("class Base", "SIZE = 3", "def helper", "class Late", "import cache", "def unused"),
    "import os",
}


@pytest.mark.parametrize("attribute", REACHED)
def test_a_part_is_decided_by_what_it_names_and_by_what_has_an_effect(attribute: str) -> None:
    text = reached(FILE, attribute, {"my_tools"})
    # A statement on Net keeps Net, and with it what Net names, for every part of the file.
    kept = ALWAYS | REACHED["Net"] | REACHED[attribute]
    assert {words for words in ALWAYS | PARTS if words in text} == kept


def test_a_decorator_of_another_folder_has_no_effect_elsewhere() -> None:
    assert "noted" not in reached(FILE, "unused", set())


def test_a_docstring_and_comments_between_statements_decide_nothing() -> None:
    edited = FILE.replace('"""A module."""', '"""Another."""').replace("SIZE = 3", "# x\nSIZE = 3")
    assert reached(edited, "Net") == reached(FILE, "Net")
    assert reached(FILE.replace("SIZE = 3", "SIZE = 4"), "Net") != reached(FILE, "Net")


UNREADABLE = {
    "globals": "def look():\n    return globals()['SIZE']\n",
    "eval": "X = eval('1')\n",
    "importlib": "import importlib\n",
    "a metaclass": "class A(metaclass=type):\n    pass\n",
    "a star": "from math import *\n",
    "subclasses": "class A:\n    def __init_subclass__(cls):\n        pass\n",
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_all_text_counts_where_names_cannot_be_read(case: str) -> None:
    text = FILE + UNREADABLE[case]
    assert reached(text, "unused") == text


def test_all_text_counts_for_a_name_that_is_made_up_in_a_way_we_do_not_see() -> None:
    assert reached("A = 1\n", "B") == "A = 1\n"


def test_the_method_eval_of_a_network_is_no_eval() -> None:
    text = "A = 1\ndef f(net):\n    return net.eval()\n"
    assert reached(text, "f") == "def f(net):\n    return net.eval()"


def test_a_form_feed_moves_no_line() -> None:
    """Python's lines end at no form feed, which old files have between their parts."""
    text = "A = 1\n\f\ndef f():\n    return A\n\nB = 2\n"
    assert reached(text, "f") == "A = 1\ndef f():\n    return A"
