"""The command `study`: parse, call, print.

Only typer is imported at the top. MLflow, ray and torch take seconds to import, and even NumPy
doubles the time of `study --help`, so each command imports what it needs.
"""

import codecs
import os
import sys
from collections.abc import Callable
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from study.launch.launch import Outcome
    from study.plan.plan import Plan
    from study.spec import StudySpec

T = TypeVar("T")


class Commands(TyperGroup):
    """The commands, which suggest an option for a misspelled one."""

    def invoke(self, context: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(context)
        except Exception as error:
            near = getattr(error, "possibilities", None)
            if near:  # an option that does not exist
                error.message += f"; did you mean {near[0]}?"  # type: ignore[attr-defined]
                error.possibilities = None  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    name="study",
    cls=Commands,
    context_settings={"token_normalize_func": str.lower},
    help="Studies of SAM (weight radius ρ) and adversarial training (input radius ε): declared in "
    "studies.yaml, scheduled by Ray Tune, searched by Optuna, recorded in MLflow.\n\n"
    "Exit codes: 0 done; 1 the work failed, or a part of it; 2 refused before it began, for a "
    "mistake in the command or the file, or as something that it needs is missing; 130 stopped by "
    "Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

StudyName = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="A study; may be left out if the file has only one."),
]
StudyNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Studies; may be left out if the file has only one."),
]
StudiesFile = Annotated[Path, typer.Option("--file", help="The studies file.")]
DEFAULT_FILE = Path("studies.yaml")
EXAMPLE = """\
first:
  about: Does SAM make small networks more robust?
  data: {name: digits}
  model: {name: small_cnn, width: 8}
  training: {epochs: 5, batch_size: 64, learning_rate: 0.1, momentum: 0.9,
             weight_decay: 5e-4, schedule: cosine}
  seeds: [0, 1]
  methods:
    standard: {}
    sam: {weights: {sam: {rho: [0.1, 0.2]}}}
    at: {inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 3}}}
  evaluation: {norm: linf, radii: [0.05, 0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 10, restarts: 1}}}
"""
"""A small studies file, which `study check --help` shows."""
PLAIN_TEXT = {
    "ρ": "rho",
    "ε": "epsilon",
    "·": ".",
    "–": "-",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
    "±": "+-",
}
"""What replaces the special characters of our messages where the terminal's encoding lacks them."""


def _print_version(is_wanted: bool) -> None:
    """Print the version and exit, if it is asked for."""
    if is_wanted:
        from importlib.metadata import version  # here, so that the commands are quick

        print(f"rhoeps {version('rhoeps')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    file: StudiesFile = DEFAULT_FILE,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Read the options before the command; a file that stands there is the command's default."""
    assert isinstance(context.command, Commands)
    context.default_map = {name: {"file": str(file)} for name in context.command.commands}


@app.command("list")
def list_studies(file: StudiesFile = DEFAULT_FILE) -> None:
    """List the studies in the file, one line each.

    Example: study list
    """
    from study.plan import space  # here, so that --help is quick

    studies = _read(file)
    width = max(len(name) for name in studies)
    for name, spec in studies.items():
        cells = len(space.grid_configurations(spec)) * len(spec.seeds)
        cells += sum(len(seeds) for _, seeds in space.more_trials(spec))
        blocks = len(space.search_blocks(spec, ""))
        searched = blocks * spec.search.trials * len(spec.seeds) if spec.search else 0
        trials = f"{cells + searched} trials" + (f" ({searched} searched)" if searched else "")
        print(f"{name:<{width}}  {trials}  {spec.about}".rstrip())


@app.command(epilog=f"A small studies.yaml:\n\n\b\n{EXAMPLE}")
def check(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A study in the studies file; all if left out."),
    ] = None,
    file: StudiesFile = DEFAULT_FILE,
) -> None:
    """Check the file, its data and this machine.

    Every cell of the studies is built, and all mistakes are printed at once. What only this machine
    lacks is a warning.

    Example: study check digits
    """
    studies = _read(file)
    chosen = studies if name is None else {name: _choose(studies, name, file)}

    def foresee() -> None:
        # NumPy: here, so that --help is quick.
        from study import precheck

        machine = precheck.this_machine(chosen.values(), file.resolve().parent)
        found = precheck.foresee(chosen.values(), file, machine)
        for warning in found.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        if found.mistakes:
            _leave("\n".join(found.mistakes))

    _guarded(foresee)
    following = f"study plan {next(iter(chosen))}{_file_option(file)}"
    print(f"{file}: {', '.join(chosen)}: no mistakes; next: {following}")


