"""Training: how the chosen configurations trained, and what the best epoch gained over the last."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.fronts.choice import Choice
from analysis.results.configurations import ConfigurationResult, Spread, spread
from analysis.results.results import Results
from analysis.results.trials import History, configuration_key


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How one method's chosen configuration trained, over its seeds."""

    configuration: ConfigurationResult
    histories: tuple[History, ...]
    """By seed, at least one."""
    best_epoch: Spread | None
    clean_best: Spread | None
    """Test accuracies of the best and the last checkpoint, over the seeds that have both."""
    clean_last: Spread | None
    robust_best: Spread | None
    robust_last: Spread | None
    difference: Spread | None
    """Robust accuracy at the objective radius, `best` minus `last`, seed by seed."""


def chosen_training(results: Results, choice: Choice) -> tuple[Trained, ...]:
    """Collect how each method's chosen configuration trained, in the order of the methods.

    The chosen configuration is the most robust one of its method, on the data that fronts are
    chosen on. A method without histories of it is left out.
    """
    by_key: dict[object, list[History]] = {}
    for history in results.histories:
        by_key.setdefault(configuration_key(history.method, history.values), []).append(history)
    if not by_key:
        return ()
    chosen = [front.best for front in choice.fronts if front.best is not None]
    return tuple(_trained(c, by_key[c.key]) for c in chosen if c.key in by_key)


def _trained(configuration: ConfigurationResult, histories: Sequence[History]) -> Trained:
    by_seed = tuple(sorted(histories, key=lambda history: history.seed))
    ends = [(h.test_best, h.test_last) for h in by_seed]
    # Only seeds with both checkpoints count, so that their difference is paired.
    both = [(best, last) for best, last in ends if best is not None and last is not None]
    epochs = [float(h.best_epoch) for h in by_seed if h.best_epoch is not None]
    return Trained(
        configuration=configuration,
        histories=by_seed,
        best_epoch=spread(epochs) if epochs else None,
        clean_best=_spread([best[0] for best, _ in both]),
        clean_last=_spread([last[0] for _, last in both]),
        robust_best=_spread([best[1] for best, _ in both]),
        robust_last=_spread([last[1] for _, last in both]),
        difference=_spread([best[1] - last[1] for best, last in both]),
    )


def _spread(values: Sequence[float]) -> Spread | None:
    return spread(values) if values else None
