"""What a step costs: how often a sample passes the network, by what both sides do at the step."""

from dataclasses import dataclass

from trainers.config.activity import Phase, Phases, share_of
from trainers.config.methods import Method, WeightSide


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


def passes(method: Method, phases: Phases | None = None) -> Passes:
    """Count a step's passes: standard training costs 3, SAM 6, AT-K 2K + 3, TRADES-K 2K + 7.

    phases: what both sides do; None averages over a training. A gradient with respect to weights
    passes every image of the loss forward and backward: the crafted ones, and with TRADES and MART
    the clean ones too. Each gradient step of the input side is one pass forward and one back; E-AT
    passes the crafted images once more, to see how many stayed right.
    """
    images, steps = method.loss.images, method.inputs.attack_steps
    # An attack with a target of its own classifies the clean images once before its first step.
    target = int(method.loss.has_target and steps > 0)
    judging = getattr(method.inputs, "judging_passes", 0)
    if phases is None:
        attacked = share_of(method.inputs)
        forward, backward = _averaged(method.weights)
    else:
        attacked = float(phases.inputs == "act")
        forward, backward = _of_phase(method.weights, phases.weights)
    return Passes(
        forward=(steps + target + judging) * attacked + forward * images,
        input_backward=steps * attacked,
        weight_backward=backward * images,
    )


def _of_phase(side: WeightSide, phase: Phase) -> tuple[float, float]:
    """Return how often a weight side passes the loss's images forward and backward in a step."""
    if phase in ("rest", "reuse"):
        return 1, 1
    forward = side.gradients + getattr(side, "extra_forwards", 0)
    if phase == "act":
        return forward, side.gradients
    return forward + 1, side.gradients + getattr(side, "refresh_gradients", 0)


def _averaged(side: WeightSide) -> tuple[float, float]:
    """Return the mean of the same over a training."""
    acting = share_of(side) / getattr(side, "every", 1)
    renewed = getattr(side, "refresh_every", 0)
    renewing = acting / renewed if renewed else 0
    pairs = zip(_of_phase(side, "act"), _of_phase(side, "refresh"), strict=True)
    forward, backward = (
        1 + (act - 1) * acting + (refresh - act) * renewing for act, refresh in pairs
    )
    return forward, backward
