"""The worker's jobs for cells: open one, verify it, warm it up, measure a block of it. NumPy and a runtime only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ... import backends
from ...backends.protocol import Array, Backend, Build, Session, SessionInfo, Workshop
from ...errors import Unsupported
from ...exporters import cache
from ...spec import Artifact, Cell, Concurrency, Device, from_wire
from . import lanes, measure, procfs
from .bootstrap import NETWORK
from .serve import Reply, State, Tell
from .verify import accuracy, distance, load_arrays

ENGINES = "engines"  # the kind of entry of the user's cache that keeps what was built
APART_SHARE = 4  # a block of end-to-end calls, and one by the device's clock, last a block of latency's over this
LEAD_SHARE = 0.1  # of a throughput block, not counted at its beginning
SEARCH_SHARE = 0.2  # of the warm-up, for each way of calling in parallel at first
MEMORY_CALLS = 3  # allocators grow after the first call too


@dataclass(kw_only=True)
class Slot:
    """An open cell, the inputs that are bound, and its sessions.

    `session` has one call in flight. `compiled` holds a session for each way that the model was compiled, by streams and
    threads, and `forked` the lanes beside each of these, which share what was compiled.
    """

    artifact: Artifact
    cell: Cell
    backend: Backend
    inputs: Mapping[str, Array]
    session: Session
    built: Build | None = None
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


def probe(state: State, tell: Tell, *, backend: str) -> Reply:
    """Whether `backend` can run here, and what it is."""
    found = backends.get(backend)
    kinds: Reply = {
        "device_kind": found.device_kind,
        "instrument": found.instrument,
        "options": dict(found.options),
        "builds": found.builds,
        "network": os.environ.get(NETWORK, "open"),
    }
    return {**asdict(found.probe()), **kinds, "precisions": tuple(found.precisions), "on_request": found.on_request}


def supports(state: State, tell: Tell, *, cell: dict[str, Any], artifact: dict[str, Any]) -> Reply:
    """Why the cell's backend cannot run it, or None; nothing is opened."""
    wanted = from_wire(Cell, cell)
    return {"reason": backends.get(wanted.backend).supports(wanted, from_wire(Artifact, artifact))}


def build(state: State, tell: Tell, *, cell: dict[str, Any], artifact: dict[str, Any]) -> Reply:
    """Compile what the cell's backend compiles ahead, or find that it is there: seconds, whether it was, and a remark."""
    wanted, file = from_wire(Cell, cell), from_wire(Artifact, artifact)
    backend = _backend_for(wanted, file)
    return _built(backend.build(file, wanted, _workshop(state, backend)))


def _backend_for(cell: Cell, artifact: Artifact) -> Backend:
    """The cell's backend; `Unsupported` with its reason if it does not take the cell."""
    backend = backends.get(cell.backend)
    reason = backend.supports(cell, artifact)
    if reason:
        raise Unsupported(reason)
    return backend


def _workshop(state: State, backend: Backend) -> Workshop:
    folder = cache.root() / ENGINES
    return Workshop(folder=cache.private(folder) if backend.builds else folder, now_ns=state.clock.now_ns)


def _built(built: Build | None) -> dict[str, Any]:
    return {"build_s": built.seconds, "engine_cached": built.cached, "remark": built.remark} if built else {}


def open_slot(state: State, tell: Tell, *, cell: dict[str, Any], artifact: dict[str, Any], inputs: str) -> Reply:
    """Open a session, bind the arrays in the folder `inputs`, and make the first call; each is timed apart."""
    wanted, file, now = from_wire(Cell, cell), from_wire(Artifact, artifact), state.clock.now_ns
    backend = _backend_for(wanted, file)
    arrays = load_arrays(Path(inputs), [spec.name for spec in file.inputs])
    backend.probe()  # imports the runtime, which is not loading the model
    built = backend.build(file, wanted, _workshop(state, backend))
    begin = now()
    session = backend.open(file, wanted, built=built)
    load_ns = now() - begin
    session.bind(arrays)
    first_ns = measure.first_call(session, now)
    slot = Slot(artifact=file, cell=wanted, backend=backend, inputs=arrays, session=session, built=built)
    slot.compiled[1, wanted.settings.threads] = session
    state.slots[wanted.key] = slot
    times = {"load_s": load_ns / 1e9, "first_ms": first_ns / 1e6}
    about = {"instrument": backend.instrument, "int8_scheme": backend.int8_scheme}
    return {**times, **_built(built), "info": _info(session.info), **about}


