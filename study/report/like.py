"""Like trials: recorded ones from whose noise a study's power is read off before it is launched.

Alike are trials on the same data and network, with the sides of a method of the primary contrast,
evaluated at the objective radius. Any study of the store may have run them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel, primary_pair
from analysis.results.trials import TrialResult, accuracies
from study.plan import naming, space
from study.plan.cost import network_key
from study.plan.plan import Plan, TrialRecord
from study.records.runs import BITS_FILE, DAMAGES, checkpoint_read, local_path, read_arrays
from study.spec import SIDES, AnalysisSpec, StudySpec
from study.spec.settings import class_of

if TYPE_CHECKING:
    from analysis.advice.power import ContrastNoise
    from analysis.results.trials import Bits

MOST_LIKE = 12
"""At most so many configurations of each method are read, evenly by their robust accuracy."""
TEST_IMAGES = {
    "digits": 500,
    "svhn": 26_032,
    **dict.fromkeys(("cifar10", "cifar100", "mnist", "fashion_mnist"), 10_000),
}
"""Sizes of whole test parts that are known without reading them."""
FLOOR = 0.1
"""The clean floor where none is declared, as the classes are not known before the data are read: an
average over required clean accuracies hardly changes with it."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The noise that a study's primary contrast is expected to have."""

    pair: tuple[str, str]
    noise: "ContrastNoise"
    trials: int
    """Number of recorded trials that it was measured in; 0 if it is assumed."""
    images: int | None
    """Number of test images; None if it is unknown before the data are read."""
    sizes: tuple[int, int]
    """Numbers of configurations that the plan has of both."""


def expected_noise(spec: StudySpec, plan: Plan) -> Expected | None:
    """Return the expected noise of the primary contrast; None if the study declares none."""
    # NumPy: a tenth of a second, which `study status` spares.
    from analysis.advice.power import assumed_noise, contrast_noise

    empty = _without_trials(spec)
    pair = primary_pair(empty, tuple(spec.methods))
    if pair is None:
        return None
    sizes = _size(plan, pair[0]), _size(plan, pair[1])
    results = _with_trials(empty, _trials(spec, plan, dict(zip(pair, sizes, strict=True))))
    measured = None if results is None else contrast_noise(results)
    if results is None or measured is None:
        asked = spec.data.test_samples
        images = TEST_IMAGES.get(spec.data.name) if asked == "all" else int(asked)
        return Expected(pair=pair, noise=assumed_noise(sizes), trials=0, images=images, sizes=sizes)
    count, images = len(results.trials), results.num_test
    return Expected(pair=pair, noise=measured, trials=count, images=images, sizes=sizes)


def _size(plan: Plan, method: str) -> int:
    """Count a method's configurations, with those that are still to be suggested."""
    declared = {p.cell.configuration for p in plan.cells if p.cell.configuration.method == method}
    suggested = sum(block.to_search for block in plan.blocks if block.block.method == method)
    return max(len(declared) + suggested, 1)


def _without_trials(spec: StudySpec) -> Results:
    """Return the study's declaration as results without a trial."""
    declared, evaluation = spec.analysis or AnalysisSpec(), spec.evaluation
    return Results(
        study=spec.name,
        about="",
        threat=ThreatModel(
            attack=evaluation.attack.title,
            validation_attack="",
            norm=evaluation.norm,
            radii=(evaluation.objective_radius,),
            objective_radius=evaluation.objective_radius,
        ),
        checkpoint=evaluation.checkpoint,
        num_test=1,
        num_validation=0,
        clean_floor=FLOOR if declared.clean_floor is None else declared.clean_floor,
        seeds=(),
        methods=tuple(
            MethodNote(
                name=name,
                sides=naming.sides_name(spec, name),
                searched=False,
                weights=class_of("weights", method.weights).kind,
                inputs=class_of("inputs", method.inputs).kind,
            )
            for name, method in spec.methods.items()
        ),
        trials=(),
        absent=(),
        provenance={},
        primary=declared.primary,
    )


