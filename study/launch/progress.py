"""What a person sees while a study runs: live in a terminal or notebook, else plain lines."""

import io
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ray import tune
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.launch.callbacks import RayTrial
from study.plan import naming
from study.plan.cost import cost_share
from study.plan.fronts import Objectives, front_so_far
from study.plan.plan import Plan, mean_objectives
from study.plan.space import Cell, Configuration
from study.plan.stops import is_adaptive, is_judge
from study.plan.times import TimeLeft
from study.search.searcher import StudySearcher
from study.spec import StudySpec

REFRESH_SECONDS = 0.5
MAX_RUNNING_ROWS = 10
MAX_ENDED_ROWS = 4
MAX_FRONT_ROWS = 8
"""Of a longer front the live view shows the rows of highest clean accuracy, to fit a screen."""

Display = Callable[..., Any]
"""IPython's `display`, which with `display_id=True` returns a handle to update the output by."""


def notebook_display() -> Display | None:
    """Return what shows an object in the notebook that this process serves; None outside of one."""
    interactive: Any = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    return getattr(shell, "kernel", None) and interactive.display.display


class Shown:
    """A view that a notebook shows as preformatted text with colours."""

    def __init__(self, view: RenderableType) -> None:
        self._console = Console(file=io.StringIO(), record=True, width=110, force_jupyter=False)
        self._console.print(view)

    def _repr_html_(self) -> str:
        """Return the view as HTML, all texts escaped."""
        text = self._console.export_html(clear=False, inline_styles=True, code_format="{code}")
        return f'<pre style="line-height:1.2;white-space:pre">{text}</pre>'


