"""What the commands print: a plan, the state of a study, and how a launch ended."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from study.launch.launch import Outcome
from study.plan import naming
from study.plan.budget import LeftOut, purchase
from study.plan.cost import relative_cost
from study.plan.fronts import front_so_far
from study.plan.plan import CellState, Plan
from study.plan.reasons import NEVER_RUN, count_last_read, reasons
from study.plan.space import Cell, Configuration
from study.plan.stops import is_adaptive
from study.plan.times import Estimate, estimate
from study.records.attacks import CheckRecord
from study.report.power import Design, expected_power
from study.spec import Start, StudySpec, cell_config, settings_of, start_of
from study.spec.settings import choices
from study.verify.checklist import SIGNS, make_checklist

MAX_LISTED = 10
"""Failed cells that are listed one by one; the others are only counted."""

ASSUMPTION = "seeds differ by 2 pp in robust accuracy, and two methods on a fifth of the images"
MATCHED = "a lead at equal numbers of configurations: as they differ, it must hold there, too"
LEAST_REPEATS = 10
"""`LEAST_FREEDOM` of the analysis, which takes a tenth of a second to import."""

MANY_TRIALS, LONG_SECONDS = 1000, 24 * 3600.0
"""A launch of more than either is confirmed first."""


def print_plan(spec: StudySpec, plan: Plan, num_slots: int | None) -> None:
    """Print what a launch would run. `num_slots`: trials at a time, None on a cluster to join."""
    searched = {planned.block.method: 0 for planned in plan.blocks}
    for planned in plan.blocks:
        searched[planned.block.method] += planned.to_search * plan.seeds
    states: list[CellState] = ["done", *_found(plan, "to evaluate"), "missing", "failed"]
    states += ["given up", *_found(plan, "stopped", "spared")]
    rows: list[Sequence[str]] = [("method", *states, "to be searched")]
    for method in spec.methods:
        counts = {state: plan.count(state, method) for state in states}
        counts["missing"] += plan.count("running", method)
        numbers = [*counts.values(), searched.get(method, 0)]
        rows.append((method, *(str(number) if number else "·" for number in numbers)))
    size = f"{len(spec.methods)} methods, {_seeds(len(spec.seeds))}, {plan.num_cells} trials"
    print(f"{spec.name}: {size}")
    _print_table(rows)
    _print_sweeps(spec, plan)
    _print_starts(spec)
    _print_fidelity(spec)
    _print_rungs(spec)
    _print_reused(spec, plan)
    _print_last_read(spec, plan)
    _print_reasons(spec, plan)
    _print_failures(spec, plan)
    for planned in plan.blocks:
        if planned.left_out:
            print(
                f"{planned.block.method}: {planned.left_out} earlier suggestions lie outside "
                "the ranges as they are now, and are left out"
            )
    _print_power(spec, plan)
    if plan.num_open == 0:
        print("nothing is left to run")
        return
    resources = f"{spec.resources.cpu} CPU, {spec.resources.gpu:g} GPU"
    at_a_time = "as many as the cluster holds" if num_slots is None else f"{num_slots}"
    to_evaluate = plan.count("to evaluate")
    what = f"{plan.num_open} trials of {resources} each, {at_a_time} at a time"
    if to_evaluate:
        what += f"; {to_evaluate} of them only evaluate stored networks"
    print(f"to run: {what}")
    if is_adaptive(spec):
        later = sum(block.to_search for block in plan.blocks) * (len(spec.seeds) - 1)
        further = plan.count("spared") + later
        if further:
            print(f"  and up to {further} further seeds, where it is undecided who is on a front")
    print(f"time: {_estimate(spec, plan, num_slots)}")
    if spec.budget is not None:
        print(f"budget: {_purchase(spec, plan, num_slots)}")


def _print_power(spec: StudySpec, plan: Plan) -> None:
    """Print how wide the primary contrast's interval will be, and how often a lead is claimed."""
    power = expected_power(spec, plan)
    if power is None:
        return
    own, *others = power.designs
    more = "; ".join(f"{one.seeds} seeds: {_claimed(one)}" for one in others)
    print(
        f"power: {_seeds(len(spec.seeds))} × {power.images:,} test images measure the lead of "
        f"{power.first} over {power.second} to about ± {100 * power.half_width:.1f} pp; a lead of "
        f"{100 * power.lead:g} pp is claimed in {_claimed(own)} of such studies ({more}), one of "
        f"{100 * power.detected:.1f} pp in 80%"
    )
    basis = (
        f"from the noise of {power.trials} recorded trials on the same data and network; in "
        "brackets, the range that so few leave open"
        if power.trials
        else f"assumed, as no like trials of both are recorded: {ASSUMPTION}"
    )
    print(f"  {basis}")
    if power.is_matched:
        print(f"  {MATCHED}")
    seeds = len(spec.seeds)
    configurations = (plan.num_cells + seeds - 1) // seeds
    repeats = configurations * (seeds - 1)
    if repeats < LEAST_REPEATS:
        print(
            f"  but {repeats} repeated trainings are too few to know their noise, and nothing is "
            f"claimed below {LEAST_REPEATS}: add seeds or configurations"
        )


