"""Whether a study runs on shares of a GPU, and what it takes: `python benchmarks/gpu_study.py`.

`study launch` in a fresh folder, on six trials of two epochs with synthetic 32 × 32 images, four at
a time on one GPU. Exit code 1 unless all six finish and record that they ran on the device.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from cases import options, read_output, synthetic
from machine import HERE

STUDY = """\
shared:
  about: Six trials on 32 × 32 images.
  data: {name: "npz:%(images)s"}
  model: {name: %(model)s}
  training: {epochs: 2, batch_size: 128, learning_rate: 0.1, momentum: 0.9, weight_decay: 5.0e-4,
             schedule: cosine}
  seeds: [0]
  methods:
    standard: {}
    sam: {weights: {sam: {rho: [0.1, 0.2]}}}
    at: {inputs: {pgd: {norm: linf, epsilon: [2/255, 8/255], steps: 2}}}
    sam_at: {weights: {sam: {rho: 0.1}},
             inputs: {pgd: {norm: linf, epsilon: 8/255, steps: 2}}}
  evaluation: {norm: linf, radii: [8/255], objective_radius: 8/255,
               attack: {pgd: {steps: 5, restarts: 1}}}
  resources: {cpu: 1, gpu: %(share)s}
"""
NUM_TRIALS = 6
SHARE = 0.25
QUICK_IMAGES = 256
ELSEWHERE = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", machine.CACHE_VARIABLE)
"""Left out of the environment, as they would lead a launch away from its folder."""
EXECUTIONS = (
    "SELECT tags.key, tags.value, COUNT(*) FROM tags JOIN runs USING (run_uuid) "
    "WHERE status = 'FINISHED' AND tags.key IN ('engine.device', 'engine.step') "
    "GROUP BY tags.key, tags.value"
)


def write_project(folder: Path, told: argparse.Namespace) -> None:
    """Write the studies file and its images."""
    data = synthetic(QUICK_IMAGES if told.quick else told.images)
    parts = {"train": data.train, "test": data.test}
    arrays = {f"{name}_x": part.images for name, part in parts.items()}
    arrays |= {f"{name}_y": part.labels for name, part in parts.items()}
    np.savez(folder / "images.npz", **arrays)
    is_gpu = told.device == "cuda"
    text = STUDY % {
        "images": folder / "images.npz",
        "model": "preact_resnet18" if is_gpu else "small_cnn",
        "share": SHARE if is_gpu else 0,
    }
    (folder / "studies.yaml").write_text(text, encoding="utf-8")


def launch(folder: Path) -> tuple[int, float]:
    """Launch the study; return the exit code and the seconds, start-up included."""
    environment = {key: value for key, value in os.environ.items() if key not in ELSEWHERE}
    environment |= {"PYTHONPATH": str(HERE.parent), "MLFLOW_DISABLE_TELEMETRY": "true"}
    started = time.perf_counter()
    words = [sys.executable, "-m", "study", "launch", "shared"]
    done = subprocess.run(words, cwd=folder, env=environment, check=False)
    return done.returncode, time.perf_counter() - started


def executions(store: Path) -> dict[str, dict[str, int]]:
    """Count the finished trials by what they recorded to have been executed by."""
    found: dict[str, dict[str, int]] = {"engine.device": {}, "engine.step": {}}
    if store.exists():
        connection = sqlite3.connect(store)
        for key, value, count in connection.execute(EXECUTIONS):
            found[key][value] = count
        connection.close()
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """Write what was found as a table."""
    counted = [
        ", ".join(f"{count} {value}" for value, count in one.items()) or "none"
        for one in found["executions"].values()
    ]
    heads = ("trials finished on", "step executed by", "seconds, start-up included", "exit code")
    return machine.table([heads, (*counted, f"{found['seconds']:.1f}", str(found["exit_code"]))])


def main() -> None:
    """Launch, print and write; exit with 1 unless every trial ran on the device."""
    parser = options(__doc__.splitlines()[0])
    parser.set_defaults(images=2560)
    told = parser.parse_args()
    device = torch.device(told.device)
    about = machine.describe(device)
    with tempfile.TemporaryDirectory(prefix="rhoeps-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        write_project(folder, told)
        code, seconds = launch(folder)
        executed = executions(folder / "runs" / "mlflow.db")
    found = {
        "title": f"A study of {NUM_TRIALS} trials, each with "
        f"{f'a share of {SHARE} of a GPU' if device.type == 'cuda' else 'a core'}.",
        "machine": about,
        "seconds": seconds,
        "exit_code": code,
        "executions": executed,
    }
    machine.publish(f"gpu_study-{device.type}-synthetic", found, lines(found), read_output(told))
    sys.exit(0 if code == 0 and executed["engine.device"] == {device.type: NUM_TRIALS} else 1)


if __name__ == "__main__":
    main()
