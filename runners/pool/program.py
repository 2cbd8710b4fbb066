"""Worker that measures a program of the user (`bench measure -- COMMAND`). NumPy, psutil and the standard library.

A program that answers `onnxbench ready` stays loaded, and is driven in blocks (loop.py has the protocol). Any other program
prints latencies and ends; it runs once in each round.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from ...errors import RuntimeFailed
from ...evidence import Counts
from ...loop import BLOCK, END, READY, WARMUP_SHARE, Times
from ..worker import measure, procfs
from ..worker.clock import Clock
from .latency_lines import FORM, LatencyLines
from .own_loop import OwnLoop
from .program_process import ProgramProcess

MOST_CALLS = 20_000  # of one block: their lines are 1 MB
TURNS_FORM, RUNS_FORM = "turns", "runs"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Way to start a program: its `name`, its `command`, its environment `variables`, and the file for its stderr."""

    name: str
    command: Sequence[str]
    variables: Mapping[str, str]
    log: Path


class ProgramLoop(OwnLoop):
    """Worker of a program. `form`: `turns` for a program that stays loaded, `runs` for one that runs in each round."""

    form = ""

    def __init__(self, launch: Launch, threads: int, clock: Clock) -> None:
        super().__init__(threads, clock)
        self._launch = launch
        self._process: ProgramProcess | None = None
        self._typical_ns = 0.0
        self._trial = Times()

    def _is_ready(self) -> bool:
        return self.form == RUNS_FORM or self._process is not None

    def _start(self) -> None:
        self._launch_process()
        first = self._read(self._clock.now_ns())
        while first is not None and not first.strip():
            first = self._read(self._clock.now_ns())
        if first is not None and first.strip() == READY:
            self.form = TURNS_FORM
            self._trial = self._turn(1)
        else:
            self.form = RUNS_FORM
            self._trial = self._rest_of_run(first)
        self._note_first(self._trial)
        self._typical_ns = median(self._trial.latency)

    def _launch_process(self) -> ProgramProcess:
        self.dismiss()
        launch = self._launch
        self._process = ProgramProcess(launch.name, launch.command, launch.log, self._clock, launch.variables)
        return self._process

    @property
    def _running(self) -> ProgramProcess:
        return self._process or self._launch_process()

    def _read(self, begin_ns: int) -> str | None:
        return self._running.read(self._timeout_s, begin_ns)

    def _turn(self, count: int) -> Times:
        """Times of one block of `count` calls. Raises `RuntimeFailed` for another number of answers."""
        begin, lines = self._clock.now_ns(), LatencyLines(self._launch.name)
        self._running.write(f"{BLOCK} {count}")
        while (line := self._read(begin)) is not None and line.strip() != END:
            lines.add(line)
            if len(lines.times.latency) > count:
                break
        if line is None:
            raise self._running.death()
        if len(lines.times.latency) != count:
            number = f"more than {count}" if len(lines.times.latency) > count else str(len(lines.times.latency))
            raise RuntimeFailed(
                f"{self._launch.name} answered {BLOCK} {count} with {number} latencies",
                f"print {count} latencies, then {END}",
            )
        return lines.times

    def _rest_of_run(self, first: str | None) -> Times:
        """Times that a run prints until it ends, `first` being its first line. Raises for a crash and for a run without any."""
        begin, lines = self._clock.now_ns(), LatencyLines(self._launch.name)
        self._running.close_stdin()
        line = first
        while line is not None:
            lines.add(line)
            line = self._read(begin)
        if self._running.exit_code(self._timeout_s):
            raise self._running.death()
        self.dismiss()
        if not lines.times.latency:
            raise RuntimeFailed(f"{self._launch.name} printed no latency", FORM)
        return lines.times

    def _run(self) -> Times:
        """Times of a further run, without its first tenth: those calls warm the new process up."""
        self._launch_process()
        return _without_first(self._rest_of_run(self._read(self._clock.now_ns())), WARMUP_SHARE)

    def _warm_up(self, least_ns: int, limit_ns: int) -> measure.WarmUpResult:
        if self.form == RUNS_FORM:  # each run warms up by itself
            took_ns, calls = sum(self._trial.latency), len(self._trial.latency)
            return measure.WarmUpResult(calls=calls, took_ns=took_ns, stationary=True)
        return measure.until_stationary(self._window, self._clock.now_ns, least_ns, limit_ns)

    def _window(self, window_ns: int) -> measure.Samples:
        samples = np.array(self._turn(self._count(window_ns)).latency, np.int64)
        self._typical_ns = float(np.median(samples))
        return samples

    def _count(self, least_ns: float) -> int:
        """Number of calls that take about `least_ns`."""
        return max(1, min(MOST_CALLS, math.ceil(least_ns / max(1.0, self._typical_ns))))

    def _block(self, least_ns: int, least_calls: int) -> Times:
        if self.form == RUNS_FORM:
            return self._run()
        count = max(least_calls, self._count(least_ns))
        lead = self._count(least_ns * measure.REWARM_SHARE)
        times = self._turn(lead + count)
        self._typical_ns = median(times.latency)
        return _without_first(times, lead / (lead + count))

    @contextmanager
    def _counted(self) -> Iterator[list[Counts]]:
        result: list[Counts] = []
        before = self._counts()
        yield result
        result.append(procfs.growth(before, self._counts()))

    def _counts(self) -> Counts:
        if self.form == TURNS_FORM:
            return procfs.counters_of(self._running.pids, self._clock)
        # A run has ended when its block is over. The system then has its CPU time among that of all ended children, and
        # nowhere the time that its threads waited for a CPU.
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        counts = procfs.counters_of((), self._clock)
        others_ns = None if counts.others_ns is None else counts.others_ns - (usage.ru_utime + usage.ru_stime) * 1e9
        return replace(counts, others_ns=others_ns, run_delay_ns=None, major_faults=usage.ru_majflt)

    def _settle(self) -> bool:
        if self.form == RUNS_FORM:
            return True
        pids = self._running.pids
        return measure.settle(replace(self._clock, cpu_ns=lambda: procfs.cpu_ns_of(pids)))

    def resident_mb(self) -> float:
        return self._process.resident_mb() if self._process else 0.0

    def dismiss(self) -> None:
        """End the program and every process that it started."""
        if self._process:
            self._process.kill()
            self._process = None


def _without_first(times: Times, share: float) -> Times:
    """`times` without the first `share` of the calls. At least one call stays."""
    skipped = min(round(len(times.latency) * share), len(times.latency) - 1)
    phases = {name: values[skipped:] for name, values in times.phases.items()}
    return Times(latency=times.latency[skipped:], phases=phases)
