"""Values that tell what was found out about a cell: a worker answers with them, the journal keeps them, and the table is
computed from them. Standard library and spec only.

An older version wrote fewer fields, so most have a default; and since a journal leaves out fields at their defaults, a default
never changes. A field that is there has its type, and every number is finite (wire.from_wire checks both). Times are in the
unit that the name ends with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .spec import Concurrency, Load

Number = float | None
FAILED, TIMEOUT, UNAVAILABLE, UNSUPPORTED = "failed", "timeout", "unavailable", "unsupported"
ENDINGS = (FAILED, TIMEOUT, UNAVAILABLE, UNSUPPORTED)
KINDS = ("latency", "end_to_end", "device")  # of times
ROUND, LOAD = "round", "load"  # steps that can fail after a cell's figures are complete


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuCounts:
    """NVML's answers about a GPU during one part of a visit.

    Clock, temperature and power are those at its end. `throttle` has the causes that slowed its clocks, `others` the number
    of other processes there; both are None where NVML does not tell. `reason`: why something is missing.
    """

    sm_mhz: Number = None
    memory_mhz: Number = None
    temperature_c: Number = None
    power_w: Number = None
    throttle: tuple[str, ...] | None = None
    others: int | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Counters over one part of a visit, on the CPUs that the worker may use (noise.py says what each means).

    None is a counter that the system does not have. `wall_ns` is 0 where nothing was counted.
    """

    wall_ns: float = 0
    cpus: int = 1
    steal_ns: Number = 0
    others_ns: Number = 0
    run_delay_ns: Number = 0
    major_faults: Number = 0
    involuntary_switches: Number = 0
    mhz: Number = None
    gpu: GpuCounts | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """The counters over both parts of a visit."""

    latency: Counts = Counts()
    throughput: Counts = Counts()


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An engine that was compiled in `build_s`, or found in the cache. All None for a runtime that compiles none."""

    build_s: Number = None
    engine_cached: bool | None = None
    remark: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """The cell's inputs were drawn in a worker with this `network`; `referred`: the FP32 reference answered."""

    network: str = ""
    referred: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Cold:
    """Times and memory of a fresh process; times only where cold starts were asked for."""

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
class Layers:
    """Numbers of a file's layers that are quantized, and of those that are not."""

    quantized: int | None = None
    float: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened(Built):
    """A session that was opened, and the file that it runs.

    `made_by`: the version of this tool that made the file, where it made it in another way than the one that measured it does.
    """

    artifact_mb: Number = None
    file: str | None = None
    sha256: str | None = None
    made_by: str | None = None
    layers: Layers | None = None
    conversion: str | None = None
    random_calibration: bool = False
    load_s: Number = None
    first_ms: Number = None
    info: Info = Info()
    instrument: bool = False
    int8_scheme: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One step of a call as the runtime runs it: its own name (`node`) and operator, and the type that it computes in.

    `type` is `fp32`, `int8` and so on; it is empty for a step that moves or converts data. `layer`: the step multiplies by
    weights or activations. `ns`: its duration, None where the runtime does not report it.
    """

    node: str = ""
    operator: str = ""
    type: str = ""
    layer: bool = False
    ns: Number = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """The kernels that run in one call."""

    kernels: tuple[Kernel, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """Distance of outputs from the reference's (worker/verify.distance). `undetermined`: the reason that it tells nothing."""

    sqnr_db: float
    max_abs_err: Number = None
    rel_err: Number = None
    agreement: Number = None
    undetermined: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity(Distance):
    """Distance of a file from its source, computed by `runtime` on so many `samples` of `data`."""

    runtime: str
    data: str
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Labelled accuracy of a model in one precision (worker/verify.accuracy): per cent, points, and numbers of images."""

    top1: float
    top1_drop: float
    agreement: float
    images: int
    lost: int
    gained: int
    accuracy_batch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified(Distance):
    """Parity, and accuracy where there are labels."""

    top1: Number = None
    top1_drop: Number = None
    images: int | None = None
    lost: int | None = None
    gained: int | None = None
    accuracy_batch: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """Effect of excluding nodes, on `items` of `data` that were not used to choose the nodes."""

    before: Distance
    after: Distance
    data: str
    items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """SQNR with each node alone in INT8 (name and dB, the worst first), and the nodes to exclude; or `why_not`."""

    nodes: tuple[tuple[str, float], ...] = ()
    sqnr_db: Number = None
    data: str = ""
    exclude: tuple[str, ...] = ()
    proof: Proof | None = None
    why_not: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A way of calling in the runtime's own terms, and a program that calls so."""

    deploy: str = ""
    snippet: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried(Concurrency):
    """A way of calling in parallel that was tried, and its throughput."""

    items_per_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Warm(Deployment):
    """A warm-up, and the best way of calling in parallel. `single` is for one call at a time, as latency is measured."""

    calls: Number = None
    took_ns: Number = None
    stationary: bool = True
    lanes: int | None = None
    concurrency: Concurrency | None = None
    single: Deployment | None = None
    settled: bool = True
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """Energy of an item in mJ and power in W, over so many `renewals` of the counter; or the `reason` why not."""

    energy_mj: Number = None
    power_w: Number = None
    items_per_s: Number = None
    renewals: int | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """`calls` of all `lanes` in `took_ns`.

    With several threads `calls` may have a fraction: what a lane completed in its own time, scaled to the longest one.
    """

    calls: float
    took_ns: float
    lanes: int = 1

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.took_ns * 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One visit of a cell. `samples` is the file of its calls' times, `p50_ns` their medians by kind."""

    round: int
    samples: str = ""
    calls: int | None = None
    p50_ns: Mapping[str, Number] | None = None
    throughput: Rate | None = None
    noise: Noise = Noise()
    settled: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Percentiles:
    """Number of calls, and percentiles of their times; None for a percentile that so many calls cannot carry."""

    samples: int
    p50_ns: Number = None
    p90_ns: Number = None
    p99_ns: Number = None

    def __post_init__(self) -> None:
        if self.samples < 0 or any(value is not None and value <= 0 for value in (self.p50_ns, self.p90_ns, self.p99_ns)):
            raise TypeError("percentiles are of no samples")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooled:
    """Percentiles of all calls of `rounds` together, by kind, so that a table opens no samples."""

    rounds: tuple[int, ...]
    kinds: Mapping[str, Percentiles]

    def __post_init__(self) -> None:
        if not self.kinds.keys() >= set(KINDS):
            raise TypeError(f"kinds: no percentiles of each of {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """Reason that ended a cell's rounds: the `interval` of the metric `of` is narrow enough, or the `budget` is used up."""

    why: str | None = None
    of: str | None = None
    half_width: Number = None
    budget: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """Reason that a cell has no figures; `status` is one of ENDINGS."""

    status: str
    reason: str

    def __post_init__(self) -> None:
        if self.status not in ENDINGS:
            raise TypeError(f"status: {self.status!r:.40} is none of {', '.join(ENDINGS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFailed(Failed):
    """A `step` that failed after the cell's figures were complete."""

    step: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPoint:
    """Responses at one rate of arrivals. `latency_ns` has percentiles by their number as a text, None where too few items
    arrived; it is empty where the queue was given up (`overloaded`)."""

    rate_per_s: float
    overloaded: bool = False
    items: int = 0
    calls: int = 0
    latency_ns: Mapping[str, Number]
    deploy: str = ""
    noise: Counts = Counts()


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadCurve:
    """One way of calling in parallel, with what was measured at each rate."""

    points: tuple[LoadPoint, ...]
    concurrency: Concurrency
    deploy: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderLoad:
    """A cell under load, for the limit that was `asked` for."""

    asked: Load
    ways: tuple[LoadCurve, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """Figures of another `tool` by column name, and `notes` on how its definitions differ."""

    tool: str
    figures: Mapping[str, str | int | float]
    notes: tuple[str, ...] = ()
    version: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One epoch of a training, and the test after it. `loss`: None where it diverged. `accuracy` in per cent."""

    seconds: float
    train_per_s: float
    test_per_s: float
    loss: Number = None
    accuracy: float = 0.0