def _claimed(design: Design) -> str:
    """Format a share of claims: `45%`, or `45% [30 to 60]` where its noise is measured."""
    shown = f"{design.claimed:.0%}"
    if design.low == design.high:
        return shown
    return f"{shown} [{100 * design.low:.0f} to {100 * design.high:.0f}]"


def ask(spec: StudySpec, plan: Plan, num_slots: int | None) -> str:
    """Return why a large launch may not start, after a question on the terminal; else empty."""
    large = large_launch(spec, plan, num_slots)
    if not large:
        return ""
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        return f"{spec.name}: {large}: must be confirmed, but there is no terminal; add --yes"
    try:
        answer = input(f"Launch {large}? [y/N] ")
    except EOFError:  # Ctrl-D
        answer = ""
        print()
    return "" if answer.strip().lower() in ("y", "yes") else "nothing was launched"


def large_launch(spec: StudySpec, plan: Plan, num_slots: int | None) -> str:
    """Format a launch that is to be confirmed: `1,200 trials, about 30 h`; empty for any other.

    On a cluster to join, where `num_slots` is None, only the number of trials counts.
    """
    found = estimate(spec, plan, num_slots or 1)
    is_long = num_slots is not None and found.high > LONG_SECONDS
    if plan.num_open <= MANY_TRIALS and not is_long:
        return ""
    if found.num_unknown == plan.num_open or num_slots is None:
        return f"{plan.num_open:,} trials of unknown length"
    rest = f" without {found.num_unknown:,} of unknown length" if found.num_unknown else ""
    return f"{plan.num_open:,} trials, {_length(found)}{rest}"


def _length(found: Estimate) -> str:
    return f"about {' to '.join(dict.fromkeys((_duration(found.low), _duration(found.high))))}"


def _estimate(spec: StudySpec, plan: Plan, num_slots: int | None) -> str:
    """Format how long a launch would take, and how much of that is unknown."""
    found = estimate(spec, plan, num_slots or 1)
    if found.num_unknown == plan.num_open:
        return "unknown, as no trial on these data and this network has been measured yet"
    one_at_a_time = " one at a time" if num_slots is None else ""
    known = f"{_length(found)}{one_at_a_time}, from measured trials"
    return known + (f"; {found.num_unknown} more of unknown length" if found.num_unknown else "")


def _found(plan: Plan, *states: CellState) -> list[CellState]:
    """Return those of some states that a cell of the plan is in."""
    return [state for state in states if plan.count(state)]


def _purchase(spec: StudySpec, plan: Plan, num_slots: int | None) -> str:
    """Format what the budget of a launch buys, and what it leaves out."""
    found = purchase(spec, plan, num_slots or 1)
    assert spec.budget is not None
    limits = spec.budget.model_dump(exclude_none=True)
    text = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in limits.items())
    text += f": {found.num_bought} of {plan.num_open} trials fit"
    if found.num_unknown:
        text += f" ({found.num_unknown} of unknown length)"
    out = ", ".join(f"{method} {number}" for method, number in found.left_out)
    return f"{text}; left out: {out}" if out else text


def print_status(spec: StudySpec, plan: Plan) -> None:
    """Print where a study stands: states, running trials, failures, and the front so far."""
    states: list[CellState] = ["done", "running", *_found(plan, "to evaluate"), "failed"]
    states += ["given up", "missing", *_found(plan, "stopped", "spared")]
    shown = [f"{plan.count(state)} {state}" for state in states]
    shown.append(f"{plan.to_search} to be searched")
    print(f"{spec.name}: {plan.num_cells} trials: {', '.join(shown)}")
    _print_last_read(spec, plan)
    _print_reasons(spec, plan)
    for planned in plan.cells:
        if planned.state == "running" and planned.record is not None:
            done = int(planned.record.metrics.get("train/epoch", 0))
            print(
                f"  running  {naming.cell_name(spec, planned.cell)}: epoch {done} of "
                f"{planned.cell.config.training.epochs}, {_duration(planned.record.seconds)}"
            )
    _print_stopped(plan)
    _print_failures(spec, plan)
    _print_front(spec, plan)


