"""Tests of a training's configuration: each refusal names its field, rule and value."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from trainers.config import (
    AUGMENTATIONS,
    DEFAULT_DEPTHS,
    DEFAULT_WIDTHS,
    Awp,
    ConfigError,
    DataConfig,
    EvaluationConfig,
    Method,
    ModelConfig,
    Pgd,
    PgdAttack,
    TrainConfig,
    TrainingConfig,
)

MakeConfig = Callable[..., TrainConfig]
TRAINING: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "cosine",
}
EVALUATION: dict[str, Any] = {
    "norm": "linf",
    "radii": (0.05, 0.1),
    "objective_radius": 0.1,
    "attack": PgdAttack(steps=5, restarts=1),
}
STEP = {"schedule": "step"}
REFUSED: dict[str, tuple[type[Any], dict[str, Any], str, str]] = {
    # class, settings, the field that is named, the rule
    "epochs": (TrainingConfig, TRAINING | {"epochs": 0}, "epochs", "whole number ≥ 1"),
    "half an epoch": (TrainingConfig, TRAINING | {"epochs": 0.5}, "epochs", "whole number"),
    "batch": (TrainingConfig, TRAINING | {"batch_size": True}, "batch_size", "whole number"),
    "rate": (TrainingConfig, TRAINING | {"learning_rate": -1.0}, "learning_rate", "≥ 0"),
    "rate nan": (TrainingConfig, TRAINING | {"learning_rate": math.nan}, "learning_rate", "≥ 0"),
    "momentum": (TrainingConfig, TRAINING | {"momentum": 1.0}, "momentum", r"lie in \[0, 1\)"),
    "decay": (TrainingConfig, TRAINING | {"weight_decay": math.inf}, "weight_decay", "≥ 0"),
    "schedule": (TrainingConfig, TRAINING | {"schedule": "linear"}, "schedule", "one_cycle"),
    "precision": (TrainingConfig, TRAINING | {"precision": "half"}, "precision", "bfloat16"),
    "optimizer": (TrainingConfig, TRAINING | {"optimizer": "adam"}, "optimizer", "sgd, adamw"),
    "nesterov at rest": (
        TrainingConfig,
        TRAINING | {"nesterov": True, "momentum": 0.0},
        "nesterov",
        "sgd with momentum > 0",
    ),
    "nesterov of adamw": (
        TrainingConfig,
        TRAINING | {"nesterov": True, "optimizer": "adamw"},
        "nesterov",
        "sgd with momentum > 0",
    ),
    "milestones without steps": (
        TrainingConfig,
        TRAINING | {"milestones": (0.5,)},
        "milestones",
        "has no effect with schedule cosine",
    ),
    "milestones of epochs": (
        TrainingConfig,
        TRAINING | STEP | {"milestones": (50, 75)},
        "milestones",
        "fraction of the training",
    ),
    "milestones in disorder": (
        TrainingConfig,
        TRAINING | STEP | {"milestones": (0.9, 0.5)},
        "milestones",
        "must increase strictly",
    ),
    "no milestones": (
        TrainingConfig,
        TRAINING | STEP | {"milestones": ()},
        "milestones",
        "must increase strictly",
    ),
    "average": (TrainingConfig, TRAINING | {"ema_decay": 1.0}, "ema_decay", "none or lie in"),
    "average off": (TrainingConfig, TRAINING | {"ema_decay": "off"}, "ema_decay", "must be none"),
    "clip": (TrainingConfig, TRAINING | {"gradient_clip": 0.0}, "gradient_clip", "number > 0"),
    "end": (TrainingConfig, TRAINING | {"end_on": ("lost",)}, "end_on", "one of stuck, cat"),
    "end twice": (
        TrainingConfig,
        TRAINING | {"end_on": ("stuck", "stuck")},
        "end_on",
        "must name each once",
    ),
    "data": (DataConfig, {"name": "imagenet"}, "name", "folder:PATH, npz:PATH or your"),
    "data without a path": (DataConfig, {"name": "folder:"}, "name", "folder:PATH"),
    "samples": (DataConfig, {"name": "digits", "samples": 0}, "samples", "whole number ≥ 1"),
    "augmentation": (
        DataConfig,
        {"name": "digits", "augmentation": "flip"},
        "augmentation",
        "auto, none, crop, crop_flip",
    ),
    "model": (ModelConfig, {"name": "vgg", "width": 1}, "name", "must be one of small_cnn"),
    "width": (ModelConfig, {"name": "small_cnn", "width": 0}, "width", "whole number ≥ 1"),
    "depth where there is none": (
        ModelConfig,
        {"name": "small_cnn", "width": 1, "depth": 3},
        "depth",
        "has one depth; drop it",
    ),
    "no depth where there is one": (ModelConfig, {"name": "vit", "width": 64}, "depth", "≥ 1"),
    "depth of 6n": (
        ModelConfig,
        {"name": "wide_resnet", "width": 2, "depth": 18},
        "depth",
        r"must be 6n \+ 4",
    ),
    "half a head": (ModelConfig, {"name": "vit", "width": 96, "depth": 2}, "width", "of 64"),
    "resnet18": (ModelConfig, {"name": "resnet18", "width": 32}, "width", "must be 64"),
    "norm layer": (
        ModelConfig,
        {"name": "small_cnn", "width": 1, "norm_layer": "none"},
        "norm_layer",
        "one of batch, group",
    ),
    "norm layer of vit": (
        ModelConfig,
        {"name": "vit", "width": 64, "depth": 1, "norm_layer": "group"},
        "norm_layer",
        "has no effect for vit",
    ),
    "attack": (PgdAttack, {"steps": 0, "restarts": 1}, "steps", "whole number ≥ 1"),
    "restarts": (PgdAttack, {"steps": 1, "restarts": 0}, "restarts", "whole number ≥ 1"),
    "no radii": (EvaluationConfig, EVALUATION | {"radii": ()}, "radii", "at least one"),
    "radii in disorder": (
        EvaluationConfig,
        EVALUATION | {"radii": (0.1, 0.1)},
        "radii",
        "increase",
    ),
    "radius of 8": (EvaluationConfig, EVALUATION | {"radii": (0.1, 8.0)}, "radii", r"\(0, 1\]"),
    "objective": (
        EvaluationConfig,
        EVALUATION | {"objective_radius": 0.07},
        "objective_radius",
        r"one of the evaluated radii \(0.05, 0.1\)",
    ),
    "checkpoint": (EvaluationConfig, EVALUATION | {"checkpoint": "first"}, "checkpoint", "best or"),
    "other radii": (
        EvaluationConfig,
        EVALUATION | {"other_norm_radii": (0.5, 0.2)},
        "other_norm_radii",
        "increase strictly",
    ),
    "other radius": (
        EvaluationConfig,
        EVALUATION | {"norm": "l2", "other_norm_radii": (1.5,)},
        "other_norm_radii",
        r"\(0, 1\]",
    ),
}


@pytest.mark.parametrize(("cls", "settings", "field", "rule"), REFUSED.values(), ids=REFUSED)
def test_a_value_that_no_training_can_use_is_refused_by_its_name(
    cls: type[Any], settings: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule) as caught:
        cls(**settings)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


def test_what_stands_beside_each_refusal_is_allowed() -> None:
    for training in (
        {"learning_rate": 0.0, "momentum": 0.0, "weight_decay": 0.0},
        {"optimizer": "adamw", "gradient_clip": 0.5, "ema_decay": 0.0},
        STEP | {"milestones": (0.5, 0.75), "nesterov": True, "end_on": ()},
    ):
        TrainingConfig(**(TRAINING | training))
    for name, width in DEFAULT_WIDTHS.items():
        assert ModelConfig(name=name, width=width, depth=DEFAULT_DEPTHS.get(name, 0)).name == name
    for augmentation in AUGMENTATIONS:
        DataConfig(name="npz:here.npz", samples=10, augmentation=augmentation)


@pytest.mark.parametrize(
    "method",
    [
        Method(weights=Awp(gamma=0.01, warmup_epochs=3)),
        Method(inputs=Pgd(norm="linf", epsilon=0.1, steps=1, warmup_epochs=3)),
    ],
    ids=["weights", "inputs"],
)
def test_a_warm_up_that_never_ends_is_refused(method: Method, make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="must be below the 3 epochs of the training") as caught:
        make_config(method, epochs=3)
    assert caught.value.field == "warmup_epochs"
    make_config(method, epochs=4)


def test_other_norm_and_threats() -> None:
    linf = EvaluationConfig(**EVALUATION)
    assert linf.threats == (("linf", (0.05, 0.1)),)
    both = dataclasses.replace(linf, other_norm_radii=(0.5, 2.0))
    assert both.other_norm == "l2"
    assert both.threats == (("linf", (0.05, 0.1)), ("l2", (0.5, 2.0)))


def test_an_attack_steps_by_a_quarter_of_the_radius_and_by_more_where_steps_are_few() -> None:
    found = {steps: PgdAttack(steps=steps, restarts=1).relative_step_size for steps in (1, 5, 10)}
    assert found | {50: PgdAttack(steps=50, restarts=2).relative_step_size} == {
        1: 2.5,
        5: 0.5,
        10: 0.25,
        50: 0.25,
    }


def test_the_order_of_detectors_decides_nothing() -> None:
    names = ("stuck", "robust_overfitting")
    one, other = (TrainingConfig(**TRAINING | {"end_on": end}) for end in (names, names[::-1]))
    assert one == other
