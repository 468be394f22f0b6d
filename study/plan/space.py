"""From a study to what it runs: configurations, cells, keys, search blocks. All functions are pure.

Methods, lists and seeds keep the order of the studies file; sides and their settings have the order
of the trainers. Swapping keys within a method therefore changes nothing.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, get_args, get_type_hints

from study.spec import (
    AROUND,
    SIDES,
    Range,
    StudySpec,
    Value,
    cell_config,
    settings_of,
    start_of,
)
from study.spec.own import keys_of
from study.spec.settings import choices, is_grid, members_of
from study.spec.start import NOT_FOUND, configuration_values
from trainers.config import (
    ATTACKS,
    LOSS_NUMERICS,
    NUMERICS_VERSION,
    Asam,
    Awp,
    DataConfig,
    FgsmRs,
    Gsam,
    Mart,
    Method,
    NFgsm,
    Pgd,
    Trades,
    TrainConfig,
    TrainingConfig,
)
from trainers.config.own import NO_SETTINGS, Own
from trainers.config.parts import source_of

Values = tuple[tuple[str, Value], ...]
"""Chosen values by dotted path, such as `weights.sam.rho` below the method, or
`training.learning_rate`."""

_NAMES = {cls: name for classes in (*SIDES.values(), ATTACKS) for name, cls in classes.items()}
_ALWAYS_KEYED = {
    Asam: ("eta",),
    Awp: ("warmup_epochs",),
    FgsmRs: ("step_size", "warmup_epochs"),
    Gsam: ("rho_min", "alpha"),
    Mart: ("beta",),
    NFgsm: ("step_size", "noise_scale", "warmup_epochs"),
    Pgd: ("step_size",),
    Trades: ("beta",),
    TrainingConfig: ("precision",),
}
"""Settings whose default is in the keys of recorded cells. The table is closed: every other setting
is in a key only where it differs from its default, so that a new one changes no recorded key."""
_PLACEHOLDER = None
"""Stands in a search block's template for the seed and for each searched value."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A method with all its values; no seed."""

    method: str
    """Its name in the study."""
    values: Values
    """The values chosen from lists and ranges, lists first; fixed settings are not repeated."""
    block: str = ""
    """Key of the search block that it was suggested in; empty for a grid configuration."""
    number: int = -1
    """Number of the suggestion within its block; -1 for a grid configuration."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One configuration with one seed; `key` names everything that decides its numbers."""

    key: str
    configuration: Configuration
    seed: int
    config: TrainConfig


@dataclass(frozen=True, kw_only=True)
class Block:
    """A search block: a method with ranges at one combination of its lists."""

    key: str
    """A hash of everything but the seed and the searched values, and so the same in every study
    and for every width of the ranges."""
    training_key: str
    """Like `key`, but a hash of only what decides the weights: the same under every evaluation."""
    method: str
    fixed: Values
    """The values chosen from the lists, the same for every suggestion."""
    ranges: tuple[tuple[str, Range], ...]


def grid_configurations(spec: StudySpec) -> tuple[Configuration, ...]:
    """List every configuration of the methods without ranges."""
    return tuple(
        Configuration(method=name, values=values)
        for name in spec.methods
        if not _ranges(spec, name)
        for values in _grid(spec, name)
    )


def more_trials(spec: StudySpec) -> tuple[tuple[Configuration, tuple[int, ...]], ...]:
    """List the declared further trials, as configurations with seeds.

    A configuration that a list has, too, is the same one. Its seeds may be known already, or be
    listed again.
    """
    listed = {(made.method, made.values): made for made in grid_configurations(spec)}
    found = []
    for one in spec.more_trials:
        values = configuration_values(settings_of(spec, one.method), one.values)
        assert not isinstance(values, str), "the values were checked when the study was read"
        made = Configuration(method=one.method, values=values)
        grid = listed.get((made.method, made.values))
        found.append((grid or made, one.seeds or spec.seeds))
    return tuple(found)


