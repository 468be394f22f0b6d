"""The networks that are attacked and diagnosed: the configurations on the fronts, all seeds.

The front so far: the nondominated configurations on validation, of those with all seeds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.fronts.pareto import comparable, nondominated
from study.plan.plan import Plan, TrialRecord, mean_objectives
from study.plan.space import Cell, Configuration

Objectives = tuple[float, float]


def front_so_far(
    per_seed: Mapping[Configuration, Iterable[Objectives | None]],
) -> tuple[list[tuple[Configuration, Objectives]], int]:
    """Give the nondominated configurations by rising clean accuracy, with means over seeds.

    `per_seed` has an entry for each seed, None where it is not in. Returns the members, and the
    number of configurations with every seed in.
    """
    known = {
        configuration: mean
        for configuration, seeds in per_seed.items()
        if (mean := mean_objectives(seeds)) is not None
    }
    if not known:
        return [], 0
    on_front = nondominated(comparable(np.array(list(known.values()))))
    members = [item for item, is_member in zip(known.items(), on_front, strict=True) if is_member]
    return sorted(members, key=lambda item: item[1]), len(known)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A trained network: a cell that is done, and the trial that did it."""

    cell: Cell
    record: TrialRecord


@dataclass(frozen=True, kw_only=True)
class Member:
    """A configuration on its method's front, with a network for each seed."""

    configuration: Configuration
    networks: tuple[Network, ...]


def find_members(plan: Plan) -> tuple[Member, ...]:
    """Give each method's nondominated configurations on validation, of those with all seeds done.

    What is nondominated among all methods is so within its own, so the study's front is among them.
    In the order of the plan's methods, by rising clean accuracy. A configuration that two methods
    share, or a search suggested again, is there once.
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
    """Count the configurations that lack a seed, and so cannot be members."""
    lacking = {cell.cell.configuration for cell in plan.cells if cell.state != "done"}
    return len(lacking)


def _objectives(network: Network | None) -> Objectives | None:
    return None if network is None else network.record.objectives
