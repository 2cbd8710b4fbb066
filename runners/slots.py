"""The worker's jobs for cells: open one, verify it, warm it up, measure a block of it. NumPy and a runtime only."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import backends
from ..backends.protocol import Array, Session, SessionInfo
from ..errors import Unsupported
from ..spec import Artifact, Cell, from_wire
from . import measure
from .verify import accuracy, distance, load_arrays
from .worker import Reply, State, Tell


@dataclass(kw_only=True)
class Slot:
    """An open cell: its sessions (one a lane), and the inputs that are bound."""

    artifact: Artifact
    cell: Cell
    inputs: Mapping[str, Array]
    sessions: list[Session]

    def lanes(self, count: int) -> Sequence[Session]:
        """`count` sessions with inputs bound, forked as they are needed."""
        while len(self.sessions) < count:
            session = self.sessions[0].fork()
            session.bind(self.inputs)
            self.sessions.append(session)
        return self.sessions[:count]


def probe(state: State, tell: Tell, *, backend: str) -> Reply:
    """Whether `backend` can run here, and what it is."""
    found = backends.get(backend)
    what = {"device_kind": found.device_kind, "instrument": found.instrument, "options": dict(found.options)}
    return {**asdict(found.probe()), **what}


def open_slot(state: State, tell: Tell, *, cell: dict[str, Any], artifact: dict[str, Any], inputs: str) -> Reply:
    """Open a session, bind the arrays in the folder `inputs`, and make the first call; each is timed apart."""
    wanted, file, now = from_wire(Cell, cell), from_wire(Artifact, artifact), state.clock.now_ns
    backend = backends.get(wanted.backend)
    reason = backend.supports(wanted, file)
    if reason:
        raise Unsupported(reason)
    arrays = load_arrays(Path(inputs), [spec.name for spec in file.inputs])
    backend.probe()  # imports the runtime, which is not loading the model
    begin = now()
    session = backend.open(file, wanted)
    load_ns = now() - begin
    session.bind(arrays)
    first_ns = measure.first_call(session, now)
    state.slots[wanted.key] = Slot(artifact=file, cell=wanted, inputs=arrays, sessions=[session])
    return {"load_s": load_ns / 1e9, "first_ms": first_ns / 1e6, "info": _info(session.info), "instrument": backend.instrument}


def _info(info: SessionInfo) -> dict[str, Any]:
    return {"executed": info.executed, "placement": info.placement, "settings": dict(info.settings)}


def verify(state: State, tell: Tell, *, key: str, reference: str, samples: str | None) -> Reply:
    """Parity of the open cell's outputs with those in `reference`; labelled accuracy on `samples` where there are any."""
    slot = state.slots[key]
    session = slot.sessions[0]
    names = [spec.name for spec in slot.artifact.outputs]
    expected = load_arrays(Path(reference), names)
    found = {**distance(session.fetch(), expected)}
    if samples:
        found |= accuracy(session, slot.artifact, Path(samples), slot.cell.batch)
        session.bind(slot.inputs)
    return found


def warm(state: State, tell: Tell, *, key: str, least_ms: float, limit_ms: float, lanes: int | None) -> Reply:
    """Warm up, then find the number of lanes with the best throughput where `lanes` does not say it."""
    slot, now = state.slots[key], state.clock.now_ns
    with measure.quiet():
        ended = measure.warm_up(slot.sessions[0], now, least_ns=_ns(least_ms), limit_ns=_ns(limit_ms))
        lanes = lanes or measure.best_lanes(slot.lanes, now, least_ns=_ns(least_ms / 3))
    for spare in slot.sessions[lanes:]:
        spare.close()
    del slot.sessions[lanes:]
    return {**asdict(ended), "lanes": lanes, "settled": measure.settle(state.clock)}


def block(state: State, tell: Tell, *, key: str, block_ms: float, block_calls: int, lanes: int, samples: str) -> Reply:
    """One visit: an untimed re-warm, a latency block, an end-to-end block, a throughput block, the noise about them.

    The .npz file `samples` gets the calls' times as `latency` and `end_to_end` (int64 ns); the rest is in the answer.
    """
    slot, now, before = state.slots[key], state.clock.now_ns, _noise()
    session, least_ns = slot.sessions[0], _ns(block_ms)
    with measure.quiet():
        measure.rewarm(session, now, block_ns=least_ns)
        latency = measure.latency(session, now, least_ns=least_ns, least_calls=block_calls)
        whole = measure.end_to_end(session, slot.inputs, now, least_ns=least_ns // 4, least_calls=block_calls)
        rate = measure.throughput(slot.lanes(lanes), now, least_ns=least_ns)
    after = _noise()
    np.savez(samples, latency=latency, end_to_end=whole)
    return {
        "calls": len(latency),
        "throughput": asdict(rate),
        "noise": {name: after[name] - before[name] for name in after},
        "settled": measure.settle(state.clock),
    }


def close(state: State, tell: Tell, *, key: str) -> Reply:
    """Free an open cell."""
    slot = state.slots.pop(key, None)
    for session in slot.sessions if slot else ():
        session.close()
    return {}


def _noise() -> dict[str, int]:
    """Counters whose growth over a block says that something disturbed it: steal time (ticks), switches, faults."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"steal_ticks": _steal_ticks(), "involuntary_switches": usage.ru_nivcsw, "major_faults": usage.ru_majflt}


def _steal_ticks() -> int:
    """Time that a hypervisor gave to others, all CPUs together, in ticks; 0 where the system does not tell."""
    if sys.platform != "linux" or not os.path.exists("/proc/stat"):
        return 0
    with open("/proc/stat") as lines:
        fields = lines.readline().split()
    return int(fields[8]) if len(fields) > 8 else 0


def _ns(ms: float) -> int:
    return int(ms * 1e6)