@app.command()
def plan(name: StudyName = None, file: StudiesFile = DEFAULT_FILE) -> None:
    """Show what a launch would run, and how long.

    Nothing is started.

    Example: study plan digits
    """
    spec = _choose(_read(file), name, file)

    def show() -> None:
        # Here, so that --help is quick.
        from study.launch.launch import plan_of, project_folder
        from study.summary import print_plan

        found, current = plan_of(spec, project_folder(file))
        print_plan(found, current, _num_slots(found))
        print(f"next: {_next_command(found, current, file)}")

    _guarded(show)


@app.command()
def launch(
    name: StudyName = None,
    file: StudiesFile = DEFAULT_FILE,
    yes: Annotated[bool, typer.Option("--yes", help="Launch without asking first.")] = False,
) -> None:
    """Run the trials that are missing.

    Run the same command again to resume, or to extend a study that was edited. A launch of more
    than 1,000 trials, or of more than a day by the estimate of study plan, asks first.

    Example: study launch digits
    """
    spec = _choose(_read(file), name, file)

    def run() -> int:
        # Here, so that --help is quick.
        from study.launch import launch as launching
        from study.summary import ask, print_outcome, print_plan

        project = launching.project_folder(file)
        found, current = launching.plan_of(spec, project)

        def announce(planned: "Plan") -> None:
            print_plan(found, planned, _num_slots(spec))
            sys.stdout.flush()

        # Asked before the launch takes its locks, so that no other one waits for the answer.
        refusal = "" if yes else ask(found, current, _num_slots(spec))
        if refusal:
            _leave(refusal)
        outcome = launching.launch(found, project, announce)
        print_outcome(found, outcome)
        print(f"next: {_after_launch(found, outcome, file)}")
        return outcome.exit_code

    raise typer.Exit(_guarded(run))


@app.command()
def status(name: StudyName = None, file: StudiesFile = DEFAULT_FILE) -> None:
    """Show where a study stands, from its records.

    This works while the study runs, and later.

    Example: study status digits
    """
    spec = _choose(_read(file), name, file)

    def show() -> None:
        # Here, so that --help is quick.
        from study.launch.launch import plan_of, project_folder
        from study.summary import print_status

        found, current = plan_of(spec, project_folder(file))
        print_status(found, current)
        print(f"next: {_next_command(found, current, file)}")

    _guarded(show)


@app.command()
def evaluate(name: StudyName = None, file: StudiesFile = DEFAULT_FILE) -> None:
    """Attack the networks on the fronts.

    AutoAttack at every radius, then the diagnosis. The networks are those of each method's
    nondominated configurations with all seeds done. The number of test images is
    autoattack.samples. Run the same command again to resume.

    Example: study evaluate digits
    """
    _verify(name, file, "evaluate")


@app.command()
def diagnose(name: StudyName = None, file: StudiesFile = DEFAULT_FILE) -> None:
    """Check these networks for masked gradients.

    The networks are those of study evaluate; their checklist is printed. A check that warns or
    fails is a finding, not an error of the command. Run the same command again to resume.

    Example: study diagnose digits
    """
    _verify(name, file, "diagnose")


@app.command()
def report(
    names: StudyNames = None,
    file: StudiesFile = DEFAULT_FILE,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace the report even if it holds more trials."),
    ] = False,
) -> None:
    """Write the report to reports/NAME.

    It is also logged on the study's parent run in MLflow.

    With several names the studies are compared in reports/A+B, which is logged on the parent run of
    each. If the report that is already there holds more trials, it is kept, and the new one is
    written to reports/NAME@fewer.

    Example: study report digits
    """
    studies = _read(file)
    wanted: list[str | None] = [*names] if names else [None]
    specs = [_choose(studies, name, file) for name in wanted]

    def write() -> int:
        # NumPy, MLflow and matplotlib take seconds to import.
        from analysis.results.trials import ResultsError
        from study.launch.launch import project_folder
        from study.report.report import report_studies

        try:
            report = report_studies(specs, project_folder(file), is_forced=replace)
        except ResultsError as error:
            _leave(str(error))
        for name in report.without_results:
            print(
                f"{name}: no trial has a result yet; to see why, run: "
                f"study plan {name}{_file_option(file)}"
            )
        if report.kept:
            print(report.kept)
        if report.address:
            print(f"in MLflow (study ui): {report.address}")
        print(f"open: {os.path.relpath(report.page)}")
        return int(len(report.without_results) == len(specs))

    raise typer.Exit(_guarded(write))


@app.command()
def ui(
    file: StudiesFile = DEFAULT_FILE,
    port: Annotated[
        int,
        typer.Option(
            min=1, max=65535, help="The first port to try; only this machine can connect."
        ),
    ] = 5000,
) -> None:
    """Start the MLflow UI; Ctrl-C stops it.

    It shows the runs of the file's studies.

    Example: study ui
    """
    studies = _read(file)

    def serve() -> int:
        # Here, so that --help is quick.
        from study.launch.launch import project_folder
        from study.ui import serve_ui

        return serve_ui(project_folder(file), tuple(studies), port)

    raise typer.Exit(_guarded(serve))


