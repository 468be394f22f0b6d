"""The commands `study evaluate` and `study diagnose`: find what is missing, and do it.

A unit of work is one network, attacked by AutoAttack at one radius of one norm. Its result is
recorded on the run that trained the network. A recorded unit is done, so the same command resumes.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from study.launch import cluster
from study.launch.interrupts import Interrupts
from study.launch.launch import WAIT_FOR_WORKERS_SECONDS, current_plan, data_cache
from study.launch.locks import await_workers, hold_launch
from study.plan import naming
from study.plan.fronts import Member, Network, count_incomplete, find_members
from study.plan.space import Cell
from study.records.attacks import (
    AttackRecord,
    CheckRecord,
    Samples,
    Threat,
    first_samples,
    is_attacked,
    judged_samples,
    log_attack,
)
from study.records.evidence import outdated_text, read_checklist
from study.records.runs import checkpoint_read
from study.records.starts import with_starts
from study.records.store import connect, find_store, recording
from study.spec import StudySpec
from study.verify.diagnosis import CheckUnit, check_network, open_checks
from study.verify.pool import Ended, Pool, WorkContext, load_network
from trainers.config import NUMERICS_VERSION
from trainers.data.dataset import Dataset, load_data
from trainers.data.subset import sample_hash
from trainers.evaluation.autoattack import attack_name, autoattack

SEED = 0
"""The seed of every attack, so that networks are compared under the same noise."""
LIBRARIES = ("rhoeps", "torch", "pyautoattack", "numpy")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class AttackUnit:
    """A network to attack under a threat."""

    network: Network
    threat: Threat


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an evaluation or a diagnosis ended."""

    members: tuple[Member, ...]
    """Empty if no configuration has all its seeds done: there was nothing to do."""
    checklist: tuple[tuple[Cell, tuple[CheckRecord, ...]], ...]
    """The recorded checklist of each network of the members; empty if none is recorded."""
    failures: tuple[tuple[str, str], ...]
    """What failed, each with its reason."""

    @property
    def exit_code(self) -> int:
        """0 if every result is recorded, whatever it is; 1 if something failed."""
        return 1 if self.failures else 0


def evaluate(spec: StudySpec, project: Path, say: Say) -> Outcome:
    """Attack the members of the fronts by AutoAttack, then diagnose those that are complete.

    `say` prints a line: the plan, and the result of each unit. Raises `HeldError` if a launch or
    another evaluation is running, `Interrupted` on a signal, and `ClusterError`, `TrackingError` or
    `DataError` if it cannot start. Finished units are kept in every case.
    """
    return _work(spec, project, say, attacks=True)


def diagnose(spec: StudySpec, project: Path, say: Say) -> Outcome:
    """Run the checklist on the members of the fronts; the rest is as in `evaluate`."""
    return _work(spec, project, say, attacks=False)


def _work(spec: StudySpec, project: Path, say: Say, *, attacks: bool) -> Outcome:
    """Do what is missing, while holding the lock of launches."""
    project = project.resolve()
    store = find_store(project)
    spec = with_starts(spec, project)
    if not cluster.is_joined():
        cluster.local_slots(spec)
    folder = project / "runs"
    with Interrupts() as interrupts, hold_launch(folder / "launch.lock", spec.name):
        await_workers(folder / "workers.lock", WAIT_FOR_WORKERS_SECONDS)
        plan = current_plan(spec, project)
        members, lacking = find_members(plan), count_incomplete(plan)
        if not members:
            return Outcome(members=(), checklist=(), failures=())
        if lacking:
            say(
                f"{spec.name}: {lacking} configurations are left out, as not all their seeds are "
                f"done; for details, run: study status {spec.name}"
            )
        dataset = load_data(spec.data, data_cache(project))
        rounds = Rounds(spec, dataset, say)
        with Pool(spec, project, store, dataset, interrupts) as pool:
            if attacks:
                rounds.attack(pool, members)
                members = find_members(current_plan(spec, project))
            rounds.check(pool, members, needs_attacks=attacks)
            members = find_members(current_plan(spec, project))
        interrupts.check()
        rounds.tell_outdated(members)
        with recording(store):
            checkpoint = spec.evaluation.checkpoint
            checklist = tuple(
                (
                    network.cell,
                    read_checklist(store, network.record, checkpoint, len(member.networks)),
                )
                for member in members
                for network in member.networks
            )
    return Outcome(members=members, checklist=checklist, failures=tuple(rounds.failures))


