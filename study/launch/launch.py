"""A launch from its lock to its outcome: the plan, Ray, and records that are right in any case."""

import itertools
import math
import os
import shutil
import signal
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from study.launch import cluster
from study.launch.interrupts import Interrupted, Interrupts
from study.launch.ledger import Ledger, Waiting
from study.launch.locks import await_workers, hold_launch
from study.launch.states import FileStates, States, TrialContext, keep_here
from study.plan import space
from study.plan.budget import LeftOut
from study.plan.cost import shape_key
from study.plan.plan import Plan, RunStatus, make_plan
from study.plan.space import Cell
from study.plan.times import open_configs
from study.records.claims import record_claims
from study.records.runs import (
    StudyRuns,
    begin_study,
    open_source,
    read_trials,
)
from study.records.starts import StartError, StartFile, find_starts, start_place, with_starts
from study.records.store import (
    Store,
    find_store,
    masked,
    plain_folder,
    recording,
    store_exists,
)
from study.search.recorded import read_rungs
from study.spec import StudySpec, batch_sizes_of, models_of
from trainers.config import NUMERICS_VERSION, ConfigError, check_batches
from trainers.data.dataset import Dataset, data_fingerprint, load_data

if TYPE_CHECKING:
    from ray.tune import Tuner

    from study.launch.callbacks import Watch
    from study.launch.progress import Progress
    from study.search.scheduler import RungScheduler
    from study.search.searcher import StudySearcher


LATE_MODULES = ("study.launch.callbacks", "study.launch.progress", "study.launch.trainable")
"""They import Ray Tune and optuna, which takes seconds."""
WAIT_FOR_WORKERS_SECONDS = 60.0
"""How long a launch waits for workers of an earlier one, which may be writing a result."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Outcome:
    """How a launch ended, as the tracker knows it afterwards."""

    plan: Plan
    started: int
    """Number of open cells when the launch began, with those that were still to be suggested."""
    failures: tuple[tuple[Cell, str], ...]
    """Cells that failed in this launch, each with its reason."""
    stopped_by: signal.Signals | None
    problem: str
    """Why the launch stopped before its end; empty if it did not."""
    left_out: LeftOut = field(default_factory=LeftOut)
    """What did not fit into the study's budget."""

    @property
    def exit_code(self) -> int:
        """0 all done or budget spent; 1 some trials failed for good; 130 or 143 interrupted."""
        if self.stopped_by is not None:
            return 128 + int(self.stopped_by)
        is_spent = bool(self.left_out.limit) and not self.failures
        is_done = (self.plan.num_open == 0 or is_spent) and self.plan.count("given up") == 0
        return 0 if is_done and not self.problem else 1

    def __repr__(self) -> str:
        """Return how much of the study is done, and why the launch stopped."""
        why = f"; {self.problem}" if self.problem else ""
        return f"<Outcome: {self.started} started, {self.plan!r}{why}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        # `study.notebook` lies above this module, and only a notebook waits for it.
        return str(import_module("study.notebook.pages").outcome_page(self))

    @property
    def parent_status(self) -> RunStatus:
        """The parent run's status: what a person sees first in the MLflow UI."""
        if self.stopped_by is not None:
            return "KILLED"
        unfinished: RunStatus = "KILLED" if self.left_out.limit and not self.problem else "FAILED"
        return "FINISHED" if self.plan.num_open == 0 else unfinished


def project_folder(studies_file: Path) -> Path:
    """Return the folder of a studies file: `runs/` and `reports/` lie in it."""
    return studies_file.resolve().parent


def data_cache(project: Path) -> Path:
    """Return the folder of downloaded and decoded data sets."""
    return project / "runs" / "data"


def current_plan(spec: StudySpec, project: Path) -> Plan:
    """Compute a study's plan from its records, without a lock and without writing anything."""
    return plan_of(spec, project)[1]


def plan_of(spec: StudySpec, project: Path) -> tuple[StudySpec, Plan]:
    """Compute a study's plan; return it after the study, whose starts were found for it."""
    found = with_starts(spec, project)
    return found, _plan(found, project, find_store(project), is_alone=False)


