"""The command `study`: parse, call, print.

Only typer is imported at the top. MLflow, ray and torch take seconds to import, and even NumPy
doubles the time of `study --help`, so each command imports what it needs.
"""

import codecs
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from study.launch.launch import Outcome
    from study.plan.plan import Plan
    from study.spec import StudySpec

T = TypeVar("T")

app = typer.Typer(
    name="study",
    help="Studies of SAM (weight radius ρ) and adversarial training (input radius ε): declared in "
    "studies.yaml, scheduled by Ray Tune, searched by Optuna, recorded in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

StudyName = Annotated[str, typer.Argument(metavar="NAME", help="A study of the file.")]
StudyNames = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="Studies of the file, one or several.")
]
StudiesFile = Annotated[Path, typer.Option("--file", help="The studies file.")]
DEFAULT_FILE = Path("studies.yaml")
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
"""What stands for the characters of our own messages where the terminal's encoding lacks them."""


@app.command("list")
def list_studies(file: StudiesFile = DEFAULT_FILE) -> None:
    """List the studies of the file, one line each.

    Example: study list
    """
    from study.plan import space  # here, so that --help is quick

    studies = _read(file)
    width = max(len(name) for name in studies)
    for name, spec in studies.items():
        cells = len(space.grid_configurations(spec)) * len(spec.seeds)
        blocks = len(space.search_blocks(spec, ""))
        searched = blocks * spec.search.trials * len(spec.seeds) if spec.search else 0
        trials = f"{cells + searched} trials" + (f" ({searched} searched)" if searched else "")
        print(f"{name:<{width}}  {trials}  {spec.about}".rstrip())


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One study.")] = None,
    file: StudiesFile = DEFAULT_FILE,
) -> None:
    """Validate the file and every cell of its studies, and report all mistakes at once.

    Example: study check digits
    """
    studies = _read(file)
    chosen = studies if name is None else {name: _choose(studies, name, file)}
    for spec in chosen.values():
        if spec.resources.gpu > 0:
            _warn_without_gpu(spec)
    _guarded(lambda: _warn_of_data(chosen, file))
    print(f"{file}: {', '.join(chosen)}: no mistakes; next: study plan {next(iter(chosen))}")


@app.command()
def plan(name: StudyName, file: StudiesFile = DEFAULT_FILE) -> None:
    """Show what a launch would run and how long it would take, without starting it.

    Example: study plan digits
    """
    spec = _choose(_read(file), name, file)

    def show() -> None:
        # Here, so that --help is quick.
        from study.launch import cluster
        from study.launch.launch import current_plan, project_folder
        from study.summary import print_plan

        num_slots = None if cluster.is_joined() else cluster.local_slots(spec)
        current = current_plan(spec, project_folder(file))
        print_plan(spec, current, num_slots)
        print(f"next: {_next_command(spec, current, file)}")

    _guarded(show)


@app.command()
def launch(name: StudyName, file: StudiesFile = DEFAULT_FILE) -> None:
    """Run what is missing. The same command resumes a launch, or extends an edited study.

    Example: study launch digits
    """
    spec = _choose(_read(file), name, file)

    def run() -> int:
        # Here, so that --help is quick.
        from study.launch import cluster
        from study.launch import launch as launching
        from study.summary import print_outcome, print_plan

        def announce(planned: "Plan") -> None:
            num_slots = None if cluster.is_joined() else cluster.local_slots(spec)
            print_plan(spec, planned, num_slots)
            sys.stdout.flush()

        outcome = launching.launch(spec, launching.project_folder(file), announce)
        print_outcome(spec, outcome)
        print(f"next: {_after_launch(spec, outcome, file)}")
        return outcome.exit_code

    raise typer.Exit(_guarded(run))


@app.command()
def status(name: StudyName, file: StudiesFile = DEFAULT_FILE) -> None:
    """Show where a study stands according to its records, while it runs or later.

    Example: study status digits
    """
    spec = _choose(_read(file), name, file)

    def show() -> None:
        # Here, so that --help is quick.
        from study.launch.launch import current_plan, project_folder
        from study.summary import print_status

        current = current_plan(spec, project_folder(file))
        print_status(spec, current)
        print(f"next: {_next_command(spec, current, file)}")

    _guarded(show)


@app.command()
def evaluate(name: StudyName, file: StudiesFile = DEFAULT_FILE) -> None:
    """Attack the networks on the fronts with AutoAttack, at every radius, then diagnose them.

    The networks are those of each method's nondominated configurations with all seeds done. The
    number of test images is autoattack.samples. The same command resumes.

    Example: study evaluate digits
    """
    _verify(name, file, "evaluate")


@app.command()
def diagnose(name: StudyName, file: StudiesFile = DEFAULT_FILE) -> None:
    """Check the networks on the fronts for masked gradients, and print the checklist.

    A check that warns or fails is a finding, not an error of the command. The same command resumes.

    Example: study diagnose digits
    """
    _verify(name, file, "diagnose")


