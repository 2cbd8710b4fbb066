"""When a block counts as disturbed: thresholds for what was counted while it was measured. Pure.

A worker counts over each part of a visit (`latency`: latency and end to end; `throughput`), on the CPUs that it may use:

    wall_ns cpus       how long it took, and on how many CPUs
    steal_ns           CPU time that a hypervisor gave to others; None where the system does not count it
    others_ns          CPU time that other processes used; likewise
    run_delay_ns       time that the worker's own threads were ready to run and waited for a CPU; likewise
    major_faults       pages that had to come from a disk
    involuntary_switches, mhz (where readable) are kept beside them and decide nothing
    gpu                for a cell on a GPU, what NVML told: `throttle`, what held its clocks down before or after, and
                       `others`, processes there that were not this run's; its clocks, power and temperature decide
                       nothing, nor does its power limit, at which a heavy load always runs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...evidence import Counts, Noise

TICK_NS = 10_000_000  # what the kernel counts CPU time in; shares of short blocks are no finer
LEAST_TICKS = 2
POWER_CAP = "sw_power_cap"
COUNTERS = ("steal_ns", "others_ns", "run_delay_ns")  # that only Linux has


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """A part of a visit is disturbed when `share` of its counts is above `most`; `what` says it to people, with `detail`."""

    share: Callable[[Counts], float]
    most: float
    what: str
    detail: Callable[[Counts], str] = lambda _: ""

    def text(self, counts: Counts) -> str:
        """What it says of `counts`."""
        detail = self.detail(counts)
        return f"{self.what} ({detail})" if detail else self.what


def _of_all_cpus(name: str) -> Callable[[Counts], float]:
    """A counter's share of all CPUs' time; 0 for so few ticks that they may be rounding."""

    def share(counts: Counts) -> float:
        spent = float(getattr(counts, name) or 0)
        return spent / _cpu_ns(counts) if spent > LEAST_TICKS * TICK_NS else 0.0

    return share


def _cpu_ns(counts: Counts) -> float:
    """All CPUs' time."""
    return counts.wall_ns * counts.cpus


def _waiting(counts: Counts) -> float:
    return (counts.run_delay_ns or 0) / _cpu_ns(counts)


def _faults(counts: Counts) -> float:
    return float(counts.major_faults or 0)


def _throttle(counts: Counts) -> list[str]:
    return [name for name in (counts.gpu and counts.gpu.throttle) or () if name != POWER_CAP]


def _on_gpu(counts: Counts) -> float:
    return float((counts.gpu and counts.gpu.others) or 0)


STEAL = Threshold(share=_of_all_cpus("steal_ns"), most=0.02, what="the hypervisor took CPU time away")
OTHERS = Threshold(share=_of_all_cpus("others_ns"), most=0.10, what="other processes computed")
WAITING = Threshold(share=_waiting, most=0.02, what="its threads waited for a CPU")
FAULTS = Threshold(share=_faults, most=0.0, what="pages were read from the disk")
HELD_DOWN = Threshold(
    share=lambda counts: float(len(_throttle(counts))),
    most=0.0,
    what="the GPU's clocks were held down",
    detail=lambda counts: ", ".join(_throttle(counts)),
)
ON_GPU = Threshold(share=_on_gpu, most=0.0, what="another process was on the GPU")

OF_GPU = (HELD_DOWN, ON_GPU)
THRESHOLDS: Mapping[str, tuple[Threshold, ...]] = {
    "latency": (STEAL, OTHERS, WAITING, FAULTS),
    "throughput": (STEAL, OTHERS, FAULTS),  # more lanes than CPUs wait for each other by design
}
"""Thresholds for each part of a visit; for a cell on a GPU those of OF_GPU count too."""


def disturbances(noise: Noise) -> tuple[str, ...]:
    """The causes that disturbed a visit; none for a clean one, and for one that was not counted."""
    return tuple(dict.fromkeys([*above("latency", noise.latency), *above("throughput", noise.throughput)]))


def unseen(noise: Noise) -> tuple[str, ...]:
    """The counters that the system of a visit does not have: without them nobody knows what disturbed it."""
    parts = (noise.latency, noise.throughput)
    return tuple([name for name in COUNTERS if None in [getattr(counts, name) for counts in parts]])


def disturbed(part: str, counts: Counts) -> bool:
    """Whether something disturbed one part of a visit."""
    return bool(above(part, counts))


def above(part: str, counts: Counts) -> list[str]:
    """The causes whose thresholds one part of a visit is above."""
    if not counts.wall_ns:
        return []
    looked_at = (*THRESHOLDS[part], *OF_GPU) if counts.gpu else THRESHOLDS[part]
    return [item.text(counts) for item in looked_at if item.share(counts) > item.most]
