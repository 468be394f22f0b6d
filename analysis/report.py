"""Report: everything a study found, as a folder that can be read, mailed and parsed."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
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
from analysis.words import method_text, value_text

FILES = (
    "index.html",
    "front.svg",
    "front.png",
    "front.json",
    "configs.csv",
    "seeds.csv",
    "provenance.json",
)
MOST_BYTES = 480_000
"""Size that the page keeps below: it is mailed, and shown in a frame of the MLflow UI."""
AROUND_BYTES = 1_000
"""What the page writes around a figure, and about one that is left out, at most."""


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
    """Make every file of the report, by name; what UTF-8 cannot write becomes a question mark."""
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
    return {
        "front.png": png(figure),
        **{name: text.encode(errors="replace") for name, text in texts.items()},
    }


def page(results: Results) -> str:
    """Make the page `index.html`: one file that loads nothing.

    It stays below `MOST_BYTES`: figures that no longer fit are named instead, except the first.
    """
    environment = Environment(
        loader=PackageLoader("analysis", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template, choice = environment.get_template("report.html"), choose(results)
    rest = len(_render(template, results, choice, {}, []).encode(errors="replace"))
    pictures, left_out = _fitting(_plans(results, choice), MOST_BYTES - rest)
    return _render(template, results, choice, pictures, left_out)


def _render(
    template: Template,
    results: Results,
    choice: Choice,
    pictures: Mapping[str, Picture],
    left_out: Sequence[str],
) -> str:
    positions = range(len(results.threat.radii))
    fronts = [pictures[key] for key in map(_front_key, positions) if key in pictures]
    return template.render(
        results=results,
        headline=headline(results, choice),
        reached=reached(results, choice),
        limits=limits(results, choice),
        choice=choice,
        front_pictures=fronts,
        left_out=left_out,
        front_table=front_table(results, choice),
        panels=[picture for picture in pictures.values() if picture not in fronts],
        radius_table=radius_table(results, choice),
        configuration_table=configuration_table(results, choice),
        count_table=count_table(results, choice),
        absent_table=absent_table(results) if results.absent else None,
        method_table=method_table(results),
        objective_radius=value_text(results.threat.objective_radius),
        clean_floor=f"{100 * results.clean_floor:g}%",
    )


def _plans(results: Results, choice: Choice) -> list[tuple[str, Callable[[], Picture]]]:
    """List what can be drawn, with its name, the most wanted first."""
    threat = results.threat
    order = sorted(range(len(threat.radii)), key=lambda at: (abs(at - threat.objective), at))
    fronts: list[tuple[str, Callable[[], Picture]]] = [
        (
            f"the figure at radius {value_text(threat.radii[at])}",
            partial(_front_picture, results, choice, at),
        )
        for at in order
    ]
    panels: list[tuple[str, Callable[[], Picture]]] = []
    if any(front.best for front in choice.fronts):
        panels.append(
            ("the figure against attack radius", partial(_radii_picture, results, choice))
        )
    for at, front in enumerate(choice.fronts):
        strength = strength_name(front)
        if strength is not None:
            panels.append(
                (
                    f"the figure against {strength} of {method_text(front.note.name)}",
                    partial(_strength_picture, results, at, front.note.name, strength),
                )
            )
    return [fronts[0], *panels, *fronts[1:]]


def _fitting(
    plans: Sequence[tuple[str, Callable[[], Picture]]], room: int
) -> tuple[dict[str, Picture], list[str]]:
    """Draw the first, and then what fits into so many bytes; name what is left out."""
    pictures: dict[str, Picture] = {}
    left_out: list[str] = []
    for name, draw in plans:
        if not left_out:
            picture = draw()
            room -= len(picture.svg.encode()) + len(picture.caption.encode()) + AROUND_BYTES
            if room >= 0 or not pictures:
                pictures[picture.key] = picture
                continue
        left_out.append(name)
    return pictures, left_out


def _front_key(position: int) -> str:
    return f"front{position}"


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
    radius, key = results.threat.radii[position], _front_key(position)
    figure = fig_front(results, radius, header=False)
    return Picture(
        key=key,
        label=value_text(radius),
        svg=Markup(_front_drawing(results, choice, figure, key, radius)),
        caption=_front_caption(results, choice, radius),
        numbers="configurations",
        chosen=radius == results.threat.objective_radius,
    )


def _radii_picture(results: Results, choice: Choice) -> Picture:
    caption = radii_caption(results, choice)
    title = f"{results.study}: accuracy against attack radius"
    drawing = svg(fig_radii(results), "radii", title, caption)
    return Picture(
        key="radii-figure", label=title, svg=Markup(drawing), caption=caption, numbers="radii"
    )


def _strength_picture(results: Results, position: int, method: str, strength: str) -> Picture:
    key, caption = f"strength{position}", strength_caption(results, method, strength)
    title = f"{results.study}: accuracy against {strength} of {method}"
    drawing = svg(fig_strength(results, method), key, title, caption)
    return Picture(
        key=key, label=title, svg=Markup(drawing), caption=caption, numbers="configurations"
    )
