"""What a study's records alone say of its networks, and which checklists are open."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from study.plan import space
from study.plan.fronts import Member, Network
from study.plan.plan import LAST_ALONE_TAG, TrialRecord
from study.records.attacks import METRIC_WORDS, CheckRecord, Threat, metric_name
from study.records.evidence import basis_of, count_seeds, outdated_text
from study.spec import StudySpec
from study.verify.checklist import make_checklist
from study.verify.diagnosis import check_provenance, compare_epochs, open_checks
from tests.records import finished_trial
from trainers.config import EvaluationConfig, PgdAttack

THREAT = Threat(norm="linf", radius=0.1, samples="all")

Read = Callable[..., StudySpec]
DATA = "some-data"
LABELS = {
    "seed": "0",
    "git_commit": "0123456789abcdef",
    "version.numerics": "7",
    "version.torch": "2.13.0",
}
METRICS = {
    "best/validation_clean": 0.9,
    "best/validation_robust": 0.53,
    "last/validation_clean": 0.9,
    "last/validation_robust": 0.52,
}
GAPS = [
    pytest.param(0.534, 0.514, "pass", id="two points"),
    pytest.param(0.534, 0.513, "warn", id="more than two points"),
    pytest.param(0.9, 0.1, "warn", id="as much as can be"),
    pytest.param(0.4, 0.5, "pass", id="the last epoch is better"),
]


def network(spec: StudySpec, seed: int = 0, **changes: object) -> Network:
    """The first cell of a study, or of another seed, with a trial that finished."""
    configuration = space.grid_configurations(spec)[0]
    cell = next(c for c in space.cells(spec, configuration, DATA) if c.seed == seed)
    found = {"run": f"run {seed}", "study": spec.name, "metrics": METRICS, "labels": LABELS}
    elsewhere = {"artifacts": "mlflow-artifacts:/elsewhere"}
    record = finished_trial(cell, DATA, **(found | elsewhere | changes))
    return Network(cell=cell, record=record)


def test_one_seed_is_no_finding_and_two_are_few() -> None:
    verdicts = {number: count_seeds(number).verdict for number in range(1, 6)}
    assert verdicts == {1: "fail", 2: "warn", 3: "pass", 4: "pass", 5: "pass"}
    assert "add seeds" in count_seeds(1).text


@pytest.mark.parametrize(("best", "last", "verdict"), GAPS)
def test_fall_after_the_best_epoch_warns_and_never_fails(
    best: float, last: float, verdict: str
) -> None:
    evaluation = EvaluationConfig(
        norm="linf", radii=(0.1,), objective_radius=0.1, attack=PgdAttack(steps=1, restarts=1)
    )
    metrics = {"best/validation_robust": best, "last/validation_robust": last}
    check = compare_epochs(metrics, evaluation)
    assert (check.number, check.verdict) == (11, verdict)
    assert f"{best:.1%}" in check.text
    assert f"{last:.1%}" in check.text
    assert "(linf 0.1)" in check.text


def test_network_without_a_best_epoch_is_not_compared_with_one(read: Read) -> None:
    spec = read()
    metrics = {name: value for name, value in METRICS.items() if name.startswith("last/")}
    check = compare_epochs(metrics, spec.evaluation)
    assert (check.number, check.verdict) == (11, "not run")
    assert check.text == "Not run: its run does not record which epoch is best at linf 0.1."
    record = network(spec).record
    labels = {**record.labels, LAST_ALONE_TAG: "true"}
    record = replace(record, metrics=metrics, labels=labels)
    assert check_provenance(record, spec.evaluation, "abcd").verdict == "pass"


def test_run_that_says_everything_passes_and_is_quoted(read: Read) -> None:
    spec = read()
    check = check_provenance(network(spec).record, spec.evaluation, "abcd")
    assert (check.number, check.verdict) == (12, "pass")
    for part in ("abcd", "linf at 0.05, 0.1", "seed 0", "torch 2.13.0", "numerics 7", "01234567"):
        assert part in check.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"labels": {}}, "seed, commit, numerics, torch", id="no labels"),
        pytest.param({"metrics": {}}, "accuracies on validation", id="not chosen on validation"),
        pytest.param({"canonical": {"data": DATA}}, "threat model", id="no threat model"),
    ],
)
def test_run_that_does_not_say_something_fails_and_names_it(
    read: Read, changes: dict[str, object], said: str
) -> None:
    spec = read()
    check = check_provenance(network(spec, **changes).record, spec.evaluation, "abcd")
    assert (check.verdict, check.numbers["missing"] > 0) == ("fail", True)
    assert f"does not record {said}, so" in check.text
    check = check_provenance(network(spec).record, spec.evaluation, "")
    assert "does not record sample hash, so" in check.text


def test_run_outside_git_warns_and_names_the_version(read: Read) -> None:
    spec = read()
    labels = LABELS | {"git_commit": "none", "version.rhoeps": "1.2.3"}
    check = check_provenance(network(spec, labels=labels).record, spec.evaluation, "abcd")
    assert check.verdict == "warn"
    assert check.text.endswith("numerics 7, rhoeps 1.2.3, without a commit.")


@pytest.mark.parametrize(
    ("is_changed", "end"), [("true", "0123456789ab (changed)."), ("false", "0123456789ab.")]
)
def test_run_of_a_changed_tree_says_so(read: Read, is_changed: str, end: str) -> None:
    spec = read()
    record = network(spec, labels=LABELS | {"git_dirty": is_changed}).record
    check = check_provenance(record, spec.evaluation, "abcd")
    assert (check.verdict, check.text.endswith(f"commit {end}")) == ("pass", True)


def test_another_threat_model_than_the_recorded_one_fails(read: Read) -> None:
    spec = read()
    other = replace(spec.evaluation, radii=(0.1, 0.2))
    check = check_provenance(network(spec).record, other, "abcd")
    assert "does not record threat model, so" in check.text


def test_checklist_is_open_until_it_knows_every_rival_and_attack(read: Read) -> None:
    spec = read()
    first, second = network(spec, 0), network(spec, 1)
    basis = basis_of(spec, first.record, [second.record], "all")
    tags = {"diagnosis.best": basis}
    known = replace(first, record=replace(first.record, labels=LABELS | tags))

    def open_seeds(*networks: Network, samples: object = "all") -> list[int]:
        member = Member(configuration=first.cell.configuration, networks=networks)
        units = open_checks(spec, [member], samples)  # type: ignore[arg-type]
        assert all(unit.network not in unit.rivals for unit in units)
        return [unit.network.cell.seed for unit in units]

    assert spec.evaluation.checkpoint == "best"
    assert open_seeds(first, second) == [0, 1]
    assert open_seeds(known, second) == [1]
    assert open_seeds(known) == [0], "a rival has gone"
    for attack in METRIC_WORDS:
        metric = metric_name("best", attack, THREAT)
        attacked = replace(known, record=replace(known.record, metrics=METRICS | {metric: 0.1}))
        assert open_seeds(attacked, second) == [0, 1], "an attack has come"
        assert open_seeds(attacked, second, samples=5) == [1], "it is of other samples"


def test_checklists_of_another_study_s_seeds_are_said_once_and_not_by_network(read: Read) -> None:
    spec = read()
    records = [network(spec, seed).record for seed in (0, 1)]
    assert outdated_text(spec, [records], "all") == "", "nothing is diagnosed"

    def diagnosed(of: TrialRecord, *rivals: TrialRecord) -> TrialRecord:
        basis = basis_of(spec, of, rivals, "all")
        return replace(of, labels=LABELS | {"diagnosis.best": basis})

    both = [diagnosed(records[0], records[1]), diagnosed(records[1], records[0])]
    assert outdated_text(spec, [both], "all") == ""
    assert outdated_text(spec, [both[:1]], "all").startswith("1 of 1 diagnoses used other")
    alone = [diagnosed(record) for record in records]
    assert outdated_text(spec, [alone], "all").startswith("2 of 2 ")
    assert outdated_text(spec, [[alone[0], both[1]]], "all").startswith("1 of 2 ")
    metric = metric_name("best", "AutoAttack", THREAT)
    attacked = [replace(record, metrics=METRICS | {metric: 0.1}) for record in both]
    text = outdated_text(spec, [attacked], "all")
    assert text.startswith("2 of 2 diagnoses used other seeds, attacks or another version than ")
    assert f"study diagnose {spec.name} repeats those of networks on the fronts" in text


def check(number: int, verdict: str, name: str = "a row", text: str = "Said.") -> CheckRecord:
    return CheckRecord(number=number, name=name, verdict=verdict, text=text)


def test_table_counts_networks_and_spells_every_warning_once() -> None:
    few = "Only 2 seeds."
    made = make_checklist(
        [
            ("sam rho=0.1", 0, [check(8, "warn", "Square"), check(8, "pass", "transfer")]),
            ("sam rho=0.1", 1, [check(8, "warn", "Square"), check(8, "fail", "transfer", "Bad.")]),
            ("standard", 0, [check(8, "not run", "Square"), check(11, "warn", "seeds", few)]),
            ("standard", 1, [check(8, "not run", "Square"), check(11, "warn", "seeds", few)]),
            ("standard", 2, [check(11, "pass", "seeds")]),
        ]
    )
    assert made.legend == "8 Square / transfer, 11 seeds"
    assert made.table == (
        ("", "8", "11"),
        ("sam rho=0.1", "1w 1f", "-"),
        ("standard", "-", "2w"),
    )
    assert made.remarks == (
        "fail  sam rho=0.1 seed=1: 8 transfer: Bad.",
        "warn  sam rho=0.1 seed=0, 1: 8 Square: Said.",
        "warn  standard seed=0, 1: 11 seeds: Only 2 seeds.",
    )


def test_table_of_nothing_is_empty() -> None:
    assert make_checklist([]).legend == ""
