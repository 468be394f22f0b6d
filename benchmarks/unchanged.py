"""Record everything that a refactoring must not change, and compare two recordings.

    python benchmarks/unchanged.py record before --project PROJECT   # at the commit you start from
    python benchmarks/unchanged.py record after --project PROJECT    # at the commit you end with
    python benchmarks/unchanged.py compare before after

A recording holds, for every weight side, input side and loss, the metrics of one short training
with a fixed seed (`metrics.json`); the cell keys of every study of `studies.yaml` (`keys.json`);
the outputs of the commands (`commands/`); and the report of a recorded study (`report/`).
PROJECT is a folder with `studies.yaml` and `runs/`, where the study `digits` was launched. It is
copied to one fixed place first, as some outputs hold paths. `compare` lists the files that differ,
and whether they differ in numbers or in words alone.
"""

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PLACE = Path(tempfile.gettempdir()) / "rhoeps-unchanged"
STUDY = "digits"
COMMANDS = (
    ("--help",),
    *((name, "--help") for name in ("list", "check", "plan", "launch", "status", "evaluate")),
    *((name, "--help") for name in ("diagnose", "report", "ui")),
    ("list",),
    ("check",),
    ("plan", STUDY),
    ("status", STUDY),
    ("launch", STUDY),
    ("evaluate", STUDY),
    ("diagnose", STUDY),
    ("report", STUDY),
    ("plan", "cifar10_small"),
    ("status", "no_such_study"),
)
PICTURES = {".pdf", ".png", ".svg"}
NOT_COMPARED = re.compile(r"\b[0-9a-f]{32}\b")
"""MLflow's ids of runs, which are drawn when a run begins."""


def methods() -> dict[str, Any]:
    """Return one method for every weight side, input side and loss, and a few that combine them."""
    from trainers.config import INPUT_SIDES, LOSSES, WEIGHT_SIDES, Method, Pgd

    numbers = {"rho": 0.1, "gamma": 0.01, "norm": "linf", "epsilon": 0.1, "steps": 2, "sigma": 0.1}
    numbers |= {"epsilon_linf": 0.1, "epsilon_l1": 2.0}

    def made(cls: Any) -> Any:
        needed = [f.name for f in cls.__dataclass_fields__.values() if f.name in numbers]
        return cls(**{name: numbers[name] for name in needed})

    pgd = Pgd(norm="linf", epsilon=0.1, steps=2)
    found = {f"weights.{name}": Method(weights=made(cls)) for name, cls in WEIGHT_SIDES.items()}
    found |= {f"inputs.{name}": Method(inputs=made(cls)) for name, cls in INPUT_SIDES.items()}
    found |= {f"loss.{name}": Method(inputs=pgd, loss=made(cls)) for name, cls in LOSSES.items()}
    combined = {"gsam": "mart", "awp": "trades"}
    for weights, loss in combined.items():
        method = Method(weights=made(WEIGHT_SIDES[weights]), inputs=pgd, loss=LOSSES[loss]())
        found[f"{weights} with {loss}"] = method
    return found


def metrics() -> dict[str, Any]:
    """Train one network for two epochs by every method; return metrics and test accuracies."""
    import torch

    from trainers.config import (
        DataConfig,
        EvaluationConfig,
        ModelConfig,
        PgdAttack,
        TrainConfig,
        TrainingConfig,
    )
    from trainers.data.dataset import load_data
    from trainers.evaluation.evaluate import evaluate
    from trainers.train import new_state, train

    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    training = TrainingConfig(
        epochs=2,
        batch_size=64,
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
    )
    basis = TrainConfig(
        data=DataConfig(name="digits"),
        model=ModelConfig(name="small_cnn", width=4),
        training=training,
        method=methods()["weights.none"],
        evaluation=EvaluationConfig(
            norm="linf",
            radii=(0.05, 0.1),
            objective_radius=0.1,
            attack=PgdAttack(steps=5, restarts=2),
        ),
        seed=0,
    )
    data = load_data(basis.data, Path("unused"))
    optimizers = {
        "sgd": training,
        "adamw": replace(training, optimizer="adamw", learning_rate=0.01, ema_decay=0.9),
        "nesterov": replace(training, nesterov=True, gradient_clip=1.0),
    }
    found = {}
    for name, method in methods().items():
        chosen = optimizers if name == "weights.sam" else {"sgd": training}
        for optimizer, how in chosen.items():
            config = replace(basis, method=method, training=how)
            state = new_state(config, data, cpu)
            epochs = [asdict(epoch) for epoch in train(config, data, cpu, state)]
            for epoch in epochs:
                for key in [key for key in epoch if key.endswith("seconds")]:
                    del epoch[key]
            judged = evaluate(state.model, data.test, data.divisor, config.evaluation, 0, cpu)
            bits = {
                key: value.tolist()
                for key, value in vars(judged).items()
                if key != "seconds" and hasattr(value, "tolist")
            }
            found[f"{name}, {optimizer}"] = {"epochs": epochs, "evaluation": bits}
    return found


