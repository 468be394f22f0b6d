"""AutoAttack and the checklist on the fronts: who is judged, what is missing, what is kept."""

import json
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.launch.launch import current_plan
from study.plan import space
from study.plan.fronts import Member, Network, count_incomplete, find_members
from study.plan.plan import Plan, TrialRecord, make_plan
from study.plan.space import Cell
from study.records.attacks import (
    Threat,
    file_name,
    hash_of_first,
    is_attacked,
    is_checked,
    read_attacks,
    read_checks,
)
from study.records.evidence import count_seeds, read_checklist
from study.records.runs import (
    BITS_FILE,
    CHECKPOINTS,
    TrialRun,
    _required_metrics,
    local_path,
    open_study,
    read_bits,
    read_trials,
)
from study.records.store import Store, connect, find_store
from study.spec import StudySpec, read_studies
from study.verify.attack import AttackUnit, Outcome, Rounds, attack_network, attack_units
from study.verify.diagnosis import CheckUnit, check_network
from study.verify.pool import Ended, WorkContext, load_network
from tests.records import finished_trial
from trainers.checkpoint import CheckpointError, load_weights, save_weights
from trainers.config import Norm
from trainers.data.dataset import Dataset, load_data
from trainers.data.subset import Split, sample_hash
from trainers.evaluation.autoattack import autoattack
from trainers.evaluation.evaluate import evaluate
from trainers.train import new_state, train

THREAT = Threat(norm="linf", radius=0.1, samples=10)

Read = Callable[..., StudySpec]
DATA = "some-data"
CPU = torch.device("cpu")
JUDGED = """\
judged:
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: {epochs: EPOCHS, batch_size: BATCH, learning_rate: 0.1, momentum: 0.9,
             weight_decay: 0.0, schedule: cosine}
  seeds: [0, 1]
  methods: {sam: {weights: {sam: {rho: [0.05]}}}}
  evaluation: {norm: linf, radii: [0.05, 0.1], objective_radius: 0.05, other_norm_radii: [0.3],
               attack: {pgd: {steps: 2, restarts: 1}}, checkpoint: last}
  autoattack: {samples: 10}
"""
FEW_AND_MANY = [
    pytest.param(10, "AutoAttack", "[0.05, 0.1]", [("linf", 0.05), ("l2", 0.3)], id="ten classes"),
    pytest.param(  # a radius that leaves little to the slower attacks
        *(3, "APGD-CE, FAB, Square", "[0.05, 0.5]", [("linf", 0.5)]), id="three classes"
    ),
]


def study_of(epochs: int, batch: int) -> str:
    return JUDGED.replace("EPOCHS", str(epochs)).replace("BATCH", str(batch))


def finished(cell: Cell, **changes: object) -> TrialRecord:
    """The record of a cell's finished trial."""
    return finished_trial(cell, DATA, **({"artifacts": "mlflow-artifacts:/elsewhere"} | changes))


def plan_with(spec: StudySpec, objectives: Mapping[str, tuple[tuple[float, float], ...]]) -> Plan:
    """The plan of a study whose configurations have trials with these objectives, one a seed."""
    records = []
    configurations = list(space.grid_configurations(spec))
    for block in space.search_blocks(spec, DATA):
        point = {path: limits.low for path, limits in block.ranges}
        configurations.append(space.suggested(block, point, 0))
    for configuration in configurations:
        rho = dict(configuration.values).get("weights.sam.rho", "")
        found = objectives.get(f"{configuration.method} {rho}".strip(), ())
        cells = space.cells(spec, configuration, DATA)
        for cell, pair in zip(cells, found, strict=False):
            labels = {"method": configuration.method}
            records.append(finished(cell, objectives=pair, labels=labels))
    return make_plan(spec, DATA, records)


def names(members: tuple[Member, ...]) -> list[str]:
    found = [(m.configuration.method, dict(m.configuration.values)) for m in members]
    return [f"{method} {values.get('weights.sam.rho', '')}".strip() for method, values in found]


