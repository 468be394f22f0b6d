"""Settings of training and model are swept as a method's are, and a method may override them."""

import re
from collections.abc import Callable

import pytest

from study.spec import (
    Range,
    SpecError,
    StudySpec,
    batch_sizes_of,
    cell_config,
    models_of,
    settings_of,
)
from study.spec.settings import WholeRange

Read = Callable[..., StudySpec]


def edited(read: Read, **changes: str) -> StudySpec:
    """Read the study `tiny` with other settings, and with lines in place of its methods."""
    text: str = read.text  # type: ignore[attr-defined]
    methods = changes.pop("methods", "")
    if methods:
        text = re.sub(r"  methods:\n.*?(?=  search)", f"  methods:\n{methods}\n", text, flags=re.S)
    if changes.pop("search", "yes") == "none":
        text = text.replace("  search: {trials: 3}\n", "")
    text = text.replace("small_cnn", changes.pop("network", "small_cnn"))
    for name, value in changes.items():
        text, count = re.subn(rf"(?<![a-z_]){name}: [^,}}]+", f"{name}: {value}", text, count=1)
        assert count == 1, name
    return read(text=text)


def refused(read: Read, **changes: str) -> list[str]:
    """Return the mistakes in an edited study, without file and line."""
    with pytest.raises(SpecError) as caught:
        edited(read, **changes)
    return [message.split(":", 2)[2].strip() for message in caught.value.messages]


def test_a_list_or_range_of_the_study_is_swept_by_every_method_that_does_not_override_it(
    read: Read,
) -> None:
    methods = """\
    standard: {}
    sam: {weights: {sam: {rho: [0.1, 0.2]}}, training: {learning_rate: 0.05}}
    at: {inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}, training: {epochs: {low: 2, high: 4}},
         model: {width: [2, 3]}}"""
    spec = edited(read, methods=methods, learning_rate="[0.1, 0.2]")
    assert settings_of(spec, "standard") == (("training.learning_rate", (0.1, 0.2)),)
    assert settings_of(spec, "sam") == (("weights.sam.rho", (0.1, 0.2)),)
    assert dict(settings_of(spec, "at")) == {
        "inputs.pgd.norm": "linf",
        "inputs.pgd.epsilon": 0.1,
        "inputs.pgd.steps": 1,
        "training.epochs": WholeRange(low=2, high=4),
        "training.learning_rate": (0.1, 0.2),
        "model.width": (2, 3),
    }
    chosen = {"training.epochs": 3, "training.learning_rate": 0.2, "model.width": 3}
    config = cell_config(spec, "at", chosen, 0)
    assert (config.training.epochs, config.training.learning_rate) == (3, 0.2)
    assert config.model.width == 3
    assert cell_config(spec, "sam", {"weights.sam.rho": 0.1}, 0).training.learning_rate == 0.05


def test_words_switches_and_networks_are_swept_too_and_a_plain_list_is_one_value(
    read: Read,
) -> None:
    methods = "    standard: {training: {nesterov: [true, false], milestones: [0.5, 0.9]}}"
    spec = edited(
        read,
        methods=methods,
        search="none",
        schedule="step",
        network="[small_cnn, preact_resnet18]",
    )
    assert dict(settings_of(spec, "standard")) == {
        "training.nesterov": (True, False),
        "model.name": ("small_cnn", "preact_resnet18"),
    }
    chosen = {"training.nesterov": True, "model.name": "preact_resnet18"}
    config = cell_config(spec, "standard", chosen, 0)
    assert config.training.milestones == (0.5, 0.9)


def test_the_usual_width_follows_a_swept_network(read: Read) -> None:
    text = read.text.replace(  # type: ignore[attr-defined]
        "{name: small_cnn, width: 2}", "{name: [small_cnn, wide_resnet]}"
    )
    spec = read(text=text)
    assert [(m.name, m.width, m.depth) for m in models_of(spec, "standard")] == [
        ("small_cnn", 16, 0),
        ("wide_resnet", 10, 28),
    ]


