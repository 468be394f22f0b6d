"""The parts of a study: `StudySpec`, what it holds, and the `TrainConfig` of each cell."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt, MinLen
from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo

from study.spec.around import (
    AROUND,
    AROUND_FORMS,
    BUILT,
    model_config,
    read_around,
    read_override,
)
from study.spec.claims import ClaimSpec, read_clean_floors, read_pair, read_points, required
from study.spec.data import DATA_FORM, EXTRA_FORM, read_data
from study.spec.mistakes import shown
from study.spec.own import (
    OPTIMIZER,
    SETTINGS,
    PartName,
    own_settings,
    read_method_side,
    read_own,
)
from study.spec.search import BudgetSpec, FidelitySpec, SearchSpec, StopSpec, fidelity_until
from study.spec.settings import (
    SIDES,
    Part,
    PlainList,
    Radius,
    Range,
    Setting,
    Side,
    Value,
    built_side,
    choice_form,
    choices,
    class_of,
    config_text,
    distinct,
    each_choice,
    form,
    is_swept,
    read_choice,
    read_number_or_word,
    read_part,
    rule_error,
    rule_errors,
)
from study.spec.source import Place
from study.spec.start import FRESH, START_KEYS, MoreTrials, Start, read_more, read_start
from trainers.config import (
    ATTACKS,
    ConfigError,
    DataConfig,
    EvaluationAttack,
    EvaluationConfig,
    Method,
    ModelConfig,
    Norm,
    TrainConfig,
    TrainingConfig,
    has_steps,
)

PRIMARY = "hypervolume_difference"
"""The only kind of primary contrast: of mean robust accuracies over required clean accuracies."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_NAME_RULE = "a name may hold A-Z a-z 0-9 _ - . (at most 100) and must not begin with - or ."


def _read_attack(value: object, info: ValidationInfo) -> object:
    """Read the evaluation attack, such as `{pgd: {...}}`."""
    if isinstance(value, EvaluationAttack):
        return value
    own = read_own("attacks", "attack", value, info)
    if own is not None:
        return own
    name, part = read_choice("attack", _ATTACK_FORM, value)
    try:
        return ATTACKS[name](**part.model_dump())
    except ConfigError as error:
        raise rule_errors([((name, error.field), config_text(error))], "trainers") from None


def _read_methods(value: object) -> object:
    """Check the names of the methods, as they become part of MLflow's names and of file names."""
    if isinstance(value, Mapping):
        problems = [((name,), name_problem(name)) for name in value if name_problem(name)]
        if problems:
            raise rule_errors(problems)
    return value


def _read_samples(value: object) -> float | str:
    """Read a number of test images, or `all`."""
    samples = read_number_or_word(("all",), False, True, value)
    if not isinstance(samples, str) and samples < 1:
        raise rule_error(f"must be all or a whole number ≥ 1, got {value!r}; raise it")
    return samples


def _at_most_one(gpu: float) -> float:
    """Check a number of GPUs: a trial trains on one device, and several trials may share it."""
    if gpu > 1:
        raise rule_error(
            f"must be at most 1, as a trial trains on one GPU, got {gpu:g}; write gpu: 1, and Ray "
            "runs a trial on each of the machine's GPUs"
        )
    return gpu


def _read_primary(value: object) -> object:
    """Read the primary contrast: its kind, or `{its kind: [first method, second method]}`."""
    if required("primary", value) == PRIMARY:
        return None
    rule = f"must be {PRIMARY}, or {{{PRIMARY}: [at, sam]}} to name its two methods"
    if not isinstance(value, Mapping):
        got = f"got {shown(value)}; write for example primary: {PRIMARY}"
        raise rule_error(
            f"must be {PRIMARY}, {got}" if isinstance(value, str) else f"{rule}, {got}"
        )
    if list(value) != [PRIMARY]:
        keys = f"the keys {', '.join(map(str, list(value)[:3]))}" if value else "an empty mapping"
        raise rule_error(f"{rule}, got {keys}")
    return read_pair(value[PRIMARY])


def _not_l1(norm: object) -> object:
    """Raise the reason why an evaluation in l1, in which input sides may train, is refused."""
    if norm == "l1":
        raise rule_error(
            "must be linf or l2, got 'l1': networks may be trained in l1, but records and reports "
            "of accuracies know the other two alone"
        )
    return norm