def test_members_are_each_methods_front_though_another_method_dominates_it(read: Read) -> None:
    objectives = {
        "standard": ((0.9, 0.1), (0.9, 0.1)),
        "sam 0.1": ((0.8, 0.2), (0.8, 0.2)),
        "sam 0.2": ((0.7, 0.1), (0.7, 0.1)),
        "sam_at 0.05": ((0.95, 0.6), (0.95, 0.6)),
    }
    members = find_members(plan_with(read(), objectives))
    assert names(members) == ["standard", "sam 0.1", "sam_at 0.05"]
    assert [[n.cell.seed for n in m.networks] for m in members] == [[0, 1]] * 3


def test_members_come_by_rising_clean_accuracy_of_the_means(read: Read) -> None:
    objectives = {
        "sam 0.1": ((0.99, 0.2), (0.71, 0.2)),
        "sam 0.2": ((0.8, 0.3), (0.8, 0.3)),
    }
    assert names(find_members(plan_with(read(), objectives))) == ["sam 0.2", "sam 0.1"]


def test_configuration_without_all_its_seeds_is_no_member_and_hides_none(read: Read) -> None:
    objectives = {"sam 0.1": ((0.8, 0.2), (0.8, 0.2)), "sam 0.2": ((0.9, 0.9),)}
    assert names(find_members(plan_with(read(), objectives))) == ["sam 0.1"]
    assert find_members(plan_with(read(), {"sam 0.2": ((0.9, 0.9),)})) == ()
    assert count_incomplete(plan_with(read(), {})) == 3
    assert count_incomplete(plan_with(read(), objectives)) == 2
    assert find_members(plan_with(read(), {})) == ()


def test_configuration_that_two_methods_share_is_a_member_once(read: Read) -> None:
    text = read.text.replace("rho: [0.1, 0.2]", "rho: [0.1]")
    text = text.replace("low: 0.05, high: 0.8, log: true", "low: 0.0, high: 0.1")
    text = text.replace("inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}", "inputs: none")
    text = text.replace("sam: {weights: {sam: {rho: [0.1]}}}", "sam: {weights: {sam: {rho: [0]}}}")
    spec = read(text=text)
    objectives = {"sam 0.0": ((0.8, 0.2), (0.8, 0.2)), "sam_at 0.0": ((0.8, 0.2), (0.8, 0.2))}
    assert len(find_members(plan_with(spec, objectives))) == 1


def test_units_are_every_network_at_every_norm_and_radius(read: Read) -> None:
    objectives = {"sam 0.1": ((0.8, 0.2), (0.8, 0.2))}
    spec = read()
    other = "objective_radius: 0.1, other_norm_radii: [0.5]"
    both = read(text=read.text.replace("objective_radius: 0.1", other))
    for study, threats in (
        (spec, [("linf", 0.05), ("linf", 0.1)]),
        (both, [("linf", 0.05), ("linf", 0.1), ("l2", 0.5)]),
    ):
        units = attack_units(study, find_members(plan_with(study, objectives)), "all")
        found = [(unit.network.cell.seed, unit.threat.norm, unit.threat.radius) for unit in units]
        assert found == [(seed, *threat) for seed in (0, 1) for threat in threats]


class EndedPool:
    """A pool in which every unit ends at once."""

    def run(self, work: object, units: Any, tell: Callable[..., None]) -> None:
        for unit in units:
            tell(unit, Ended(found=0.25, reason="", seconds=1.0))


def test_radii_of_an_evaluation_are_printed_as_the_report_prints_them(read: Read) -> None:
    radii = "radii: [0.05, 0.1], objective_radius: 0.1"
    text = read.text.replace(radii, "radii: [8/255, 0.1], objective_radius: 8/255")  # type: ignore[attr-defined]
    spec = read(text=text)
    members = find_members(plan_with(spec, {"standard": ((0.9, 0.5), (0.9, 0.5))}))
    lines: list[str] = []
    Rounds(spec, load_data(spec.data, Path()), lines.append).attack(EndedPool(), members)  # type: ignore[arg-type]
    assert "at linf 8/255, 0.1: 4 units" in lines[0]
    assert lines[2].startswith("[1/4] standard seed=0: AutoAttack linf 8/255, all 500 test images")


