"""Training over several processes: its plans, the checks before it starts, and its workers. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ...errors import BadInput, BenchError, quantity
from ...spec import Device
from ..pool.pool import Pool
from ..pool.process import OnReport
from ..pool.ranks import LATE_S, Ranks
from ..worker.file_jobs import TrainingSettings
from ..worker.jobs import There
from ..worker.rank_jobs import (
    BATCH_NORMS,
    DATA,
    GPIPE,
    INTERLEAVED,
    ONE_F_ONE_B,
    PIPELINE,
    RANK_STAGES,
    SCHEDULES,
    SHARED,
    CountGpus,
    JoinRanks,
    MeasureStages,
    OpenRendezvous,
    RankTrained,
    TrainRank,
)

PEER_S = 20.0
"""Longest wait for another rank. All ranks then end within 30 s of the moment at which one of them hangs."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Surroundings of a training: its pool, the file of its log, and its time limits.

    `timeout_s`: longest wait for a start. `peer_s`: longest wait of a rank for another one. `cuts`: measured cuts of the
    model, by the job that measured them.
    """

    pool: Pool
    log: Path
    timeout_s: float
    peer_s: float
    cuts: dict[MeasureStages, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parallel:
    """Requested ways to train over several processes: numbers of processes, by way.

    `scale_batch`: every process of a data parallel training has the whole batch size. `peer_s`: longest wait of a rank for
    another one. `batch_norms`: ways to normalize in a data parallel training, each of which is trained.
    """

    data: tuple[int, ...] = ()
    pipeline: tuple[int, ...] = ()
    schedules: tuple[str, ...] = (GPIPE, ONE_F_ONE_B)
    microbatches: int = 8
    scale_batch: bool = False
    batch_norms: tuple[str, ...] = (SHARED,)
    peer_s: float = PEER_S

    @property
    def counts(self) -> tuple[int, ...]:
        """All numbers of processes."""
        return (*self.data, *self.pipeline)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Way to train one row. `parallel`: empty for one device, `data`, or the schedule of a pipeline.

    `threads`: of each process. `batch_size`: of one step of all processes.
    """

    parallel: str = ""
    processes: int = 1
    threads: int
    batch_size: int
    microbatches: int | None = None
    batch_norm: str = SHARED

    @property
    def is_pipeline(self) -> bool:
        """True for a pipeline."""
        return self.parallel in SCHEDULES

    @property
    def rank_stages(self) -> int:
        """Stages of each process of a pipeline; 1 for another way."""
        return RANK_STAGES.get(self.parallel, 1)

    @property
    def name(self) -> str:
        """Words for a progress line and for the name of a log."""
        if not self.parallel:
            return quantity(self.threads, "thread")
        way = "data parallel" if self.parallel == DATA else f"pipeline {self.parallel}"
        norm = "" if self.batch_norm == SHARED else f" with {self.batch_norm} BatchNorm"
        return f"{way} over {processes(self.processes)}{norm}"


