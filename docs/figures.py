"""Draw the figures of the page on reading a report, from made-up accuracies."""

from pathlib import Path

import numpy as np

from analysis import analyse, read_table
from analysis.figures.canvas import png
from analysis.figures.front import fig_front

RADIUS = 0.1
SEEDS = 3
IMAGES = 1000
SAM = ((0.985, 0.20), (0.98, 0.24), (0.975, 0.28))
LEADS = {"clear.png": 0.30, "close.png": 0.01}
"""By how much the robust accuracy of adversarial training is higher, in each figure."""


def write(folder: Path) -> None:
    """Draw both figures into a folder."""
    folder.mkdir(exist_ok=True)
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
