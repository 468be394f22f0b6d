"""What a training costs: its shape, by which measured times carry over, and its passes."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from trainers.config import TrainConfig, passes


def shape_key(canonical: Mapping[str, Any]) -> str:
    """Name the shape of a training: all that decides its duration, without what only moves numbers.

    Two cells of one shape differ in seed, radii of weights and inputs, learning rate, momentum and
    weight decay; data, network, epochs, batch size, precision, sides, steps, evaluation and version
    of the numerics are the same.
    """
    training = canonical["training"]
    method = {
        side: {name: {key: settings[key] for key in ("norm", "steps") if key in settings}}
        for side, sided in canonical["method"].items()
        for name, settings in sided.items()
    }
    shape = {
        "data": canonical["data"],
        "model": canonical["model"],
        "numerics": canonical["numerics"],
        "training": {
            key: training[key]
            for key in ("epochs", "batch_size", "precision", "optimizer", "ema_decay")
            if key in training
        },
        "method": method,
        "attack": canonical["evaluation"]["attack"],
        "radii": [
            len(canonical["evaluation"].get(name, ())) for name in ("radii", "other_norm_radii")
        ],
    }
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]


def relative_cost(config: TrainConfig) -> float:
    """Count forward passes that a training sample costs: standard 3, SAM 6, AT-K 2K + 3."""
    return passes(config.method).cost
