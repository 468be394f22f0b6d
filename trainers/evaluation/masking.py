"""The checklist of gradient masking: its verdicts, thresholds and sentences.

Athalye, Carlini and Wagner (2018), Obfuscated gradients give a false sense of security, section
3.1, and Carlini et al. (2019), On evaluating adversarial robustness, section 5, list the signs; the
rows and, unless marked, the thresholds are ours. All here is decided by numbers and bits alone;
`trainers.evaluation.diagnose` runs the attacks. Letters: R radii, A attacks, n samples.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from trainers.evaluation.evaluate import Bits

Verdict = Literal["pass", "warn", "fail", "not run"]
VERDICTS: tuple[Verdict, ...] = ("not run", "pass", "warn", "fail")
"""From the mildest to the worst."""


class Limits(NamedTuple):
    """A value above `warn` warns, and one above `fail` fails; a value equal to a limit does not."""

    warn: float
    fail: float


RISE = Limits(1, 3)
"""Rows 2 and 4, in standard errors of the paired difference."""
FAR = Limits(0.02, 0.10)
"""Row 3, an accuracy."""
ZERO_GRADIENTS = Limits(0, 0.05)
"""Row 5, a share of samples. Any warns in AutoAttack too (pyautoattack, check_zero_gradients)."""
UNSOUND = Limits(0, 0)
"""Rows 1 and 6, a count: any fails."""
PLATEAU = Limits(0.05, math.inf)
"""Row 7, a difference of accuracies: a weak attack is the study's choice, so none fails. The limit
is that of row 10, as no attack finds everything, beyond what few samples do by chance: on 54
unmasked networks of the digits, PGD-10 with 3 restarts leaves up to 4.4 points of 500 samples, and
5.5 of 200, that five times its cost breaks; PGD-1 leaves 2 to 33."""
ONE_SIDED = 1.645
"""Standard errors, one-sided at 5%."""
BLACK_BOX = Limits(0.002, 0.02)
"""Row 8, a share of samples. 0.2 points warn in AutoAttack too (pyautoattack, check_square_sr)."""
AGREEMENT = Limits(0.02, 0.05)
"""Row 9, a difference of accuracies."""
TIER_GAP = Limits(0.05, math.inf)
"""Row 10, a difference of accuracies: PGD is the weaker attack, so none fails."""
SLACK = 1e-9
"""Of a comparison with a limit, against rounding: one sample of 500 equals 0.2 points."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one row of the checklist, or one of its two parts, found."""

    number: int
    """The row, 1 … 10; rows 8 and 9 have two parts, each a check of its own."""
    name: str
    verdict: Verdict
    text: str
    """A sentence with its numbers, samples, attack and radius, or why it was not run."""
    numbers: Mapping[str, float]
    """Finite; shares and accuracies in [0, 1]. Empty where it was not run."""


def worst(checks: Iterable[Check]) -> Verdict:
    """Return the worst verdict; one that was not run is milder than a pass."""
    return max((check.verdict for check in checks), key=VERDICTS.index, default="not run")


def grade(value: float, limits: Limits) -> Verdict:
    """Compare a value with its limits.

    >>> grade(0.1 + 0.2, Limits(0.3, 0.5)), grade(0.31, Limits(0.3, 0.5))
    ('pass', 'warn')
    """
    if value > limits.fail + SLACK:
        return "fail"
    return "warn" if value > limits.warn + SLACK else "pass"


def graded(
    number: int,
    name: str,
    value: float,
    limits: Limits,
    text: str,
    meaning: str,
    numbers: Mapping[str, float],
) -> Check:
    """Build a check of a value. text: what was found; meaning: what a warning or failure means."""
    verdict = grade(value, limits)
    said = f"{text}." if verdict == "pass" else f"{text}: {meaning}."
    return Check(number=number, name=name, verdict=verdict, text=said, numbers=numbers)


def not_run(number: int, name: str, reason: str) -> Check:
    """Build a check that says why it was not run."""
    return Check(
        number=number, name=name, verdict="not run", text=f"Not run: {reason}.", numbers={}
    )


