"""What a step costs: how often a sample passes the network, and on which steps a side acts."""

import math
from dataclasses import dataclass
from typing import Literal

from trainers.config.methods import Method, WeightSide

Phase = Literal["act", "reuse", "rest"]
"""What a weight side does at a step: `act` computes its full gradient, `reuse` adds what it
remembers of the last one, `rest` uses the gradient at the weights alone."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How often one training sample goes through the network in one step."""

    forward: float
    """Of clean and crafted images, and of the attack's own steps."""
    input_backward: float
    """For a gradient with respect to images alone: the attack's steps."""
    weight_backward: float
    """For a gradient with respect to weights."""

    @property
    def cost(self) -> float:
        """Return the cost in forward passes: a backward pass to inputs is 1, to weights 2."""
        return self.forward + self.input_backward + 2 * self.weight_backward


def passes(method: Method, phase: Phase | None = None) -> Passes:
    """Count a step's passes: standard training costs 3, SAM 6, AT-K 2K + 3, TRADES-K 2K + 7.

    phase: of the weight side; None averages over a training. A gradient with respect to weights
    passes every image of the loss forward and backward: the crafted ones, and with TRADES and MART
    the clean ones too. Each gradient step of the input side is one pass forward and one back; E-AT
    passes the crafted images once more, to see how many stayed right.
    """
    gradients = method.weights.gradients
    if phase is not None:
        gradients = 2 if phase == "act" and gradients > 1 else 1
    images, steps = method.loss.images, method.inputs.attack_steps
    # An attack with a target of its own classifies the clean images once before its first step.
    target = int(method.loss.has_target and steps > 0)
    judging = getattr(method.inputs, "judging_passes", 0)
    return Passes(
        forward=steps + target + judging + gradients * images,
        input_backward=steps,
        weight_backward=gradients * images,
    )


def phase_of(side: WeightSide, step: int, total: int) -> Phase:
    """Return what a weight side does at a step, counted from 0, of a training of `total` steps.

    A side acts on every step unless it has a setting `every`, and from the beginning unless it has
    `active_from`. The host decides this, as a compiled or captured step has no branches.
    """
    # Rounded, as 0.07 × 100 is above 7 in floating point; and no share leaves a side out.
    first = min(math.ceil(round(getattr(side, "active_from", 0.0) * total, 6)), total - 1)
    if step < first:
        return "rest"
    return "act" if (step - first) % getattr(side, "every", 1) == 0 else "reuse"
