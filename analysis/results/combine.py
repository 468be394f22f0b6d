"""Combine: several studies as one, so that methods of different studies can be compared."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from analysis.results.methods import MethodNote
from analysis.results.results import Results
from analysis.results.trials import ResultsError, configuration_key
from analysis.results.words import value_text

_SAME: tuple[tuple[str, Callable[[Results], object], str], ...] = (
    ("attack", lambda r: r.threat.attack, "evaluate both with one attack"),
    ("norm", lambda r: r.threat.norm, "evaluate both in one norm"),
    ("set of radii", lambda r: _listed(r.threat.radii), "evaluate both at the same radii"),
    (
        "objective radius",
        lambda r: value_text(r.threat.objective_radius),
        "declare the same objective_radius in both",
    ),
    ("validation attack", lambda r: r.threat.validation_attack, "validate both with one attack"),
    ("checkpoint", lambda r: r.checkpoint, "declare the same checkpoint in both"),
    ("number of test images", lambda r: r.num_test, "evaluate both on the same test images"),
    ("number of validation images", lambda r: r.num_validation, "use the same validation images"),
    (
        "clean floor",
        lambda r: r.clean_floor,
        "declare the same analysis.clean_floor in both, as areas above different floors cannot "
        "be compared",
    ),
)
"""What studies must share: a name, how to read the value, and what to do where they differ."""


def combine(studies: Sequence[Results]) -> Results:
    """Combine the methods of several studies side by side.

    Studies must agree in threat model, checkpoint, test images, validation images and clean floor:
    else a `ResultsError` names what differs. Test images are the same if their sample hash is;
    where no study has one, equal numbers of images and classes are all that can be checked.

    If a method name occurs in two studies, every method is named `study: method`, else names stay.
    One exception: methods of equal name and sides whose trials are the very same runs (a study
    takes over cells that another one finished) are one method, kept once. A method keeps the seeds
    of its study. No primary contrast was declared for the comparison, so it has none; a margin
    holds if all studies declare it, and so do clean floors.
    """
    if not studies:
        raise ResultsError("there is nothing to compare; name two studies")
    _check(studies)
    first = studies[0]
    names = _names(studies)
    renamed = [_renamed(study, names[study.study]) for study in studies]
    seeds = tuple(sorted({seed for study in studies for seed in study.seeds}))
    margins = {study.margin for study in studies}
    floors = {study.clean_floors for study in studies}
    return replace(
        first,
        study="+".join(study.study for study in studies),
        about=" ".join(f"{s.study}: {s.about}".strip() for s in studies if s.about),
        seeds=seeds,
        methods=tuple(_with_seeds(n, seeds) for study in renamed for n in study.methods),
        trials=tuple(trial for study in renamed for trial in study.trials),
        absent=tuple(trial for study in renamed for trial in study.absent),
        provenance=_provenance(studies),
        num_classes=next((s.num_classes for s in studies if s.num_classes is not None), None),
        margin=margins.pop() if len(margins) == 1 else None,
        clean_floors=floors.pop() if len(floors) == 1 else (),
        primary=None,
        claims=(),
        is_comparison=len(studies) > 1,
        histories=tuple(history for study in renamed for history in study.histories),
        importances=tuple(share for study in renamed for share in study.importances),
        references=tuple(dict.fromkeys(one for study in studies for one in study.references)),
        # Methods are renamed, so a declaration would name another one.
        declarations=(),
        pictured=tuple(run for study in studies for run in study.pictured),
        data_doubts=tuple(dict.fromkeys(doubt for s in studies for doubt in s.data_doubts)),
    )


def _check(studies: Sequence[Results]) -> None:
    first, *others = studies
    counts = Counter(study.study for study in studies)
    for name, count in counts.items():
        if count > 1:
            raise ResultsError(f"{name}: is named {count} times; name each study once")
    for other in others:
        pair = f"{first.study} and {other.study}"
        for name, value, way_out in _SAME:
            one, two = value(first), value(other)
            if one != two:
                raise ResultsError(
                    f"{pair}: cannot be compared, their {name} differs: {one} and {two}; {way_out}"
                )
        # Tables may not know their number of classes; only two known numbers can differ.
        classes = (first.num_classes, other.num_classes)
        if None not in classes and classes[0] != classes[1]:
            raise ResultsError(
                f"{pair}: cannot be compared, their number of classes differs: "
                f"{classes[0]} and {classes[1]}; compare studies of one data set"
            )
    # A study without trials has no images that could differ.
    hashes = {study.study: _sample_hash(study) for study in studies if study.trials}
    odd = next((name for name, found in hashes.items() if found != next(iter(hashes.values()))), "")
    if odd:
        one = next(iter(hashes))
        raise ResultsError(
            f"{one} and {odd}: cannot be compared, their test images differ: "
            f"{hashes[one] or 'unnamed'} and {hashes[odd] or 'unnamed'}; evaluate both on the same "
            "images, with their bits"
        )


def _sample_hash(study: Results) -> str | None:
    return next((t.sample_hash for t in study.trials if t.sample_hash is not None), None)


def _names(studies: Sequence[Results]) -> dict[str, dict[str, str]]:
    """Return the new names by study and method; a method that another study keeps has none."""
    names: dict[str, dict[str, str]] = {}
    same: dict[object, str] = {}
    kept: list[str] = []
    for study in studies:
        names[study.study] = {}
        for note in study.methods:
            runs = _runs(study, note)
            first = same.setdefault(runs, study.study) if runs is not None else study.study
            if first == study.study:
                names[study.study][note.name] = note.name
                kept.append(note.name)
    if len(set(kept)) < len(kept):
        names = {
            study: {method: f"{study}: {method}" for method in methods}
            for study, methods in names.items()
        }
    return names


def _runs(study: Results, note: MethodNote) -> object:
    """Return a key of what a method ran, equal for the very same runs; None if unknown."""
    trials = [trial for trial in study.trials if trial.method == note.name]
    # A cell without a run might still be run otherwise, so a partial method has no name.
    is_partial = any(trial.method == note.name for trial in study.absent)
    if is_partial or not trials or not all(trial.run for trial in trials):
        return None
    cells = frozenset((configuration_key("", t.values), t.seed, t.run) for t in trials)
    return note.name, note.sides, note.searched, cells


def _renamed(study: Results, names: Mapping[str, str]) -> Results:
    """Rename the methods, each with its own seeds; those without a new name are left out."""
    return replace(
        study,
        methods=tuple(
            replace(note, name=names[note.name], seeds=study.seeds_of(note.name))
            for note in study.methods
            if note.name in names
        ),
        trials=tuple(replace(t, method=names[t.method]) for t in study.trials if t.method in names),
        absent=tuple(replace(t, method=names[t.method]) for t in study.absent if t.method in names),
        histories=tuple(
            replace(h, method=names[h.method]) for h in study.histories if h.method in names
        ),
        importances=tuple(
            replace(i, method=names[i.method]) for i in study.importances if i.method in names
        ),
        primary=None,
        claims=(),
    )


def _with_seeds(note: MethodNote, seeds: tuple[int, ...]) -> MethodNote:
    return note if note.seeds != seeds else replace(note, seeds=None)


def _provenance(studies: Sequence[Results]) -> dict[str, str]:
    """Merge entries: each once where all studies agree, else by study."""
    names = dict.fromkeys(name for study in studies for name in study.provenance)
    return {name: _joined([(s.study, s.provenance.get(name)) for s in studies]) for name in names}


def _joined(values: Sequence[tuple[str, str | None]]) -> str:
    if len({value for _, value in values}) == 1:
        return values[0][1] or ""
    return "; ".join(f"{study}: {value}" for study, value in values if value is not None)


def _listed(radii: Sequence[float]) -> str:
    return ", ".join(value_text(radius) for radius in radii)
