"""The weights that trainings start from: a finished trial of another study, or a file.

Their content decides the keys of cells. So a study is complete only once its starts were found;
`find_starts` returns it so, and every command looks for them before it plans.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.results.words import values_text
from study.plan import space
from study.plan.plan import TrialRecord
from study.records.runs import (
    artifact,
    open_source,
    read_trials,
    recorded_checkpoints,
    weights_file,
)
from study.records.store import Store, TrackingError, find_store, recording, store_exists
from study.spec import Start, StudySpec, Value, all_seeds, start_of
from study.spec.mistakes import dotted, nearest
from study.spec.source import Place
from trainers.config import StartConfig


class StartError(TrackingError):
    """Weights that are not where the study says, or not of its network; one line.

    `place` is that of the start; `text` is rule, value and way out.
    """

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(f"{dotted(place)}: {text}")
        self.place = place
        self.text = text


@dataclass(frozen=True, kw_only=True)
class StartFile:
    """A file of weights."""

    name: str
    """Its path, or the trial that left it: for messages."""
    content: bytes


def has_starts(spec: StudySpec) -> bool:
    """Return whether a training of the study starts from weights."""
    return not all(start_of(spec, method).is_fresh for method in spec.methods)


def start_place(spec: StudySpec, method: str) -> Place:
    """Return where a study declares what a method's trainings start from."""
    above = () if spec.methods[method].start is None else ("methods", method)
    return (spec.name, *above, "start")


def with_starts(spec: StudySpec, project: Path) -> StudySpec:
    """Return a study whose starts were found; without starts, the study itself."""
    starts = [start_of(spec, method) for method in spec.methods]
    if all(start.is_fresh or start.found for start in starts):
        return spec
    return find_starts(spec, find_store(project))[0]


def find_starts(spec: StudySpec, store: Store) -> tuple[StudySpec, dict[str, StartFile]]:
    """Find the weights that the study's trainings start from; return them by their hash.

    Raises `StartError` with a line that says what to launch or write.
    """
    if not has_starts(spec):
        return spec, {}
    search = _Search(all_seeds(spec), store)
    study = search.found(spec.start, (spec.name, "start"))
    methods = {
        name: method
        if method.start is None
        else method.model_copy(
            update={"start": search.found(method.start, start_place(spec, name))}
        )
        for name, method in spec.methods.items()
    }
    return spec.model_copy(update={"start": study, "methods": methods}), search.files


class _Search:
    """The search for a study's starts; it reads the records once, and each file once."""

    def __init__(self, seeds: Sequence[int], store: Store) -> None:
        self.files: dict[str, StartFile] = {}
        """By the hash of their content."""
        self._seeds = seeds
        self._store = store
        self._records: tuple[TrialRecord, ...] | None = None
        self._known: dict[Any, StartConfig] = {}

    def found(self, start: Start, place: Place) -> Start:
        """Return a start with its weights by seed."""
        if start.is_fresh:
            return start
        if start.file:
            config = self._file(start.file, place)
            return replace(start, found=tuple((seed, config) for seed in self._seeds))
        pairs = tuple((seed, self._trial(start, seed, place)) for seed in self._seeds)
        return replace(start, found=pairs)

    def _file(self, path: str, place: Place) -> StartConfig:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            text = f"must name a file that can be read ({error.strerror}), got {path}"
            way_out = "check the path, which is relative to the studies file"
            raise StartError(place, f"{text}; {way_out}") from None
        digest = self._keep(StartFile(name=path, content=content))
        return StartConfig(weights=digest, origin=digest)

    def _trial(self, start: Start, seed: int, place: Place) -> StartConfig:
        wanted = seed if start.seed == "same" else start.seed
        key = start.study, start.method, start.values, wanted, start.checkpoint
        if key not in self._known:
            record = choose_trial(self._trials(), start, int(wanted), place)
            file = weights_file(start.checkpoint)
            with artifact(self._store, record, file) as path:
                try:
                    content = path.read_bytes()
                except OSError as error:
                    text = f"cannot read {path} ({error.strerror})"
                    way_out = f"study launch {start.study} again"
                    raise StartError(place, f"{text}; {way_out}") from None
            name = f"{file} of {record.study} {start.method} seed {wanted}, run {record.run}"
            self._known[key] = StartConfig(
                weights=self._keep(StartFile(name=name, content=content)),
                origin=space.origin(record.canonical, start.checkpoint),
            )
        return self._known[key]

    def _trials(self) -> tuple[TrialRecord, ...]:
        if self._records is None:
            self._records = ()
            if store_exists(self._store):
                with recording(self._store):
                    self._records = read_trials(open_source(self._store), "last")
        return self._records

    def _keep(self, file: StartFile) -> str:
        digest = hashlib.sha256(file.content).hexdigest()
        self.files.setdefault(digest, file)
        return digest


