"""A recorded table of whole trainings, on which `replay.py` compares ways to search.

80 configurations of `search_table.yaml`, spread evenly over its ranges, each with six seeds and 20
epochs: after every epoch, for every validation image, whether it is right unattacked and under the
attack that a study runs in every epoch. To record it again takes about half an hour on one core:

    python benchmarks/search_table.py record /tmp/table     # resumes; may run several times at once
    python benchmarks/search_table.py pack /tmp/table

and the same with `--check` for a second, smaller table of other configurations and seeds, to check
on it what was chosen on the first.
"""

import argparse
import fcntl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from study.plan.space import Block, Configuration, search_blocks, suggested, train_config
from study.spec import Range, StudySpec, read_studies

HERE = Path(__file__).parent
STUDY = "digits_search"
DECLARED = HERE / "search_table.yaml"
Bits = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Design:
    """Which configurations and seeds a table has."""

    stem: str
    points: Mapping[str, int]
    """How many configurations of each method."""
    seeds: tuple[int, ...]
    scramble: int
    """Seed of the Sobol sequence's scrambling."""


MAIN = Design(
    stem="search_table",
    points={"sam": 20, "at": 24, "sam_at": 36},
    seeds=tuple(range(6)),
    scramble=0,
)
CHECK = Design(
    stem="search_table_check",
    points={"sam": 8, "at": 12, "sam_at": 20},
    seeds=tuple(range(100, 103)),
    scramble=1,
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """What was recorded. Letters: N configurations, S seeds, E epochs, n validation images."""

    configurations: tuple[Configuration, ...]
    seeds: tuple[int, ...]
    bits: Bits
    """(N, S, E, 2, n): right unattacked, right under attack (nested); false after `epochs`."""
    epochs: NDArray[np.int64]
    """(N, S): epochs until the training ended; fewer than E where a detector ended it."""

    @cached_property
    def accuracies(self) -> NDArray[np.float64]:
        """(N, S, E, 2): clean and robust accuracy on validation."""
        return self.bits.mean(axis=-1)

    def rows(self, method: str) -> NDArray[np.intp]:
        """Return the rows of a method's configurations."""
        found = [row for row, one in enumerate(self.configurations) if one.method == method]
        return np.array(found, dtype=np.intp)


@cache
def declared() -> StudySpec:
    """Read the study that the tables are made of."""
    return read_studies(DECLARED)[STUDY]


def blocks(spec: StudySpec) -> dict[str, Block]:
    """Return the search block of each method."""
    from trainers.data.dataset import DIGITS_FINGERPRINT

    return {block.method: block for block in search_blocks(spec, DIGITS_FINGERPRINT)}


def draw_configurations(spec: StudySpec, design: Design) -> tuple[Configuration, ...]:
    """Spread configurations evenly over each block's ranges, by a scrambled Sobol sequence."""
    found = []
    for method, block in blocks(spec).items():
        sequence = qmc.Sobol(len(block.ranges), seed=design.scramble)
        # A whole power of two is balanced; of its points the first ones are kept.
        for number, point in enumerate(sequence.random(64)[: design.points[method]]):
            chosen = {
                path: from_unit(limits, share)
                for (path, limits), share in zip(block.ranges, point, strict=True)
            }
            found.append(suggested(block, chosen, number))
    return tuple(found)


def from_unit(limits: Range, share: float) -> float:
    """Return the value at a share of a range, rounded to four digits, on its own scale."""
    low, high = (
        (np.log(limits.low), np.log(limits.high)) if limits.log else (limits.low, limits.high)
    )
    value = low + (high - low) * share
    return float(f"{np.exp(value) if limits.log else value:.4g}")


def to_unit(limits: Range, value: float) -> float:
    """Return where a value lies in a range, from 0 to 1, on its own scale."""
    low, high, at = limits.low, limits.high, value
    if limits.log:
        low, high, at = np.log(low), np.log(high), np.log(at)
    return float((at - low) / (high - low))


def record(folder: Path, design: Design) -> None:
    """Train what the folder does not hold yet. Several processes may share the work."""
    import torch

    from trainers.data.dataset import load_data

    torch.set_num_threads(1)
    spec = declared()
    data = load_data(spec.data, folder / "cache")
    folder.mkdir(parents=True, exist_ok=True)
    configurations = draw_configurations(spec, design)
    # Seeds outside, so that a table that was stopped has all configurations.
    tasks = [(row, seed) for seed in design.seeds for row in range(len(configurations))]
    for row, seed in tasks:
        file = folder / f"{row}-{seed}.npz"
        with file.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # another process trains it
            if not file.exists():
                bits = train_one(train_config(spec, configurations[row], seed), data)
                with file.with_suffix(".part").open("wb") as part:
                    np.savez_compressed(part, bits=np.packbits(bits, axis=-1), epochs=len(bits))
                file.with_suffix(".part").rename(file)
                print(file.stem, f"{bits[-1].mean(axis=-1)}", flush=True)


def train_one(config, data) -> Bits:  # type: ignore[no-untyped-def]
    """Train one network; return the bits of its epochs: (epochs, 2, n)."""
    import torch

    from trainers.engine.engine import Engine
    from trainers.train import evaluated_model, new_state, train, validation_bits

    device, engine = torch.device("cpu"), Engine()
    state = new_state(config, data, device)
    found = []
    for epoch in train(config, data, device, state, engine):
        if epoch.diverged:
            found.append(np.zeros((2, len(data.validation.labels)), dtype=np.bool_))
            break
        bits = validation_bits(config, data, device, evaluated_model(state), engine)
        measured = (epoch.validation_clean, epoch.validation_robust)
        assert tuple(bits.mean(axis=1).tolist()) == measured
        found.append(bits)
    return np.array(found)


def pack(folder: Path, design: Design) -> Path:
    """Write the table of a finished recording beside this script."""
    from trainers.data.dataset import load_data

    spec = declared()
    configurations = draw_configurations(spec, design)
    epochs = spec_epochs(spec)
    num_images = len(load_data(spec.data, folder / "cache").validation.labels)
    shape = (len(configurations), len(design.seeds), epochs, 2, -(-num_images // 8))
    bits, ended = np.zeros(shape, dtype=np.uint8), np.zeros(shape[:2], dtype=np.int64)
    for row in range(shape[0]):
        for place, seed in enumerate(design.seeds):
            with np.load(folder / f"{row}-{seed}.npz", allow_pickle=False) as one:
                ended[row, place] = one["epochs"]
                bits[row, place, : one["epochs"]] = one["bits"]
    path = HERE / f"{design.stem}.npz"
    np.savez_compressed(
        path,
        # Images side by side over epochs: a bit that stays the same then compresses.
        bits=bits,
        num_images=num_images,
        epochs=ended,
        seeds=np.array(design.seeds),
        methods=np.array([one.method for one in configurations]),
        values=np.array([list(pad(one)) for one in configurations]),
    )
    return path


def spec_epochs(spec: StudySpec) -> int:
    """Return the epochs of a whole training."""
    return int(dict(spec.training.settings)["epochs"])  # type: ignore[arg-type]


def pad(configuration: Configuration) -> Iterator[float]:
    """Yield a configuration's values and then nan, four in all."""
    yield from (float(value) for _, value in configuration.values)  # type: ignore[arg-type]
    yield from [float("nan")] * (4 - len(configuration.values))


def load(design: Design = MAIN) -> Table:
    """Read a table that was recorded."""
    by_method, counts = blocks(declared()), dict.fromkeys(design.points, 0)
    configurations = []
    with np.load(HERE / f"{design.stem}.npz", allow_pickle=False) as read:
        bits = np.unpackbits(read["bits"], axis=-1, count=int(read["num_images"])).astype(np.bool_)
        for method, values in zip(read["methods"].tolist(), read["values"], strict=True):
            paths = [path for path, _ in by_method[method].ranges]
            chosen = dict(zip(paths, values.tolist(), strict=False))
            configurations.append(suggested(by_method[method], chosen, counts[method]))
            counts[method] += 1
        return Table(
            configurations=tuple(configurations),
            seeds=tuple(read["seeds"].tolist()),
            bits=bits,
            epochs=read["epochs"],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("record", "pack"))
    parser.add_argument("folder", type=Path, help="of the single trainings")
    parser.add_argument("--check", action="store_true", help="the table that is held back")
    told = parser.parse_args()
    design = CHECK if told.check else MAIN
    if told.what == "record":
        record(told.folder, design)
    else:
        path = pack(told.folder, design)
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
