"""What surrounds the trials, and whether it grows with them: `python benchmarks/overhead.py`.

- Commands, each a process of its own, in a study with 10, 100 and 1000 recorded trials.
- A launch: in a fresh folder, again for more, and with nothing to do.
- Bookkeeping of a trial that trains nothing, through the real searcher, MLflow and callbacks, in
  a study with 10, 100 and 1000 trials: one trial of each in turn, in CPU time.
- A suggestion of Optuna's after 10, 100 and 1000 others.
- Trials that train nothing through a real launch with Ray, from the start of one to that of the
  next in the same worker, early and late.

Prints what it measures, and writes it to `benchmarks/overhead.txt` and `benchmarks/overhead.json`.

With `--against CHECKOUT`, the folder of another version, it measures start-ups alone: those of both
versions in turn, and their ratio. It prints them, and writes nothing.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from empty_trials import Bookkeeping, declare, launch_empty

from study.plan.plan import make_plan
from study.records import runs, store
from study.search.searcher import StudySearcher
from trainers.data.dataset import DIGITS_FINGERPRINT

HERE = Path(__file__).parent
RECORDED = (10, 100, 1000)
"""Trials that a study has when the next ones are measured."""
ROUNDS, SEEDS = 60, 5
COMMANDS = (("--help",), ("list",), ("check",), ("plan", "empty"), ("status", "empty"))
COMMAND_ROUNDS = 5
START_UPS = (
    ("-m", "study", "--help"),
    ("-m", "study", "plan", "digits"),
    ("-c", "import analysis"),
)
START_UP_ROUNDS = 15
LAUNCHED = 3
"""Times that a launch is measured."""


def commands(folder: Path) -> dict[str, dict[str, float]]:
    """Run each command several times; give the medians of its wall and CPU seconds."""
    found = {}
    for words in COMMANDS:
        spent = [run_study(folder, *words) for _ in range(COMMAND_ROUNDS)]
        walls, cpus = zip(*spent, strict=True)
        found[f"study {' '.join(words)}"] = {"wall": median(walls), "cpu": median(cpus)}
    return found


def run_study(folder: Path, *words: str) -> tuple[float, float]:
    """Run a command to its end; give its wall and CPU seconds."""
    before, started = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "study", *words]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    user, system = after.children_user, after.children_system
    return wall, user + system - before.children_user - before.children_system


def start_ups(against: Path) -> str:
    """Run commands of this version and another in turn; return their median CPU seconds as text."""
    ours = HERE.parent
    studies = ours / "studies.yaml"
    lines = [f"{'start-up, CPU seconds, median of ' + str(START_UP_ROUNDS):<44}"]
    lines[0] += _columns(("this", "against", "ratio"))
    for words in START_UPS:
        spent: dict[Path, list[float]] = {ours: [], against: []}
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / studies.name).write_text(studies.read_text(encoding="utf-8"))
            for number in range(START_UP_ROUNDS + 1):
                for checkout, seconds in spent.items():
                    environment = {**os.environ, "PYTHONPATH": str(checkout)}
                    before = os.times()
                    command = [sys.executable, *words]
                    quiet = subprocess.DEVNULL
                    subprocess.run(command, cwd=folder, check=True, stdout=quiet, env=environment)
                    after = os.times()
                    user = after.children_user - before.children_user
                    # The first round writes bytecode, and counts for neither.
                    if number:
                        seconds.append(user + after.children_system - before.children_system)
        this, other = (median(seconds) for seconds in spent.values())
        values = (f"{this:.3f}", f"{other:.3f}", f"{this / other:.2f}")
        lines.append(f"  {' '.join(words):<42}" + _columns(values))
    return "\n".join(lines) + "\n"


def launches(folder: Path) -> dict[str, float]:
    """Launch a study of one short trial; give the seconds until its run was open, and in all."""
    declare(folder, "[0.1]", 1)
    fresh, whole = _launch(folder)
    declare(folder, "[0.1, 0.2]", 1)
    again, _ = _launch(folder)
    nothing, _ = run_study(folder, "launch", "empty")
    return {"fresh": fresh, "fresh, to its end": whole, "again": again, "nothing to do": nothing}


def _launch(folder: Path) -> tuple[float, float]:
    """Launch; give the seconds until the run of the first trial was open, and until the end."""
    started = time.time()
    wall, _ = run_study(folder, "launch", "empty")
    return min(r.started for r in records(folder) if r.started >= started) - started, wall


def records(folder: Path) -> list[Any]:
    """Read the trials of a project, the earliest first."""
    source = runs.open_source(store.find_store(folder))
    return sorted(runs.read_trials(source, "last"), key=lambda record: record.started)


def bookkeeping(studies: dict[int, Bookkeeping]) -> dict[int, dict[str, float]]:
    """Record trials of each study in turn; give the medians of their CPU seconds, by part.

    Garbage is collected before each: else the turn of one study could hold the pauses of all.
    """
    spent: dict[int, list[dict[str, float]]] = {recorded: [] for recorded in studies}
    for _ in range(ROUNDS):
        for recorded, study in studies.items():
            gc.collect()
            spent[recorded].append(study.trial())
    return {
        recorded: {
            **{part: median(one[part] for one in trials) for part in trials[0]},
            "total": median(sum(one.values()) for one in trials),
        }
        for recorded, trials in spent.items()
    }


def suggestions(folder: Path) -> dict[int, float]:
    """Search a range; give the median CPU seconds of suggestions after so many others."""
    window = 20
    count = max(RECORDED) + window
    spec = declare(folder, "{low: 0.01, high: 1.0, log: true}", 1, f"search: {{trials: {count}}}")
    searcher = StudySearcher(spec, make_plan(spec, DIGITS_FINGERPRINT, ()))
    spent = []
    for number in range(count):
        started = time.process_time()
        searcher.suggest(str(number))
        spent.append(time.process_time() - started)
        clean = (number * 0.618) % 1
        result = {"complete": True, "objective_clean": clean, "objective_robust": 1 - clean}
        searcher.on_trial_complete(str(number), result)
    return {recorded: median(spent[recorded : recorded + window]) for recorded in RECORDED}


def through_ray(folder: Path, num_trials: int) -> dict[str, float]:
    """Launch empty trials; give the median seconds from start to start in a worker, and the gap.

    The gap lies between the end of a run and the start of the next: what Ray takes, and what a
    worker does before its run is open. Early: the first quarter, without each worker's first
    trial; late: the last quarter.
    """
    command = [sys.executable, __file__, "--launch", str(folder), str(num_trials)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    by_worker: dict[str, list[Any]] = {}
    for record in records(folder):
        by_worker.setdefault(record.labels["process"], []).append(record)
    periods: dict[str, list[float]] = {"early": [], "late": []}
    gaps: dict[str, list[float]] = {"early": [], "late": []}
    for trials in by_worker.values():
        pairs = list(pairwise(trials[1:]))
        quarter = len(pairs) // 4
        for when, chosen in (("early", pairs[:quarter]), ("late", pairs[-quarter:])):
            periods[when] += [after.started - before.started for before, after in chosen]
            gaps[when] += [
                after.started - before.started - before.seconds for before, after in chosen
            ]
    return {
        "trials": num_trials,
        "workers": len(by_worker),
        **{f"{when} period": median(values) for when, values in periods.items()},
        **{f"{when} gap": median(values) for when, values in gaps.items()},
    }


def machine() -> dict[str, str]:
    """Describe the machine, without naming it."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("ray", "optuna", "mlflow", "torch")},
    }