def _print_stopped(plan: Plan) -> None:
    """Print how many configurations the rungs stopped, and where."""
    for epoch, number in sorted(plan.stops.items()):
        noun = "configuration" if number == 1 else "configurations"
        print(f"  stopped  at epoch {epoch}: {number} {noun}; their epochs and states are kept")


def print_outcome(spec: StudySpec, outcome: Outcome) -> None:
    """Print how a launch ended."""
    plan = outcome.plan
    if outcome.stopped_by is not None:
        print(f"interrupted by {outcome.stopped_by.name}; what is finished is kept")
    if outcome.problem:
        print(outcome.problem)
    if outcome.started:
        print(
            f"{spec.name}: {plan.count('done')} of {plan.num_cells} trials done, "
            f"{plan.num_open} open, {plan.count('given up')} given up"
        )
        _print_last_read(spec, plan)
    _print_stopped(plan)
    _print_left_out(spec, outcome.left_out)
    _print_failures(spec, plan)
    _print_front(spec, plan)


def _print_left_out(spec: StudySpec, out: LeftOut) -> None:
    """Print what did not fit into the budget of a launch."""
    if not out.limit:
        return
    found = [f"{len(out.cells)} trials"] if out.cells else []
    found += [f"{out.num_suggestions} suggestions"] if out.num_suggestions else []
    limit = out.limit.replace("_", " ")
    print(f"the budget's {limit} are spent; left out: {' and '.join(found)}")
    for cell in out.cells[:MAX_LISTED]:
        print(f"  left out  {naming.cell_name(spec, cell)}")
    if len(out.cells) > MAX_LISTED:
        print(f"  and {len(out.cells) - MAX_LISTED} more")


def print_checklist(
    spec: StudySpec, networks: Iterable[tuple[Cell, Sequence[CheckRecord]]]
) -> None:
    """Print the checklist of networks: one line per configuration, then the worst remarks."""
    checklist = make_checklist(
        (naming.configuration_name(spec, cell.configuration), cell.seed, checks)
        for cell, checks in networks
        if checks
    )
    if not checklist.legend:
        print("no network has been diagnosed yet")
        return
    print(f"checklist: {checklist.legend}")
    _print_table(checklist.table)
    from analysis.results.trials import VOIDING  # numpy: only here

    print(f"  {SIGNS}")
    print(f"  a fail in 1 to {VOIDING} voids the network's robust accuracies; look into the others")
    for remark in checklist.remarks[:MAX_LISTED]:
        print(f"  {remark}")
    more = len(checklist.remarks) - MAX_LISTED
    if more > 0:
        print(f"  and {more} more, in the report")


def _print_failures(spec: StudySpec, plan: Plan) -> None:
    """Print the cells that failed, each with its last reason."""
    failed = [planned for planned in plan.cells if planned.state in ("failed", "given up")]
    for planned in failed[:MAX_LISTED]:
        reason = planned.record.reason if planned.record else ""
        again = "will try it once more" if planned.state == "failed" else "will not try it again"
        name = naming.cell_name(spec, planned.cell)
        print(f"  {planned.state}  {name}: {reason}; the next launch {again}")
    if len(failed) > MAX_LISTED:
        print(f"  and {len(failed) - MAX_LISTED} more")


def _print_front(spec: StudySpec, plan: Plan) -> None:
    """Print the nondominated configurations on validation, among those with all seeds done."""
    per_seed: dict[Configuration, list[tuple[float, float] | None]] = {}
    for planned in plan.cells:
        objectives = planned.record.objectives if planned.record else None
        per_seed.setdefault(planned.cell.configuration, []).append(objectives)
    front, num_known = front_so_far(per_seed)
    if not front:
        return
    threat = naming.threat_name(spec.evaluation.norm, spec.evaluation.objective_radius)
    print(f"front on validation, means of {_seeds(len(spec.seeds))}, {len(front)} of {num_known}:")
    rows: list[Sequence[str]] = [("", "clean", f"robust ({threat})")]
    for configuration, (clean, robust) in front:
        name, count = naming.configuration_name(spec, configuration), len(per_seed[configuration])
        # Declared further trials may have seeds of their own.
        own = "" if count == len(spec.seeds) else f" ({_seeds(count)})"
        rows.append((name + own, f"{clean:.1%}", f"{robust:.1%}"))
    _print_table(rows)


