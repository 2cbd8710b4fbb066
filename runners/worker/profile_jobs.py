"""Jobs of a profile, and their answers. Standard library and the package only. profiling.py has the functions."""

from __future__ import annotations

from dataclasses import dataclass

from ...profiles import GraphNode, Kernel, Links, Number, OpeningPart
from ...spec import Artifact, Shapes
from .jobs import Here, Job, There


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfiledCalls:
    """Kernels of one call with their times, and the `links` of each to the graph.

    The medians and sums are those of profiles.Profiled. `graph`: name of the file with the runtime's own graph in the job's
    folder; empty without one.
    """

    kernels: tuple[Kernel, ...]
    links: tuple[Links, ...]
    calls: int
    p50_ns: Number
    profiled_p50_ns: Number
    kernels_ns: Number
    step_ns: float = 0
    graph: str = ""
    opening: tuple[OpeningPart, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Profile(Job[ProfiledCalls]):
    """Time the kernels of the open cell `key` by the runtime's profiler, in calls of their own.

    In each of `turns`, calls without and with the profiler follow each other, each for `turn_ms`. The runtime may write its own
    graph into `folder`.
    """

    key: str
    folder: There
    turns: int
    turn_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphNodes:
    """Nodes of a file, and those of the `runtime`'s own graph of it."""

    nodes: tuple[GraphNode, ...]
    runtime: tuple[GraphNode, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReadGraph(Job[GraphNodes]):
    """Read the nodes of `artifact` for inputs of `shapes`, and those of the ONNX file `runtime`."""

    artifact: Artifact
    shapes: Shapes
    runtime: Here | None = None
