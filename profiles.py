"""Kernels of a call, nodes of a graph, and the profile of a cell. Standard library only.

evidence.py joins these values to the other results about a cell. A default never changes, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

Number = float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One step of a call as the runtime runs it: its own name (`node`) and operator, and the type that it computes in.

    `type` is `fp32`, `int8` and so on; it is empty for a step that moves or converts data. `layer`: the step multiplies by
    weights or activations. `ns`: its duration in one call, None where the runtime does not report it.

    A profile has more. `low_ns`, `high_ns`: quartiles of the duration over calls. `begin_ns`: begin, counted from the first
    kernel of one call; None where the runtime gives none. `thread`: thread or stream. `nodes`: names of the nodes of the graph
    that it computes; empty where they are not known. `usual_ns`: duration in the call that has the begins. `turns_ns`:
    median of the duration in each turn, of a profile with roofs.
    """

    node: str = ""
    operator: str = ""
    type: str = ""
    layer: bool = False
    ns: Number = None
    low_ns: Number = None
    high_ns: Number = None
    begin_ns: Number = None
    thread: str = ""
    nodes: tuple[str, ...] = ()
    usual_ns: Number = None
    turns_ns: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """The kernels that run in one call."""

    kernels: tuple[Kernel, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """References of a kernel to the graph, as the runtime reports them; each may be empty.

    `covers`: names of nodes or of tensors. `reads`, `writes`: tensors, by their names in the graph or by names of the runtime,
    which connect kernels with each other alone. `scope`: path of the module that runs it, and `call` the operation there.
    """

    covers: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    scope: str | None = None
    call: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphNode:
    """A node of a graph: name, operator, and its tensors by name.

    `shapes`: shape of each output, `?` for an unknown size; `dtype`: that of the first output. `scope`: path of the PyTorch
    module that it was exported from, None without one. `call`: the operation of the module (`aten::linear`). `origin`: name of
    that operation in the traced module, which several nodes may share.

    A profile with roofs has more. `flops`: nominal operations of the multiply-adds in one call, None where they cannot be
    counted. `reads`, `writes`: bytes of each of `inputs` and `outputs` that a call moves; None where they cannot be counted.
    """

    name: str
    operator: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    dtype: str = ""
    scope: str | None = None
    call: str = ""
    origin: str = ""
    flops: int | None = None
    reads: tuple[int | None, ...] = ()
    writes: tuple[int | None, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class OpeningPart:
    """Time in ns of a part of the opening of a session, as `source` reports it: the runtime, or the clock of the worker."""

    name: str
    ns: float
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profiled:
    """Profile of a cell: its kernels, and the nodes of the file that it runs.

    `calls`: profiled calls. `p50_ns`: median of calls without the profiler, made in turns with the profiled ones, whose median
    is `profiled_p50_ns`. `kernels_ns`: median over calls of the sum of the kernels. `step_ns`: step of the runtime's clock.
    `opening`: parts of the opening of the session. `rounds`: number of the round of roofs beside each turn; empty without them.
    `turns_p50_ns`: median in each turn of the calls without the profiler.
    """

    kernels: tuple[Kernel, ...] = ()
    nodes: tuple[GraphNode, ...] = ()
    calls: int = 0
    p50_ns: Number = None
    profiled_p50_ns: Number = None
    kernels_ns: Number = None
    step_ns: float = 0
    opening: tuple[OpeningPart, ...] = ()
    rounds: tuple[int, ...] = ()
    turns_p50_ns: tuple[float, ...] = ()
