"""The live view and the plain lines, driven by the events that Ray Tune would send."""

import io
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from study.launch.progress import Progress, notebook_display
from study.plan.fronts import front_so_far
from study.plan.plan import make_plan
from study.search.searcher import MAX_LOSSES, StudySearcher
from study.spec import StudySpec

Read = Callable[..., StudySpec]


class Launch:
    """A searcher and the progress that watches it."""

    def __init__(self, spec: StudySpec, is_terminal: bool, display: Any = None) -> None:
        plan = make_plan(spec, "data", [])
        self.output = io.StringIO()
        console = Console(file=self.output, force_terminal=is_terminal, width=120)
        self.searcher = StudySearcher(spec, plan)
        self.progress = Progress(spec, plan, self.searcher, 2, console, display)

    def start(self, name: str) -> Any:
        self.searcher.suggest(name)
        trial = SimpleNamespace(trial_id=name)
        self.progress.on_trial_start(0, [], trial)
        return trial

    def report(self, trial: Any, **result: Any) -> None:
        times = {"training_seconds": 0.4, "validation_seconds": 0.1}
        result = {"done": False, "complete": False, **times, **result}
        self.progress.on_trial_result(0, [], trial, result)

    def finish(self, trial: Any, clean: float, robust: float, seconds: float = 0.0) -> None:
        result = {"complete": True, "objective_clean": clean, "objective_robust": robust}
        result |= {"seconds": seconds}
        self.searcher.on_trial_complete(trial.trial_id, {"done": True, **result})
        self.progress.on_trial_result(0, [], trial, {"done": True, **result})

    def view(self) -> str:
        console = Console(file=io.StringIO(), width=80)
        console.print(self.progress._view())
        return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_finished_trial_is_one_plain_line_without_a_terminal(read: Read) -> None:
    launch = Launch(read(), is_terminal=False)
    launch.finish(launch.start("one"), 0.987, 0.123)
    line = launch.output.getvalue()
    expected = "[ 1/12] standard seed=0: validation clean 98.7%, robust 12.3% (linf 0.1), 0.0 s\n"
    assert line == expected


def test_radius_is_printed_as_the_report_prints_it(read: Read) -> None:
    radii = "radii: [0.05, 0.1], objective_radius: 0.1"
    text = read.text.replace(radii, "radii: [8/255], objective_radius: 8/255")  # type: ignore[attr-defined]
    launch = Launch(read(text=text), is_terminal=False)
    launch.finish(launch.start("one"), 0.987, 0.123)
    assert "robust 12.3% (linf 8/255), 0.0 s\n" in launch.output.getvalue()
    launch.finish(launch.start("two"), 0.987, 0.123)
    assert "front so far (1 of 1), validation, linf 8/255" in launch.view()


def test_failure_is_a_line_with_its_reason_in_any_output(read: Read) -> None:
    for is_terminal in (False, True):
        launch = Launch(read(), is_terminal)
        trial = launch.start("one")
        failed = {"done": True, "complete": False, "failed": True, "reason": "ran out of [memory]"}
        launch.searcher.on_trial_complete("one", failed)
        launch.progress.on_trial_result(0, [], trial, failed)
        assert "standard seed=0: failed: ran out of [memory]" in launch.output.getvalue()


def test_lost_worker_is_said_and_its_cell_comes_back_into_view(read: Read) -> None:
    launch = Launch(read(), is_terminal=False)
    trial = launch.start("one")
    launch.searcher.on_trial_complete("one", error=True)
    launch.progress.on_trial_error(0, [], trial)
    assert "its worker was lost; the trial starts again" in launch.output.getvalue()
    launch.start("one again")
    assert "standard seed=0" in launch.view()


def test_view_shows_epochs_counts_and_time(read: Read) -> None:
    launch = Launch(read(), is_terminal=True)
    one, two = launch.start("one"), launch.start("two")
    text = launch.view()
    assert "0 of 12 trials done · 2 running · 0 failed" in text
    assert "time left not known yet" in text
    assert text.count("starting") == 2
    launch.report(one, epoch=2, validation_clean=0.5, validation_robust=0.25)
    launch.report(two, epoch=3, validation_clean=0.6, validation_robust=0.3)
    text = launch.view()
    assert "2 of 3" in text
    assert "evaluating" in text
    assert "50.0%" in text
    assert "25.0%" in text


