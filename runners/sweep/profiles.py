"""Profile of an open cell, with its kernels mapped to the nodes of the file that it runs. Loads no framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...evidence import Profiled
from ...results.profile.mapping import mapped
from ..worker.jobs import Here, There
from ..worker.profile_jobs import Profile, ProfiledCalls, ReadGraph
from .cells import ActiveCell, RunContext

Ask = Callable[[Profile], ProfiledCalls]
"""Asks the worker in which the cell is open."""


def profile_cell(
    run: RunContext, active: ActiveCell, ask: Ask, turns: int, visit_roofs: Callable[[], int] | None = None
) -> Profiled:
    """Profile `active`, which is open in the worker that `ask` asks. `Unsupported` where the runtime reports no times.

    `visit_roofs`: measures the roofs of the run before each turn, and returns the number of their round.
    """
    planned, folder = active.planned, run.journal.scratch / f"profile-{active.slot}"
    job = Profile(key=active.slot, folder=There(path=str(folder)), turns=turns, turn_ms=run.sweep.budget.block_ms)
    calls, rounds = _ask_by_turn(job, ask, visit_roofs) if visit_roofs else (ask(job), ())
    runtime = Here(path=str(Path(folder) / calls.graph)) if calls.graph else None
    read = run.context.ask(
        ReadGraph(artifact=planned.artifact, shapes=planned.cell.shapes, runtime=runtime, work=visit_roofs is not None)
    )
    return Profiled(
        kernels=mapped(calls.kernels, calls.links, read.nodes, read.runtime),
        nodes=read.nodes,
        calls=calls.calls,
        p50_ns=calls.p50_ns,
        profiled_p50_ns=calls.profiled_p50_ns,
        kernels_ns=calls.kernels_ns,
        step_ns=calls.step_ns,
        opening=calls.opening,
        rounds=rounds,
        turns_p50_ns=calls.turns_p50_ns,
    )


def _ask_by_turn(job: Profile, ask: Ask, visit_roofs: Callable[[], int]) -> tuple[ProfiledCalls, tuple[int, ...]]:
    """Answer to `job` with a visit of the roofs before each turn, and the rounds of these visits."""
    calls, rounds = ProfiledCalls(), []
    for left in reversed(range(job.turns)):
        rounds.append(visit_roofs())
        calls = ask(replace(job, turns=1, goes_on=left > 0))
    return calls, tuple(rounds)
