"""Groups in this process for tests: the null backend, workers of this process, and a clock that ticks when it is read."""

import math
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from onnxbench.budgets import BUDGETS
from onnxbench.evidence import Counts
from onnxbench.results.store import record
from onnxbench.results.store.head import SCHEMA, Head
from onnxbench.results.store.journal import read_journal
from onnxbench.runners.pool.context import Context
from onnxbench.runners.pool.memory import Limits
from onnxbench.runners.pool.progress import Silent
from onnxbench.runners.sweep import rounds
from onnxbench.runners.sweep.cells import ActiveCell, RunContext
from onnxbench.runners.sweep.group import Group
from onnxbench.runners.sweep.interrupt import Stop
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.nvml import Nvml
from onnxbench.runners.worker.serve import State
from onnxbench.runners.worker.verify import save_arrays
from onnxbench.spec import Artifact, Cell, Concurrency, Settings, Sweep, TensorSpec

from .fake_nvml import FakeNvml
from .fake_worker import InProcess, name_of

TINY_MS = 0.001
BUDGET = replace(
    BUDGETS["normal"],
    looks=(10, 12),
    block_ms=TINY_MS,
    rate_ms=TINY_MS,
    warmup_ms=TINY_MS,
    warmup_limit_ms=10 * TINY_MS,
    cell_s=1e9,
    energy_ms=0,
    life_rounds=0,
    most_life_rounds=0,
    rate_rounds=1,
    repeats=0.5,
)
SHORT = replace(BUDGET, looks=(3,))
ENERGY = replace(SHORT, looks=(2,), energy_ms=300)
FILE = {"model": "cnn", "sha256": "ab" * 32}
INPUT = TensorSpec(name="input", dtype="float32", shape=("batch", 2))
OUTPUT = TensorSpec(name="logits", dtype="float32", shape=("batch", 10))
ARTIFACT = Artifact(**FILE, precision="fp32", path="cnn.onnx", nbytes=2_000_000, opset=18, inputs=(INPUT,), outputs=(OUTPUT,))


def active_of(name, **state):
    """A cell of the null backend, called by precision and batch (`fp32/1`). One that knows its concurrency needs no search."""
    precision, batch = name.split("/")
    what = {**FILE, "backend": "null", "device": "cpu", "shapes": (), "settings": Settings(threads=1)}
    planned = PlannedCell(cell=Cell(precision=precision, batch=int(batch), **what), artifact=ARTIFACT)
    return ActiveCell(planned=planned, **{"concurrency": Concurrency(lanes=1, threads=1), **state})


class Works:
    """Hires workers. `plot(job, name, nth)` may say of a request: `tick` (ns that a look at the clock takes from then on),
    `disturbed`, `bits` (NVML's causes of lower clocks), that the user asks to `stop` meanwhile, or what is `raised` instead of
    an answer."""

    def __init__(self, plot=lambda job, name, nth: {}):
        self.ns, self.tick, self.faults, self.disturbed = 0, 100, 0, False
        self.slept, self.nvml = [], FakeNvml()
        self.clock = Clock(now_ns=self.look, cpu_ns=lambda: 0, sleep_s=self.slept.append)
        self.asked, self.hired, self.names, self.most_alive = [], [], {}, 0
        self.gpu_mb, self.contiguous, self.scattered = None, False, []
        self.worker = InProcess
        self.stop, self._plot, self._lock = Stop(), plot, threading.Lock()

    def look(self):
        with self._lock:
            self.ns += self.tick
            return self.ns

    def counters(self, clock):
        self.faults += self.disturbed
        return Counts(wall_ns=clock.now_ns(), cpus=1, major_faults=self.faults)

    def hire(self, active):
        state = State(clock=self.clock, counters=self.counters, gpu=Nvml(load=lambda: self.nvml, pid=FakeNvml.PID))
        self.hired.append(self.worker(state, self.begin))
        self.most_alive = max(self.most_alive, sum(worker.alive for worker in self.hired))
        return self.hired[-1]

    @contextmanager
    def contiguous_memory(self):
        self.contiguous = True
        yield
        self.contiguous = False

    def gpu_free_mb(self, index):
        total_mb, each_mb = self.gpu_mb or (0, 0)
        return total_mb - each_mb * sum(worker.alive for worker in self.hired) if self.gpu_mb else None

    def begin(self, job, request):
        name = self._name(request)
        found = self._plot(job, name, self.asked.count((job, name)))
        self.asked.append((job, name))
        self.scattered += [name] if job == "open" and not self.contiguous else []
        self.tick, self.disturbed = found.get("tick", 100), found.get("disturbed", False)
        self.nvml.bits = [found.get("bits", 0)]
        self.stop.requested |= found.get("stop", False)
        if "raised" in found:
            raise found["raised"]

    def _name(self, request):
        """Name of the cell that a request is for; of the backend for one that loads its runtime."""
        cell = getattr(request, "cell", None)
        if cell is None:
            return self.names[request.key] if hasattr(request, "key") else request.backend
        return name_of(cell)


class Measured:
    """What a run of groups came to: who was asked what, and what the journal holds."""

    def __init__(self, works, folder):
        self.works, self.folder = works, folder
        self.events = list(read_journal(folder))
        self.cells = {name_of(item.cell): item for item in record.read_run(folder).cells}

    def asked(self, *jobs):
        return [(job, name) for job, name in self.works.asked if job in jobs]

    def names(self, job):
        return [name for _, name in self.asked(job)]

    def rounds(self, name):
        return sorted(self.cells[name].blocks)

    def why(self, name):
        finished = self.cells[name].finished
        return finished and finished.why


def measure(folder, cells, works, memory_mb=math.inf, **sweep):
    """As runners/infer does it: groups until nobody is wanted."""
    asked = Sweep(**{"budget": SHORT, **sweep})
    with Journal(folder) as journal:
        journal.write_head(Head(schema=SCHEMA, sweep=asked), {active.planned.cell: active.key for active in cells})
        save_arrays(journal.scratch, {"input": np.zeros((1, 2), np.float32)})
        save_arrays(journal.scratch / "reference", {"logits": np.zeros((1, 10), np.float32)})
        context = Context(logs=journal.logs, clock=works.clock, progress=Silent(), timeout_s=1, pool=works)
        run = RunContext(sweep=asked, journal=journal, context=context, stop=works.stop)
        for active in cells:
            active.inputs, works.names[active.key] = str(journal.scratch), name_of(active.planned.cell)
            active.reference = active.reference and str(journal.scratch / "reference")
        while due := rounds.due_cells(cells, asked):
            limits = Limits(resident_mb=memory_mb, gpu_free_mb=works.gpu_free_mb)
            Group(run, due, works.hire, limits).run(rounds.next_round(cells))
    assert not any(worker.alive for worker in works.hired)
    return Measured(works, folder)


def runner(folder):
    """Function that measures cells by name below `folder`, as `plot` says."""

    def measured(*names, plot=lambda job, name, nth: {}, folder_name="run", gpu_mb=None, **how):
        cells = [name if isinstance(name, ActiveCell) else active_of(name) for name in names]
        works = Works(plot)
        works.gpu_mb = gpu_mb
        return measure(folder / folder_name, cells, works, **how)

    return measured
