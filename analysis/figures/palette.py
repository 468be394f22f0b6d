"""Palette: the colour and the marker of each method, the same in every figure and table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.results.methods import MethodNote, side_names

ADVERSARIAL_TRAINING = "#C8501E"
SAM = "#1F6FB2"
STANDARD = "#6B6B6B"
OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours that are far from those of SAM and of adversarial training."""
OTHER_MARKERS = ("^", "v", "P", "X", "p", "h", "<", ">")


@dataclass(frozen=True, kw_only=True)
class MethodStyle:
    """How one method is drawn."""

    colour: str
    text_colour: str
    """The colour, darkened until text is legible on white (contrast at least 4.5)."""
    marker: str
    """The letter of the marker in matplotlib."""
    searched: bool
    """Searched methods have hollow markers and dashed staircases."""


def method_styles(methods: Sequence[MethodNote]) -> Mapping[str, MethodStyle]:
    """Return each method's colour and marker: fixed for standard, SAM and PGD, else one in turn.

    >>> sam = MethodNote(name="sam", sides="sam + none", searched=False)
    >>> method_styles([sam])["sam"].colour
    '#1F6FB2'
    """
    known = {
        frozenset[str](): (STANDARD, "D"),
        frozenset({"sam"}): (SAM, "s"),
        frozenset({"pgd"}): (ADVERSARIAL_TRAINING, "o"),
    }
    styles: dict[str, MethodStyle] = {}
    others = 0
    for note in methods:
        if (names := side_names(note.sides)) in known:
            colour, marker = known.pop(names)
        else:
            colour = OTHERS[others % len(OTHERS)]
            marker = OTHER_MARKERS[others % len(OTHER_MARKERS)]
            others += 1
        styles[note.name] = MethodStyle(
            colour=colour,
            text_colour=readable(colour),
            marker=marker,
            searched=note.searched,
        )
    return styles


def contrast_on_white(colour: str) -> float:
    """Compute the contrast of a colour #rrggbb with white, from 1 to 21.

    WCAG 2.2, definitions of relative luminance and contrast ratio.

    >>> round(contrast_on_white("#000000"), 1)
    21.0
    """
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (luminance + 0.05)


def readable(colour: str) -> str:
    """Darken a colour #rrggbb until its contrast on white is at least 4.5.

    >>> readable("#1F6FB2"), readable("#FFFFFF") != "#FFFFFF"
    ('#1F6FB2', True)
    """
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    while contrast_on_white(colour) < 4.5:
        channels = [int(0.96 * channel) for channel in channels]
        colour = "#" + "".join(f"{channel:02X}" for channel in channels)
    return colour
