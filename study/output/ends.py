"""How a command ends: its exit code, a mistake as one line, and one JSON object for scripts.

Exit codes: 0 done; 1 the work failed, or a part of it; 2 refused before it began; 128 plus the
number of the signal that stopped it, so 130 after Ctrl-C.
"""

import codecs
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import typer

if TYPE_CHECKING:
    from study.spec import StudySpec
    from study.spec.source import Place

VERSION = 1
"""Of the JSON objects; `study schema --answers` prints their schema."""
DEFAULT_FILE = Path("studies.yaml")
BY_SIGNAL = (130, 143)
"""Exit codes of a command that SIGINT or SIGTERM stopped."""
PLAIN_TEXT = {
    "ρ": "rho",
    "ε": "epsilon",
    "·": ".",
    "–": "-",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
    "±": "+-",
    "→": "->",
    "…": "...",
}
"""What replaces the special characters of our messages where the terminal's encoding lacks them."""
Answer = Mapping[str, Any]
Ending = tuple[int, str, Callable[[], Answer] | None]
"""Exit code, the command to run next or an empty text, and what builds the result for scripts; None
of a command that has printed its JSON object by now."""


class Refused(Exception):  # noqa: N818 - no error of ours: what the user has to change
    """What is wrong, a line each, and the exit code."""

    def __init__(self, *lines: str, code: int = 2) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.code = code


def end(
    command: str, work: Callable[[], Ending], *, as_json: bool, file: Path | None = None
) -> NoReturn:
    """Run a command's work and exit with its code. `file` is the studies file that it reads.

    With `as_json`, what is meant for people goes to stderr, and the only thing on stdout is one
    JSON object, also where the work is refused or fails.
    """
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        lines: tuple[str, ...] = ()
        following, build, is_answered = "", None, False
        try:
            code, following, build = _interruptible(command, partial(_guarded, work, file))
            is_answered = build is None
        except Refused as refused:
            lines, code = refused.lines, refused.code
            print(refused, file=sys.stderr)
        result = build() if as_json and build is not None else None
    if as_json and not is_answered:
        print_answer(command, code, following, lines, result)
    raise typer.Exit(code)


def use_utf8_names() -> None:
    """Start this process again in Python's UTF-8 mode if it can name files in ASCII alone.

    Folders, and names in a studies file, may hold any character. Output stays in ASCII.
    """
    if sys.getfilesystemencoding() != "ascii" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ.setdefault("PYTHONIOENCODING", "ascii:replace")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def run_to_end(run: Callable[[], None]) -> None:
    """Run the command line, in characters that the terminal has, and end the process.

    Where a signal stopped it, at once: a second one may have broken into the end of Ray, whose C++
    part would then notice that its raylet is gone and exit with 1.
    """
    codecs.register_error("plain", _plain_text)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="plain")
    try:
        run()
        return
    except KeyboardInterrupt:
        code = 130
    except SystemExit as ended:
        if ended.code not in BY_SIGNAL:
            raise
        code = int(ended.code)
    except BrokenPipeError:  # the reader of our output is gone: `study list | head -1`
        sys.stderr.close()
        raise SystemExit(141) from None
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _plain_text(error: UnicodeError) -> tuple[str, int]:
    """Return what is printed for characters that the terminal's encoding lacks, as under LANG=C."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN_TEXT.get(character, "?") for character in lacking), error.end


def print_answer(
    command: str,
    exit_code: int,
    following: str = "",
    errors: tuple[str, ...] = (),
    result: Answer | None = None,
    stream: TextIO | None = None,
) -> None:
    """Print the JSON object of a command on one line, to stdout unless another stream is given.

    It is ASCII, which no stream's encoding changes. `result` is null if there is none.
    """
    answer = {
        "version": VERSION,
        "command": command,
        "exit_code": exit_code,
        "errors": list(errors),
        "next": following.partition("   (")[0],
        "result": result,
    }
    print(json.dumps(answer, allow_nan=False), file=stream, flush=True)


def _interruptible(command: str, work: Callable[[], Ending]) -> Ending:
    """Run the work, the imports of `_guarded` too. Report the signal that ended it as one line."""
    from study.launch.interrupts import Interrupted  # here, so that --help is quick

    try:
        return work()
    except Interrupted as stop:
        way_out = "run the same command again"
        if command != "ui":
            way_out = f"what is finished is kept; {way_out} to continue"
        raise Refused(f"{stop}; {way_out}", code=128 + int(stop.signal)) from None


def _guarded(work: Callable[[], Ending], file: Path | None) -> Ending:
    """Run the work. Report a user's mistake or a missing service as one line."""
    # Here, so that --help is quick.
    from study.launch.cluster import ClusterError
    from study.launch.locks import HeldError
    from study.records.store import TrackingError, is_store_failure, masked
    from trainers.config import ConfigError
    from trainers.data.cache import DataError

    try:
        return work()
    except TrackingError as error:
        raise Refused(f"{_line_of(error.place, file)}{error}") from None
    except (ClusterError, HeldError, ConfigError, DataError) as error:
        raise Refused(str(error)) from None
    except (Refused, BrokenPipeError):
        raise
    except Exception as error:
        if not is_store_failure(error):
            raise
        reason = masked(" ".join(str(error).split()))[:400]
        raise Refused(f"cannot read or write: {reason}", code=1) from None


def _line_of(place: "Place", file: Path | None) -> str:
    """Return `studies.yaml:7: ` of a place; an empty text if the file no longer has it."""
    from study.spec.source import SpecError, read_yaml  # yaml: only for a mistake

    if not place or file is None:
        return ""
    try:
        return f"{file}:{read_yaml(file).line(place)}: "
    except SpecError:  # edited since it was read
        return ""


def read_file(file: Path) -> dict[str, "StudySpec"]:
    """Read a studies file. Raises `Refused` with all its mistakes."""
    # pydantic and the forms of all sides: here, so that --help is quick.
    from study.spec import SpecError, read_studies

    if file == DEFAULT_FILE and not file.exists():
        raise Refused(
            f"{file}: there is no such file in {Path.cwd()}; change to the folder of a project, "
            "name a file with --file, or write one like the example of study check --help"
        )
    try:
        return read_studies(file)
    except SpecError as error:
        raise Refused(*error.messages) from None


def choose(studies: dict[str, "StudySpec"], name: str | None, file: Path) -> "StudySpec":
    """Return a study by its name. Raises `Refused` with the names that the file has."""
    # pydantic: here, so that --help is quick.
    from study.spec import SpecError, choose_study

    try:
        return choose_study(studies, name, str(file))
    except SpecError as error:
        raise Refused(str(error)) from None
