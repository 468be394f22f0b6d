"""What is known of a training at the end of each epoch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """What is known at the end of an epoch. Validation is nan where training diverged."""

    epoch: int
    """From 1."""
    learning_rate: float
    """Of the epoch's first step."""
    train_loss: float
    """Mean over the samples, each before its step."""
    train_accuracy: float
    """On the crafted images, each before its step."""
    validation_clean: float
    validation_robust: float
    """PGD-10 at the objective radius, one start, the same noise in every epoch."""
    forward_passes: int
    """Samples that went forward through the network in this epoch's training."""
    input_backward_passes: int
    """Samples whose gradient with respect to the image was taken."""
    weight_backward_passes: int
    """Samples whose gradient with respect to the weights was taken."""
    seconds: float
    """Wall time of the epoch's training."""
    validation_seconds: float
    is_best: bool
    """Whether the mean of both validation accuracies is above that of every epoch before."""
    diverged: bool
    """A loss or weight was not finite, or the loss was above 3 ln K after the first epoch."""
