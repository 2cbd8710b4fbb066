"""Types of run.json and of the journal's events, checked where these are read. Pure.

Every field may be missing, since older versions wrote fewer. A field that is there has its type, and every number is finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...spec import Concurrency, from_wire

Number = float | None
ENDINGS = ("failed", "timeout", "unavailable", "unsupported")


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An engine was compiled, or found in the cache."""

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
    """A fresh process: times in s and ms, memory in MB."""

    process_s: Number = None
    cold_s: Number = None
    import_s: Number = None
    load_s: Number = None
    first_ms: Number = None
    peak_rss_mb: Number = None
    device_mem_mb: Number = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """Facts that a session reports."""

    executed: str | None = None
    placement: str | None = None
    settings: Mapping[str, str] | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened(Built):
    """A session was opened."""

    artifact_mb: Number = None
    file: str | None = None
    sha256: str | None = None
    made_by: str | None = None
    layers: Mapping[str, int] | None = None
    conversion: str | None = None
    random_calibration: bool | None = None
    load_s: Number = None
    first_ms: Number = None
    info: Info | None = None
    instrument: bool | None = None
    int8_scheme: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One kernel of an answer."""

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
class Verified:
    """Parity and accuracy, in dB, per cent and percentage points."""

    sqnr_db: Number = None
    max_abs_err: Number = None
    rel_err: Number = None
    agreement: Number = None
    undetermined: str | None = None
    top1: Number = None
    top1_drop: Number = None
    images: int = 0
    lost: int = 0
    gained: int = 0
    accuracy_batch: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Warm:
    """A warm-up, and the concurrency that was found."""

    calls: Number = None
    took_ns: Number = None
    stationary: bool | None = None
    lanes: int | None = None
    concurrency: Concurrency | None = None
    deploy: str | None = None
    snippet: str | None = None
    single: Mapping[str, str] | None = None
    settled: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """Energy of an item in mJ, power in W."""

    energy_mj: Number = None
    power_w: Number = None
    items_per_s: Number = None
    renewals: int | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Calls in a block for throughput."""

    calls: float
    took_ns: float
    lanes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One visit of a cell."""

    round: int
    samples: str | None = None
    calls: int | None = None
    p50_ns: Mapping[str, Number] | None = None
    throughput: Rate | None = None
    noise: Mapping[str, Any] | None = None
    settled: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """The reason that ended a cell's rounds, and the interval then."""

    budget: str | None = None
    why: str | None = None
    of: str | None = None
    half_width: Number = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The reason that a cell has no figures, or that a later `step` failed."""

    status: str
    reason: str
    step: str | None = None

    def __post_init__(self) -> None:
        if self.status not in ENDINGS:
            raise TypeError(f"status: {self.status!r:.40} is none of {', '.join(ENDINGS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A GPU of the host."""

    name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The machine."""

    cpu: str | None = None
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """run.json, but for its cells and its sweep, which are values of spec."""

    schema: int
    kind: str = ""
    tool: str | None = None
    began_unix_s: Number = None
    host: Host = field(default_factory=Host)
    versions: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    instruments: tuple[str, ...] = ()
    sweep: Mapping[str, Any] = field(default_factory=dict)


KINDS: Mapping[str, type[Any]] = {
    "built": Built,
    "drawn": Drawn,
    "cold": Cold,
    "opened": Opened,
    "inspected": Inspected,
    "verified": Verified,
    "warm": Warm,
    "energy": Energy,
    "block": Block,
    "stopped": Stopped,
    "ended": Failed,
    "step_failed": Failed,
}


def check(event: Mapping[str, Any]) -> None:
    """`TypeError`, with the names of the event and its field, where `event` holds something else than its kind has."""
    kind = KINDS.get(event["event"])
    if kind:
        try:
            from_wire(kind, event)
        except TypeError as error:
            raise TypeError(f"the event {event['event']!r} has {error}") from None
