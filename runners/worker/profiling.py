"""The worker's jobs of a profile: time the kernels of an open cell, and read the nodes of a graph. NumPy and a runtime only.

Calls with the profiler and calls without it take turns. The difference of their medians is the cost of the profiler. Each turn
begins when the threads of the turn before are idle: ONNX Runtime's spin for about 50 ms, and would take a CPU from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...backends.profiling import Ran, Recorded, SessionProfiler
from ...backends.protocol import Session
from ...errors import RuntimeFailed
from ...models import graph_nodes
from . import measure
from .blocks import to_ns
from .jobs import ProgressReport, Reporter
from .profile_jobs import GraphNodes, Profile, ProfiledCalls, ReadGraph
from .serve import State

Times = NDArray[np.float64]

LEAST_CALLS = 3


def profile(state: State, report: Reporter, job: Profile) -> ProfiledCalls:
    """Time the kernels of an open cell. Raise `Unsupported` where the runtime reports no times."""
    session, now, turn_ns = state.open_cells[job.key].session, state.clock.now_ns, to_ns(job.turn_ms)
    folder = Path(job.folder.path)
    folder.mkdir(parents=True, exist_ok=True)
    session.enter()
    plain: list[int] = []
    with session.profiler(folder) as profiler, measure.quiet():
        measure.warm_up(session, now, least_ns=turn_ns, limit_ns=4 * turn_ns)
        measure.settle(state.clock)
        turns = [_profiled_turn(profiler, now, turn_ns)]  # to warm up: not counted
        for _ in range(job.turns):
            report(ProgressReport())
            measure.settle(state.clock)
            _call(session)  # brings its weights back into the caches
            plain += measure.latency(session, now, least_ns=turn_ns, least_calls=LEAST_CALLS).tolist()
            measure.settle(state.clock)
            turns.append(_profiled_turn(profiler, now, turn_ns))
        recorded = profiler.read()
    made = [(number > 0 and place > 0, ns) for number, turn in enumerate(turns) for place, ns in enumerate(turn)]
    if len(recorded.calls) != len(made):
        raise RuntimeFailed(f"the runtime recorded {len(recorded.calls)} calls of {len(made)}")
    calls = [call for call, (counts, _) in zip(recorded.calls, made) if counts]
    profiled = [ns for counts, ns in made if counts]
    return replace(
        summary(recorded, calls), p50_ns=float(np.median(plain)), profiled_p50_ns=float(np.median(profiled)), calls=len(calls)
    )


def _call(session: Session) -> None:
    session.start()
    session.wait()


def _profiled_turn(profiler: SessionProfiler, now: Callable[[], int], turn_ns: int) -> list[int]:
    """Times of profiled calls in ns. The first one brings the weights back into the caches."""
    times: list[int] = []
    with profiler.turn():
        session = profiler.session  # some profilers have another one in each turn
        session.enter()
        end = now() + turn_ns
        while len(times) <= LEAST_CALLS or (now() < end and len(times) <= profiler.most_calls):
            begin = now()
            _call(session)
            times.append(now() - begin)
            profiler.collect()
    return times


def summary(recorded: Recorded, calls: Sequence[Sequence[Ran]]) -> ProfiledCalls:
    """Time of each kernel over `calls`, the median of their sums, and the begins of one usual call.

    A kernel's time is the mean of the middle half of its times in all calls. A median would have the step of the runtime's
    clock, which may be as long as a small kernel.
    """
    times: Times = np.zeros((len(calls), len(recorded.kernels)))
    for row, call in zip(times, calls):
        for ran in call:
            row[ran.kernel] += ran.ns
    sums = times.sum(axis=1)
    usual = calls[int(np.argsort(sums)[len(calls) // 2])] if len(calls) else ()
    begins = _begins(usual)
    columns = zip(recorded.kernels, *_middle(times))
    kernels = [
        replace(kernel, ns=float(ns), low_ns=float(low), high_ns=float(high), begin_ns=begins.get(place))
        for place, ((kernel, _), low, ns, high) in enumerate(columns)
    ]
    return ProfiledCalls(
        kernels=tuple(kernels),
        links=tuple(links for _, links in recorded.kernels),
        calls=len(calls),
        p50_ns=None,
        profiled_p50_ns=None,
        kernels_ns=float(np.median(sums)) if len(calls) else None,
        step_ns=recorded.step_ns,
        graph=recorded.graph,
        opening=recorded.opening,
    )


def _middle(times: Times) -> tuple[Times, Times, Times]:
    """Smallest value, mean and largest value of the middle half of each column of `times` [calls, kernels]."""
    ordered = np.sort(times, axis=0)
    cut = len(ordered) // 4
    middle: Times = ordered[cut : len(ordered) - cut] if len(ordered) else np.zeros((1, times.shape[1]))
    return middle[0], middle.mean(axis=0), middle[-1]


def _begins(call: Sequence[Ran]) -> dict[int, float]:
    """First begin of each kernel in `call`, counted from that of the first kernel; empty where the runtime gives none."""
    begins: dict[int, float] = {}
    for ran in call:
        if ran.begin_ns is not None:
            begins[ran.kernel] = min(ran.begin_ns, begins.get(ran.kernel, ran.begin_ns))
    first = min(begins.values(), default=0)
    return {place: begin - first for place, begin in begins.items()}


def read_graph(state: State, report: Reporter, job: ReadGraph) -> GraphNodes:
    """Nodes of a file, and those of the graph that the runtime made of it."""
    runtime = graph_nodes.read_nodes(Path(job.runtime.path)) if job.runtime else ()
    return GraphNodes(nodes=graph_nodes.read_nodes(Path(job.artifact.path), job.shapes), runtime=runtime)
