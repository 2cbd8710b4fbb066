"""Share of the machine's roof that a row reaches, and what bounds the row, by rounds that both measured. Pure.

docs/roof.md has the definitions. A roof is the best of the run's runtimes on the row's device in the same round.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ...spec import COLD, PRECISIONS
from ...work import COMPUTE, MEMORY, NODES, Workload
from ..store.record import CellRecord
from ..store.series import counted
from .executed import executed

LAUNCH, OVERHEAD = "launch", "overhead"
LEAST_SHARE = 1 / 3
"""Share of a row's time that its bound explains at least. Below it, most of the time is in none of the three limits."""

SLACK = 0.9
"""A call's inputs and outputs come on top of the file, by whose size the arrays of the sums are chosen."""

NARROW = {"bf16": 0.5}  # bytes of a value in that arithmetic over those in the FP32 file, for a runtime that converts it


@dataclass(frozen=True, kw_only=True, slots=True)
class RoofShares:
    """Least time of a row's call over its measured time, by what limits it: the median over the rounds; None without a roof.

    `compute`: its operations at the rate of the best matrix product. `memory`: its least bytes at the rate of the best sum.
    `launch`: its nodes at the cost of a tiny one. `of_roof`: the larger one of the first two, in each round.
    `flops_per_s`, `bytes_per_s`: medians of the roofs.
    """

    compute: float | None = None
    memory: float | None = None
    launch: float | None = None
    of_roof: float | None = None
    flops_per_s: float | None = None
    bytes_per_s: float | None = None

    @property
    def bound(self) -> str | None:
        """Name of the limit with the largest share, or OVERHEAD if that is small; None where a share is missing."""
        shares = {COMPUTE: self.compute, MEMORY: self.memory, LAUNCH: self.launch}
        present = {name: share for name, share in shares.items() if share is not None}
        if COMPUTE not in present or MEMORY not in present:
            return None
        largest = max(present, key=lambda name: present[name])
        return largest if present[largest] >= LEAST_SHARE else OVERHEAD


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """Needs of a call or of a part of it: operations, bytes that it moves at least, number of kernels. None: not counted."""

    flops: float | None
    nbytes: float | None
    kernels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Roofs:
    """Roofs of the device of a row: `products`, `sums`, and the `chains` of its own runtime."""

    products: Sequence[CellRecord]
    sums: Sequence[CellRecord]
    chains: Sequence[CellRecord]

    @classmethod
    def beside(cls, record: CellRecord, roofs: Sequence[CellRecord]) -> Roofs:
        """Those of `roofs` that hold for `record`."""
        own = [roof for roof in roofs if roof.measured and roof.work and roof.cell.device == record.cell.alone.device]
        by_kind = {kind: [roof for roof in own if roof.cell.roof == kind] for kind in (COMPUTE, MEMORY, NODES)}
        chains = [roof for roof in by_kind[NODES] if roof.cell.target == record.cell.target]
        return cls(products=by_kind[COMPUTE], sums=by_kind[MEMORY], chains=chains)

    def shares(self, demand: Demand, times_s: Mapping[int, float], types: Sequence[str], flushed: bool = False) -> RoofShares:
        """Least times of `demand` over the measured `times_s`, by round.

        `types`: types of the arithmetic. `flushed`: the caches are cold, so all bytes come from memory.
        """
        products = [roof for roof in self.products if roof.cell.precision in types]
        sums = _nearest(self.sums, None if flushed else demand.nbytes)
        rates = _best(products, times_s, lambda roof: roof.layer_flops)
        speeds = _best(sums, times_s, lambda roof: roof.least_bytes())
        nodes = _best(self.chains, times_s, lambda roof: roof.nodes)
        compute = _shares(times_s, rates, demand.flops)
        memory = _shares(times_s, speeds, demand.nbytes)
        both = [max(compute[number], memory[number]) for number in compute.keys() & memory.keys()]
        return RoofShares(
            compute=_median(compute.values()),
            memory=_median(memory.values()),
            launch=_median(_shares(times_s, nodes, demand.kernels).values()),
            of_roof=_median(both),
            flops_per_s=_median(rates.values()),
            bytes_per_s=_median(speeds.values()),
        )