def test_every_batch_size_of_a_range_is_looked_at(read: Read) -> None:
    spec = edited(read, batch_size="{low: 60, high: 63}")
    assert batch_sizes_of(spec, "standard") == (60, 61, 62, 63)
    assert dict(settings_of(spec, "sam"))["training.batch_size"] == WholeRange(low=60, high=63)


def test_a_range_of_a_real_setting_may_be_logarithmic(read: Read) -> None:
    spec = edited(read, weight_decay="{low: 1e-4, high: 1e-2, log: true}")
    found = dict(settings_of(spec, "standard"))["training.weight_decay"]
    assert found == Range(low=1e-4, high=1e-2, log=True)


OVERRIDE = "    standard: {{training: {{{}}}}}"
MISTAKES: dict[str, tuple[dict[str, str], str]] = {
    "a value of a list": (
        {"learning_rate": "[0.1, -1]"},
        "tiny.training.learning_rate: must be ≥ 0, got -1.0",
    ),
    "an end of a range": (
        {"learning_rate": "{low: -1, high: 1}"},
        "tiny.training.learning_rate.low: must be ≥ 0, got -1.0",
    ),
    "a value twice": (
        {"epochs": "[2, 2]"},
        "tiny.training.epochs: a list must not repeat a value, got 2 twice; remove one",
    ),
    "a range of words": (
        {"schedule": "{low: 1, high: 2}"},
        "tiny.training.schedule: only numbers have ranges, got {low, high}; write a value or a "
        "list",
    ),
    "a word of a list": (
        {"schedule": "[cosine, sinus]"},
        "tiny.training.schedule: must be one of cosine, step, one_cycle, got 'sinus'",
    ),
    "a number between the ends": (
        {"network": "vit", "width": "{low: 64, high: 128}"},
        "tiny.model.width: must be a multiple of 64, the width of an attention head, got 65, which "
        "the range holds; write a list instead",
    ),
    "no search": (
        {"weight_decay": "{low: 0.1, high: 1}", "methods": "    standard: {}", "search": "none"},
        "tiny.search: is missing, but standard has a range; add search: {trials: 20}",
    ),
    "an overriding value": (
        {"methods": OVERRIDE.format("learning_rate: [0.1, -1]"), "search": "none"},
        "tiny.methods.standard.training.learning_rate: must be ≥ 0, got -1.0",
    ),
    "an overriding key": (
        {"methods": OVERRIDE.format("epoch: 3"), "search": "none"},
        "tiny.methods.standard.training.epoch: unknown key; did you mean epochs?",
    ),
    "an overriding range's key": (
        {"methods": OVERRIDE.format("weight_decay: {low: 0.1, hihg: 1}")},
        "tiny.methods.standard.training.weight_decay.hihg: unknown key; did you mean high?",
    ),
    "an override that fits only the study's": (
        {"methods": OVERRIDE.format("nesterov: true, momentum: [0.9, 0.0]"), "search": "none"},
        "tiny.methods.standard.training.nesterov: needs the optimizer sgd with momentum > 0, "
        "got True",
    ),
    "an override that says what the study says": (
        {"methods": "    standard: {}\n    b: {training: {epochs: 3}}", "search": "none"},
        "tiny.methods.b: is the same method as standard; remove one of the two",
    ),
    "too few epochs for a warm-up": (
        {
            "methods": "    awp: {weights: {awp: {gamma: 0.1, warmup_epochs: 2}}, "
            "inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}}",
            "search": "none",
            "epochs": "[2, 3]",
        },
        "tiny.methods.awp: warmup_epochs must be below the 2 epochs of the training, got 2",
    ),
}


@pytest.mark.parametrize(("changes", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_what_is_swept_gets_its_one_message(
    read: Read, changes: dict[str, str], says: str
) -> None:
    assert refused(read, **changes) == [says]


def test_lists_in_training_count_in_the_size_of_the_study(read: Read) -> None:
    long = ", ".join(str(number / 1000) for number in range(1, 400))
    found = refused(
        read, learning_rate=f"[{long}]", weight_decay=f"[{long}]", methods="    standard: {}"
    )
    assert found[0].endswith(f"got {2 * 399**2}; shorten its lists")