_ATTACK_FORM = choice_form("attack", {name: form(cls) for name, cls in ATTACKS.items()})
_EVALUATION_FORM = form(
    EvaluationConfig,
    norm=Annotated[Norm, BeforeValidator(_not_l1)],
    radii=tuple[Radius, ...],
    objective_radius=Radius,
    other_norm_radii=tuple[Radius, ...],
    attack=Annotated[Any, BeforeValidator(_read_attack)],
)


_read_evaluation = partial(read_part, EvaluationConfig, _EVALUATION_FORM)


class MethodSpec(Part):
    """A weight side, an input side and a loss, any setting of which may be a grid or a range."""

    weights: Annotated[Side, BeforeValidator(partial(read_method_side, "weights"))] = Side(
        name="none"
    )
    inputs: Annotated[Side, BeforeValidator(partial(read_method_side, "inputs"))] = Side(
        name="none"
    )
    loss: Annotated[Side, BeforeValidator(partial(read_method_side, "loss"))] = Side(
        name="cross_entropy"
    )
    training: Annotated[Side, BeforeValidator(partial(read_override, "training"))] = Side(
        name="training"
    )
    """Settings of the training that this method overrides."""
    model: Annotated[Side, BeforeValidator(partial(read_override, "model"))] = Side(name="model")
    """Settings of the model that this method overrides."""
    start: Annotated[Start | None, BeforeValidator(read_start)] = None
    """What this method's trainings start from; None: as the study says."""


class ResourcesSpec(Part):
    """The resources that one trial occupies."""

    cpu: Annotated[int, Ge(1)] = 1
    gpu: Annotated[float, Ge(0), AfterValidator(_at_most_one)] = 0.0
    """One GPU, or the fraction of one that a trial takes; 0 trains on the CPU."""


class AutoAttackSpec(Part):
    """How `study evaluate` attacks the members of the fronts; no cell key depends on it."""

    samples: Annotated[int | Literal["all"], PlainValidator(_read_samples)] = "all"
    """Number of test images, from the first; if not all, the name of every number states it."""


class AnalysisSpec(Part):
    """What the analysis must know before the results are seen."""

    primary: Annotated[tuple[str, str] | None, BeforeValidator(_read_primary)] = None
    """Methods whose fronts the primary contrast compares, as in `{hypervolume_difference:
    [at, sam]}`; None, for the bare word: adversarial training against SAM."""
    clean_floor: Annotated[
        Annotated[float, Ge(0), Lt(1)] | None, BeforeValidator(partial(required, "clean_floor"))
    ] = None
    """Clean accuracy below which a configuration is of no interest; None: the chance level."""
    margin: Annotated[
        Annotated[float, Gt(0), Lt(1)] | None, BeforeValidator(partial(required, "margin"))
    ] = None
    """Differences of robust accuracy within ±margin count as equal; None: not declared."""
    clean_margin: Annotated[
        Annotated[float, Gt(0), Lt(1)] | None, BeforeValidator(partial(read_points, "clean_margin"))
    ] = None
    """Clean accuracy that may be given up for robust accuracy: 0.005 or 0.5pp; None: no claim."""
    clean_floors: Annotated[
        Annotated[tuple[Annotated[float, Ge(0), Lt(1)], ...], MinLen(1), AfterValidator(distinct)]
        | None,
        BeforeValidator(read_clean_floors),
    ] = None
    """Required clean accuracies at which methods are compared where no curve fits, such as
    [90%, 95%]; None: even steps where both methods were measured."""


class StudySpec(Part):
    """One entry of a studies file."""

    name: str
    about: str = ""
    """A sentence for people: what the study asks."""
    data: Annotated[DataConfig, BeforeValidator(read_data)]
    """The images that are trained on, validated and tested on."""
    model: Annotated[Side, BeforeValidator(partial(read_around, "model"))]
    """The network."""
    training: Annotated[Side, BeforeValidator(partial(read_around, "training"))]
    """The base optimiser and its schedule, of every method that does not override them."""
    start: Annotated[Start, BeforeValidator(read_start)] = FRESH
    """The weights that trainings start from, in place of random ones."""
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), AfterValidator(distinct)]
    """Each configuration is trained once with every seed; three are the least for a claim."""
    more_trials: Annotated[tuple[MoreTrials, ...], BeforeValidator(read_more)] = ()
    """Single configurations and seeds beyond `methods` and `seeds`."""
    methods: Annotated[Mapping[str, MethodSpec], MinLen(1), BeforeValidator(_read_methods)]
    """What is compared, by names of your choice."""
    search: Annotated[SearchSpec | None, BeforeValidator(partial(required, "search"))] = None
    """How ranges are searched; needed where a method has one."""
    evaluation: Annotated[EvaluationConfig, BeforeValidator(_read_evaluation)]
    """The threat model that trained networks are judged by."""
    autoattack: AutoAttackSpec = AutoAttackSpec()
    """What `study evaluate` does."""
    resources: ResourcesSpec = ResourcesSpec()
    """What one trial occupies."""
    budget: Annotated[BudgetSpec | None, BeforeValidator(partial(required, "budget"))] = None
    """What one launch may spend; None: whatever it takes."""
    analysis: Annotated[AnalysisSpec | None, BeforeValidator(partial(required, "analysis"))] = None
    """What is declared before the results are seen."""
    claims: Annotated[
        Annotated[tuple[ClaimSpec, ...], MinLen(1)], BeforeValidator(partial(required, "claims"))
    ] = ()
    """What the study sets out to show; the report prints a verdict on each."""


