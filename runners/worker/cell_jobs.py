"""The worker's jobs for cells: open a cell, verify it, warm it up, start it cold. NumPy and a runtime only.

blocks.py measures the blocks of an open cell.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from ... import backends
from ...backends import opening, protocol
from ...backends.protocol import Array, Backend, Session
from ...backends.recurrence import Recurrence
from ...backends.rotation import Rotation
from ...errors import DRAWN, BenchError, RuntimeFailed, failure
from ...evidence import Cold, Deployment, Info, Inspected, Opened, Tried, Verified, Warm
from ...spec import COLD, Artifact, Cell, Concurrency
from . import flush, lanes, measure, procfs
from .blocks import gpu_of, to_ns
from .bootstrap import NETWORK
from .engine_jobs import backend_for, built_of, find_engine
from .flush import Flush
from .jobs import (
    Close,
    Done,
    EngineChoice,
    Inspect,
    Open,
    Probe,
    Probed,
    Reporter,
    StartCold,
    Started,
    Support,
    Supported,
    Verify,
    WarmUp,
)
from .serve import State
from .timed_answers import LaneAnswer
from .verify import accuracy, array_folder, distance, figures_of, load_arrays
from .walk import answers, find_divergence, walk_names

SEARCH_SHARE = 0.2  # of the warm-up: length of one run of a candidate
MEMORY_CALLS = 3


@dataclass(kw_only=True)
class OpenCell:
    """Open cell, its bound inputs, and its sessions.

    `session` has one call in flight. `compiled` has a session for each pair of streams and threads that the
    model was compiled for. `forked` has the further lanes of each pair, which share the compiled model.
    `folder`: place of the inputs. `arrays`: all inputs that the calls get in turn; empty until `rotate`.
    `flush`: flushes the caches before each timed call of a cell with cold caches.
    `parallel`, `parallel_built`: the cell and the engine of parallel calls, where they have other options than single calls.
    `last_answers`: answers of the last timed calls, by the part of a visit.
    """

    artifact: Artifact
    cell: Cell
    backend: Backend
    inputs: Mapping[str, Array]
    session: Session
    built: protocol.Engine | None = None
    compiled: dict[tuple[int, int], Session] = field(default_factory=dict)
    forked: dict[tuple[int, int], list[Session]] = field(default_factory=dict)
    folder: Path = Path()
    arrays: Sequence[Mapping[str, Array]] = ()
    flush: Flush | None = None
    parallel: Cell | None = None
    parallel_built: protocol.Engine | None = None
    last_answers: dict[str, list[LaneAnswer]] = field(default_factory=dict)

    def lanes(self, concurrency: Concurrency) -> Sequence[Session]:
        """Session of each lane, with inputs bound. Sessions of other concurrencies stay open until `keep`."""
        key = _compile_key(concurrency)
        if key not in self.compiled:
            cell, built = (self.parallel, self.parallel_built) if self.parallel else (self.cell, self.built)
            self.compiled[key] = self._bound(self.backend.open(self.artifact, cell, concurrency, built))
        forks = self.forked.setdefault(key, [])
        while len(forks) < concurrency.lanes - 1:
            forks.append(self._bound(self.compiled[key].fork(), lane=len(forks) + 1))
        return [self.compiled[key], *forks[: concurrency.lanes - 1]]

    def deploy(self, concurrency: Concurrency) -> str:
        """`concurrency` in the runtime's own terms, with the options of parallel calls."""
        return _deploy_text(self.backend, self.parallel or self.cell, concurrency)

    def __post_init__(self) -> None:
        self._give_state(self.session)

    def _give_state(self, session: Session) -> None:
        """Give `session` a state of its own, if the cell feeds outputs back."""
        if self.cell.feedback:
            session.recurrence = Recurrence(feedback=dict(self.cell.feedback), inputs=self.inputs)

    @contextmanager
    def cold(self) -> Iterator[None]:
        """Flush the caches before each call inside, if the cell has cold caches."""
        self.session.precede = self.flush
        try:
            yield
        finally:
            self.session.precede = None

    def rotate(self) -> None:
        """Give the calls different arrays in turn, if the cell has several."""
        if self.cell.inputs > 1 and not self.arrays:
            names = [spec.name for spec in self.artifact.inputs]
            self.arrays = [load_arrays(array_folder(self.folder, number), names) for number in range(self.cell.inputs)]
            self.session.rotation = Rotation(inputs=self.arrays)

    def _bound(self, session: Session, lane: int = 0) -> Session:
        """Bind the inputs, make the slow first call, and return `session`. Each lane begins with other arrays."""
        session.enter()
        session.bind(self.inputs)
        session.start()
        session.wait()
        self._give_state(session)
        if self.arrays:
            session.rotation = Rotation(inputs=self.arrays, turn=lane)
        return session

    def keep(self, concurrency: Concurrency) -> None:
        """Close all sessions except the latency session and the lanes of `concurrency`."""
        remaining = {id(session) for session in (self.session, *self.lanes(concurrency))}
        for session in self._all():
            if id(session) not in remaining:
                session.close()
        self.compiled = {key: session for key, session in self.compiled.items() if id(session) in remaining}
        key = _compile_key(concurrency)
        self.forked = {key: self.forked[key][: concurrency.lanes - 1]}

    def _all(self) -> Sequence[Session]:
        """All open sessions, without repetition."""
        forks = [session for sessions in self.forked.values() for session in sessions]
        return list({id(item): item for item in (*forks, *self.compiled.values(), self.session)}.values())

    def close(self) -> None:
        for session in self._all():
            session.close()


