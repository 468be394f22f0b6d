"""A page that follows a launch: what is running, the time left, and the report as it grows.

The report itself is one offline file, and knows nothing of this. The page shows it in a frame,
below a strip that is written anew every few seconds. It reads the strip from a script beside it,
as pages on a disk may read nothing else.
"""

import contextlib
import html
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.results.trials import ON_PURPOSE, ResultsError
from study.launch.launch import current_plan, project_folder
from study.plan import naming
from study.plan.plan import Plan, PlannedCell
from study.plan.times import TimeLeft
from study.records.runs import Source, open_source, parent_status
from study.records.starts import with_starts
from study.records.store import find_store, recording, store_exists
from study.report.report import Report, report_studies
from study.spec import StudySpec

SHARE = 0.04
"""The share of the machine's processors that reports and strips may take together."""
STRIP_SECONDS = 5.0
WAIT_SECONDS, START_SECONDS = 60.0, 600.0
"""How long a launch is waited for that has not begun yet, and one that is starting Ray."""
LAST_SECONDS = 300.0
"""How long a launch that has ended waits for its last report."""
KEPT = 12
"""The reports whose interval is shown."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """The primary contrast as a report had it, in percentage points of robust accuracy."""

    trials: int
    estimate: float
    low: float
    high: float


@dataclass(kw_only=True)
class Follower:
    """What is known of a launch from one strip to the next."""

    spec: StudySpec
    project: Path
    slots: int
    steps: list[Step] = field(default_factory=list)
    num_reports: int = 0

    @property
    def folder(self) -> Path:
        """The folder of the page."""
        return self.project / "reports" / f"{self.spec.name}@live"

    @property
    def page(self) -> Path:
        """The page to open."""
        return self.folder / "index.html"


def follow(spec: StudySpec, project: Path, slots: int | None, say: Say) -> Report:
    """Keep the live page of a study current until its launch has ended, then report as ever.

    Where no launch is at work, one is waited for at first. Analyses use at most `SHARE` of the
    machine. Raises `ResultsError` where there is nothing to report at the end.
    """
    os.nice(10)  # trials come first
    follower = Follower(spec=with_starts(spec, project), project=project, slots=slots or 1)
    follower.folder.mkdir(parents=True, exist_ok=True)
    follower.page.write_text(_page(spec.name), encoding="utf-8")
    _write_strip(follower, None, is_over=False)
    say(f"open: {os.path.relpath(follower.page)}")
    began = time.monotonic()
    while not is_at_work(spec, project):
        wait = START_SECONDS if _is_held(spec, project) else WAIT_SECONDS
        if time.monotonic() - began > wait:
            break
        time.sleep(1.0)
    reported, next_report = 0, 0.0
    while is_at_work(spec, project):
        used = processor_seconds()
        plan = current_plan(follower.spec, project)
        done = plan.count("done")
        if done > reported and time.monotonic() >= next_report:
            reported = done
            with contextlib.suppress(ResultsError):
                _report(follower, done, say)
            next_report = time.monotonic() + pause(processor_seconds() - used)
            used = processor_seconds()
        _write_strip(follower, plan, is_over=False)
        time.sleep(max(STRIP_SECONDS, pause(processor_seconds() - used)))
    plan = current_plan(follower.spec, project)
    report = _report(follower, plan.count("done"), say, is_filed=True)
    _write_strip(follower, plan, is_over=True)
    return report


@contextlib.contextmanager
def followed(spec: StudySpec, file: Path) -> Iterator[None]:
    """Follow a launch by a process of its own; wait for its last report at the end."""
    project = project_folder(file)
    (project / "runs").mkdir(exist_ok=True)
    log = project / "runs" / "follow.log"
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", "study", "report", spec.name, "--follow"]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [*command, "--file", str(file.resolve())],
            env={**os.environ, "PYTHONPATH": path},
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is the launch's to handle
        )
    try:
        yield
        print("writing the last report …", flush=True)
        if process.wait(timeout=LAST_SECONDS):
            print(f"the report could not be written; see {os.path.relpath(log)}")
    except subprocess.TimeoutExpired:
        print(f"the report takes long; see {os.path.relpath(log)}")
    except BaseException:
        process.terminate()
        raise


def pause(seconds: float) -> float:
    """Return how long to pause after some seconds of processor time, to stay within the share."""
    return seconds / (SHARE * len(os.sched_getaffinity(0)))


def processor_seconds() -> float:
    """Return the processor time of this process and those that it has waited for."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


def is_at_work(spec: StudySpec, project: Path) -> bool:
    """Return whether a launch of the study is running, by its parent run and the launch lock.

    A launch that was killed leaves its parent run running, but on one machine its process is gone.
    """
    store = find_store(project)
    if not store_exists(store):
        return False
    with recording(store):
        source: Source = open_source(store)
        if parent_status(source, spec.name) != "RUNNING":
            return False
    return not store.is_local or _is_held(spec, project)


def _is_held(spec: StudySpec, project: Path) -> bool:
    """Return whether the process that wrote its name into the launch lock for the study lives."""
    with contextlib.suppress(OSError):
        holder = (project / "runs" / "launch.lock").read_text(encoding="utf-8")
        found = re.match(rf"study {re.escape(spec.name)}, process (\d+),", holder)
        if found is not None:
            os.kill(int(found[1]), 0)  # sends nothing; an error if there is no such process
            return True
    return False


