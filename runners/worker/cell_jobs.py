"""The worker's jobs for cells: open one, verify it, warm it up, measure a block of it. NumPy and a runtime only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from ... import backends
from ...backends import protocol
from ...backends.protocol import Array, Backend, Session, Workshop
from ...errors import Unsupported
from ...evidence import Built, Counts, Deployment, Info, Inspected, Opened, Tried, Verified, Warm
from ...exporters import cache
from ...spec import Artifact, Cell, Concurrency, Device
from . import lanes, measure, procfs
from .bootstrap import NETWORK
from .jobs import (
    Build,
    Close,
    Done,
    Inspect,
    Open,
    Probe,
    Probed,
    Reporter,
    StartCold,
    Started,
    Support,
    Supported,
    TimedLatency,
    TimedThroughput,
    TimeLatency,
    TimeThroughput,
    Verify,
    WarmUp,
)
from .serve import State
from .verify import accuracy, distance, load_arrays

ENGINES = "engines"  # the kind of entry of the user's cache that keeps what was built
APART_SHARE = 4  # a block of end-to-end calls, and one by the device's clock, last a block of latency's over this
LEAD_SHARE = 0.1  # of a throughput block, not counted at its beginning
SEARCH_SHARE = 0.2  # of the warm-up, for each way of calling in parallel at first
MEMORY_CALLS = 3  # allocators grow after the first call too


@dataclass(kw_only=True)
class OpenCell:
    """An open cell, the inputs that are bound, and its sessions.

    `session` has one call in flight. `compiled` holds a session for each way that the model was compiled, by streams and
    threads, and `forked` the lanes beside each of these, which share what was compiled.
    """

    artifact: Artifact
    cell: Cell
    backend: Backend
    inputs: Mapping[str, Array]
    session: Session
    built: protocol.Engine | None = None
    compiled: dict[tuple[int, int], Session] = field(default_factory=dict)
    forked: dict[tuple[int, int], list[Session]] = field(default_factory=dict)

    def lanes(self, concurrency: Concurrency) -> Sequence[Session]:
        """A session for each lane, with inputs bound. What was opened for other ways stays open until `keep`."""
        way = _way(concurrency)
        if way not in self.compiled:
            self.compiled[way] = self._bound(self.backend.open(self.artifact, self.cell, concurrency, self.built))
        forks = self.forked.setdefault(way, [])
        while len(forks) < concurrency.lanes - 1:
            forks.append(self._bound(self.compiled[way].fork()))
        return [self.compiled[way], *forks[: concurrency.lanes - 1]]

    def _bound(self, session: Session) -> Session:
        """`session` ready for calls: its first one is not like the others."""
        session.enter()
        session.bind(self.inputs)
        session.start()
        session.wait()
        return session

    def keep(self, chosen: Concurrency) -> None:
        """Close everything but the latency session and the lanes of `chosen`."""
        kept = {id(session) for session in (self.session, *self.lanes(chosen))}
        for session in self._all():
            if id(session) not in kept:
                session.close()
        way = _way(chosen)
        self.compiled = {of: session for of, session in self.compiled.items() if id(session) in kept}
        self.forked = {way: self.forked[way][: chosen.lanes - 1]}

    def _all(self) -> Sequence[Session]:
        """Every open session, once."""
        forks = [session for sessions in self.forked.values() for session in sessions]
        return list({id(item): item for item in (*forks, *self.compiled.values(), self.session)}.values())

    def close(self) -> None:
        for session in self._all():
            session.close()


def _way(concurrency: Concurrency) -> tuple[int, int]:
    """What a model is compiled for; lanes share it."""
    return concurrency.streams, concurrency.threads


def probe(state: State, report: Reporter, job: Probe) -> Probed:
    """Ask a backend for its description, and whether it can run here."""
    found = backends.get(job.backend)
    return Probed(
        **asdict(found.probe()),
        device_kind=found.device_kind,
        instrument=found.instrument,
        options=dict(found.options),
        precisions=tuple(found.precisions),
        on_request=found.on_request,
        builds=found.builds,
        network=os.environ.get(NETWORK, "open"),
    )


def supports(state: State, report: Reporter, job: Support) -> Supported:
    """Ask the cell's backend for a reason that it cannot run the cell."""
    return Supported(reason=backends.get(job.cell.backend).supports(job.cell, job.artifact))


def build(state: State, report: Reporter, job: Build) -> Built:
    """Compile ahead for a cell, or find the result in the cache."""
    backend = _backend_for(job.cell, job.artifact)
    return _built(backend.build(job.artifact, job.cell, _workshop(state, backend)))


def _backend_for(cell: Cell, artifact: Artifact) -> Backend:
    """The cell's backend; `Unsupported` with its reason if it does not take the cell."""
    backend = backends.get(cell.backend)
    reason = backend.supports(cell, artifact)
    if reason:
        raise Unsupported(reason)
    return backend


