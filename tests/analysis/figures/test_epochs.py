"""Training curves, searches and importances: the numbers said, and what is drawn of them."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.document import from_plain, to_plain
from analysis.figures.canvas import svg
from analysis.figures.epochs import fig_training, training_caption
from analysis.figures.search import (
    MOST_LINES,
    fig_importance,
    fig_parallel,
    importance_caption,
    parallel_caption,
    searched_methods,
)
from analysis.findings.epochs import training_findings
from analysis.fronts.choice import choose
from analysis.report.attack_tables import importance_table, training_table
from analysis.responses.epochs import chosen_training
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import History, Importance, TrialResult

LOSS = {0: 0.03, 1: 0.01, 2: 0.02}
"""By seed: how much robust accuracy is lost after the best epoch."""


def history(trial: TrialResult, epochs: int = 5) -> History:
    """Make a training whose best epoch is the third, and whose last is worse on test."""
    robust = tuple(0.1 * min(epoch, 6 - epoch) for epoch in range(1, epochs + 1))
    return History(
        method=trial.method,
        values=trial.values,
        seed=trial.seed,
        epochs=tuple(range(1, epochs + 1)),
        train_accuracy=robust,
        validation_clean=tuple(0.5 + 0.1 * epoch for epoch in range(epochs)),
        validation_robust=robust,
        best_epoch=3,
        test_best=(0.9, 0.5),
        test_last=(0.92, 0.5 - LOSS[trial.seed]),
    )


@pytest.fixture(scope="module")
def trained(digits: Results) -> Results:
    importances = tuple(
        Importance(
            method="sam_at",
            objective=objective,
            shares=shares,
            configurations=24,
            evaluator="PED-ANOVA",
        )
        for objective, shares in (
            ("clean", {"rho": 0.75, "epsilon": 0.25}),
            ("robust", {"rho": 0.125, "epsilon": 0.875}),
        )
    )
    histories = tuple(history(trial) for trial in digits.trials)
    return replace(digits, histories=histories, importances=importances)


def texts(figure: Figure) -> list[Text]:
    """List the texts that are drawn: tick labels beyond the ends of an axis are not."""
    beyond = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    found = [text for text in figure.findobj(Text) if text.get_text().strip()]
    return [text for text in found if text not in beyond and text.get_visible()]


def assert_inside(figure: Figure) -> None:
    """Check that every text lies on the page, and that no two of them overlap."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.canvas.draw()
    page = figure.bbox
    boxes = []
    for text in texts(figure):
        box = text.get_window_extent(renderer)
        assert box.x0 >= page.x0 - 1, text.get_text()
        assert box.x1 <= page.x1 + 1, text.get_text()
        assert box.y0 >= page.y0 - 1, text.get_text()
        assert box.y1 <= page.y1 + 1, text.get_text()
        boxes.append((text.get_text(), box.padded(-1)))
    for at, (one, box) in enumerate(boxes):
        for other, second in boxes[at + 1 :]:
            assert not box.overlaps(second), (one, other)


def test_differences_are_best_less_last_seed_by_seed(trained: Results):
    by_method = {one.configuration.method: one for one in chosen_training(trained, choose(trained))}
    assert set(by_method) == {"standard", "sam", "at", "sam_at"}
    difference = by_method["standard"].difference
    assert difference is not None
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.02, 0.01, 0.03))
    best = by_method["standard"].best_epoch
    assert best is not None
    assert (best.mean, best.seeds) == (3.0, 3)


def test_the_finding_says_the_differences_with_their_ranges_and_claims_nothing(trained: Results):
    [finding] = training_findings(trained, choose(trained))
    assert finding.status == "bracketed"
    assert finding.text.startswith("Exploratory: ")
    assert "“standard” 2.0 pp (range 1.0 to 3.0, above 0 for every seed)" in finding.text
    assert "PGD-20, 1 restart, linf 0.1" in finding.text
    assert "4 chosen configurations × 3 seeds, 500 test images" in finding.text
    assert "1 more in the table" in finding.text
    assert "significant" not in finding.text
    assert from_plain(type(finding), to_plain(finding)) == finding


def test_without_histories_the_finding_is_a_refusal(digits: Results):
    [finding] = training_findings(digits, choose(digits))
    assert finding.status == "refused"
    assert finding.reason in finding.text
    assert finding.estimate is None


def test_one_seed_has_no_range(trained: Results):
    one = replace(trained, histories=tuple(h for h in trained.histories if h.seed == 0))
    [finding] = training_findings(one, choose(one))
    assert "“standard” 3.0 pp (one seed)" in finding.text
    assert "4 chosen configurations × 1 seed," in finding.text


def test_histories_survive_the_codec(trained: Results):
    assert from_plain(History, to_plain(trained.histories[0])) == trained.histories[0]
    assert from_plain(Importance, to_plain(trained.importances[0])) == trained.importances[0]


