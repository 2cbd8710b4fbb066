"""Is a difference shown where there is none, and found where there is one? The tool calibrated like an instrument.

    python benchmarks/calibration.py [COMPARISONS]        2,000 simulated ones, a few minutes
    python benchmarks/calibration.py real BACKEND FILE.onnx [--minutes 10]        real runs, see real_calibration.py
    python benchmarks/calibration.py report        a table of the real runs so far

Simulated: a cell is compared with itself, and with a cell that is 3 % slower, by the code that measures (groups, rounds,
journal, stop rule, statistics, verdicts) on a clock that is simulated (simulated.py says what its noise is).
"""

from __future__ import annotations

import itertools
import math
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import real_calibration
import simulated
from onnxbench import backends
from onnxbench.budgets import BUDGETS
from onnxbench.results.store import record
from onnxbench.results.store.head import SCHEMA, Head
from onnxbench.results.table import table
from onnxbench.runners.pool.context import Context
from onnxbench.runners.pool.memory import Limits
from onnxbench.runners.pool.progress import Silent
from onnxbench.runners.sweep.cells import ActiveCell, RunContext
from onnxbench.runners.sweep.group import Group
from onnxbench.runners.sweep.interrupt import Stop
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.worker.verify import save_arrays
from onnxbench.spec import Artifact, Cell, Settings, Sweep, TensorSpec

SLOWER = 0.03
BASE, SAME, SLOW = "simulated", "simulated-again", "simulated-slower"
SHARED_MEMORY = Path("/dev/shm")
SPEC = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
FILE = Artifact(
    model="m", precision="fp32", path="m.onnx", sha256="0" * 64, nbytes=0, opset=20, inputs=(SPEC,), outputs=(SPEC,)
)

backends.BUILT_IN |= {  # type: ignore[operator]
    name: backends.Registration(target="simulated:Simulated", instrument=True) for name in (BASE, SAME, SLOW)
}


def cell(name: str, slower: float) -> Cell:
    options = (("slower", str(slower)),) if slower else ()
    shapes, settings = (("x", (1, 4)),), Settings(threads=1, options=options)
    return Cell(
        model="m", sha256=FILE.sha256, backend=name, device="cpu", precision="fp32", batch=1, shapes=shapes, settings=settings
    )


def simulate(seed: int, name: str, slower: float, budget: str) -> dict[str, Any]:
    """The row of one cell that was compared with BASE on a machine of its own."""
    simulated.SimulatedSession.machine = machine = simulated.Machine(seed, simulated.Noise())
    sweep = Sweep(baseline=BASE, budget=BUDGETS[budget], seed=seed)
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.exists() else None) as place:
        with Journal(Path(place)) as journal:
            measure(journal, machine, sweep, [cell(BASE, 0), cell(name, slower)])
        rows = table.build([record.read_run(Path(place))], BASE).rows
    return next(dict(row) for row in rows if row["backend"] == name)


def measure(journal: Journal, machine: simulated.Machine, sweep: Sweep, cells: list[Cell]) -> None:
    save_arrays(journal.scratch, {"x": np.zeros((1, 4), np.float32)})
    journal.write_head(Head(schema=SCHEMA, sweep=sweep), {item: item.key for item in cells})
    context = Context(logs=journal.logs, clock=machine.clock, progress=Silent(), timeout_s=1)
    run = RunContext(sweep=sweep, journal=journal, context=context, stop=Stop())
    active = [ActiveCell(planned=PlannedCell(cell=item, artifact=FILE), inputs=str(journal.scratch)) for item in cells]
    Group(run, active, lambda _: simulated.InProcess(machine), Limits(resident_mb=math.inf)).run(0)


def report(rows: list[dict[str, Any]], truth: float) -> str:
    verdicts = Counter(str(row["verdict"]) for row in rows)
    told = ", ".join(f"{what} {count / len(rows):.2%}" for what, count in verdicts.most_common())
    covered = sum(row["speedup_ci_low"] <= truth <= row["speedup_ci_high"] for row in rows) / len(rows)
    stopped = Counter(row["stopped"] for row in rows)
    middle = float(np.median([row["rounds"] for row in rows]))
    ended = ", ".join(f"{why} {count / len(rows):.0%}" for why, count in stopped.most_common())
    return f"{told}; the interval covers the truth in {covered:.1%}; rounds {middle:g} in the middle; ended by {ended}"


def batch(job: tuple[range, str, float, str]) -> list[dict[str, Any]]:
    seeds, name, slower, budget = job
    return [simulate(seed, name, slower, budget) for seed in seeds]


def simulations(count: int) -> None:
    for budget in ("normal", "thorough"):
        for name, slower in ((SAME, 0.0), (SLOW, SLOWER)):
            jobs = [(range(first, min(first + 50, count)), name, slower, budget) for first in range(0, count, 50)]
            with ProcessPoolExecutor() as pool:
                rows = list(itertools.chain.from_iterable(pool.map(batch, jobs)))
            truth = 1 / (1 + slower)
            print(f"{budget}, {len(rows)} comparisons, {slower:.0%} slower: {report(rows, truth)}", flush=True)


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in ("real", "report"):
        real_calibration.main(sys.argv[1:])
    else:
        simulations(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)


if __name__ == "__main__":
    main()
