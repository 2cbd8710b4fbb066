"""The worker's jobs of a rank: join the other ranks, train with them, profile some steps. Imports torch inside functions."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from ...errors import BenchError
from ...factories import resolve
from ...models import datasets
from ...spec import Device
from . import data_parallel, pipeline
from .data_parallel import DataParallelTrainer
from .jobs import Done, ProgressReport, Reporter
from .pipeline import COMPUTE, PipelineTrainer
from .prepare_jobs import dataset_of
from .process_group import ProcessGroup, join, leave, peers_named
from .rank_jobs import PIPELINE, JoinRanks, RankTrained, StepProfile, TrainRank
from .serve import State
from .train_job import Parts, import_torch, parts_of, record_of, run_epochs, save

PROFILED_STEPS = 10
TRANSFERS = ("gloo:", "nccl", "c10d::")  # beginnings of the profiler's names of transfers
NO_KERNELS = ("mem", COMPUTE, "forward ", "backward ", "optimizer.", "distributeddataparallel", "profiler")
"""Beginnings of names on a GPU's timeline that are copies, or annotations of torch."""

Spans = Iterable[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class RankTraining:
    """A rank that has joined: its trainer and its data."""

    job: JoinRanks
    group: ProcessGroup
    data: datasets.Dataset
    parts: Parts
    trainer: DataParallelTrainer | PipelineTrainer


def join_ranks(state: State, report: Reporter, job: JoinRanks) -> Done:
    """Load the data and the model, and join the other ranks."""
    torch = import_torch(job)
    if Device.parse(job.device).kind == "cuda":
        torch.cuda.set_device(job.device)
    data = dataset_of(job.data)
    parts, network = parts_of(torch, data), resolve(job.factory)()
    with peers_named(job.rank):
        group = join(state, job)
    made: DataParallelTrainer | PipelineTrainer
    if job.parallel == PIPELINE:
        made = pipeline.make(torch, job, network, group, parts)
    else:
        made = data_parallel.make(torch, job, network, group)
    state.rank = RankTraining(job=job, group=group, data=data, parts=parts, trainer=made)
    return Done()


def train_rank(state: State, report: Reporter, job: TrainRank) -> RankTrained:
    """Train with the other ranks, write the checkpoint on rank 0, and profile some steps afterwards."""
    import torch

    rank = state.rank
    if rank is None:
        raise BenchError("this worker has not joined a training")
    with peers_named(rank.job.rank):
        trained = run_epochs(state, report, rank.trainer, rank.parts, rank.job.epochs)
        network = rank.trainer.whole_network()
        if rank.job.rank == 0:
            # a copy, because `save` moves it to the CPU
            save(deepcopy(network), Path(job.checkpoint.path), record_of(torch, rank.job, rank.data, trained.epochs))
        rank.trainer.finish()
        profile = _profile(state, report, rank)
        leave()
    if isinstance(rank.trainer, PipelineTrainer):
        return RankTrained(trained=trained, profile=profile, output_error=rank.trainer.output_error)
    return RankTrained(trained=trained, profile=profile, batch_norm=rank.trainer.batch_norm)


def _profile(state: State, report: Reporter, rank: RankTraining) -> StepProfile:
    """Times of PROFILED_STEPS steps after the training, whose result they do not change."""
    import torch
    from torch import profiler

    images, labels = rank.parts["train"]
    trainer = rank.trainer
    order = torch.randperm(len(images), generator=trainer.generator).split(trainer.batch_size)  # equal on all ranks
    batches = [rows for rows in order if len(rows) == trainer.batch_size] or order
    kinds = [profiler.ProfilerActivity.CPU]
    if Device.parse(trainer.device).kind == "cuda":
        kinds.append(profiler.ProfilerActivity.CUDA)
    trainer.network.train()
    trainer.step(images, labels, batches[0])  # the first step after a pause is slower
    with profiler.profile(activities=kinds) as recorded:
        trainer.finish()
        begin = state.clock.now_ns()
        for number, rows in enumerate(islice(cycle(batches), PROFILED_STEPS), 1):
            trainer.step(images, labels, rows)
            report(ProgressReport(epoch=rank.job.epochs, epochs=rank.job.epochs, step=number, steps=PROFILED_STEPS))
        trainer.finish()
        wall_s = state.clock.since_s(begin)
    transfers, computing = _spans(recorded.events(), Device.parse(trainer.device).kind)
    busy_s = union_s(computing) if rank.job.parallel == PIPELINE else None
    return StepProfile(steps=PROFILED_STEPS, wall_s=wall_s, communication_s=union_s(transfers), busy_s=busy_s)


def _spans(events: Iterable[Any], kind: str) -> tuple[Spans, Spans]:
    """Spans of transfers and of computing, in µs: kernels on a GPU, and the rank's own annotations on a CPU."""
    device = "CUDA" if kind == "cuda" else "CPU"
    own = [event for event in events if str(event.device_type).endswith(device)]
    transfers = [event for event in own if event.name.lower().startswith(TRANSFERS)]
    if kind == "cuda":
        # torch copies every annotation to the GPU's timeline, where it covers idle time too
        kernels = [event for event in own if not getattr(event, "is_user_annotation", False)]
        computing = [event for event in kernels if not event.name.lower().startswith((*TRANSFERS, *NO_KERNELS))]
    else:
        computing = [event for event in own if event.name == COMPUTE]
    first, second = ([(event.time_range.start, event.time_range.end) for event in part] for part in (transfers, computing))
    return first, second


def union_s(spans: Spans) -> float:
    """Time in s that at least one of the spans, in µs, covers."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total / 1e6
