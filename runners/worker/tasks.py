"""Table of all jobs: the function of each, and its need of the network. Standard library and the package
only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .file_jobs import (
    Adopt,
    CompareFile,
    Convert,
    ConvertFormat,
    CountImages,
    CountWork,
    DecodeImages,
    Describe,
    DescribeLibrary,
    Draw,
    Explain,
    Export,
    ExportLibrary,
    FetchLibrary,
    Lower,
    MakeRoof,
    MeasureFloor,
    ReadSizeUse,
    Refer,
    Train,
    WriteSamples,
)
from .jobs import (
    ApplyLoad,
    Build,
    Close,
    CompareTimed,
    CopyEngine,
    Inspect,
    Job,
    Open,
    Probe,
    ReadEnergy,
    StartCold,
    Support,
    TimeLatency,
    TimeThroughput,
    Verify,
    WarmUp,
)
from .profile_jobs import Profile, ReadGraph
from .rank_jobs import CountGpus, JoinRanks, MeasureStages, OpenRendezvous, TrainRank
from .search_jobs import CountParts, EvaluateInt8, RankNodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Description of a job: name, function (`module:function` of this folder), and need of the network.

    A job that loads the user's MODULE:FACTORY needs the network, because the factory may fetch weights. For a model of
    a library, one job fetches, and all others read the library's cache without a network. The ranks
    of a training need it, because they meet on the loopback, which an isolated worker shares with nobody. The
    worker of a cell has the network if the cell's backend has it (`backends.network`).
    """

    name: str
    target: str
    network: bool = False


JOBS: Mapping[type[Job[Any]], Task] = {
    Probe: Task(name="probe", target="cell_jobs:probe"),
    Support: Task(name="supports", target="cell_jobs:supports"),
    Build: Task(name="build", target="engine_jobs:build"),
    CopyEngine: Task(name="copy_engine", target="engine_jobs:copy_engine"),
    Open: Task(name="open", target="cell_jobs:open_session"),
    Verify: Task(name="verify", target="cell_jobs:verify"),
    Inspect: Task(name="inspect", target="cell_jobs:inspect"),
    Profile: Task(name="profile", target="profiling:profile"),
    ReadGraph: Task(name="read_graph", target="profiling:read_graph"),
    WarmUp: Task(name="warm", target="cell_jobs:warm"),
    TimeLatency: Task(name="latency", target="blocks:latency"),
    TimeThroughput: Task(name="throughput", target="blocks:throughput"),
    CompareTimed: Task(name="compare_timed", target="timed_answers:compare_timed"),
    ReadEnergy: Task(name="energy", target="energy:energy"),
    ApplyLoad: Task(name="load", target="load:load"),
    Close: Task(name="close", target="cell_jobs:close"),
    StartCold: Task(name="cold", target="cell_jobs:cold"),
    Describe: Task(name="describe", target="prepare_jobs:describe"),
    Export: Task(name="export", target="prepare_jobs:export", network=True),
    DescribeLibrary: Task(name="describe_library", target="library_jobs:describe"),
    FetchLibrary: Task(name="fetch_library", target="library_jobs:fetch", network=True),
    ExportLibrary: Task(name="export_library", target="library_jobs:export"),
    CountImages: Task(name="count", target="prepare_jobs:count"),
    DecodeImages: Task(name="decode", target="image_jobs:decode"),
    Adopt: Task(name="adopt", target="prepare_jobs:adopt"),
    Convert: Task(name="convert", target="convert_jobs:convert"),
    Lower: Task(name="lower", target="lower_jobs:lower"),
    ConvertFormat: Task(name="convert_format", target="format_jobs:convert_format"),
    WriteSamples: Task(name="write_samples", target="convert_jobs:write_samples"),
    ReadSizeUse: Task(name="size_use", target="lower_jobs:read_size_use"),
    CountWork: Task(name="work", target="work_jobs:count"),
    MakeRoof: Task(name="make_roof", target="work_jobs:make_roof"),
    Explain: Task(name="explain", target="explain_jobs:explain"),
    CountParts: Task(name="count_parts", target="data_parts:count_parts"),
    RankNodes: Task(name="rank_nodes", target="search:rank_nodes"),
    EvaluateInt8: Task(name="evaluate_int8", target="search:evaluate"),
    Draw: Task(name="draw", target="prepare_jobs:draw"),
    Refer: Task(name="reference", target="prepare_jobs:reference"),
    CompareFile: Task(name="compare_file", target="floors:compare_file"),
    MeasureFloor: Task(name="floor", target="floors:measure_floor"),
    Train: Task(name="train", target="train_job:train"),
    CountGpus: Task(name="gpus", target="process_group:count_gpus"),
    MeasureStages: Task(name="stages", target="stages:measure_stages"),
    OpenRendezvous: Task(name="rendezvous", target="process_group:open_rendezvous", network=True),
    JoinRanks: Task(name="join", target="rank_job:join_ranks", network=True),
    TrainRank: Task(name="train_rank", target="rank_job:train_rank", network=True),
}

BY_NAME: Mapping[str, type[Job[Any]]] = {task.name: kind for kind, task in JOBS.items()}
