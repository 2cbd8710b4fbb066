"""Profile of an open cell, with its kernels mapped to the nodes of the file that it runs. Loads no framework."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...evidence import Profiled
from ...results.profile.mapping import mapped
from ..worker.jobs import Here, There
from ..worker.profile_jobs import Profile, ProfiledCalls, ReadGraph
from .cells import ActiveCell, RunContext

Ask = Callable[[Profile], ProfiledCalls]
"""Asks the worker in which the cell is open."""


def profile_cell(run: RunContext, active: ActiveCell, ask: Ask, turns: int) -> Profiled:
    """Profile `active`, which is open in the worker that `ask` asks. `Unsupported` where the runtime reports no times."""
    planned, folder = active.planned, run.journal.scratch / f"profile-{active.slot}"
    job = Profile(key=active.slot, folder=There(path=str(folder)), turns=turns, turn_ms=run.sweep.budget.block_ms)
    calls = ask(job)
    runtime = Here(path=str(Path(folder) / calls.graph)) if calls.graph else None
    read = run.context.ask(ReadGraph(artifact=planned.artifact, shapes=planned.cell.shapes, runtime=runtime))
    return Profiled(
        kernels=mapped(calls.kernels, calls.links, read.nodes, read.runtime),
        nodes=read.nodes,
        calls=calls.calls,
        p50_ns=calls.p50_ns,
        profiled_p50_ns=calls.profiled_p50_ns,
        kernels_ns=calls.kernels_ns,
        step_ns=calls.step_ns,
        opening=calls.opening,
    )