def test_findings_are_no_error_and_failures_are() -> None:
    none = Outcome(members=(), checklist=(), failures=())
    assert none.exit_code == 0
    assert replace(none, failures=(("a unit", "its reason"),)).exit_code == 1


@dataclass(frozen=True)
class Judged:
    """A trained network, recorded as a launch records it."""

    context: WorkContext
    network: Network

    def record(self, client: Any) -> TrialRecord:
        """The trial as its records have it now."""
        trials = read_trials(client, "last")
        return next(record for record in trials if record.run == self.network.record.run)


def few(dataset: Dataset, num_classes: int) -> Dataset:
    """Of each part 60 samples of the first classes."""

    def taken(split: Split) -> Split:
        index = np.flatnonzero(split.labels < num_classes)[:60]
        return Split(images=split.images[index], labels=split.labels[index])

    parts = {name: taken(getattr(dataset, name)) for name in ("train", "validation", "test")}
    return replace(dataset, classes=dataset.classes[:num_classes], **parts)


def trained(
    client: Any,
    store: Store,
    folder: Path,
    spec: StudySpec,
    dataset: Dataset,
    seed: int = 0,
) -> Judged:
    """Train the study's first cell and record it."""
    torch.set_num_threads(1)
    cells = space.cells(spec, space.grid_configurations(spec)[0], dataset.fingerprint)
    cell = next(cell for cell in cells if cell.seed == seed)
    state = new_state(cell.config, dataset, CPU)
    list(train(cell.config, dataset, CPU, state))
    for checkpoint in CHECKPOINTS:
        path = folder / "checkpoints" / f"{checkpoint}.pt"
        save_weights(path, state.model.state_dict(), {"cell": cell.key})
    evaluation = cell.config.evaluation
    found = evaluate(state.model, dataset.test, dataset.divisor, evaluation, 0, CPU)
    arrays = {name: found.bits for name in CHECKPOINTS}
    arrays |= {f"{name}_other": found.other_bits for name in CHECKPOINTS}
    digest = np.array(sample_hash(dataset.test))
    np.savez(folder / BITS_FILE, **arrays, sample_hash=digest)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    runs = open_study(client, store, spec, {})
    canonical = space.canonical(cell.config, dataset.fingerprint)
    tags = {"study": spec.name, "cell": cell.key, "method": "sam", "block": "", "number": "-1"}
    labels = {"version.torch": "2", "version.numerics": "7", "git_commit": "none"}
    tags |= {"seed": str(seed), "config": json.dumps(canonical)}
    run = TrialRun(client, runs, "a run", tags | labels, {})
    run.finish(dict.fromkeys(_required_metrics(canonical["evaluation"]), 0.5), folder)
    context = WorkContext(spec=spec, dataset=dataset, store=store, workers_lock=None)
    record = next(one for one in read_trials(client, "last") if one.run == run.id)
    return Judged(context, Network(cell=cell, record=record))


def judged(client: Any, store: Store, folder: Path, spec: StudySpec, num_classes: int) -> Judged:
    """Train on few digits of the first classes, under a study's name of its own."""
    dataset = few(load_data(spec.data, folder), num_classes)
    spec = spec.model_copy(update={"name": f"judged-{num_classes}"})
    return trained(client, store, folder, spec, dataset)


