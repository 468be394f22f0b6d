"""The checklist of several networks as a table: how many warn and fail, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from study.records.attacks import CheckRecord

VERDICTS = ("not run", "pass", "warn", "fail")
"""From the mildest to the worst."""
SIGNS = "·: all pass; 2w: two networks warn; 1f: one network fails; -: not run"


@dataclass(frozen=True, kw_only=True)
class Checklist:
    """The checklist as it is printed."""

    legend: str
    """The names of the checklist's rows."""
    table: tuple[tuple[str, ...], ...]
    """The head, then a line for each configuration; a column for each row of the checklist."""
    remarks: tuple[str, ...]
    """Each failure, then each warning, in words; once for all seeds that share it."""


def make_checklist(networks: Iterable[tuple[str, int, Sequence[CheckRecord]]]) -> Checklist:
    """Gather the checks of networks, each with its configuration's name and its seed.

    If a row has several parts, the worst one counts.
    """
    names: dict[int, dict[str, None]] = {}
    verdicts: dict[str, dict[int, list[str]]] = {}
    seeds: dict[tuple[str, str, str], list[str]] = {}
    for configuration, seed, checks in networks:
        of_network: dict[int, str] = {}
        for check in checks:
            names.setdefault(check.number, {})[check.name] = None
            before = of_network.get(check.number, VERDICTS[0])
            of_network[check.number] = max(before, check.verdict, key=VERDICTS.index)
            if check.verdict in ("warn", "fail"):
                text = f"{check.number} {check.name}: {check.text}"
                seeds.setdefault((check.verdict, configuration, text), []).append(str(seed))
        for number, verdict in of_network.items():
            by_number = verdicts.setdefault(configuration, {})
            by_number.setdefault(number, []).append(verdict)
    numbers = sorted(names)
    told = sorted(seeds.items(), key=lambda item: -VERDICTS.index(item[0][0]))
    lines = (
        (configuration, *(_counted(by_number.get(number, ())) for number in numbers))
        for configuration, by_number in verdicts.items()
    )
    return Checklist(
        legend=", ".join(f"{number} {' / '.join(names[number])}" for number in numbers),
        table=(("", *map(str, numbers)), *lines),
        remarks=tuple(
            f"{verdict}  {configuration} seed={', '.join(of_seeds)}: {text}"
            for (verdict, configuration, text), of_seeds in told
        ),
    )


def _counted(verdicts: Sequence[str]) -> str:
    """Format how many networks warn and fail.

    >>> _counted(["pass", "warn", "warn"]), _counted(["pass", "not run"]), _counted(["not run"])
    ('2w', '·', '-')
    """
    counts = [(verdicts.count("warn"), "w"), (verdicts.count("fail"), "f")]
    said = " ".join(f"{count}{letter}" for count, letter in counts if count)
    return said or ("·" if "pass" in verdicts else "-")
