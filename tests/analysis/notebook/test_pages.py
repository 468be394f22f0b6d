"""What notebooks show of results and analyses: small, escaped, with the main figure."""

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from analysis import Analysis, analyse
from analysis.notebook.pages import MOST_ROWS, table
from analysis.results.results import Results

HOSTILE = "<script>alert(1)</script>"


class Tags(HTMLParser):
    """The tags of a text, and whether each that was opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def hostile(draw: Callable[..., Results]) -> Results:
    cells = [("a<b>", {}, 0.9, 0.2), ("sam", {"rho": 0.1}, 0.95, 0.3)]
    return replace(draw(cells, num_test=60), study="x&y", about=HOSTILE)


@pytest.fixture(scope="module")
def analysed(hostile: Results) -> Analysis:
    return analyse(hostile, replicates=200)


def test_what_a_user_wrote_is_escaped(hostile: Results, analysed: Analysis) -> None:
    for text in (hostile._repr_html_(), analysed._repr_html_()):
        tags = Tags(text)
        assert tags.open == []
        assert not {"script", "b<"} & set(tags.names)
        assert "x&amp;y" in text
        assert "a&lt;b&gt;" in text
        assert "a<b>" not in text


def test_results_show_each_methods_best(hostile: Results) -> None:
    text = hostile._repr_html_()
    assert "6 trials" in text
    assert "ρ=0.1" in text


def test_analysis_shows_a_finding_and_one_figure_and_stays_small(analysed: Analysis) -> None:
    text = analysed._repr_html_()
    assert text.count("<svg") == 1
    assert analysed.findings[0].status in ("claimed", "bracketed", "refused")
    assert text.count("<li>") >= 1
    assert len(text) < 60_000


def test_analysis_of_nothing_shows_no_figure(hostile: Results) -> None:
    text = analyse(replace(hostile, trials=())), "no trial"
    assert "<svg" not in text[0]._repr_html_()


def test_representation_is_one_short_line(hostile: Results, analysed: Analysis) -> None:
    assert repr(hostile) == "<Results of x&y: 6 trials, 0 absent>"
    assert repr(analysed) == "<Analysis of x&y: 2 configurations>"


def test_long_table_is_cut_and_says_so() -> None:
    text = table(["a"], [[str(number)] for number in range(MOST_ROWS + 3)])
    assert text.count("<td>") == MOST_ROWS
    assert "and 3 more" in text
