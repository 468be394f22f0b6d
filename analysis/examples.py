"""Examples: a picture of adversarial examples, with what the network says before and after."""

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import LineStyleType
from numpy.typing import NDArray

from analysis.canvas import INK, MUTED, look, png
from analysis.words import shortened, value_text

Images = NDArray[np.floating]
Classes = NDArray[np.integer]

COLUMNS = 10
"""Samples beside each other; more go below."""
WRONG, RIGHT = "#B3261E", "#2E7D4F"


def draw_examples(
    clean: Images,
    adversarial: Images,
    labels: Classes,
    predicted_clean: Classes,
    predicted_adversarial: Classes,
    classes: Sequence[str],
    radius: float,
    norm: str,
) -> bytes:
    """Draw clean images, their adversarial examples and the perturbations, as PNG.

    Wrong predictions carry a cross and a thick dashed frame, right ones a tick. The perturbation is
    drawn around mid-grey, with the largest change of each sample at black or white.
    clean, adversarial: (N, C, H, W) in [0, 1], C of 1 or 3; the classes: (N,), positions in
    `classes`; norm and radius: what the adversarial examples were made with.
    """
    count = len(clean)
    if clean.ndim != 4 or clean.shape != adversarial.shape or count == 0:
        raise ValueError(
            "clean and adversarial images must have one shape (N, C, H, W) with N >= 1, "
            f"got {clean.shape} and {adversarial.shape}"
        )
    changed = int(np.sum((predicted_clean == labels) & (predicted_adversarial != labels)))
    right = int(np.sum(predicted_clean == labels))
    with look():
        figure, cells = _cells(count)
        for sample, (top, middle, bottom) in enumerate(cells):
            label = int(labels[sample])
            _draw_image(top, clean[sample])
            _mark(top, int(predicted_clean[sample]), label, classes)
            _draw_image(middle, adversarial[sample])
            _mark(middle, int(predicted_adversarial[sample]), label, classes)
            change = np.asarray(adversarial[sample], dtype=np.float64) - clean[sample]
            largest = max(float(np.abs(change).max()), 1e-12)
            _draw_image(bottom, 0.5 + 0.5 * change / largest)
            _frame(bottom, MUTED, 0.5, "-")
        figure.text(
            0.1 / figure.get_figwidth(),
            1 - 0.12 / figure.get_figheight(),
            f"{norm} radius {value_text(radius)}: {changed} of {right} right predictions "
            "made wrong\n✓ right   ✗ wrong (is: the true class), dashed frame",
            va="top",
            color=INK,
            fontsize=9.5,
        )
    with warnings.catch_warnings():
        # A class may be named in a script that the font lacks: it shows boxes, no less drawn.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        return png(figure, dpi=150)


def _cells(count: int) -> tuple[Figure, list[tuple[Axes, Axes, Axes]]]:
    """Make a figure with three named rows for each line of samples, and each sample's axes."""
    columns = min(count, COLUMNS)
    lines = -(-count // columns)
    width, height = max(columns + 1.0, 4.5), 3.6 * lines + 0.6
    figure = Figure(figsize=(width, height), dpi=100)
    axes = figure.subplots(3 * lines, columns, squeeze=False)
    top, bottom = 1 - 0.75 / height, 0.1 / height
    figure.subplots_adjust(
        left=1.0 / width, right=0.99, top=top, bottom=bottom, hspace=0.42, wspace=0.12
    )
    for cell in axes.flat:
        cell.axis("off")
    for row, first in enumerate(axes[:, 0]):
        name = ("clean", "adversarial", "change,\nenlarged")[row % 3]
        beside = {"transform": first.transAxes, "ha": "right", "va": "center"}
        first.text(-0.14, 0.5, name, color=MUTED, fontsize=9, **beside)
    places = [divmod(sample, columns) for sample in range(count)]
    return figure, [tuple(axes[3 * line : 3 * line + 3, column]) for line, column in places]


def _draw_image(axes: Axes, image: Images) -> None:
    pixels = np.clip(np.moveaxis(np.asarray(image, dtype=np.float64), 0, -1), 0.0, 1.0)
    if pixels.shape[-1] == 1:
        axes.imshow(pixels[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.imshow(pixels, interpolation="nearest")


def _mark(axes: Axes, predicted: int, label: int, classes: Sequence[str]) -> None:
    right = predicted == label
    colour = RIGHT if right else WRONG
    name = shortened(classes[predicted], 11)
    apart = ",\n" if len(name) > 4 else ", "
    axes.set_title(
        f"✓ {name}" if right else f"✗ {name}{apart}is {shortened(classes[label], 11)}",
        fontsize=9,
        color=colour,
        fontweight="normal" if right else "bold",
        pad=4,
    )
    if not right:
        _frame(axes, colour, 2.2, (0, (3, 1.5)))


def _frame(axes: Axes, colour: str, width: float, dash: LineStyleType) -> None:
    axes.axis("on")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor(colour)
        spine.set_linewidth(width)
        spine.set_linestyle(dash)
