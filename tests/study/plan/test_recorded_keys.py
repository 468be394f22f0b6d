"""Keys of the studies that users have recorded, and which of them a loss's own numerics change."""

import hashlib
from pathlib import Path

import pytest

from study.plan import space
from study.plan.cost import shape_key
from study.spec import StudySpec, read_studies
from trainers.config import LOSS_NUMERICS, NUMERICS_VERSION, Mart, Trades

STUDIES = Path(__file__).parents[3] / "studies.yaml"
DATA = "data"
KEPT = {
    "digits/standard": "00532b0541d5d0c0",
    "digits/sam": "f9770552363cf3e4",
    "digits/at": "59a8f1c4e98d3d94",
    "digits/sam_at": "78e4e18a3f6e3b8d",
    "cifar10_small/standard": "04da8ba3b25b13bc",
    "cifar10_small/sam": "1c8b1d339faa8bef",
    "cifar10_small/at": "d3346402b36fe339",
    "cifar10/at_awp": "f40bca287790964a",
}
CHANGED = {
    "cifar10/trades": "5737c2f892535887",
    "cifar10/trades_awp": "b62d757acdf2a51d",
    "cifar10_fast/mart": "3be0636e72380d4d",
}
"""Of a study's method, the first half of a hash of its keys, cells before search blocks. Recorded
at numerics 2, before any loss had its own. Another value loses every result that users have, so
record another one only for another study, or with another version of the numerics."""


@pytest.fixture(scope="module")
def studies() -> dict[str, StudySpec]:
    return dict(read_studies(STUDIES))


def digest(spec: StudySpec, method: str) -> str:
    grid = [one for one in space.grid_configurations(spec) if one.method == method]
    keys = [cell.key for one in grid for cell in space.cells(spec, one, DATA)]
    keys += [block.key for block in space.search_blocks(spec, DATA) if block.method == method]
    return hashlib.sha256("".join(keys).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", KEPT)
def test_keys_of_recorded_studies_are_what_they_were(
    studies: dict[str, StudySpec], name: str
) -> None:
    study, _, method = name.partition("/")
    assert digest(studies[study], method) == KEPT[name]


@pytest.mark.parametrize("name", CHANGED)
def test_cells_of_a_loss_with_numerics_of_its_own_have_other_keys(
    studies: dict[str, StudySpec], name: str
) -> None:
    """Their records are of other numbers, as they have another shape and teach no block."""
    study, _, method = name.partition("/")
    spec = studies[study]
    assert digest(spec, method) != CHANGED[name]
    one = next(one for one in space.grid_configurations(spec) if one.method == method)
    config = space.train_config(spec, one, 0)
    assert isinstance(config.method.loss, Trades | Mart)
    now = space.canonical(config, DATA)
    before = now | {"numerics": NUMERICS_VERSION}
    assert shape_key(now) != shape_key(before)
    assert now == before | {"numerics": f"{NUMERICS_VERSION}.1"}


def test_the_version_of_a_loss_is_in_the_keys_of_no_other(
    studies: dict[str, StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = studies["cifar10"]
    names = ("standard", "at_awp", "trades")
    before = {name: digest(spec, name) for name in names}
    monkeypatch.setitem(LOSS_NUMERICS, Trades, LOSS_NUMERICS[Trades] + 1)
    after = {name: digest(spec, name) for name in names}
    assert [name for name in names if after[name] != before[name]] == ["trades"]