def search_blocks(spec: StudySpec, fingerprint: str) -> tuple[Block, ...]:
    """List the search blocks of a study; `fingerprint` is the data set's."""
    return tuple(
        _block(spec, name, values, ranges, fingerprint)
        for name in spec.methods
        if (ranges := _ranges(spec, name))
        for values in _grid(spec, name)
    )


def suggested(block: Block, chosen: Mapping[str, Value], number: int) -> Configuration:
    """Build the configuration of a suggestion, from a value for each of the block's ranges."""
    searched = tuple(
        (path, int(chosen[path]) if limits.is_integer else float(chosen[path]))
        for path, limits in block.ranges
    )
    values = (*block.fixed, *searched)
    return Configuration(method=block.method, values=values, block=block.key, number=number)


def cells(
    spec: StudySpec,
    configuration: Configuration,
    fingerprint: str,
    seeds: Sequence[int] | None = None,
) -> tuple[Cell, ...]:
    """Build a configuration's cells, one for each of these seeds, by default the study's."""
    run = spec.seeds if seeds is None else seeds
    first = train_config(spec, configuration, run[0])
    recorded = canonical(first, fingerprint) if first.start == "none" else None
    found = []
    for seed in run:
        # Seeds differ in the seed alone, and in the weights that they start from.
        start = start_of(spec, configuration.method).config(seed)
        config = replace(first, seed=seed, start=start)
        key = _digest({**recorded, "seed": seed}) if recorded else cell_key(config, fingerprint)
        found.append(Cell(key=key, configuration=configuration, seed=seed, config=config))
    return tuple(found)


def train_config(spec: StudySpec, configuration: Configuration, seed: int) -> TrainConfig:
    """Build the trainers' configuration of one cell."""
    return cell_config(spec, configuration.method, dict(configuration.values), seed)


def cell_key(config: TrainConfig, fingerprint: str) -> str:
    """Compute a cell's key: the SHA-256 of its canonical JSON."""
    assert config.start != NOT_FOUND, "the weights to start from were not looked for"
    return _digest(canonical(config, fingerprint))


def canonical(config: TrainConfig, fingerprint: str) -> dict[str, Any]:
    """Return everything that decides a cell's numbers, as JSON would hold it.

    The data set is its fingerprint, not its name or path. Numbers have the type of their field, so
    that 0 and 0.0 are one. The names of study and method are left out. So is a setting at its
    default, unless `_ALWAYS_KEYED` has it: whoever changes a default changes what recorded keys
    mean, and has to raise `NUMERICS_VERSION`. The version of the loss follows a dot, as in 2.1.
    """
    plain = _plain(config)
    # Every trial records both checkpoints, so which of them a study reads decides no number.
    plain["evaluation"].pop("checkpoint", None)
    loss = type(config.method.loss)
    # For a loss without a version this is a whole number, as in keys recorded before.
    versioned = f"{NUMERICS_VERSION}.{LOSS_NUMERICS[loss]}" if loss in LOSS_NUMERICS else None
    numerics = versioned or NUMERICS_VERSION
    return {**plain, **_own_of_data(config.data), "data": fingerprint, "numerics": numerics}


def _own_of_data(data: DataConfig) -> dict[str, Any]:
    """Return what decides a cell's numbers of data of one's own, beside its content."""
    found: dict[str, Any] = {}
    if data.is_own:  # its settings decide nothing but the content
        found["data_part"] = {data.name: {"source": source_of(data.settings.part)}}
    if data.transform != NO_SETTINGS:
        found["transform"] = _plain_field(data.transform, Own)
    return found


def training_key(recorded: Mapping[str, Any]) -> str:
    """Compute the hash of what decides a cell's weights: all its settings but the evaluation.

    The per-epoch validation, which the evaluation decides, changes no weight. It does decide which
    epoch is the best one.
    """
    return _digest(_training_part(recorded))


