"""What attacks and the checklist found of a trained network: recorded on the run that trained it.

An attack at one radius of one norm leaves a file of bits, its log and one metric, in this order: it
is done if and only if the metric and the file are there. The checklist leaves a file and two tags.
Nothing here needs torch. Letters: A attacks, n samples.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from study.plan.plan import TrialRecord
from study.records import runs
from study.records.store import Store, TrackingError
from trainers.config import Norm
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
class Threat:
    """What a network is attacked with: up to a radius of a norm, on the first test images."""

    norm: Norm
    radius: float
    """In units of the pixel range [0, 1]."""
    samples: Samples


@dataclass(frozen=True, kw_only=True)
class AttackRecord:
    """What a sequence of attacks found under one threat, as it is recorded."""

    checkpoint: str
    threat: Threat
    attack: str
    """The name of the sequence: `AutoAttack`."""
    attacks: tuple[str, ...]
    """(A,) in the order they ran."""
    bits: NDArray[np.bool_]
    """(1 + A, n): row 0 without an attack, row 1 + a right after attacks 0 … a too."""
    sample_hash: str
    """Of the judged samples."""
    versions: Mapping[str, str]
    """Of the libraries that attacked, `pyautoattack` among them."""

    @property
    def num_judged(self) -> int:
        """Return how many images were attacked: n."""
        return int(self.bits.shape[1])


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
    """Return how many test images are attacked: `all` if no more are there than asked."""
    return "all" if samples == "all" or samples >= num_test else samples


def first_samples(split: Split, samples: Samples) -> Split:
    """Return the first samples of a split, or all."""
    if samples == "all":
        return split
    return Split(images=split.images[:samples], labels=split.labels[:samples])


def hash_of_first(test: Split) -> Callable[[int], str]:
    """Return a function from a number to the hash of the first so many samples, with a cache."""
    return cache(lambda samples: sample_hash(first_samples(test, samples)))


def threat_name(threat: Threat) -> str:
    """Return the name of a threat in metrics and files, with its part of the test set.

    >>> threat_name(Threat(norm="linf", radius=8 / 255, samples=100))
    'linf_0.0313725_first_100'
    """
    part = "" if threat.samples == "all" else f"_first_{threat.samples}"
    return f"{threat.norm}_{threat.radius:.6g}{part}"


def metric_name(checkpoint: str, attack: str, threat: Threat) -> str:
    """Return the name of the metric of the accuracy under all attacks of a sequence.

    The accuracy is raw at that radius, not nested.

    >>> metric_name("last", "AutoAttack", Threat(norm="l2", radius=0.5, samples="all"))
    'last/autoattack_l2_0.5'
    """
    return f"{checkpoint}/{METRIC_WORDS[attack]}_{threat_name(threat)}"


def file_name(checkpoint: str, threat: Threat) -> str:
    """Return the name of the file of the bits, below the run's artifacts."""
    return f"{FOLDER}/{checkpoint}_{threat_name(threat)}.npz"


def checks_file_name(checkpoint: str) -> str:
    """Return the name of the file of the checklist, below the run's artifacts."""
    return f"{CHECKS_FOLDER}/{checkpoint}.json"


def is_attacked(record: TrialRecord, checkpoint: str, attack: str, threat: Threat) -> bool:
    """Return whether the sequence of attacks is recorded: its metric, and its file."""
    if metric_name(checkpoint, attack, threat) not in record.metrics:
        return False
    return runs.may_have(record, file_name(checkpoint, threat))


def is_checked(record: TrialRecord, checkpoint: str, basis: str) -> bool:
    """Return whether the checklist is recorded with this basis: what decided it."""
    is_tagged = record.labels.get(_basis_tag(checkpoint)) == basis
    return is_tagged and runs.may_have(record, checks_file_name(checkpoint))


def log_attack(
    client: "MlflowClient",
    run: str,
    found: AttackRecord,
    seed: int,
    log: str,
    folder: Path,
) -> None:
    """Record an attack on a run, the metric last. `folder`: an empty one for the files."""
    path = folder / file_name(found.checkpoint, found.threat)
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
    metric = metric_name(found.checkpoint, found.attack, found.threat)
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

    `samples`: attacks on the first N test images are never returned for all, nor the other way
    round, unless the test set has no more than N. `first_hash`: returns the hash of the first so
    many test samples, which must be those attacked. No file is opened where nothing is recorded.
    Raises `TrackingError` for a damaged file, and for other samples.
    """
    found = []
    for asked in _threats(record, samples):
        for threat, attack in _recorded(record, checkpoint, asked):
            one, path = _read_attack(store, record, checkpoint, threat)
            is_few = isinstance(samples, int) and one.num_judged <= samples
            if (threat == asked or is_few) and one.attack == attack:
                _check_samples(one, first_hash(one.num_judged), path)
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
    """Return whether a checklist is recorded, with any basis."""
    has_basis = _basis_tag(checkpoint) in record.labels
    return has_basis and runs.may_have(record, checks_file_name(checkpoint))


def _basis_tag(checkpoint: str) -> str:
    return f"{VERDICT_TAG}.{checkpoint}"


def _threats(record: TrialRecord, samples: Samples) -> Iterator[Threat]:
    """Yield the threats that the trial is evaluated under, those of its own norm first."""
    for norm, radii in runs.recorded_threats(record.canonical["evaluation"]):
        for radius in radii:
            yield Threat(norm=norm, radius=radius, samples=samples)


def _recorded(record: TrialRecord, checkpoint: str, asked: Threat) -> Iterator[tuple[Threat, str]]:
    """Yield what is recorded at a radius: of the samples asked, then of all, as many perhaps."""
    for threat in dict.fromkeys((asked, replace(asked, samples="all"))):
        for attack in METRIC_WORDS:
            if is_attacked(record, checkpoint, attack, threat):
                yield threat, attack


def _read_attack(
    store: Store, record: TrialRecord, checkpoint: str, threat: Threat
) -> tuple[AttackRecord, Path]:
    """Read one file of bits, and return where it lies, too."""
    name = file_name(checkpoint, threat)
    with runs.artifact(store, record, name) as path:
        content = path.read_bytes()
        with runs.undamaged(path, "study evaluate makes it again"):
            arrays = runs.read_arrays(content, ATTACK_ARRAYS)
            bits, attacks = arrays["bits"], tuple(map(str, arrays["attacks"]))
            if bits.dtype != np.bool_ or bits.ndim != 2 or len(bits) != 1 + len(attacks):
                raise ValueError(f"bits of {len(attacks)} attacks are {bits.dtype} {bits.shape}")
            found = AttackRecord(
                checkpoint=checkpoint,
                threat=threat,
                attack=str(arrays["attack"]),
                attacks=attacks,
                bits=bits,
                sample_hash=str(arrays["sample_hash"]),
                versions=json.loads(str(arrays["versions"])),
            )
    return found, path


def _check_samples(found: AttackRecord, expected: str, path: Path) -> None:
    """Raise `TrackingError` for an attack on other images than those of the evaluation attack."""
    if found.sample_hash != expected:
        raise TrackingError(
            f"{path}: must be of the first {found.num_judged} test samples ({expected}), got an "
            f"attack on {found.sample_hash or 'unnamed ones'}; delete it, then study evaluate "
            "makes it again"
        )
