"""The fronts so far: configurations nondominated on validation, among those with all seeds done.

The networks on the fronts, one for each seed, are those that are attacked and diagnosed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.fronts.pareto import on_front
from study.plan.plan import Plan, TrialRecord, mean_objectives
from study.plan.space import Cell, Configuration

Objectives = tuple[float, float]
"""Clean and robust accuracy on validation, fractions in [0, 1]."""


def front_so_far(
    per_seed: Mapping[Configuration, Iterable[Objectives | None]],
) -> tuple[list[tuple[Configuration, Objectives]], int]:
    """Compute the nondominated configurations, with their means over seeds.

    `per_seed` has an entry for each seed, None where it is not done. Returns the members by rising
    clean accuracy, and the number of configurations with every seed done.
    """
    known = {
        configuration: mean
        for configuration, seeds in per_seed.items()
        if (mean := mean_objectives(seeds)) is not None
    }
    if not known:
        return [], 0
    marked = on_front(np.array(list(known.values())))
    members = [item for item, is_member in zip(known.items(), marked, strict=True) if is_member]
    return sorted(members, key=lambda item: item[1]), len(known)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A trained network: a cell that is done, and the trial that trained it."""

    cell: Cell
    record: TrialRecord


@dataclass(frozen=True, kw_only=True)
class Member:
    """A configuration on its method's front, with a network for each seed."""

    configuration: Configuration
    networks: tuple[Network, ...]


def find_members(plan: Plan) -> tuple[Member, ...]:
    """Return the members of each method's front, in the order of the plan's methods.

    Within a method they are sorted by rising clean accuracy. They include the study's own front:
    what is nondominated among all methods is nondominated within its method. A configuration that
    two methods share, or that a search suggested again, is listed once.
    """
    by_method: dict[str, dict[Configuration, list[Network | None]]] = {}
    for planned in plan.cells:
        network = None
        if planned.state == "done" and planned.record is not None:
            network = Network(cell=planned.cell, record=planned.record)
        seeds = by_method.setdefault(planned.cell.configuration.method, {})
        seeds.setdefault(planned.cell.configuration, []).append(network)
    members: dict[frozenset[str], Member] = {}
    for configurations in by_method.values():
        front, _ = front_so_far(
            {
                configuration: [_objectives(network) for network in networks]
                for configuration, networks in configurations.items()
            }
        )
        for configuration, _ in front:
            networks = tuple(n for n in configurations[configuration] if n is not None)
            keys = frozenset(network.cell.key for network in networks)
            members.setdefault(keys, Member(configuration=configuration, networks=networks))
    return tuple(members.values())


def count_incomplete(plan: Plan) -> int:
    """Count the configurations that lack a seed, and so cannot be members.

    Those that were stopped, or that need no more seeds, are no members by what is known.
    """
    decided = ("done", "stopped", "spared")
    lacking = {cell.cell.configuration for cell in plan.cells if cell.state not in decided}
    return len(lacking)


def _objectives(network: Network | None) -> Objectives | None:
    return None if network is None else network.record.objectives