def _workshop(state: State, backend: Backend) -> Workshop:
    folder = cache.root() / ENGINES
    return Workshop(folder=cache.make_private(folder) if backend.builds else folder, now_ns=state.clock.now_ns)


def _built(built: protocol.Engine | None) -> Built:
    return Built(build_s=built.seconds, engine_cached=built.cached, remark=built.remark) if built else Built()


def open_session(state: State, report: Reporter, job: Open) -> Opened:
    """An opened session, whose inputs are bound; loading and the first call are timed apart."""
    wanted, file, now = job.cell, job.artifact, state.clock.now_ns
    backend = _backend_for(wanted, file)
    arrays = load_arrays(Path(job.inputs.path), [spec.name for spec in file.inputs])
    backend.probe()  # imports the runtime, which is not loading the model
    built = backend.build(file, wanted, _workshop(state, backend))
    begin = now()
    session = backend.open(file, wanted, engine=built)
    load_ns = now() - begin
    session.bind(arrays)
    first_ns = measure.first_call(session, now)
    open_cell = OpenCell(artifact=file, cell=wanted, backend=backend, inputs=arrays, session=session, built=built)
    open_cell.compiled[1, wanted.settings.threads] = session
    state.open_cells[wanted.key] = open_cell
    info = session.info
    return Opened(
        **asdict(_built(built)),
        load_s=load_ns / 1e9,
        first_ms=first_ns / 1e6,
        info=Info(executed=info.executed, placement=info.placement, settings=dict(info.settings), remarks=info.remarks),
        instrument=backend.instrument,
        int8_scheme=backend.int8_scheme,
    )


def verify(state: State, report: Reporter, job: Verify) -> Verified:
    """Parity of the open cell's outputs, and labelled accuracy where there are labels."""
    open_cell = state.open_cells[job.key]
    names = [spec.name for spec in open_cell.artifact.outputs]
    expected = load_arrays(Path(job.reference.path), names)
    open_cell.session.enter()
    found = distance(open_cell.session.fetch(), expected)
    if job.samples is None:
        return Verified(**asdict(found))
    labelled = accuracy(open_cell.session, open_cell.artifact, Path(job.samples.path), open_cell.cell.batch, report)
    open_cell.session.bind(open_cell.inputs)
    return Verified(**{**asdict(found), **asdict(labelled)})


def inspect(state: State, report: Reporter, job: Inspect) -> Inspected:
    """The kernels of one call of the open cell."""
    session = state.open_cells[job.key].session
    session.enter()
    return Inspected(kernels=session.kernels(job.timed))


def warm(state: State, report: Reporter, job: WarmUp) -> Warm:
    """Warm a cell up, and find the concurrency with the best throughput.

    `tried` are the candidates in the order of the search; it is empty where the concurrency was given.
    """
    open_cell, now = state.open_cells[job.key], state.clock.now_ns
    with measure.quiet():
        ended = measure.warm_up(open_cell.session, now, least_ns=_ns(job.least_ms), limit_ns=_ns(job.limit_ms))
        rates = {} if job.concurrency else _search(open_cell, state, _ns(job.least_ms * SEARCH_SHARE), job.passes)
        chosen = job.concurrency or list(rates)[-1]
        open_cell.keep(chosen)
    return Warm(
        **asdict(ended),
        **asdict(_deployment(open_cell, chosen)),
        lanes=chosen.lanes,
        concurrency=chosen,
        single=_deployment(open_cell, Concurrency(threads=open_cell.cell.settings.threads)),
        settled=measure.settle(state.clock),
        tried=tuple(Tried(**asdict(way), items_per_s=rate * open_cell.cell.batch) for way, rate in rates.items()),
    )


def _deployment(open_cell: OpenCell, how: Concurrency) -> Deployment:
    return Deployment(
        deploy=open_cell.backend.deploy(how), snippet=open_cell.backend.snippet(open_cell.artifact, _as_it_runs(open_cell), how)
    )


def _as_it_runs(open_cell: OpenCell) -> Cell:
    """The cell with its options as the session has them, where it tells: a graph that cannot be captured is off."""
    told, settings = dict(open_cell.session.info.settings), open_cell.cell.settings
    found = tuple((name, told[name]) for name, known in open_cell.backend.choices.items() if told.get(name) in known)
    options = {**dict(settings.options), **dict(found)}
    return replace(open_cell.cell, settings=replace(settings, options=tuple(options.items())))


