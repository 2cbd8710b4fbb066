"""A machine that is simulated, for benchmarks/calibration.py: a clock, its noise, and cells that take time on it.

The noise has what was seen on shared machines: single calls are log-normal and remember the call before; the machine's
speed wanders (an autoregressive process in time), jumps between states for seconds, and drifts over the whole run; each
visit has an offset of its own. Everything but the offset and the calls falls on all cells alike, if they run at that time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from onnxbench.backends.null import Null, NullSession
from onnxbench.backends.protocol import Session
from onnxbench.errors import decode_error
from onnxbench.evidence import Counts
from onnxbench.runners.worker import serve as worker
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.jobs import Job
from onnxbench.runners.worker.tasks import task_of
from onnxbench.spec import Artifact, Cell, Concurrency, from_wire, to_wire

STEP_S = 0.05
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations of logarithms, and the times (s) over which they change."""

    call: float = 0.05
    call_memory: float = 0.5
    visit: float = 0.01
    wander: float = 0.03
    wander_s: float = 5.0
    states: tuple[float, ...] = (0.0, 0.0, 0.27, -0.25)
    state_s: float = 3.0
    drift: float = 0.10
    run_s: float = 60.0


class Machine:
    """Time that passes only in calls and sleep, at a speed that changes with it."""

    def __init__(self, seed: int, noise: Noise) -> None:
        self.noise, self.random, self.ns = noise, np.random.default_rng(seed), 0
        self._speeds = self._draw(int(4 * noise.run_s / STEP_S))
        self._calls = iter(())
        self._last = 0.0
        self.clock = Clock(now_ns=lambda: self.ns, wall_s=lambda: 0.0, cpu_ns=lambda: 0, sleep_s=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)

    def work(self, seconds: float, offset: float) -> None:
        """One call of about `seconds`."""
        noise = self.noise
        self._last = noise.call_memory * self._last + math.sqrt(1 - noise.call_memory**2) * self._next()
        index = min(int(self.ns / 1e9 / STEP_S), len(self._speeds) - 1)
        self.ns += int(seconds * 1e9 * math.exp(self._speeds[index] + offset + noise.call * self._last))

    def _next(self) -> float:
        for value in self._calls:
            return float(value)
        self._calls = iter(self.random.standard_normal(4096).tolist())
        return self._next()

    def _draw(self, steps: int) -> list[float]:
        """The logarithm of how slow the machine is, every STEP_S seconds."""
        noise, random = self.noise, self.random
        keep = math.exp(-STEP_S / noise.wander_s)
        shocks = random.standard_normal(steps) * noise.wander * math.sqrt(1 - keep**2)
        wander = np.empty(steps)
        wander[0] = random.standard_normal() * noise.wander
        for step in range(1, steps):
            wander[step] = keep * wander[step - 1] + shocks[step]
        jumps = np.cumsum(random.random(steps) < STEP_S / noise.state_s)
        state = random.choice(noise.states, jumps[-1] + 1)[jumps]
        direction = random.choice([-1, 1])
        drift = direction * noise.drift * np.arange(steps) * STEP_S / noise.run_s
        return [float(value) for value in wander + state + drift]


class SimulatedSession(NullSession):
    """The null backend's session whose call takes `CALL_S` on the machine."""

    machine: ClassVar[Machine]
    call_s: ClassVar[float] = 0.010

    def __init__(self, artifact: Artifact, cell: Cell) -> None:
        super().__init__(artifact, cell)
        self._slower = 1 + float(dict(cell.settings.options).get("slower", 0))
        self._offset = 0.0

    def enter(self) -> None:
        self._offset = self.machine.noise.visit * float(self.machine.random.standard_normal())

    def start(self) -> None:
        self.machine.work(self.call_s * self._slower, self._offset)

    def fork(self) -> Session:
        return SimulatedSession(self._artifact, self._cell)


class Simulated(Null):
    """The null backend on the simulated machine; one call in flight is all it has."""

    options: ClassVar[Mapping[str, str]] = {"slower": "by which share"}

    def concurrencies(self, threads: int) -> tuple[Concurrency, ...]:
        return (Concurrency(threads=threads),)

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        return SimulatedSession(artifact, cell)


class InProcess:
    """The worker of a simulated group: the worker's own code, in this process and on the simulated clock."""

    network, begin_ns = "isolated", 0

    def __init__(self, machine: Machine) -> None:
        self._state = worker.State(clock=machine.clock, counters=lambda *_: Counts())

    def ask(self, job: Job[Answer], timeout_s: float, on_report: Any = None) -> Answer:
        asked = {"job": task_of(type(job)).name, "asked": to_wire(job)}
        kind, content = worker.answer(self._state, asked, lambda _: None)
        if kind == "error":
            raise decode_error(dict(content))
        return from_wire(job.answer(), content)

    def send(self, job: Job[Any]) -> None: ...

    def receive(self, job: Job[Answer], timeout_s: float, on_report: Any = None) -> Answer:
        return self.ask(job, timeout_s)

    def resident_mb(self) -> float:
        return 0.0

    def dismiss(self) -> None: ...
