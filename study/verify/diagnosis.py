"""The checklist of a study's networks: which are missing, their rows, and recording them.

Rows 1 to 10 need the network and come from `trainers.evaluation`. Row 12 and the second part of row
11 follow from the records. The first part of row 11, the seeds, comes from `study.records.evidence`
as it depends on the study that reads it. A failed row of the checklist is a finding, not an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.plan.fronts import Member, Network
from study.plan.plan import TrialRecord
from study.records import runs, store
from study.records.attacks import (
    CheckRecord,
    Samples,
    hash_of_first,
    is_checked,
    log_checks,
    read_attacks,
)
from study.records.evidence import basis_of
from study.spec import StudySpec
from study.verify.pool import WorkContext, load_network
from trainers.config import EvaluationConfig
from trainers.evaluation.diagnose import diagnose
from trainers.evaluation.masking import Check, Limits, Verdict, graded, not_run, worst

SEED = 0
"""The seed of the noise in every attack of the checklist."""
ROBUST_OVERFITTING = Limits(0.02, 1.0)
"""Of row 11, a difference of accuracies: the row can warn but never fail."""
PROVENANCE = ("seed", "git_commit", "version.numerics", "version.torch")
"""Labels that a run must have for row 12."""
NO_COMMIT = "none"
"""The commit that a launch outside git is labelled with."""


@dataclass(frozen=True, kw_only=True)
class CheckUnit:
    """A network to diagnose."""

    network: Network
    rivals: tuple[Network, ...]
    """The networks of the same configuration with other seeds."""
    basis: str


def open_checks(spec: StudySpec, members: Sequence[Member], samples: Samples) -> list[CheckUnit]:
    """List the networks whose checklist is missing or based on fewer records than there are."""
    units = []
    for member in members:
        for network in member.networks:
            rivals = tuple(other for other in member.networks if other is not network)
            basis = basis_of(spec, network.record, [rival.record for rival in rivals], samples)
            checkpoint = runs.checkpoint_read(network.record.labels, spec.evaluation.checkpoint)
            if not is_checked(network.record, checkpoint, basis):
                units.append(CheckUnit(network=network, rivals=rivals, basis=basis))
    return units


def check_network(context: WorkContext, unit: CheckUnit) -> str:
    """Run the checklist on a network and record it on the network's run; returns the verdict.

    Raises `TrackingError` or `CheckpointError` if a record or the weights cannot be read.
    """
    spec, record = context.spec, unit.network.record
    evaluation, dataset = spec.evaluation, context.dataset
    checkpoint = runs.checkpoint_read(record.labels, evaluation.checkpoint)
    client = store.connect(context.store)
    first_hash = hash_of_first(dataset.test)
    samples = spec.autoattack.samples
    found = read_attacks(context.store, record, checkpoint, samples, first_hash)
    bits = runs.read_bits(context.store, record)
    checks = (
        *diagnose(
            load_network(context, unit.network),
            dataset.test,
            dataset.divisor,
            evaluation,
            seed=SEED,
            device=context.device,
            bits=bits[checkpoint],
            strong={
                one.threat.radius: one.bits for one in found if one.threat.norm == evaluation.norm
            },
            rivals=[load_network(context, rival) for rival in unit.rivals],
        ),
        compare_epochs(record.metrics, evaluation),
        check_provenance(record, evaluation, str(bits["sample_hash"])),
    )
    verdict = worst(checks)
    with store.recording(context.store):
        log_checks(
            client,
            record.run,
            checkpoint,
            [(_recorded(check), check.numbers) for check in checks],
            verdict,
            unit.basis,
        )
    return verdict


def compare_epochs(metrics: Mapping[str, float], evaluation: EvaluationConfig) -> Check:
    """Compute row 11, second part: robust accuracy on validation at the best and the last epoch.

    `metrics` are those of a finished trial; without those of a best epoch it is not run.
    """
    names = [runs.objective_names(name)[1] for name in ("best", "last")]
    place = f"{evaluation.norm} {evaluation.objective_radius:.4g}"
    if names[0] not in metrics:
        reason = f"its run does not record which epoch is best at {place}"
        return not_run(11, "best minus last", reason)
    best, last = (metrics[name] for name in names)
    return graded(
        11,
        "best minus last",
        best - last,
        ROBUST_OVERFITTING,
        f"Robust accuracy on validation ({place}) is {100 * best:.1f}% at the best epoch and "
        f"{100 * last:.1f}% at the last",
        "robust overfitting; show both checkpoints",
        {"best": best, "last": last},
    )


def check_provenance(record: TrialRecord, evaluation: EvaluationConfig, sample_hash: str) -> Check:
    """Compute row 12: chosen on validation, and the run records what its numbers belong to.

    A trial reads the test set once, after its last epoch; it is chosen by its validation metrics.
    `sample_hash` identifies the test samples that the trial was evaluated on; empty: unknown.
    """
    checkpoint = runs.checkpoint_read(record.labels, evaluation.checkpoint)
    chosen_by = runs.objective_names(checkpoint)
    held = record.canonical.get("evaluation", {})
    is_held = {
        "accuracies on validation": all(name in record.metrics for name in chosen_by),
        "threat model": held.get("norm") == evaluation.norm
        and list(held.get("radii", ())) == list(evaluation.radii)
        and "attack" in held,
        "data": bool(record.canonical.get("data")),
        "sample hash": bool(sample_hash),
        **{label.removeprefix("version."): bool(record.labels.get(label)) for label in PROVENANCE},
    }
    missing = [name.replace("git_", "") for name, is_there in is_held.items() if not is_there]
    numbers = {"missing": float(len(missing))}
    if missing:
        text = f"Its run does not record {', '.join(missing)}, so its numbers cannot be traced."
        return Check(number=12, name="provenance", verdict="fail", text=text, numbers=numbers)
    radii = ", ".join(f"{radius:.4g}" for radius in evaluation.radii)
    labels = record.labels
    has_commit = labels["git_commit"] != NO_COMMIT
    text = (
        f"Chosen on validation, read once on test samples {sample_hash}: {evaluation.norm} at "
        f"{radii}, seed {labels['seed']}, torch {labels['version.torch']}, "
        f"numerics {labels['version.numerics']}, {_code(labels)}."
    )
    verdict: Verdict = "pass" if has_commit else "warn"
    return Check(number=12, name="provenance", verdict=verdict, text=text, numbers=numbers)


def _code(labels: Mapping[str, str]) -> str:
    """Return the code of a run: its commit, or the version if it ran outside git."""
    if labels["git_commit"] == NO_COMMIT:
        return f"rhoeps {labels.get('version.rhoeps', 'of no known version')}, without a commit"
    changed = " (changed)" if labels.get("git_dirty") == "true" else ""
    return f"commit {labels['git_commit'][:12]}{changed}"


def _recorded(check: Check) -> CheckRecord:
    return CheckRecord(number=check.number, name=check.name, verdict=check.verdict, text=check.text)
