"""Captions: under which conditions a figure holds, and how it is read."""

from analysis.choice import Choice, choose
from analysis.claims import Estimand, Finding
from analysis.document import Analysis
from analysis.framing import left_out_text
from analysis.results import Results
from analysis.words import attack_text, count_text, value_text

MOST_RINGS = 24
"""With more configurations only members of fronts have a ring: the others' would hide them."""
MOST_SEED_POINTS = 400
"""More trials than this are drawn as means alone: single seeds would be one grey cloud."""
ESTIMAND_TEXTS: dict[Estimand, str] = {
    "population": "other seeds and other images (population)",
    "this test set": "other seeds, these test images",
}
"""What an interval covers, as it is printed."""
SHORT_FAMILIES = {"power": "power", "superellipse": "superellipse", "ellipse": "Gaussian ellipse"}


def headline_finding(analysis: Analysis) -> Finding | None:
    """Choose the finding that titles the main figure: a claimed gap, else the primary contrast."""
    gaps = [f for f in analysis.findings if f.kind == "gap" and f.status == "claimed"]
    primary = [f for f in analysis.findings if f.primary]
    claimed = [f for f in primary if f.status == "claimed"]
    return next(iter([*gaps, *claimed, *primary]), None)


def front_title(analysis: Analysis, radius: float) -> str:
    """Title the main figure with its finding, or plainly where there is none at this radius."""
    finding = headline_finding(analysis)
    if finding is None or radius != analysis.results.threat.objective_radius:
        return f"{analysis.results.study}: clean accuracy and robust accuracy"
    return finding.text.partition(" (95%")[0].rstrip(" .,;")


def front_conditions(analysis: Analysis, radius: float, estimand: Estimand) -> str:
    """State of how many configurations, seeds and images, and against what, a front is made."""
    results = analysis.results
    absent = f", {len(results.absent)} absent" if results.absent else ""
    return (
        f"{count_text(len(analysis.found), 'configuration')} × "
        f"{seeds_text(results)} "
        f"({count_text(len(results.trials), 'trial')}{absent}) · "
        f"{count_text(results.num_test, 'test image')} · {attack_text(results.threat, radius)} · "
        f"95% intervals: {ESTIMAND_TEXTS[estimand]}"
    )


def seeds_text(results: Results) -> str:
    """Count the declared seeds of a method; from the fewest to the most where methods differ."""
    counts = [len(results.seeds_of(note.name)) for note in results.methods]
    least, most = min(counts, default=0), max(counts, default=0)
    return count_text(most, "seed") if least == most else f"{least} to {count_text(most, 'seed')}"


def front_reading(analysis: Analysis, radius: float, estimand: Estimand) -> str:
    """Say how the main figure is read, and what is outside it."""
    results, choice = analysis.results, choose(analysis.results)
    view = analysis.view(radius, estimand)
    fitted = [fit for fit in view.fits if fit.chosen]
    families = ", ".join(
        f"{fit.method}: {SHORT_FAMILIES.get(str(fit.chosen), fit.chosen)}" for fit in fitted
    )
    several = any(len(c.trials) > 1 for c in analysis.found)
    several = several and len(results.trials) <= MOST_SEED_POINTS
    searched = any(front.note.searched and front.configurations for front in choice.fronts)
    parts = [
        "Dots: single seeds" if several else "",
        "rings: 95% regions of "
        + ("front members'" if len(analysis.found) > MOST_RINGS else "configurations'")
        + " means",
        f"lines: fitted fronts ({families}) with pointwise 95% bands, dotted where extrapolated"
        if fitted
        else "",
        ("dashed steps" if fitted else "steps")
        + ": median attainment surface, shaded from its pessimistic to its optimistic 95% edge, "
        "pointwise",
        "hollow: searched" if searched else "",
        _member_text(results, choice, radius),
    ]
    text = "; ".join(part for part in parts if part)
    outside = left_out_text(choice, results.threat.radii.index(radius))
    lost = f"Left out: {analysis.exclusion.named}." if analysis.exclusion else ""
    return " ".join(part for part in (f"{text[0].upper()}{text[1:]}.", outside, lost) if part)


def chosen_text(results: Results) -> str:
    """Say on which data, under which attack and at which radius fronts were chosen."""
    threat = results.threat
    norm, radius = threat.chosen_at or (threat.norm, threat.objective_radius)
    where = (
        f"validation data ({threat.validation_attack})" if results.num_validation else "test data"
    )
    return f"{where} at {'radius' if norm == threat.norm else norm} {value_text(radius)}"


def _member_text(results: Results, choice: Choice, radius: float) -> str:
    threat = results.threat
    text = f"large markers: each method's front as chosen on {chosen_text(results)}"
    shifted = choice.on_validation and radius == threat.objective_radius and not threat.chosen_at
    if shifted and any(front.note.searched and front.members for front in choice.fronts):
        text += ", thin arrows from there to test"
    return text
