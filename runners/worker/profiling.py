"""The worker's jobs of a profile: time the kernels of an open cell, and read the nodes of a graph. NumPy and a runtime only.

Calls with the profiler and calls without it take turns. The difference of their medians is the cost of the profiler. Each turn
begins when the threads of the turn before are idle: ONNX Runtime's spin for about 50 ms, and would take a CPU from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...backends.profiling import Ran, Recorded, SessionProfiler
from ...backends.protocol import Session
from ...errors import RuntimeFailed
from ...models import graph_nodes
from . import measure
from .blocks import to_ns
from .clock import Clock
from .jobs import ProgressReport, Reporter
from .profile_jobs import GraphNodes, Profile, ProfiledCalls, ReadGraph
from .serve import State
from .work_jobs import work_of

Times = NDArray[np.float64]

LEAST_CALLS = 3


@dataclass(kw_only=True)
class ProfileInProgress:
    """Turns of a profile so far. `plain`, `profiled`: times of the calls of each turn in ns.

    The first profiled turn, and the first call of each, are to warm up and do not count.
    """

    session: Session
    profiler: SessionProfiler
    clock: Clock
    turn_ns: int
    plain: list[list[int]] = field(default_factory=list)
    profiled: list[list[int]] = field(default_factory=list)

    def begin(self) -> None:
        """Warm up both sessions."""
        measure.warm_up(self.session, self.clock.now_ns, least_ns=self.turn_ns, limit_ns=4 * self.turn_ns)
        measure.settle(self.clock)
        self.profiled.append(_profiled_turn(self.profiler, self.clock.now_ns, self.turn_ns))

    def turn(self) -> None:
        """Make calls without the profiler, then calls with it."""
        measure.settle(self.clock)
        _call(self.session)  # brings its weights back into the caches
        plain = measure.latency(self.session, self.clock.now_ns, least_ns=self.turn_ns, least_calls=LEAST_CALLS)
        self.plain.append(plain.tolist())
        measure.settle(self.clock)
        self.profiled.append(_profiled_turn(self.profiler, self.clock.now_ns, self.turn_ns))

    def result(self, by_turn: bool) -> ProfiledCalls:
        """Times of the kernels in all turns. `by_turn`: and in each turn. `RuntimeFailed` where the runtime lost calls."""
        recorded = self.profiler.read()
        made = [(number, place, ns) for number, turn in enumerate(self.profiled) for place, ns in enumerate(turn)]
        if len(recorded.calls) != len(made):
            raise RuntimeFailed(f"the runtime recorded {len(recorded.calls)} calls of {len(made)}")
        counted = [(call, number, ns) for call, (number, place, ns) in zip(recorded.calls, made) if number and place]
        calls, numbers = [call for call, _, _ in counted], [number for _, number, _ in counted]
        return replace(
            summary(recorded, calls, numbers if by_turn else ()),
            p50_ns=float(np.median([ns for turn in self.plain for ns in turn])),
            profiled_p50_ns=float(np.median([ns for _, _, ns in counted])),
            calls=len(calls),
            turns_p50_ns=tuple(float(np.median(turn)) for turn in self.plain) if by_turn else (),
        )


def profile(state: State, report: Reporter, job: Profile) -> ProfiledCalls:
    """Time the kernels of an open cell. Raise `Unsupported` where the runtime reports no times."""
    session, folder = state.open_cells[job.key].session, Path(job.folder.path)
    session.enter()
    running = state.profiles.pop(job.key, None)
    by_turn = running is not None
    with ExitStack() as stack, measure.quiet():
        if running is None:
            folder.mkdir(parents=True, exist_ok=True)
            profiler = session.profiler(folder)
            running = ProfileInProgress(session=session, profiler=profiler, clock=state.clock, turn_ns=to_ns(job.turn_ms))
        stack.enter_context(running.profiler)
        if not running.profiled:
            running.begin()
        for _ in range(job.turns):
            report(ProgressReport())
            running.turn()
        if job.goes_on:
            stack.pop_all()  # the profiler stays open for the next job
            state.profiles[job.key] = running
            return ProfiledCalls()
        return running.result(by_turn)


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


def summary(recorded: Recorded, calls: Sequence[Sequence[Ran]], turns: Sequence[int] = ()) -> ProfiledCalls:
    """Time of each kernel over `calls`, the median of their sums, and the begins of one usual call.

    `turns`: number of the turn of each call, for times by turn as well.

    A kernel's time is the mean of the middle half of its times in all calls. A median would have the step of the runtime's
    clock, which may be as long as a small kernel.
    """
    times: Times = np.zeros((len(calls), len(recorded.kernels)))
    for row, call in zip(times, calls):
        for ran in call:
            row[ran.kernel] += ran.ns
    sums = times.sum(axis=1)
    usual = calls[int(np.argsort(sums)[len(calls) // 2])] if len(calls) else ()
    begins, usual_ns = _begins(usual), _durations(usual)
    of_turns = [np.median(times[np.array(turns) == number], axis=0) for number in sorted(set(turns))]
    columns = zip(recorded.kernels, *_middle(times))
    kernels = [
        replace(
            kernel,
            ns=float(ns),
            low_ns=float(low),
            high_ns=float(high),
            begin_ns=begins.get(place),
            usual_ns=usual_ns.get(place),
            turns_ns=tuple(float(medians[place]) for medians in of_turns),
        )
        for place, ((kernel, _), low, ns, high) in enumerate(columns)
    ]
    return ProfiledCalls(
        kernels=tuple(kernels),
        links=tuple(links for _, links in recorded.kernels),
        calls=len(calls),
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


def _durations(call: Sequence[Ran]) -> dict[int, float]:
    """Duration of each kernel in `call`; empty where the runtime gives no begins."""
    durations: dict[int, float] = {}
    for ran in call:
        if ran.begin_ns is not None:
            durations[ran.kernel] = durations.get(ran.kernel, 0.0) + ran.ns
    return durations


def read_graph(state: State, report: Reporter, job: ReadGraph) -> GraphNodes:
    """Nodes of a file, and those of the graph that the runtime made of it."""
    runtime = graph_nodes.read_nodes(Path(job.runtime.path)) if job.runtime else ()
    path = Path(job.artifact.path)
    nodes = graph_nodes.read_nodes(path, job.shapes)
    return GraphNodes(nodes=graph_nodes.with_work(nodes, work_of(path, job.shapes)) if job.work else nodes, runtime=runtime)
