"""Several calls in flight: throughput over a block, and the search for the settings that have the most of it. NumPy only.

A lane is one call in flight. Sessions whose `start` returns at once are all driven by one thread, first in, first out;
the others have a thread each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..backends.protocol import Session
from ..spec import Concurrency

Now = Callable[[], int]
Open = Callable[[Concurrency], Sequence[Session]]

GAIN = 1.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """`calls` inferences completed in `took_ns` nanoseconds with `lanes` in flight.

    With several threads `calls` may have a fraction: what a lane completed in its own time, scaled to the longest one.
    """

    calls: float
    took_ns: int
    lanes: int

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.took_ns * 1e9


def throughput(sessions: Sequence[Session], now: Now, *, least_ns: int, least_calls: int = 1) -> Rate:
    """Keep one call in flight on each of `sessions`, whose inputs are bound, for `least_ns` and `least_calls` each."""
    if sessions[0].asynchronous:
        return _ring(sessions, now, least_ns, least_calls)
    if len(sessions) == 1:
        calls, took_ns = _calls(sessions[0], now, least_ns, least_calls)
        return Rate(calls=calls, took_ns=took_ns, lanes=1)
    return _threads(sessions, now, least_ns, least_calls)


def _calls(session: Session, now: Now, least_ns: int, least_calls: int) -> tuple[int, int]:
    """How many calls one lane completed, and in what time."""
    session.enter()
    start, wait = session.start, session.wait
    calls, begin = 0, now()
    end = after = begin
    end += least_ns
    while after < end or calls < least_calls:
        start()
        wait()
        calls += 1
        after = now()
    return calls, after - begin


def _ring(sessions: Sequence[Session], now: Now, least_ns: int, least_calls: int) -> Rate:
    """One thread waits for the oldest call and starts the next on its slot.

    Counted is from the end of the first call to the end of the same slot's last, so that as many calls as there
    are lanes are in flight all the time; the calls that fill the lanes and those that drain them are not counted.
    """
    for session in sessions:
        session.enter()
        session.start()
    sessions[0].wait()
    turns, begin = 0, now()
    after, end = begin, begin + least_ns
    others = sessions[1:]
    while after < end or turns < least_calls:
        sessions[0].start()
        for session in others:
            session.wait()
            session.start()
        sessions[0].wait()
        turns, after = turns + 1, now()
    for session in others:
        session.wait()
    return Rate(calls=turns * len(sessions), took_ns=after - begin, lanes=len(sessions))


def _threads(sessions: Sequence[Session], now: Now, least_ns: int, least_calls: int) -> Rate:
    """Lanes begin together; one that has counted its calls goes on uncounted until all have, so the load stays the same."""
    gate = threading.Barrier(len(sessions) + 1)
    results: list[tuple[int, int]] = []
    errors: list[BaseException] = []

    def lane(session: Session) -> None:
        gate.wait()
        try:
            results.append(_calls(session, now, least_ns, least_calls))
            while len(results) < len(sessions) and not errors:
                session.start()
                session.wait()
        except BaseException as error:  # raised again by the caller's thread
            errors.append(error)

    workers = [threading.Thread(target=lane, args=(session,), daemon=True) for session in sessions]
    for worker in workers:
        worker.start()
    gate.wait()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    longest = max(took for _, took in results)
    return Rate(calls=sum(calls * longest / took for calls, took in results), took_ns=longest, lanes=len(sessions))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a candidate is tried at first: `passes` times for `length_ns`; `rest` is called after each, and returns when
    the threads that it used are idle."""

    length_ns: int
    passes: int
    rest: Callable[[], object]


def search(candidates: Sequence[Concurrency], open_lanes: Open, now: Now, *, trial: Trial) -> dict[Concurrency, float]:
    """Calls a second of each candidate, the best one last; by successive halving.

    `open_lanes(candidate)` gives its sessions with inputs bound. All candidates are tried as `trial` says; the faster half
    goes on with twice the time, until one is left. The best of a candidate's rates counts: what disturbs a try only ever
    makes it slower. Of the last two, if they are within GAIN of each other, the one with fewer lanes is better. What
    cannot be run in a candidate's way has the rate 0.
    """
    rates: dict[Concurrency, float] = dict.fromkeys(candidates, 0.0)
    left, length_ns = list(candidates), trial.length_ns
    while len(left) > 1:
        for candidate in left * trial.passes:
            rate = partial(throughput, now=now, least_ns=length_ns)
            rates[candidate] = _better(rates[candidate], open_lanes, candidate, rate)
            trial.rest()
        left, length_ns = _better_half(left, rates), 2 * length_ns
        left = [candidate for candidate in left if rates[candidate] > 0] or left[:1]
    return {**{candidate: rates[candidate] for candidate in candidates if candidate not in left}, left[0]: rates[left[0]]}


def _better(known: float, open_lanes: Open, candidate: Concurrency, rate: Callable[[Sequence[Session]], Rate]) -> float:
    try:
        return max(known, rate(open_lanes(candidate)).calls_per_s)
    except Exception:  # out of memory, in whatever words a runtime has for it
        return 0.0


def _better_half(left: Sequence[Concurrency], rates: dict[Concurrency, float]) -> list[Concurrency]:
    ranked = sorted(left, key=lambda candidate: -rates[candidate])
    if len(ranked) > 2:
        return ranked[: (len(ranked) + 1) // 2]
    near = [candidate for candidate in ranked if rates[candidate] * GAIN >= rates[ranked[0]]]
    return [min(near, key=lambda candidate: candidate.lanes)]
