"""Figures and tables of responses, for whole studies and for odd ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.canvas import svg
from analysis.figures.responses import fig_equivalence, fig_heat, fig_margins, fig_response
from analysis.fronts.choice import choose
from analysis.inference.bootstrap import draw_replicates
from analysis.responses.equivalence import Equivalence, measure_equivalences
from analysis.responses.margins import Margin, measure_margins
from analysis.responses.strength import HeatMap, Response, measure_heat_maps, measure_responses
from analysis.results.configurations import configurations
from analysis.results.results import Results

Draw = Callable[..., Results]
SIDES = {"standard": "none", "sam": "sam", "at": "pgd", "both": "sam + pgd"}


@dataclass(frozen=True)
class Measured:
    results: Results
    responses: tuple[Response, ...]
    heats: tuple[HeatMap, ...]
    margins: tuple[Margin, ...]
    equivalences: tuple[Equivalence, ...]

    def figures(self) -> Iterator[Figure]:
        yield from (fig_response(self.results, response) for response in self.responses)
        yield from (fig_heat(self.results, heat) for heat in self.heats)
        yield fig_margins(self.results, self.margins)
        yield from (fig_equivalence(self.results, one) for one in self.equivalences)


def measure(results: Results, count: int = 100) -> Measured:
    found = configurations(results)
    drawn = draw_replicates(results, found, count=count)
    where = results, found, drawn, results.threat.objective_radius, drawn.default
    return Measured(
        results=replace(results, trials=tuple(replace(t, bits=None) for t in results.trials)),
        responses=measure_responses(*where),
        heats=measure_heat_maps(*where),
        margins=measure_margins(results, found, choose(results), drawn, drawn.default),
        equivalences=measure_equivalences(*where),
    )


def overflows(figure: Figure) -> list[str]:
    """List the texts that leave the figure, or that touch another text of the figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.canvas.draw()
    frame = figure.bbox
    boxes = []
    for axes in figure.axes:
        ticks = [
            tick.label1 if tick.label1.get_visible() else tick.label2
            for axis in (axes.xaxis, axes.yaxis)
            for tick in axis.get_major_ticks()
            if min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        ]
        for text in (*ticks, *axes.texts, axes.xaxis.label, axes.yaxis.label):
            if text.get_text():
                boxes.append((text.get_text(), text.get_window_extent(renderer)))
    odd = [
        text
        for text, box in boxes
        if box.x0 < frame.x0 or box.y0 < frame.y0 or box.x1 > frame.x1 or box.y1 > frame.y1
    ]
    for at, (text, box) in enumerate(boxes):
        odd += [f"{text} on {other}" for other, b in boxes[at + 1 :] if box.overlaps(b)]
    return odd


STUDIES = {
    "grid": [
        ("both", {"rho": rho, "epsilon": epsilon}, 0.95 - epsilon, 0.3 + 0.5 * rho + epsilon)
        for rho in (0.05, 0.1, 0.2, 0.4)
        for epsilon in (0.0, 0.04, 0.08, 0.16, 0.2)
    ],
    "fixed rho": [
        ("sam", {}, 0.95, 0.4),
        *(("at", {"epsilon": e}, 0.95 - e, 0.3 + 3 * e) for e in (0.02, 0.04, 0.08)),
    ],
    "close strengths": [
        ("at", {"epsilon": 0.1 + 0.001 * n}, 0.9, 0.5 + 0.01 * n) for n in range(12)
    ],
    "nothing robust": [
        ("standard", {}, 0.95, 0.0),
        *(("sam", {"rho": rho}, 0.95, 0.0) for rho in (0.1, 0.2)),
        *(("at", {"epsilon": e}, 0.95, 0.0) for e in (0.1, 0.2)),
    ],
    "one": [("at", {"epsilon": 0.1}, 0.9, 0.5)],
}


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_figures_of_odd_studies_are_drawn_without_overlaps(
    draw: Draw, name: str, seeds: tuple[int, ...]
) -> None:
    measured = measure(draw(STUDIES[name], seeds=seeds, sides=SIDES, num_test=200))
    for figure in measured.figures():
        assert overflows(figure) == []


def test_figures_of_the_digits_are_the_same_bytes_each_time(digits: Results) -> None:
    measured = measure(digits)
    first = [svg(figure, "x", "title", "text") for figure in measured.figures()]
    assert len(first) == 5
    assert first == [svg(figure, "x", "title", "text") for figure in measured.figures()]
    assert all(overflows(figure) == [] for figure in measured.figures())
    assert all("nan" not in text.lower() for text in first)


def test_no_trials_leave_an_empty_panel(digits: Results) -> None:
    measured = measure(replace(digits, trials=()))
    assert len(list(measured.figures())) == 1


def test_a_response_draws_every_interval_in_percent(digits: Results) -> None:
    measured = measure(digits)
    axes = fig_response(measured.results, measured.responses[1]).axes[0]
    heights = {round(float(line.get_ydata()[0]), 6) for line in axes.lines if line.get_marker()}
    for value in measured.responses[1].robust:
        assert round(100 * value.estimate, 6) in heights
