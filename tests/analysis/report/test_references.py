"""A published single run is shown beside the methods, and no number of theirs depends on it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.analysing import analyse
from analysis.document import Analysis, read_json, write_json
from analysis.figures.front import fig_front, front_reading
from analysis.report.data_files import seeds_csv
from analysis.report.markdown import findings_md
from analysis.report.page import page
from analysis.results.combine import combine
from analysis.results.results import Results
from analysis.results.table import read_table
from analysis.results.trials import Reference, ResultsError

TABLE = "method,rho,epsilon,seed,clean,robust_0.1,robust_0.2\n" + "".join(
    f"sam,0.1,,{seed},{0.9 + noise},{0.3 + noise},0.1\n"
    f"at,,0.1,{seed},{0.8 + noise},{0.5 - noise},0.3\n"
    for seed, noise in ((0, 0.0), (1, 0.01), (2, 0.02))
)
PAPER = "paper,auto,0.1,,0.85,0.55,\n"
"""Its words would turn the numbers of ρ into texts."""
REFERENCE = Reference(name="paper", clean=0.85, robust=(0.55, None))


def read(folder: Path, text: str) -> Results:
    path = folder / "table.csv"
    path.write_text(text)
    return read_table(path, num_test=1000, num_classes=10)


def analysed(results: Results) -> Analysis:
    return analyse(results, replicates=50)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Results, Results]:
    """Return the results without and with the reference, which stands in the first row."""
    return read(tmp_path, TABLE), read(tmp_path, TABLE.replace("\nsam", f"\n{PAPER}sam", 1))


def test_a_reference_changes_no_number_of_the_methods(two: tuple[Results, Results]):
    without, with_one = two
    assert with_one.references == (REFERENCE,)
    assert replace(with_one, references=()) == without
    plain, found = analysed(without), analysed(with_one)
    assert replace(found, results=plain.results) == plain
    assert plain.findings


def test_a_reference_is_written_and_read_and_otherwise_no_byte_differs(
    two: tuple[Results, Results],
):
    plain, found = (write_json(analysed(results)) for results in two)
    assert "references" not in plain
    assert read_json(found).results.references == (REFERENCE,)
    assert write_json(read_json(found)) == found


def test_a_reference_is_a_point_with_its_name_and_nothing_more(two: tuple[Results, Results]):
    axes, found = (fig_front(analysed(results), 0.1).axes[0] for results in two)
    [star] = [line for line in found.lines if line.get_marker() == "*"]
    assert star.get_xydata().tolist() == [[85.0, pytest.approx(55.0)]]
    assert star.get_markerfacecolor() == "white"
    assert "paper" in [text.get_text() for text in found.texts]
    assert len(found.lines) == len(axes.lines) + 1
    assert len(found.patches) == len(axes.patches)
    assert len(found.collections) == len(axes.collections)
    assert found.get_ylim()[1] > 55.0


def test_a_reference_is_not_drawn_at_a_radius_without_its_accuracy(two: tuple[Results, Results]):
    figure = fig_front(analysed(two[1]), 0.2)
    assert all(line.get_marker() != "*" for line in figure.axes[0].lines)


def test_a_reference_far_left_is_named_below_the_figure(two: tuple[Results, Results]):
    found = analysed(replace(two[1], references=(replace(REFERENCE, clean=0.3, robust=(0.2, 0)),)))
    assert "Left of the figure: reference paper (30.0% clean" in front_reading(
        found, 0.1, found.estimand
    )
    assert fig_front(found, 0.1).axes[0].get_xlim()[0] > 60


def test_the_report_lists_references_in_words(two: tuple[Results, Results]):
    plain, found = (analysed(results) for results in two)
    said = "Each is a single published run: no interval, and not compared with the methods."
    for text in (page(found), findings_md(found, [])):
        assert said in text
    assert "\n- paper: clean 85.0, robust at 0.1 55.0, robust at 0.2 –\n" in findings_md(found, [])
    assert all(said not in text for text in (page(plain), findings_md(plain, [])))


def test_a_report_reads_the_references_that_it_wrote(two: tuple[Results, Results], tmp_path: Path):
    assert read(tmp_path, seeds_csv(two[1])).references == (REFERENCE,)


def test_the_command_names_the_references_and_compares_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "table.csv"
    path.write_text(TABLE + PAPER)
    words = [str(path), "-o", str(tmp_path / "out"), "--images", "1000"]
    assert main([*words, "--primary", "at", "paper"]) == 2
    assert "has no method paper; it has at, sam" in capsys.readouterr().err
    assert main(words) == 0
    assert re.search("2 methods, .* test images; reference: paper;", capsys.readouterr().out)


def test_combined_studies_keep_their_references(two: tuple[Results, Results]):
    one, other = (replace(two[1], study=name) for name in ("a", "b"))
    assert combine([one, other]).references == (REFERENCE,)


def test_references_that_fit_no_study_are_refused(two: tuple[Results, Results]):
    with pytest.raises(ResultsError, match="its name is used twice"):
        replace(two[1], references=(replace(REFERENCE, name="sam"),))
    for odd in ((0.5,), (None, None), (0.5, 1.5)):
        with pytest.raises(ResultsError, match="needs fractions"):
            replace(two[1], references=(replace(REFERENCE, robust=odd),))
