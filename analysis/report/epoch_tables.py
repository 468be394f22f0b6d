"""Tables of training: accuracies of the best and the last epoch, and importances."""

from dataclasses import replace

from analysis.findings.phrases import points_text
from analysis.fronts.choice import Choice
from analysis.report.tables import Cell, Table, method_cell, spread_cell
from analysis.responses.epochs import chosen_training
from analysis.results.configurations import Spread
from analysis.results.results import Results
from analysis.results.trials import Importance
from analysis.results.words import SYMBOLS, attack_text, count_text, percent, values_text


def training_table(results: Results, choice: Choice) -> Table:
    """Build the table of checkpoints `best` and `last` of each method's chosen configuration."""
    threat = results.threat
    return Table(
        key="training",
        caption="Each method's chosen configuration at its best checkpoint, chosen on validation "
        f"data, and at its last: accuracies in % on {count_text(results.num_test, 'test image')}, "
        f"robust under {attack_text(threat, threat.objective_radius)}. Means over seeds, with the "
        "lowest and the highest seed below. Difference: robust accuracy of the best checkpoint "
        "minus that of the last, seed by seed.",
        columns=(
            "Configuration",
            "Seeds",
            "Best epoch",
            "Clean, best",
            "Clean, last",
            "Robust, best",
            "Robust, last",
            "Difference (pp)",
        ),
        rows=tuple(
            (
                method_cell(
                    results, one.configuration.method, values_text(one.configuration.values)
                ),
                Cell(text=str(len(one.histories)), order=len(one.histories)),
                _epoch_cell(one.best_epoch),
                *(
                    spread_cell(accuracy)
                    for accuracy in (
                        one.clean_best,
                        one.clean_last,
                        one.robust_best,
                        one.robust_last,
                    )
                ),
                _difference_cell(one.difference),
            )
            for one in chosen_training(results, choice)
        ),
    )


def importance_table(results: Results) -> Table:
    """Build the table of importances, for clean and for robust validation accuracy."""
    by_method: dict[str, dict[str, Importance]] = {}
    for importance in results.importances:
        by_method.setdefault(importance.method, {})[importance.objective] = importance
    evaluators = ", ".join(dict.fromkeys(i.evaluator for i in results.importances))
    rows = []
    for method, found in by_method.items():
        names = dict.fromkeys(name for importance in found.values() for name in importance.shares)
        for name in names:
            count = max(importance.configurations for importance in found.values())
            rows.append(
                (
                    method_cell(results, method),
                    Cell(text=SYMBOLS.get(name, name), order=name),
                    *(_share_cell(found.get(objective), name) for objective in ("clean", "robust")),
                    Cell(text=str(count), order=count),
                )
            )
    return Table(
        key="importances",
        caption="Importance of each hyperparameter of a search, for accuracy on validation images "
        f"({evaluators}): its share, in %, of what sets the best configurations apart from all.",
        columns=("Method", "Hyperparameter", "Clean", "Robust", "Configurations"),
        rows=tuple(rows),
    )


def _epoch_cell(over_seeds: Spread | None) -> Cell:
    # Epochs are whole numbers, but their mean over seeds is not.
    cell = spread_cell(over_seeds, lambda epoch: f"{epoch:.0f}")
    return cell if over_seeds is None else replace(cell, text=f"{over_seeds.mean:.3g}")


def _difference_cell(over_seeds: Spread | None) -> Cell:
    cell = spread_cell(over_seeds, points_text)
    # A dash between two signed numbers would look like a third sign.
    return replace(cell, below=cell.below.replace("–", " to "))


def _share_cell(importance: Importance | None, name: str) -> Cell:
    if importance is None or name not in importance.shares:
        return Cell(text="–")
    return Cell(text=percent(importance.shares[name]), order=importance.shares[name])
