"""A step as a CUDA graph: recorded once, replayed for every batch of its size.

Launching some thousand kernels one by one takes the host longer than a GPU needs to run them; a
graph launches them all at once.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.step.batches import Draw

WARM_UPS = 3
"""Runs before the recording, in which cuDNN chooses kernels and memory is allocated."""


@functools.cache
def _pool() -> Any:
    """Return the memory that all graphs of the process share: only one runs at a time."""
    return torch.cuda.graph_pool_handle()


def captured(
    run: Callable[[Draw], None], draw: Draw, written: Sequence[Tensor]
) -> Callable[[Draw], None]:
    """Record `run` as a CUDA graph for draws of the shape of `draw`.

    `run` reads its draw and fixed tensors, writes `written` in place, and never waits for the
    device. Their contents are the same afterwards. Raises `RuntimeError` if it cannot be recorded.
    """
    fixed = Draw(*(tensor.clone() for tensor in draw))
    before = [tensor.detach().clone() for tensor in written]
    graph = torch.cuda.CUDAGraph()
    try:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                run(fixed)
        torch.cuda.current_stream().wait_stream(stream)
        here = torch.cuda.stream(torch.cuda.current_stream())  # where a failed recording ends, too
        with here, torch.cuda.graph(graph, pool=_pool()):
            run(fixed)
    finally:
        with torch.no_grad():
            for tensor, content in zip(written, before, strict=True):
                tensor.copy_(content)

    def replay(draw: Draw) -> None:
        for kept, fresh in zip(fixed, draw, strict=True):
            kept.copy_(fresh)
        graph.replay()

    return replay
