"""What a loss is: its settings, checked, the images that it sees, and the numbers of its step.

Each class declares its loss once. `trainers.step.losses` adds the function, and nothing else has to
know a loss by its name.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from trainers.config.checks import check_number
from trainers.config.own import OwnLoss


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """The loss cross-entropy, on the crafted images."""

    images: ClassVar[int] = 1
    has_target: ClassVar[bool] = False
    tabulated: ClassVar[tuple[str, ...]] = ()

    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes, in [0, 1); attacks ignore it."""

    def __post_init__(self) -> None:
        """Check the share."""
        rule = "must lie in [0, 1)"
        check_number(self.label_smoothing, "label_smoothing", rule, lambda share: 0 <= share < 1)

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Trades:
    """The loss TRADES: cross-entropy on clean images, and β times KL to the crafted ones.

    Zhang et al. (2019), Theoretically principled trade-off between robustness and accuracy, eq. 5.
    With crafted images of radius 0 it is standard training but for rounding.
    """

    images: ClassVar[int] = 2
    has_target: ClassVar[bool] = True
    tabulated: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 6.0
    """≥ 0; published values lie in 1 … 10."""

    def __post_init__(self) -> None:
        """Check β."""
        check_number(self.beta, "beta", "must be ≥ 0", lambda beta: beta >= 0)

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"beta": self.beta}


@dataclass(frozen=True, kw_only=True)
class Mart:
    """The loss MART: boosted cross-entropy on crafted images, and β times a weighted KL.

    Wang et al. (2020), Improving adversarial robustness requires revisiting misclassified examples,
    equation 10. With crafted images of radius 0 it is not standard training.
    """

    images: ClassVar[int] = 2
    has_target: ClassVar[bool] = False
    tabulated: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 5.0
    """≥ 0; 5 in the published script, 6 in its function."""

    def __post_init__(self) -> None:
        """Check β."""
        check_number(self.beta, "beta", "must be ≥ 0", lambda beta: beta >= 0)

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"beta": self.beta}


Loss = CrossEntropy | Trades | Mart | OwnLoss
LOSSES: dict[str, type[Any]] = {"cross_entropy": CrossEntropy, "trades": Trades, "mart": Mart}
"""By the name in a study. `trainers.step.losses` has the function of each."""


def loss_name(loss: Loss) -> str:
    """Return the name of a loss in a study."""
    if isinstance(loss, OwnLoss):
        return loss.part.name
    return next(name for name, cls in LOSSES.items() if cls is type(loss))
