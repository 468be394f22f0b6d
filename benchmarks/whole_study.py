"""What a whole study costs, from the command to its end: `python benchmarks/whole_study.py`.

`study launch` in a fresh folder against plain Ray Tune around the baseline's loop: a function
trainable with the Tuner's default settings, so a fresh process for every trial, which records in
MLflow as scripts do. The same cells on the same number of cores; the searched configurations of the
plain form are drawn by Ray. Both keep metrics of every epoch and the weights of two epochs in a
sqlite store of their own; ours also bits, settings and pictures.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from machine import HERE

from trainers.config import TrainConfig
from trainers.data.dataset import load_data

STUDIES_FILE = HERE.parent / "studies.yaml"
TINY = """\
tiny:
  about: A few cells of a network too small to learn.
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: {epochs: 1, batch_size: 250, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine}
  seeds: [0]
  methods:
    standard: {}
    sam: {weights: {sam: {rho: {low: 0.05, high: 0.8, log: true}}}}
  search: {trials: 1}
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
"""
"""The study of the quick form."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONPATH": str(HERE),
}
"""For the process of either side, and all that it starts."""
LEFT_OUT = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")
"""The first two would lead a launch away from its folder. Without bytecode every process compiles
all that it imports, so that either side is measured by how many it starts."""
COUNT = "SELECT COUNT(*) FROM runs WHERE status = 'FINISHED'"
COUNT_CELLS = f"{COUNT} AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'cell')"


def draw_cells(file: Path, name: str) -> list[TrainConfig]:
    """Give the configurations of a study's cells, searched ones drawn from their ranges by Ray."""
    from ray import tune

    from study.plan import space
    from study.spec import read_studies

    spec, random = read_studies(file)[name], np.random.default_rng(0)
    configurations = list(space.grid_configurations(spec))
    for block in space.search_blocks(spec, ""):
        domains = {
            path: (tune.loguniform if ends.log else tune.uniform)(ends.low, ends.high)
            for path, ends in block.ranges
        }
        for number in range(spec.search.trials if spec.search else 0):
            chosen = {path: domain.sample(random_state=random) for path, domain in domains.items()}
            configurations.append(space.suggested(block, chosen, number))
    return [
        space.train_config(spec, configuration, seed)
        for configuration in configurations
        for seed in spec.seeds
    ]


def train_cell(setting: dict[str, int], configs: Sequence[TrainConfig], store: str) -> None:
    """Train one cell, as a function that Ray Tune runs in a process of its own."""
    import mlflow
    from baseline import evaluate_baseline, new_baseline, train_baseline
    from ray import tune

    config, device = configs[setting["cell"]], torch.device("cpu")
    torch.set_num_threads(1)
    data = load_data(config.data, Path("cache"))
    mlflow.set_tracking_uri(store)
    mlflow.set_experiment("baseline")
    with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
        mlflow.log_params(asdict(config))
        state = new_baseline(config, data, device)
        for epoch in train_baseline(config, data, device, state=state):
            mlflow.log_metrics(epoch, step=epoch["epoch"])
            tune.report(epoch)
        for checkpoint in ("last", "best"):
            if checkpoint == "best":
                state.model.load_state_dict(state.best_weights)
            judged = evaluate_baseline(state.model, data.test, data, config.evaluation, device)
            mlflow.log_metric(f"{checkpoint}_clean", judged.clean)
            for radius, robust in zip(config.evaluation.radii, judged.robust, strict=True):
                mlflow.log_metric(f"{checkpoint}_robust_{radius:g}", robust)
            weights = Path(folder) / f"{checkpoint}.pt"
            torch.save(state.model.state_dict(), weights)
            mlflow.log_artifact(str(weights))


def run_ray_tune(folder: Path, file: Path, name: str, num_slots: int) -> None:
    """Run a study by plain Ray Tune, in this process."""
    import mlflow
    import ray
    from ray import tune

    store = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(store)
    mlflow.create_experiment("baseline", artifact_location=(folder / "artifacts").as_uri())
    configs = draw_cells(file, name)
    ray.init("local", num_cpus=num_slots, include_dashboard=False)
    trainable = tune.with_parameters(train_cell, configs=configs, store=store)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"cell": tune.grid_search(list(range(len(configs))))},
        run_config=tune.RunConfig(storage_path=str(folder / "ray")),
    )
    failed = tuner.fit().errors
    ray.shutdown()
    if failed:
        raise failed[0]