def limits_of(record: CellRecord, roofs: Sequence[CellRecord]) -> RoofShares:
    """Limits of `record` by the `roofs` of its run. Empty without its operations, and for a roof itself."""
    work = record.work
    if work is None or record.cell.roof or not record.measured:
        return RoofShares()
    times_s = {number: time for number in counted(record) if (time := _seconds(record, number))}
    demand = Demand(flops=work.layer_flops, nbytes=_least_bytes(record, work), kernels=kernels_of(record, work))
    # Of flushed caches nothing is left: the row reads its weights from memory.
    return Roofs.beside(record, roofs).shares(demand, times_s, types_of(record), record.cell.cache == COLD)


def product_rates(record: CellRecord, roofs: Sequence[CellRecord]) -> dict[str, float]:
    """Operations a second of matrix products on the device of `record`, by precision: medians over its rounds."""
    products = Roofs.beside(record, roofs).products
    by_type = {name: [roof for roof in products if roof.cell.precision == name] for name in PRECISIONS}
    best = {name: _best(own, counted(record), lambda roof: roof.layer_flops) for name, own in by_type.items()}
    return {name: median(rates.values()) for name, rates in best.items() if rates}


def types_of(record: CellRecord) -> tuple[str, ...]:
    """Types in which the row computed its layers, as precisions: the first is that of most layers."""
    ran = (executed(record) or "").split("+")
    types = [name for name in ran if name in PRECISIONS]
    return tuple(types) or (PRECISIONS[record.cell.precision].arithmetic,)


def flops_per_s(record: CellRecord) -> float | None:
    """Operations a second of single calls: those of one call over the median of the rounds' p50."""
    flops = record.work and record.work.layer_flops
    typical = _typical_seconds(record) if flops else None
    return flops / typical if flops and typical else None


def bytes_per_s(record: CellRecord) -> float | None:
    """Least bytes of a call over the median of the rounds' p50."""
    nbytes = record.work and record.work.least_bytes()
    typical = _typical_seconds(record) if nbytes else None
    return nbytes / typical if nbytes and typical else None


def _typical_seconds(record: CellRecord) -> float | None:
    """Median of the rounds' p50 in seconds."""
    return _median(time for number in counted(record) if (time := _seconds(record, number)))


def _least_bytes(record: CellRecord, work: Workload) -> float | None:
    """Bytes that a call moves at least. A runtime that computes an FP32 file in a narrower type may store narrow weights."""
    from_fp32 = PRECISIONS[record.cell.precision].file == "fp32"
    return work.least_bytes(min((NARROW.get(name, 1.0) for name in types_of(record)), default=1.0) if from_fp32 else 1.0)


def kernels_of(record: CellRecord, work: Workload) -> int:
    """Number of steps of a call: the kernels that the runtime reports, or the nodes of the file."""
    return len(record.inspected.kernels) if record.inspected and record.inspected.kernels else work.nodes


def _nearest(sums: Sequence[CellRecord], nbytes: float | None) -> list[CellRecord]:
    """Sums of the smallest arrays that are as large as the row's bytes: they are in the same level of the caches."""
    sizes = {roof.key: roof.work.least_bytes() or 0.0 for roof in sums if roof.work}
    enough = [size for size in sizes.values() if nbytes is not None and size >= nbytes * SLACK]
    size = min(enough, default=max(sizes.values(), default=0.0))
    return [roof for roof in sums if sizes.get(roof.key) == size]


def _best(
    roofs: Iterable[CellRecord], rounds: Collection[int], amount: Callable[[Workload], float | None]
) -> Mapping[int, float]:
    """Largest amount a second in each round that a roof measured."""
    best: dict[int, float] = {}
    for roof in roofs:
        size = amount(roof.work) if roof.work else None
        for number in rounds if size else ():
            time = _seconds(roof, number) if number in roof.blocks else None
            if time and size:
                best[number] = max(best.get(number, 0.0), size / time)
    return best


def _shares(times_s: Mapping[int, float], rates: Mapping[int, float], amount: float | None) -> dict[int, float]:
    """Time of `amount` at the rate of each round, over the measured time of the round."""
    return {number: amount / rate / times_s[number] for number, rate in rates.items()} if amount is not None else {}


def _seconds(record: CellRecord, number: int) -> float | None:
    """Median of single calls in a round, in seconds."""
    p50_ns = record.p50_ns(number, "latency")
    return p50_ns / 1e9 if p50_ns else None


def _median(values: Iterable[float]) -> float | None:
    present = list(values)
    return median(present) if present else None
