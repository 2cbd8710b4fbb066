"""The measuring loops: warm-up, latency, end to end, throughput. NumPy only; every session looks the same to them.

MEASURING, in one place: latency is `start(); wait()` on inputs that are bound already; end to end adds `bind` before
and `fetch` after; throughput is calls completed over an uninterrupted block with `lanes` calls in flight.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Array, Session
from .clock import Clock

Now = Callable[[], int]
Samples = NDArray[np.int64]

STATIONARY = 0.05
WINDOWS = 5
REWARM_SHARE = 0.1
LANES = (1, 2, 4)
LANE_GAIN = 1.03
SEARCH_PASSES = 2
SETTLE_STEP_S, SETTLE_LIMIT_S, IDLE_SHARE = 0.01, 1.0, 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """How a warm-up ended: after `calls` calls and `took_ns`, with the series stationary or not."""

    calls: int
    took_ns: int
    stationary: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """`calls` inferences completed in `took_ns` nanoseconds with `lanes` in flight.

    With several lanes `calls` may have a fraction: a lane that ended before the last is counted on at its own rate.
    """

    calls: float
    took_ns: int
    lanes: int

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.took_ns * 1e9


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection inside: its pauses are the harness's and not the runtime's."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def first_call(session: Session, now: Now) -> int:
    """Nanoseconds of one call, the first."""
    begin = now()
    session.start()
    session.wait()
    return now() - begin


def latency(session: Session, now: Now, *, least_ns: int, least_calls: int = 1) -> Samples:
    """Single calls, one in flight, until `least_ns` have passed and `least_calls` are done. int64 [calls], ns."""
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
    """As `latency`, with the inputs coming from and the outputs going to host arrays in every call."""
    samples: list[int] = []
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


def warm_up(session: Session, now: Now, *, least_ns: int, limit_ns: int) -> WarmUp:
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
    return WarmUp(calls=calls, took_ns=now() - begin, stationary=stationary)


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


def throughput(sessions: Sequence[Session], now: Now, *, least_ns: int) -> Rate:
    """Keep one call in flight on each session for `least_ns`. Each lane has a thread of its own beyond one."""
    if len(sessions) == 1:
        begin = now()
        calls = len(latency(sessions[0], now, least_ns=least_ns))
        return Rate(calls=calls, took_ns=now() - begin, lanes=1)
    return _parallel(sessions, now, least_ns)


def _parallel(sessions: Sequence[Session], now: Now, least_ns: int) -> Rate:
    """Lanes begin together; each ends with the call that crosses the end, so the rate is a sum of lanes' rates.

    What is counted is calls over the time from the common begin to the last lane's end, scaled for lanes that ended
    earlier: a sum over lanes of calls by its own time, times the block's time.
    """
    gate = threading.Barrier(len(sessions) + 1)
    results: list[tuple[int, int]] = []
    errors: list[BaseException] = []

    def lane(session: Session) -> None:
        gate.wait()
        try:
            begin = now()
            calls = len(latency(session, now, least_ns=least_ns))
            results.append((calls, now() - begin))
        except BaseException as error:  # raised again by the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=lane, args=(session,), daemon=True) for session in sessions]
    for thread in threads:
        thread.start()
    gate.wait()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    longest = max(took for _, took in results)
    calls = sum(calls * longest / took for calls, took in results)
    return Rate(calls=calls, took_ns=longest, lanes=len(sessions))


def best_lanes(fork: Callable[[int], Sequence[Session]], now: Now, *, least_ns: int) -> int:
    """The fewest lanes, of LANES, whose rate is within LANE_GAIN of the highest.

    `fork(n)` gives n sessions with inputs bound. Each number is tried for one block in each of SEARCH_PASSES passes, and
    its best rate counts: what disturbs a block only ever makes it slower.
    """
    rates = dict.fromkeys(LANES, 0.0)
    for _ in range(SEARCH_PASSES):
        for lanes in LANES:
            sessions = fork(lanes)
            rewarm(sessions[-1], now, block_ns=least_ns)
            rates[lanes] = max(rates[lanes], throughput(sessions, now, least_ns=least_ns).calls_per_s)
    return next(lanes for lanes, rate in rates.items() if rate * LANE_GAIN >= max(rates.values()))
