"""Jobs of a worker for cells: what each is asked with, and what it answers. Standard library, spec and evidence only.

file_jobs.py has those for files, tasks.py says which function does each.

A path in a job is `Here` where the worker reads, and `There` where it writes: a pool whose workers see none of the parent's
folders brings the one before the job and fetches the other after it. No other field of a job is a path but those of an
Artifact (its file and its source's weights), which are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, get_args, get_origin

from ...evidence import Built, Cold, Counts, Energy, Epoch, Inspected, LoadPoint, Number, Opened, Rate, Verified, Warm
from ...spec import PRECISIONS, Artifact, Cell, Concurrency

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Here:
    """A file or folder that the worker reads."""

    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class There:
    """A file or folder that the worker writes."""

    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """A dataset: the name that it has in a record, and where its files are, if it has any."""

    name: str
    place: Here | None = None

    @classmethod
    def named(cls, name: str) -> Data:
        """The dataset `name`, whose place is an absolute path."""
        place = name.partition(":")[2]
        return cls(name=name, place=Here(path=place) if place else None)

    @classmethod
    def of(cls, name: str | None) -> Data | None:
        """The dataset `name`, if there is one."""
        return cls.named(name) if name else None


@dataclass(frozen=True, kw_only=True)
class Job(Generic[Answer]):
    """Something that a worker is asked for; the parameter is the type of its answer."""

    @classmethod
    def answer(cls) -> type[Answer]:
        """The type of the answer."""
        found: type[Answer]
        (found,) = (get_args(base)[0] for base in cls.__orig_bases__ if get_origin(base) is Job)  # type: ignore[attr-defined]
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """Nothing but that the job is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressReport:
    """A sign of life during a job: for a training how far it is, and the epoch that is `done`."""

    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    done: Epoch | None = None


Reporter = Callable[[ProgressReport], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """A backend's description of itself in the worker's environment (backends/protocol.Backend)."""

    available: bool
    device_kind: str
    version: str = ""
    devices: tuple[str, ...] = ()
    reason: str = ""
    install: str = ""
    instrument: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    precisions: tuple[str, ...] = tuple(PRECISIONS)
    on_request: tuple[str, ...] = ()
    builds: bool = False
    network: str = "open"


@dataclass(frozen=True, kw_only=True)
class Probe(Job[Probed]):
    """Ask whether a backend can run here."""

    backend: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Supported:
    """Reason that a backend cannot run a cell, or None."""

    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Support(Job[Supported]):
    """Ask whether the cell's backend can run it; nothing is opened."""

    cell: Cell
    artifact: Artifact


@dataclass(frozen=True, kw_only=True)
class Build(Job[Built]):
    """Compile what the cell's backend compiles ahead, or find that it is there."""

    cell: Cell
    artifact: Artifact


@dataclass(frozen=True, kw_only=True)
class Open(Job[Opened]):
    """Open a session, bind the arrays in the folder `inputs`, and make the first call."""

    cell: Cell
    artifact: Artifact
    inputs: Here


@dataclass(frozen=True, kw_only=True)
class Verify(Job[Verified]):
    """Compare the outputs of the open cell `key` with those in `reference`, and its answers with the labels in `samples`."""

    key: str
    reference: Here
    samples: Here | None = None


@dataclass(frozen=True, kw_only=True)
class Inspect(Job[Inspected]):
    """List the kernels of one call of the open cell `key`, with times where it is `timed`."""

    key: str
    timed: bool


@dataclass(frozen=True, kw_only=True)
class WarmUp(Job[Warm]):
    """Warm the open cell `key` up, and find the best concurrency in `passes` where none is given."""

    key: str
    least_ms: float
    limit_ms: float
    passes: int
    concurrency: Concurrency | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedLatency:
    """A block of single calls: how many, their medians in ns by kind, and what was counted over all."""

    calls: int
    p50_ns: Mapping[str, Number]
    noise: Counts
    settled: bool


@dataclass(frozen=True, kw_only=True)
class TimeLatency(Job[TimedLatency]):
    """Make a block of single calls that lasts `block_ms` and has `calls` at least; their times go to the file `samples`."""

    key: str
    block_ms: float
    calls: int
    samples: There


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedThroughput:
    """A block with all lanes busy, and what was counted over it."""

    rate: Rate
    noise: Counts
    settled: bool


@dataclass(frozen=True, kw_only=True)
class TimeThroughput(Job[TimedThroughput]):
    """Keep all lanes of `concurrency` busy for `block_ms`."""

    key: str
    block_ms: float
    concurrency: Concurrency


@dataclass(frozen=True, kw_only=True)
class ReadEnergy(Job[Energy]):
    """Keep all lanes of `concurrency` busy for `block_ms`, and read the GPU's energy meanwhile."""

    key: str
    block_ms: float
    concurrency: Concurrency


@dataclass(frozen=True, kw_only=True)
class ApplyLoad(Job[LoadPoint]):
    """Answer `items` that arrive at random at `rate_per_s`, on all lanes of `concurrency`.

    A call waits `wait_ms` to be full; the queue is given up when an item has waited `give_up_ms`.
    """

    key: str
    rate_per_s: float
    items: int
    seed: int
    wait_ms: float
    give_up_ms: float
    concurrency: Concurrency


@dataclass(frozen=True, kw_only=True)
class Close(Job[Done]):
    """Free the open cell `key`."""

    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Started(Cold):
    """A fresh process; `up_ns` and `answered_ns` are on the monotonic clock, the same for all processes of a machine."""

    up_ns: int
    answered_ns: int


@dataclass(frozen=True, kw_only=True)
class StartCold(Job[Started]):
    """Import, load and answer once in a process that has done nothing yet."""

    cell: Cell
    artifact: Artifact
    inputs: Here