def _compile_key(concurrency: Concurrency) -> tuple[int, int]:
    """Settings that a model is compiled for: (streams, threads). Lanes share a compiled model."""
    return concurrency.streams, concurrency.threads


def probe(state: State, report: Reporter, job: Probe) -> Probed:
    """Description of a backend, with its availability."""
    backend = backends.get(job.backend)
    # Collections were a fifth of the import of PyTorch. A timed cold start has them, as a deployment does.
    with measure.importing():
        availability = backend.probe()
    return Probed(
        **{**asdict(availability), "install": backend.install if availability.available else availability.install},
        opset=backend.highest_opset(availability.version),
        fixes_shapes=backend.fixes_shapes(availability.version),
        device_kind=backend.device_kind,
        instrument=backend.instrument,
        options=dict(backend.options),
        precisions=tuple(backend.precisions),
        on_request=backend.on_request,
        builds=backend.builds,
        searches=dict(backend.searches),
        tunables=backend.tunables,
        network=os.environ.get(NETWORK, "open"),
        converter=backend.converter.name if backend.converter else "",
        converter_packages=backend.converter.packages_text() if backend.converter else "",
        calibrated=backend.converter.calibrated if backend.converter else (),
        int8_scheme=backend.fastest_int8_scheme(),
        int8_schemes=backend.int8_schemes,
    )


def supports(state: State, report: Reporter, job: Support) -> Supported:
    """Reason that the cell's backend cannot run the cell, or None."""
    return Supported(reason=backends.get(job.cell.backend).supports(job.cell, job.artifact))


def open_session(state: State, report: Reporter, job: Open) -> Opened:
    """Open a session and bind its inputs. Loading and the first call are timed separately."""
    cell, file, now = job.cell, job.artifact, state.clock.now_ns
    backend = backend_for(cell, file)
    arrays = load_arrays(Path(job.inputs.path), [spec.name for spec in file.inputs])
    backend.probe()  # imports the runtime: its time is no part of loading the model
    built = find_engine(state, backend, job)
    begin = now()
    with opening.recorded(now) as parts:
        session = backend.open(file, cell, engine=built)
    load_ns = now() - begin
    session.bind(arrays)
    first_ns = _first_call(session, now, job.drawn)
    place = Path(job.inputs.path)
    open_cell = OpenCell(artifact=file, cell=cell, backend=backend, inputs=arrays, session=session, built=built, folder=place)
    if job.parallel:
        open_cell.parallel, other = job.parallel, replace(job, cell=job.parallel, engine=EngineChoice())
        open_cell.parallel_built = find_engine(state, backend, other)
    else:
        open_cell.compiled[1, cell.settings.threads] = session
    state.open_cells[cell.key] = open_cell
    info = session.info
    settings = {**dict(info.settings), **({"feedback": session.handover} if cell.feedback else {})}
    settings |= {"flush": flush.describe(session)} if cell.cache == COLD else {}
    return Opened(
        **asdict(built_of(built, job.engine)),
        memory=_memory(state, open_cell) if job.memory else None,
        load_s=load_ns / 1e9,
        first_ms=first_ns / 1e6,
        parts=tuple(parts),
        info=Info(executed=info.executed, placement=info.placement, settings=settings, remarks=info.remarks),
        instrument=backend.instrument or bool(cell.roof),
        int8_scheme=backend.fastest_int8_scheme(),
        searches=backend.is_searching(cell),
    )


