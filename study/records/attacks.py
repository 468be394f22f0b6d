"""What attacks and the checklist found about a trained network, recorded on its training run.

An attack at one radius of one norm leaves a file of bits, its log and one metric, in this order. It
is done if and only if the metric and the file are there. The checklist leaves a file and two tags.
Nothing here needs torch. Shape letters: A attacks, n samples.
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
"""How many test images are attacked, counted from the first."""

METRIC_WORDS = {"AutoAttack": "autoattack", "APGD-CE, FAB, Square": "apgd_fab_square"}
"""The word for a sequence of attacks in the names of metrics, by the name of the sequence."""
VERDICT_TAG = "diagnosis"
"""The verdict on the checkpoint that was checked last. Another tag, `diagnosis.last` or
`diagnosis.best`, holds its basis."""
FOLDER = "attacks"
ATTACK_ARRAYS = ("bits", "attacks", "attack", "sample_hash", "versions")
"""The arrays that are read from the file of an attack."""
CHECKS_FOLDER = "diagnostics"


@dataclass(frozen=True, kw_only=True)
class Threat:
    """What a network is attacked with: a norm, the largest radius, and how many test images."""

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
    """(A,) their names, in the order in which they ran."""
    bits: NDArray[np.bool_]
    """(1 + A, n): row 0 marks the samples that are right without an attack, row 1 + a those that
    are still right after the attacks 0 … a."""
    sample_hash: str
    """The hash of the attacked samples."""
    versions: Mapping[str, str]
    """The versions of the attacking libraries, `pyautoattack` among them."""

    @property
    def num_judged(self) -> int:
        """Return how many images were attacked: n."""
        return int(self.bits.shape[1])


@dataclass(frozen=True, kw_only=True)
class CheckRecord:
    """One row of the checklist, or one part of a row that has two, as it is recorded."""

    number: int
    """1 … 12."""
    name: str
    verdict: str
    """`pass`, `warn`, `fail` or `not run`."""
    text: str
    """A sentence with its numbers."""


def judged_samples(samples: Samples, num_test: int) -> Samples:
    """Return how many test images are attacked: `all` if there are not more than `samples`."""
    return "all" if samples == "all" or samples >= num_test else samples


def first_samples(split: Split, samples: Samples) -> Split:
    """Return the first samples of a split, or all."""
    if samples == "all":
        return split
    return Split(images=split.images[:samples], labels=split.labels[:samples])


def hash_of_first(test: Split) -> Callable[[int], str]:
    """Return a cached function from a number n to the hash of the first n test samples."""
    return cache(lambda samples: sample_hash(first_samples(test, samples)))


def threat_name(threat: Threat) -> str:
    """Return the name of a threat for metrics and files, with its part of the test set.

    >>> threat_name(Threat(norm="linf", radius=8 / 255, samples=100))
    'linf_0.0313725_first_100'
    """
    part = "" if threat.samples == "all" else f"_first_{threat.samples}"
    return f"{threat.norm}_{threat.radius:.6g}{part}"


def metric_name(checkpoint: str, attack: str, threat: Threat) -> str:
    """Return the name of the metric of the accuracy under all attacks of a sequence.

    The accuracy is as measured at that radius, without regard to smaller radii.

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
    """Return whether a sequence of attacks is recorded, with its metric and its file."""
    if metric_name(checkpoint, attack, threat) not in record.metrics:
        return False
    return runs.may_have(record, file_name(checkpoint, threat))


def is_checked(record: TrialRecord, checkpoint: str, basis: str) -> bool:
    """Return whether the checklist is recorded with this basis, the hash of what decided it."""
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
    """Record an attack on a run, the metric last. `folder`: an empty folder for the files."""
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
    """Record the checklist on a run, each row with its numbers, and then its tags."""
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
    """Read the attacks that are recorded at the trial's own norms and radii, in their order.

    `samples`: an attack on the first N test images is never returned where all are asked for, nor
    the other way round, unless the test set has no more than N. `first_hash(n)` returns the hash of
    the first n test samples, which must be the attacked ones. No file is opened where nothing is
    recorded. Raises `TrackingError` for a damaged file, and for an attack on other samples.
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
    """Read the checklist. Where none is recorded, return an empty one and open no file.

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
    """Return whether a checklist is recorded, whatever its basis."""
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
    """Yield the attacks recorded at a radius: on the samples asked for, then on the whole test set.

    The test set may have no more samples than are asked for.
    """
    for threat in dict.fromkeys((asked, replace(asked, samples="all"))):
        for attack in METRIC_WORDS:
            if is_attacked(record, checkpoint, attack, threat):
                yield threat, attack


def _read_attack(
    store: Store, record: TrialRecord, checkpoint: str, threat: Threat
) -> tuple[AttackRecord, Path]:
    """Read one file of bits; return its content and its path."""
    name = file_name(checkpoint, threat)
    with runs.artifact(store, record, name) as path:
        content = path.read_bytes()
        with runs.undamaged(path, "study evaluate makes it again"):
            arrays = runs.read_arrays(content, ATTACK_ARRAYS)
            bits, attacks = arrays["bits"], tuple(map(str, arrays["attacks"]))
            if bits.dtype != np.bool_ or bits.ndim != 2 or len(bits) != 1 + len(attacks):
                shape = f"{bits.dtype} of shape {bits.shape}"
                raise ValueError(f"the bits of {len(attacks)} attacks are {shape}")
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
            f"{path}: must be an attack on the first {found.num_judged} test samples ({expected}), "
            f"got one on {found.sample_hash or 'samples without a hash'}; delete it, then study "
            "evaluate makes it again"
        )
