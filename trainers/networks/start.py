"""Starting a network from weights that another training left, ours or a published one.

Names are matched as far as wrappers differ: `module.conv1.weight` is `1.conv1.weight` of a network
behind our normalisation. A last layer for another number of classes stays as the seed drew it.
"""

import io
import itertools
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainers.config import ConfigError
from trainers.networks.layers import Normalise

WRAPPERS = ("", "module.", "_orig_mod.", "model.", "backbone.", "net.", "network.", "0.", "1.")
"""Prefixes that a wrapper puts before each name: of data parallelism, torch.compile, ours."""
NESTED = ("weights", "state_dict", "model_state_dict", "model", "net", "state")
"""Keys below which files of whole trainings hold a network's tensors; the first is ours."""
SAFE_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
MOST_NAMED = 3
"""Tensors that a message names; the others are counted."""


def read_weights(content: bytes, name: str) -> dict[str, Tensor]:
    """Read the tensors of a file, by name; no code of the file is run. `name`: of the file.

    The file has the safetensors format, or is one that `torch.load` reads with `weights_only`: a
    `state_dict`, or a mapping that holds one. Raises `ConfigError`.
    """
    try:
        if name.endswith(".safetensors"):
            found: Any = _read_safetensors(content)
        else:
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different kind for every kind of damage
        reason = " ".join(str(error).split())[:120]
        rule = f"must be safetensors, or a file that torch.load reads with weights_only ({reason})"
        raise ConfigError("start", rule, name) from error
    for _ in NESTED:
        inner = [found[key] for key in NESTED if isinstance(found, dict) and key in found]
        if not inner or not isinstance(inner[0], dict):
            break
        found = inner[0]
    tensors = found if isinstance(found, dict) else {}
    tensors = {str(key): item for key, item in tensors.items() if isinstance(item, Tensor)}
    if not tensors:
        raise ConfigError("start", "must hold the tensors of a network by their names", name)
    return tensors


def _read_safetensors(content: bytes) -> dict[str, Tensor]:
    """Read the safetensors format: a length, a JSON header with places, then the numbers."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    body = memoryview(content)[8 + length :]
    tensors = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        kind, shape = SAFE_TYPES[entry["dtype"]], entry["shape"]
        size = math.prod(shape) * torch.empty((), dtype=kind).element_size()
        if not 0 <= begin <= end <= len(body) or end - begin != size:
            raise ValueError(f"{key} lies outside the file")
        # A copy, as a tensor of no numbers has no buffer, and bytes must not be written to.
        numbers = bytearray(body[begin:end])
        tensors[key] = (
            torch.frombuffer(numbers, dtype=kind).view(shape)
            if size
            else torch.empty(shape, dtype=kind)
        )
    return tensors


def start_from(model: nn.Module, weights: Mapping[str, Tensor], name: str) -> str:
    """Write weights into a network, and return in words what was used and what was not.

    The last linear layer keeps what the seed drew where the file has none, or one for another
    number of classes. The input normalisation is the file's if it has one. `name`: of the file, for
    errors. Raises `ConfigError` if another tensor is missing, has another shape, or is not finite.
    """
    ours = dict(model.state_dict())
    given = _renamed(ours, weights)
    head = _head(model)
    is_fresh = any(n not in given or given[n].shape[:1] != ours[n].shape[:1] for n in head)
    optional = {n for n in ours if n.endswith("num_batches_tracked")} | _normalisation(model)
    if is_fresh:
        optional |= set(head)
        given = {key: tensor for key, tensor in given.items() if key not in head}
    missing = [n for n in ours if n not in given and n not in optional]
    misfit = [n for n in ours if n in given and given[n].shape != ours[n].shape]
    _refuse(ours, given, missing, misfit, name)
    with torch.no_grad():
        for key, tensor in given.items():
            if key in ours:
                ours[key].copy_(tensor)
    told = "all but the last layer, which is fresh" if is_fresh else "all layers"
    unused = [key for key in given if key not in ours]
    return f"{told}; unused: {_listed(unused)}" if unused else told


def _refuse(
    ours: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    missing: Sequence[str],
    misfit: Sequence[str],
    name: str,
) -> None:
    """Raise `ConfigError` for weights that are not of this network, with the names that differ."""
    found = []
    if missing:
        found.append(f"lacks {_listed(missing)}")
    if misfit:
        first = misfit[0]
        shapes = f"{_shape(given[first])}, here {_shape(ours[first])}"
        found.append(f"has another shape of {_listed(misfit)} ({first}: {shapes})")
    unused = [key for key in given if key not in ours]
    if found and unused:
        found.append(f"has besides {_listed(unused)}")
    if found:
        rule = f"must hold the weights of this network, but {', '.join(found)}; choose its network"
        raise ConfigError("start", rule, name)
    if not all(bool(tensor.isfinite().all()) for key, tensor in given.items() if key in ours):
        raise ConfigError("start", "must hold finite weights", name)


def _renamed(ours: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the names that fit a network best, without and with wrappers."""

    def fitting(named: Mapping[str, Tensor]) -> int:
        return sum(n in ours and ours[n].shape == t.shape for n, t in named.items())

    added = sorted({"", *(key.partition(".")[0] + "." for key in ours)})
    best = dict(weights)
    # The plain names come first, and another pair has to fit better.
    for outer, inner, before in itertools.product(WRAPPERS, WRAPPERS, added):
        named = {
            before + key.removeprefix(outer).removeprefix(inner): tensor
            for key, tensor in weights.items()
        }
        if fitting(named) > fitting(best):
            best = named
    return best


def _head(model: nn.Module) -> list[str]:
    """Return the names of the weights of the last linear layer."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    last = [(name, model.get_submodule(name)) for name in linear[-1:]]
    return [f"{name}.{part}" for name, module in last for part, _ in module.named_parameters()]


def _normalisation(model: nn.Module) -> set[str]:
    """Return the names of the means and deviations that the network subtracts and divides by."""
    layers = [name for name, module in model.named_modules() if isinstance(module, Normalise)]
    return {f"{name}.{part}" for name in layers for part in ("mean", "std")}


def _listed(names: Sequence[str]) -> str:
    """Format names: `2 tensors (a, b)`."""
    shown = ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({shown})"


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"