def origin(recorded: Mapping[str, Any], checkpoint: str) -> str:
    """Compute the hash of what decides a trial's checkpoint besides its seed.

    The norm and the objective radius decide which epoch is the best one.
    """
    decisive = [recorded["evaluation"][name] for name in ("norm", "objective_radius")]
    best = {"best": decisive} if checkpoint == "best" else {}
    return _template_digest({**_training_part(recorded), **best}, ())


def configuration_key(method: str, recorded: Mapping[str, Any]) -> str:
    """Compute the hash of a configuration: of a method's name and of all that its seeds share.

    `recorded` is the canonical form of the cell of any of its seeds.
    """
    return _digest({"method": method, "configuration": _template_digest(recorded, ())})


def _training_part(recorded: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recorded.items() if name != "evaluation"}


def side_names(method: Method) -> dict[str, str]:
    """Return the names of a method's two sides and loss: `{"weights": "sam", ...}`."""
    return {item.name: _name(getattr(method, item.name)) or "" for item in fields(Method)}


def taught_values(block: Block, recorded: Mapping[str, Any]) -> dict[str, Value] | None:
    """Return a recorded cell's values at the block's ranges, None if the block cannot suggest it.

    `recorded` is the cell's canonical form. Everything but the seed and the searched values must
    equal the block's, and the searched values must lie in the ranges.
    """
    values = trained_values(block, recorded)
    if values is None or _template_digest(recorded, tuple(values)) != block.key:
        return None
    return values


def trained_values(block: Block, recorded: Mapping[str, Any]) -> dict[str, Value] | None:
    """Return the same as `taught_values`, but accept a cell under any evaluation."""
    values = {path: _at(recorded, path) for path, _ in block.ranges}
    if any(not contains(limits, values[path]) for path, limits in block.ranges):
        return None
    if _template_digest(_training_part(recorded), tuple(values)) != block.training_key:
        return None
    return values


def contains(limits: Range, value: object) -> bool:
    """Return whether `value` lies in the range and has its type."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (limits.is_integer and not isinstance(value, int)):
        return False
    return limits.low <= value <= limits.high  # type: ignore[operator]


def num_points(block: Block) -> int | None:
    """Count the points of a block; None where a range is continuous."""
    if not all(limits.is_integer for _, limits in block.ranges):
        return None
    return math.prod(int(limits.high - limits.low) + 1 for _, limits in block.ranges)


def points(block: Block) -> Iterator[dict[str, Value]]:
    """Return every point of a block, lowest first. All its ranges must be of whole numbers."""
    paths = [path for path, _ in block.ranges]
    spans = [range(int(limits.low), int(limits.high) + 1) for _, limits in block.ranges]
    return (dict(zip(paths, point, strict=True)) for point in itertools.product(*spans))


def short_values(spec: StudySpec, configuration: Configuration) -> dict[str, Value]:
    """Return a configuration's values under the shortest distinct names: `{"rho": 0.1}`."""
    paths = [path for path, _ in settings_of(spec, configuration.method)]
    return {short_name(path, paths): value for path, value in configuration.values}


def short_name(path: str, paths: Iterable[str]) -> str:
    """Return the shortest ending of a dotted path, in whole words, that no other path shares.

    >>> short_name("weights.sam.rho", ["weights.sam.rho", "inputs.pgd.steps"])
    'rho'
    """
    words = path.split(".")
    others = [other.split(".") for other in paths if other != path]
    lengths = range(1, len(words) + 1)
    length = next(n for n in lengths if all(words[-n:] != other[-n:] for other in others))
    return ".".join(words[-length:])


def _grid(spec: StudySpec, method: str) -> Iterator[Values]:
    """Yield every combination of a method's lists."""
    lists = [(p, s) for p, s in settings_of(spec, method) if is_grid(s)]
    paths = [path for path, _ in lists]
    for values in itertools.product(*(choices(setting) for _, setting in lists)):
        yield tuple(zip(paths, values, strict=True))


