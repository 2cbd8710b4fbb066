"""Several calls in flight: throughput over a block, and the search for the settings that have the most of it. NumPy only.

A lane is one call in flight. Sessions whose `start` returns at once are all driven by one thread, first in, first out;
the others have a thread each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ...backends.protocol import Session
from ...evidence import Rate
from ...spec import Concurrency

Now = Callable[[], int]
Open = Callable[[Concurrency], Sequence[Session]]

GAIN = 1.01
HOPELESS, SURE_AFTER = 0.85, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """Of a block: `least_ns` counted, after `lead_ns` of calls that are not, in which caches warm up and the system
    spreads the threads over its CPUs. Each lane makes one call at least."""

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
    """How many calls one lane completed after the lead, and in what time."""
    session.enter()
    if length.lead_ns:
        _calls(session, now, length.lead_ns)
    return _calls(session, now, length.least_ns)


def _calls(session: Session, now: Now, least_ns: int) -> tuple[int, int]:
    start, wait = session.start, session.wait
    calls, begin = 0, now()
    after, end = begin, begin + least_ns
    while after < end or not calls:
        start()
        wait()
        calls += 1
        after = now()
    return calls, after - begin


def _ring(sessions: Sequence[Session], now: Now, length: Length) -> Rate:
    """One thread waits for the oldest call and starts the next on its lane.

    Counted is from the end of one call to the end of the same lane's last, so that as many calls as there are lanes
    are in flight all the time; the calls that fill the lanes and those that drain them are not counted.
    """
    for session in sessions:
        session.enter()
        session.start()
    sessions[0].wait()
    if length.lead_ns:
        _turns(sessions, now, length.lead_ns)
    turns, took_ns = _turns(sessions, now, length.least_ns)
    for session in sessions[1:]:
        session.wait()
    return Rate(calls=turns * len(sessions), took_ns=took_ns, lanes=len(sessions))


def _turns(sessions: Sequence[Session], now: Now, least_ns: int) -> tuple[int, int]:
    """How often the ring went round, and in what time; the first session is idle before and after."""
    first, others = sessions[0], sessions[1:]
    turns, begin = 0, now()
    after, end = begin, begin + least_ns
    while after < end or not turns:
        first.start()
        for session in others:
            session.wait()
            session.start()
        first.wait()
        turns, after = turns + 1, now()
    return turns, after - begin


def _threads(sessions: Sequence[Session], now: Now, length: Length) -> Rate:
    """Lanes begin together; one that has counted its calls goes on uncounted until all have, so the load stays the same."""
    gate = threading.Barrier(len(sessions) + 1)
    results: list[tuple[int, int]] = []
    errors: list[BaseException] = []

    def lane(session: Session) -> None:
        gate.wait()
        try:
            results.append(_counted(session, now, length))
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
    """How candidates are tried: all of them for `length` in each of `passes`; `rest` is called after each, and returns
    when the threads that it used are idle."""

    length: Length
    passes: int
    rest: Callable[[], object]


def search(candidates: Sequence[Concurrency], open_lanes: Open, now: Now, *, trial: Trial) -> dict[Concurrency, float]:
    """Calls a second of each candidate, the best one last; by racing.

    `open_lanes(candidate)` gives its sessions with inputs bound. In each pass every candidate that is left is tried, and
    what counts is its rate over that of the others in the same pass, since a machine's speed changes between passes: the
    median over all passes. From the third pass on a candidate further than HOPELESS behind the best is left out. At the end
    the fewest lanes within GAIN of the best are chosen. What cannot be run in a candidate's way has the rate 0.
    """
    tried: dict[Concurrency, list[float]] = {candidate: [] for candidate in candidates}
    left = list(candidates)
    for number in range(trial.passes if len(left) > 1 else 0):
        for candidate in left:
            tried[candidate].append(_rate(open_lanes, candidate, now, trial.length))
            trial.rest()
        scores = _scores({candidate: tried[candidate] for candidate in left})
        least = HOPELESS * max(scores.values()) if number >= SURE_AFTER else 0.0
        left = [candidate for candidate in left if scores[candidate] > least] or left[:1]
    scores = _scores({candidate: tried[candidate] for candidate in left})
    near = [candidate for candidate in left if scores[candidate] * GAIN >= max(scores.values())]
    best = min(near, key=lambda candidate: (candidate.lanes, -scores[candidate]))
    order = [*(candidate for candidate in candidates if candidate != best), best]
    return {candidate: median(tried[candidate] or [0.0]) for candidate in order}


def _rate(open_lanes: Open, candidate: Concurrency, now: Now, length: Length) -> float:
    try:
        return throughput(open_lanes(candidate), now, length).calls_per_s
    except Exception:  # out of memory, in whatever words a runtime has for it
        return 0.0


def _scores(tried: Mapping[Concurrency, Sequence[float]]) -> dict[Concurrency, float]:
    """The median over passes of each candidate's rate over the mean of all in that pass; 0 for one that ever failed."""
    means = [sum(rates) / len(rates) or 1.0 for rates in zip(*tried.values())]
    return {
        candidate: median(rate / mean for rate, mean in zip(rates, means)) if rates and min(rates) > 0 else 0.0
        for candidate, rates in tried.items()
    }