def text(found: dict[str, Any]) -> str:
    """Write what was measured for readers."""
    lines = ["What surrounds the trials.", _listed(found["machine"]), ""]
    lines.append(f"{'seconds, wall (CPU), with recorded trials':<44}" + _columns(RECORDED))
    for name in found["commands"][RECORDED[0]]:
        spent = [found["commands"][recorded][name] for recorded in RECORDED]
        cells = [f"{one['wall']:.2f} ({one['cpu']:.2f})" for one in spent]
        lines.append(f"  {name:<42}" + _columns(cells))
    lines += ["", "launch, seconds until the run of the first trial is open, median of "]
    lines[-1] += f"{LAUNCHED}"
    for name, seconds in found["launch"].items():
        lines.append(f"  {name:<42}{seconds:>14.1f}")
    lines += ["", f"{'bookkeeping of a trial, CPU ms, after trials':<44}" + _columns(RECORDED)]
    for part in found["bookkeeping"][RECORDED[0]]:
        values = [found["bookkeeping"][recorded][part] for recorded in RECORDED]
        lines.append(f"  {part:<42}" + _columns([f"{value * 1e3:.1f}" for value in values]))
    values = [f"{found['suggestion'][recorded] * 1e3:.1f}" for recorded in RECORDED]
    lines.append(f"  {'a suggestion (Optuna, TPE)':<42}" + _columns(values))
    ray = found["ray"]
    lines += ["", f"{ray['trials']} empty trials through Ray, ms, {ray['workers']} workers"]
    lines[-1] = f"{lines[-1]:<44}" + _columns(("early", "late"))
    for name, kind in (("from one start to the next", "period"), ("of this between runs", "gap")):
        values = [f"{ray[f'{when} {kind}'] * 1e3:.0f}" for when in ("early", "late")]
        lines.append(f"  {name:<42}" + _columns(values))
    lines += [
        "",
        "Targets: study --help 0.3 s, study plan 1.5 s; trial to trial 100 ms; bookkeeping after",
        "1000 trials within 5% of that after 10. Load: of the machine as the benchmark began.",
        "Ray's workers have the usual priority here (RAY_worker_niceness=0), against outside load.",
    ]
    return "\n".join(lines) + "\n"


