"""Report: everything a study found, as a folder that can be read, mailed and parsed."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.bundle import (
    configurations_csv,
    provenance_json,
    results_to_json,
    seeds_csv,
)
from analysis.canvas import png, svg
from analysis.captions import front_conditions, front_reading, radii_caption, strength_caption
from analysis.choice import Choice, choose
from analysis.findings import headline, limits, reached
from analysis.panels import fig_radii, fig_strength, strength_name
from analysis.plots import fig_front
from analysis.results import Results, ResultsError
from analysis.tables import (
    absent_table,
    configuration_table,
    count_table,
    front_table,
    method_table,
    radius_table,
)
from analysis.words import value_text

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
    """A figure in the page: its drawing, what it shows, and where its numbers are."""

    key: str
    label: str
    svg: Markup
    caption: str
    numbers: str
    """The key of the table that holds its numbers."""
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
        try:
            fresh.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder / "index.html"


def bundle(results: Results) -> dict[str, bytes]:
    """Make every file of the report, by name."""
    radius = results.threat.objective_radius
    figure = fig_front(results, radius)
    drawing = _front_drawing(results, choose(results), figure, "front", radius)
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
        reached=reached(results, choice),
        limits=limits(results, choice),
        choice=choice,
        front_pictures=[
            _front_picture(results, choice, position)
            for position in range(len(results.threat.radii))
        ],
        front_table=front_table(results, choice),
        panels=_panels(results, choice),
        radius_table=radius_table(results, choice),
        configuration_table=configuration_table(results, choice),
        count_table=count_table(results, choice),
        absent_table=absent_table(results) if results.absent else None,
        method_table=method_table(results),
        objective_radius=value_text(results.threat.objective_radius),
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


def _front_drawing(
    results: Results, choice: Choice, figure: Figure, key: str, radius: float
) -> str:
    title = f"{results.study}: clean accuracy and robust accuracy at radius {value_text(radius)}"
    return svg(figure, key, title, _front_caption(results, choice, radius))


def _front_caption(results: Results, choice: Choice, radius: float) -> str:
    conditions = front_conditions(results, choice, radius)
    return f"{conditions}. {front_reading(results, choice, radius)}"


def _front_picture(results: Results, choice: Choice, position: int) -> Picture:
    radius, key = results.threat.radii[position], f"front{position}"
    figure = fig_front(results, radius, header=False)
    return Picture(
        key=key,
        label=value_text(radius),
        svg=Markup(_front_drawing(results, choice, figure, key, radius)),
        caption=_front_caption(results, choice, radius),
        numbers="configurations",
        chosen=radius == results.threat.objective_radius,
    )


def _panels(results: Results, choice: Choice) -> tuple[Picture, ...]:
    if not any(front.best for front in choice.fronts):
        return ()
    caption = radii_caption(results, choice)
    title = f"{results.study}: accuracy against attack radius"
    panels = [
        Picture(
            key="radii",
            label=title,
            svg=Markup(svg(fig_radii(results), "radii", title, caption)),
            caption=caption,
            numbers="radii",
        )
    ]
    for position, front in enumerate(choice.fronts):
        name = strength_name(front)
        if name is None:
            continue
        key, caption = f"strength{position}", strength_caption(results, front.note.name, name)
        title = f"{results.study}: accuracy against {name} of {front.note.name}"
        drawing = svg(fig_strength(results, front.note.name), key, title, caption)
        panels.append(
            Picture(
                key=key,
                label=title,
                svg=Markup(drawing),
                caption=caption,
                numbers="configurations",
            )
        )
    return tuple(panels)
