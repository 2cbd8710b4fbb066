"""Several calls in flight: throughput over a block, and the search for the best concurrency. NumPy only.

A lane is one call in flight. One thread drives all asynchronous sessions, first in, first out. Each blocking
session has a thread of its own.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from ...backends.protocol import Session
from ...backends.recurrence import starter
from ...evidence import Rate
from ...spec import Concurrency
from .race import race

Now = Callable[[], int]
Open = Callable[[Concurrency], Sequence[Session]]

GAIN = 1.01  # more lanes must gain 1 %, because each costs memory and latency


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """Length of a block: `least_ns` are counted, after `lead_ns` that are not.

    Caches warm up in the lead, and the system spreads the threads over its CPUs. Each lane makes at least one
    call.
    """

    least_ns: int
    lead_ns: int = 0


def throughput(sessions: Sequence[Session], now: Now, length: Length) -> Rate:
    """Keep one call in flight on each of `sessions`, whose inputs are bound."""
    if sessions[0].asynchronous:
        return _ring(sessions, now, length)
    if len(sessions) == 1:
        calls, took_ns = _counted(sessions[0], now, length)
        return Rate(calls=calls, took_ns=took_ns, lanes=1)
    return _threads(sessions, now, length)


def _counted(session: Session, now: Now, length: Length) -> tuple[int, int]:
    """Number of calls that one lane completes after the lead, and their time in ns."""
    session.enter()
    if length.lead_ns:
        _calls(session, now, length.lead_ns)
    return _calls(session, now, length.least_ns)


def _calls(session: Session, now: Now, least_ns: int) -> tuple[int, int]:
    """Number of calls in at least `least_ns`, and their time in ns."""
    start, wait = starter(session), session.wait
    calls, begin = 0, now()
    after, end = begin, begin + least_ns
    while after < end or not calls:
        start()
        wait()
        calls += 1
        after = now()
    return calls, after - begin


def _ring(sessions: Sequence[Session], now: Now, length: Length) -> Rate:
    """Drive all lanes from one thread: wait for the oldest call, then start the next call on its lane.

    The counted time runs from the end of one call to the end of the same lane's last call. All lanes are
    therefore busy during the whole counted time. The calls that fill and drain the ring are not counted.
    """
    for session in sessions:
        session.enter()
        starter(session)()
    sessions[0].wait()
    if length.lead_ns:
        _turns(sessions, now, length.lead_ns)
    turns, took_ns = _turns(sessions, now, length.least_ns)
    for session in sessions[1:]:
        session.wait()
    return Rate(calls=turns * len(sessions), took_ns=took_ns, lanes=len(sessions))


def _turns(sessions: Sequence[Session], now: Now, least_ns: int) -> tuple[int, int]:
    """Number of rounds over all lanes, and their time in ns; the first session is idle before and after."""
    first, others = sessions[0], [(session.wait, starter(session)) for session in sessions[1:]]
    start_first = starter(first)
    turns, begin = 0, now()
    after, end = begin, begin + least_ns
    while after < end or not turns:
        start_first()
        for wait, start in others:
            wait()
            start()
        first.wait()
        turns, after = turns + 1, now()
    return turns, after - begin


def _threads(sessions: Sequence[Session], now: Now, length: Length) -> Rate:
    """Drive each lane from a thread of its own; all begin together.

    A lane that has counted its calls continues uncounted until all lanes have, because the load must stay
    equal.
    """
    gate = threading.Barrier(len(sessions) + 1)
    results: list[tuple[int, int]] = []
    errors: list[BaseException] = []

    def lane(session: Session) -> None:
        gate.wait()
        try:
            results.append(_counted(session, now, length))
            start = starter(session)
            while len(results) < len(sessions) and not errors:
                start()
                session.wait()
        except BaseException as error:  # the caller's thread raises it again
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
    """Settings of the search: every candidate runs for `length` in each of `passes`.

    `rest` is called after each run, and returns when the threads of the run are idle. `limit_ns`: time of the search after
    which no further pass begins. Runs of slow calls are longer than `length`, and fewer of them measure as much.
    """

    length: Length
    passes: int
    rest: Callable[[], object]
    limit_ns: float = math.inf


def search(candidates: Sequence[Concurrency], open_lanes: Open, now: Now, *, trial: Trial) -> dict[Concurrency, float]:
    """Calls a second of each candidate, the best candidate last, by racing.

    `open_lanes(candidate)` returns its sessions with inputs bound. The winner has the fewest lanes among the
    candidates within GAIN of the best. A candidate that fails has the rate 0.
    """

    def rate(candidate: Concurrency) -> float:
        calls_per_s = _rate(open_lanes, candidate, now, trial.length)
        trial.rest()
        return calls_per_s

    begin = now()
    result = race(candidates, rate, trial.passes, lambda: now() - begin > trial.limit_ns)
    near = [candidate for candidate, score in result.scores.items() if score * GAIN >= max(result.scores.values())]
    best = min(near, key=lambda candidate: (candidate.lanes, -result.scores[candidate]))
    order = [*(candidate for candidate in candidates if candidate != best), best]
    return {candidate: median(result.rates[candidate] or [0.0]) for candidate in order}


def _rate(open_lanes: Open, candidate: Concurrency, now: Now, length: Length) -> float:
    try:
        return throughput(open_lanes(candidate), now, length).calls_per_s
    except Exception:  # out of memory: each runtime raises a type of its own
        return 0.0