@pytest.mark.parametrize(("num_classes", "attack", "radii", "threats"), FEW_AND_MANY)
def test_attack_of_a_unit_is_recorded_as_a_direct_call_gives_it(
    client: Any,
    store: Store,
    tmp_path: Path,
    read: Read,
    num_classes: int,
    attack: str,
    radii: str,
    threats: list[tuple[Norm, float]],
) -> None:
    text = study_of(epochs=6, batch=20).replace("radii: [0.05, 0.1]", f"radii: {radii}")
    one = judged(client, store, tmp_path, read(text=text), num_classes)
    test = one.context.dataset.test
    first = Split(images=test.images[:10], labels=test.labels[:10])
    direct = []
    for norm, radius in threats:
        threat = Threat(norm=norm, radius=radius, samples=10)
        unit = AttackUnit(network=one.network, threat=threat)
        accuracy = attack_network(one.context, unit)
        model = load_network(one.context, one.network)
        found = autoattack(model, first, 16, norm=norm, radius=radius, seed=0, device=CPU)
        assert accuracy == found.bits[-1].mean()
        assert is_attacked(one.record(client), "last", attack, threat)
        direct.append(found)
    assert not is_attacked(
        one.record(client), "last", attack, Threat(norm="linf", radius=0.1, samples=10)
    )
    records = read_attacks(store, one.record(client), "last", 10, hash_of_first(test))
    assert [(record.threat.norm, record.threat.radius) for record in records] == threats
    for record, found in zip(records, direct, strict=True):
        assert (record.attack, record.num_judged) == (attack, 10)
        assert record.attacks == found.attacks
        assert record.sample_hash == sample_hash(first)
        assert np.array_equal(record.bits, found.bits)
    assert records[0].bits[0].mean() > 0, "a network that is never right tests nothing"


def test_checklist_knows_the_recorded_attacks_and_is_recorded(
    client: Any, store: Store, tmp_path: Path, read: Read
) -> None:
    spec = read(text=study_of(epochs=3, batch=20))
    one = judged(client, store, tmp_path, spec, 4)

    attack_network(
        one.context,
        AttackUnit(network=one.network, threat=THREAT),
    )
    network = replace(one.network, record=one.record(client))
    verdict = check_network(one.context, CheckUnit(network=network, rivals=(), basis="a basis"))
    record = one.record(client)
    assert is_checked(record, "last", "a basis")
    assert record.labels["diagnosis"] == verdict
    checks = read_checks(store, record, "last")
    assert {check.number for check in checks} == set(range(1, 13))
    found = {check.name: check.verdict for check in checks}
    assert found["tier gap"] != "not run"
    assert found["transfer"] == "not run"
    assert found["provenance"] == "warn", "it was trained outside git"
    assert "seeds" not in found, "they are the reading study's"
    for num_seeds in (1, 3):
        rows = read_checklist(store, record, "last", num_seeds)
        assert [row for row in rows if row.name == "seeds"] == [count_seeds(num_seeds)]
        assert {row for row in rows if row.name != "seeds"} == set(checks)
        assert [row.number for row in rows] == sorted(row.number for row in rows)
    bits = read_bits(store, record)["last"]
    assert (found["radius order"] == "pass") == (bits[1].mean() >= bits[2].mean())


def test_weights_of_another_cell_are_refused(
    client: Any, store: Store, tmp_path: Path, read: Read
) -> None:
    one = judged(client, store, tmp_path, read(text=study_of(epochs=1, batch=20)), 5)
    other = replace(one.network, cell=replace(one.network.cell, key="another"))
    with pytest.raises(CheckpointError, match="and not of another; delete it, then launch"):
        load_network(one.context, other)
    model = load_network(one.context, one.network)
    folder = local_path(one.network.record.artifacts)
    assert folder is not None
    weights, _ = load_weights(folder / "checkpoints" / "last.pt")
    assert all(torch.equal(model.state_dict()[name], weights[name]) for name in weights)


def test_nothing_launched_is_one_line_with_the_next_command(project: Any) -> None:
    code, output = project.run("evaluate", "tiny")
    assert code == 2, output
    assert output == (
        "tiny: no configuration has finished with all its seeds yet; run: study launch tiny\n"
    )


