"""Methods: what is known about each, and as what kind it is compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from analysis.results.trials import Written

SideKind = Literal["none", "sharpness", "adversarial", "other"]
"""What a side is for: nothing, flat minima (SAM), images perturbed against the network (PGD)."""
MethodKind = Literal["standard", "sharpness", "adversarial", "other"]
"""What a method is compared as: standard training, SAM, adversarial training, or none of them."""

_NAMED: Mapping[str, MethodKind] = {
    **dict.fromkeys(("sam", "asam", "gsam"), "sharpness"),
    **dict.fromkeys(("pgd", "fgsm_rs", "n_fgsm"), "adversarial"),
}
"""Kinds of the side names in tables, and in a `front.json` from before methods carried kinds."""


def side_names(sides: str) -> frozenset[str]:
    """Return the names of the sides that are not off.

    >>> sorted(side_names("sam + pgd")), sorted(side_names("none + none"))
    (['pgd', 'sam'], [])
    """
    return frozenset(sides.lower().replace("+", " ").split()) - {"none", "standard"}


def named_kind(sides: str) -> MethodKind:
    """Return the kind of a method from the names of its sides alone.

    >>> named_kind("sam + none"), named_kind("pgd"), named_kind("none"), named_kind("sam + pgd")
    ('sharpness', 'adversarial', 'standard', 'other')
    """
    names = side_names(sides)
    if len(names) > 1:
        return "other"
    return _NAMED.get(next(iter(names)), "other") if names else "standard"


_KINDS: Mapping[tuple[SideKind, SideKind], MethodKind] = {
    ("none", "none"): "standard",
    ("sharpness", "none"): "sharpness",
    ("none", "adversarial"): "adversarial",
}
"""Kinds of methods by the kinds of their weight side and input side."""
# A `front.json` has keys for the kinds only where the names of the sides do not imply them.
ADDED_TO_NAMES: Mapping[str, Written] = {
    "written": lambda note: note.kind != named_kind(note.sides)
}
"""Metadata of a field that is written only where the names of the sides do not say it."""


@dataclass(frozen=True, kw_only=True)
class MethodNote:
    """What is known about a method besides its trials; decides comparisons, colour and marker."""

    name: str
    sides: str
    """The names of its weight side and input side as they are printed: `sam + pgd`."""
    searched: bool
    """True if its configurations were suggested by a search, not declared as a grid."""
    seeds: tuple[int, ...] | None = None
    """The seeds declared for this method, all among the study's; None: those of the study."""
    settings: str = ""
    """Its sides and loss as declared, spelt out; empty: unknown."""
    weights: SideKind | None = field(default=None, metadata=ADDED_TO_NAMES)
    """The kind of its weight side. None: only the names are known, as in a table."""
    inputs: SideKind | None = field(default=None, metadata=ADDED_TO_NAMES)
    """The kind of its input side. None: only the names are known, as in a table."""
    setup: tuple[str, ...] = field(default=(), metadata={"written": lambda note: bool(note.setup)})
    """Values that are settings of the training or the network: no strengths of the method."""
    fewer_steps: str = field(default="", metadata={"written": lambda note: bool(note.fewer_steps)})
    """With how few attack steps its trainings began; empty: with all of them."""

    @property
    def kind(self) -> MethodKind:
        """Return what the method is compared as."""
        if self.weights is None or self.inputs is None:
            return named_kind(self.sides)
        return _KINDS.get((self.weights, self.inputs), "other")
