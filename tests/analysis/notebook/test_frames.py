"""Tables of pandas hold the numbers of the report's files, under their own names."""

import csv
from collections.abc import Callable
from io import StringIO

import pytest

from analysis import analyse
from analysis.notebook.frames import accuracy_names
from analysis.report.configurations import configurations_csv
from analysis.report.data_files import seeds_csv
from analysis.results.results import Results


@pytest.fixture(scope="module")
def toy(draw: Callable[..., Results]) -> Results:
    cells = [
        ("standard", {}, 0.95, 0.1),
        ("sam", {"rho": 0.1}, 0.96, 0.2),
        ("sam", {"rho": 0.2}, 0.94, 0.3),
        ("at", {"epsilon": 8 / 255}, 0.9, 0.6),
    ]
    return draw(cells, radii=(0.01, 8 / 255), objective_radius=8 / 255, num_test=100)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def test_row_of_a_trial_is_that_of_the_file(toy: Results) -> None:
    frame = toy.to_frame()
    file = rows_of(seeds_csv(toy))
    assert len(frame) == len(file) == 12
    assert list(frame.columns) == [
        *("method", "rho", "epsilon", "seed"),
        *("clean_accuracy", "robust_accuracy@0.01", "robust_accuracy@8/255"),
        *("validation_clean_accuracy", "validation_robust_accuracy@8/255"),
        *("cost", "seconds", "run"),
    ]
    names = accuracy_names(toy)
    for written, (_, read) in zip(file, frame.iterrows(), strict=True):
        assert (written["method"], int(written["seed"])) == (read["method"], read["seed"])
        for theirs, ours in {**names, "rho": "rho", "cost": "cost", "seconds": "seconds"}.items():
            if written[theirs] == "":
                assert read[ours] != read[ours], "nan where the method has no such value"
            else:
                assert float(written[theirs]) == read[ours], ours


def test_row_of_a_configuration_has_mean_and_interval_of_the_file(toy: Results) -> None:
    analysis = analyse(toy)
    frame = toy.configurations()
    file = rows_of(configurations_csv(analysis))
    assert len(frame) == len(file) == 4
    names = accuracy_names(toy)
    for written, (_, read) in zip(file, frame.iterrows(), strict=True):
        for theirs, ours in names.items():
            assert float(written[f"{theirs}_mean"]) == read[ours]
            assert float(written[f"{theirs}_deviation"]) == read[f"{ours}_deviation"]
            if not theirs.startswith("validation"):
                low, high = read[f"{ours}_low"], read[f"{ours}_high"]
                assert (float(written[f"{theirs}_low"]), float(written[f"{theirs}_high"])) == (
                    low,
                    high,
                )
                assert low <= read[ours] <= high
        assert read["seeds"] == 3
        assert read["complete"]
        assert str(read["on_study_front"]) == written["on_study_front"]
    assert analysis.configurations().equals(frame)


def test_study_without_a_trial_has_empty_tables(digits: Results) -> None:
    from dataclasses import replace

    none = replace(digits, trials=(), absent=())
    assert none.to_frame().empty
    assert none.configurations().empty
