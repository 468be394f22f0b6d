"""What attacks and the checklist found of a trained network: recorded on the run that trained it.

An attack at one radius of one norm leaves a file of bits, its log and one metric, in this order: it
is done if and only if the metric and the file are there. The checklist leaves a file and two tags.
Nothing here needs torch. Letters: A attacks, n samples.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from study.plan.plan import TrialRecord
from study.records import runs
from study.records.store import Store, TrackingError
from trainers.data.subset import Split, sample_hash

if TYPE_CHECKING:
    from mlflow import MlflowClient

Samples = int | Literal["all"]
"""How many test images are attacked, the first ones."""

METRIC_WORDS = {"AutoAttack": "autoattack", "APGD-CE, FAB, Square": "apgd_fab_square"}
"""By the name of a sequence of attacks, the word for it in the names of metrics."""
VERDICT_TAG = "diagnosis"
"""Of the checkpoint checked last; beside it `diagnosis.last` or `.best` holds the basis."""
FOLDER = "attacks"
ATTACK_ARRAYS = ("bits", "attacks", "attack", "sample_hash", "versions")
"""What is read of the file of an attack."""
CHECKS_FOLDER = "diagnostics"


@dataclass(frozen=True, kw_only=True)
class AttackRecord:
    """What a sequence of attacks found at one radius, as it is recorded."""

    checkpoint: str
    norm: str
    radius: float
    """In units of the pixel range [0, 1]."""
    attack: str
    """The name of the sequence: `AutoAttack`."""
    samples: int
    """Judged, the first ones of the test set."""
    attacks: tuple[str, ...]
    """(A,) in the order they ran."""
    bits: NDArray[np.bool_]
    """(1 + A, n): row 0 without an attack, row 1 + a right after attacks 0 … a too."""
    sample_hash: str
    """Of the judged samples."""
    versions: Mapping[str, str]
    """Of the libraries that attacked, `pyautoattack` among them."""


@dataclass(frozen=True, kw_only=True)
class CheckRecord:
    """One row of the checklist, or one of its two parts, as it is recorded."""

    number: int
    """1 … 12."""
    name: str
    verdict: str
    """`pass`, `warn`, `fail` or `not run`."""
    text: str
    """A sentence with its numbers."""


def judged_samples(samples: Samples, num_test: int) -> Samples:
    """Give how many test images are attacked; as many as there are is all of them."""
    return "all" if samples == "all" or samples >= num_test else samples


def first_samples(split: Split, samples: Samples) -> Split:
    """Take the first samples of a split, or all."""
    if samples == "all":
        return split
    return Split(images=split.images[:samples], labels=split.labels[:samples])


def hash_of_first(test: Split) -> Callable[[int], str]:
    """Give a function that names the first so many samples, once for each number."""
    return cache(lambda samples: sample_hash(first_samples(test, samples)))


def threat_name(norm: str, radius: float, samples: Samples) -> str:
    """Name a threat in metrics and files; an evaluation of a part of the test set says so.

    >>> threat_name("linf", 8 / 255, 100)
    'linf_0.0313725_first_100'
    """
    part = "" if samples == "all" else f"_first_{samples}"
    return f"{norm}_{radius:.6g}{part}"


def metric_name(checkpoint: str, attack: str, norm: str, radius: float, samples: Samples) -> str:
    """Name the metric of the accuracy under all attacks of a sequence, raw at that radius.

    >>> metric_name("last", "AutoAttack", "l2", 0.5, "all")
    'last/autoattack_l2_0.5'
    """
    return f"{checkpoint}/{METRIC_WORDS[attack]}_{threat_name(norm, radius, samples)}"


def file_name(checkpoint: str, norm: str, radius: float, samples: Samples) -> str:
    """Name the file of the bits, below the run's artifacts."""
    return f"{FOLDER}/{checkpoint}_{threat_name(norm, radius, samples)}.npz"


def checks_file_name(checkpoint: str) -> str:
    """Name the file of the checklist, below the run's artifacts."""
    return f"{CHECKS_FOLDER}/{checkpoint}.json"


def is_attacked(
    record: TrialRecord, checkpoint: str, attack: str, norm: str, radius: float, samples: Samples
) -> bool:
    """Tell whether the sequence of attacks is recorded: its metric, and its file."""
    metric = metric_name(checkpoint, attack, norm, radius, samples)
    if metric not in record.metrics:
        return False
    return runs.may_have(record, file_name(checkpoint, norm, radius, samples))


def is_checked(record: TrialRecord, checkpoint: str, basis: str) -> bool:
    """Tell whether the checklist is recorded, of the given basis: what it was decided by."""
    is_tagged = record.labels.get(_basis_tag(checkpoint)) == basis
    return is_tagged and runs.may_have(record, checks_file_name(checkpoint))


def log_attack(
    client: "MlflowClient",
    run: str,
    found: AttackRecord,
    samples: Samples,
    seed: int,
    log: str,
    folder: Path,
) -> None:
    """Record an attack on a run, the metric last. `folder`: an empty one for the files."""
    threat = (found.norm, found.radius, samples)
    path = folder / file_name(found.checkpoint, *threat)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        bits=found.bits,
        attacks=np.array(found.attacks),
        attack=np.array(found.attack),
        sample_hash=np.array(found.sample_hash),
        seed=np.array(seed),
        versions=np.array(json.dumps(dict(found.versions), sort_keys=True)),
    )
    path.with_suffix(".txt").write_text(log, encoding="utf-8")
    client.log_artifacts(run, str(folder))
    metric = metric_name(found.checkpoint, found.attack, *threat)
    client.log_metric(run, metric, float(found.bits[-1].mean()), step=0)


