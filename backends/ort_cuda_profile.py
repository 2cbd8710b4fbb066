"""Profile of a session of ONNX Runtime on a GPU: times of the kernels that each node starts. Imports torch, inside functions.

ONNX Runtime's own profile times the start of a kernel, since its nodes return before the GPU is done. There are two sources of
the times of the kernels:

- ONNX Runtime built with CUDA profiling, as conda-forge's package is, writes the kernels into its profile. `parent_name` is the
  event of the node. The wheels of PyPI are built without it.
- torch.profiler records all kernels of the process through CUPTI, those of ONNX Runtime too. A kernel has the correlation of
  the call of CUDA that started it, which lies within the time of its node in ONNX Runtime's profile. Both have the clock of the
  system: the profile counts from get_profiling_start_time_ns, and torch in ns since 1970.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RuntimeFailed, Unsupported, quantity
from ..evidence import Kernel
from .ort_profile import GRAPH, Event, TimedNode, own_times, record, run_begins
from .profiling import Recorded, SessionProfiler
from .protocol import Session

NO_TIMES = (
    "this build of ONNX Runtime times the start of a CUDA kernel and not the kernel; PyTorch with CUDA, whose profiler times"
    " the kernels, is not in its environment"
)
SLACK_US = 2.0  # the profile has whole microseconds, and cuts them
LEAST_INSIDE = 0.9
"""Share of the starts of kernels that must lie within the time of a node. Below it, the two clocks do not agree."""


class KernelStart(NamedTuple):
    """A kernel or copy on the GPU: the begin of the call of CUDA that started it, its own begin, and its time, all in ns."""

    launch_ns: int
    begin_ns: int
    ns: int


class OrtCudaProfiler(SessionProfiler):
    """A session that launches kernels and writes ONNX Runtime's profile when `profiled`, its InferenceSession, ends.

    `provider`: the execution provider whose nodes run on the GPU. `executed`: type of the arithmetic of the session.
    """

    most_calls = 20  # each call has several events for each kernel

    def __init__(self, session: Session, profiled: Any, provider: str, executed: str) -> None:
        self.session, self._profiled, self._provider, self._executed = session, profiled, provider, executed
        self._torch, self._launches, self._count = _torch_with_cuda(), list[KernelStart](), 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        if self._torch is None:
            yield
            return
        kinds = self._torch.profiler.ProfilerActivity
        with self._torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA]) as profiled:
            yield
        self._launches += launches_of(profiled.profiler.kineto_results.events())

    def collect(self) -> None:
        self._count += 1

    def read(self) -> Recorded:
        begin_ns = int(self._profiled.get_profiling_start_time_ns())
        path = Path(self._profiled.end_profiling())
        launches = [KernelStart(each.launch_ns - begin_ns, each.begin_ns - begin_ns, each.ns) for each in self._launches]
        recorded = record(path, GRAPH, lambda events, nodes: node_times(events, nodes, launches, self._provider))
        marked = mark_tf32((kernel for kernel, _ in recorded.kernels), self._executed)
        return replace(
            recorded,
            kernels=list(zip(marked, (links for _, links in recorded.kernels))),
            # before the first of these calls, the session ran to learn the shapes of its outputs
            calls=recorded.calls[len(recorded.calls) - self._count :],
            step_ns=0 if launches else recorded.step_ns,
        )


def mark_tf32(kernels: Iterable[Kernel], executed: str) -> tuple[Kernel, ...]:
    """Give FP32 kernels the type `tf32` in a session that computes in TF32: the profile says `float` for both."""
    return tuple(replace(item, type="tf32") if (executed, item.type) == ("tf32", "fp32") else item for item in kernels)


def _torch_with_cuda() -> Any:
    """The module torch, if it can time kernels of this GPU; else None."""
    with suppress(Exception):  # it may be missing, or not fit the driver
        import torch

        if torch.cuda.is_available() and torch.profiler.ProfilerActivity.CUDA in torch.profiler.supported_activities():
            return torch
    return None


def launches_of(events: Iterable[Any]) -> list[KernelStart]:
    """Kernels and copies among the `events` of torch.profiler's Kineto, each with its start."""
    starts: dict[int, int] = {}
    on_device = []
    for event in events:
        if event.device_type().name != "CPU":
            on_device.append(event)
        elif event.name().startswith("cu"):  # cudaLaunchKernel, cuLaunchKernelEx, cudaMemcpyAsync, ...
            starts[event.correlation_id()] = event.start_ns()
    return [
        KernelStart(starts[event.correlation_id()], event.start_ns(), event.duration_ns())
        for event in on_device
        if event.correlation_id() in starts
    ]


def node_times(
    events: Sequence[Event], nodes: Sequence[Event], launches: Sequence[KernelStart], provider: str
) -> Iterator[TimedNode]:
    """Time of each node: that of its kernels for a node on `provider`, 0 without a kernel, and its own for any other.

    `launches` count from the begin of the profile. `Unsupported` without the times of any kernel.
    """
    ordered = sorted(nodes, key=lambda event: int(event["ts"]))
    kernels = list(_of_trace(events, ordered)) or list(_of_launches(launches, ordered))
    if not kernels:
        raise Unsupported(NO_TIMES)
    times: dict[int, float] = {}
    begins: dict[int, float] = {}
    for place, us, begin_us in kernels:
        times[place] = times.get(place, 0.0) + us
        begins[place] = min(begin_us, begins.get(place, begin_us))
    yield from own_times([event for event in ordered if event["args"].get("provider") != provider])
    for place, event in enumerate(ordered):
        if event["args"].get("provider") == provider:
            yield TimedNode(event, times.get(place, 0.0), begins.get(place, float(event["ts"])))


def _of_trace(events: Sequence[Event], nodes: Sequence[Event]) -> Iterator[tuple[int, float, float]]:
    """Place of the node, time and begin in us of each kernel in ONNX Runtime's own profile. A call ends before the next one."""
    begins = run_begins(events)
    place_of = {(bisect_right(begins, int(node["ts"])), str(node["name"])): place for place, node in enumerate(nodes)}
    for event in events:
        if event.get("cat") == "Kernel":
            place = place_of.get((bisect_right(begins, int(event["ts"])), str(event["args"].get("parent_name", ""))))
            if place is not None:
                yield place, float(event["dur"]), float(event["ts"])


def _of_launches(launches: Sequence[KernelStart], nodes: Sequence[Event]) -> Iterator[tuple[int, float, float]]:
    """As `_of_trace`, by the time at which each kernel was started. `RuntimeFailed` where the clocks do not agree.

    Copies of inputs and outputs between two calls belong to no node.
    """
    begins = [int(node["ts"]) for node in nodes]
    placed, outside = list[tuple[int, float, float]](), 0
    for launch_ns, begin_ns, ns in launches:
        place = bisect_right(begins, launch_ns / 1e3) - 1
        if place >= 0 and launch_ns / 1e3 <= begins[place] + int(nodes[place]["dur"]) + SLACK_US:
            placed.append((place, ns / 1e3, begin_ns / 1e3))
        else:
            outside += 1
    if launches and len(placed) < LEAST_INSIDE * len(launches):
        total = quantity(len(launches), "kernel")
        raise RuntimeFailed(f"{outside} of {total} were started outside of the nodes that ONNX Runtime timed")
    yield from placed