def _search(open_cell: OpenCell, state: State, length_ns: int, passes: int) -> dict[Concurrency, float]:
    candidates = open_cell.backend.concurrencies(open_cell.cell.settings.threads)
    length = lanes.Length(least_ns=length_ns, lead_ns=length_ns // 2)
    trial = lanes.Trial(length=length, passes=passes, rest=partial(measure.settle, state.clock))
    return lanes.search(candidates, open_cell.lanes, state.clock.now_ns, trial=trial)


def latency(state: State, report: Reporter, job: TimeLatency) -> TimedLatency:
    """One visit for latency: an untimed re-warm, a block of single calls, a block of end-to-end calls, and where the device
    has a clock one of calls by that; noise over all.

    The .npz file `samples` gets their times as `latency`, `end_to_end` and `device`
    (int64 ns); `p50_ns` are their nearest-rank medians, so that comparing thousands of cells opens no samples.
    """
    open_cell, now, least_ns, calls = state.open_cells[job.key], state.clock.now_ns, _ns(job.block_ms), job.calls
    with measure.quiet():
        measure.rewarm(open_cell.session, now, block_ns=least_ns)
        with counted(state, open_cell.cell) as counts:
            single = measure.latency(open_cell.session, now, least_ns=least_ns, least_calls=calls)
            whole = measure.end_to_end(
                open_cell.session, open_cell.inputs, now, least_ns=least_ns // APART_SHARE, least_calls=calls
            )
            device = measure.on_device(open_cell.session, now, least_ns=least_ns // APART_SHARE, least_calls=calls)
    times = {"latency": single, "end_to_end": whole, "device": device}
    _save(Path(job.samples.path), times)
    p50_ns = {kind: float(np.percentile(ns, 50, method="inverted_cdf")) for kind, ns in times.items() if len(ns)}
    return TimedLatency(calls=len(single), p50_ns=p50_ns, noise=counts(), settled=measure.settle(state.clock))


def _save(path: Path, times: Mapping[str, Array]) -> None:
    """Write `times` to a new file at `path`, in place of an earlier try of the block; no link is followed."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        np.savez(file, **times)  # type: ignore[arg-type]


def throughput(state: State, report: Reporter, job: TimeThroughput) -> TimedThroughput:
    """One visit for throughput: a block with all lanes in flight, after a lead-in, and the noise over both."""
    open_cell, now = state.open_cells[job.key], state.clock.now_ns
    sessions = open_cell.lanes(job.concurrency)
    length = lanes.Length(least_ns=_ns(job.block_ms), lead_ns=int(_ns(job.block_ms) * LEAD_SHARE))
    with measure.quiet(), counted(state, open_cell.cell) as counts:
        rate = lanes.throughput(sessions, now, length)
    return TimedThroughput(rate=rate, noise=counts(), settled=measure.settle(state.clock))


@contextmanager
def counted(state: State, cell: Cell) -> Iterator[Callable[[], Counts]]:
    """Count what disturbs the blocks inside; the counts can be had when they are over, with a GPU's for a cell on one.

    NVML is asked outside of what the CPU's counters span, since its own calls would be in them.
    """
    found: list[Counts] = []
    gpu = _gpu(cell)
    watched = None if gpu is None else state.gpu.watch(gpu)
    before = state.counters(state.clock)
    yield found.pop
    counts = procfs.growth(before, state.counters(state.clock))
    found.append(replace(counts, gpu=watched()) if watched else counts)


def _gpu(cell: Cell) -> int | None:
    """CUDA's index of the GPU that `cell` runs on; None for the CPU."""
    device = Device.parse(cell.device)
    return None if device.kind == "cpu" else device.index


def close(state: State, report: Reporter, job: Close) -> Done:
    """Free an open cell."""
    open_cell = state.open_cells.pop(job.key, None)
    if open_cell:
        open_cell.close()
    return Done()


def cold(state: State, report: Reporter, job: StartCold) -> Started:
    """In a process that has done nothing yet: import, load, first answer, each timed; and its memory, on a GPU too.

    `up_ns` and `answered_ns` are on the monotonic clock, which is the same for all processes of a machine.
    """
    wanted, now = job.cell, state.clock.now_ns
    up_ns = now()
    backends.get(wanted.backend).probe()
    imported_ns = now()
    opened = open_session(state, report, Open(cell=job.cell, artifact=job.artifact, inputs=job.inputs))
    answered_ns = now()
    open_cell = state.open_cells[wanted.key]
    measure.latency(open_cell.session, now, least_ns=0, least_calls=MEMORY_CALLS)
    open_cell.session.fetch()
    gpu, peak_rss_mb = _gpu(wanted), procfs.peak_rss_mb()  # before NVML is loaded
    return Started(
        up_ns=up_ns,
        answered_ns=answered_ns,
        import_s=(imported_ns - up_ns) / 1e9,
        load_s=opened.load_s,
        first_ms=opened.first_ms,
        peak_rss_mb=peak_rss_mb,
        device_mem_mb=None if gpu is None else state.gpu.memory_of(state.gpu.pid, gpu),
    )


def _ns(ms: float) -> int:
    return int(ms * 1e6)
