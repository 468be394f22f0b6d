"""The front so far: the nondominated configurations on validation, of those with all seeds."""

from collections.abc import Iterable, Mapping

import numpy as np

from analysis.front import comparable, nondominated
from study.plan import mean_objectives
from study.space import Configuration

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