def _memory(state: State, open_cell: OpenCell) -> Cold:
    """Peak memory of the process in MB, and its memory on the GPU, after further calls: allocators grow after the first."""
    measure.latency(open_cell.session, state.clock.now_ns, least_ns=0, least_calls=MEMORY_CALLS)
    open_cell.session.fetch()
    gpu, peak_rss_mb = gpu_of(open_cell.cell), procfs.peak_rss_mb()  # before NVML is loaded, which would add to it
    device_mem_mb = None if gpu is None else state.gpu.memory_of(state.gpu.pid, gpu)
    return Cold(peak_rss_mb=peak_rss_mb, device_mem_mb=device_mem_mb)


def _first_call(session: Session, now: Callable[[], int], drawn: bool) -> int:
    """Duration of the first call, in ns. If it fails on inputs that were drawn, the hint of the error says that."""
    try:
        return measure.first_call(session, now)
    except Exception as error:  # each runtime has its own exception classes
        reason = error if isinstance(error, BenchError) else failure(type(error).__name__, error)
        if drawn and isinstance(reason, RuntimeFailed) and not reason.hint:
            raise RuntimeFailed(reason.message, DRAWN) from error
        raise


def verify(state: State, report: Reporter, job: Verify) -> Verified:
    """Parity of the open cell's outputs; with labels, also accuracy. A state that is fed back has to stay finite."""
    open_cell = state.open_cells[job.key]
    session, feedback = open_cell.session, dict(open_cell.cell.feedback)
    expected = load_arrays(Path(job.reference.path), walk_names((spec.name for spec in open_cell.artifact.outputs), feedback))
    session.enter()
    parity = distance(answers(session), expected, open_cell.cell.batch, walk_names(job.random, feedback))
    output, step = find_divergence(session, state.clock.now_ns) or (None, None)
    figures = {**figures_of(parity), "random": job.random, "diverged": output, "diverged_step": step}
    if job.samples is None:
        return Verified(**figures)
    labelled = accuracy(open_cell.session, open_cell.artifact, Path(job.samples.path), open_cell.cell.batch, report)
    open_cell.session.bind(open_cell.inputs)  # `accuracy` bound its own images
    return Verified(**{**figures, **asdict(labelled)})


def inspect(state: State, report: Reporter, job: Inspect) -> Inspected:
    """Kernels of one call of the open cell."""
    session = state.open_cells[job.key].session
    session.enter()
    return Inspected(kernels=session.kernels(job.timed))


def warm(state: State, report: Reporter, job: WarmUp) -> Warm:
    """Warm up a cell, and find the concurrency with the best throughput.

    `tried` lists the candidates in the order of the search; empty if the job sets the concurrency.
    """
    open_cell, now = state.open_cells[job.key], state.clock.now_ns
    open_cell.rotate()
    if open_cell.cell.cache == COLD:
        open_cell.flush = flush.flush_of(open_cell.session, partial(_host_flush, state), state.clock)
    with measure.quiet():
        result = measure.warm_up(open_cell.session, now, least_ns=to_ns(job.least_ms), limit_ns=to_ns(job.limit_ms))
        rates = {} if job.concurrency else _search(open_cell, state, job)
        concurrency = job.concurrency or list(rates)[-1]
        open_cell.keep(concurrency)
    return Warm(
        **asdict(result),
        **asdict(_parallel_deployment(open_cell, concurrency, job.engine_file)),
        lanes=concurrency.lanes,
        concurrency=concurrency,
        single=_deployment(open_cell, Concurrency(threads=open_cell.cell.settings.threads), job.engine_file),
        settled=measure.settle(state.clock),
        tried=tuple(Tried(**asdict(candidate), items_per_s=rate * open_cell.cell.batch) for candidate, rate in rates.items()),
    )