def _columns(values: Any) -> str:
    return "".join(f"{value:>14}" for value in values)


def _listed(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def measure(folder: Path, num_trials: int) -> dict[str, Any]:
    """Measure everything below a folder."""
    found: dict[str, Any] = {"machine": machine()}
    timed = [launches(folder / f"launch{number}") for number in range(LAUNCHED)]
    found["launch"] = {name: median(one[name] for one in timed) for name in timed[0]}
    found["ray"] = through_ray(folder / "ray", num_trials)
    found["suggestion"] = suggestions(folder / "suggestions")
    studies = {}
    for recorded in RECORDED:
        count = (recorded + ROUNDS) // SEEDS + 1
        place = folder / str(recorded)
        spec = declare(place, [round((n + 1) / count, 6) for n in range(count)], SEEDS)
        studies[recorded] = Bookkeeping(place, spec, recorded)
    found["commands"] = {recorded: commands(studies[recorded].folder) for recorded in RECORDED}
    found["bookkeeping"] = bookkeeping(studies)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ray-trials", type=int, default=200, help="empty trials through Ray")
    parser.add_argument("--launch", nargs=2, metavar=("FOLDER", "TRIALS"), help="only launch them")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="only compare start-ups")
    told = parser.parse_args()
    if told.against:
        print(_listed(machine()), start_ups(told.against.resolve()), sep="\n", end="")
        return
    if told.launch:
        launch_empty(Path(told.launch[0]), int(told.launch[1]))
        return
    # Without bytecode each process would compile all that it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Ray's workers give way to every other process; without that, outside load falls on all alike.
    os.environ.setdefault("RAY_worker_niceness", "0")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), told.ray_trials)
    (HERE / "overhead.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (HERE / "overhead.txt").write_text(text(found), encoding="utf-8")
    print(text(found), end="")


if __name__ == "__main__":
    main()