def main() -> None:
    """Run the command line."""
    codecs.register_error("plain", _plain_text)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="plain")
    try:
        app(prog_name="study")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output is gone: `study list | head -1`
        sys.stderr.close()
        raise SystemExit(141) from None


def _plain_text(error: UnicodeError) -> tuple[str, int]:
    """Return what is printed for characters that the terminal's encoding lacks, as under LANG=C."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN_TEXT.get(character, "?") for character in lacking), error.end


def _read(file: Path) -> dict[str, "StudySpec"]:
    """Read a studies file, or print all its mistakes and exit."""
    # pydantic and the forms of all sides: here, so that --help is quick.
    from study.spec import SpecError, read_studies

    if file == DEFAULT_FILE and not file.exists():
        _leave(
            f"{file}: there is no such file in {Path.cwd()}; change to the folder of a project, "
            "name a file with --file, or write one like the example of study check --help"
        )
    try:
        return read_studies(file)
    except SpecError as error:
        _leave("\n".join(error.messages))


def _choose(studies: dict[str, "StudySpec"], name: str | None, file: Path) -> "StudySpec":
    """Return a study by its name, or print which names the file has and exit."""
    # pydantic: here, so that --help is quick.
    from study.spec import SpecError, choose_study

    try:
        return choose_study(studies, name, str(file))
    except SpecError as error:
        _leave(str(error))


def _guarded(work: Callable[[], T]) -> T:
    """Run a command's work. Report a user's mistake or a missing service as one line."""
    # Here, so that --help is quick.
    from study.launch.cluster import ClusterError
    from study.launch.interrupts import Interrupted
    from study.launch.locks import HeldError
    from study.records.store import TrackingError, is_store_failure, masked
    from trainers.config import ConfigError
    from trainers.data.cache import DataError

    try:
        return work()
    except (ClusterError, HeldError, TrackingError, ConfigError, DataError) as error:
        _leave(str(error))
    except Interrupted as stop:
        print(
            f"{stop}; what is finished is kept; run the same command again to continue",
            file=sys.stderr,
        )
        raise typer.Exit(128 + int(stop.signal)) from None
    except BrokenPipeError:
        raise
    except Exception as error:
        if not is_store_failure(error):
            raise
        reason = masked(" ".join(str(error).split()))[:400]
        print(f"cannot read or write: {reason}", file=sys.stderr)
        raise typer.Exit(1) from None


def _leave(message: str) -> NoReturn:
    """Print what is wrong, and exit with the code of a user's mistake."""
    print(message, file=sys.stderr)
    raise typer.Exit(2)


def _num_slots(spec: "StudySpec") -> int | None:
    """Return how many trials run at a time; None on a cluster that is still to be joined."""
    from study.launch import cluster  # here, so that --help is quick

    return None if cluster.is_joined() else cluster.local_slots(spec)


def _file_option(file: Path) -> str:
    """Return the option for the studies file in a printed command; none for the usual name."""
    return "" if file == DEFAULT_FILE else f" --file {file}"


def _next_command(spec: "StudySpec", current: "Plan", file: Path) -> str:
    """Return the command that a plan suggests next."""
    what = "launch" if current.num_open else "report"
    return f"study {what} {spec.name}{_file_option(file)}"


def _after_launch(spec: "StudySpec", outcome: "Outcome", file: Path) -> str:
    """Return the command to run after a launch."""
    if outcome.plan.num_open:
        return f"study launch {spec.name}{_file_option(file)}   (continues where this launch ended)"
    return f"study report {spec.name}{_file_option(file)}"


def _verify(name: str | None, file: Path, command: Literal["evaluate", "diagnose"]) -> NoReturn:
    """Evaluate or diagnose, then print the checklist, the failures and the next command."""
    spec = _choose(_read(file), name, file)
    option = _file_option(file)

    def run() -> int:
        # torch takes seconds to import.
        from study.launch.launch import project_folder
        from study.summary import print_checklist
        from study.verify import attack

        work = {"evaluate": attack.evaluate, "diagnose": attack.diagnose}[command]
        outcome = work(spec, project_folder(file), partial(print, flush=True))
        if not outcome.members:
            reason = "no configuration has finished with all its seeds yet; run"
            _leave(f"{spec.name}: {reason}: study launch {spec.name}{option}")
        print_checklist(spec, outcome.checklist)
        for what, reason in outcome.failures:
            print(f"  failed  {what}: {reason}; run the same command again to retry")
        print(f"next: study report {spec.name}{option}")
        return outcome.exit_code

    raise typer.Exit(_guarded(run))