def launch(spec: StudySpec, project: Path, announce: Callable[[Plan], None]) -> Outcome:
    """Run what a study is missing, whether that starts, resumes or extends it.

    `announce` is called with the plan before anything starts. Raises `HeldError` if another launch
    is at work, and `ClusterError`, `TrackingError` or `DataError` if it cannot start. Every other
    end is an `Outcome`, and leaves no run of the study running.
    """
    project = project.resolve()
    store = find_store(project)
    spec, starts = find_starts(spec, store)
    if not cluster.is_joined():
        cluster.local_slots(spec)
    folder = project / "runs"
    with Interrupts() as interrupts, hold_launch(folder / "launch.lock", spec.name):
        await_workers(folder / "workers.lock", WAIT_FOR_WORKERS_SECONDS)
        ledger = Ledger(
            spec, store, launch_tags(project), lambda: interrupts.stopped_by is not None
        )
        status: RunStatus = "FAILED"
        try:
            # The lease comes before the plan, as another machine may be changing the records. On
            # one machine the file lock is enough, and MLflow is imported later, while Ray starts.
            if store.is_shared:
                ledger.open()
            plan = _plan(spec, project, store, is_alone=True)
            announce(plan)
            if plan.num_open > 0:
                cluster.refuse_names_beyond_utf8()
                _set_environment(project)
                with cluster.worker_nursery(spec):  # its imports take longer than reading the data
                    dataset = load_data(spec.data, data_cache(project))
                    _refuse_single_samples(spec, dataset)
                    _refuse_unfit_starts(spec, plan, dataset, starts)
                    outcome = _run(spec, project, store, ledger, plan, dataset, interrupts, starts)
            else:
                outcome = Outcome(plan=plan, started=0, failures=(), stopped_by=None, problem="")
                if ledger.is_current(plan):
                    return outcome
                ledger.open()
                record_claims(ledger.client, ledger.runs, spec, plan.count("done"))
            ledger.record(outcome.plan)
            status = outcome.parent_status
        except (Interrupted, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            with interrupts.deferred():
                ledger.end(status)
    return outcome


def expected_trials(spec: StudySpec, plan: Plan, num_slots: int) -> dict[str, float]:
    """Count a plan's open cells per slot, by the shape of their training."""
    canonicals = (space.canonical(config, plan.fingerprint) for config in open_configs(spec, plan))
    counts = Counter(shape_key(canonical) for canonical in canonicals)
    return {shape: count / num_slots for shape, count in counts.items()}


def launch_tags(project: Path) -> dict[str, str]:
    """Return the tags that say what code a launch runs: versions, and the project's commit."""
    libraries = ("rhoeps", "torch", "torchvision", "ray", "optuna", "mlflow", "numpy")
    return {
        **{f"version.{name}": version(name) for name in libraries},
        "version.numerics": str(NUMERICS_VERSION),
        "git_commit": _git(project, "rev-parse", "HEAD") or "none",
        "git_dirty": str(bool(_git(project, "status", "--porcelain"))).lower(),
    }


def _plan(spec: StudySpec, project: Path, store: Store, *, is_alone: bool) -> Plan:
    """Compute the plan. If `is_alone`, no trial of the study is taken to be running."""
    fingerprint = data_fingerprint(spec.data, data_cache(project))
    if not store_exists(store):
        return make_plan(spec, fingerprint, ())
    with recording(store):
        records = read_trials(open_source(store), spec.evaluation.checkpoint)
    if is_alone:
        records = tuple(
            replace(record, status="KILLED")
            if record.study == spec.name and record.status == "RUNNING"
            else record
            for record in records
        )
    return make_plan(spec, fingerprint, records)


def _refuse_single_samples(spec: StudySpec, dataset: Dataset) -> None:
    """Check, before it costs a trial, that no last batch has a single sample."""
    num_train = len(dataset.train.labels)
    for method in spec.methods:
        for model, size in itertools.product(models_of(spec, method), batch_sizes_of(spec, method)):
            try:
                check_batches(model, size, num_train)
            except ConfigError as error:
                place = f"{spec.name}.training.{error.field}"
                raise ConfigError(place, error.rule, error.value) from None


def _refuse_unfit_starts(
    spec: StudySpec, plan: Plan, dataset: Dataset, starts: Mapping[str, StartFile]
) -> None:
    """Check, before it costs a trial, that each network takes the weights it starts from."""
    if not starts:
        return
    # torch takes seconds to import: only where weights are read.
    from trainers.networks.build import fits_start

    methods = {
        (cell.config.model, cell.config.start): cell.configuration.method
        for cell in (planned.cell for planned in reversed(plan.open_cells))
    }
    for (model, start), method in methods.items():
        if start != "none":
            file = starts[start.weights]
            try:
                fits_start(model, dataset, file.content, file.name)
            except ConfigError as error:
                text = f"{error.rule}, got {error.value}"
                raise StartError(start_place(spec, method), text) from None


def _run(
    spec: StudySpec,
    project: Path,
    store: Store,
    ledger: Ledger,
    plan: Plan,
    dataset: Dataset,
    interrupts: Interrupts,
    starts: Mapping[str, StartFile],
) -> Outcome:
    """Start Ray and run the open cells, until they are done or the launch has to end."""
    began = time.time()
    waiting = Waiting("joining the Ray cluster …" if cluster.is_joined() else "starting Ray …")
    data_bytes = sum(split.images.nbytes for split in (dataset.train, dataset.test))
    # Single cells may fail, say for lack of memory; if a fifth fails, the study is broken.
    most = max(3, math.ceil(0.2 * plan.num_open))
    meanwhile = partial(_prepare, ledger)
    session = cluster.ray_session(spec, project, store, data_bytes, interrupts, meanwhile)
    with interrupts.deferred():
        try:
            with session as num_slots:
                # Tune and optuna take seconds to import: while Ray starts, so they are there now.
                from study.launch.callbacks import Watch
                from study.launch.progress import Progress
                from study.search.searcher import StudySearcher

                waiting.end()
                interrupts.check()
                _begin(spec, ledger, plan)
                searcher = StudySearcher(spec, plan, began)
                watch = Watch(searcher, ledger.client, ledger.runs, interrupts, ledger.lease, most)
                progress = Progress(spec, plan, searcher, num_slots)
                shared = (spec, plan, project, store, ledger.runs, dataset)
                context = _context(*shared, num_slots, began, starts, ledger.tags)
                tuner = _tuner(project, context, plan, searcher, watch, progress, num_slots)
                standing = ledger.kept_current(plan.fingerprint, progress.count_changes)
                with progress, standing:
                    _fit(tuner, watch)
        finally:
            waiting.end()
            shutil.rmtree(project / "runs" / "ray", ignore_errors=True)
        return Outcome(
            plan=_plan(spec, project, store, is_alone=False),
            started=plan.num_open,
            failures=tuple(searcher.failures),
            stopped_by=interrupts.stopped_by,
            problem=watch.problem,
            left_out=searcher.left_out,
        )


def _prepare(ledger: Ledger) -> None:
    """Import what takes seconds and open the ledger, while Ray starts."""
    for name in LATE_MODULES:
        import_module(name)
    ledger.open()


def _scheduler(
    spec: StudySpec, searcher: "StudySearcher", store: Store, plan: Plan
) -> "RungScheduler | None":
    """Build what stops trials at rungs, with what is recorded there; None if nothing stops any."""
    if spec.search is None or spec.search.stop is None:
        return None
    from study.search.scheduler import RungScheduler  # ray: only where it is loaded anyway

    with recording(store):
        known = read_rungs(open_source(store), spec, plan)
    return RungScheduler(spec, searcher, known)


def _set_environment(project: Path) -> None:
    """Set what ray and the workers read, unless the user has set it."""
    for name, value in cluster.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not cluster.is_joined():  # all workers and later launches share torch.compile's results
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(project / "runs" / "compiled"))