def plans(parallel: Parallel, device: str, threads: int, batch_size: int) -> list[Plan]:
    """Plans of one device and precision: one process first, then the parallel ones.

    On the CPU one process with the threads of one rank is added: the scaling efficiency is against it.
    """
    shares = {max(1, threads // count) for count in parallel.counts} if Device.parse(device).kind == "cpu" else set()
    single = [Plan(threads=share, batch_size=batch_size) for share in (threads, *sorted(shares - {threads}, reverse=True))]
    data = [
        Plan(
            parallel=DATA,
            processes=count,
            threads=max(1, threads // count),
            batch_size=batch_size * (count if parallel.scale_batch else 1),
            batch_norm=norm,
        )
        for count in parallel.data
        for norm in parallel.batch_norms
    ]
    staged = [
        Plan(
            parallel=schedule,
            processes=count,
            threads=max(1, threads // count),
            batch_size=batch_size,
            microbatches=parallel.microbatches,
        )
        for count in parallel.pipeline
        for schedule in parallel.schedules
    ]
    return [*single, *data, *staged]


def check(parallel: Parallel, devices: Sequence[str], batch_size: int, place: Place) -> None:
    """Raise `BadInput` for what cannot be trained in parallel, before anything is trained."""
    for device in devices if parallel.counts else ():
        _check_room(max(parallel.counts), Device.parse(device), place)
    check_batch(parallel, batch_size)


def check_batch(parallel: Parallel, batch_size: int) -> None:
    """Raise `BadInput` for a batch that the processes cannot divide, and for a wrong schedule or BatchNorm."""
    wrong = [name for name in parallel.batch_norms if name not in BATCH_NORMS]
    if wrong:
        raise BadInput(f"{wrong[0]!r} is not a BatchNorm of several processes", f"choose from: {', '.join(BATCH_NORMS)}")
    for count in parallel.data:
        if batch_size % count and not parallel.scale_batch:
            raise BadInput(
                f"--batch-size {batch_size} cannot be divided among {count} processes",
                f"write --batch-size {max(1, batch_size // count) * count}, or --scale-batch",
            )
    if parallel.pipeline:
        _check_pipeline(parallel, batch_size)


def _check_pipeline(parallel: Parallel, batch_size: int) -> None:
    microbatches = parallel.microbatches
    wrong = [name for name in parallel.schedules if name not in SCHEDULES]
    if wrong:
        raise BadInput(f"{wrong[0]!r} is not a schedule", f"choose from: {', '.join(SCHEDULES)}")
    if batch_size % microbatches:
        raise BadInput(
            f"--batch-size {batch_size} cannot be divided into {microbatches} microbatches",
            f"write --batch-size {max(1, batch_size // microbatches) * microbatches}, or another --microbatches",
        )
    for count in sorted(parallel.pipeline, reverse=True):
        for schedule in parallel.schedules:
            _check_microbatches(schedule, count, microbatches)


def _check_microbatches(schedule: str, count: int, microbatches: int) -> None:
    """Each process needs a microbatch in `1f1b`. In `interleaved` they pass in groups of one for each process."""
    if schedule == ONE_F_ONE_B and microbatches < count:
        raise BadInput(
            f"the schedule {schedule} needs a microbatch for each of {count} stages, got {microbatches}",
            f"write --microbatches {count} or more",
        )
    if schedule == INTERLEAVED and microbatches % count:
        raise BadInput(
            f"the schedule {schedule} needs a multiple of {count} microbatches for {count} processes, got {microbatches}",
            f"write --microbatches {max(1, microbatches // count) * count}",
        )


def _check_room(count: int, device: Device, place: Place) -> None:
    if device.kind == "cpu":
        room, noun = place.pool.threads(), "core"
    else:
        with place.pool.start(place.log, network=True) as worker:  # a network namespace is not tested with CUDA
            room, noun = max(0, worker.ask(CountGpus(), place.timeout_s).gpus - device.index), "GPU"
    if count > room:
        raise BadInput(
            f"{processes(count)} on {device} need {quantity(count, noun)}, but this machine has {room or 'none'}",
            f"train with {processes(room)} or fewer" if room else "write --device cpu",
        )


def processes(count: int) -> str:
    """A number with its noun: `1 process`, `2 processes`."""
    return f"{count} process{'es' if count > 1 else ''}"


def train(settings: TrainingSettings, plan: Plan, checkpoint: Path, place: Place, on_report: OnReport) -> list[RankTrained]:
    """Train by `plan`, and return the result of each rank. Raises the error of the rank that failed first by itself."""
    cuts = _cuts(settings, plan, place) if plan.is_pipeline else ()
    with Ranks(place.pool, place.log, plan.processes) as ranks:
        address = ranks.workers[0].ask(OpenRendezvous(ranks=plan.processes), place.timeout_s).address
        joins = [
            JoinRanks(
                **_fields(replace(settings, device=rank_device(settings.device, rank))),
                parallel=PIPELINE if plan.is_pipeline else DATA,
                rank=rank,
                ranks=plan.processes,
                address=address,
                peer_s=place.peer_s,
                join_s=place.timeout_s,
                schedule=plan.parallel,
                microbatches=plan.microbatches or 1,
                cuts=cuts,
                batch_norm=plan.batch_norm,
            )
            for rank in range(plan.processes)
        ]
        ranks.ask(joins, place.timeout_s + LATE_S)
        job = TrainRank(checkpoint=There(path=str(checkpoint)))
        return ranks.ask([job] * plan.processes, place.peer_s + LATE_S, on_report)


def check_stages(settings: TrainingSettings, plan: Plan, place: Place) -> None:
    """Raise `BadInput` for a model that cannot be cut into the plan's stages. The row of the plan reports other errors."""
    try:
        _cuts(settings, plan, place)
    except BadInput:
        raise
    except BenchError:
        return


def _cuts(settings: TrainingSettings, plan: Plan, place: Place) -> tuple[int, ...]:
    """Cuts of the model, by the measured time of its layers. Times vary, so all schedules have the cuts of one measurement."""
    microbatch = plan.batch_size // (plan.microbatches or 1)
    job = MeasureStages(**_fields(settings), stages=plan.processes * plan.rank_stages, microbatch=microbatch)
    if job not in place.cuts:
        network = Device.parse(settings.device).kind != "cpu"
        with place.pool.start(place.log.with_stem(f"{place.log.stem}-stages"), network=network) as worker:
            place.cuts[job] = worker.ask(job, place.timeout_s).cuts
    return place.cuts[job]


def _fields(settings: TrainingSettings) -> dict[str, Any]:
    """Fields of `settings` by name, for a job that has them too."""
    return {item.name: getattr(settings, item.name) for item in fields(TrainingSettings)}


def rank_device(device: str, rank: int) -> str:
    """Device of a rank: the CPU, or the GPU that is so many after the first one."""
    first = Device.parse(device)
    return device if first.kind == "cpu" else f"{first.kind}:{first.index + rank}"
