"""The measuring loops for one call in flight: warm-up, latency, end to end. NumPy only; every session looks the same.

Latency is `start(); wait()` on inputs that are bound already; end to end adds `bind` before and `fetch` after.
Several calls in flight are in lanes.py.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Array, Session
from .clock import Clock

Now = Callable[[], int]
Samples = NDArray[np.int64]

STATIONARY = 0.05
WINDOWS = 5
REWARM_SHARE = 0.1
SETTLE_STEP_S, SETTLE_LIMIT_S, IDLE_SHARE = 0.01, 1.0, 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUpResult:
    """How a warm-up ended: after `calls` calls and `took_ns`, with the series stationary or not."""

    calls: int
    took_ns: int
    stationary: bool


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection inside: its pauses are the harness's and not the runtime's.

    What survives the collection before is not looked at again, or each visit would begin with a walk through all that a
    framework keeps.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def first_call(session: Session, now: Now) -> int:
    """Nanoseconds of one call, the first."""
    session.enter()
    begin = now()
    session.start()
    session.wait()
    return now() - begin


def latency(session: Session, now: Now, *, least_ns: int, least_calls: int = 1) -> Samples:
    """Single calls, one in flight, until `least_ns` have passed and `least_calls` are done. int64 [calls], ns."""
    session.enter()
    samples: list[int] = []
    start, wait, append = session.start, session.wait, samples.append
    end = now() + least_ns
    before = after = 0
    while after < end or len(samples) < least_calls:
        before = now()
        start()
        wait()
        after = now()
        append(after - before)
    return np.array(samples, np.int64)


def end_to_end(session: Session, inputs: Mapping[str, Array], now: Now, *, least_ns: int, least_calls: int = 1) -> Samples:
    """As `latency`, with the inputs coming from and the outputs going to host arrays in every call.

    Where a device copies faster from memory of its own kind (pinned), the inputs are there already.
    """
    session.enter()
    samples: list[int] = []
    inputs = session.pin(inputs)
    end = now() + least_ns
    after = 0
    while after < end or len(samples) < least_calls:
        before = now()
        session.bind(inputs)
        session.start()
        session.wait()
        session.fetch()
        after = now()
        samples.append(after - before)
    return np.array(samples, np.int64)


def on_device(session: Session, now: Now, *, least_ns: int, least_calls: int = 1) -> Samples:
    """Single calls by the device's own clock, until `least_ns` have passed by ours. int64 [calls], ns; empty without one."""
    session.enter()
    samples: list[int] = []
    end = now() + least_ns
    while now() < end or len(samples) < least_calls:
        took = session.device_ns()
        if took is None:
            break
        samples.append(took)
    return np.array(samples, np.int64)


def warm_up(session: Session, now: Now, *, least_ns: int, limit_ns: int) -> WarmUpResult:
    """Call until the medians of WINDOWS consecutive windows lie within STATIONARY of each other, or until `limit_ns`.

    A window is a fifth of `least_ns` (and at least one call), so a stationary series takes `least_ns`.
    """
    begin = now()
    medians: list[float] = []
    calls, stationary = 0, False
    while not stationary and now() - begin < limit_ns:
        window = latency(session, now, least_ns=least_ns // WINDOWS)
        calls += len(window)
        medians = [*medians, float(np.median(window))][-WINDOWS:]
        stationary = len(medians) == WINDOWS and max(medians) <= min(medians) * (1 + STATIONARY)
    return WarmUpResult(calls=calls, took_ns=now() - begin, stationary=stationary)


def rewarm(session: Session, now: Now, *, block_ns: int) -> None:
    """Untimed calls at the beginning of a visit: caches and clocks have cooled while others were measured."""
    latency(session, now, least_ns=int(block_ns * REWARM_SHARE))


def settle(clock: Clock) -> bool:
    """Sleep until this process computes no more, so that the next cell has the machine; False if SETTLE_LIMIT_S passed.

    Runtimes let idle threads spin after a call (ONNX Runtime for about 50 ms), as they do in a deployment; they are
    waited for rather than told to wait in another way, which would cost them latency (docs/adr/0007).
    """
    begin, idle = clock.now_ns(), False
    while not idle and clock.since_s(begin) < SETTLE_LIMIT_S:
        used = clock.cpu_ns()
        clock.sleep_s(SETTLE_STEP_S)
        idle = clock.cpu_ns() - used < IDLE_SHARE * SETTLE_STEP_S * 1e9
    return idle
