"""The report: everything that a study found, as a folder for readers and for programs."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from analysis.analysing import analyse
from analysis.document import Analysis, read_json, write_json
from analysis.figures.canvas import pdf, png
from analysis.figures.front import fig_column, fig_front
from analysis.inference.bootstrap import COUNT
from analysis.report.cards import EXAMPLES, examples_page
from analysis.report.configurations import configurations_csv, table_tex
from analysis.report.data_files import next_yaml, provenance_json, seeds_csv
from analysis.report.limits import limits
from analysis.report.markdown import findings_md
from analysis.report.page import page
from analysis.report.plans import front_drawing
from analysis.results.results import Results
from analysis.results.trials import ResultsError

FILES = (
    "index.html",
    "front.png",
    "front.svg",
    "front.pdf",
    "front_column.pdf",
    "front.json",
    "findings.md",
    "next.yaml",
    "configs.csv",
    "seeds.csv",
    "table.tex",
    "provenance.json",
)


def write_report(
    results: Results,
    folder: Path,
    *,
    replicates: int = COUNT,
    pictures: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the report bundle into a folder of its own and return the path of its `index.html`.

    The files are written beside the folder and swapped in when all are there, so an interrupted
    report leaves the previous one, or none. A folder that holds any other file is refused, since
    the file would be lost. Equal results and replicates give equal bytes. pictures: of adversarial
    examples, as PNG by the trial's run; they become `examples.html`.
    """
    pictures = pictures or {}
    results = replace(results, pictured=tuple(pictures))

    def make() -> dict[str, bytes]:
        analysis = analyse(results, replicates=replicates)
        examples = {EXAMPLES: examples_page(analysis, pictures).encode(errors="replace")}
        return {**bundle(analysis), **(examples if pictures else {})}

    return swap_in(folder, make)


def rerender(front_json: Path, folder: Path) -> Path:
    """Write the report bundle again from its `front.json` alone; the bytes are the same.

    Raises `ResultsError` if the file is not such a document. `folder` may be the one it lies in.
    Pictures of adversarial examples are copied if they lie beside it.
    """
    try:
        text = front_json.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{front_json}: cannot be read: {error}") from error
    analysis, beside = read_json(text), front_json.parent / EXAMPLES
    examples = {EXAMPLES: beside.read_bytes()} if beside.is_file() else {}
    return swap_in(folder, lambda: {**bundle(analysis), **examples})


def bundle(analysis: Analysis) -> dict[str, bytes]:
    """Build every file of the report, by name; what UTF-8 cannot encode becomes a question mark."""
    results = analysis.results
    radius = results.threat.objective_radius
    figure = fig_front(analysis, radius)
    declaration = '<?xml version="1.0" encoding="utf-8"?>\n'
    texts = {
        "index.html": page(analysis),
        "front.svg": declaration + front_drawing(analysis, figure, "front", radius) + "\n",
        "front.json": write_json(analysis),
        "findings.md": findings_md(
            analysis, [(limit.topic, limit.text) for limit in limits(results, analysis.choice)]
        ),
        "next.yaml": next_yaml(analysis),
        "configs.csv": configurations_csv(analysis),
        "seeds.csv": seeds_csv(results),
        "table.tex": table_tex(analysis),
        "provenance.json": provenance_json(analysis),
    }
    return {
        "front.png": png(figure),
        "front.pdf": pdf(figure),
        "front_column.pdf": pdf(fig_column(analysis, radius)),
        **{name: text.encode(errors="replace") for name, text in texts.items()},
    }


def swap_in(folder: Path, make: Callable[[], dict[str, bytes]]) -> Path:
    """Replace the folder, all at once, by one with the files made; return the path of the page."""
    folder = folder.resolve()
    _check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fresh, old = aside / "new", aside / "old"
        fresh.mkdir()
        for name, content in make().items():
            (fresh / name).write_bytes(content)
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder / "index.html"


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ResultsError(f"{folder}: is a file; a report needs a folder of its own")
    known = {*FILES, EXAMPLES}
    others = sorted(path.name for path in folder.iterdir() if path.name not in known)
    if others:
        raise ResultsError(
            f"{folder}: holds {others[0]}, which is not part of a report and would be lost; "
            "choose a new folder"
        )
