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
    folder; empty without one. An answer of a profile that goes on is empty.
    """

    kernels: tuple[Kernel, ...] = ()
    links: tuple[Links, ...] = ()
    calls: int = 0
    p50_ns: Number = None
    profiled_p50_ns: Number = None
    kernels_ns: Number = None
    step_ns: float = 0
    graph: str = ""
    opening: tuple[OpeningPart, ...] = ()
    turns_p50_ns: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Profile(Job[ProfiledCalls]):
    """Time the kernels of the open cell `key` by the runtime's profiler, in calls of their own.

    In each of `turns`, calls without and with the profiler follow each other, each for `turn_ms`. The runtime may write its own
    graph into `folder`. `goes_on`: another job of the same cell continues the profile, so other work can be done between two
    turns. The kernels of a profile in several jobs have their times by turn.
    """

    key: str
    folder: There
    turns: int
    turn_ms: float
    goes_on: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphNodes:
    """Nodes of a file, and those of the `runtime`'s own graph of it."""

    nodes: tuple[GraphNode, ...]
    runtime: tuple[GraphNode, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReadGraph(Job[GraphNodes]):
    """Read the nodes of `artifact` for inputs of `shapes`, and those of the ONNX file `runtime`.

    `work`: also count the operations and bytes of each node.
    """

    artifact: Artifact
    shapes: Shapes
    runtime: Here | None = None
    work: bool = False
