"""What a notebook shows of a study and of its plan: a few lines of HTML, all texts escaped."""

from collections.abc import Sequence
from pathlib import Path

from analysis.notebook.pages import table, title
from study.launch.launch import Outcome
from study.plan import naming, space
from study.plan.plan import CellState, Plan
from study.report.report import Report
from study.spec import StudySpec, settings_of

STATES: tuple[CellState, ...] = (
    "done",
    "running",
    "to evaluate",
    "missing",
    "failed",
    "given up",
    "stopped",
    "spared",
)
"""The columns of a plan."""
ALWAYS: tuple[CellState, ...] = ("done", "missing")
"""The others appear only if a cell has them."""


def study_page(spec: StudySpec, project: Path) -> str:
    """Build what a notebook shows of a study: its methods, their settings, and what they vary."""
    cells: dict[str, int] = {}
    for configuration in space.grid_configurations(spec):
        cells[configuration.method] = cells.get(configuration.method, 0) + len(spec.seeds)
    if spec.search is not None:
        for block in space.search_blocks(spec, ""):
            searched = spec.search.trials * len(spec.seeds)
            cells[block.method] = cells.get(block.method, 0) + searched
    rows = [
        (
            method,
            naming.settings_text(spec, method) or "–",
            ", ".join(_varied(spec, method)) or "–",
            str(cells[method]),
        )
        for method in spec.methods
    ]
    threat = naming.threat_name(spec.evaluation.norm, *spec.evaluation.radii)
    seeds = ", ".join(map(str, spec.seeds))
    networks = "; ".join(naming.network_names(spec))
    text = f"{spec.data.name}, {networks}, seeds {seeds}, {threat}"
    heads = ("method", "settings", "varied", "trials")
    return (
        title(spec.name, spec.about)
        + table(heads, rows)
        + title("", f"{text}; records in {project / 'runs'}")
    )


def plan_page(plan: Plan) -> str:
    """Build what a notebook shows of a plan: by method, how many cells are in each state."""
    methods = dict.fromkeys(
        [
            *(planned.cell.configuration.method for planned in plan.cells),
            *(planned.block.method for planned in plan.blocks),
        ]
    )
    states = [state for state in STATES if state in ALWAYS or plan.count(state)]
    searched = {method: 0 for method in methods}
    for planned in plan.blocks:
        searched[planned.block.method] += planned.to_search * plan.seeds
    rows = [
        (
            method,
            *(_number(plan.count(state, method)) for state in states),
            *([_number(searched[method])] if plan.to_search else []),
        )
        for method in methods
    ]
    heads = ["method", *states, *(["to be searched"] if plan.to_search else [])]
    text = f"{plan.count('done')} of {plan.num_cells} trials done, {plan.num_open} open"
    return title(plan.study, text) + table(heads, rows)


def outcome_page(outcome: Outcome) -> str:
    """Build what a notebook shows of a launch that has ended."""
    return plan_page(outcome.plan) + (title("stopped", outcome.problem) if outcome.problem else "")


def report_page(report: Report) -> str:
    """Build what a notebook shows of a report: where it is, and why one was kept."""
    notes = [report.kept] if report.kept else []
    if report.without_results:
        notes.append(f"no trial has a result yet: {', '.join(report.without_results)}")
    return title("report", " – ".join([str(report.page), *notes]))


def _varied(spec: StudySpec, method: str) -> Sequence[str]:
    """List the short names of what a list or a range chooses."""
    paths = [path for path, _ in settings_of(spec, method)]
    found = [c for c in space.grid_configurations(spec) if c.method == method]
    blocks = [b for b in space.search_blocks(spec, "") if b.method == method]
    chosen = dict.fromkeys(path for one in found for path, _ in one.values)
    chosen |= dict.fromkeys(path for b in blocks for path, _ in (*b.fixed, *b.ranges))
    return [space.short_name(path, paths) for path in chosen]


def _number(count: int) -> str:
    return str(count) if count else "·"
