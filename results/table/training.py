"""Table of `bench train`: one row for each device, precision and way to train. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from ...axes import Scalar
from ...evidence import Epoch
from ..stats.intervals import Repeated, Unit
from ..store.head import SCHEMA
from ..store.outcome import BROKEN
from .column import SCIENTIFIC, Field
from .findings import grouped, of_status
from .table import Table

EPOCH = Unit("epoch", 5, 0.0)
"""Unit of the interval of images a second. It describes this process: another one may differ by more (docs/adr/0025)."""

HOST = Field(name="host", number=False, priority=0)
FIELDS = (
    Field(name="device", number=False, priority=0),
    Field(name="precision", number=False, priority=0),
    Field(name="status", number=False, priority=1),
    Field(name="first_epoch_s", title="first epoch", unit="s", priority=6),
    Field(name="epoch_s", title="epoch", unit="s", priority=2),
    Field(name="train_per_s", title="training images", unit="/s", priority=3),
    Field(name="test_per_s", title="test images", unit="/s", priority=8),
    Field(name="loss", title="test loss", priority=7),
    Field(name="accuracy", unit="%", priority=5),
    Field(name="peak_memory_mb", title="peak memory", unit="MB", priority=9),
    Field(name="speedup", title="speed-up", unit="x", priority=4),
)
RATE_ENDS = (
    Field(name="train_per_s_low", title="from", unit="/s", priority=10),
    Field(name="train_per_s_high", title="to", unit="/s", priority=10),
)
PARALLEL_FIELDS = (
    Field(name="parallel", number=False, priority=0),
    Field(name="processes", priority=0),
    Field(name="threads", priority=11),
    Field(name="batch", priority=11),
    Field(name="microbatches", priority=11),
    Field(name="efficiency", unit="%", priority=4),
    Field(name="communication", unit="%", priority=5),
    Field(name="bubble", unit="%", priority=5),
    Field(name="bubble_formula", title="formula", unit="%", priority=5),
    Field(name="step_ms", title="step", unit="ms", priority=12),
    Field(name="rank_busy_ms", title="busy by rank", unit="ms", number=False, priority=12),
    Field(name="rank_communication_ms", title="transfer by rank", unit="ms", number=False, priority=12),
    Field(name="rank_memory_mb", title="memory by rank", unit="MB", number=False, priority=12),
    Field(name="output_error", title="output error", digits=SCIENTIFIC, priority=13),
    Field(name="batch_norm", title="BatchNorm", number=False, priority=12),
)
MEMORY = "memory is the process's on cpu and the allocator's on cuda"
PARALLEL_FACTS = (
    "efficiency: images a second over those of as many single processes, each with the threads or the GPU of one rank",
    "communication: share of a step with a transfer in progress, waiting included; bubble: share in which a rank does not"
    " compute; formula: (N-1)/(VM+N-1) for N processes of V stages and M microbatches",
)


@dataclass(frozen=True, kw_only=True)
class RankResult:
    """Figures of one process of a parallel training: its memory, and times in `steps` profiled steps."""

    peak_memory_mb: float
    steps: int
    wall_s: float
    communication_s: float
    busy_s: float | None = None
    output_error: float | None = None
    batch_norm: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of a training on one device in one precision. A failed training has the epochs before the failure.

    `parallel`: empty for one process, `data`, or the schedule of a pipeline. `threads`, `rank_stages`: of each process.
    `batch_size`: of all processes together. `losses`: training loss of the first steps, None where it is not finite. `host`:
    name of the node of a cluster; None for a training on this machine.
    """

    device: str
    precision: str
    status: str
    parallel: str = ""
    processes: int = 1
    threads: int | None = None
    batch_size: int | None = None
    microbatches: int | None = None
    rank_stages: int = 1
    reason: str | None = None
    epochs: tuple[Epoch, ...] = ()
    peak_memory_mb: float | None = None
    torch: str | None = None
    ranks: tuple[RankResult, ...] = ()
    losses: tuple[float | None, ...] = ()
    host: str | None = None

    @property
    def name(self) -> str:
        """Name of the row: its device, its precision, its way to train if it has several processes, and its host."""
        way = f" {self.parallel} {self.processes}" if self.parallel else ""
        return f"{self.device} {self.precision}{way}" + (f" on {self.host}" if self.host else "")


def build(results: Sequence[Result], head: Mapping[str, Any], hosts: Mapping[str, str] | None = None) -> Table:
    """Build the table of the `results` of one training. A failed one has the figures of its epochs, and no speed-up.

    `hosts`: facts of each node of a cluster by its name.
    """
    rows = [_row(result) for result in results]
    # speed-ups are against the first row; after a single epoch they rest on the first, which includes set-up on both sides
    for row in rows:
        base, own = rows[0]["epoch_s"] or rows[0]["first_epoch_s"], row["epoch_s"] or row["first_epoch_s"]
        row["speedup"] = float(base) / float(own) if base and own and row["status"] == "ok" else None
        row["efficiency"] = _efficiency(row, rows)
    named = [(result.name, row) for result, row in zip(results, rows)]
    findings = grouped([(name, status) for name, row in named for status in of_status(row)])
    names = ("model", "dataset", "epochs", "batch_size", "lr", "seed", "threads")
    facts = " · ".join(f"{name} {head[name]}" for name in names if head[name] is not None)
    several = any(result.parallel for result in results)
    return Table(
        names=(*(field.name for field in (*FIELDS, *RATE_ENDS, *PARALLEL_FIELDS)), "reason", HOST.name),
        rows=tuple(rows),
        fields=(*((HOST,) if hosts else ()), *_fields(rows, several)),
        facts=(facts, *_host_facts(results, hosts or {}), MEMORY, *(PARALLEL_FACTS if several else ())),
        findings=tuple(findings),
        head={"schema": SCHEMA, **head, **({"hosts": dict(hosts)} if hosts else {})},
    )


