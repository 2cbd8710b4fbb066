"""Worker in which the candidates of a search are opened and timed. A candidate that fails is dropped, with the reason.

Loads no framework.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from ...errors import BenchError, Interrupted, OutOfMemory, StorageFailed
from ...evidence import LATENCY, THROUGHPUT, Opened, Verified
from ...results.store.verdict import OK, RANKS, judge
from ...spec import Cell, Concurrency
from ...tuning import Pairs, TriedOptions
from ..pool.pool import Worker
from ..worker.jobs import Build, Close, Here, Job, Open, Probe, There, TimeLatency, TimeThroughput, Verify, WarmUp
from .cells import ActiveCell, RunContext, with_options
from .opening import Hire
from .parity import settle

BLOCK_MS = 25.0  # of one candidate in one pass

Answer = TypeVar("Answer")


class TuneBench:
    """One worker for the candidates of one cell. It is replaced where a candidate ends it. A context manager.

    `dropped`: candidates that failed, or that compute in other types than the default.
    """

    def __init__(self, run: RunContext, active: ActiveCell, hire: Hire) -> None:
        self._run, self._active, self._hire = run, active, hire
        self._workers: list[Worker] = []  # one at most
        self._open: dict[Pairs, Cell] = {}
        self._reasons: dict[Pairs, str] = {}
        self._executed: dict[Pairs, str] = {}
        self._statuses: dict[Pairs, str] = {}
        self._concurrency: Concurrency | None = None
        self._is_alone = False  # the memory is too short for two candidates
        self._of, self._begin_ns, self._apart_s = LATENCY, 0, 0.0
        self.dropped: list[TriedOptions] = []

    def __enter__(self) -> TuneBench:
        return self

    def __exit__(self, *_: object) -> None:
        self._dismiss()

    def begin(self, of: str) -> None:
        """Begin a search `of` latency or throughput. The concurrency of the default is searched for the latter."""
        self._of, self._begin_ns, self._apart_s = of, self._run.context.clock.now_ns(), 0.0
        if of == THROUGHPUT and self._concurrency is None:
            try:
                self._concurrency = self._warm(self._opened(()), None)
            except (StorageFailed, Interrupted):
                raise
            except BenchError as error:
                self._drop((), error)

    def spent_s(self) -> float:
        """Seconds since `begin`, without those of engines, which are built once, and of the runtime's import."""
        return self._run.context.clock.since_s(self._begin_ns) - self._apart_s

    def rate(self, of: str, options: Pairs) -> float:
        """Calls a second of a candidate in one block; 0 for one that failed, now or before."""
        self._run.check_stop()
        if options in self._reasons:
            return 0.0
        try:
            return self._rate(of, options)
        except (StorageFailed, Interrupted):  # of the machine or the user, and not of the candidate
            raise
        except OutOfMemory as error:
            return self._rate_alone(of, options, error)
        except BenchError as error:
            self._drop(options, error)
            return 0.0

    def _rate(self, of: str, options: Pairs) -> float:
        cell = self._opened(options)
        return self._single_rate(cell) if of == LATENCY else self._parallel_rate(cell)

    def _rate_alone(self, of: str, options: Pairs, error: OutOfMemory) -> float:
        """Rate of a candidate for which the memory was too short: without the other candidates, from now on."""
        if self._is_alone:
            self._drop(options, error)
            return 0.0
        self._is_alone = True
        self._dismiss()
        return self.rate(of, options)

    def keep(self, needed: Iterable[Pairs]) -> None:
        """Close every candidate that is not in `needed`, which frees its memory."""
        for options in [options for options in self._open if options not in set(needed)]:
            self._close(options)

    def is_right(self, options: Pairs) -> bool:
        """True if the answers with `options` are as near to the reference as those of the default. Drops other options."""
        try:
            status, default = self._status(options), self._status(())
        except (StorageFailed, Interrupted):
            raise
        except BenchError as error:
            self._drop(options, error)
            return False
        if RANKS.index(status) > RANKS.index(default):
            self._note(options, f"its answers: {status}")
            return False
        return True

    def _opened(self, options: Pairs) -> Cell:
        """The cell with `options`, open and warm. Raises `BenchError` where it computes in other types than the default."""
        if options in self._open:
            return self._open[options]
        if self._is_alone:
            self.keep(())
        active, cell = self._active, with_options(self._active.planned.cell, options)
        file, sweep = active.planned.artifact, self._run.sweep
        if active.planned.builds:
            built = self._ask(Build(cell=cell, artifact=file), sweep.build_timeout_s or sweep.timeout_s)
            self._apart_s += 0.0 if built.engine_cached else built.build_s or 0.0
        opened = self._ask(Open(cell=cell, artifact=file, inputs=Here(path=active.inputs), drawn=active.drawn))
        self._open[options] = cell
        self._check(options, opened)
        self._warm(cell, self._concurrency or Concurrency(threads=cell.settings.threads))
        return cell

    def _check(self, options: Pairs, opened: Opened) -> None:
        """Raise `BenchError` for other arithmetic than that of the default, and for a value that the runtime did not take."""
        self._executed[options] = executed = opened.info.executed or ""
        default = self._executed.get((), executed)
        if executed != default:
            raise BenchError(f"it computes in {executed}, and the default in {default}")
        values, reported = {item.name: item.values for item in self._active.planned.tunables}, opened.info.settings or {}
        for name, value in options:
            if (actual := reported.get(name, value)) != value and actual in values[name]:
                raise BenchError(f"the runtime reports {name}={actual}")

    def _warm(self, cell: Cell, concurrency: Concurrency | None) -> Concurrency | None:
        budget, least_ms = self._run.sweep.budget, self._run.sweep.budget.warmup_ms
        job = WarmUp(key=cell.key, least_ms=least_ms, limit_ms=least_ms, passes=budget.passes, concurrency=concurrency)
        return self._ask(job).concurrency

    def _single_rate(self, cell: Cell) -> float:
        samples = There(path=str(self._run.journal.scratch / "tune.npz"))
        timed = self._ask(TimeLatency(key=cell.key, block_ms=BLOCK_MS, calls=1, samples=samples))
        # At least 1 ns: a clock with coarse steps can report 0.
        return 1e9 / max(1.0, float(timed.p50_ns[LATENCY] or 0))

    def _parallel_rate(self, cell: Cell) -> float:
        concurrency = self._concurrency or Concurrency(threads=cell.settings.threads)
        timed = self._ask(TimeThroughput(key=cell.key, block_ms=BLOCK_MS, concurrency=concurrency))
        return timed.rate.calls_per_s

    def _status(self, options: Pairs) -> str:
        """Status of the answers with `options`; that of a right answer where there is no reference."""
        if options not in self._statuses:
            self._statuses[options] = self._judged(options)
        return self._statuses[options]

    def _judged(self, options: Pairs) -> str:
        active, compared = self._active, self._active.compared
        if active.reference is None or compared is None or options in self._reasons:
            return OK
        job = Verify(key=self._opened(options).key, reference=Here(path=active.reference), random=compared.random)
        parity: Verified = settle(active, self._ask(job), self._run.context)
        verdict = judge(active.planned.cell.precision, parity)
        return verdict.status if verdict and not parity.diverged else OK

    def _ask(self, job: Job[Answer], timeout_s: float | None = None) -> Answer:
        limit_s = timeout_s or self._run.sweep.timeout_s
        if not self._workers:
            begin = self._run.context.clock.now_ns()
            self._workers.append(self._hire(self._active))
            self._workers[0].ask(Probe(backend=self._active.planned.cell.backend), limit_s)  # imports the runtime
            self._apart_s += self._run.context.clock.since_s(begin)
        return self._workers[0].ask(job, limit_s)

    def _drop(self, options: Pairs, error: BenchError) -> None:
        if error.spoils_worker:
            self._dismiss()
        self._close(options)
        self._note(options, str(error))

    def _note(self, options: Pairs, reason: str) -> None:
        self._reasons[options] = reason
        self.dropped.append(TriedOptions(of=self._of, options=options, reason=reason))

    def _close(self, options: Pairs) -> None:
        cell = self._open.pop(options, None)
        if cell and self._workers:
            try:
                self._ask(Close(key=cell.key))
            except BenchError:  # it can be opened no more, and a new worker has nothing of it
                self._dismiss()

    def _dismiss(self) -> None:
        self._open.clear()
        while self._workers:
            self._workers.pop().dismiss()