class Rise(NamedTuple):
    """An accuracy that is higher in a later row."""

    standard_errors: float
    """The difference in standard errors of the paired difference; ≤ 0 where no row rises."""
    difference: float
    earlier: int
    later: int


def largest_rise(bits: Bits, ignored: Iterable[tuple[int, int]] = ()) -> Rise:
    """Find the two rows between which accuracy rises most, in standard errors. bits: (≥ 2, n).

    ignored: pairs of rows, earlier and later, that are not compared.
    The standard error is that of the mean of paired differences, and at least 1/n: one sample that
    alone is right in the later row is a rise of one standard error.

    >>> largest_rise(np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]], dtype=bool))
    Rise(standard_errors=1.0, difference=0.25, earlier=1, later=2)
    """
    values = bits.astype(np.float64)
    count = bits.shape[1]
    rises = []
    pairs = set(itertools.combinations(range(len(bits)), 2)) - set(ignored)
    for earlier, later in sorted(pairs):
        each = values[later] - values[earlier]
        spread = math.sqrt(((each - each.mean()) ** 2).sum() / max(count - 1, 1) / count)
        difference = float(each.mean())
        rises.append(Rise(difference / max(spread, 1 / count), difference, earlier, later))
    return max(rises)


def radius_order(bits: Bits, radii: Sequence[float], attack: str) -> Check:
    """Row 2: raw accuracy never rises with the radius. bits: (1 + R, n), raw."""
    rise = largest_rise(bits)
    sizes = (0.0, *radii)
    found = f"raw accuracy under {attack} never rises with the radius"
    if rise.difference > 0:
        found = (
            f"raw accuracy under {attack} rises by {_points(rise.difference)} "
            f"({rise.standard_errors:.1f} standard errors) from radius "
            f"{sizes[rise.earlier]:g} to {sizes[rise.later]:g}"
        )
    return graded(
        2,
        "radius order",
        rise.standard_errors,
        RISE,
        f"On {bits.shape[1]} samples {found}",
        "the larger ball holds the smaller one, so the attack misses what is there",
        {"standard errors": rise.standard_errors, "rise": rise.difference, "n": bits.shape[1]},
    )


def attack_order(bits: Bits, place: str) -> Check:
    """Row 4: PGD ≤ FGSM ≤ noise, both ≤ clean. bits: (4, n), clean, noise, FGSM, PGD.

    Noise follows no gradient, so it may stand above clean: by chance, or after training on noise.
    """
    names = ("clean", "noise", "FGSM", "PGD")
    rise = largest_rise(bits, ignored=[(0, 1)])
    accuracies = bits.mean(axis=1).tolist()
    listed = ", ".join(f"{n} {100 * a:.1f}%" for n, a in zip(names, accuracies, strict=True))
    weak, strong = names[rise.earlier], names[rise.later]
    found = f"Accuracy {place} is {listed}"
    if rise.difference > 0:
        found += f"; {strong} stands {rise.standard_errors:.1f} standard errors above {weak}"
    return graded(
        4,
        "attack order",
        rise.standard_errors,
        RISE,
        found,
        "an attack that follows gradients further finds less, so the gradients mislead",
        {"standard errors": rise.standard_errors, **dict(zip(names, accuracies, strict=True))},
    )


def plateau(accuracies: Sequence[float], count: int, attack: str, place: str) -> Check:
    """Row 7. accuracies: under the study's own attack; with more steps; with more restarts.

    A share of `count` samples warns where it is above the limit by more than 1.645 standard errors,
    the binomial ones of a share at the limit.
    """
    base, of_steps, of_restarts = accuracies
    steps, restarts = base - of_steps, base - of_restarts
    limit = PLATEAU.warn
    chance = ONE_SIDED * math.sqrt(limit * (1 - limit) / count)
    return graded(
        7,
        "plateau",
        max(steps, restarts),
        PLATEAU._replace(warn=limit + chance),
        f"{attack} leaves {100 * base:.1f}% {place}; more steps break {_points(steps)} more, "
        f"more restarts {_points(restarts)}",
        "the attack has not converged: evaluate with more of them",
        {"accuracy": base, "by steps": steps, "by restarts": restarts},
    )


