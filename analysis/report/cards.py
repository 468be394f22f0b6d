"""Cards: the evidence behind each configuration, which its row and its point lead to.

A card has the trials with links to their runs, the training curves, a link to the images that the
attack broke, and the declaration. The images are a file of their own, `examples.html`, as they are
larger than the page.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from analysis.document import Analysis
from analysis.figures.palette import method_styles
from analysis.report.tables import Cell, Table
from analysis.results.configurations import ConfigurationResult
from analysis.results.trials import History, configuration_key
from analysis.results.words import attack_text, configuration_text, percent, value_text

EXAMPLES = "examples.html"
"""The file with the images that attacks broke."""
MOST_CARDS = 60
"""With more configurations than this, only members of fronts have cards."""
WIDTH, HEIGHT = 280, 84
"""Size of the training curves in pixels."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The evidence behind one configuration."""

    key: str
    name: str
    numbers: str
    """Its accuracies in a few words."""
    trials: Table
    curves: Markup
    """Accuracies against the epoch; empty where none are recorded."""
    examples: str
    """Address of the images that the attack broke; empty where there are none."""
    declaration: str


def card_key(row: int) -> str:
    """Return the identifier of a configuration's card.

    >>> card_key(3)
    'd3'
    """
    return f"d{row}"


def carded_rows(analysis: Analysis) -> list[int]:
    """Return the rows of the configurations that have a card."""
    rows = list(range(len(analysis.found)))
    if len(rows) <= MOST_CARDS:
        return rows
    chosen = {c.key for front in analysis.choice.fronts for c in front.members}
    return [row for row in rows if analysis.found[row].key in chosen][:MOST_CARDS]


def build_cards(analysis: Analysis) -> list[Card]:
    """Build the card of each configuration that has one."""
    results, at = analysis.results, analysis.results.threat.objective
    declared = {configuration_key(one.method, one.values): one.text for one in results.declarations}
    styles, pictured = method_styles(results.methods), set(results.pictured)
    cards = []
    for row in carded_rows(analysis):
        c = analysis.found[row]
        has_examples = any(trial.run in pictured for trial in c.trials)
        own = [h for h in results.histories if configuration_key(h.method, h.values) == c.key]
        cards.append(
            Card(
                key=card_key(row),
                name=configuration_text(c, 60),
                numbers=f"clean {percent(c.clean.mean)}%, robust {percent(c.robust[at].mean)}%",
                trials=_trial_table(analysis, c, row),
                curves=_curves(own, styles[c.method].text_colour),
                examples=f"{EXAMPLES}#c{row}" if has_examples else "",
                declaration=declared.get(c.key, ""),
            )
        )
    return cards


def _trial_table(analysis: Analysis, c: ConfigurationResult, row: int) -> Table:
    """Build the table of a configuration's trials, with links to their runs."""
    radii = analysis.results.threat.radii
    return Table(
        key=f"t{row}",
        caption=f"Trials of {configuration_text(c, 60)}, in %.",
        columns=("Seed", "Clean", *(f"Robust {value_text(r)}" for r in radii), "Seconds", "Run"),
        rows=tuple(
            (
                Cell(text=str(trial.seed), order=trial.seed),
                *(Cell(text=percent(share)) for share in (trial.clean, *trial.robust)),
                Cell(text="–" if trial.seconds is None else f"{trial.seconds:.1f}"),
                Cell(text=trial.run[:12] or "–", target=_link(trial.address)),
            )
            for trial in c.trials
        ),
    )


def _link(address: str) -> str:
    """Return the address if a link may lead there: results may come from anywhere."""
    return address if address.startswith(("http://", "https://")) else ""


def _curves(histories: Sequence[History], colour: str) -> Markup:
    """Draw accuracies against the epoch, means over seeds: on training and validation data."""
    if not histories:
        return Markup("")
    epochs = sorted(set.intersection(*(set(one.epochs) for one in histories)))
    if len(epochs) < 2:
        return Markup("")
    series = (
        ("training", "train_accuracy", "#767676", "2 2"),
        ("clean", "validation_clean", "#767676", ""),
        ("robust", "validation_robust", colour, ""),
    )
    lines, ends = [], []
    for name, column, stroke, dash in series:
        means = [_mean(histories, column, epoch) for epoch in epochs]
        points = " ".join(
            f"{WIDTH * (epoch - epochs[0]) / (epochs[-1] - epochs[0]):.0f},"
            f"{HEIGHT * (1 - mean):.1f}"
            for epoch, mean in zip(epochs, means, strict=True)
        )
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="1.5"'
            f"{dashes}/>"
        )
        ends.append(f"{name} {percent(means[-1])}%")
    told = f"Epochs {epochs[0]} to {epochs[-1]}, means over seeds, at the end: {', '.join(ends)}."
    return Markup(
        f'<svg class="curves" viewBox="0 -2 {WIDTH} {HEIGHT + 4}" width="{WIDTH}" '
        f'height="{HEIGHT + 4}" role="img" aria-label="Training curves. {told}">'
        f'<path d="M0 0V{HEIGHT}H{WIDTH}" fill="none" stroke="#8c8c8c"/>{"".join(lines)}</svg>'
        f'<p class="note">Accuracy against the epoch: robust on validation images in the colour of '
        f"the method, clean in grey, on training images dashed. {told}</p>"
    )


def _mean(histories: Sequence[History], column: str, epoch: int) -> float:
    values = [getattr(one, column)[one.epochs.index(epoch)] for one in histories]
    return float(sum(values) / len(values))


def examples_page(analysis: Analysis, pictures: Mapping[str, bytes]) -> str:
    """Build `examples.html`: the picture of each configuration that has one.

    pictures: PNG files by run.
    """
    results = analysis.results
    shown = []
    for row in carded_rows(analysis):
        c = analysis.found[row]
        run = next((trial.run for trial in c.trials if trial.run in pictures), None)
        if run is None:
            continue
        name = escape(configuration_text(c, 60))
        data = b64encode(pictures[run]).decode("ascii")
        shown.append(
            f'<h2 id="c{row}">{name}</h2><img loading="lazy" alt="Clean images, what the attack '
            f'added, and what {name} predicts before and after it" '
            f'src="data:image/png;base64,{data}">'
        )
    threat = escape(attack_text(results.threat, results.threat.objective_radius))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{escape(results.study)}: images under attack</title>"
        "<style>body{font:15px/1.5 sans-serif;max-width:1200px;margin:1rem auto;padding:0 1rem}"
        "img{max-width:100%;height:auto}h2{font-size:1rem}</style></head><body>"
        f"<h1>{escape(results.study)}: images under attack</h1><p>{threat}. One network of each "
        "configuration, its first seed. "
        '<a href="index.html">Back to the report</a></p>' + "".join(shown) + "</body></html>\n"
    )
