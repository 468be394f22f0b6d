"""Pairs: which methods are adversarial training, which are SAM, and which are compared."""

from itertools import combinations

from analysis.results.results import MethodNote, Results


def is_standard(note: MethodNote) -> bool:
    """Tell whether a method perturbs neither weights nor inputs.

    >>> is_standard(MethodNote(name="plain", sides="none + none", searched=False))
    True
    """
    return not _sides(note)


def _sides(note: MethodNote) -> frozenset[str]:
    words = note.sides.lower().replace("+", " ").split()
    return frozenset(words) - {"none", "standard"}


INPUT_SIDES = frozenset({"pgd", "fgsm_rs", "n_fgsm"})
"""Input sides that are adversarial training: they perturb against the network."""
WEIGHT_SIDES = frozenset({"sam", "asam", "gsam"})
"""Weight sides that are SAM or a form of it."""


def sides(note: MethodNote) -> frozenset[str]:
    """List the sides of a method that are not off.

    >>> sorted(sides(MethodNote(name="both", sides="sam + pgd", searched=True)))
    ['pgd', 'sam']
    """
    words = note.sides.lower().replace("+", " ").split()
    return frozenset(words) - {"none", "standard"}


def is_adversarial_training(note: MethodNote) -> bool:
    """Tell whether a method perturbs inputs alone, against the network.

    >>> is_adversarial_training(MethodNote(name="at", sides="none + pgd", searched=False))
    True
    """
    return len(sides(note)) == 1 and sides(note) <= INPUT_SIDES


def is_sam(note: MethodNote) -> bool:
    """Tell whether a method perturbs weights alone.

    >>> is_sam(MethodNote(name="sam", sides="sam + none", searched=False))
    True
    """
    return len(sides(note)) == 1 and sides(note) <= WEIGHT_SIDES


def compared(results: Results, present: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """List the pairs of methods that a study compares, (adversarial training, SAM) first.

    Every adversarial training against every SAM; without such a pair, every two methods that
    perturb something. `present`: the methods that have results.
    """
    notes = [note for note in results.methods if note.name in present]
    trained = [note.name for note in notes if is_adversarial_training(note)]
    sharpness = [note.name for note in notes if is_sam(note)]
    pairs = tuple((first, second) for first in trained for second in sharpness)
    return pairs or tuple(combinations([note.name for note in notes if sides(note)], 2))


def primary_pair(results: Results, present: tuple[str, ...]) -> tuple[str, str] | None:
    """Give the methods of the primary contrast: as declared, else the first pair compared.

    None if fewer than two methods have results, and in a comparison of studies.
    """
    if results.is_comparison:
        return None
    if results.primary is not None:
        return results.primary if set(results.primary) <= set(present) else None
    pairs = compared(results, present) or tuple(combinations(present, 2))
    return pairs[0] if pairs else None
