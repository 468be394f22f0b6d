"""Examples: a picture of adversarial examples, with predictions before and after the attack."""

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.typing import LineStyleType
from numpy.typing import NDArray

from analysis.figures.canvas import INK, MUTED, look, png
from analysis.results.words import shortened, value_text

Images = NDArray[np.floating]
Classes = NDArray[np.integer]

Place = tuple[float, float]
"""Left and upper edge of an image's square, in inches."""
COLUMNS = 10
"""Samples beside each other; further ones are below."""
SIDE = 0.74
"""Side of the square of an image, in inches."""
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

    Wrong predictions have a cross and a thick dashed frame, and correct ones a tick. A perturbation
    is drawn around mid-grey, with the largest change of each sample at black or white.
    clean, adversarial: (N, C, H, W) in [0, 1], C is 1 or 3. labels and predictions: (N,), positions
    in `classes`. norm and radius: those of the attack that made the adversarial examples.
    """
    if clean.ndim != 4 or clean.shape != adversarial.shape or len(clean) == 0:
        raise ValueError(
            "clean and adversarial images must have one shape (N, C, H, W) with N >= 1, "
            f"got {clean.shape} and {adversarial.shape}"
        )
    changed = int(np.sum((predicted_clean == labels) & (predicted_adversarial != labels)))
    right = int(np.sum(predicted_clean == labels))
    with look():
        figure, axes, places = _cells(len(clean))
        for sample, (top, middle, bottom) in enumerate(places):
            label = int(labels[sample])
            _draw_image(axes, top, clean[sample])
            _mark(axes, top, int(predicted_clean[sample]), label, classes)
            _draw_image(axes, middle, adversarial[sample])
            _mark(axes, middle, int(predicted_adversarial[sample]), label, classes)
            change = np.asarray(adversarial[sample], dtype=np.float64) - clean[sample]
            largest = max(float(np.abs(change).max()), 1e-12)
            _draw_image(axes, bottom, 0.5 + 0.5 * change / largest)
            _frame(axes, bottom, MUTED, 0.5, "-")
        axes.set(xlim=(0, figure.get_figwidth()), ylim=(figure.get_figheight(), 0))
        figure.text(
            0.1 / figure.get_figwidth(),
            1 - 0.12 / figure.get_figheight(),
            f"{norm} radius {value_text(radius)}: {changed} of {right} correct predictions "
            "became wrong\n✓ correct   ✗ wrong (is: the true class), dashed frame",
            va="top",
            color=INK,
            fontsize=9.5,
        )
    with warnings.catch_warnings():
        # The name of a class may use a script that the font lacks; it is then drawn as boxes.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        return png(figure, dpi=150)


def _cells(count: int) -> tuple[Figure, Axes, list[tuple[Place, Place, Place]]]:
    """Build a figure with three named rows for each line of samples, and list the samples' places.

    There is one pair of axes, in inches from the upper left corner. A pair for each image would
    take longer than everything else together.
    """
    columns = min(count, COLUMNS)
    lines = -(-count // columns)
    width, height = max(columns + 1.0, 4.5), 3.6 * lines + 0.6
    figure = Figure(figsize=(width, height), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    across, down = (0.99 * width - 1.0) / columns, (height - 0.85) / (3 * lines)
    places = []
    for sample in range(count):
        line, column = divmod(sample, columns)
        left = 1.0 + (column + 0.5) * across - SIDE / 2
        tops = [0.7 + (3 * line + row + 1) * down - SIDE for row in range(3)]
        places.append(tuple((left, top) for top in tops))
        if column == 0:
            for top, name in zip(tops, ("clean", "adversarial", "change,\nenlarged"), strict=True):
                middle = top + SIDE / 2
                axes.text(
                    left - 0.12, middle, name, color=MUTED, fontsize=9, ha="right", va="center"
                )
    return figure, axes, places  # type: ignore[return-value]


def _draw_image(axes: Axes, place: Place, image: Images) -> None:
    pixels = np.clip(np.moveaxis(np.asarray(image, dtype=np.float64), 0, -1), 0.0, 1.0)
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    height, width = np.array(pixels.shape[:2]) / max(pixels.shape[:2]) * SIDE
    left, top = place[0] + (SIDE - width) / 2, place[1] + (SIDE - height) / 2
    axes.imshow(
        pixels,
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        aspect="auto",
        extent=(left, left + width, top + height, top),
    )


def _mark(axes: Axes, place: Place, predicted: int, label: int, classes: Sequence[str]) -> None:
    right = predicted == label
    colour = RIGHT if right else WRONG
    name, truth = shortened(classes[predicted], 11), shortened(classes[label], 11)
    apart = ",\n" if len(name) + len(truth) > 5 else ", "
    axes.text(
        place[0] + SIDE / 2,
        place[1] - 0.05,
        f"✓ {name}" if right else f"✗ {name}{apart}is {truth}",
        ha="center",
        va="bottom",
        fontsize=9,
        color=colour,
        fontweight="normal" if right else "bold",
    )
    if not right:
        _frame(axes, place, colour, 2.2, (0, (3, 1.5)))


def _frame(axes: Axes, place: Place, colour: str, width: float, dash: LineStyleType) -> None:
    axes.add_patch(
        Rectangle(place, SIDE, SIDE, fill=False, edgecolor=colour, linewidth=width, linestyle=dash)
    )