def test_view_fits_80_columns_and_keeps_the_trials_that_finished_last(read: Read) -> None:
    launch = Launch(read(), is_terminal=True)
    for number in range(6):
        launch.finish(launch.start(f"trial{number}"), 0.9, 0.1, seconds=float(number))
    running = launch.start("last")
    launch.report(running, epoch=2, validation_clean=1.0, validation_robust=0.25)
    text = launch.view()
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "6 of 12 trials done · 1 running · 0 failed" in lines[0]
    assert "elapsed · about" in lines[2]
    [latest] = [line for line in lines if "5.0 s" in line]
    assert latest.split()[-2:] == ["90.0%", "10.0%"]
    assert lines.index(latest) - 1 == next(n for n, li in enumerate(lines) if "finished last" in li)
    assert "1.0 s" not in text


def test_many_running_trials_are_counted_below_the_first(read: Read) -> None:
    launch = Launch(read(), is_terminal=True)
    for number in range(12):
        launch.start(f"trial{number}")
    assert "and 2 more" in launch.view()


def test_front_holds_the_nondominated_with_every_seed_in(read: Read) -> None:
    launch = Launch(read(), is_terminal=True)
    found = [(0.9, 0.1), (0.9, 0.1), (0.8, 0.3), (0.8, 0.3), (0.7, 0.2), (0.7, 0.2)]
    for number, (clean, robust) in enumerate(found):
        launch.finish(launch.start(f"trial{number}"), clean, robust)
        if number == 0:
            assert "front so far" not in launch.view()
    text = launch.view()
    assert "front so far (2 of 3)" in text
    shown = text[text.index("front so far") :]
    assert "standard" in shown
    assert "sam rho=0.1" in shown
    assert "sam rho=0.2" not in shown


def test_front_kept_from_trial_to_trial_is_that_of_all(read: Read) -> None:
    rho = ", ".join(f"{place / 100}" for place in range(1, 41))
    spec = read(text=read.text.replace("[0.1, 0.2]", f"[{rho}]"))  # type: ignore[attr-defined]
    for seed in range(5):
        chance = random.Random(seed)
        launch = Launch(spec, is_terminal=False)
        ends: dict[Any, list[tuple[float, float]]] = {}
        for number in range(2 * 41):  # every cell of the grid, in any order but for the seeds
            trial = launch.start(str(number))
            configuration = launch.searcher.trial_cells[trial.trial_id].configuration
            clean, robust = chance.choice((0.1, 0.3, 0.5)), chance.choice((0.2, 0.3, 0.4))
            ends.setdefault(configuration, []).append((clean, robust))
            launch.finish(trial, clean, robust)
        rows, num_known = front_so_far(ends)
        assert launch.progress._num_known == num_known == 41
        assert sorted(launch.progress._front, key=str) == sorted(rows, key=str), f"seed {seed}"


def test_cell_left_after_many_losses_is_said_even_if_its_trial_never_began(read: Read) -> None:
    launch = Launch(read(), is_terminal=False)
    for _ in range(MAX_LOSSES):
        launch.searcher.suggest("one")
        launch.searcher.on_trial_complete("one", error=True)
        launch.progress.on_trial_error(0, [], SimpleNamespace(trial_id="one"))
    *again, last = launch.output.getvalue().splitlines()
    assert len(again) == MAX_LOSSES - 1
    assert set(again) == {"standard seed=0: its worker was lost; the trial starts again"}
    assert last.startswith("[ 0/12] standard seed=0: its worker was lost 5 times after epoch 0; if")
    assert "0 running · 1 failed" in launch.view()


class Output:
    """An output of a notebook, as IPython's `display` makes and updates it."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, view: Any, *, display_id: bool) -> "Output":
        assert display_id
        self.update(view)
        return self

    def update(self, view: Any) -> None:
        self.shown.append(view._repr_html_())


def test_notebook_has_one_output_that_is_updated_and_only_trouble_is_printed(read: Read) -> None:
    output = Output()
    launch = Launch(read(), is_terminal=False, display=output)
    with launch.progress:
        launch.finish(launch.start("one"), 0.9, 0.1)
        launch.progress.on_step_end(1, [])
        launch.progress.on_step_end(2, [])  # too early for another
        assert launch.output.getvalue() == ""
        failed = {"done": True, "complete": False, "failed": True, "reason": "no memory"}
        trial = launch.start("two")
        launch.searcher.on_trial_complete("two", failed)
        launch.progress.on_trial_result(3, [], trial, failed)
    assert len(output.shown) == 3
    assert "0 of 12 trials done" in output.shown[0]
    assert "1 of 12 trials done" in output.shown[-1]
    assert "failed: no memory" in launch.output.getvalue()
    assert all(text.startswith("<pre") for text in output.shown)


def test_outside_of_a_notebook_nothing_is_displayed() -> None:
    assert notebook_display() is None