def run_in(folder: Path, side: str, words: Sequence[str]) -> None:
    """Run Python in a folder, with an empty cache of compiled code, to its end.

    Raises `RuntimeError` with the end of its output if it fails.
    """
    environment = {key: value for key, value in os.environ.items() if key not in LEFT_OUT}
    environment |= ENVIRONMENT | {machine.CACHE_VARIABLE: str(folder / "compiled")}
    with (folder / "output").open("w+", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            output.seek(0)
            raise RuntimeError(f"{side} ended with {done.returncode}:\n{output.read()[-3000:]}")


def run_side(side: str, file: Path, name: str, num_slots: int, counts: dict[str, int]) -> None:
    """Run a study in a fresh folder and a fresh process; count the runs that it finished."""
    with tempfile.TemporaryDirectory(prefix="rhoeps-") as temporary:
        folder = Path(temporary)
        copy = folder / "studies.yaml"
        shutil.copy(file, copy)
        words, store, query = ["-m", "study", "launch", name], "runs/mlflow.db", COUNT_CELLS
        if side == "baseline":
            words = [str(Path(__file__).resolve()), "--ray-tune", str(folder), "--study", name]
            words += ["--file", str(copy), "--slots", str(num_slots)]
            store, query = "mlflow.db", COUNT
        run_in(folder, side, words)
        connection = sqlite3.connect(folder / store)
        counts[side] = connection.execute(query).fetchone()[0]
        connection.close()


def lines(found: dict[str, Any]) -> list[str]:
    """Write what was measured as a table."""
    rows = [("side", "finished trials", "seconds", "seconds per trial")]
    for side, one in found["sides"].items():
        per_trial = [seconds / one["finished"] for seconds in one["seconds"]]
        seconds = machine.range_text(one["seconds"], digits=1)
        rows.append((side, str(one["finished"]), seconds, machine.range_text(per_trial)))
    return [
        *machine.table(rows),
        "",
        f"Faster than the baseline: {machine.ratio_text(found['ratio'])}; {found['rounds']} "
        f"interleaved rounds, {found['slots']} trials at a time, start-up included.",
    ]


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=STUDIES_FILE, help="the studies file")
    parser.add_argument("--study", default="digits", help="a study of the file")
    parser.add_argument("--rounds", type=int, default=1, help="in which each side runs once")
    parser.add_argument("--quick", action="store_true", help="a study of two cells")
    parser.add_argument("--output", type=Path, help="folder of the .txt and .json")
    parser.add_argument("--ray-tune", type=Path, help="be the baseline, with its files there")
    parser.add_argument("--slots", type=int, help="trials at a time; one per core")
    told = parser.parse_args()
    told.slots = told.slots or len(os.sched_getaffinity(0))
    return told


def main() -> None:
    """Measure both sides, print and write; or be the baseline."""
    told = read_options()
    if told.ray_tune is not None:
        run_ray_tune(told.ray_tune, told.file, told.study, told.slots)
        return
    about, counts = machine.describe(torch.device("cpu")), {}
    with tempfile.TemporaryDirectory(prefix="rhoeps-") as folder:
        if told.quick:
            told.file, told.study = Path(folder) / "tiny.yaml", "tiny"
            told.file.write_text(TINY, encoding="utf-8")
        sides: dict[str, Callable[[], None]] = {
            side: partial(run_side, side, told.file, told.study, told.slots, counts)
            for side in ("baseline", "ours")
        }
        timings = machine.interleave(sides, told.rounds, warmup=0)
    found = {
        "title": f"The whole study {told.study}, against plain Ray Tune around the baseline.",
        "machine": about | {"threads": "1"},
        "rounds": told.rounds,
        "slots": told.slots,
        "sides": {
            side: {"seconds": timing.wall, "finished": counts[side]}
            for side, timing in timings.items()
        },
        "ratio": asdict(machine.ratio(timings["baseline"].wall, timings["ours"].wall)),
    }
    output = None if told.quick and told.output is None else told.output or HERE
    machine.publish("whole_study", found, lines(found), output)


if __name__ == "__main__":
    main()