def _report(follower: Follower, done: int, say: Say, *, is_filed: bool = False) -> Report:
    """Write the report, and note its primary contrast."""
    report = report_studies((follower.spec,), follower.project, is_filed=is_filed)
    content = json.loads((report.page.parent / "front.json").read_text(encoding="utf-8"))
    found = next((f for f in content["findings"] if f["primary"] and f["low"] is not None), None)
    if found is not None:
        points = {name: 100 * float(found[name]) for name in ("estimate", "low", "high")}
        follower.steps = [*follower.steps, Step(trials=done, **points)][-KEPT:]
    follower.num_reports += 1
    say(f"{follower.spec.name}: report of {done} trials")
    return report


def _write_strip(follower: Follower, plan: Plan | None, *, is_over: bool) -> None:
    """Write the strip; it is renamed into its place, so that the page never reads half of it."""
    content = {
        "report": follower.num_reports,
        "over": is_over,
        "html": strip(follower, plan, is_over),
    }
    path = follower.folder / "live.js"
    aside = path.with_suffix(".part")
    aside.write_text(f"show({json.dumps(content)})\n", encoding="utf-8")
    aside.replace(path)


def strip(follower: Follower, plan: Plan | None, is_over: bool) -> str:
    """Format the strip as HTML, every text in it escaped."""
    spec = follower.spec
    if plan is None:
        return f"<p><b>{html.escape(spec.name)}</b>: waiting for a launch to begin</p>"
    running = [one for one in plan.cells if one.state == "running" and one.record is not None]
    early = [f"{plan.count(s)} {s}" for s in ON_PURPOSE if plan.count(s)]
    counts = [f"{plan.count('done')} of {plan.num_cells} trials done", *early]
    failed = plan.count("failed") + plan.count("given up")
    if is_over:
        counts.append(f"{failed} failed · the launch has ended, and this page no longer changes")
    else:
        shares = [(one.cell, _epoch(one) / one.cell.config.training.epochs) for one in running]
        left = TimeLeft(spec, plan, follower.slots).left(shares)
        length = "time left not known yet" if left is None else f"about {_clock(left)} left"
        counts.append(f"{len(running)} running · {failed} failed · {length}")
    lines = [f"<p><b>{html.escape(spec.name)}</b>: {html.escape(' · '.join(counts))}</p>"]
    if running and not is_over:
        names = [
            f"{naming.cell_name(spec, one.cell)} (epoch {_epoch(one)} of "
            f"{one.cell.config.training.epochs})"
            for one in running[:KEPT]
        ]
        lines.append(f"<p>running: {html.escape(', '.join(names))}</p>")
    return "".join([*lines, _steps_html(follower.steps)])


def _epoch(planned: PlannedCell) -> int:
    return int(planned.record.metrics.get("train/epoch", 0)) if planned.record else 0


def _steps_html(steps: Sequence[Step]) -> str:
    """Draw how the interval of the primary contrast has changed from report to report."""
    if not steps:
        return ""
    last = steps[-1]
    low, high = min(one.low for one in steps), max(one.high for one in steps)
    scale = 28 / (high - low) if high > low else 0.0
    marks = []
    for place, one in enumerate(steps):
        x, top, bottom = 6 + 10 * place, 32 - scale * (one.high - low), 32 - scale * (one.low - low)
        middle = 32 - scale * (one.estimate - low)
        marks.append(f'<path d="M{x} {top:.1f}V{bottom:.1f}"/>')
        marks.append(f'<circle cx="{x}" cy="{middle:.1f}" r="2"/>')
    widths = " → ".join(f"±{(one.high - one.low) / 2:.1f}" for one in steps[-4:])
    text = (
        f"primary contrast: {last.estimate:.1f} pp of robust accuracy "
        f"[{last.low:.1f}, {last.high:.1f}] after {last.trials} trials; its interval: {widths}"
    )
    drawn = f'<svg width="{12 + 10 * len(steps)}" height="36" aria-hidden="true">{"".join(marks)}'
    return f"<p>{drawn}</svg> {html.escape(text)}</p>"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _page(name: str) -> str:
    """Return the page: the strip, and the report in a frame that changes with the report."""
    title = html.escape(name)
    return PAGE.replace("TITLE", title).replace("REPORT", f"../{title}/index.html")


PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>TITLE, live</title>
<meta name="viewport" content="width=device-width"><style>
:root{color-scheme:light dark}
body{margin:0;font:14px/1.4 system-ui,sans-serif;display:flex;flex-direction:column;height:100vh}
#strip{padding:4px 16px;border-bottom:1px solid #8888}
#strip p{margin:4px 0}
svg{vertical-align:middle;stroke:currentColor;fill:currentColor}
iframe{flex:1;border:0;width:100%}
</style>
<div id="strip" role="status"></div><iframe id="report" title="report of TITLE"></iframe>
<script>
let shown = 0, timer;
function show(live) {
  document.getElementById("strip").innerHTML = live.html;
  if (live.report !== shown) {
    shown = live.report;
    document.getElementById("report").src = "REPORT?report=" + shown;
  }
  if (live.over) clearInterval(timer);
}
function read() {
  const script = document.createElement("script");
  script.src = "live.js?" + Date.now();
  script.onload = script.onerror = () => script.remove();
  document.head.append(script);
}
timer = setInterval(read, 3000);
read();
</script>
</html>
"""
