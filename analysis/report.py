"""Report: everything a study found, as a folder that can be read, mailed and parsed."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.bundle import (
    configurations_csv,
    provenance_json,
    results_to_json,
    seeds_csv,
)
from analysis.canvas import png, svg
from analysis.choice import Choice, choose
from analysis.findings import headline, limits
from analysis.palette import method_styles
from analysis.plots import fig_front, front_reading, front_subtitle, out_of_range_text
from analysis.results import Results, ResultsError
from analysis.tables import (
    Table,
    absent_table,
    configuration_table,
    count_table,
    front_table,
    method_table,
)
from analysis.words import attack_text, value_text

FILES = (
    "index.html",
    "front.svg",
    "front.png",
    "front.json",
    "configs.csv",
    "seeds.csv",
    "provenance.json",
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure in the page: its drawing, what it shows, and its numbers where they stand beside."""

    key: str
    label: str
    svg: Markup
    caption: str
    table: Table | None = None
    chosen: bool = False
    """Shown first among its alternatives."""


def write_report(results: Results, folder: Path) -> Path:
    """Write the report bundle into a folder of its own and return the path of its `index.html`.

    The files are written beside the folder and swapped in when all are there: a report that is
    interrupted leaves the one before it, or none. A folder that holds anything else is refused,
    since it would be replaced. Equal results give equal bytes.
    """
    folder = folder.resolve()
    _check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fresh, old = aside / "new", aside / "old"
        fresh.mkdir()
        for name, content in bundle(results).items():
            (fresh / name).write_bytes(content)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder / "index.html"


def bundle(results: Results) -> dict[str, bytes]:
    """Make every file of the report, by name."""
    figure = fig_front(results, results.threat.objective_radius)
    drawing = svg(figure, "front", *_front_words(results, results.threat.objective_radius))
    declaration = '<?xml version="1.0" encoding="utf-8"?>\n'
    texts = {
        "index.html": page(results),
        "front.svg": declaration + drawing + "\n",
        "front.json": results_to_json(results),
        "configs.csv": configurations_csv(results),
        "seeds.csv": seeds_csv(results),
        "provenance.json": provenance_json(results),
    }
    return {"front.png": png(figure), **{name: text.encode() for name, text in texts.items()}}


def page(results: Results) -> str:
    """Make the page `index.html`: one file that loads nothing."""
    choice = choose(results)
    environment = Environment(
        loader=PackageLoader("analysis", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        results=results,
        headline=headline(results, choice),
        limits=limits(results, choice),
        choice=choice,
        front_pictures=_front_pictures(results),
        front_table=front_table(results, choice),
        panels=_panels(results, choice),
        configuration_table=configuration_table(results, choice),
        count_table=count_table(results, choice),
        absent_table=absent_table(results) if results.absent else None,
        method_table=method_table(results),
        styles=method_styles(results.methods),
        threat_text=attack_text(results.threat, results.threat.objective_radius),
        clean_floor=f"{100 * results.clean_floor:g}%",
    )


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ResultsError(f"{folder}: is a file; a report needs a folder of its own")
    others = sorted(path.name for path in folder.iterdir() if path.name not in FILES)
    if others:
        raise ResultsError(
            f"{folder}: holds {others[0]}, which is no part of a report and would be lost; "
            "choose a new folder"
        )


def _front_words(results: Results, radius: float) -> tuple[str, str]:
    title = (
        f"{results.study}: robust accuracy at radius {value_text(radius)} against clean accuracy"
    )
    return title, f"{front_subtitle(results, radius)}. {front_reading(results, radius)}"


def _front_pictures(results: Results) -> tuple[Picture, ...]:
    pictures = []
    for position, radius in enumerate(results.threat.radii):
        key = f"front{position}"
        drawing = svg(fig_front(results, radius, header=False), key, *_front_words(results, radius))
        outside = out_of_range_text(results, radius)
        pictures.append(
            Picture(
                key=key,
                label=value_text(radius),
                svg=Markup(drawing),
                caption=f"{front_subtitle(results, radius)}. {outside} "
                f"{front_reading(results, radius)}".replace("  ", " "),
                chosen=radius == results.threat.objective_radius,
            )
        )
    return tuple(pictures)


def _panels(results: Results, choice: Choice) -> tuple[Picture, ...]:
    return ()