@app.command()
def report(
    names: StudyNames,
    file: StudiesFile = DEFAULT_FILE,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a report that holds more trials.")
    ] = False,
) -> None:
    """Write the report bundle to reports/NAME, and log it on the study's parent run.

    Several studies are compared in reports/A+B, which is logged on the parent run of each. A report
    that holds more trials is kept, and the new one written to reports/NAME@fewer.

    Example: study report digits
    """
    studies = _read(file)
    specs = [_choose(studies, name, file) for name in names]

    def write() -> int:
        # NumPy, MLflow and what draws take seconds to import.
        from analysis.results.trials import ResultsError
        from study.launch.launch import project_folder
        from study.report.report import report_studies

        try:
            report = report_studies(specs, project_folder(file), is_forced=replace)
        except ResultsError as error:
            _leave(str(error))
        for name in report.without_results:
            print(f"{name}: no trial has a result; study plan {name}{_file_option(file)} says why")
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
        int, typer.Option(help="The first port to try; it is open to this machine only.")
    ] = 5000,
) -> None:
    """Start the MLflow UI on the store of the file's studies; Ctrl-C ends it.

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
    """Read a studies file, or leave with all its mistakes."""
    # pydantic and the forms of all sides: here, so that --help is quick.
    from study.spec import SpecError, read_studies

    try:
        return read_studies(file)
    except SpecError as error:
        _leave("\n".join(error.messages))


def _choose(studies: dict[str, "StudySpec"], name: str, file: Path) -> "StudySpec":
    """Return a study by its name, or leave with a hint at the names that the file has."""
    if name in studies:
        return studies[name]
    close = get_close_matches(name, studies, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(studies)}"
    _leave(f"{file}: has no study {name}; {hint}")


def _guarded(work: Callable[[], T]) -> T:
    """Do a command's work; a user's mistake or a missing service is one line, not a traceback."""
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
            f"{stop}; what is finished is kept; run the same command to continue", file=sys.stderr
        )
        raise typer.Exit(128 + int(stop.signal)) from None
    except BrokenPipeError:
        raise
    except Exception as error:
        if not is_store_failure(error):
            raise
        reason = masked(" ".join(str(error).split()))[:400]
        _leave(f"cannot read or write: {reason}")


def _leave(message: str) -> NoReturn:
    """Print what is wrong, and leave with the exit code of a user's mistake."""
    print(message, file=sys.stderr)
    raise typer.Exit(2)


def _file_option(file: Path) -> str:
    """Return the option for the studies file in a printed command; none for the usual name."""
    return "" if file == DEFAULT_FILE else f" --file {file}"


def _next_command(spec: "StudySpec", current: "Plan", file: Path) -> str:
    """Return the command that follows a look at a plan."""
    what = "launch" if current.num_open else "report"
    return f"study {what} {spec.name}{_file_option(file)}"


def _after_launch(spec: "StudySpec", outcome: "Outcome", file: Path) -> str:
    """Return the command that follows a launch."""
    if outcome.plan.num_open:
        return f"study launch {spec.name}{_file_option(file)}   (continues where this one ended)"
    return f"study report {spec.name}{_file_option(file)}"


def _verify(name: str, file: Path, command: Literal["evaluate", "diagnose"]) -> NoReturn:
    """Evaluate or diagnose; then print the checklist, what failed, and what to do next."""
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
            reason = "no configuration has all its seeds done yet; launch it first"
            _leave(f"{spec.name}: {reason}: study launch {spec.name}{option}")
        print_checklist(spec, outcome.checklist)
        for what, reason in outcome.failures:
            print(f"  failed  {what}: {reason}; run the same command to try again")
        print(f"next: study report {spec.name}{option}")
        return outcome.exit_code

    raise typer.Exit(_guarded(run))


def _warn_of_data(specs: dict[str, "StudySpec"], file: Path) -> None:
    """Warn of what is seldom meant in data that are at hand without a download."""
    # NumPy: here, so that --help is quick.
    from study.launch.launch import data_cache, project_folder
    from trainers.data.doubts import doubts_at_hand

    cache = data_cache(project_folder(file))
    found = {data: doubts_at_hand(data, cache) for data in {s.data for s in specs.values()}}
    for spec in specs.values():
        for doubt in found[spec.data]:
            print(f"warning: {spec.name}.data: {doubt}", file=sys.stderr)


def _warn_without_gpu(spec: "StudySpec") -> None:
    """Warn if a study asks for GPUs that this machine lacks; its file is right all the same."""
    import torch  # seconds: only where a GPU is asked for

    if not torch.cuda.is_available():
        wanted = spec.resources.gpu
        place = f"{spec.name}.resources.gpu"
        message = f"asks for {wanted:g} per trial, but this machine has none"
        print(
            f"warning: {place}: {message}; plan and launch the study where there is one",
            file=sys.stderr,
        )
