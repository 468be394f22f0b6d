"""What methods, configurations and cells are called in runs, tables and messages."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from analysis.results.words import value_text
from study.plan import space
from study.plan.space import Cell, Configuration
from study.spec import (
    AROUND,
    Range,
    Start,
    StudySpec,
    around_of,
    fidelity_of,
    models_of,
    settings_of,
    stop_of,
    swept_in,
)
from study.spec.around import training_config
from study.spec.own import OPTIMIZER
from study.spec.search import fidelity_until
from study.spec.settings import Setting, choices, first_choices, is_swept
from trainers.config import ModelConfig


def configuration_name(spec: StudySpec, configuration: Configuration) -> str:
    """Format a configuration as its method and what varies in it: `sam rho=0.1`."""
    values = space.short_values(spec, configuration)
    chosen = [f"{name}={_short(value)}" for name, value in values.items()]
    return " ".join([configuration.method, *chosen])


def cell_name(spec: StudySpec, cell: Cell) -> str:
    """Format a cell as people speak of it: `sam rho=0.1 seed=0`."""
    return f"{configuration_name(spec, cell.configuration)} seed={cell.seed}"


def run_name(spec: StudySpec, configuration: Configuration, seed: int | None = None) -> str:
    """Format a configuration or a cell for the narrow column of MLflow's table: `sam ρ0.1 s0`.

    The radii have their letters and three digits; other values keep their names.
    """
    letters = {"rho": "ρ", "epsilon": "ε"}
    shown = [configuration.method]
    for name, value in space.short_values(spec, configuration).items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        shown.append(f"{letters[name]}{text}" if name in letters else f"{name}={text}")
    return " ".join([*shown, *([] if seed is None else [f"s{seed}"])])


def sides_name(spec: StudySpec, method: str) -> str:
    """Format a method's sides, without those that are off: `sam + pgd`; `none` if both are off."""
    declared = spec.methods[method]
    sides = [side.name for side in (declared.weights, declared.inputs) if side.name != "none"]
    return " + ".join(sides) or "none"


def settings_text(spec: StudySpec, method: str) -> str:
    """Format a method's sides and loss with their declared settings: `pgd: norm linf, steps 4`.

    A grid stands as its values, a range as its ends. A side that is off is left out. What the
    method overrides of training and model comes last, then a start of its own, then fewer steps in
    its first epochs.
    """
    declared = spec.methods[method]
    overrides = [getattr(declared, kind) for kind in AROUND]
    sides = (
        *(declared.weights, declared.inputs, declared.loss),
        *(side for side in overrides if side.settings),
    )
    told = (
        f"{side.name}: {_listed(side.settings)}" if side.settings else side.name
        for side in sides
        if side.name != "none"
    )
    start = [] if declared.start is None else [f"start: {start_name(declared.start)}"]
    fewer = fidelity_text(spec, method)
    return "; ".join([*told, *start, *([f"fewer steps: {fewer}"] if fewer else [])])


def fidelity_text(spec: StudySpec, method: str) -> str:
    """Format with how few steps a method trains up to each rung: `2 to 0.2 of the epochs`.

    Empty if it has all its steps from the first epoch on.
    """
    stop = fidelity_of(spec, method)
    if stop is None or stop.fidelity is None:
        return ""
    totals = choices(around_of(spec, method, "training")["epochs"])
    if all(fidelity_until(stop, int(total)) == "none" for total in totals):
        return ""
    *fewer, whole = stop.fidelity.steps
    parts = [f"{n} to {r:g}" for n, r in zip(fewer, stop.rungs, strict=True) if n < whole]
    return ", ".join([f"{one} of the epochs" for one in parts[:1]] + parts[1:])


def rungs_text(spec: StudySpec, method: str) -> str:
    """Format where a method's trainings may be stopped; empty if they never are."""
    stop = stop_of(spec, method)
    if stop is None:
        return ""
    return f"at {', '.join(f'{one:g}' for one in stop.rungs)} of the epochs, keep {stop.keep:g}"


def threat_name(norm: str, *radii: float) -> str:
    """Format a norm and its radii as reports do: `linf 8/255`, `l2 0.25, 0.5`."""
    return f"{norm} {', '.join(map(_short, radii))}"


def network_names(spec: StudySpec) -> list[str]:
    """List the networks of a study, those at both ends of a range of widths too, each once."""
    models = (model for name in spec.methods for model in models_of(spec, name))
    return list(dict.fromkeys(map(network_name, models)))


def training_settings(spec: StudySpec) -> dict[str, object]:
    """Return a study's training settings by name; a grid or a range as text, as it is declared."""
    base = training_config(**first_choices(spec.training))
    declared = dict(spec.training.settings)
    shown = {
        item.name: _declared(declared[item.name])
        if is_swept(declared.get(item.name, ""))
        else getattr(base, item.name)
        for item in fields(base)
    }
    own = [(name, value) for name, value in declared.items() if name.startswith(OPTIMIZER)]
    if any(is_swept(value) for _, value in own):
        shown["optimizer"] = f"{declared['optimizer']} ({_listed(own)})"
    return shown


def setup_names(spec: StudySpec, method: str) -> tuple[str, ...]:
    """Return the short names of what a method sweeps in training and model."""
    paths = [path for path, _ in settings_of(spec, method)]
    return tuple(space.short_name(path, paths) for path, _ in swept_in(spec, method))


def swept_text(spec: StudySpec, method: str) -> str:
    """Format what a method sweeps in training and model: `learning_rate 0.05 / 0.1, width 4 / 8`.

    Empty if that is nothing.
    """
    return ", ".join(
        f"{path.split('.')[-1]} {_declared(setting)}" for path, setting in swept_in(spec, method)
    )


def start_name(start: Start) -> str:
    """Format what a training starts from: `pretraining sam rho=0.2 seed=0, best`, or a file."""
    if start.is_fresh:
        return "fresh weights"
    if start.file:
        return Path(start.file).name
    values = [f"{name}={_short(value)}" for name, value in start.values]
    seed = "of the same seed" if start.seed == "same" else f"seed={start.seed}"
    return f"{' '.join([start.study, start.method, *values, seed])}, {start.checkpoint}"


def _listed(settings: Iterable[tuple[str, Setting]]) -> str:
    """Format what is declared for settings, those of own parts without the part: `beta 0.9`."""
    return ", ".join(f"{name.rpartition('.')[2]} {_declared(value)}" for name, value in settings)


def _declared(value: Setting) -> str:
    """Format what is declared for a setting: a value, a grid or a range."""
    if isinstance(value, Range):
        return f"{_short(value.low)} to {_short(value.high)}"
    return " / ".join(map(_short, choices(value)))


def network_name(model: ModelConfig) -> str:
    """Format a network as reports name it: `wide_resnet, depth 28, width 10`."""
    if model.is_own:
        own = model.settings.settings.items()
        return ", ".join([model.name, *(f"{name} {_short(value)}" for name, value in own)])
    depth = f", depth {model.depth}" if model.depth else ""
    layers = ", group normalisation" if model.norm_layer == "group" else ""
    return f"{model.name}{depth}, width {model.width}{layers}"


def _short(value: object) -> str:
    # As reports print it. Four digits tell values of one grid apart, and keep a name in a column.
    return value_text(value, 4) if isinstance(value, float) else str(value)
