"""The application's own loop: the program's side of `bench measure`, and the request to measure it. Standard library only.

`bench measure` drives a program through its stdin and stdout, one message a line:

    program: onnxbench ready            once, when everything is loaded
    bench:   block 120                  make 120 calls
    program: latency_ms=1.31 copy_in_ms=0.12    one line for each call
    program: end                        after the last call; then wait for the next line, and stop at the end of stdin
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

PHASES = ("copy_in", "compute", "wait", "copy_out")
LATENCY = "latency"
READY, BLOCK, END = "onnxbench ready", "block", "end"
TURNS, THREADS, BATCH = "ONNXBENCH_TURNS", "ONNXBENCH_THREADS", "ONNXBENCH_BATCH"  # variables that a measured program gets
WARMUP_SHARE = 0.1

now_ns = time.perf_counter_ns


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A program with a loop of its own: the `name` of its row, its `command`, and the `precision` in which it computes.

    An empty `command` stands for a call of Python in the process that measures.
    """

    name: str
    command: tuple[str, ...] = ()
    precision: str = "fp32"

    @property
    def renewed(self) -> bool:
        """True if each life has a fresh process. A call of Python stays in the process that measures."""
        return bool(self.command)


@dataclass(kw_only=True, slots=True)
class Times:
    """Durations of calls in ns: of the whole call (`latency`), and by phase. A phase has one value for each call, or none."""

    latency: list[int] = field(default_factory=list)
    phases: dict[str, list[int]] = field(default_factory=dict)

    def add(self, latency: int, phases: dict[str, int]) -> None:
        """Add one call. A phase that the call lacks took 0 ns."""
        self.latency.append(latency)
        for name in PHASES:
            if name in phases or name in self.phases:
                # Zeros for the calls before the first call with this phase.
                values = self.phases.setdefault(name, [0] * (len(self.latency) - 1))
                values.append(phases.get(name, 0))

    def lines(self) -> Iterator[str]:
        """One line for each call, as `bench measure` reads it."""
        names = [name for name in PHASES if name in self.phases]
        for index, latency in enumerate(self.latency):
            yield " ".join([f"latency_ns={latency}", *(f"{name}_ns={self.phases[name][index]}" for name in names)])


split: dict[str, int] = {}
"""Time of each phase in the current call, ns. `phase` adds to it, and the loop that makes the calls clears it."""


class _Phase:
    """Context manager of one phase. It has no code that a bare pair of clock readings would not need."""

    __slots__ = ("_begin", "_name")

    def __init__(self, name: str) -> None:
        self._name, self._begin = name, 0

    def __enter__(self) -> None:
        self._begin = now_ns()

    def __exit__(self, *_: object) -> None:
        split[self._name] = split.get(self._name, 0) + now_ns() - self._begin


def phase(name: str) -> _Phase:
    """Time the `with` block as one phase of the call: copy_in, compute, wait or copy_out. ValueError for another name.

    A phase may occur several times in a call. Outside a measurement the times are not used.
    """
    if name not in PHASES:
        raise ValueError(f"{name!r} is not a phase of a call; choose from: {', '.join(PHASES)}")
    return _Phase(name)


def calls(count: int = 100) -> Iterator[int]:
    """Yield once for each call to measure, with its number in the block. The loop's body is the call.

    Under `bench measure` the calls come in blocks, in turns with other rows, until nothing is left to measure. Otherwise make
    `count` calls after an untimed tenth of them, and print their times.
    """
    if os.environ.get(TURNS):
        return _turns()
    return _alone(count)


def _alone(count: int) -> Iterator[int]:
    yield from _timed(max(1, int(count * WARMUP_SHARE)), Times())
    times = Times()
    yield from _timed(count, times)
    print("\n".join(times.lines()), flush=True)


def _turns() -> Iterator[int]:
    with _own_stdout() as answers:
        print(READY, file=answers, flush=True)
        for line in sys.stdin:
            kind, _, count = line.strip().partition(" ")
            if kind != BLOCK:
                continue
            times = Times()
            yield from _timed(int(count), times)
            # After the block: printing between two calls would cool the caches of the next call.
            print(*times.lines(), END, sep="\n", file=answers, flush=True)


def _own_stdout() -> TextIO:
    """Stdout for the answers alone. What the program and its libraries print later goes to stderr."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _timed(count: int, times: Times) -> Iterator[int]:
    for index in range(count):
        split.clear()
        begin = now_ns()
        yield index
        times.add(now_ns() - begin, split)