def _ranges(spec: StudySpec, method: str) -> tuple[tuple[str, Range], ...]:
    settings = settings_of(spec, method)
    return tuple((path, setting) for path, setting in settings if isinstance(setting, Range))


def _block(
    spec: StudySpec,
    method: str,
    fixed: Values,
    ranges: tuple[tuple[str, Range], ...],
    fingerprint: str,
) -> Block:
    corner = dict(fixed) | {path: limits.low for path, limits in ranges}
    recorded = canonical(cell_config(spec, method, corner, spec.seeds[0]), fingerprint)
    searched = tuple(path for path, _ in ranges)
    return Block(
        key=_template_digest(recorded, searched),
        training_key=_template_digest(_training_part(recorded), searched),
        method=method,
        fixed=fixed,
        ranges=ranges,
    )


def _template_digest(recorded: Mapping[str, Any], searched: tuple[str, ...]) -> str:
    """Compute the hash of a canonical form without its seed and searched values."""
    # JSON copies what is nested, and turns tuples into lists, as they are in a record.
    template = json.loads(_as_json(recorded)) | {"seed": _PLACEHOLDER}
    if "start" in template:  # the weights of another seed's trial are of the same origin
        template["start"]["weights"] = _PLACEHOLDER
    for path in searched:
        *above, name = _steps(path)
        inner = template
        for step in above:
            inner = inner[step]
        inner[name] = _PLACEHOLDER
    return _digest(template)


def _at(recorded: Mapping[str, Any], path: str) -> Any:
    """Return a canonical form's value at a path; None if it has no such side or setting."""
    *above, name = _steps(path)
    inner: Any = recorded
    for step in above:
        inner = inner.get(step) if isinstance(inner, Mapping) else None
    if not isinstance(inner, Mapping):
        return None
    if name in inner:
        return inner[name]
    kind, *rest = [step for step in above if step != "method"]
    cls = AROUND[kind] if kind in AROUND else SIDES[kind].get(rest[0])
    # An own part's settings have no defaults here, as they are all in its keys.
    defaults = {item.name: item.default for item in fields(cls)} if cls else {}
    return defaults.get(name)


def _steps(path: str) -> list[str]:
    """Return the keys from a canonical form to the setting at a path.

    The name of an own part in it may have dots, too.
    """
    kind, _, rest = path.partition(".")
    if kind in AROUND:
        return [kind, *keys_of(rest)]
    side, _, name = rest.rpartition(".")
    return ["method", kind, side, name]


def _name(value: Any) -> str | None:
    """Return the name of a side, an attack or an own optimiser, None for anything else."""
    if isinstance(value, Own):
        is_settings = value == NO_SETTINGS or value.part.kind == "networks"
        return None if is_settings else value.part.name
    return _NAMES.get(type(value))


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(_as_json(value).encode()).hexdigest()


def _as_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    """Convert a trainers' dataclass to plain values; a choice of sides becomes `{name: fields}`."""
    cls: Any = type(value)
    is_own = isinstance(value, Own)
    plain: dict[str, Any] = {"source": source_of(value.part)} if is_own else {}
    for item in fields(value):
        content = getattr(value, item.name)
        # The sides are always kept: `none` is a choice like any other. So are settings of own
        # parts, whose defaults may change.
        is_kept = _name(content) is not None or (is_own and item.name in value.settings)
        if content != item.default or is_kept or item.name in _ALWAYS_KEYED.get(cls, ()):
            plain[item.name] = _plain_field(content, _hints(cls)[item.name])
    return plain


def _plain_field(value: Any, hint: Any) -> Any:
    if (name := _name(value)) is not None:
        return {name: _plain(value)}
    if hasattr(type(value), "__dataclass_fields__"):
        return _plain(value)
    if isinstance(value, tuple):
        return [_plain_field(item, get_args(hint)[0]) for item in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and float in members_of(hint):
        return float(value) + 0.0  # which makes -0.0 the 0.0 that it equals
    return value


@cache  # resolving a class's annotations takes longer than all the rest of a key
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)
