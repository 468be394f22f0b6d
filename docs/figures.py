"""Draw the figures of the pages: fronts of made-up accuracies, and the replays of searches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis import analyse, read_table
from analysis.figures import palette
from analysis.figures.canvas import INK, look, new_axes, png
from analysis.figures.front import fig_front

RADIUS = 0.1
SEEDS = 3
IMAGES = 1000
SAM = ((0.985, 0.20), (0.98, 0.24), (0.975, 0.28))
LEADS = {"clear.png": 0.30, "close.png": 0.01}
"""By how much the robust accuracy of adversarial training is higher, in each figure."""


REPLAYS = Path(__file__).parents[1] / "benchmarks" / "replay.json"
WAYS = {
    "random, all seeds": ("every seed to the last epoch", palette.STANDARD, "-"),
    "TPE, all seeds": ("the same, suggested by TPE", palette.OTHERS[4], ":"),
    "random, one seed": ("one seed", palette.OTHERS[2], "-"),
    "ASHA 4-8-16, one seed": ("ASHA on the mean, one seed", palette.OTHERS[1], "-"),
    "ours: seeds": ("adaptive seeds", palette.SAM, "-"),
    "ours: rungs (0.7) and seeds": ("adaptive seeds and a rung", palette.ADVERSARIAL_TRAINING, "-"),
}
"""Ways to search that are drawn: their names in the figure, colours and lines."""


def write(folder: Path) -> None:
    """Draw the figures into a folder."""
    folder.mkdir(exist_ok=True)
    found = json.loads(REPLAYS.read_text(encoding="utf-8"))
    (folder / "replays.png").write_bytes(png(fig_replays(found)))
    for name, lead in LEADS.items():
        table = folder / f"{Path(name).stem}.csv"
        table.write_text(_table(lead), encoding="utf-8")
        analysis = analyse(read_table(table, num_test=IMAGES, num_classes=10))
        (folder / name).write_bytes(png(fig_front(analysis, RADIUS)))


def fig_replays(found: dict[str, dict[str, Any]]) -> Figure:
    """Draw what ways to search have found against what they have spent.

    Each curve ends, with a dot, where the search does.
    """
    with look():
        figure, axes = new_axes(6.4, 3.6, left=0.095, right=0.965, top=0.97, bottom=0.13)
        for name, (label, colour, line) in WAYS.items():
            if name not in found:
                continue
            curve = 100 * np.array(found[name]["curve"])
            spent = np.linspace(0.0, 100.0, len(curve))
            end = 100 * found[name]["share_of_epochs"]
            kept = spent <= end + 0.5
            axes.plot(spent[kept], curve[kept], color=colour, ls=line, lw=1.8, label=label)
            axes.plot(spent[kept][-1], curve[kept][-1], "o", color=colour, ms=5, clip_on=False)
        axes.axhline(99.0, color=INK, lw=0.8, ls=(0, (2, 2)))
        axes.set(xlim=(0.0, 100.0), ylim=(90.0, 100.2))
        axes.set_xlabel("Trained epochs (% of all seeds of all configurations)")
        axes.set_ylabel("Area of the front found (% of the best)")
        axes.legend(loc="lower right", fontsize=8, frameon=False)
    return figure


def _table(lead: float) -> str:
    """Return a table of two methods, one ahead of the other, with the noise of seeds and images."""
    noise = np.random.default_rng(1)
    rows = [f"method,seed,rho,epsilon,clean,robust_{RADIUS}"]
    for method, gain in (("sam", 0.0), ("at", lead)):
        for number, (clean, robust) in enumerate(SAM):
            values = (f"{0.1 * 2**number:g}", "") if method == "sam" else ("", f"0.0{number + 1}")
            for seed in range(SEEDS):
                seen = [
                    noise.binomial(IMAGES, float(np.clip(share + noise.normal(0, 0.004), 0, 1)))
                    for share in (clean, robust + gain)
                ]
                shares = [f"{count / IMAGES:.4f}" for count in (seen[0], min(seen))]
                rows.append(",".join([method, str(seed), *values, *shares]))
    return "\n".join(rows) + "\n"
