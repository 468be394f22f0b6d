"""A study as Python and notebooks handle it: `study.open`, `study.from_dict`, `study.load`.

Each method does what the command of its name does, with the same functions. What they need is
imported where they are called: MLflow, Ray, torch and matplotlib take seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.spec import SpecError, StudySpec, Value, choose_study, read_declared, read_studies

if TYPE_CHECKING:
    from torch import nn

    from analysis import Analysis, Results
    from study.launch.launch import Outcome
    from study.plan.plan import Plan
    from study.report.report import Report

STUDIES_FILE = "studies.yaml"


class UnconfirmedError(RuntimeError):
    """A launch that is large, and was not confirmed."""


def open_study(
    name: str | Mapping[str, Any] | None = None,
    *,
    file: str | Path | None = None,
    folder: str | Path = ".",
) -> "Study":
    """Open a study of a studies file: `study.open("digits")`.

    `name` may be left out if the file has one study. `file` is `studies.yaml` in `folder`, if not
    given. Its folder holds the records. A mapping is read by `from_dict`. Raises `SpecError`.
    """
    if isinstance(name, Mapping):
        if file is not None:
            raise SpecError(
                f"{file}: is not read where a study is given as a mapping; leave it out"
            )
        return from_dict(name, folder=folder)
    path = Path(folder) / STUDIES_FILE if file is None else Path(file)
    spec = choose_study(read_studies(path), name, str(path))
    return Study(spec=spec, project=path.resolve().parent)


def from_dict(
    declared: Mapping[str, Any], name: str | None = None, *, folder: str | Path = "."
) -> "Study":
    """Open a study that is declared in Python, as a studies file would declare it.

    `declared` is either the content of a studies file, `{"mine": {...}}`, of which `name` chooses a
    study, or one study, which then needs a `name`. Lists are grids, `{"low": 0.1, "high": 0.4}` is
    a range. `folder` holds the records, below `runs`, and is where relative paths start. Raises
    `SpecError` with a line for each mistake.
    """
    if not isinstance(declared, Mapping):
        got = type(declared).__name__
        raise SpecError(f"must be a mapping of studies, got {got}; write {{'mine': {{...}}}}")
    project = Path(folder).resolve()
    is_study = "methods" in declared and not isinstance(declared.get(name or ""), Mapping)
    if is_study and name is None:
        raise SpecError("a study needs a name; write study.from_dict({...}, name='mine')")
    studies = read_declared({str(name): declared} if is_study else declared, project)
    return Study(spec=choose_study(studies, name, "the mapping"), project=project)


def load(run: str, *, checkpoint: str | None = None, folder: str | Path = ".") -> "nn.Module":
    """Load the network of a trial by the id of its run in MLflow, as `Study.load` does.

    `folder` is that of the project, or any if MLFLOW_TRACKING_URI is set. `checkpoint` is best, if
    the run has it, or last. Raises `LoadError`.
    """
    from study.notebook.networks import load_run  # torch: only here

    return load_run(run, checkpoint, Path(folder).resolve())


@dataclass(frozen=True, kw_only=True, repr=False)
class Study:
    """A study and the folder that holds its records."""

    spec: StudySpec
    project: Path

    def plan(self) -> "Plan":
        """Compute what is done and what a launch would run, as `study plan` does."""
        from study.launch.launch import current_plan  # NumPy: only here

        return current_plan(self.spec, self.project)

    def launch(self, *, yes: bool = False) -> "Outcome":
        """Run the trials that are missing, as `study launch` does.

        A launch of more than 1,000 trials, or of more than a day, needs `yes`. Interrupted, as by
        a notebook's stop button, it ends in order, keeps what is finished, and raises
        `KeyboardInterrupt`, so that no later cell of the notebook runs.
        """
        # NumPy: only here.
        from study.launch import cluster
        from study.launch import launch as launching
        from study.launch.interrupts import Interrupted
        from study.summary import large_launch, print_outcome, print_plan

        num_slots = None if cluster.is_joined() else cluster.local_slots(self.spec)
        large = "" if yes else large_launch(self.spec, self.plan(), num_slots)
        if large:
            raise UnconfirmedError(f"{self.spec.name}: {large}: confirm it with launch(yes=True)")
        announce = partial(print_plan, self.spec, num_slots=num_slots)
        try:
            outcome = launching.launch(self.spec, self.project, announce)
        except Interrupted as stop:
            raise KeyboardInterrupt(f"{stop}; what is finished is kept; launch again") from None
        print_outcome(self.spec, outcome)
        if outcome.stopped_by is not None:
            raise KeyboardInterrupt("what is finished is kept; launch again to continue")
        return outcome

    def results(self) -> "Results":
        """Read the results of all trials that are done, and which cells have none."""
        from study.report.report import read_results  # NumPy: only here

        return read_results(self.spec, self.project)

    def analysis(self) -> "Analysis":
        """Compute everything that the report shows."""
        from analysis import analyse  # scipy: only here

        return analyse(self.results())

    def report(self, *, replace: bool = False) -> "Report":
        """Write the report to `reports/NAME`, as `study report` does, with `--replace` if asked."""
        from study.report.report import report_studies  # NumPy: only here

        return report_studies([self.spec], self.project, is_forced=replace)

    def load(
        self, method: str, *, seed: int, checkpoint: str | None = None, **values: Value
    ) -> "nn.Module":
        """Load a trained network: `load("sam", rho=0.6, seed=0)`.

        It takes images in [0, 1], of shape (B, C, H, W), and returns logits. It is in evaluation
        mode, in float32 and on the CPU, and its weights need no gradient. Values have their short
        names and may be left out where the method has no other; four digits are enough.
        `checkpoint` is best or last, if not given that of the study. Raises `LoadError`.
        """
        from study.notebook.networks import load_trial  # torch: only here

        return load_trial(self.spec, self.project, method, values, seed, checkpoint)

    def __repr__(self) -> str:
        """Return the study's name, its folder and its methods."""
        return f"<study {self.spec.name} in {self.project}: {', '.join(self.spec.methods)}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the methods and their settings."""
        from study.notebook.pages import study_page  # NumPy: only here

        return study_page(self.spec, self.project)