def _host_flush(state: State) -> flush.HostFlush:
    """The flush of the host's caches, which all cells of the process share."""
    state.host_flush = state.host_flush or flush.HostFlush(flush.host_bytes(), flush.usable_cpus())
    return state.host_flush


def _deployment(open_cell: OpenCell, concurrency: Concurrency, file: str) -> Deployment:
    """One call at a time in the runtime's terms, and its program. `file`: the file with the engine for the program, if any."""
    backend, cell = open_cell.backend, _deployed_cell(open_cell.backend, open_cell.cell, open_cell.session)
    engine = replace(open_cell.built, path=Path(file)) if file and open_cell.built else None
    what = open_cell.artifact, cell, concurrency
    snippet = backend.engine_snippet(*what, engine) if engine else backend.snippet(*what)
    return Deployment(deploy=_deploy_text(backend, open_cell.cell, concurrency), snippet=snippet)


def _deploy_text(backend: Backend, cell: Cell, concurrency: Concurrency) -> str:
    """`concurrency` in the runtime's own terms, and the options of `cell`."""
    return " · ".join((backend.deploy(concurrency), *(f"{name}={value}" for name, value in cell.settings.options)))


def _parallel_deployment(open_cell: OpenCell, concurrency: Concurrency, file: str) -> Deployment:
    """As `_deployment`, for parallel calls. No file keeps their engine where they have other options than single calls."""
    if open_cell.parallel is None:
        return _deployment(open_cell, concurrency, file)
    cell = _deployed_cell(open_cell.backend, open_cell.parallel, open_cell.lanes(concurrency)[0])
    snippet = open_cell.backend.snippet(open_cell.artifact, cell, concurrency)
    return Deployment(deploy=open_cell.deploy(concurrency), snippet=snippet)


def _deployed_cell(backend: Backend, cell: Cell, session: Session) -> Cell:
    """The cell with its options as the session reports them: a graph that cannot be captured is off."""
    reported, settings = dict(session.info.settings), cell.settings
    actual = {name: reported[name] for name, values in backend.choices.items() if reported.get(name) in values}
    options = {**dict(settings.options), **actual}
    return replace(cell, settings=replace(settings, options=tuple(options.items())))


def _search(open_cell: OpenCell, state: State, job: WarmUp) -> dict[Concurrency, float]:
    candidates, length_ns = open_cell.backend.concurrencies(open_cell.cell.settings.threads), to_ns(job.least_ms * SEARCH_SHARE)
    length = lanes.Length(least_ns=length_ns, lead_ns=length_ns // 2)
    rest = partial(measure.settle, state.clock)
    trial = lanes.Trial(length=length, passes=job.passes, rest=rest, limit_ns=to_ns(job.limit_ms))
    return lanes.search(candidates, open_cell.lanes, state.clock.now_ns, trial=trial)


def close(state: State, report: Reporter, job: Close) -> Done:
    """Close an open cell."""
    open_cell = state.open_cells.pop(job.key, None)
    if open_cell:
        open_cell.close()
    return Done()


def cold(state: State, report: Reporter, job: StartCold) -> Started:
    """Import, load and answer in a fresh process; time each part, and measure the memory, also on a GPU.

    `up_ns` and `answered_ns` are monotonic times, which all processes of a machine share.
    """
    cell, now = job.cell, state.clock.now_ns
    up_ns = now()
    backends.get(cell.backend).probe()
    imported_ns = now()
    open_job = Open(cell=cell, artifact=job.artifact, inputs=job.inputs, drawn=job.drawn, engine=job.engine)
    opened = open_session(state, report, open_job)
    answered_ns = now()
    memory = _memory(state, state.open_cells[cell.key])
    return Started(
        up_ns=up_ns,
        answered_ns=answered_ns,
        import_s=(imported_ns - up_ns) / 1e9,
        load_s=opened.load_s,
        first_ms=opened.first_ms,
        peak_rss_mb=memory.peak_rss_mb,
        device_mem_mb=memory.device_mem_mb,
    )