def choose_trial(
    records: Iterable[TrialRecord], start: Start, seed: int, place: Place
) -> TrialRecord:
    """Choose the finished trial that a start names, the latest of equal ones.

    Raises `StartError` if there is none, or if trials of several configurations fit.
    """
    way_out = f"study launch {start.study} first"
    done = [record for record in records if record.is_complete]
    own = [record for record in done if record.study == start.study]
    if not own:
        match = nearest(start.study, sorted({record.study for record in done} - {start.study}))
        hint = f"; did you mean {match}?" if match else f"; {way_out}"
        raise StartError(place, f"study {start.study} has no finished trial{hint}")
    own = _kept(own, "method", start.method, place, way_out)
    exact = [record for record in own if _fits(start.values, _values(record), 12)]
    # A suggested value is known to people in the four digits of its printed name.
    own = exact or [record for record in own if _fits(start.values, _values(record), 4)]
    if not own:
        asked = values_text(dict(start.values))
        raise StartError(
            place,
            f"no finished trial of {start.study} {start.method} has {asked}; {way_out}, or name "
            "values of its trials",
        )
    own = _kept(own, "seed", str(seed), place, way_out)
    if start.checkpoint not in recorded_checkpoints(own[-1].labels):
        own = [r for r in own if start.checkpoint in recorded_checkpoints(r.labels)]
        if not own:
            raise StartError(place, "its trial has no checkpoint best; write checkpoint: last")
    several = {record.labels["values"]: _values(record) for record in own}
    if len(several) > 1:
        names = [values_text({_short(n): v for n, v in one.items()}) for one in several.values()]
        raise StartError(
            place,
            f"{len(several)} configurations of {start.study} {start.method} fit "
            f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''}); name one with "
            "values: {…}",
        )
    return max(own, key=lambda record: record.started)


def _kept(
    records: Sequence[TrialRecord], label: str, wanted: str, place: Place, way_out: str
) -> list[TrialRecord]:
    """Keep the trials of one method or seed. Raises `StartError` if there is none."""
    kept = [record for record in records if record.labels[label] == wanted]
    if kept:
        return kept
    has = ", ".join(sorted({record.labels[label] for record in records}))
    of = f"study {records[0].study} has no finished trial of {label} {wanted}"
    raise StartError(place, f"{of}, only of {has}; {way_out}, or name one of these")


def _values(record: TrialRecord) -> dict[str, Value]:
    """Return the values that were chosen for a trial, by their paths."""
    return dict(json.loads(record.labels["values"]))


def _short(path: str) -> str:
    return path.rpartition(".")[2]


def _fits(wanted: Sequence[tuple[str, Value]], values: Mapping[str, Value], digits: int) -> bool:
    """Return whether a trial has all the wanted values; a name may be the end of a path."""
    for name, value in wanted:
        own = [item for path, item in values.items() if f".{path}".endswith(f".{name}")]
        if not any(_rounded(value, digits) == _rounded(item, digits) for item in own):
            return False
    return True


def _rounded(value: Value, digits: int) -> Value:
    return value if isinstance(value, str) else float(f"{value:.{digits}g}")