def _info(info: SessionInfo) -> dict[str, Any]:
    told = {"executed": info.executed, "placement": info.placement, "settings": dict(info.settings)}
    return {**told, "remarks": info.remarks}


def verify(state: State, tell: Tell, *, key: str, reference: str, samples: str | None) -> Reply:
    """Parity of the open cell's outputs with those in `reference`; labelled accuracy on `samples` where there are any."""
    slot = state.slots[key]
    names = [spec.name for spec in slot.artifact.outputs]
    expected = load_arrays(Path(reference), names)
    slot.session.enter()
    found = {**distance(slot.session.fetch(), expected)}
    if samples:
        found |= accuracy(slot.session, slot.artifact, Path(samples), slot.cell.batch, tell)
        slot.session.bind(slot.inputs)
    return found


def inspect(state: State, tell: Tell, *, key: str, timed: bool) -> Reply:
    """What the open cell's runtime does in one call, kernel by kernel; with times if they are asked for."""
    session = state.slots[key].session
    session.enter()
    return {"kernels": [asdict(kernel) for kernel in session.kernels(timed)]}


def warm(
    state: State, tell: Tell, *, key: str, least_ms: float, limit_ms: float, passes: int, concurrency: dict[str, Any] | None
) -> Reply:
    """Warm up, then find the concurrency with the best throughput, in `passes`, where `concurrency` does not say it.

    `tried` are the candidates with their items a second; `deploy` says the best in the runtime's own terms, and `snippet` is a
    program that does it. `single` has both for one call in flight, as latency is measured.
    """
    slot, now = state.slots[key], state.clock.now_ns
    with measure.quiet():
        ended = measure.warm_up(slot.session, now, least_ns=_ns(least_ms), limit_ns=_ns(limit_ms))
        rates = (
            {from_wire(Concurrency, concurrency): 0.0}
            if concurrency
            else _search(slot, state, _ns(least_ms * SEARCH_SHARE), passes)
        )
        chosen = list(rates)[-1]
        slot.keep(chosen)
    return {
        **asdict(ended),
        "lanes": chosen.lanes,
        "concurrency": asdict(chosen),
        **_deployment(slot, chosen),
        "single": _deployment(slot, Concurrency(threads=slot.cell.settings.threads)),
        "settled": measure.settle(state.clock),
        **(
            {}
            if concurrency
            else {"tried": [{**asdict(way), "items_per_s": rate * slot.cell.batch} for way, rate in rates.items()]}
        ),
    }


def _deployment(slot: Slot, how: Concurrency) -> dict[str, str]:
    return {"deploy": slot.backend.deploy(how), "snippet": slot.backend.snippet(slot.artifact, _as_it_runs(slot), how)}


def _as_it_runs(slot: Slot) -> Cell:
    """The cell with its options as the session has them, where it tells: a graph that cannot be captured is off."""
    told, settings = dict(slot.session.info.settings), slot.cell.settings
    found = tuple((name, told[name]) for name, known in slot.backend.choices.items() if told.get(name) in known)
    options = {**dict(settings.options), **dict(found)}
    return replace(slot.cell, settings=replace(settings, options=tuple(options.items())))