def log_checks(
    client: "MlflowClient",
    run: str,
    checkpoint: str,
    checks: Sequence[tuple[CheckRecord, Mapping[str, float]]],
    verdict: str,
    basis: str,
) -> None:
    """Record the checklist on a run, each row with its numbers; the tags last."""
    content = {
        "verdict": verdict,
        "checks": [
            {
                "number": check.number,
                "name": check.name,
                "verdict": check.verdict,
                "text": check.text,
                "numbers": dict(numbers),
            }
            for check, numbers in checks
        ],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    client.log_text(run, text, checks_file_name(checkpoint))
    client.set_tag(run, VERDICT_TAG, verdict)
    client.set_tag(run, _basis_tag(checkpoint), basis)


def read_attacks(
    store: Store,
    record: TrialRecord,
    checkpoint: str,
    samples: Samples,
    first_hash: Callable[[int], str],
) -> tuple[AttackRecord, ...]:
    """Read what is recorded at the trial's own norms and radii, in their order.

    `samples`: of the first N, or of all test images, never one for the other; N is all where the
    test set has no more. `first_hash`: names the first so many test samples, which must be those
    attacked. Nothing recorded costs nothing. Raises `TrackingError` for a damaged file, and for
    other samples.
    """
    found = []
    for norm, radius in _threats(record):
        for part, attack in _recorded(record, checkpoint, norm, radius, samples):
            name = file_name(checkpoint, norm, radius, part)
            one, path = _read_attack(store, record, name, checkpoint, norm, radius)
            is_asked = part == samples or (isinstance(samples, int) and one.samples <= samples)
            if is_asked and one.attack == attack:
                _check_samples(one, first_hash(one.samples), path)
                found.append(one)
                break
    return tuple(found)


def read_checks(store: Store, record: TrialRecord, checkpoint: str) -> tuple[CheckRecord, ...]:
    """Read the checklist; empty where none is recorded, and then without looking at files.

    Raises `TrackingError` for a damaged file.
    """
    if not is_diagnosed(record, checkpoint):
        return ()
    with runs.artifact(store, record, checks_file_name(checkpoint)) as path:
        content = path.read_bytes()
        with runs.undamaged(path, "study diagnose makes it again"):
            return tuple(
                CheckRecord(
                    number=int(check["number"]),
                    name=str(check["name"]),
                    verdict=str(check["verdict"]),
                    text=str(check["text"]),
                )
                for check in json.loads(content)["checks"]
            )


def is_diagnosed(record: TrialRecord, checkpoint: str) -> bool:
    """Tell whether a checklist is recorded, of any basis."""
    has_basis = _basis_tag(checkpoint) in record.labels
    return has_basis and runs.may_have(record, checks_file_name(checkpoint))


def _basis_tag(checkpoint: str) -> str:
    return f"{VERDICT_TAG}.{checkpoint}"


def _threats(record: TrialRecord) -> Iterator[tuple[str, float]]:
    """Give the norms and radii that the trial is evaluated at, its own norm first."""
    for norm, radii in runs.recorded_threats(record.canonical["evaluation"]):
        yield from ((norm, radius) for radius in radii)


def _recorded(
    record: TrialRecord, checkpoint: str, norm: str, radius: float, samples: Samples
) -> Iterator[tuple[Samples, str]]:
    """Give what is recorded at a radius: of `samples`, then of all, which may be as many."""
    for part in dict.fromkeys((samples, "all")):
        for attack in METRIC_WORDS:
            if is_attacked(record, checkpoint, attack, norm, radius, part):
                yield part, attack


def _read_attack(
    store: Store, record: TrialRecord, name: str, checkpoint: str, norm: str, radius: float
) -> tuple[AttackRecord, Path]:
    """Read one file of bits; also says where it lies."""
    with runs.artifact(store, record, name) as path:
        content = path.read_bytes()
        with runs.undamaged(path, "study evaluate makes it again"):
            arrays = runs.read_arrays(content, ATTACK_ARRAYS)
            bits, attacks = arrays["bits"], tuple(map(str, arrays["attacks"]))
            if bits.dtype != np.bool_ or bits.ndim != 2 or len(bits) != 1 + len(attacks):
                raise ValueError(f"bits of {len(attacks)} attacks are {bits.dtype} {bits.shape}")
            found = AttackRecord(
                checkpoint=checkpoint,
                norm=norm,
                radius=radius,
                attack=str(arrays["attack"]),
                samples=bits.shape[1],
                attacks=attacks,
                bits=bits,
                sample_hash=str(arrays["sample_hash"]),
                versions=json.loads(str(arrays["versions"])),
            )
    return found, path


def _check_samples(found: AttackRecord, expected: str, path: Path) -> None:
    """Refuse an attack on other images than the evaluation attack sees."""
    if found.sample_hash != expected:
        raise TrackingError(
            f"{path}: must be of the first {found.samples} test samples ({expected}), got an "
            f"attack on {found.sample_hash or 'unnamed ones'}; delete it, then study evaluate "
            "makes it again"
        )