def _methods_by(
    spec: StudySpec, text_of: Callable[[StudySpec, str], str]
) -> Iterable[tuple[str, list[str]]]:
    """Group the methods by a text about each; those of which there is none are left out."""
    methods: dict[str, list[str]] = {}
    for name in spec.methods:
        text = text_of(spec, name)
        if text:
            methods.setdefault(text, []).append(name)
    return methods.items()


def _print_sweeps(spec: StudySpec, plan: Plan) -> None:
    """Print which settings of training and model each method sweeps, and the trials they make."""
    for swept, names in _methods_by(spec, naming.swept_text):
        number = sum(plan.num_trials(name) for name in names)
        print(f"swept in {', '.join(names)}: {swept}; {number} trials")


def _print_starts(spec: StudySpec) -> None:
    """Print what the trainings start from, where that is not fresh weights."""
    starts: dict[Start, list[str]] = {}
    for name in spec.methods:
        starts.setdefault(start_of(spec, name), []).append(name)
    if all(start.is_fresh for start in starts):
        return
    for start, names in starts.items():
        hashes = sorted({config.weights[:8] for _, config in start.found})
        content = f" ({', '.join(hashes)})" if hashes else ""
        print(f"start of {', '.join(names)}: {naming.start_name(start)}{content}")


def _print_fidelity(spec: StudySpec) -> None:
    """Print which methods have fewer steps in their first epochs, and what that leaves to pass."""
    for fewer, names in _methods_by(spec, naming.fidelity_text):
        shares = ", ".join(f"{name} {_passes_left(spec, name):.0%}" for name in names)
        print(f"fewer steps in {', '.join(names)}: {fewer}; passes of a training: {shares}")


def _print_rungs(spec: StudySpec) -> None:
    """Print which methods' trainings may be stopped, and where."""
    for rungs, names in _methods_by(spec, naming.rungs_text):
        print(f"rungs in {', '.join(names)}: {rungs}")


def _passes_left(spec: StudySpec, method: str) -> float:
    """Return the share of its passes that fewer steps leave a training at its first values."""
    values = {path: choices(setting)[0] for path, setting in settings_of(spec, method)}
    config = cell_config(spec, method, values, spec.seeds[0])
    return relative_cost(config) / relative_cost(replace(config, fidelity="none"))


def _print_reused(spec: StudySpec, plan: Plan) -> None:
    """Print how many of the done cells another study ran."""
    reused: dict[str, int] = {}
    for planned in plan.cells:
        if planned.state == "done" and planned.record and planned.record.study != spec.name:
            reused[planned.record.study] = reused.get(planned.record.study, 0) + 1
    for study, number in reused.items():
        print(f"{number} of the done trials were run by study {study}")


def _print_last_read(spec: StudySpec, plan: Plan) -> None:
    """Print how many of the done cells are read at their last epoch, as the best is unknown."""
    number = count_last_read(plan.cells)
    if number:
        threat = naming.threat_name(spec.evaluation.norm, spec.evaluation.objective_radius)
        verb = "is" if number == 1 else "are"
        print(
            f"{number} of the done trials {verb} read at the last epoch, not at the best: which "
            f"epoch is best at {threat} was not recorded"
        )


def _print_reasons(spec: StudySpec, plan: Plan) -> None:
    """Print why cells are open, the most frequent reason first; that they are new goes unsaid."""
    open_cells = {cell.cell.key: cell.state for cell in plan.open_cells}
    found = Counter(
        (open_cells[key], why)
        for key, why in reasons(spec, plan).items()
        if open_cells[key] in ("to evaluate", "missing")
    )
    if not {why for _, why in found} - {NEVER_RUN}:
        return
    for (state, why), number in found.most_common(MAX_LISTED):
        print(f"{number} {state}: {why}")
    if len(found) > MAX_LISTED:
        print(f"and {len(found) - MAX_LISTED} more reasons")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        print("  " + "  ".join([f"{first:<{widths[0]}}", *cells]))


def _seeds(count: int) -> str:
    return f"{count} seeds" if count > 1 else "1 seed"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