def keys() -> dict[str, Any]:
    """Return the keys of all grid cells and search blocks of every study of `studies.yaml`."""
    from study.plan import space
    from study.spec import read_studies

    found = {}
    for name, spec in read_studies(ROOT / "studies.yaml").items():
        grid = space.grid_configurations(spec)
        found[name] = {
            "cells": [cell.key for one in grid for cell in space.cells(spec, one, "data")],
            "blocks": [block.key for block in space.search_blocks(spec, "data")],
        }
    return found


def record(folder: Path, project: Path) -> None:
    """Write a recording of the code that this interpreter imports."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "commands").mkdir(parents=True)
    for name, content in (("metrics", metrics()), ("keys", keys())):
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    shutil.rmtree(PLACE, ignore_errors=True)
    shutil.copytree(project, PLACE, symlinks=True)
    environment = {**os.environ, "COLUMNS": "120", "TERM": "dumb"}
    for words in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "study", *words],
            cwd=PLACE,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        output = f"{NOT_COMPARED.sub('ID', done.stdout)}exit code {done.returncode}\n"
        (folder / "commands" / f"{'_'.join(words)}.txt").write_text(output, encoding="utf-8")
    shutil.copytree(PLACE / "reports" / STUDY, folder / "report")


def numbers_of(text: str) -> set[str]:
    """Return the different numbers of a text; a sentence may repeat or reorder its numbers."""
    return set(re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?", text))


def without_words(value: Any) -> Any:
    """Replace every string of a JSON value, so that keys, numbers and structure are left."""
    if isinstance(value, dict):
        return {key: without_words(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_words(inner) for inner in value]
    return "" if isinstance(value, str) else value


def difference(name: str, old: str, new: str) -> str:
    """Return how two versions of a file differ, in capitals where more than words does."""
    if not name.endswith(".json"):
        is_alike = numbers_of(old) == numbers_of(new)
        return "words alone differ" if is_alike else "NUMBERS differ"
    before, after = without_words(json.loads(old)), without_words(json.loads(new))
    if before == after:
        return "words alone differ"
    added = [key for key in after if key not in before] if isinstance(after, dict) else []
    is_kept = all(after.get(key) == value for key, value in before.items())
    return f"added: {', '.join(added)}" if added and is_kept else "NUMBERS OR KEYS differ"


def compare(before: Path, after: Path) -> int:
    """Print which files differ, and how. Return 1 if a number, a key or a file differs.

    Pictures follow the words in them: where they differ, look at them.
    """
    names = [
        {str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()}
        for one in (before, after)
    ]
    worst = 0
    for name in sorted(names[0] | names[1]):
        if name not in names[0] & names[1]:
            print(f"{name}: only in {before if name in names[0] else after}")
            worst = 1
            continue
        old, new = (before / name).read_bytes(), (after / name).read_bytes()
        if old == new:
            continue
        if Path(name).suffix in PICTURES:
            print(f"{name}: another picture")
            continue
        texts = old.decode(), new.decode()
        found = difference(name, *texts)
        print(f"{name}: {found}")
        is_fine = found == "words alone differ" or found.startswith("added")
        worst = worst if is_fine else 1
        lines = difflib.unified_diff(*(text.splitlines() for text in texts), lineterm="", n=0)
        for line in list(lines)[2:14]:
            print(f"    {line[:160]}")
    print("equal but for what is listed" if worst == 0 else "not equal")
    return worst


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("folder", type=Path)
    recording.add_argument("--project", type=Path, required=True)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    words = parser.parse_args()
    if words.command == "compare":
        return compare(words.before, words.after)
    record(words.folder.resolve(), words.project)
    return 0


if __name__ == "__main__":
    sys.exit(main())