_PARTS: dict[str, type[Part]] = {
    "data": DATA_FORM,
    "model": AROUND_FORMS["model"],
    "training": AROUND_FORMS["training"],
    "search": SearchSpec,
    "evaluation": _EVALUATION_FORM,
    "autoattack": AutoAttackSpec,
    "resources": ResourcesSpec,
    "budget": BudgetSpec,
    "analysis": AnalysisSpec,
}


def name_problem(name: str) -> str:
    """Return why a study or method cannot have this name; empty if it can."""
    return "" if _NAME.fullmatch(name) else f"{_NAME_RULE}, got {shown(name)}; rename it"


def claims_of(spec: StudySpec) -> tuple[ClaimSpec, ...]:
    """Return a study's claims, with the radii and margins that they leave to the study."""
    margin = spec.analysis and spec.analysis.margin
    return tuple(
        claim.model_copy(
            update={
                "radius": claim.radius or spec.evaluation.objective_radius,
                "margin": claim.margin or margin,
            }
        )
        for claim in spec.claims
    )


def settings_of(spec: StudySpec, method: str) -> tuple[tuple[str, Setting], ...]:
    """List what decides a method's configurations, each with its dotted path.

    These are all settings of its sides, such as `weights.sam.rho`, then those of training and model
    that a list or a range chooses, such as `training.learning_rate`.
    """
    declared = spec.methods[method]
    sides = [(kind, getattr(declared, kind)) for kind in SIDES]
    own = [
        (f"{kind}.{side.name}.{name}", setting)
        for kind, side in sides
        for name, setting in side.settings
    ]
    return (*own, *swept_in(spec, method))


def all_seeds(spec: StudySpec) -> tuple[int, ...]:
    """Return the seeds of a study and of its further trials, each once."""
    more = (seed for one in spec.more_trials for seed in one.seeds or ())
    return tuple(dict.fromkeys((*spec.seeds, *more)))


def swept_in(spec: StudySpec, method: str) -> tuple[tuple[str, Setting], ...]:
    """List the settings of a method's training and model that a list or a range chooses."""
    return tuple(
        (f"{kind}.{name}", setting)
        for kind in AROUND
        for name, setting in around_of(spec, method, kind).items()
        if is_swept(setting)
    )


def around_of(spec: StudySpec, method: str, kind: str) -> dict[str, Setting]:
    """Return a method's training or model: the study's, with what the method overrides."""
    found, over = (dict(getattr(one, kind).settings) for one in (spec, spec.methods[method]))
    if over.get("name", found.get("name")) != found.get("name"):
        # Another network, and the settings of one's own are those of no other.
        is_own = isinstance(over["name"], PartName)
        found = {} if is_own else {n: found[n] for n in found if not n.startswith(SETTINGS)}
    if "optimizer" in over:  # which replaces the study's with all its settings
        found = {n: found[n] for n in found if not n.startswith(OPTIMIZER)}
    found |= over
    names = [item.name for item in fields(AROUND[kind])]
    own = [name for name in found if name not in names]
    return {name: found[name] for name in (*names, *own) if name in found}


def models_of(spec: StudySpec, method: str) -> Iterator[ModelConfig]:
    """Yield a method's networks: at each combination of lists, and at both ends of ranges."""
    settings = around_of(spec, method, "model")
    for values in itertools.product(*map(choices, settings.values())):
        yield model_config(**dict(zip(settings, values, strict=True)))


def batch_sizes_of(spec: StudySpec, method: str) -> tuple[int, ...]:
    """List a method's batch sizes; of a range, every whole number in it."""
    return tuple(map(int, each_choice(around_of(spec, method, "training")["batch_size"])))


def start_of(spec: StudySpec, method: str) -> Start:
    """Return what a method's trainings start from: its own start, or else the study's."""
    own = spec.methods[method].start
    return spec.start if own is None else own


