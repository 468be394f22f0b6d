"""Rows of the checklist that a network's own attacks decide: a fail here voids its robust numbers.

Each function attacks through a probe and returns its `Check`. Row 2 is decided by the evaluation's
bits, in `trainers.evaluation.masking`.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.evaluation import masking
from trainers.evaluation.masking import FAR, UNSOUND, ZERO_GRADIENTS, Check, graded, not_run
from trainers.evaluation.pgd import Attacked
from trainers.evaluation.probes import (
    LONG,
    SHORT_STEPS,
    GradientCalls,
    Probe,
    accuracy_of,
    in_batches,
    last_iterates,
    one_step,
    pgd,
    random_images,
    right,
    weights_hash,
)
from trainers.step.inputs import TINY, input_gradient
from trainers.step.losses import cross_entropy_sum

FAR_RADIUS = 0.5
"""Row 3, of linf: every image can be made grey."""
FORWARDS = 5
"""Row 6; as AutoAttack (pyautoattack, check_randomized)."""
SAME = 1e-4
"""Largest relative l2 difference of repeated logits (AutoAttack's rule); and the margin, in units
of the largest logit, below which rounding may decide a prediction in row 1."""
SUMS_TO_ONE = 1e-5
"""How far from 1 the sum of probabilities may lie (AutoAttack's rule, check_range_output)."""
BALL_ROUNDING = (1e-5, 1e-6)
"""How far an image may leave the ball: relative to the radius, and in the pixel range, as float32
is no finer near 1."""


def returned_images(probe: Probe, attacked: Attacked, attack: str) -> Check:
    """Row 1. The bits are computed again, operator by operator, on the weights that are judged."""
    images, radius = attacked.images, probe.radius
    offsets = (images - probe.images).flatten(1)
    sizes = offsets.abs().amax(1) if probe.norm == "linf" else offsets.norm(dim=1)
    relative, absolute = BALL_ROUNDING
    with torch.no_grad():
        logits = in_batches(probe.plain, images)
    is_label = F.one_hot(probe.labels, logits.shape[1]).bool()
    rivals = logits.masked_fill(is_label, -torch.inf).amax(1)
    margins = logits[is_label] - rivals
    is_clear = margins.abs() > SAME * logits.abs().amax(1)
    counts = {
        "outside the ball": sizes > radius * (1 + relative) + absolute,
        "outside [0, 1]": ((images < 0) | (images > 1)).flatten(1).any(1),
        "not finite": ~images.isfinite().flatten(1).all(1),
        "other bits": is_clear & ((margins > 0) != attacked.is_right),
    }
    numbers = {name: float(count.sum()) for name, count in counts.items()}
    listed = ", ".join(f"{count:g} {name}" for name, count in numbers.items())
    return graded(
        1,
        "returned images",
        sum(numbers.values()),
        UNSOUND,
        f"Of the images of {attack} {probe.place}, judged again by weights "
        f"{weights_hash(probe.model)}, {listed}",
        "the attack, or the network that it ran on, is not what it claims to be",
        numbers,
    )


def grey_image(probe: Probe) -> Check:
    """Row 3. The start is uniform in the ball, so even zero gradients leave noise.

    A sample of the class that the network assigns to the grey image may truly be out of reach, as
    all of that class are for a constant network; it is not counted.
    """
    attacked = pgd(probe, LONG, probe.view, norm="linf", radius=FAR_RADIUS)
    with torch.no_grad():
        answer = probe.view(torch.full_like(probe.images[:1], FAR_RADIUS)).argmax(1)
    accuracy = accuracy_of(attacked.is_right & (probe.labels != answer))
    return graded(
        3,
        "grey image",
        accuracy,
        FAR,
        f"Accuracy is {100 * accuracy:.1f}% under {LONG.title} at linf {FAR_RADIUS:g} on "
        f"{len(probe.labels)} samples, those of the grey image's class counted as broken",
        "the grey image itself breaks each of them, so the attack misses what is there",
        {"accuracy": accuracy},
    )


def attack_order(probe: Probe, clean: Tensor) -> Check:
    """Row 4. Each attack by the one image that it ends at, PGD too."""
    last = last_iterates(probe, probe.view, SHORT_STEPS)
    found = (right(probe, images) for images in (random_images(probe), one_step(probe), last))
    rows = [clean, *found]
    return masking.attack_order(torch.stack(rows).cpu().numpy(), probe.place)


def zero_gradients(probe: Probe) -> Check:
    """Row 5, at the unattacked images; not run if the network predicts one class for all."""
    with torch.no_grad():
        answers = in_batches(probe.view, probe.images).argmax(1)
    if (answers == answers[0]).all() and (probe.labels != probe.labels[0]).any():
        reason = "it answers every sample with one class: its training failed, not the attack"
        return not_run(5, "zero gradients", reason)

    def gradients(images: Tensor, labels: Tensor) -> Tensor:
        return input_gradient(probe.view, cross_entropy_sum, images, labels)

    found = in_batches(gradients, probe.images, probe.labels)
    share = accuracy_of((found == 0).flatten(1).all(1))
    return graded(
        5,
        "zero gradients",
        share,
        ZERO_GRADIENTS,
        f"The gradient of cross-entropy by the image is all zero for {100 * share:.1f}% of "
        f"{len(probe.labels)} samples",
        "no attack that follows it can move them",
        {"share": share},
    )


def plain_forward(probe: Probe) -> Check:
    """Row 6, operator by operator, as the faster forms are built from that one."""
    watch = GradientCalls()
    with torch.no_grad(), watch:
        outputs = torch.stack([in_batches(probe.plain, probe.images) for _ in range(FORWARDS)])
    sizes = outputs[0].norm(dim=1) + TINY
    difference = float(((outputs - outputs[0]).norm(dim=2) / sizes).amax())
    sums, low = outputs[0].sum(1), float(outputs[0].amin())
    is_probability = low >= 0 and float((sums - 1).abs().amax()) < SUMS_TO_ONE
    # Written so that outputs that are not finite do not agree.
    faults = {
        f"{FORWARDS} forwards differ by {difference:.2g} of the logits": not difference <= SAME,
        "the outputs are probabilities": is_probability,
        f"the forward asks for {watch.count} gradients": watch.count > 0,
    }
    found = [fault for fault, is_so in faults.items() if is_so]
    is_plain = f"{FORWARDS} forwards agree, give logits and ask for no gradient"
    return graded(
        6,
        "plain forward",
        len(found),
        UNSOUND,
        f"On {len(probe.labels)} samples {', '.join(found) or is_plain}",
        "the attacks are not made for such a network",
        {
            "difference": difference if math.isfinite(difference) else 1.0,
            "probabilities": float(is_probability),
            "gradient calls": float(watch.count),
        },
    )
