"""Sources: a configuration's declaration alone trains the very cells that its numbers come from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from study.plan import space
from study.report.sources import declared_text
from study.spec import StudySpec, read_studies

Read = Callable[..., StudySpec]
FINGERPRINT = "digits-b855613c"
FULL = """\
whole:
  data: {name: digits, samples: 500}
  model: {name: small_cnn, width: [2, 4]}
  training: {epochs: 3, batch_size: 250, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: step}
  seeds: [0, 3]
  methods:
    trades: {inputs: {pgd: {norm: linf, epsilon: 8/255, steps: 2, step_size: 2/255}},
             loss: {trades: {beta: [1, 6]}}}
    awp: {weights: {awp: {gamma: 0.01}}, inputs: {pgd: {norm: l2, epsilon: 0.5, steps: 1}},
          training: {epochs: 2}}
  evaluation: {norm: linf, radii: [0.05, 0.1], objective_radius: 0.1, checkpoint: last,
               other_norm_radii: [0.5], attack: {pgd: {steps: 1, restarts: 1}}}
"""


def configurations(spec: StudySpec) -> list[space.Configuration]:
    found = list(space.grid_configurations(spec))
    for block in space.search_blocks(spec, FINGERPRINT):
        chosen = {path: 0.1234567890123 for path, _ in block.ranges}
        found.append(space.suggested(block, chosen, 0))
    return found


@pytest.mark.parametrize("text", [None, FULL], ids=["a search", "every part"])
def test_a_declaration_alone_has_the_cells_of_its_configuration(
    read: Read, tmp_path: Path, text: str | None
) -> None:
    spec = read() if text is None else read(text=text)
    found = configurations(spec)
    assert len(found) > 3
    for one in found:
        cells = space.cells(spec, one, FINGERPRINT)
        file = tmp_path / "one.yaml"
        file.write_text(declared_text(spec, cells[0], spec.seeds), encoding="utf-8")
        alone = read_studies(file)["one"]
        (again,) = space.grid_configurations(alone)
        assert again.method == one.method
        assert [c.key for c in space.cells(alone, again, FINGERPRINT)] == [c.key for c in cells]