class Progress(tune.Callback):  # type: ignore[misc]
    """Show the trials that are done, running and failed, and the front so far."""

    def __init__(
        self,
        spec: StudySpec,
        plan: Plan,
        searcher: StudySearcher,
        num_slots: int,
        console: Console | None = None,
        display: Display | None = None,
    ) -> None:
        self._spec = spec
        self._display = display or (notebook_display() if console is None else None)
        self._handle: Any = None
        evaluation = spec.evaluation
        self._threat = naming.threat_name(evaluation.norm, evaluation.objective_radius)
        self._searcher = searcher
        self._console = console or Console()
        self._total = plan.num_open
        self._foreseen = {planned.cell.key for planned in plan.open_cells}
        self._done = 0
        self._num_changes = 0
        self._started = time.monotonic()
        self._refreshed = 0.0
        # The last result and the cell of each running trial, by Ray's trial id.
        self._latest: dict[str, dict[str, Any]] = {}
        self._cells: dict[str, Cell] = {}
        self._ended: deque[tuple[Cell, Objectives, float]] = deque(maxlen=MAX_ENDED_ROWS)
        self._time = TimeLeft(spec, plan, num_slots)
        self._objectives: dict[Configuration, dict[int, Objectives | None]] = {}
        for planned in plan.cells:
            known = planned.record.objectives if planned.record else None
            self._note(planned.cell, known)
        self._front, self._num_known = front_so_far(
            {configuration: seeds.values() for configuration, seeds in self._objectives.items()}
        )
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stderr=False
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle: nobody restores the experiment state that Ray saves."""
        return {}

    def __enter__(self) -> "Progress":
        """Start the live view, if there is a terminal or a notebook."""
        if self._display is not None:
            self._handle = self._display(Shown(self._view()), display_id=True)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the live view; later lines are printed below it. A notebook keeps the last one."""
        if self._handle is not None:
            self._handle.update(Shown(self._view()))
        if self._console.is_terminal:
            self._live.stop()

    def on_trial_start(
        self, iteration: int, trials: list[Any], trial: RayTrial, **info: Any
    ) -> None:
        """Record a trial's cell, before the searcher drops it."""
        cell = self._searcher.trial_cells[trial.trial_id]
        self._cells[trial.trial_id] = cell
        is_raced = is_adaptive(self._spec) and not is_judge(self._spec, cell)
        if is_raced and cell.key not in self._foreseen:
            self._foreseen.add(cell.key)
            self._time.add(cell)
            self._total += 1
        self._num_changes += 1

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Record an epoch, or print how a trial ended."""
        self._latest[trial.trial_id] = result
        cell = self._cells[trial.trial_id]
        if not result["done"]:
            epoch, epochs = result["epoch"], cell.config.training.epochs
            done = cost_share(cell.config, epoch) - cost_share(cell.config, epoch - 1)
            # As long as a mean epoch, where epochs differ in steps.
            training = result["training_seconds"] / (done * epochs)
            self._time.note(cell, training, result["validation_seconds"])
            return
        if result["complete"]:
            seconds = result["seconds"]
            self._time.end(cell, seconds or None)
            self._done += 1
            objectives = (result["objective_clean"], result["objective_robust"])
            self._note(cell, objectives)
            self._ended.appendleft((cell, objectives, seconds))
            self._extend_front(cell.configuration)
            found = f"{self._accuracies(*objectives)}, {seconds:.1f} s"
            self._say(f"{self._count()} {self._name(cell)}: {found}")
        elif trial.trial_id in self._searcher.stopped:
            self._note_stop(cell, result)
        else:
            self._time.end(cell, None)
            self._say(
                f"{self._count()} {self._name(cell)}: failed: {result.get('reason', '')}", True
            )
        self._forget(trial.trial_id)

    def _note_stop(self, cell: Cell, result: dict[str, Any]) -> None:
        """Print that a rung stopped a trial; the seeds that waited for it are not run."""
        for dropped in (cell, *self._searcher.waiting_for(cell)):
            self._time.end(dropped, None)
            self._total -= 1
        found = self._accuracies(result["validation_clean"], result["validation_robust"])
        epochs = f"epoch {result['epoch']} of {cell.config.training.epochs}"
        self._say(f"{self._count()} {self._name(cell)}: stopped at {epochs}: {found}")

    def on_trial_error(
        self, iteration: int, trials: list[Any], trial: RayTrial, **info: Any
    ) -> None:
        """Print that a worker was lost, perhaps before its trial began."""
        cell, failures = self._searcher.last_lost, self._searcher.failures
        assert cell is not None
        is_left = bool(failures) and failures[-1][0] == cell
        if is_left:
            self._say(f"{self._count()} {self._name(cell)}: {failures[-1][1]}", True)
            self._time.end(cell, None)
        else:
            self._say(f"{self._name(cell)}: its worker was lost; the trial starts again", True)
        self._forget(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Redraw the live view from time to time."""
        now = time.monotonic()
        is_live = self._console.is_terminal or self._handle is not None
        if not is_live or now - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = now
        if self._handle is not None:
            self._handle.update(Shown(self._view()))
        if self._console.is_terminal:
            self._live.update(self._view(), refresh=True)

    def count_changes(self) -> int:
        """Count the trials that began or ended so far."""
        return self._num_changes

    def _forget(self, trial_id: str) -> None:
        for kept in (self._latest, self._cells):
            kept.pop(trial_id, None)
        self._num_changes += 1

    def _note(self, cell: Cell, objectives: Objectives | None) -> None:
        # The cells of a grid are all noted at once, those of a suggestion one by one.
        known = self._spec.seeds if cell.configuration.block else ()
        seeds = self._objectives.setdefault(cell.configuration, dict.fromkeys(known, None))
        seeds[cell.seed] = objectives

    def _extend_front(self, configuration: Configuration) -> None:
        """Compare a complete configuration with the front's members: dominated ones stay so."""
        mean = mean_objectives(self._objectives[configuration].values())
        if mean is not None:
            self._num_known += 1
            self._front, _ = front_so_far(
                {member: [point] for member, point in (*self._front, (configuration, mean))}
            )

    def _say(self, line: str, is_trouble: bool = False) -> None:
        """Print a line that stays; beside a live view, only if it is about trouble."""
        if is_trouble or not (self._console.is_terminal or self._display is not None):
            style = "yellow" if is_trouble else None
            self._console.print(Text(line), style=style, soft_wrap=True)

    def _count(self) -> str:
        width = len(str(self._total))
        return f"[{self._done:>{width}}/{self._total}]"

    def _name(self, cell: Cell) -> str:
        return naming.cell_name(self._spec, cell)

    def _accuracies(self, clean: float, robust: float) -> str:
        return f"validation clean {clean:.1%}, robust {robust:.1%} ({self._threat})"

    def _view(self) -> RenderableType:
        """Draw the whole live view, in lines of at most 80 columns."""
        failed = len(self._searcher.failures)
        head = Text(
            f"{self._spec.name}  {self._done} of {self._total} trials done · "
            f"{len(self._cells)} running · {failed} failed",
            no_wrap=True,
            overflow="ellipsis",
        )
        # A bar alone ends no line.
        bar = Padding(ProgressBar(total=max(1, self._total), completed=self._done + failed), 0)
        elapsed = time.monotonic() - self._started
        times = Text(f"{_clock(elapsed)} elapsed · {self._time_left()}")
        parts = [head, bar, times, self._running_table(), self._ended_table(), self._front_table()]
        return Group(*(part for part in parts if part is not None))

    def _running_table(self) -> Table | None:
        if not self._cells:
            return None if self._done else _table("waiting for Ray's first worker …", "")
        is_starting = self._done == 0 and not self._latest
        heading = "running (the workers import torch first)" if is_starting else "running"
        table = _table(heading, "epoch")
        for trial_id, cell in list(self._cells.items())[:MAX_RUNNING_ROWS]:
            latest = self._latest.get(trial_id)
            epochs = cell.config.training.epochs
            if latest is None:
                table.add_row(self._name(cell), "starting", "", "")
                continue
            done = latest["epoch"]
            shown = "evaluating" if done == epochs else f"{done} of {epochs}"
            clean, robust = latest["validation_clean"], latest["validation_robust"]
            table.add_row(self._name(cell), shown, f"{clean:.1%}", f"{robust:.1%}")
        more = len(self._cells) - MAX_RUNNING_ROWS
        if more > 0:
            table.add_row(f"and {more} more", "", "", "")
        return table

    def _ended_table(self) -> Table | None:
        """Draw the trials that finished last, the latest first."""
        if not self._ended:
            return None
        table = _table("finished last", "took")
        for cell, (clean, robust), seconds in self._ended:
            table.add_row(self._name(cell), f"{seconds:.1f} s", f"{clean:.1%}", f"{robust:.1%}")
        return table

    def _front_table(self) -> Table | None:
        """Draw the nondominated configurations among those with every seed done."""
        rows = self._front
        if not rows:
            return None
        known = f"{len(rows)} of {self._num_known}"
        table = _table(f"front so far ({known}), validation, {self._threat}", "")
        for configuration, (clean, robust) in rows[-MAX_FRONT_ROWS:]:
            name = naming.configuration_name(self._spec, configuration)
            table.add_row(name, "", f"{clean:.1%}", f"{robust:.1%}")
        return table

    def _time_left(self) -> str:
        """Format the time left, by what trials of the same kind took."""
        running = [
            (cell, cost_share(cell.config, self._latest.get(trial, {}).get("epoch", 0)))
            for trial, cell in self._cells.items()
        ]
        seconds = self._time.left(running)
        return "time left not known yet" if seconds is None else f"about {_clock(seconds)} left"


def _table(heading: str, second: str) -> Table:
    """Return an empty table; below each other, the columns of such tables have the same places."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(heading, header_style="dim", width=46, no_wrap=True, overflow="ellipsis")
    table.add_column(second, header_style="dim", width=10, no_wrap=True)
    for title in ("clean", "robust"):
        table.add_column(title, header_style="dim", width=6, justify="right")
    return table


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