class Rounds:
    """The two rounds of work, and their failures."""

    def __init__(self, spec: StudySpec, dataset: Dataset, say: Say) -> None:
        self._spec = spec
        self._say = say
        self._num_test = len(dataset.test.labels)
        self._samples = judged_samples(spec.autoattack.samples, self._num_test)
        self._attack = attack_name(len(dataset.classes))
        self._ended = 0
        self.failures: list[tuple[str, str]] = []

    def attack(self, pool: Pool, members: Sequence[Member]) -> None:
        """Attack every network at every radius where that is not recorded."""
        spec, whole = self._spec, attack_units(self._spec, members, self._samples)
        units = [unit for unit in whole if not self._is_attacked(unit)]
        self._say(
            f"{spec.name}: {self._attack}, {self._judged()}, on {_networks(members)}, "
            f"at {_threats(spec)}: {len(whole)} units, {len(whole) - len(units)} done"
        )
        self._announce(units)

        def tell(unit: AttackUnit, ended: Ended[float]) -> None:
            threat = naming.threat_name(unit.threat.norm, unit.threat.radius)
            place = f"{self._attack} {threat}, {self._judged()}"
            found = None if ended.found is None else f"{ended.found:.1%}"
            self._tell(unit.network, place, found, ended, len(units))

        self._ended = 0
        pool.run(attack_network, units, tell)

    def check(self, pool: Pool, members: Sequence[Member], *, needs_attacks: bool) -> None:
        """Diagnose every network whose checklist is missing or based on fewer records.

        `needs_attacks`: leave out those that are not attacked at every radius.
        """
        lacking = open_checks(self._spec, members, self._samples)
        units = lacking
        if needs_attacks:
            attacked = attack_units(self._spec, members, self._samples)
            partly = {u.network.cell.key for u in attacked if not self._is_attacked(u)}
            units = [unit for unit in lacking if unit.network.cell.key not in partly]
        total = sum(len(member.networks) for member in members)
        waiting = len(lacking) - len(units)
        self._say(
            f"{self._spec.name}: diagnosis of {_networks(members)}: "
            f"{total} units, {total - len(lacking)} done"
            + (f", {waiting} wait for {self._attack}" if waiting else "")
        )
        self._announce(units)

        def tell(unit: CheckUnit, ended: Ended[str]) -> None:
            self._tell(unit.network, "diagnosis", ended.found, ended, len(units))

        self._ended = 0
        pool.run(check_network, units, tell)

    def tell_outdated(self, members: Sequence[Member]) -> None:
        """Print how many checklists are outdated, if any."""
        records = [[network.record for network in member.networks] for member in members]
        text = outdated_text(self._spec, records, self._samples)
        if text:
            self._say(f"{self._spec.name}: {text}")

    def _is_attacked(self, unit: AttackUnit) -> bool:
        record = unit.network.record
        checkpoint = checkpoint_read(record.labels, self._spec.evaluation.checkpoint)
        return is_attacked(record, checkpoint, self._attack, unit.threat)

    def _judged(self) -> str:
        """Format which part of the test set is attacked."""
        if self._samples == "all":
            return f"all {self._num_test} test images"
        return f"first {self._samples} of {self._num_test}"

    def _announce(self, units: Sequence[object]) -> None:
        """Print how many units will run, and with which resources."""
        if not units:
            self._say("nothing to do")
            return
        needs = self._spec.resources
        self._say(f"to run: {len(units)}, each with {needs.cpu} CPU, {needs.gpu:g} GPU")

    def _tell(
        self, network: Network, what: str, found: str | None, ended: Ended[Any], total: int
    ) -> None:
        """Print how a unit ended."""
        self._ended += 1
        name = naming.cell_name(self._spec, network.cell)
        count = f"[{self._ended:>{len(str(total))}}/{total}]"
        if found is None:
            self.failures.append((f"{name}: {what}", ended.reason))
            self._say(f"{count} {name}: {what}: failed: {ended.reason}")
        else:
            self._say(f"{count} {name}: {what}: {found}  ({ended.seconds:.0f} s)")


def attack_units(spec: StudySpec, members: Sequence[Member], samples: Samples) -> list[AttackUnit]:
    """Return every network of the members with every norm and radius."""
    return [
        AttackUnit(network=network, threat=Threat(norm=norm, radius=radius, samples=samples))
        for member in members
        for network in member.networks
        for norm, radii in spec.evaluation.threats
        for radius in radii
    ]


def attack_network(context: WorkContext, unit: AttackUnit) -> float:
    """Attack a network, record the result on its run, and return the robust accuracy.

    Raises `CheckpointError` if its weights cannot be read, `AttackError` if an attack leaves its
    threat model, and `TrackingError` if the store cannot be written.
    """
    spec, dataset = context.spec, context.dataset
    client = connect(context.store)
    threat = unit.threat
    judged = first_samples(dataset.test, threat.samples)
    found = autoattack(
        load_network(context, unit.network),
        judged,
        dataset.divisor,
        norm=threat.norm,
        radius=threat.radius,
        seed=SEED,
        device=context.device,
    )
    record = AttackRecord(
        checkpoint=checkpoint_read(unit.network.record.labels, spec.evaluation.checkpoint),
        threat=threat,
        attack=attack_name(len(dataset.classes)),
        attacks=found.attacks,
        bits=found.bits,
        sample_hash=sample_hash(judged),
        versions={name: version(name) for name in LIBRARIES} | {"numerics": str(NUMERICS_VERSION)},
    )
    with recording(context.store), tempfile.TemporaryDirectory(prefix="rhoeps-") as place:
        run = unit.network.record.run
        log_attack(client, run, record, SEED, found.log, Path(place))
    return float(found.bits[-1].mean())


def _networks(members: Sequence[Member]) -> str:
    """Format the size of the members: `6 networks, 2 configurations on the fronts`."""
    num_networks = sum(len(member.networks) for member in members)
    networks = f"{num_networks} network" + ("s" if num_networks > 1 else "")
    configurations = f"{len(members)} configuration" + ("s" if len(members) > 1 else "")
    return f"{networks}, {configurations} on the fronts"


def _threats(spec: StudySpec) -> str:
    """Format the norms and radii: `linf 0.05, 0.1 and l2 0.5`."""
    return " and ".join(naming.threat_name(norm, *radii) for norm, radii in spec.evaluation.threats)