def stop_of(spec: StudySpec, method: str) -> StopSpec | None:
    """Return by which rule a method's trainings are stopped; None if they never are."""
    if spec.search is None or spec.search.stop is None:
        return None
    is_searched = any(isinstance(setting, Range) for _, setting in settings_of(spec, method))
    return spec.search.stop if is_searched or spec.search.stop.grids else None


def fidelity_of(spec: StudySpec, method: str) -> StopSpec | None:
    """Return the rule whose fidelity a method's trainings follow; None if they have no such one."""
    stop = stop_of(spec, method)
    if stop is None or stop.fidelity is None:
        return None
    return stop if has_steps(class_of("inputs", spec.methods[method].inputs)) else None


def around_config(
    spec: StudySpec, method: str, kind: str, values: Mapping[str, Value]
) -> TrainingConfig | ModelConfig:
    """Build the trainers' training or model of a method; `values` as for `cell_config`."""
    chosen = {
        name: values.get(f"{kind}.{name}", setting)
        for name, setting in around_of(spec, method, kind).items()
    }
    # A plain list is compared and written as the tuple that it is.
    plain = {name: tuple(v) if isinstance(v, PlainList) else v for name, v in chosen.items()}
    return BUILT[kind](**plain)  # type: ignore[no-any-return]


def method_config(method: MethodSpec, values: Mapping[str, Value]) -> Method:
    """Build the trainers' method; `values` holds each setting that a list or a range chooses."""
    parts = {}
    for kind in SIDES:
        side: Side = getattr(method, kind)
        chosen = {
            name: values.get(f"{kind}.{side.name}.{name}", setting)
            for name, setting in side.settings
        }
        parts[kind] = built_side(class_of(kind, side), **chosen)
    return Method(**parts)


def cell_config(
    spec: StudySpec, method: str, values: Mapping[str, Value], seed: int
) -> TrainConfig:
    """Build the trainers' configuration of one cell.

    `values` holds each setting that a list or a range chooses, by its path in `settings_of`.
    """
    around: dict[str, Any] = {kind: around_config(spec, method, kind, values) for kind in AROUND}
    stop = fidelity_of(spec, method)
    return TrainConfig(
        data=spec.data,
        method=method_config(spec.methods[method], values),
        evaluation=spec.evaluation,
        seed=seed,
        start=start_of(spec, method).config(seed),
        fidelity="none" if stop is None else fidelity_until(stop, around["training"].epochs),
        **around,
    )


def known_keys(place: Place) -> Sequence[str]:
    """List the keys that are allowed below a place."""
    match place:
        case (_,):
            return [key for key in StudySpec.model_fields if key != "name"]
        case (_, "more_trials", _):
            return [*MoreTrials.model_fields]
        case (_, "methods", _):
            return [*SIDES, *AROUND, "start"]
        case (_, "start") | (_, "methods", _, "start"):
            return START_KEYS
        case (_, "methods", _, ("training" | "model") as kind):
            return [item.name for item in fields(AROUND[kind])]
        case (*_, "training", "optimizer", str(name)):
            return own_settings("optimizers", name)
        case (*_, "model", "settings"):
            return own_settings("networks", "")
        case (_, "methods", _, "training" | "model", *_):
            return list(Range.model_fields)
        case (_, "methods", _, str(kind)):
            return list(SIDES[kind])
        case (_, "methods", _, str(kind), str(side)):
            ours = SIDES[kind].get(side)
            return [item.name for item in fields(ours)] if ours else own_settings(kind, side)
        case (_, "methods", *_):
            return list(Range.model_fields)
        case (_, "data", "settings"):
            return own_settings("data", "")
        case (_, "data", "transform", str(transform)):
            return own_settings("transforms", transform)
        case (_, "data", "extra"):
            return list(EXTRA_FORM.model_fields)
        case (_, "claims", *_):
            return list(ClaimSpec.model_fields)
        case (_, "evaluation", "attack"):
            return list(ATTACKS)
        case (_, "evaluation", "attack", str(attack)):
            ours = ATTACKS.get(attack)
            return [item.name for item in fields(ours)] if ours else own_settings("attacks", attack)
        case (_, "training" | "model", _, *_):
            return list(Range.model_fields)
        case (_, "search", "stop"):
            return list(StopSpec.model_fields)
        case (_, "search", "stop", "fidelity"):
            return list(FidelitySpec.model_fields)
        case (_, str(part)):
            return list(_PARTS[part].model_fields)
    return []