def logit_differences(by_loss: float, by_difference: float, attack: str, place: str) -> Check:
    """Row 9, first part: accuracies under PGD and APGD on cross-entropy, and APGD on differences.

    All attacks on cross-entropy count together, as APGD alone is too weak for a verdict: on the
    digits, after AT at ε 0.02, it left 39%, and logit differences, with nine targets, 34%. Only
    what cross-entropy leaves beyond the other counts: logit differences that are the weaker loss,
    as DLR is on unmasked networks of three classes, mislead nothing that a study reports.
    """
    return graded(
        9,
        "logit differences",
        max(0.0, by_loss - by_difference),
        AGREEMENT,
        f"PGD and APGD on cross-entropy {place} leave {100 * by_loss:.1f}%, "
        f"logit differences ({attack}) {100 * by_difference:.1f}%",
        "cross-entropy misleads its attack: judge by AutoAttack",
        {"by cross-entropy": by_loss, "by logit differences": by_difference},
    )


def logit_scale(by_scale: Mapping[float, float], attack: str, place: str) -> Check:
    """Row 9, second part: accuracies by the factor on the attacked logits, 1 among them.

    Only a fall counts. Where another scale weakens the attack, as on unmasked networks, nothing is
    overstated: a network of standard training on the digits kept 14% at linf 0.1, and 28% and 37%
    with logits × 0.1 and × 10.
    """
    listed = ", ".join(f"{100 * a:.1f}% with logits × {scale:g}" for scale, a in by_scale.items())
    return graded(
        9,
        "logit scale",
        by_scale[1.0] - min(by_scale.values()),
        AGREEMENT,
        f"{attack} {place} leaves {listed}",
        "the size of the logits weakens the attack: judge by AutoAttack, whose DLR has none",
        {f"× {scale:g}": accuracy for scale, accuracy in by_scale.items()},
    )


def square_alone(strong: Mapping[float, Bits], norm: str, strong_attack: str) -> Check:
    """Row 8, first part: what Square breaks that no white-box attack broke, at the worst radius.

    strong: radius to cumulative bits (1 + A, n), clean first and Square last, as in AutoAttack.
    strong_attack: the name of the sequence of attacks.
    """
    shares = {radius: _share_only_last(bits) for radius, bits in strong.items()}
    radius = max(shares, key=shares.__getitem__)
    count = strong[radius].shape[1]
    place = f"at {norm} {radius:g} on the first {count} samples, after the rest of {strong_attack}"
    return black_box("Square", shares[radius], place)


def black_box(name: str, share: float, place: str) -> Check:
    """Row 8: the share of samples that only an attack without this network's gradients breaks."""
    return graded(
        8,
        name,
        share,
        BLACK_BOX,
        f"{name} alone breaks {100 * share:.1f}% {place}",
        "an attack without this network's gradients finds what those with them miss",
        {"broken alone": share},
    )


def tier_gap(
    bits: Bits,
    radii: Sequence[float],
    strong: Mapping[float, Bits],
    attack: str,
    norm: str,
    strong_attack: str,
) -> Check:
    """Row 10: tier 2 minus tier 3, paired on the samples of tier 3, at the radius of most gap.

    bits: (1 + R, n), raw; strong: radius to cumulative bits (1 + A, N) of the first N samples.
    """
    gaps = {}
    for radius, reached in strong.items():
        first = bits[:, : reached.shape[1]]
        survives = first[0] & first[1 + list(radii).index(radius)]
        gaps[radius] = float(survives.mean() - reached[-1].mean())
    radius = max(gaps, key=gaps.__getitem__)
    place = f"at {norm} {radius:g} on the first {strong[radius].shape[1]} samples"
    return graded(
        10,
        "tier gap",
        gaps[radius],
        TIER_GAP,
        f"{attack} leaves {_points(gaps[radius])} more than {strong_attack} {place}",
        f"report the accuracy under {strong_attack}, as this attack overstates robustness",
        {f"gap at {radius:g}": gap for radius, gap in gaps.items()},
    )


def _share_only_last(bits: Bits) -> float:
    """Return the share of samples that only the last attack broke. bits: (1 + A, n), cumulative."""
    return float((bits[-2] & ~bits[-1]).mean())


def _points(difference: float) -> str:
    return f"{100 * difference:.1f} points"
