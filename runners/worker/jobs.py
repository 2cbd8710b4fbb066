"""Jobs of a worker for cells, and their answers. Standard library and the package only.

file_jobs.py has the jobs for files. tasks.py maps each job to its function.

A path in a job is `Here` if the worker reads it, and `There` if the worker writes it. A pool whose workers
cannot see the parent's folders copies `Here` before the job and `There` after it. The only other paths are
those of an Artifact (its file and its source's weights), which the worker reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, get_args

from ...evidence import (
    Built,
    ByArray,
    Cold,
    Counts,
    Distance,
    Energy,
    Epoch,
    Inspected,
    LoadPoint,
    Number,
    Opened,
    Rate,
    Verified,
    Warm,
)
from ...models.preprocessing import split_name
from ...spec import PRECISIONS, Artifact, Cell, Concurrency
from ...tuning import Tunable

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
    """Dataset: its name in a record, and the place of its files, if any."""

    name: str
    place: Here | None = None

    @classmethod
    def named(cls, name: str) -> Data:
        """Dataset `name`. A place in the name is an absolute path."""
        place = split_name(name)[1]
        return cls(name=name, place=Here(path=place) if place else None)

    @classmethod
    def of(cls, name: str | None) -> Data | None:
        """Dataset `name`, or None without a name."""
        return cls.named(name) if name else None


@dataclass(frozen=True, kw_only=True)
class Job(Generic[Answer]):
    """Request to a worker; the type parameter is the type of the answer."""

    @classmethod
    def answer(cls) -> type[Answer]:
        """Type of the answer."""
        answer: type[Answer]
        (answer,) = (get_args(base)[0] for base in cls.__orig_bases__ if get_args(base))  # type: ignore[attr-defined]
        return answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """Empty answer of a job that has no result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressReport:
    """Sign of life during a job. In a training: the position, and the epoch that is `done`."""

    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    done: Epoch | None = None


