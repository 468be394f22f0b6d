"""The networks that are attacked and diagnosed: the configurations on the fronts, all seeds."""

from dataclasses import dataclass

from study.plan import Plan, TrialRecord
from study.space import Cell, Configuration
from study.standing import Objectives, front_so_far


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
