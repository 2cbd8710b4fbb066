"""Is a difference shown where there is none, and found where there is one? The tool calibrated like an instrument.

    python benchmarks/calibration.py [COMPARISONS]        2,000 simulated ones, a few minutes
    python benchmarks/calibration.py real FILE.onnx [RUNS [SEED [BUDGET]]]        20 with the real ort-cpu at `thorough`

Simulated: a cell is compared with itself, and with a cell that is 3 % slower, by the code that measures (groups, rounds,
journal, stop rule, statistics, verdicts) on a clock that is simulated (simulated.py says what its noise is). Real: each run
measures ort-cpu, ort-cpu again in a process of its own, and ort-cpu with every call made 3 % longer, or longer by the share
in the environment variable SLOWER.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import simulated
import slowed_ort
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

SLOWER = slowed_ort.SLOWER
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


def real(file: str, seeds: range, budget: str, folder: Path) -> Iterator[list[dict[str, Any]]]:
    environment = slowed_ort.installed(folder)
    command = [sys.executable, "-m", "onnxbench.cli", "infer", "--model", file, "--backend", "ort-cpu,ort-again,ort-slower"]
    command += ["--baseline", "ort-cpu", "--batch", "1", "--threads", "2", "--budget", budget, "--format", "json"]
    for seed in seeds:
        done = subprocess.run(
            [*command, "--seed", str(seed), "--out", str(folder / str(seed))], env=environment, capture_output=True, text=True
        )
        yield json.loads(done.stdout)["rows"]


def real_runs(file: str, seeds: range, budget: str) -> None:
    found: dict[str, list[dict[str, Any]]] = {"ort-again": [], "ort-slower": []}
    with tempfile.TemporaryDirectory() as folder:
        for rows in real(file, seeds, budget, Path(folder)):
            for row in rows[1:]:
                found[row["backend"]].append(row)
                print(
                    f"{row['backend']}: {row['speedup']:.3f} [{row['speedup_ci_low']:.3f}, {row['speedup_ci_high']:.3f}]"
                    f" {row['verdict']}, {row['rounds']} rounds, grade {row['grade']}",
                    flush=True,
                )
    for name, truth in (("ort-again", 1.0), ("ort-slower", 1 / (1 + SLOWER))):
        print(f"{name}, {len(seeds)} runs: {report(found[name], truth)}")


def main() -> None:
    if sys.argv[1:2] == ["real"]:
        runs = int(sys.argv[3]) if len(sys.argv) > 3 else 20
        first = int(sys.argv[4]) if len(sys.argv) > 4 else 0
        real_runs(sys.argv[2], range(first, first + runs), sys.argv[5] if len(sys.argv) > 5 else "thorough")
    else:
        simulations(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)


if __name__ == "__main__":
    main()
