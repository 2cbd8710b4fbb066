"""Table of all jobs: the type and the function of each, and its need of the network. Standard library and the
package only.

The table has names alone, so that a worker loads the types of the jobs that it gets, and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .jobs import Job


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Description of a job: name, type and function (`module:name` of this folder), and need of the network.

    A job that loads the user's MODULE:FACTORY needs the network, because the factory may fetch weights. For a model of
    a library, one job fetches, and all others read the library's cache without a network. The ranks
    of a training need it, because they meet on the loopback, which an isolated worker shares with nobody. The
    worker of a cell has the network if the cell's backend has it (`backends.network`).
    """

    name: str
    job: str
    target: str
    network: bool = False

    def kind(self) -> type[Job[Any]]:
        """Type of the job."""
        kind: type[Job[Any]] = _find(self.job)
        return kind

    def function(self) -> Any:
        """Function of the job: (state, reporter, job) to its answer."""
        return _find(self.target)


def _find(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f".{module}", __package__), name)


TASKS: tuple[Task, ...] = (
    Task(name="probe", job="jobs:Probe", target="cell_jobs:probe"),
    Task(name="supports", job="jobs:Support", target="cell_jobs:supports"),
    Task(name="build", job="jobs:Build", target="engine_jobs:build"),
    Task(name="copy_engine", job="jobs:CopyEngine", target="engine_jobs:copy_engine"),
    Task(name="open", job="jobs:Open", target="cell_jobs:open_session"),
    Task(name="verify", job="jobs:Verify", target="cell_jobs:verify"),
    Task(name="inspect", job="jobs:Inspect", target="cell_jobs:inspect"),
    Task(name="profile", job="profile_jobs:Profile", target="profiling:profile"),
    Task(name="read_graph", job="profile_jobs:ReadGraph", target="profiling:read_graph"),
    Task(name="warm", job="jobs:WarmUp", target="cell_jobs:warm"),
    Task(name="latency", job="jobs:TimeLatency", target="blocks:latency"),
    Task(name="throughput", job="jobs:TimeThroughput", target="blocks:throughput"),
    Task(name="compare_timed", job="jobs:CompareTimed", target="timed_answers:compare_timed"),
    Task(name="energy", job="jobs:ReadEnergy", target="energy:energy"),
    Task(name="load", job="jobs:ApplyLoad", target="load:load"),
    Task(name="close", job="jobs:Close", target="cell_jobs:close"),
    Task(name="cold", job="jobs:StartCold", target="cell_jobs:cold"),
    Task(name="describe", job="file_jobs:Describe", target="prepare_jobs:describe"),
    Task(name="export", job="file_jobs:Export", target="prepare_jobs:export", network=True),
    Task(name="describe_library", job="file_jobs:DescribeLibrary", target="library_jobs:describe"),
    Task(name="fetch_library", job="file_jobs:FetchLibrary", target="library_jobs:fetch", network=True),
    Task(name="export_library", job="file_jobs:ExportLibrary", target="library_jobs:export"),
    Task(name="count", job="file_jobs:CountImages", target="prepare_jobs:count"),
    Task(name="decode", job="file_jobs:DecodeImages", target="image_jobs:decode"),
    Task(name="adopt", job="file_jobs:Adopt", target="prepare_jobs:adopt"),
    Task(name="convert", job="file_jobs:Convert", target="convert_jobs:convert"),
    Task(name="lower", job="file_jobs:Lower", target="lower_jobs:lower"),
    Task(name="convert_format", job="file_jobs:ConvertFormat", target="format_jobs:convert_format"),
    Task(name="write_samples", job="file_jobs:WriteSamples", target="convert_jobs:write_samples"),
    Task(name="size_use", job="file_jobs:ReadSizeUse", target="lower_jobs:read_size_use"),
    Task(name="work", job="file_jobs:CountWork", target="work_jobs:count"),
    Task(name="make_roof", job="file_jobs:MakeRoof", target="work_jobs:make_roof"),
    Task(name="explain", job="file_jobs:Explain", target="explain_jobs:explain"),
    Task(name="count_parts", job="search_jobs:CountParts", target="data_parts:count_parts"),
    Task(name="rank_nodes", job="search_jobs:RankNodes", target="search:rank_nodes"),
    Task(name="evaluate_int8", job="search_jobs:EvaluateInt8", target="search:evaluate"),
    Task(name="draw", job="file_jobs:Draw", target="prepare_jobs:draw"),
    Task(name="reference", job="file_jobs:Refer", target="prepare_jobs:reference"),
    Task(name="compare_file", job="file_jobs:CompareFile", target="floors:compare_file"),
    Task(name="floor", job="file_jobs:MeasureFloor", target="floors:measure_floor"),
    Task(name="train", job="file_jobs:Train", target="train_job:train"),
    Task(name="gpus", job="rank_jobs:CountGpus", target="process_group:count_gpus"),
    Task(name="stages", job="rank_jobs:MeasureStages", target="stages:measure_stages"),
    Task(name="rendezvous", job="rank_jobs:OpenRendezvous", target="process_group:open_rendezvous", network=True),
    Task(name="join", job="rank_jobs:JoinRanks", target="rank_job:join_ranks", network=True),
    Task(name="train_rank", job="rank_jobs:TrainRank", target="rank_job:train_rank", network=True),
)

BY_NAME: Mapping[str, Task] = {task.name: task for task in TASKS}
BY_JOB: Mapping[str, Task] = {task.job: task for task in TASKS}


def task_of(kind: type[Job[Any]]) -> Task:
    """Description of the job `kind`."""
    return BY_JOB[f"{kind.__module__.rpartition('.')[2]}:{kind.__name__}"]
