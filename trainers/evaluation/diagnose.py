"""Diagnose gradient masking: whether a network's robust numbers can be believed.

`diagnose` runs the first ten rows of the checklist, those that one network decides;
`trainers.evaluation.masking` has thresholds and sentences. A fail in rows 1 to 6 voids the robust
numbers of the network. Diagnosing leaves the network's mode, buffers and gradients, and the global
random state, as they were. The seed decides it, even if the network draws from the global state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainers.config import VALIDATION_ATTACK, EvaluationConfig, PgdAttack
from trainers.data.subset import Split
from trainers.engine.engine import Classify, Engine, repeatable
from trainers.evaluation import soundness
from trainers.evaluation.autoattack import LEAST_CLASSES, attack_name, autoattack
from trainers.evaluation.evaluate import Bits, even, spread, take
from trainers.evaluation.masking import (
    Check,
    black_box,
    logit_differences,
    logit_scale,
    not_run,
    plateau,
    radius_order,
    square_alone,
    tier_gap,
    worst,
)
from trainers.evaluation.pgd import Attacked
from trainers.evaluation.probes import (
    SHORT_STEPS,
    Probe,
    accuracy_of,
    last_iterates,
    pgd,
    right,
    scaled,
)

__all__ = ["Check", "diagnose", "worst"]

QUERIED = 100
"""Samples, at most, that Square and APGD attack: Square asks 5000 times for each."""
MORE = 5
"""Times as many steps, then times as many starts, as the study's own attack has, row 7. From ten
steps on they only add to it, as the step size stays a quarter of the radius; the starts are the
same."""
SCALES = (0.1, 10.0)
"""Of logits, row 9."""
DIFFERENCES = ("apgd-t", "apgd-dlr")
"""Row 9; the first that the number of classes allows. The second is the weaker: at linf 0.1 it left
a network of standard training on the digits 26%, where cross-entropy left 15% and the first 11%."""


@repeatable()
def diagnose(
    model: nn.Module,
    split: Split,
    divisor: int,
    evaluation: EvaluationConfig,
    *,
    seed: int,
    device: torch.device,
    bits: Bits | None,
    strong: Mapping[float, Bits] = {},
    rivals: Sequence[nn.Module] = (),
    samples: int = 500,
    engine: Engine | None = None,
) -> tuple[Check, ...]:
    """Check a network for gradient masking, at the objective radius unless a row says otherwise.

    Twelve checks, in the order of their rows: rows 8 and 9 have two parts. A check that lacks its
    input is not run, and says so.

    bits: (1 + R, n), what `evaluate` found for this network on the whole split, raw; rows 2 and 10.
    strong: radius to AutoAttack's cumulative bits (1 + A, N), clean first and Square last, of the
    first N samples; rows 8 and 10. Without it Square attacks up to `QUERIED` samples. rivals:
    networks of the same configuration and other seeds; row 8. samples: how many the other attacks
    see, evenly spread over the split; the limits are made for 500, and one sample of 40 is 2.5
    points. Raises ValueError for bits of the wrong shape or radius, and AttackError as `autoattack`
    does.
    """
    _check_bits(bits, evaluation.radii, len(split.labels))
    _check_strong(strong, evaluation.radii, len(split.labels))
    probe = Probe(
        model=model,
        split=spread(split, samples),
        divisor=divisor,
        norm=evaluation.norm,
        radius=evaluation.objective_radius,
        seed=seed,
        device=device,
        engine=engine or Engine(),
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return _rows(probe, evaluation, bits, strong, rivals)


def _rows(
    probe: Probe,
    evaluation: EvaluationConfig,
    bits: Bits | None,
    strong: Mapping[float, Bits],
    rivals: Sequence[nn.Module],
) -> tuple[Check, ...]:
    """Run the checks, in the order of their rows."""
    # Own attacks have no steps to raise, so their networks are checked by our attack.
    own_attack = evaluation.attack
    attack = own_attack if isinstance(own_attack, PgdAttack) else VALIDATION_ATTACK
    longer = replace(attack, steps=MORE * attack.steps)
    more = replace(attack, restarts=MORE * attack.restarts)
    own, *stronger = (_pgd(probe, each, probe.view) for each in (attack, longer, more))
    clean = right(probe, probe.images)
    other = [_pgd(probe, attack, scaled(probe.view, scale)) for scale in SCALES]
    by_scale = dict(zip((1.0, *SCALES), _accuracies(own, *other), strict=True))
    unscaled = torch.stack([clean, *(each.is_right for each in (own, *stronger))]).all(0)
    survivors = torch.stack([unscaled, *(each.is_right for each in other)]).all(0)
    with torch.no_grad():
        num_classes = probe.view(probe.images[:1]).shape[1]
    sequence = attack_name(num_classes)
    square, losses = _queries_and_losses(probe, survivors, unscaled, strong, num_classes)
    return (
        soundness.returned_images(probe, own, attack.title),
        _radius_order(evaluation, bits),
        soundness.grey_image(probe),
        soundness.attack_order(probe, clean),
        soundness.zero_gradients(probe),
        soundness.plain_forward(probe),
        plateau(_accuracies(own, *stronger), len(clean), attack.title, probe.place),
        square,
        _transfer(probe, survivors, rivals),
        losses,
        logit_scale(by_scale, attack.title, probe.place),
        _tier_gap(evaluation, bits, strong, sequence),
    )


def _pgd(probe: Probe, attack: PgdAttack, classify: Classify) -> Attacked:
    """Attack at the objective radius."""
    return pgd(probe, attack, classify, norm=probe.norm, radius=probe.radius)


def _accuracies(*attacked: Attacked) -> tuple[float, ...]:
    return tuple(accuracy_of(each.is_right) for each in attacked)


def _radius_order(evaluation: EvaluationConfig, bits: Bits | None) -> Check:
    if bits is None:
        return not_run(2, "radius order", "needs the bits of the evaluation")
    return radius_order(bits, evaluation.radii, f"{evaluation.attack.title} ({evaluation.norm})")


def _tier_gap(
    evaluation: EvaluationConfig, bits: Bits | None, strong: Mapping[float, Bits], sequence: str
) -> Check:
    if bits is None or not strong:
        missing = sequence if not strong else "the evaluation"
        return not_run(10, "tier gap", f"needs the bits of {missing}")
    attack = evaluation.attack.title
    return tier_gap(bits, evaluation.radii, strong, attack, evaluation.norm, sequence)


def _queries_and_losses(
    probe: Probe,
    survivors: Tensor,
    unscaled: Tensor,
    strong: Mapping[float, Bits],
    num_classes: int,
) -> tuple[Check, Check]:
    """Rows 8, Square, and 9, logit differences.

    survivors: right under every PGD, (n,); unscaled: under those on the logits as they are.
    """
    index = even(QUERIED, len(probe.labels))
    few = replace(probe, split=take(probe.split, index))
    by_loss = _survivors(few, "apgd-ce")
    white_box = survivors.cpu().numpy()[index] & by_loss
    name = next((name for name in DIFFERENCES if num_classes >= LEAST_CLASSES[name]), None)
    reason = f"logit differences of APGD need three classes, and there are {num_classes}"
    losses = not_run(9, "logit differences", reason)
    if name is not None:
        by_difference = _survivors(few, name)
        white_box &= by_difference
        by_loss &= unscaled.cpu().numpy()[index]
        accuracies = float(by_loss.mean()), float(by_difference.mean())
        losses = logit_differences(*accuracies, name, few.place)
    if strong:
        return square_alone(strong, few.norm, attack_name(num_classes)), losses
    share = float((white_box & ~_survivors(few, "square")).mean())
    return black_box("Square", share, f"{few.place}, after PGD and APGD"), losses


def _survivors(probe: Probe, attack: str) -> Bits:
    """Run one of AutoAttack's attacks by itself, (n,)."""
    found = autoattack(
        probe.model,
        probe.split,
        probe.divisor,
        norm=probe.norm,
        radius=probe.radius,
        seed=probe.seed,
        device=probe.device,
        attacks=(attack,),
        engine=probe.engine,
    )
    last: Bits = found.bits[-1]
    return last