def is_successful(results: Sequence[Result]) -> bool:
    """True if no training failed, and each requested one succeeded on a host."""
    ways = [(result.device, result.precision, result.parallel, result.processes) for result in results]
    done = {way for way, result in zip(ways, results) if result.status == "ok"}
    return done == set(ways) and not any(result.status in BROKEN for result in results)


def _host_facts(results: Sequence[Result], hosts: Mapping[str, str]) -> list[str]:
    """A line for each host, with its version of PyTorch and the threads of a single process."""
    lines = []
    for host, facts in hosts.items():
        own = [result for result in results if result.host == host]
        versions = dict.fromkeys(f"PyTorch {result.torch}" for result in own if result.torch)
        threads = [f"{result.threads} threads" for result in own if result.threads and not result.parallel][:1]
        lines.append(f"{host}: {' · '.join([facts, *threads, *versions])}")
    return lines


def _fields(rows: Sequence[Mapping[str, Scalar]], several: bool) -> tuple[Field, ...]:
    """Columns for people: those of several processes first, and only where a row has them."""
    ends = RATE_ENDS if any(row["train_per_s_low"] for row in rows) else ()
    front, back = (PARALLEL_FIELDS[:2], PARALLEL_FIELDS[2:]) if several else ((), ())
    rate = next(number for number, field in enumerate(FIELDS) if field.name == "train_per_s") + 1
    return (*FIELDS[:2], *front, *FIELDS[2:rate], *ends, *FIELDS[rate:], *back)


def _efficiency(row: Mapping[str, Scalar], rows: Sequence[Mapping[str, Scalar]]) -> float | None:
    """Rate in per cent of that of as many single processes; None without a row of such a process."""
    if not row["parallel"] or row["status"] != "ok":
        return None
    same = ["host", "precision", "device"] + (["threads"] if row["device"] == "cpu" else [])
    for single in rows:
        if not single["parallel"] and single["status"] == "ok" and all(single[name] == row[name] for name in same):
            return 100 * _number(row["train_per_s"]) / (_number(row["processes"]) * _number(single["train_per_s"]))
    return None


def _number(value: Scalar) -> float:
    return float(value or 0)


def _row(result: Result) -> dict[str, Scalar]:
    epochs = result.epochs
    # the first epoch also pays for set-up: memory, kernels, the data in caches
    steady = epochs[1:] or epochs
    interval = Repeated([epoch.train_per_s for epoch in epochs[1:]], EPOCH).interval
    return {
        "device": result.device,
        "precision": result.precision,
        "status": result.status,
        "reason": result.reason,
        "first_epoch_s": epochs[0].seconds if epochs else None,
        "epoch_s": median(epoch.seconds for epoch in epochs[1:]) if epochs[1:] else None,
        "train_per_s": median(epoch.train_per_s for epoch in steady) if epochs else None,
        "train_per_s_low": interval.low if interval else None,
        "train_per_s_high": interval.high if interval else None,
        "test_per_s": median(epoch.test_per_s for epoch in steady) if epochs else None,
        "loss": epochs[-1].loss if epochs else None,
        "accuracy": epochs[-1].accuracy if epochs else None,
        "peak_memory_mb": max((rank.peak_memory_mb for rank in result.ranks), default=result.peak_memory_mb),
        "parallel": result.parallel or None,
        "processes": result.processes,
        "threads": result.threads,
        "batch": result.batch_size,
        "microbatches": result.microbatches,
        "host": result.host,
        **_rank_cells(result),
    }


def _rank_cells(result: Result) -> dict[str, Scalar]:
    """Figures of the processes of a parallel training; None for one process."""
    ranks = result.ranks
    busy = [rank.busy_s for rank in ranks if rank.busy_s is not None]
    others, microbatches = result.processes - 1, result.microbatches
    errors = [rank.output_error for rank in ranks if rank.output_error is not None]
    norms = {rank.batch_norm for rank in ranks}
    return {
        "communication": 100 * fmean(rank.communication_s / rank.wall_s for rank in ranks) if ranks else None,
        "bubble": 100 * (1 - sum(busy) / sum(rank.wall_s for rank in ranks)) if busy else None,
        "bubble_formula": 100 * others / (result.rank_stages * microbatches + others) if microbatches else None,
        "step_ms": 1e3 * fmean(rank.wall_s / rank.steps for rank in ranks) if ranks else None,
        "rank_busy_ms": _by_rank([1e3 * (rank.busy_s or 0) / rank.steps for rank in ranks]) if busy else None,
        "rank_communication_ms": _by_rank([1e3 * rank.communication_s / rank.steps for rank in ranks]),
        "rank_memory_mb": _by_rank([rank.peak_memory_mb for rank in ranks]),
        "output_error": max(errors, default=None),
        "batch_norm": norms.pop() if len(norms) == 1 else None,
    }


def _by_rank(values: Sequence[float]) -> str | None:
    """Values of all ranks in the order of their numbers; None without ranks."""
    return " ".join(f"{value:.1f}" for value in values) or None