def _with_trials(empty: Results, trials: Sequence[TrialResult]) -> Results | None:
    """Add the trials on the most frequent test images; None if there are none."""
    hashes = Counter(trial.sample_hash for trial in trials)
    if not hashes:
        return None
    [(chosen, _)] = hashes.most_common(1)
    kept = tuple(trial for trial in trials if trial.sample_hash == chosen)
    assert kept[0].bits is not None
    seeds = tuple(sorted({trial.seed for trial in kept}))
    return replace(empty, trials=kept, seeds=seeds, num_test=kept[0].bits.shape[1])


def _trials(spec: StudySpec, plan: Plan, sizes: Mapping[str, int]) -> list[TrialResult]:
    """Read like trials of these methods, of at most as many configurations as the plan has."""
    networks = {
        network_key(space.canonical(planned.cell.config, plan.fingerprint))
        for planned in plan.cells
    }
    return [
        trial
        for method, size in sizes.items()
        for group in _groups(spec, plan, method, networks, min(size, MOST_LIKE))
        for trial in _read(spec, method, group)
    ]


def _groups(
    spec: StudySpec, plan: Plan, method: str, networks: set[str], most: int
) -> list[Sequence[TrialRecord]]:
    """Return like records of a method, grouped by what they trained, at most so many groups.

    Where the method's own trials are recorded, others that have its sides are left out.
    """
    own = {p.cell.key for p in plan.cells if p.cell.configuration.method == method}
    alike = [record for record in plan.records if _is_like(spec, method, networks, record)]
    groups: dict[str, dict[int, TrialRecord]] = defaultdict(dict)
    for record in [one for one in alike if one.cell_key in own] or alike:
        key = space.origin(record.canonical, "last")
        groups[key].setdefault(record.canonical["seed"], record)
    ordered = sorted(groups.values(), key=_robust)
    step = max(1.0, (len(ordered) - 1) / max(most - 1, 1))
    places = {round(step * at) for at in range(most)}
    return [list(ordered[at].values()) for at in sorted(places) if at < len(ordered)]


def _is_like(spec: StudySpec, method: str, networks: set[str], record: TrialRecord) -> bool:
    if not record.is_complete or network_key(record.canonical) not in networks:
        return False
    theirs, evaluation = record.canonical["evaluation"], spec.evaluation
    if theirs["norm"] != evaluation.norm or evaluation.objective_radius not in theirs["radii"]:
        return False
    return all(
        next(iter(record.canonical["method"][kind])) == getattr(spec.methods[method], kind).name
        for kind in SIDES
    )


def _robust(group: Mapping[int, TrialRecord]) -> float:
    known = [record.objectives[1] for record in group.values() if record.objectives]
    return max(known, default=0.0)


def _read(spec: StudySpec, method: str, group: Sequence[TrialRecord]) -> Iterator[TrialResult]:
    """Yield a configuration's trials whose bits lie on this machine and are not damaged."""
    for record in group:
        found = _bits(spec, record)
        if found is None:
            continue
        bits, sample_hash = found
        clean, robust = accuracies(bits).tolist()
        yield TrialResult(
            method=method,
            values={"configuration": group[0].run},
            seed=record.canonical["seed"],
            clean=clean,
            robust=(robust,),
            validation_clean=None,
            validation_robust=None,
            bits=bits,
            sample_hash=sample_hash,
        )


def _bits(spec: StudySpec, record: TrialRecord) -> "tuple[Bits, str] | None":
    """Read the bits without an attack, and those at the objective radius and all below it."""
    folder = local_path(record.artifacts)
    checkpoint = checkpoint_read(record.labels, spec.evaluation.checkpoint)
    try:
        if folder is None:
            return None
        arrays = read_arrays((folder / BITS_FILE).read_bytes(), (checkpoint, "sample_hash"))
        at = record.canonical["evaluation"]["radii"].index(spec.evaluation.objective_radius)
        bits = arrays[checkpoint]
        below = bits[0] & bits[1 : 2 + at].all(axis=0)
        # One array of two rows, as `bits` are stored, without importing NumPy here.
        bits = bits[:2].copy()
        bits[1] = below
        return bits, str(arrays["sample_hash"])
    except DAMAGES:
        return None