Reporter = Callable[[ProgressReport], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """Description of a backend in the worker's environment (backends/protocol.Backend).

    `opset`: the highest one that it takes; 0 without a limit. `fixes_shapes`: it gets files with the shapes of its row.
    `converter`: name of the program that writes its files; empty for a runtime that reads ONNX files. `converter_packages`: its
    packages with their versions, or the reason that one is missing with the command that installs it. `calibrated`: precisions
    whose files it makes with calibration samples.
    """

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
    searches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    network: str = "open"
    int8_scheme: str = ""
    int8_schemes: tuple[str, ...] = ()
    opset: int = 0
    fixes_shapes: bool = False
    converter: str = ""
    converter_packages: str = ""
    calibrated: tuple[str, ...] = ()
    tunables: tuple[Tunable, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Probe(Job[Probed]):
    """Request the description of a backend, with its availability in the worker."""

    backend: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Supported:
    """Reason that a backend cannot run a cell, or None."""

    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Support(Job[Supported]):
    """Request the reason that the cell's backend cannot run it. Nothing is opened."""

    cell: Cell
    artifact: Artifact


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineChoice:
    """Choice among the engines of a cell: number `build` of the cache, or a `file` that the user keeps.

    `record`: the file that tells how `file` was built. `sha256`: the engine must be this one; empty for any.
    """

    build: int = 0
    file: Here | None = None
    record: Here | None = None
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Build(Job[Built]):
    """Compile the engine of the cell's backend, or find it in the cache.

    `without_timings`: use no kernel times of earlier builds.
    """

    cell: Cell
    artifact: Artifact
    engine: EngineChoice = EngineChoice()
    without_timings: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """Engine that was copied: its hash, and the maker that can load it. None without an engine."""

    sha256: str | None = None
    maker: str = ""


@dataclass(frozen=True, kw_only=True)
class CopyEngine(Job[Copied]):
    """Copy the engine of a cell to `file`, and write how it was built to `record`."""

    cell: Cell
    artifact: Artifact
    file: There
    record: There
    engine: EngineChoice = EngineChoice()


@dataclass(frozen=True, kw_only=True)
class Open(Job[Opened]):
    """Open a session, bind the arrays in the folder `inputs`, and make the first call. `drawn`: the arrays are generated.

    `parallel`: the cell with the options of parallel calls, where they are others than those of single calls. `memory`: make
    some further calls, and report the memory of the process. It is that of the cell if the process has opened no other.
    """

    cell: Cell
    artifact: Artifact
    inputs: Here
    drawn: bool = False
    engine: EngineChoice = EngineChoice()
    parallel: Cell | None = None
    memory: bool = False


@dataclass(frozen=True, kw_only=True)
class Verify(Job[Verified]):
    """Compare the outputs of the open cell `key` with the arrays in `reference`.

    With `samples`, also compare its predictions with the labels there. `random`: outputs that are not compared.
    """

    key: str
    reference: Here
    samples: Here | None = None
    random: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inspect(Job[Inspected]):
    """List the kernels of one call of the open cell `key`; with times if `timed`."""

    key: str
    timed: bool


@dataclass(frozen=True, kw_only=True)
class WarmUp(Job[Warm]):
    """Warm up the open cell `key`. Search the best concurrency in `passes` unless `concurrency` is set.

    After `limit_ms` the warm-up ends, and after `limit_ms` of the search no further pass begins.
    `engine_file`: name of the file from which the cell's program loads its engine; empty for a program that builds one.
    """

    key: str
    least_ms: float
    limit_ms: float
    passes: int
    concurrency: Concurrency | None = None
    engine_file: str = ""


@dataclass(frozen=True, kw_only=True)
class TimePart(Job[Answer]):
    """Time a part of a visit of the open cell `key`. `rest`: end when its threads are idle; else the parent stops them."""

    key: str
    rest: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedLatency:
    """Block of single calls: their number, their medians in ns by kind and by array, and the noise over all."""

    calls: int
    p50_ns: Mapping[str, Number]
    noise: Counts
    settled: bool
    by_array: ByArray | None = None


@dataclass(frozen=True, kw_only=True)
class TimeLatency(TimePart[TimedLatency]):
    """Make single calls for `block_ms`, at least `calls`; write their times to the file `samples`.

    `keep`: fetch the answer of the last call after the clock has stopped, for `CompareTimed`. Of a cell with several arrays:
    `turn` is the number of calls so far, where the turns go on, and one array is also called again and again, which `round`
    chooses.
    """

    block_ms: float
    calls: int
    samples: There
    keep: bool = False
    turn: int = 0
    round: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedThroughput:
    """Block with all lanes busy: its rate, the noise over it, and the CPU time of the process in ns."""

    rate: Rate
    noise: Counts
    settled: bool
    cpu_ns: float = 0


@dataclass(frozen=True, kw_only=True)
class TimeThroughput(TimePart[TimedThroughput]):
    """Keep all lanes of `concurrency` busy for `block_ms`. `keep`: as in TimeLatency, for each lane.

    `begin_ns`: monotonic time at which to begin, together with the workers of other GPUs; 0 for now. The lanes stay busy for
    some time after the block then, since the others may still count.
    """

    block_ms: float
    concurrency: Concurrency
    keep: bool = False
    begin_ns: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedAnswer(Distance):
    """Distance of the answer of a timed call: in a `part` of a visit, of a `lane` (from 1), to the array number `array`."""

    part: str
    lane: int = 1
    array: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedAnswers:
    """Distances of the answers that the last blocks kept."""

    answers: tuple[TimedAnswer, ...]


@dataclass(frozen=True, kw_only=True)
class CompareTimed(Job[TimedAnswers]):
    """Compare the answers that the last blocks of the open cell `key` kept with the reference.

    `reference`: folder of the reference's answers, with those to further arrays below it. `random`: outputs that are
    not compared. `concurrency`: lanes of a model with a state, which makes the reference's steps for this.
    """

    key: str
    reference: Here
    concurrency: Concurrency
    random: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReadEnergy(Job[Energy]):
    """Keep all lanes of `concurrency` busy for `block_ms`, and read the energy of the device meanwhile."""

    key: str
    block_ms: float
    concurrency: Concurrency


@dataclass(frozen=True, kw_only=True)
class ApplyLoad(Job[LoadPoint]):
    """Answer `items` that arrive at random at `rate_per_s`, on all lanes of `concurrency`.

    A call waits at most `wait_ms` until its batch is full. The load stops when an item has waited
    `give_up_ms`. `limit_ms`: responses above it are late.
    """

    key: str
    rate_per_s: float
    items: int
    seed: int
    wait_ms: float
    give_up_ms: float
    concurrency: Concurrency
    limit_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Close(Job[Done]):
    """Free the open cell `key`."""

    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Started(Cold):
    """Cold start of a fresh process.

    `up_ns` and `answered_ns` are monotonic times, which all processes of a machine share.
    """

    up_ns: int
    answered_ns: int


@dataclass(frozen=True, kw_only=True)
class StartCold(Job[Started]):
    """Import, load and answer once in a fresh process. `drawn`: the arrays in `inputs` are generated."""

    cell: Cell
    artifact: Artifact
    inputs: Here
    drawn: bool = False
    engine: EngineChoice = EngineChoice()
