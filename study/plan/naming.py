"""What methods, configurations and cells are called in runs, tables and messages."""

from study.plan import space
from study.plan.space import Cell, Configuration
from study.spec import Range, StudySpec
from trainers.config import ModelConfig


def configuration_name(spec: StudySpec, configuration: Configuration) -> str:
    """Name a configuration by its method and what varies in it: `sam rho=0.1`."""
    values = space.short_values(spec, configuration)
    chosen = [f"{name}={_short(value)}" for name, value in values.items()]
    return " ".join([configuration.method, *chosen])


def cell_name(spec: StudySpec, cell: Cell) -> str:
    """Name a cell as people speak of it: `sam rho=0.1 seed=0`."""
    return f"{configuration_name(spec, cell.configuration)} seed={cell.seed}"


def sides_name(spec: StudySpec, method: str) -> str:
    """Name a method's sides, those that are off left out: `sam + pgd`; `none` if both are."""
    declared = spec.methods[method]
    sides = [side.name for side in (declared.weights, declared.inputs) if side.name != "none"]
    return " + ".join(sides) or "none"


def settings_text(spec: StudySpec, method: str) -> str:
    """Spell a method's sides and loss with what is declared of them: `pgd: norm linf, steps 4`.

    A grid is given by its values, a range by its ends; what is off is left out.
    """
    declared = spec.methods[method]
    sides = (declared.weights, declared.inputs, declared.loss)
    told = (
        f"{side.name}: {', '.join(f'{name} {_declared(value)}' for name, value in side.settings)}"
        if side.settings
        else side.name
        for side in sides
        if side.name != "none"
    )
    return "; ".join(told)


def _declared(value: object) -> str:
    if isinstance(value, Range):
        return f"{_short(value.low)} to {_short(value.high)}"
    return " / ".join(map(_short, value)) if isinstance(value, tuple) else _short(value)


def network_name(model: ModelConfig) -> str:
    """Name a network as reports do: `wide_resnet, depth 28, width 10`."""
    depth = f", depth {model.depth}" if model.depth else ""
    layers = ", group normalisation" if model.norm_layer == "group" else ""
    return f"{model.name}{depth}, width {model.width}{layers}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
