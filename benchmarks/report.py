"""How long an analysis and its report take, and how much memory: `python benchmarks/report.py`.

Synthetic studies of adversarial training and SAM with correctness bits of 10 000 images: 60 trials
(20 configurations × 3 seeds) and 1000 (200 × 5), each in a process of its own with one thread.
Prints what it measures, and writes it to `benchmarks/report.txt` and `benchmarks/report.json`.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import norm

from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.trials import TrialResult, accuracies

HERE = Path(__file__).parent
CASES = {60: (10, 3), 1000: (100, 5)}
"""By number of trials: configurations of each of the two methods, seeds."""
IMAGES, VALIDATION_IMAGES, REPLICATES = 10_000, 2_000, 2_000
RADII = (2 / 255, 4 / 255, 6 / 255, 8 / 255)
SEED_NOISE = 0.02
"""Standard deviation over seeds of an accuracy's place on the probit scale."""


def draw_study(configurations: int, seeds: int) -> Results:
    """Draw a study whose images have latent margins: one is right where its rank is low enough.

    Accuracies lie on a concave front; half of an image's rank is its own difficulty, the rest is
    the trial's.
    """
    rng = np.random.default_rng(0)
    difficulty = rng.standard_normal(IMAGES)
    trials = []
    for method, name, strengths, gain in (
        ("at", "epsilon", np.geomspace(1 / 255, 12 / 255, configurations), 0.62),
        ("sam", "rho", np.geomspace(0.02, 0.5, configurations), 0.35),
    ):
        for place, strength in enumerate(strengths):
            share = (place + 1) / configurations
            clean = 0.95 - 0.12 * share**1.5
            robust = gain * share**0.6
            rate = np.log(clean / robust) / RADII[-1] ** 1.4
            target = np.array([clean, *(clean * np.exp(-rate * r**1.4) for r in RADII)])
            for seed in range(seeds):
                shift = SEED_NOISE * rng.standard_normal()
                wanted = norm.cdf(norm.ppf(target) + shift)
                own = rng.standard_normal(IMAGES)
                ranks = norm.cdf(np.sqrt(0.7) * difficulty + np.sqrt(0.3) * own)
                bits = ranks < wanted[:, np.newaxis]
                measured = accuracies(bits)
                on_validation = rng.binomial(VALIDATION_IMAGES, wanted) / VALIDATION_IMAGES
                trial = TrialResult(
                    method=method,
                    values={name: float(strength)},
                    seed=seed,
                    clean=float(measured[0]),
                    robust=tuple(measured[1:].tolist()),
                    validation_clean=float(on_validation[0]),
                    validation_robust=float(on_validation[-1]),
                    bits=bits,
                    sample_hash="synthetic",
                    seconds=60.0,
                    cost=7.0,
                )
                trials.append(trial)
    return Results(
        study=f"synthetic-{len(trials)}",
        about="A synthetic study.",
        threat=ThreatModel(
            attack="PGD-20, 1 restart",
            validation_attack="PGD-10, 1 restart",
            norm="linf",
            radii=RADII,
            objective_radius=RADII[-1],
        ),
        checkpoint="last",
        num_test=IMAGES,
        num_validation=VALIDATION_IMAGES,
        clean_floor=0.1,
        seeds=tuple(range(seeds)),
        methods=(
            MethodNote(name="at", sides="pgd", searched=False),
            MethodNote(name="sam", sides="sam", searched=False),
        ),
        trials=tuple(trials),
        absent=(),
        provenance={"command": "python benchmarks/report.py"},
        num_classes=10,
    )


def measure(num_trials: int) -> dict[str, float]:
    """Measure one study in this process."""
    from analysis.analysing import analyse
    from analysis.report.bundle import write_report

    results = draw_study(*CASES[num_trials])
    drawn = megabytes()
    started, started_cpu = time.perf_counter(), time.process_time()
    analyse(results, replicates=REPLICATES)
    analysed, analysed_cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(results, Path(folder) / "report", replicates=REPLICATES)
        reported, reported_cpu = time.perf_counter(), time.process_time()
        sizes = {path.name: path.stat().st_size for path in page.parent.iterdir()}
    return {
        "trials": len(results.trials),
        "analysis_seconds": analysed - started,
        "analysis_cpu_seconds": analysed_cpu - started_cpu,
        "report_seconds": reported - analysed,
        "report_cpu_seconds": reported_cpu - analysed_cpu,
        "data_megabytes": drawn,
        "peak_megabytes": megabytes(),
        "page_bytes": sizes["index.html"],
        "json_bytes": sizes["front.json"],
        "bundle_bytes": sum(sizes.values()),
    }


def megabytes() -> float:
    """Give the most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def machine() -> dict[str, str]:
    """Describe the machine, without naming it."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    import matplotlib
    import scipy

    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "matplotlib": matplotlib.__version__,
    }


def text(found: dict[str, object]) -> str:
    """Write what was measured for readers."""
    lines = [
        f"Analysis and report of synthetic studies, {IMAGES} images with bits, "
        f"{len(RADII)} radii, {REPLICATES} replicates.",
        ", ".join(f"{name} {value}" for name, value in found["machine"].items()),
        "",
        f"{'trials':>7}{'analysis':>11}{'(CPU)':>11}{'report':>11}{'(CPU)':>11}{'data':>10}{'peak':>10}{'page':>10}"
        f"{'bundle':>10}",
    ]
    for case in found["cases"]:
        seconds = [
            case[f"{what}_{kind}"]
            for what in ("analysis", "report")
            for kind in ("seconds", "cpu_seconds")
        ]
        memory = (case["data_megabytes"], case["peak_megabytes"])
        sizes = (case["page_bytes"] / 1e3, case["bundle_bytes"] / 1e3)
        lines.append(
            f"{case['trials']:>7}"
            + "".join(f"{value:>9.1f} s" for value in seconds)
            + "".join(f"{value:>7.0f} MB" for value in memory)
            + "".join(f"{value:>7.0f} kB" for value in sizes)
        )
    lines += [
        "",
        "report: the whole bundle, its analysis included. CPU: what a machine of one's own takes. "
        "data: peak memory before the analysis.",
        "Targets: 60 trials: analysis 3 s, report 10 s; 1000 trials: 60 s; 1500 MB; page 500 kB.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every case in its own process, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--case", type=int, choices=CASES, help="one study, as JSON, in this process"
    )
    told = parser.parse_args()
    if told.case is not None:
        print(json.dumps(measure(told.case)))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    cases = []
    for num_trials in CASES:
        words = [sys.executable, __file__, "--case", str(num_trials)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        cases.append(json.loads(done.stdout))
    found = {"machine": machine(), "images": IMAGES, "replicates": REPLICATES, "cases": cases}
    (HERE / "report.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (HERE / "report.txt").write_text(text(found), encoding="utf-8")
    print(text(found), end="")


if __name__ == "__main__":
    main()
