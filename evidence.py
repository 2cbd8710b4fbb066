"""Results about a cell. Workers return them, the journal stores them, tables show them. Standard library and spec only.

Most fields have a default, because older versions wrote fewer fields. A default never changes, because a journal leaves out
fields at their default. wire.from_wire checks every type, and that numbers are finite. The name of a time ends with its unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .built import Built as Built
from .built import Converted as Converted
from .built import KeptEngine as KeptEngine
from .built import Layers as Layers
from .built import Lowered as Lowered
from .built import TimedBuild as TimedBuild
from .parity import Accuracy as Accuracy
from .parity import Answered as Answered
from .parity import Distance as Distance
from .parity import Explained as Explained
from .parity import Parity as Parity
from .parity import PartDistance as PartDistance
from .parity import Proof as Proof
from .parity import Verified as Verified
from .profiles import GraphNode as GraphNode
from .profiles import Inspected as Inspected
from .profiles import Kernel as Kernel
from .profiles import OpeningPart as OpeningPart
from .profiles import Profiled as Profiled
from .spec import Concurrency, Load
from .tuning import Tuned as Tuned

Number = float | None
FAILED, TIMEOUT, UNAVAILABLE, UNSUPPORTED = ENDINGS = ("failed", "timeout", "unavailable", "unsupported")
KINDS = ("latency", "end_to_end", "device")  # kinds of times
LATENCY, THROUGHPUT = "latency", "throughput"  # parts of a visit
ROUND, LOAD, ANSWERS, MEMORY = "round", "load", "answers", "memory"
"""Steps that may fail after a cell's figures are complete: the figures are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuCounts:
    """NVML's readings of a GPU for one part of a visit. None: NVML does not give the value.

    Clocks, temperature and power are those at the end of the part; `sm_begin_mhz` is the clock at its begin. `throttle`: causes
    that slowed the clocks. `others`: number of other processes on the GPU. `reason`: reason why values are missing.
    """

    sm_mhz: Number = None
    sm_begin_mhz: Number = None
    memory_mhz: Number = None
    temperature_c: Number = None
    power_w: Number = None
    throttle: tuple[str, ...] | None = None
    others: int | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Counters over one part of a visit, on the CPUs that the worker may use; None where the system lacks the counter.

    noise.py defines each. `wall_ns` is 0 if nothing was counted. `gpu`: the worst of several `gpus`."""

    wall_ns: float = 0
    cpus: int = 1
    steal_ns: Number = 0
    others_ns: Number = 0
    run_delay_ns: Number = 0
    major_faults: Number = 0
    involuntary_switches: Number = 0
    mhz: Number = None
    gpu: GpuCounts | None = None
    gpus: tuple[GpuCounts, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """The counters over both parts of a visit; None for a visit without its throughput."""

    latency: Counts = Counts()
    throughput: Counts | None = None

    @property
    def parts(self) -> Mapping[str, Counts]:
        """Counters of the parts that were measured, by part."""
        if self.throughput is None:
            return {"latency": self.latency}
        return {"latency": self.latency, "throughput": self.throughput}


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """The inputs of a cell, made in a worker with this `network` access. `referred`: the FP32 reference gave its outputs."""

    network: str = ""
    referred: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Cold:
    """Times and memory of a fresh process. The times are set only with `--cold`."""

    process_s: Number = None
    cold_s: Number = None
    import_s: Number = None
    load_s: Number = None
    first_ms: Number = None
    peak_rss_mb: Number = None
    device_mem_mb: Number = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """Facts that a session reports (backends/protocol.SessionInfo)."""

    executed: str | None = None
    placement: str | None = None
    settings: Mapping[str, str] | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened(Built):
    """An open session, and the file that the session runs.

    `made_by`: version of this tool that made the file by an older recipe. `invalid`: onnx.checker's reason to refuse the file.
    `program`: for a program of the user, the form of its loop: turns, runs or call. `searches`: the runtime timed kernels and
    chose the fastest, as it does again at every opening. `lowered`: the file was lowered to an opset that the runtime takes.
    `own_reference`: a file of another precision without its FP32 file is compared with itself. `parts`: parts of the opening.
    `memory`: that of the process, if it is requested.
    """

    artifact_mb: Number = None
    file: str | None = None
    sha256: str | None = None
    made_by: str | None = None
    invalid: str | None = None
    layers: Layers | None = None
    conversion: str | None = None
    random_calibration: bool = False
    random_weights: bool = False
    load_s: Number = None
    first_ms: Number = None
    info: Info = Info()
    instrument: bool = False
    int8_scheme: str | None = None
    program: str = ""
    searches: bool = False
    lowered: Lowered | None = None
    own_reference: bool = False
    parts: tuple[OpeningPart, ...] = ()
    memory: Cold | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A concurrency in the runtime's own terms (`deploy`), and a program that uses it (`snippet`)."""

    deploy: str = ""
    snippet: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried(Concurrency):
    """A measured concurrency, and its throughput."""

    items_per_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Warm(Deployment):
    """A warm-up, and the concurrency with the highest throughput. `single`: deployment of one call at a time, for latency."""

    calls: Number = None
    took_ns: Number = None
    stationary: bool = True
    lanes: int | None = None
    concurrency: Concurrency | None = None
    single: Deployment | None = None
    settled: bool = True
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """One life of a cell: a fresh process in which the cell opens and warms up again before its rounds.

    `number`: counted over the run. `position`: number of crews that opened before the cell's own in this life.
    """

    number: int
    position: int
    load_s: Number = None
    first_ms: Number = None
    stationary: bool = True
    settled: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Reopened:
    """A later opening of a cell that `reports` other values than the first one, which had the `usual` ones, by their names."""

    reports: Mapping[str, str]
    usual: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """Energy of an item in mJ and power in W, over some `renewals` of the counter; or the `reason` why both are missing."""

    energy_mj: Number = None
    power_w: Number = None
    items_per_s: Number = None
    renewals: int | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Number of `calls` that all `lanes` together completed in `took_ns`, and calls a second of `each` of several GPUs.

    With several threads `calls` may have a fraction: the calls of each lane are scaled to the time of the slowest lane.
    """

    calls: float
    took_ns: float
    lanes: int = 1
    each: tuple[float, ...] = ()

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.took_ns * 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class ByArray:
    """Medians in ns of one round's latency by array, for a cell whose calls get several arrays in turn.

    `p50_ns`: of each array in turn; None for one without a call in this round. `repeated_ns`: that of the array `repeated`
    (from 0), called again and again in a block of its own.
    """

    p50_ns: tuple[Number, ...]
    repeated: int
    repeated_ns: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One visit of a cell. `samples` is the file with the times of all calls, `p50_ns` their medians by kind of time.

    `throughput`: None in the rounds that measure latency alone (`Budget.rate_rounds`).
    `life`: number of the process that was visited, counted over the run; None where every cell has one process for all rounds.
    `throttled`: number of measurements that were dropped before this one, because the clocks of the GPU were throttled.
    """

    round: int
    samples: str = ""
    calls: int | None = None
    p50_ns: Mapping[str, Number] | None = None
    throughput: Rate | None = None
    noise: Noise = Noise()
    settled: bool = True
    life: int | None = None
    throttled: int = 0
    by_array: ByArray | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Percentiles:
    """Number of calls, and percentiles, smallest, mean and largest of their times. None: too few calls for this percentile.

    `p90_low_ns`, `p90_high_ns`, `p99_low_ns`, `p99_high_ns`: ends of intervals, for latency alone (stats.tails).
    """

    samples: int
    p50_ns: Number = None
    p90_ns: Number = None
    p99_ns: Number = None
    p95_ns: Number = None
    p999_ns: Number = None
    min_ns: Number = None
    mean_ns: Number = None
    max_ns: Number = None
    p90_low_ns: Number = None
    p90_high_ns: Number = None
    p99_low_ns: Number = None
    p99_high_ns: Number = None

    def __post_init__(self) -> None:
        positive = (self.p50_ns, self.p90_ns, self.p95_ns, self.p99_ns)
        ends = (self.p90_low_ns, self.p90_high_ns, self.p99_low_ns, self.p99_high_ns)
        others = (self.samples, self.p999_ns, self.min_ns, self.mean_ns, self.max_ns)
        # The shortest call may be 0 ns on a clock with coarse steps. `filter` leaves out None and 0.
        if 0 in positive or min(filter(None, (*positive, *ends, *others)), default=0) < 0:
            raise TypeError("percentiles must be positive, and the other times and the number of samples not negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooled:
    """Percentiles over all calls of `rounds`, by kind of time. With them a table need not open the files of samples."""

    rounds: tuple[int, ...]
    kinds: Mapping[str, Percentiles]

    def __post_init__(self) -> None:
        if not self.kinds.keys() >= set(KINDS):
            raise TypeError(f"kinds: must have percentiles of each of {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """End of a cell's rounds. `why`: the `interval` of the metric `of` is narrow enough, or the `budget` is used up."""

    why: str | None = None
    of: str | None = None
    half_width: Number = None
    budget: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """Reason why a cell has no figures. `status` is one of ENDINGS."""

    status: str
    reason: str

    def __post_init__(self) -> None:
        if self.status not in ENDINGS:
            raise TypeError(f"status: {self.status!r:.40} is not one of {', '.join(ENDINGS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFailed(Failed):
    """A `step` that failed after the cell's figures were complete."""

    step: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPoint:
    """Response times at one request rate.

    `latency_ns`: percentiles by their number as a text, such as "99.9"; None where too few items arrived. It is empty if the
    queue grew without end (`overloaded`) and the measurement was stopped. `late`: share of responses above the limit.
    """

    rate_per_s: float
    overloaded: bool = False
    items: int = 0
    calls: int = 0
    latency_ns: Mapping[str, Number]
    deploy: str = ""
    noise: Counts = Counts()
    late: Number = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadCurve:
    """Response times of one concurrency over request rates."""

    points: tuple[LoadPoint, ...]
    concurrency: Concurrency
    deploy: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderLoad:
    """Results of a cell under load. `asked`: the requested latency limit."""

    asked: Load
    ways: tuple[LoadCurve, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """Figures of another `tool` by column name, with `notes` on its definitions. `facts`: `ran`, machine and settings."""

    tool: str
    figures: Mapping[str, str | int | float]
    notes: tuple[str, ...] = ()
    version: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One epoch of a training, and the test after it. `loss` is None if the training diverged. `accuracy` is in per cent."""

    seconds: float
    train_per_s: float
    test_per_s: float
    loss: Number = None
    accuracy: float = 0.0
