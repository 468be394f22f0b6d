"""What rungs and adaptive seeds save by the clock: `python benchmarks/search_time.py`.

A search of the digits' SAM with AT, 40 suggestions of TPE and three seeds, by `study launch` in a
fresh folder, start-up included: once with all seeds to their last epoch, and once by each way to
spend less. What is found differs between ways; what they lose is measured by `replay.py`.
"""

import argparse
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import machine
import torch
import yaml
from machine import HERE
from whole_study import STUDIES_FILE, run_in

from study.plan.stops import STOPPED_TAG

ALL = "all seeds"
WAYS: dict[str, dict[str, Any]] = {
    ALL: {},
    "adaptive seeds": {"seeds": "adaptive"},
    "a rung at 0.5, keep 0.7, adaptive seeds": {
        "stop": {"rungs": [0.5], "keep": 0.7},
        "seeds": "adaptive",
    },
    "a rung at 0.5, keep 0.5, adaptive seeds": {
        "stop": {"rungs": [0.5], "keep": 0.5},
        "seeds": "adaptive",
    },
    "rungs at 0.2 and 0.5, keep 0.5, adaptive seeds": {
        "stop": {"rungs": [0.2, 0.5], "keep": 0.5},
        "seeds": "adaptive",
    },
}
"""What each way says under `search`."""
NAME, METHOD = "digits", "sam_at"
TRIALS, QUICK_TRIALS, QUICK_EPOCHS = 40, 6, 2
CELLS = "SELECT run_uuid FROM tags WHERE key = 'cell'"
FINISHED = f"SELECT COUNT(*) FROM runs WHERE status = 'FINISHED' AND run_uuid IN ({CELLS})"
STOPPED = f"SELECT COUNT(*) FROM tags WHERE key = '{STOPPED_TAG}'"
EPOCHS = f"SELECT COUNT(*) FROM metrics WHERE key = 'train/loss' AND run_uuid IN ({CELLS})"


def declare(way: str, quick: bool) -> dict[str, Any]:
    """Give the study of one way: that of the studies file, with one method that is searched."""
    study = yaml.safe_load(STUDIES_FILE.read_text(encoding="utf-8"))[NAME]
    search = {"trials": QUICK_TRIALS if quick else TRIALS, "sampler": "tpe"}
    more = {"training": {**study["training"], "epochs": QUICK_EPOCHS}} if quick else {}
    methods = {METHOD: study["methods"][METHOD]}
    return {**study, **more, "methods": methods, "search": {**search, **WAYS[way]}}


def search_by(way: str, quick: bool, counts: dict[str, dict[str, int]]) -> None:
    """Search by one way in a fresh folder, and count what was trained."""
    with tempfile.TemporaryDirectory(prefix="rhoeps-") as temporary:
        folder = Path(temporary)
        text = yaml.safe_dump({NAME: declare(way, quick)}, sort_keys=False)
        (folder / "studies.yaml").write_text(text, encoding="utf-8")
        run_in(folder, way, ["-m", "study", "launch", NAME])
        connection = sqlite3.connect(folder / "runs" / "mlflow.db")
        counts[way] = {
            name: connection.execute(query).fetchone()[0]
            for name, query in (("finished", FINISHED), ("stopped", STOPPED), ("epochs", EPOCHS))
        }
        connection.close()


def lines(found: dict[str, Any]) -> list[str]:
    """Write what was measured as a table."""
    ways = found["ways"]
    rows = [("way", "finished", "stopped", "share of epochs", "seconds", "times faster")]
    for way, one in ways.items():
        share = f"{one['epochs'] / ways[ALL]['epochs']:.1%}"
        seconds = machine.range_text(one["seconds"], digits=1)
        ratio = "" if way == ALL else machine.ratio_text(one["ratio"])
        rows.append((way, str(one["finished"]), str(one["stopped"]), share, seconds, ratio))
    return [
        *machine.table(rows),
        "",
        f"{found['rounds']} interleaved rounds, one trial per core at a time, start-up included; "
        "the trained epochs are those of the last round.",
    ]


def main() -> None:
    """Search by every way, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="in which each way runs once")
    parser.add_argument("--quick", action="store_true", help="a few short trials, by two ways")
    parser.add_argument("--output", type=Path, help="folder of the .txt and .json")
    told = parser.parse_args()
    about = machine.describe(torch.device("cpu"))
    counts: dict[str, dict[str, int]] = {}
    ways: dict[str, Callable[[], None]] = {
        way: partial(search_by, way, told.quick, counts)
        for way in ([ALL, list(WAYS)[-1]] if told.quick else WAYS)
    }
    timings = machine.interleave(ways, told.rounds, warmup=0)
    found = {
        "title": "A search of the digits, by what it spends.",
        "machine": about | {"threads": "1"},
        "rounds": told.rounds,
        "ways": {
            way: {
                **counts[way],
                "seconds": timing.wall,
                "ratio": asdict(machine.ratio(timings[ALL].wall, timing.wall)),
            }
            for way, timing in timings.items()
        },
    }
    output = None if told.quick and told.output is None else told.output or HERE
    machine.publish("search_time", found, lines(found), output)


if __name__ == "__main__":
    main()