def members_of(project: Any) -> tuple[StudySpec, tuple[Member, ...]]:
    spec = read_studies(project.file)["judged"]
    return spec, find_members(current_plan(spec, project.folder))


def done_units(project: Any) -> set[tuple[int, float]]:
    spec, members = members_of(project)
    return {
        (unit.network.cell.seed, unit.threat.radius)
        for unit in attack_units(spec, members, 10)
        if is_attacked(unit.network.record, "last", "AutoAttack", unit.threat)
    }


def ended_units(output: str) -> list[tuple[int, float]]:
    found = re.findall(r"seed=(\d): AutoAttack \w+ ([\d.]+), first 10 of 500: [\d.]+%", output)
    return [(int(seed), float(radius)) for seed, radius in found]


@pytest.mark.slow
def test_evaluation_that_fails_in_part_and_is_stopped_goes_on_with_what_is_missing(
    project: Any,
) -> None:
    text = study_of(epochs=2, batch=250)
    project.write(text.replace("[0.05, 0.1]", "[0.1]").replace("radius: 0.05", "radius: 0.1"))
    spec = read_studies(project.file)["judged"]
    store = find_store(project.folder)
    dataset = load_data(spec.data, project.folder)
    networks = [
        trained(
            connect(store), store, project.folder / f"files {seed}", spec, dataset, seed
        ).network
        for seed in spec.seeds
    ]
    folders = [Path(local_path(network.record.artifacts)) for network in networks]
    weights = folders[1] / "checkpoints" / "last.pt"
    kept = weights.read_bytes()
    weights.write_bytes(b"no weights")

    process = project.start("evaluate", "judged")
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "failed" in line:
            process.send_signal(signal.SIGINT)
            break
    output = "".join(lines) + process.stdout.read()
    assert process.wait() == 130, output
    assert "AutoAttack, first 10 of 500, on 2 networks, 1 configuration" in output
    assert "4 units, 0 done" in output
    assert re.search(r"seed=1: AutoAttack .*: failed: CheckpointError: .* is damaged", output)
    assert "interrupted by SIGINT; what is finished is kept" in output
    assert "Traceback" not in output
    done = done_units(project)
    assert set(ended_units(output)) <= done <= {(0, 0.1), (0, 0.3)}
    assert done

    weights.write_bytes(kept)
    gone = min(done)
    norm = "linf" if gone[1] < 0.3 else "l2"
    (folders[0] / file_name("last", Threat(norm=norm, radius=gone[1], samples=10))).unlink()
    code, output = project.run("evaluate", "judged")
    assert code == 0, output
    whole = {(seed, radius) for seed in (0, 1) for radius in (0.1, 0.3)}
    assert set(ended_units(output)) == (whole - done) | {gone}
    assert done_units(project) == whole
    assert "Its configuration has 2 seeds" in output
    assert output.endswith("next: study report judged\n")

    _, [member] = members_of(project)
    context = WorkContext(spec=spec, dataset=dataset, store=store, workers_lock=None)
    first = Split(images=dataset.test.images[:10], labels=dataset.test.labels[:10])
    for network in member.networks:
        records = read_attacks(store, network.record, "last", 10, hash_of_first(dataset.test))
        threats = [(record.threat.norm, record.threat.radius) for record in records]
        assert threats == [("linf", 0.1), ("l2", 0.3)]
        checks = {check.name: check for check in read_checks(store, network.record, "last")}
        assert checks["tier gap"].verdict != "not run"
        assert checks["transfer"].verdict != "not run"
    model = load_network(context, network)
    direct = autoattack(model, first, 16, norm="linf", radius=0.1, seed=0, device=CPU)
    assert np.array_equal(records[0].bits, direct.bits)

    code, output = project.run("evaluate", "judged")
    assert (code, output.count("nothing to do")) == (0, 2), output
    assert "Its configuration has 2 seeds" in output
