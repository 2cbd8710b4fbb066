"""Search of a runtime's options before its tuned row is measured: one option after the other, each by a race and a duel.

The search decides what is measured. Its own times never reach a row: the best of many noisy times is too good (docs/adr/0047).
Loads no framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from ...evidence import LATENCY, THROUGHPUT, Tuned
from ...tuning import Pairs, TriedOptions, Tunable, merged, written
from ..worker.race import race
from . import builds
from .cells import ActiveCell, RunContext
from .conversions import convert_files
from .hiring import hire, hire_builder
from .opening import Hire
from .tune_bench import TuneBench

PASSES = 3  # least passes of a race: with two, a single disturbed block decides
GAIN = 1.02  # other options must gain 2 % in a race, because the default needs no reason
DUELS, LOSSES, SURE_GAIN = 10, 1, 1.01
"""Further pairs of blocks of a race's winner and of the best so far, the most that it may lose, and the least gain.

Of two equal candidates, one wins nine of ten pairs or more with a probability of 1 %.
"""

FAILED_GAIN = 2.0  # of a candidate over one that failed


def prepare_unit(run: RunContext, cells: Sequence[ActiveCell], unit: Sequence[ActiveCell]) -> None:
    """Convert the files of the cells in `unit`, search their options, and build the engines that are missing. `cells`: all."""
    convert_files(run, unit)
    tune_cells(run, unit, cells, hire(run.journal, run.context.pool, {}, log_name="tune"))
    builds.build_engines(run, unit, hire_builder(run.journal, run.context.pool))


def tune_cells(run: RunContext, unit: Sequence[ActiveCell], cells: Sequence[ActiveCell], hire: Hire) -> None:
    """Search the options of each tuned cell in `unit` that has no result yet."""
    left = [active for active in unit if active.live and active.planned.tunables and active.tuned is None]
    keys = {active.planned.cell: active.key for active in cells}
    run.total += len(left)
    for active in left:
        run.check_stop()
        beside = keys.get(active.planned.beside, "") if active.planned.beside else ""
        if tuned := _options_of_one_gpu(active, cells, beside):
            _take(run, active, tuned)
        else:
            run.attempt(active, partial(_tune, run, hire, beside))


def _options_of_one_gpu(active: ActiveCell, cells: Sequence[ActiveCell], beside: str) -> Tuned | None:
    """Options of a cell on several GPUs: those of the cell on one, with which its scaling is computed. None without them."""
    own = active.planned.cell
    tuned = next((item.tuned for item in cells if item.tuned and item.planned.cell.is_one_gpu_of(own)), None)
    return tuned and replace(tuned, beside=beside)


def _take(run: RunContext, active: ActiveCell, tuned: Tuned) -> None:
    """Use the result of a search. A cell for which nothing is faster ends: its figures are those of the cell beside."""
    run.journal.add(active.key, tuned)
    active.tuned = tuned
    if active.is_default:
        active.built = active.complete = active.finished = True


def _tune(run: RunContext, hire: Hire, beside: str, active: ActiveCell) -> None:
    """Find the options of `active`."""
    begin = run.context.clock.now_ns()
    with run.context.pool.contiguous_memory(), TuneBench(run, active, hire) as bench:
        search = Search(bench, active.planned.tunables, run.sweep.budget.passes, run.sweep.budget.tune_s / 2)
        latency = search.best(LATENCY)
        throughput = () if active.latency_only else search.best(THROUGHPUT)
    tuned = Tuned(
        latency=latency,
        throughput=latency if active.latency_only else throughput,
        beside=beside,
        default=str(active.planned.beside.target) if active.planned.beside else "",
        seconds=run.context.clock.since_s(begin),
        untried=tuple(search.untried),
        candidates=(*search.candidates, *bench.dropped),
    )
    _take(run, active, tuned)
    text = f"{written(tuned.latency)} for latency, {written(tuned.throughput)} for throughput"
    run.context.progress.note(f"{active.planned.cell.id}: searched its options in {tuned.seconds:.1f} s: {text}")


class Search:
    """Searches over `tunables` on one bench. `limit_s`: time after which a search tries no further option."""

    def __init__(self, bench: TuneBench, tunables: Sequence[Tunable], passes: int, limit_s: float) -> None:
        self._bench, self._tunables, self._passes, self._limit_s = bench, tunables, max(PASSES, passes), limit_s
        self.candidates: list[TriedOptions] = []
        self.untried: list[tuple[str, str]] = []

    def best(self, of: str) -> Pairs:
        """Options that are surely faster than the default `of` latency or throughput, with right answers; empty for none."""
        self._bench.begin(of)
        best: Pairs = ()
        speed = 1.0
        for tunable in self._tunables:
            if self._bench.spent_s() > self._limit_s:
                self.untried.append((of, tunable.name))
                continue
            best, speed = self._race(of, tunable, best, speed)
            self._bench.keep(((), best))
        return best if not best or self._bench.is_right(best) else ()

    def _race(self, of: str, tunable: Tunable, best: Pairs, speed: float) -> tuple[Pairs, float]:
        """The best options after a race of the values of one option, and their speed relative to the default's."""
        others = [merged(best, ((tunable.name, value),)) for value in tunable.values[1:]]
        result = race((best, *others), partial(self._bench.rate, of), self._passes)
        gains = {options: _gain(result.rates[options], result.rates[best]) for options in others}
        self.candidates += [TriedOptions(of=of, options=each, speed=speed * gain) for each, gain in gains.items() if gain]
        first = max(result.scores, key=lambda options: result.scores[options])
        is_better = gains.get(first, 0.0) > GAIN and self._is_faster(of, first, best)
        return (first, speed * gains[first]) if is_better else (best, speed)

    def _is_faster(self, of: str, first: Pairs, than: Pairs) -> bool:
        """True if `first` is faster in nearly all of further pairs of blocks: a race alone picks the luckiest of several."""
        own: list[float] = []
        others: list[float] = []
        losses = 0
        while losses <= LOSSES and len(own) < DUELS:
            order = (than, first) if len(own) % 2 else (first, than)  # in turn: neither is always the later one
            rates = {options: self._bench.rate(of, options) for options in order}
            own.append(rates[first])
            others.append(rates[than])
            losses += rates[first] <= rates[than]
        return losses <= LOSSES and _gain(own, others) > SURE_GAIN


def _gain(rates: Sequence[float], than: Sequence[float]) -> float:
    """Median over passes of the ratio of two candidates; 0 if the first one failed, and FAILED_GAIN if the other one did."""
    if min(rates, default=0.0) <= 0:
        return 0.0
    return median(rate / other if other > 0 else FAILED_GAIN for rate, other in zip(rates, than))