def _begin(spec: StudySpec, ledger: Ledger, plan: Plan) -> None:
    """Record that the study runs, and what it claims before it does."""
    begin_study(ledger.client, ledger.runs)
    record_claims(ledger.client, ledger.runs, spec, plan.count("done"))


def _fit(tuner: "Tuner", watch: "Watch") -> None:
    """Run Ray Tune to its end; an error of Ray's own becomes the outcome's problem."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ray's own, which would break the live view
            tuner.fit()
    except Exception as error:  # of any kind, as with a full disk: the records are corrected next
        watch.problem = watch.problem or masked(
            f"Ray Tune stopped: {type(error).__name__} {' '.join(str(error).split())[:300]}"
        )


def _context(
    spec: StudySpec,
    plan: Plan,
    project: Path,
    store: Store,
    runs: StudyRuns,
    dataset: Dataset,
    num_slots: int,
    began: float,
    starts: Mapping[str, StartFile],
    tags: Mapping[str, str],
) -> TrialContext:
    """Collect what the launch's trials share."""
    folder = project / "runs"
    states: States = FileStates(folder=folder / "states")
    if cluster.is_joined():  # workers of other nodes reach the folder through an actor of this one
        states = keep_here(folder / "states")
    return TrialContext(
        spec=spec,
        dataset=dataset,
        store=store,
        runs=runs,
        tags=tags,
        states=states,
        expected_trials=expected_trials(spec, plan, num_slots),
        began=began,
        workers_lock=None if cluster.is_joined() else folder / "workers.lock",
        starts=starts,
    )


def _tuner(
    project: Path,
    context: TrialContext,
    plan: Plan,
    searcher: "StudySearcher",
    watch: "Watch",
    progress: "Progress",
    num_slots: int,
) -> "Tuner":
    """Build the one Ray Tuner of a launch."""
    # ray takes seconds to import: only when there is work.
    from ray import tune

    from study.launch.trainable import CellTrainable

    cluster.use_plain_workers()
    spec = context.spec
    return tune.Tuner(
        tune.with_resources(
            tune.with_parameters(CellTrainable, context=context),
            tune.PlacementGroupFactory([{"CPU": spec.resources.cpu, "GPU": spec.resources.gpu}]),
        ),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=_scheduler(spec, searcher, context.store, plan),
            num_samples=-1,  # as many as the searcher hands out
            max_concurrent_trials=num_slots,
            reuse_actors=True,  # torch is imported, and code compiled, once per worker
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=f"{spec.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
            storage_path=str(plain_folder(project) / "runs" / "ray"),
            stop=watch,
            # Trials raise nothing, and the searcher hands a lost worker's cell out again.
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # states are ours
            callbacks=[watch, progress],
            verbose=0,
        ),
    )


def _git(folder: Path, *words: str) -> str:
    """Return git's output for a folder; empty if there is no git or no repository."""
    try:
        asked = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, errors="replace", timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
