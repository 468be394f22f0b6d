"""The files of a finished trial: weights, correctness bits, and a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from study import tracking
from study.context import TrialContext
from study.space import Cell
from study.trial_values import checkpoint_values
from trainers.checkpoint import save_weights
from trainers.data import sample_hash
from trainers.evaluate import Evaluation, Examples, adversarial_examples, evaluate
from trainers.train import TrainState, evaluated_model, evaluated_weights


def judge(
    context: TrialContext, cell: Cell, state: TrainState, device: torch.device, folder: Path
) -> dict[str, float]:
    """Evaluate the best and the last epoch on test; leave weights, bits and picture in `folder`.

    Returns the metrics of both checkpoints. The state's model may have the best epoch's weights
    afterwards.
    """
    config, dataset = cell.config, context.dataset
    epochs = {"last": state.epoch, "best": state.best_epoch}
    weights = {"last": evaluated_weights(state), "best": state.best_weights}
    model = evaluated_model(state)
    evaluations: dict[int, Evaluation] = {}
    metrics: dict[str, float] = {}
    threat = (dataset.test, dataset.divisor, config.evaluation, config.seed, device)
    for checkpoint, epoch in epochs.items():
        if checkpoint == "best":
            model.load_state_dict(state.best_weights)
        if epoch not in evaluations:
            evaluations[epoch] = evaluate(model, *threat)
        reached = state.metrics[epoch - 1]
        metrics |= checkpoint_values(checkpoint, config, reached, evaluations[epoch])
        save_weights(
            folder / "checkpoints" / f"{checkpoint}.pt",
            weights[checkpoint],
            {"cell": cell.key, "checkpoint": checkpoint, "epoch": epoch},
        )
        if checkpoint == config.evaluation.checkpoint:
            examples = adversarial_examples(model, *threat)
            picture = draw_adversarial(examples, context)
            (folder / "adversarial_examples.png").write_bytes(picture)
    bits: dict[str, Any] = {name: evaluations[epoch].bits for name, epoch in epochs.items()}
    bits["radii"] = np.array(config.evaluation.radii)
    if config.evaluation.other_norm_radii:
        for name, epoch in epochs.items():
            bits[f"{name}_other"] = evaluations[epoch].other_bits
        bits["other_radii"] = np.array(config.evaluation.other_norm_radii)
    bits["sample_hash"] = np.array(sample_hash(dataset.test))
    np.savez_compressed(folder / tracking.BITS_FILE, **bits)
    return metrics


def draw_adversarial(examples: Examples, context: TrialContext) -> bytes:
    """Draw a trial's adversarial examples as PNG."""
    from analysis.examples import draw_examples  # matplotlib, which the first epochs do not need

    return draw_examples(
        examples.clean,
        examples.adversarial,
        examples.labels,
        examples.clean_predictions,
        examples.adversarial_predictions,
        context.dataset.classes,
        examples.radius,
        context.spec.evaluation.norm,
    )
