"""Claims in MLflow: which were declared when, counted in the trials that had run by then.

The study's parent run has a tag that holds every claim with which the study was ever launched. A
claim that was declared after trials had run may have been formed by looking at them.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from study.records.database import Database
from study.records.runs import MOST_NOTE_CHARACTERS, Source, StudyRuns, find_study
from study.records.store import EXPERIMENT_TAG
from study.spec import StudySpec, claim_text, claims_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLAIMS_TAG = "claims"
"""JSON: the number of trials that were done when each claim was first launched with."""


def record_claims(client: "MlflowClient", runs: StudyRuns, spec: StudySpec, trials: int) -> None:
    """Record a study's claims at a launch before which so many of its trials were done.

    Claims of earlier launches keep their number, also if they were removed since: to declare one
    again does not make it new.
    """
    now = {claim_text(claim): trials for claim in claims_of(spec)}
    if not now:
        return
    known = _numbers(client.get_run(runs.parent).data.tags)
    text = json.dumps(now | known)
    if len(text) > MOST_NOTE_CHARACTERS:
        text = json.dumps({claim: known.get(claim, trials) for claim in now})
    client.set_tag(runs.parent, CLAIMS_TAG, text)


def has_new_claims(source: Source, spec: StudySpec) -> bool:
    """Return whether a study declares a claim with which it was never launched."""
    known = read_claims(source, spec.name)
    return any(claim_text(claim) not in known for claim in claims_of(spec))


def read_claims(source: Source, name: str) -> Mapping[str, int]:
    """Return how many trials of a study were done when each of its claims was first recorded.

    Empty if the study was never launched, or never with a claim.
    """
    if isinstance(source, Database):
        rows = source.runs((EXPERIMENT_TAG, "study"), ("kind", "study"))
        own = [row for row in rows if row.tags.get("study") == name]
        # The first run is the study's parent run: they are read with the latest first.
        return _numbers(own[-1].tags) if own else {}
    runs = find_study(source, name)
    return {} if runs is None else _numbers(source.get_run(runs.parent).data.tags)


def _numbers(tags: Mapping[str, str]) -> dict[str, int]:
    """Read the tag; whoever has edited it so that it cannot be read has removed it."""
    try:
        found = json.loads(tags.get(CLAIMS_TAG, "{}"))
    except json.JSONDecodeError:
        return {}
    items = found.items() if isinstance(found, dict) else ()
    return {claim: number for claim, number in items if type(number) is int}
