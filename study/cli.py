"""The command `study`: parse, call, print.

Only typer is imported at the top. MLflow, ray and torch take seconds to import, and even NumPy
doubles the time of `study --help`, so each command imports what it needs.
"""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from study.output.ends import (
    DEFAULT_FILE,
    Ending,
    Refused,
    choose,
    end,
    print_answer,
    read_file,
    run_to_end,
    use_utf8_names,
)

if TYPE_CHECKING:
    from study.launch.launch import Outcome
    from study.plan.plan import Plan
    from study.report.report import Report
    from study.spec import StudySpec


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
Follow = Annotated[
    bool,
    typer.Option("--follow", help="Keep reports/NAME@live current until the launch ends."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; everything else goes to stderr.")
]
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
def list_studies(file: StudiesFile = DEFAULT_FILE, as_json: Json = False) -> None:
    """List the studies in the file, one line each.

    Example: study list
    """

    def work() -> Ending:
        from study.output import answers  # here, so that --help is quick

        studies = read_file(file)
        width = max(len(name) for name in studies)
        for name, spec in studies.items():
            cells, searched = answers.count_trials(spec)
            count = f"{cells + searched} trials" + (f" ({searched} searched)" if searched else "")
            print(f"{name:<{width}}  {count}  {spec.about}".rstrip())
        return 0, "", partial(answers.studies_answer, studies)

    end("list", work, as_json=as_json, file=file)


@app.command(epilog=f"A small studies.yaml:\n\n\b\n{EXAMPLE}")
def check(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A study in the studies file; all if left out."),
    ] = None,
    file: StudiesFile = DEFAULT_FILE,
    as_json: Json = False,
) -> None:
    """Check the file, its data and this machine.

    Every cell of the studies is built, and all mistakes are printed at once. What only this machine
    lacks is a warning.

    Example: study check digits
    """

    def work() -> Ending:
        # NumPy: here, so that --help is quick.
        from study import precheck
        from study.output import answers

        studies = read_file(file)
        chosen = studies if name is None else {name: choose(studies, name, file)}
        machine = precheck.this_machine(chosen.values(), file.resolve().parent)
        found = precheck.foresee(chosen.values(), file, machine)
        for warning in found.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        if found.mistakes:
            raise Refused(*found.mistakes)
        following = f"study plan {next(iter(chosen))}{_file_option(file)}"
        print(f"{file}: {', '.join(chosen)}: no mistakes; next: {following}")
        return 0, following, partial(answers.check_answer, file, chosen, found.warnings)

    end("check", work, as_json=as_json, file=file)


@app.command()
def plan(name: StudyName = None, file: StudiesFile = DEFAULT_FILE, as_json: Json = False) -> None:
    """Show what a launch would run, and how long.

    Nothing is started.

    Example: study plan digits
    """

    def work() -> Ending:
        # Here, so that --help is quick.
        from study.launch.launch import plan_of, project_folder
        from study.output import answers
        from study.summary import print_plan

        found, current = plan_of(choose(read_file(file), name, file), project_folder(file))
        num_slots = _num_slots(found)
        print_plan(found, current, num_slots)
        following = _next_command(found, current, file)
        print(f"next: {following}")
        return 0, following, partial(answers.plan_answer, found, current, num_slots)

    end("plan", work, as_json=as_json, file=file)