def _transfer(probe: Probe, survivors: Tensor, rivals: Sequence[nn.Module]) -> Check:
    """Row 8, second part. A rival's images are those at which PGD ends, far beyond its border."""
    if not rivals:
        return not_run(8, "transfer", "needs the network of another seed")
    survives = survivors.clone()
    for rival in rivals:
        crafted = last_iterates(probe, probe.see(rival, probe.engine), SHORT_STEPS)
        survives &= right(probe, crafted)
    share = accuracy_of(survivors & ~survives)
    return black_box("transfer", share, f"{probe.place}, after PGD (rivals: {len(rivals)})")


def _check_bits(bits: Bits | None, radii: Sequence[float], count: int) -> None:
    """Check that bits have the shape (1 + R, n)."""
    expected = (1 + len(radii), count)
    if bits is not None and bits.shape != expected:
        raise ValueError(
            f"bits: must be (1 + radii, samples of the whole split) = {expected}, got {bits.shape}"
        )


def _check_strong(strong: Mapping[float, Bits], radii: Sequence[float], count: int) -> None:
    """Check that AutoAttack's bits are at evaluated radii, and of 1 to n samples."""
    for radius, bits in strong.items():
        if radius not in radii:
            listed = ", ".join(f"{known:g}" for known in radii)
            raise ValueError(f"strong: must be at evaluated radii ({listed}), got {radius:g}")
        if bits.ndim != 2 or len(bits) < 2 or not 0 < bits.shape[1] <= count:
            raise ValueError(
                f"strong: must be (1 + attacks, at most {count} samples) at radius {radius:g}, "
                f"got {bits.shape}"
            )
