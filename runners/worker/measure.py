"""Measuring loops for one call in flight: warm-up, latency, end to end. NumPy only.

Latency is `start(); wait()` on inputs that are bound before. End to end adds `bind` before and `fetch` after.
A state that is fed back, and each of several arrays in turn, moves outside latency and inside end to end.
lanes.py measures several calls in flight.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Array, Session
from ...backends.recurrence import step_of
from .clock import Clock

Now = Callable[[], int]
Samples = NDArray[np.int64]

STATIONARY = 0.05  # relative difference of the smallest and the largest median
WINDOWS = 5
REWARM_SHARE, REWARM_NS = 0.1, 10_000_000  # in 10 ms the system spreads the threads over its CPUs
SETTLE_STEP_S, SETTLE_LIMIT_S, IDLE_SHARE = 0.01, 1.0, 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUpResult:
    """End of a warm-up: number of calls, duration in ns, and True if the series became stationary."""

    calls: int
    took_ns: int
    stationary: bool


@contextmanager
def quiet() -> Iterator[None]:
    """Disable garbage collection inside: its pauses belong to the harness, not to the runtime."""
    gc.collect()
    gc.freeze()  # later collections skip the surviving objects: a framework's heap takes long to walk
    with uncollected():
        yield


@contextmanager
def importing() -> Iterator[None]:
    """Disable garbage collection inside. Later collections skip the objects that an import makes, which stay."""
    with uncollected():
        yield
        gc.freeze()


@contextmanager
def uncollected() -> Iterator[None]:
    """Disable garbage collection inside, without a collection before."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def first_call(session: Session, now: Now) -> int:
    """Duration of the session's first call, in ns."""
    session.enter()
    begin = now()
    session.start()
    session.wait()
    return now() - begin


def latency(session: Session, now: Now, *, least_ns: int, least_calls: int = 1) -> Samples:
    """Make single calls for `least_ns`, and at least `least_calls`. Return int64 [calls], ns."""
    session.enter()
    samples: list[int] = []
    # Local names: an attribute lookup costs tens of nanoseconds in every call.
    start, wait, append, prepare = session.start, session.wait, samples.append, preparation(session)
    end = now() + least_ns
    before = after = 0
    while after < end or len(samples) < least_calls:
        if prepare:
            prepare()
        before = now()
        start()
        wait()
        after = now()
        append(after - before)
    return np.array(samples, np.int64)


def preparation(session: Session) -> Callable[[], None] | None:
    """Function that prepares a call of `session`, outside of the call's time; None where nothing is to prepare.

    It does the session's step, waits until its copies are done, and does what precedes each call.
    """
    step, precede = step_of(session), session.precede
    if step is None:
        return precede

    def prepare() -> None:
        step.advance(session)
        session.wait()
        if precede:
            precede()

    return prepare


def restart(session: Session) -> None:
    """Begin the session's next call with the initial state, if the session has a state."""
    if session.recurrence:
        session.recurrence.restart()


def end_to_end(session: Session, inputs: Mapping[str, Array], now: Now, *, least_ns: int, least_calls: int = 1) -> Samples:
    """Like `latency`, but each call copies its inputs from host arrays and its outputs to host arrays.

    The inputs are in pinned memory where the device copies faster from there. A state that is fed back moves through
    the host, like every other array.
    """
    session.enter()
    samples: list[int] = []
    given, recurrence, rotation = session.pin(inputs), session.recurrence, session.rotation
    restart(session)
    end = now() + least_ns
    after = 0
    while after < end or len(samples) < least_calls:
        if rotation:
            given = session.pin(rotation.take())
        if session.precede:
            session.precede()
        before = now()
        session.bind(given)
        session.start()
        session.wait()
        outputs = session.fetch()
        if recurrence:
            given = {**given, **recurrence.next_inputs(outputs)}
        after = now()
        samples.append(after - before)
    restart(session)
    return np.array(samples, np.int64)


def on_device(session: Session, now: Now, *, least_ns: int, least_calls: int = 1) -> Samples:
    """Single calls timed by the device's own clock, for `least_ns` of the host's clock.

    Return int64 [calls], ns; empty for a device without a clock.
    """
    session.enter()
    samples: list[int] = []
    prepare, end = preparation(session), now() + least_ns
    while now() < end or len(samples) < least_calls:
        if prepare:
            prepare()
        duration_ns = session.device_ns()
        if duration_ns is None:  # no call was made, so no output can be handed over
            restart(session)
            break
        samples.append(duration_ns)
    return np.array(samples, np.int64)


def warm_up(session: Session, now: Now, *, least_ns: int, limit_ns: int) -> WarmUpResult:
    """Call until the latency is stationary, or for `limit_ns`. A stationary series takes `least_ns`."""
    return until_stationary(lambda window_ns: latency(session, now, least_ns=window_ns), now, least_ns, limit_ns)


def until_stationary(window: Callable[[int], Samples], now: Now, least_ns: int, limit_ns: int) -> WarmUpResult:
    """Measure windows until the medians of WINDOWS consecutive ones differ by less than STATIONARY, or for `limit_ns`.

    `window(ns)` makes calls for a fifth of `least_ns`, and at least one call. It returns their latencies.
    """
    begin = now()
    medians: list[float] = []
    calls, stationary = 0, False
    while not stationary and now() - begin < limit_ns:
        samples = window(least_ns // WINDOWS)
        calls += len(samples)
        medians = [*medians, float(np.median(samples))][-WINDOWS:]
        stationary = len(medians) == WINDOWS and max(medians) <= min(medians) * (1 + STATIONARY)
    return WarmUpResult(calls=calls, took_ns=now() - begin, stationary=stationary)


def rewarm(session: Session, now: Now, *, block_ns: int) -> None:
    """Make untimed calls at the beginning of a visit: caches and clocks cooled during the visits of other
    cells."""
    latency(session, now, least_ns=max(min(REWARM_NS, block_ns), int(block_ns * REWARM_SHARE)))


def settle(clock: Clock) -> bool:
    """Sleep until this process is idle, for the next cell's sake; False after SETTLE_LIMIT_S.

    Idle threads of a runtime spin after a call (ONNX Runtime: about 50 ms), as in a deployment. The
    measurement waits for them, because another wait policy would cost latency (docs/adr/0007).
    """
    begin, idle = clock.now_ns(), False
    while not idle and clock.since_s(begin) < SETTLE_LIMIT_S:
        used = clock.cpu_ns()
        clock.sleep_s(SETTLE_STEP_S)
        idle = clock.cpu_ns() - used < IDLE_SHARE * SETTLE_STEP_S * 1e9
    return idle
