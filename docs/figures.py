"""Draw the figures of the pages: a report's from made-up accuracies, the replays' from theirs."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis import analyse, read_table
from analysis.figures.canvas import look, png
from analysis.figures.front import fig_front

RADIUS = 0.1
SEEDS = 3
IMAGES = 1000
SAM = ((0.985, 0.20), (0.98, 0.24), (0.975, 0.28))
LEADS = {"clear.png": 0.30, "close.png": 0.01}
"""By how much the robust accuracy of adversarial training is higher, in each figure."""
REPLAYS = Path(__file__).parents[1] / "benchmarks" / "replay.json"
CURVES = {
    "random, all seeds": ("every seed, every epoch", "#6B6B6B", "-"),
    "random, one seed": ("one seed", "#E69F00", "-"),
    "ASHA 4-8-16, one seed": ("one seed, ASHA on the mean accuracy", "#CC79A7", "--"),
    "ours: rungs and seeds": ("rungs and adaptive seeds", "#1F6FB2", "-"),
}
"""Ways to search by their names in the replays: what the figure calls them, and their lines."""


def write(folder: Path) -> None:
    """Draw all figures into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "replay.png").write_bytes(png(_replays()))
    for name, lead in LEADS.items():
        table = folder / f"{Path(name).stem}.csv"
        table.write_text(_table(lead), encoding="utf-8")
        analysis = analyse(read_table(table, num_test=IMAGES, num_classes=10))
        (folder / name).write_bytes(png(fig_front(analysis, RADIUS)))


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


def _replays() -> Figure:
    """Draw what each way to search has found, against the epochs that it has trained."""
    found = json.loads(REPLAYS.read_text(encoding="utf-8"))
    with look():
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for name, (text, colour, line) in CURVES.items():
            curve = found[name]["curve"]
            # A search that is over stays where it is.
            axes.plot(np.linspace(0, 1, len(curve)), curve, line, color=colour, label=text)
        axes.axhline(0.99, color="#8C8C8C", linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, 1), ylim=(0.6, 1.01), xlabel="epochs trained, as a share of all")
        axes.set_ylabel("hypervolume of the front found")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend(frameon=False, loc="lower right")
    return figure
