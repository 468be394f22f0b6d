"""Claims are recorded at launches: how many trials had run when each was declared."""

import json
from collections.abc import Callable
from typing import Any

from study.records.claims import CLAIMS_TAG, read_claims, record_claims
from study.records.runs import MOST_NOTE_CHARACTERS, open_source, open_study
from study.spec import StudySpec, claim_text, claims_of

Read = Callable[..., StudySpec]
FIRST = "{methods: [sam_at, sam], direction: more, margin: 1pp}"
SECOND = "{methods: [sam, standard], direction: equal, margin: 1pp, radius: 0.05}"


def claiming(read: Read, *claims: str) -> StudySpec:
    more = f"  claims: [{', '.join(claims)}]\n" if claims else ""
    return read(more).model_copy(update={"name": "claiming"})


def test_a_claim_keeps_the_number_of_trials_of_its_first_launch(
    client: Any, store: Any, read: Read
) -> None:
    runs = open_study(client, store, claiming(read), {})
    record_claims(client, runs, claiming(read), 0)
    assert CLAIMS_TAG not in client.get_run(runs.parent).data.tags
    record_claims(client, runs, claiming(read, FIRST), 0)
    record_claims(client, runs, claiming(read, SECOND), 7)
    record_claims(client, runs, claiming(read, FIRST, SECOND), 12)
    told = {
        "sam_at more than sam, radius 0.1, margin 0.01": 0,
        "sam equal to standard, radius 0.05, margin 0.01": 7,
    }
    assert read_claims(client, "claiming") == told
    assert read_claims(open_source(store), "claiming") == told
    assert read_claims(client, "never launched") == read_claims(open_source(store), "none") == {}


def test_a_tag_that_is_full_or_spoilt_loses_no_claim_of_today(
    client: Any, store: Any, read: Read
) -> None:
    spec = claiming(read, FIRST).model_copy(update={"name": "full"})
    runs = open_study(client, store, spec, {})
    (text,) = map(claim_text, claims_of(spec))
    client.set_tag(runs.parent, CLAIMS_TAG, '{"half a tag')
    record_claims(client, runs, spec, 9)
    assert read_claims(client, "full") == {text: 9}
    filler = "x" * (MOST_NOTE_CHARACTERS - len(text) - 20)
    client.set_tag(runs.parent, CLAIMS_TAG, json.dumps({filler: 1, text: 3}))
    record_claims(
        client, runs, claiming(read, FIRST, SECOND).model_copy(update={"name": "full"}), 9
    )
    assert sorted(read_claims(client, "full").values()) == [3, 9]