def _search(slot: Slot, state: State, length_ns: int, passes: int) -> dict[Concurrency, float]:
    candidates = slot.backend.concurrencies(slot.cell.settings.threads)
    length = lanes.Length(least_ns=length_ns, lead_ns=length_ns // 2)
    trial = lanes.Trial(length=length, passes=passes, rest=partial(measure.settle, state.clock))
    return lanes.search(candidates, slot.lanes, state.clock.now_ns, trial=trial)


def latency(state: State, tell: Tell, *, key: str, block_ms: float, calls: int, samples: str) -> Reply:
    """One visit for latency: an untimed re-warm, a block of single calls, a block of end-to-end calls, and where the device
    has a clock one of calls by that; noise over all.

    Each block has `calls` calls at least. The .npz file `samples` gets their times as `latency`, `end_to_end` and `device`
    (int64 ns); `p50_ns` are their nearest-rank medians, so that comparing thousands of cells opens no samples.
    """
    slot, now, least_ns = state.slots[key], state.clock.now_ns, _ns(block_ms)
    with measure.quiet():
        measure.rewarm(slot.session, now, block_ns=least_ns)
        with counted(state, slot.cell) as noise:
            single = measure.latency(slot.session, now, least_ns=least_ns, least_calls=calls)
            whole = measure.end_to_end(slot.session, slot.inputs, now, least_ns=least_ns // APART_SHARE, least_calls=calls)
            device = measure.on_device(slot.session, now, least_ns=least_ns // APART_SHARE, least_calls=calls)
    times = {"latency": single, "end_to_end": whole, "device": device}
    _save(Path(samples), times)
    p50_ns = {kind: float(np.percentile(ns, 50, method="inverted_cdf")) for kind, ns in times.items() if len(ns)}
    return {"calls": len(single), "p50_ns": p50_ns, "noise": noise, "settled": measure.settle(state.clock)}


def _save(path: Path, times: Mapping[str, Array]) -> None:
    """Write `times` to a new file at `path`, in place of an earlier try of the block; no link is followed."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        np.savez(file, **times)  # type: ignore[arg-type]


def throughput(state: State, tell: Tell, *, key: str, block_ms: float, concurrency: dict[str, Any]) -> Reply:
    """One visit for throughput: a block with all lanes of `concurrency` in flight, after a lead-in, and the noise over both."""
    slot, now = state.slots[key], state.clock.now_ns
    sessions = slot.lanes(from_wire(Concurrency, concurrency))
    length = lanes.Length(least_ns=_ns(block_ms), lead_ns=int(_ns(block_ms) * LEAD_SHARE))
    with measure.quiet(), counted(state, slot.cell) as noise:
        rate = lanes.throughput(sessions, now, length)
    return {"rate": asdict(rate), "noise": noise, "settled": measure.settle(state.clock)}


@contextmanager
def counted(state: State, cell: Cell) -> Iterator[dict[str, Any]]:
    """What disturbed the blocks inside, known when they are over; for a cell on a GPU also what that did (`gpu`).

    NVML is asked outside of what the CPU's counters span, since its own calls would be in them.
    """
    noise: dict[str, Any] = {}
    gpu = _gpu(cell)
    watched = None if gpu is None else state.gpu.watch(gpu)
    before = state.counters(state.clock)
    yield noise
    noise |= procfs.growth(before, state.counters(state.clock))
    if watched:
        noise["gpu"] = watched()


def _gpu(cell: Cell) -> int | None:
    """CUDA's index of the GPU that `cell` runs on; None for the CPU."""
    device = Device.parse(cell.device)
    return None if device.kind == "cpu" else device.index


def close(state: State, tell: Tell, *, key: str) -> Reply:
    """Free an open cell."""
    slot = state.slots.pop(key, None)
    if slot:
        slot.close()
    return {}


def cold(state: State, tell: Tell, *, cell: dict[str, Any], artifact: dict[str, Any], inputs: str) -> Reply:
    """In a process that has done nothing yet: import, load, first answer, each timed; and its memory, on a GPU too.

    `up_ns` and `answered_ns` are on the monotonic clock, which is the same for all processes of a machine.
    """
    wanted, now = from_wire(Cell, cell), state.clock.now_ns
    up_ns = now()
    backends.get(wanted.backend).probe()
    imported_ns = now()
    opened = open_slot(state, tell, cell=cell, artifact=artifact, inputs=inputs)
    answered_ns = now()
    slot = state.slots[wanted.key]
    measure.latency(slot.session, now, least_ns=0, least_calls=MEMORY_CALLS)
    slot.session.fetch()
    times = {"up_ns": up_ns, "import_s": (imported_ns - up_ns) / 1e9, "answered_ns": answered_ns}
    gpu = _gpu(wanted)
    memory: dict[str, float | None] = {"peak_rss_mb": procfs.peak_rss_mb()}  # before NVML is loaded
    if gpu is not None:
        memory["device_mem_mb"] = state.gpu.memory_of(state.gpu.pid, gpu)
    return {**times, "load_s": opened["load_s"], "first_ms": opened["first_ms"], **memory}


def _ns(ms: float) -> int:
    return int(ms * 1e6)
