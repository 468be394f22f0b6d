"""What a training costs: its passes, and its shape, within which measured times are reused.

This is a module apart from the plan, so that a worker can count trials of one shape without it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from trainers.config import TrainConfig, passes, segments

SHAPING = ("norm", "steps", "every", "active", "refresh_every", "power_steps")
"""Settings of a side that decide how long a step takes; the others are numbers within it."""
SHAPING_OF = {"esam": ("gamma",)}
"""More of them, of sides whose setting has a name that elsewhere is a number."""


def shape_key(canonical: Mapping[str, Any]) -> str:
    """Compute the key of a training's shape: everything that decides its duration.

    Cells of one shape agree in data, network, epochs, batch size, precision, sides, attack steps,
    evaluation and version of the numerics. They may differ in seed, radii, learning rate, momentum
    and weight decay.
    """
    training = canonical["training"]
    method = {
        side: {
            name: {
                key: settings[key]
                for key in (*SHAPING, *SHAPING_OF.get(name, ()))
                if key in settings
            }
        }
        for side, sided in canonical["method"].items()
        for name, settings in sided.items()
    }
    fidelity = {name: canonical[name] for name in ("fidelity",) if name in canonical}
    shape = {
        **fidelity,
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


def setting_key(canonical: Mapping[str, Any]) -> str:
    """Return a key of data, network and batch size, within which time is as the passes."""
    setting = {name: canonical[name] for name in ("data", "model")}
    batch_size = canonical["training"]["batch_size"]
    return json.dumps({**setting, "batch_size": batch_size}, sort_keys=True)


def network_key(canonical: Mapping[str, Any]) -> str:
    """Return a key of data and network: what is left where no batch size was measured."""
    return json.dumps({name: canonical[name] for name in ("data", "model")}, sort_keys=True)


def relative_cost(config: TrainConfig) -> float:
    """Count the forward passes that a training sample costs: standard 3, SAM 6, AT-K 2K + 3.

    Where the first epochs have fewer steps, it is the mean over the epochs.
    """
    return sum(share * cost for share, cost in _costs(config, config.training.epochs))


def cost_share(config: TrainConfig, epoch: int) -> float:
    """Return the share of a training's passes that its epochs up to `epoch` take."""
    return sum(share * cost for share, cost in _costs(config, epoch)) / relative_cost(config)


def _costs(config: TrainConfig, epoch: int) -> Iterator[tuple[float, float]]:
    """Yield shares of a training up to an epoch, each with what a sample costs in it."""
    first = 0
    for last, part in segments(config):
        share = (min(last, epoch) - first) / config.training.epochs
        yield max(0.0, share), passes(part.method).cost
        first = last


def evaluation_work(canonical: Mapping[str, Any]) -> float:
    """Count an evaluation's passes per image, up to a factor: its radii times attack steps."""
    evaluation = canonical["evaluation"]
    radii = sum(len(evaluation.get(name, ())) for name in ("radii", "other_norm_radii"))
    [attack] = evaluation["attack"].values()
    return float(1 + radii * attack.get("steps", 1) * attack.get("restarts", 1))
