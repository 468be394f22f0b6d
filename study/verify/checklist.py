"""The checklist of several networks as a table: how many warn and fail, and why. All pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from study.records.attacks import CheckRecord

VERDICTS = ("not run", "pass", "warn", "fail")
"""From the mildest to the worst."""
SIGNS = "·: all pass; 2w: two networks warn; 1f: one fails; -: not run"


@dataclass(frozen=True, kw_only=True)
class Checklist:
    """What is printed of the checklist."""

    legend: str
    """What the rows of the checklist are called."""
    table: tuple[tuple[str, ...], ...]
    """A line for each configuration, a column for each row of the checklist; the head first."""
    remarks: tuple[str, ...]
    """Each failure, then each warning, spelt out; once for the seeds that it is the same for."""


def make_checklist(networks: Iterable[tuple[str, int, Sequence[CheckRecord]]]) -> Checklist:
    """Gather the checks of networks, each with its configuration's name and its seed.

    Of a row with several parts, a network counts with the worst.
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