def test_the_training_table_has_a_row_for_each_chosen_configuration(trained: Results):
    table = training_table(trained, choose(trained))
    assert [row[0].text for row in table.rows] == ["standard", "sam", "at", "sam_at"]
    cells = [(cell.text, cell.below) for cell in table.rows[0][1:]]
    assert cells == [
        ("3", ""),
        ("3", "3–3"),
        ("90.0", "90.0–90.0"),
        ("92.0", "92.0–92.0"),
        ("50.0", "50.0–50.0"),
        ("48.0", "47.0–49.0"),
        ("2.0", "1.0 to 3.0"),
    ]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_importance_table_has_a_row_for_each_hyperparameter(trained: Results):
    table = importance_table(trained)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["sam_at", "ρ", "75.0", "12.5", "24"],
        ["sam_at", "ε", "25.0", "87.5", "24"],
    ]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_mean_curve_is_the_mean_over_seeds(trained: Results):
    other = tuple(
        replace(h, validation_robust=tuple(v + 0.03 * h.seed for v in h.validation_robust))
        for h in trained.histories
    )
    figure = fig_training(replace(trained, histories=other), choose(trained))
    robust = [line for line in figure.axes[0].lines if line.get_linewidth() == 1.8]
    assert len(robust) == 1
    np.testing.assert_allclose(robust[0].get_ydata(), [13, 23, 33, 23, 13])
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    np.testing.assert_allclose(sorted(marks[0].get_ydata()), [30, 33, 36])
    assert set(marks[0].get_xdata()) == {3}


def test_figures_keep_their_texts_apart_and_on_the_page(trained: Results):
    found = configurations(trained)
    for figure in (
        fig_training(trained, choose(trained)),
        fig_parallel(trained, choose(trained), found),
        fig_importance(trained),
    ):
        assert_inside(figure)


def test_one_epoch_and_lacking_checkpoints_can_be_drawn(trained: Results):
    bare = tuple(
        replace(history(trial, 1), best_epoch=None, test_best=None, test_last=None)
        for trial in trained.trials
    )
    results = replace(trained, histories=bare)
    figure = fig_training(results, choose(results))
    assert_inside(figure)
    assert any("not recorded" in text.get_text() for text in texts(figure))
    assert [cell.text for cell in training_table(results, choose(results)).rows[0][2:]] == ["–"] * 6
    assert training_findings(results, choose(results))[0].status == "refused"


def test_nothing_to_draw_is_said(digits: Results):
    empty = replace(digits, trials=(), absent=())
    for figure in (
        fig_training(digits, choose(digits)),
        fig_training(empty, choose(empty)),
        fig_importance(digits),
        fig_parallel(empty, choose(empty), ()),
    ):
        [text] = texts(figure)
        assert re.match(r"No .* (is|are) drawn: .*\.", text.get_text())
    assert training_table(digits, choose(digits)).rows == ()
    assert importance_table(digits).rows == ()


def test_searches_are_drawn_with_their_members_thick(trained: Results):
    found = configurations(trained)
    assert searched_methods(trained, found) == ("sam_at",)
    [axes] = fig_parallel(trained, choose(trained), found).axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(lines) == 6
    heights = np.array([line.get_ydata() for line in lines])
    assert heights.min() == 0
    assert heights.max() == 1
    assert {line.get_linewidth() for line in lines} == {0.9, 2.2}
    # The most robust one is drawn last and darkest.
    assert lines[-1].get_ydata()[-1] == 1
    assert lines[-1].get_alpha() == max(line.get_alpha() for line in lines)
    caption = parallel_caption(trained, found)
    assert "“sam_at”: 6 configurations" in caption
    assert "validation" in caption


def test_a_large_search_is_thinned_to_its_members_and_others(draw: Any):
    rng = np.random.default_rng(2)
    cells = [
        ("sam_at", {"rho": 10 ** rng.uniform(-2, 0), "loss": ("ce", "trades")[at % 2]}, 0.9, 0.5)
        for at in range(200)
    ]
    results = draw(cells, seeds=(0,), searched=("sam_at",), num_test=50)
    found = configurations(results)
    figure = fig_parallel(results, choose(results), found)
    assert_inside(figure)
    assert len([line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]) == MOST_LINES
    assert "120 lines are drawn, members first" in parallel_caption(results, found)
    assert len(svg(figure, "p", "t", "d")) < 100_000


def test_a_search_of_equal_accuracies_can_be_drawn(draw: Any):
    cells = [("sam_at", {"rho": 0.1 * at}, 1.0, 1.0) for at in range(1, 4)]
    results = draw(cells, seeds=(0,), searched=("sam_at",), noise=0.0, num_validation=0)
    figure = fig_parallel(results, choose(results), configurations(results))
    assert_inside(figure)
    assert "test images" in parallel_caption(results, configurations(results))


def test_bars_are_the_shares(trained: Results):
    [axes] = fig_importance(trained).axes
    assert [round(bar.get_width(), 6) for bar in axes.patches] == [75.0, 12.5, 25.0, 87.5]
    assert "whether or not anything matters" in importance_caption(trained)
    assert "“sam_at”: 24 configurations" in importance_caption(trained)


def test_the_caption_names_both_attacks(trained: Results):
    caption = training_caption(trained, choose(trained))
    assert "PGD-10, 1 restart, linf 0.1 (solid)" in caption
    assert "PGD-20, 1 restart, linf 0.1, means over seeds" in caption


def test_equal_results_give_equal_bytes(trained: Results):
    found = configurations(trained)
    for draw in (
        lambda r: fig_training(r, choose(r)),
        lambda r: fig_parallel(r, choose(r), found),
        fig_importance,
    ):
        assert svg(draw(trained), "k", "t", "d") == svg(draw(trained), "k", "t", "d")
