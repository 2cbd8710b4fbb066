"""Jobs of a worker that is one process of a parallel training, a rank. Standard library and the package only."""

from __future__ import annotations

from dataclasses import dataclass

from .file_jobs import Trained, TrainingSettings
from .jobs import Done, Job, There

DATA, PIPELINE = "data", "pipeline"
GPIPE, ONE_F_ONE_B, INTERLEAVED = "gpipe", "1f1b", "interleaved"
RANK_STAGES = {GPIPE: 1, ONE_F_ONE_B: 1, INTERLEAVED: 2}
"""Stages of each rank, by schedule. With several, rank R of N has the stages R, R + N, ..."""
SCHEDULES = tuple(RANK_STAGES)

SHARED, LOCAL = "shared", "local"
BATCH_NORMS = (SHARED, LOCAL)
"""Images whose statistics a BatchNorm of a data parallel training takes: those of all ranks, or those of its own rank."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuCount:
    """Number of GPUs that PyTorch can use."""

    gpus: int


@dataclass(frozen=True, kw_only=True)
class CountGpus(Job[GpuCount]):
    """Count the GPUs on which PyTorch can train."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendezvous:
    """Address `HOST:PORT` on this machine, at which the ranks of one training meet."""

    address: str


@dataclass(frozen=True, kw_only=True)
class OpenRendezvous(Job[Rendezvous]):
    """Open a rendezvous for `ranks` processes. It lives as long as the worker."""

    ranks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """Layers at which the stages after the first one begin."""

    cuts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class MeasureStages(TrainingSettings, Job[Stages]):
    """Time every layer on `microbatch` images, and cut the model into `stages` of about equal time."""

    stages: int
    microbatch: int


@dataclass(frozen=True, kw_only=True)
class JoinRanks(TrainingSettings, Job[Done]):
    """Load the data and the model, and join the other ranks at `address`.

    `parallel`: `data` for a copy of the model in each rank, `pipeline` for some stages of it. `peer_s`: longest wait for
    another rank. `join_s`: longest wait for all ranks to be ready. `batch_size`: images of one step of all ranks.
    `batch_norm`: one of BATCH_NORMS.
    """

    parallel: str
    rank: int
    ranks: int
    address: str
    peer_s: float
    join_s: float
    schedule: str = GPIPE
    microbatches: int = 1
    cuts: tuple[int, ...] = ()
    batch_norm: str = SHARED


@dataclass(frozen=True, kw_only=True, slots=True)
class StepProfile:
    """Times in `steps` steps under the profiler, in seconds.

    `wall_s`: all of them. `communication_s`: a transfer was in progress. `busy_s`: the rank computed; None for data parallel
    ranks, which compute and transfer at the same time.
    """

    steps: int
    wall_s: float
    communication_s: float
    busy_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RankTrained:
    """Result of one rank. `output_error`: largest difference of the pipeline's first output from the whole model's, over the
    largest absolute value there; only the last stage has it. `batch_norm`: None for a model without BatchNorm."""

    trained: Trained
    profile: StepProfile
    output_error: float | None = None
    batch_norm: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainRank(Job[RankTrained]):
    """Train as one of the joined ranks, then profile some steps. Rank 0 writes the checkpoint."""

    checkpoint: There
