"""Stages of a pipeline: layers of a model, their time, and the cuts between them. Imports torch inside functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

from ...errors import BadInput
from ...factories import resolve
from .clock import Clock
from .jobs import Reporter
from .prepare_jobs import dataset_of
from .rank_jobs import MeasureStages, Stages
from .serve import State
from .train_job import arithmetic, import_torch, wait_for

if TYPE_CHECKING:
    import torch

TIMES = 5  # of each layer; the first two warm it up
WARM_TIMES = 2


def layers_of(torch: Any, network: Any, model: str) -> list[Any]:
    """Layers of a network that computes them one after the other. `BadInput` for another network."""
    if not isinstance(network, torch.nn.Sequential):
        raise BadInput(
            f"{model} cannot be split into stages: its module is a {type(network).__name__}, not an nn.Sequential",
            "train it with --data-parallel",
        )
    return list(network)


def measure_stages(state: State, report: Reporter, job: MeasureStages) -> Stages:
    """Time each layer, forward and backward, and cut the layers so that the slowest stage is as fast as possible."""
    torch = import_torch(job)
    layers = layers_of(torch, resolve(job.factory)().to(job.device), job.model)
    weighted = [any(True for _ in layer.parameters()) for layer in layers]
    if sum(weighted) < job.stages:
        raise BadInput(
            f"{job.model} cannot be split into {job.stages} stages: only {sum(weighted)} of its layers have weights",
            f"write --pipeline {sum(weighted)} or less",
        )
    data = dataset_of(job.data)
    x = torch.from_numpy(data.batch(data.split["train"][: job.microbatch])[0]).to(job.device)
    layer_ms = []
    for layer in layers:
        x, times = _times(torch, state.clock, layer, x, job)
        layer_ms.append(median(times[WARM_TIMES:]))
    return Stages(cuts=balanced_cuts(layer_ms, weighted, job.stages))


def _times(torch: Any, clock: Clock, layer: Any, x: torch.Tensor, job: MeasureStages) -> tuple[torch.Tensor, list[float]]:
    """Output of a layer, and its times in ms."""
    times: list[float] = []
    for _ in range(TIMES):
        given = x.detach().requires_grad_(bool(times) and x.requires_grad)
        activation = given.clone()  # a layer may write into it, which torch allows for no leaf that needs a gradient
        wait_for(job.device)
        begin = clock.now_ns()
        with arithmetic(job.device, job.precision):
            y = layer(activation)
        if y.requires_grad:
            y.backward(torch.ones_like(y))
        wait_for(job.device)
        times.append(clock.since_s(begin) * 1e3)
    return y.detach().float().requires_grad_(), times


def balanced_cuts(layer_ms: Sequence[float], weighted: Sequence[bool], stages: int) -> tuple[int, ...]:
    """Layers at which the stages after the first begin, such that the slowest stage is as fast as possible.

    Every stage has a layer with weights: an optimizer needs some.
    """

    @cache
    def best(begin: int, count: int) -> tuple[float, tuple[int, ...]]:
        if count == 1:
            return (sum(layer_ms[begin:]) if any(weighted[begin:]) else float("inf")), ()
        options = [
            (max(sum(layer_ms[begin:cut]), best(cut, count - 1)[0]), (cut, *best(cut, count - 1)[1]))
            for cut in range(begin + 1, len(layer_ms))
            if any(weighted[begin:cut])
        ]
        return min(options, default=(float("inf"), ()))

    return best(0, stages)[1]


def between(cuts: Sequence[int], rank: int, layers: int) -> slice:
    """Layers of the stage `rank`."""
    ends = (0, *cuts, layers)
    return slice(ends[rank], ends[rank + 1])
