"""What a training starts from is read as it is meant, and a mistake gets one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from study.spec import SpecError, Start, StudySpec, cell_config, start_of

Read = Callable[..., StudySpec]

STARTS: dict[str, Start] = {
    "none": Start(),
    "{from: other, method: sam}": Start(study="other", method="sam"),
    "{from: other, method: sam, values: {rho: 0.2, epsilon: 8/255}, seed: 0, checkpoint: last}": (
        Start(
            study="other",
            method="sam",
            values=(("rho", 0.2), ("epsilon", 8 / 255)),
            seed=0,
            checkpoint="last",
        )
    ),
    "{file: weights/a.safetensors}": Start(file="weights/a.safetensors"),
    "weights/a.pt": Start(file="weights/a.pt"),
}


@pytest.mark.parametrize(("text", "expected"), STARTS.items(), ids=STARTS)
def test_a_start_is_read_as_it_is_meant(
    read: Read, tmp_path: Path, text: str, expected: Start
) -> None:
    spec = read(f"  start: {text}\n")
    file = str(tmp_path / expected.file) if expected.file else ""
    assert spec.start == Start(**{**vars(expected), "file": file})
    assert start_of(spec, "sam") == spec.start


def test_a_method_s_own_start_goes_before_the_study_s(read: Read) -> None:
    text = read.text.replace("standard: {}", "standard: {start: none}")  # type: ignore[attr-defined]
    spec = read("  start: weights.pt\n", text=text)
    assert start_of(spec, "standard").is_fresh
    assert not start_of(spec, "sam").is_fresh
    assert cell_config(spec, "standard", {}, 0).start == "none"


MISTAKES = {
    "[a, b]": "tiny.start: must be a trial, a file or none, got a list; write for example start: "
    "{from: pretraining, method: sam}, or start: weights.pt",
    "{from: other}": "tiny.start.method: is missing; add a value for method",
    "{from: other, method: sam, rho: 0.2}": "tiny.start.rho: unknown key; known here: from, "
    "method, values, seed, checkpoint, file",
    "{from: other, method: sam, values: {rho: [0.1, 0.2]}}": "tiny.start.values: rho must be one "
    "value of the trial, got a list; name one",
    "{from: other, method: sam, values: 0.2}": "tiny.start.values: must be a mapping of the "
    "trial's values, got 0.2; write for example values: {rho: 0.2}",
    "{from: other, method: sam, seed: -1}": "tiny.start.seed: must be same or a whole number ≥ 0, "
    "got -1; raise it",
    "{from: other, method: sam, checkpoint: first}": "tiny.start.checkpoint: must be one of best, "
    "last, got 'first'; write for example checkpoint: best",
    "{from: other, method: sam, file: a.pt}": "tiny.start: takes a trial or a file, got file and "
    "from, method; remove one of them",
    "{from: tiny, method: sam}": "tiny.start: must name another study, got tiny; name the one "
    "that trains the weights",
}


@pytest.mark.parametrize(("text", "says"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_in_a_start_gets_its_one_message(read: Read, text: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(f"  start: {text}\n")
    assert [message.split(":", 2)[2].strip() for message in caught.value.messages] == [says]


def test_methods_that_start_from_different_weights_are_no_twins(read: Read) -> None:
    text: str = read.text  # type: ignore[attr-defined]
    text = text.replace("standard: {}", "standard: {}\n    tuned: {start: a.pt}")
    assert list(read(text=text).methods)[:2] == ["standard", "tuned"]