@app.command()
def launch(
    name: StudyName = None,
    file: StudiesFile = DEFAULT_FILE,
    yes: Annotated[bool, typer.Option("--yes", help="Launch without asking first.")] = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """Run the trials that are missing.

    Run the same command again to resume, or to extend a study that was edited. A launch of more
    than 1,000 trials, or of more than a day by the estimate of study plan, asks first.

    Example: study launch digits
    """

    def work() -> Ending:
        # Here, so that --help is quick.
        from study.launch import launch as launching
        from study.output import answers
        from study.summary import ask, print_outcome, print_plan

        spec = choose(read_file(file), name, file)
        project = launching.project_folder(file)
        found, current = launching.plan_of(spec, project)

        def announce(planned: "Plan") -> None:
            print_plan(found, planned, _num_slots(spec))
            sys.stdout.flush()

        # Asked before the launch takes its locks, so that no other one waits for the answer.
        refusal = "" if yes else ask(found, current, _num_slots(spec))
        if refusal:
            raise Refused(refusal)
        live: AbstractContextManager[None] = nullcontext()
        if follow:
            from study.report.follow import followed  # the analysis: only where it is needed

            live = followed(found, file)
        with live:
            outcome = launching.launch(found, project, announce)
        print_outcome(found, outcome)
        following = _after_launch(found, outcome, file)
        print(f"next: {following}")
        return outcome.exit_code, following, partial(answers.launch_answer, found, outcome)

    end("launch", work, as_json=as_json, file=file)


@app.command()
def status(name: StudyName = None, file: StudiesFile = DEFAULT_FILE, as_json: Json = False) -> None:
    """Show where a study stands, from its records.

    This works while the study runs, and later.

    Example: study status digits
    """

    def work() -> Ending:
        # Here, so that --help is quick.
        from study.launch.launch import plan_of, project_folder
        from study.output import answers
        from study.summary import print_status

        found, current = plan_of(choose(read_file(file), name, file), project_folder(file))
        print_status(found, current)
        following = _next_command(found, current, file)
        print(f"next: {following}")
        return 0, following, partial(answers.status_answer, found, current)

    end("status", work, as_json=as_json, file=file)


@app.command()
def evaluate(
    name: StudyName = None, file: StudiesFile = DEFAULT_FILE, as_json: Json = False
) -> None:
    """Attack the networks on the fronts.

    AutoAttack at every radius, then the diagnosis. The networks are those of each method's
    nondominated configurations with all seeds done. The number of test images is
    autoattack.samples. Run the same command again to resume.

    Example: study evaluate digits
    """
    end("evaluate", partial(_verify, name, file, "evaluate"), as_json=as_json, file=file)


@app.command()
def diagnose(
    name: StudyName = None, file: StudiesFile = DEFAULT_FILE, as_json: Json = False
) -> None:
    """Check these networks for masked gradients.

    The networks are those of study evaluate; their checklist is printed. A check that warns or
    fails is a finding, not an error of the command. Run the same command again to resume.

    Example: study diagnose digits
    """
    end("diagnose", partial(_verify, name, file, "diagnose"), as_json=as_json, file=file)


@app.command()
def report(
    names: StudyNames = None,
    file: StudiesFile = DEFAULT_FILE,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace the report even if it holds more trials."),
    ] = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """Write the report to reports/NAME.

    It is also logged on the study's parent run in MLflow.

    With several names the studies are compared in reports/A+B, which is logged on the parent run of
    each. If the report that is already there holds more trials, it is kept, and the new one is
    written to reports/NAME@fewer.

    Example: study report digits
    """

    def work() -> Ending:
        # NumPy, MLflow and matplotlib take seconds to import.
        from analysis.results.trials import ResultsError
        from study.launch.launch import project_folder
        from study.output import answers
        from study.report.follow import follow as follow_launch
        from study.report.report import report_studies

        studies = read_file(file)
        wanted: list[str | None] = [*names] if names else [None]
        specs = [choose(studies, name, file) for name in wanted]
        if follow and len(specs) > 1:
            raise Refused("--follow: follows one study, got several; name one")
        try:
            if follow:
                report = follow_launch(specs[0], project_folder(file), _num_slots(specs[0]), print)
            else:
                report = report_studies(specs, project_folder(file), is_forced=replace)
        except ResultsError as error:
            raise Refused(str(error)) from None
        _print_report(report, file)
        is_empty = len(report.without_results) == len(specs)
        return int(is_empty), "", partial(answers.report_answer, report)

    end("report", work, as_json=as_json, file=file)


@app.command()
def ui(
    file: StudiesFile = DEFAULT_FILE,
    port: Annotated[
        int,
        typer.Option(
            min=1, max=65535, help="The first port to try; only this machine can connect."
        ),
    ] = 5000,
    as_json: Json = False,
) -> None:
    """Start the MLflow UI; Ctrl-C stops it.

    It shows the runs of the file's studies.

    Example: study ui
    """
    from study.launch.interrupts import Interrupts  # here, so that --help is quick

    out = sys.stdout

    def work() -> Ending:
        # Here, so that --help is quick.
        from study.launch.launch import project_folder
        from study.output import answers
        from study.ui import print_addresses, serve_ui

        def announce(address: str, studies: dict[str, str]) -> None:
            interrupts.check()  # an import may have swallowed what a signal raised
            print_addresses(address, studies)
            if as_json:  # now, as the command lasts until Ctrl-C
                print_answer("ui", 0, result=answers.ui_answer(address, studies), stream=out)

        code = serve_ui(project_folder(file), tuple(read_file(file)), port, announce)
        return code, "", None

    with Interrupts() as interrupts:  # before MLflow is imported, which takes seconds
        end("ui", work, as_json=as_json, file=file)


@app.command()
def schema(
    answers: Annotated[
        bool,
        typer.Option("--answers", help="That of the JSON objects of all commands instead."),
    ] = False,
) -> None:
    """Print the JSON Schema of studies.yaml.

    Editors complete and check a studies file whose first line names the schema:
    # yaml-language-server: $schema=PATH

    Example: study schema
    """
    from study.output.schemas import answers_schema, studies_schema  # pydantic

    print(answers_schema() if answers else studies_schema())


def main() -> None:
    """Run the command line."""
    use_utf8_names()
    run_to_end(lambda: app(prog_name="study"))


def _print_report(report: "Report", file: Path) -> None:
    """Print where a report is, and what it lacks."""
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


def _verify(name: str | None, file: Path, command: Literal["evaluate", "diagnose"]) -> Ending:
    """Evaluate or diagnose, then print the checklist, the failures and the next command."""
    # torch takes seconds to import.
    from study.launch.launch import project_folder
    from study.output import answers
    from study.summary import print_checklist
    from study.verify import attack

    spec = choose(read_file(file), name, file)
    option = _file_option(file)
    work = {"evaluate": attack.evaluate, "diagnose": attack.diagnose}[command]
    outcome = work(spec, project_folder(file), partial(print, flush=True))
    if not outcome.members:
        reason = "no configuration has finished with all its seeds yet; run"
        raise Refused(f"{spec.name}: {reason}: study launch {spec.name}{option}")
    print_checklist(spec, outcome.checklist)
    for what, reason in outcome.failures:
        print(f"  failed  {what}: {reason}; run the same command again to retry")
    following = f"study report {spec.name}{option}"
    print(f"next: {following}")
    return outcome.exit_code, following, partial(answers.verification_answer, spec, outcome)
