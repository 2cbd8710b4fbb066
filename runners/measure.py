"""`ob.measure`: a call of Python as a row of a table, in turns with the backends of a sweep. Loads no framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..budgets import BUDGETS
from ..errors import BadInput, nearest
from ..loop import Program
from ..results.table.values import Measurement, measured
from ..spec import Sweep
from .infer import Surroundings, infer
from .pool.progress import Notes
from .worker.clock import Clock

Inputs = TypeVar("Inputs")
RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Backends to measure in turns with a call, and the case that all of them answer.

    `model`: an ONNX file, as `--model` takes it. `backends`: targets to measure in turns with the call; without any, and with a
    `model`, all that can run here. `batch`: items in one call. `precision`: that of the call. `threads`: compute threads of
    each CPU backend. `baseline`: row that speed-ups are against, by default the first of `backends`.
    """

    model: str | Path | None = None
    backends: Sequence[str] = ()
    batch: int | None = None
    precision: str = "fp32"
    threads: int | None = None
    baseline: str | None = None


def measure(
    call: Callable[[Inputs], object],
    inputs: Inputs,
    *,
    name: str = "call",
    beside: Beside | None = None,
    budget: str = "normal",
    out: str | Path | None = None,
) -> Measurement:
    """Measure `call(inputs)` like a backend: warm-up, rounds, intervals, a journal. `name`: the backend of its row.

    With `beside`, the call takes turns with the rows of backends. `onnxbench.phase` splits the time of a call. `budget`: quick,
    normal or thorough. `out`: the run folder, by default a new one in runs/. Raises `BadInput` for a wrong value, and for a
    call that fails at its first try.
    """
    clock = Clock()
    folder = Path(out) if out else RUNS / clock.stamp()
    sweep = _sweep(name, beside or Beside(), budget)
    notes = Notes()
    infer(sweep, Surroundings(out=folder, clock=clock, calls={name: lambda: call(inputs)}, progress=notes))
    return replace(measured(folder, sweep.baseline, sweep), notes=tuple(notes.lines))


def _sweep(name: str, beside: Beside, budget: str) -> Sweep:
    """Sweep of the program `name` and of what stands beside it. `BadInput` for an unknown budget."""
    if budget not in BUDGETS:
        raise BadInput(f"{budget!r} is not a budget", nearest(budget, BUDGETS))
    return Sweep(
        model=str(beside.model) if beside.model else None,
        artifacts="",
        backends=tuple(beside.backends),
        precisions=(beside.precision,),
        batches=(beside.batch,) if beside.batch else (),
        threads=beside.threads,
        budget=BUDGETS[budget],
        baseline=beside.baseline or next(iter(beside.backends), None),
        programs=(Program(name=name, precision=beside.precision),),
    )
