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


@dataclass(frozen=True, kw_only=True)
class Dkl:
    """The loss DKL: TRADES with its KL taken apart into a weighted square and a cross-entropy.

    Cui et al. (2024), Decoupled Kullback-Leibler divergence loss, theorem 1. With α equal to β its
    gradient is that of TRADES at β, though its value is another.
    """

    images: ClassVar[int] = 2
    has_target: ClassVar[bool] = True
    tabulated: ClassVar[tuple[str, ...]] = ("alpha", "beta")

    alpha: float = 6.0
    """≥ 0; weight of the cross-entropy from clean to crafted predictions, which moves the crafted
    ones. The default of α and β is TRADES' β."""
    beta: float = 6.0
    """≥ 0; weight of the squared differences of logits, which move the clean ones."""

    def __post_init__(self) -> None:
        """Check both weights."""
        _check_weights(self)

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"soft": self.alpha, "beta": self.beta}


@dataclass(frozen=True, kw_only=True)
class Ikl:
    """The loss IKL: DKL whose square moves crafted predictions too, weighted by the class.

    Cui et al. (2024), Decoupled Kullback-Leibler divergence loss, equation 7. The weights are the
    mean prediction for a sample's class in the epoch before, uniform in the first epoch. The
    defaults are those of the published script.
    """

    images: ClassVar[int] = 2
    has_target: ClassVar[bool] = True
    tabulated: ClassVar[tuple[str, ...]] = ("alpha", "beta")

    alpha: float = 4.0
    """≥ 0; weight of the cross-entropy from clean to crafted predictions."""
    beta: float = 20.0
    """≥ 0; weight of the squared differences of logits."""
    temperature: float = 4.0
    """> 0; divides the logits whose predictions are averaged over each class."""

    def __post_init__(self) -> None:
        """Check both weights and the temperature."""
        _check_weights(self)
        check_number(self.temperature, "temperature", "must be > 0", lambda divisor: divisor > 0)

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"soft": self.alpha, "beta": self.beta}


def _check_weights(loss: Dkl | Ikl) -> None:
    for field in ("alpha", "beta"):
        check_number(getattr(loss, field), field, "must be ≥ 0", lambda weight: weight >= 0)


Loss = CrossEntropy | Trades | Mart | Dkl | Ikl | OwnLoss
LOSSES: dict[str, type[Any]] = {
    "cross_entropy": CrossEntropy,
    "trades": Trades,
    "mart": Mart,
    "dkl": Dkl,
    "ikl": Ikl,
}
"""By the name in a study. `trainers.step.losses` has the function of each."""


def loss_name(loss: Loss) -> str:
    """Return the name of a loss in a study."""
    if isinstance(loss, OwnLoss):
        return loss.part.name
    return next(name for name, cls in LOSSES.items() if cls is type(loss))
