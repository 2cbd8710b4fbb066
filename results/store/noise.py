"""Thresholds of a disturbed block, for the counters that a worker reads while it measures. Pure.

A worker reads the counters for each part of a block (`latency`: latency and end to end; `throughput`), on the CPUs that
the worker may use:

    wall_ns cpus       duration of the part, and the number of CPUs
    steal_ns           CPU time that the hypervisor gave to other machines; None where the system does not count it
    others_ns          CPU time of other processes; None likewise
    run_delay_ns       time during which the worker's threads were ready to run and waited for a CPU; None likewise
    major_faults       pages read from a disk
    involuntary_switches, mhz (where readable): stored, without a threshold
    gpu                NVML's report for a cell on a GPU: `throttle`, the reasons for lower clocks before or after the
                       part, and `others`, the number of other runs' processes; its clocks, power and temperature have
                       no threshold, and neither has the power limit, at which a heavy load always runs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from ...evidence import Counts, Noise

TICK_NS = 10_000_000  # Linux counts CPU time in ticks of 10 ms, which limits the resolution in short blocks
LEAST_NS = 2 * TICK_NS
POWER_CAP = "sw_power_cap"
COUNTERS = ("steal_ns", "others_ns", "run_delay_ns")  # on Linux only
READINGS = attrgetter(*COUNTERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """Limit of one counter: a part of a block is disturbed when `share` of its counts is above `most`.

    `what` is the cause in words; `detail` gives a text in parentheses after `what`.
    """

    share: Callable[[Counts], float]
    most: float
    what: str
    detail: Callable[[Counts], str] = lambda _: ""

    def text(self, counts: Counts) -> str:
        """Cause in words, with the detail of `counts`."""
        detail = self.detail(counts)
        return f"{self.what} ({detail})" if detail else self.what


def _of_all_cpus(name: str) -> Callable[[Counts], float]:
    """Return a function for a counter's share of all CPUs' time; 0 for so few ticks that they may be rounding."""

    read = attrgetter(name)

    def share(counts: Counts) -> float:
        spent: float | None = read(counts)
        return spent / (counts.wall_ns * counts.cpus) if spent and spent > LEAST_NS else 0.0

    return share


def _waiting(counts: Counts) -> float:
    return (counts.run_delay_ns or 0) / (counts.wall_ns * counts.cpus)


def _faults(counts: Counts) -> float:
    return float(counts.major_faults or 0)


def _throttle(counts: Counts) -> list[str]:
    return [name for name in (counts.gpu and counts.gpu.throttle) or () if name != POWER_CAP]


def throttled(counts: Counts) -> bool:
    """True if heat, the power brake or a hardware limit lowered the clocks of the GPU in one part of a block."""
    return bool(_throttle(counts))


def _on_gpu(counts: Counts) -> float:
    return float((counts.gpu and counts.gpu.others) or 0)


STEAL = Threshold(share=_of_all_cpus("steal_ns"), most=0.02, what="the hypervisor gave CPU time to other machines")
OTHERS = Threshold(share=_of_all_cpus("others_ns"), most=0.10, what="other processes used the CPUs")
WAITING = Threshold(share=_waiting, most=0.02, what="its threads waited for a CPU")
FAULTS = Threshold(share=_faults, most=0.0, what="pages were read from a disk")
THROTTLED = Threshold(
    share=lambda counts: float(len(_throttle(counts))),
    most=0.0,
    what="the GPU's clocks were throttled",
    detail=lambda counts: ", ".join(_throttle(counts)),
)
ON_GPU = Threshold(share=_on_gpu, most=0.0, what="another process used the GPU")

OF_GPU = (THROTTLED, ON_GPU)
THRESHOLDS: Mapping[str, tuple[Threshold, ...]] = {
    "latency": (STEAL, OTHERS, WAITING, FAULTS),
    "throughput": (STEAL, OTHERS, FAULTS),  # lanes may outnumber CPUs by design, thus waiting is normal
}
"""Thresholds for each part of a block. OF_GPU apply to a cell on a GPU too."""

LIMITS = {part: tuple((item.share, item.most) for item in thresholds) for part, thresholds in THRESHOLDS.items()}


def disturbances(noise: Noise) -> tuple[str, ...]:
    """Causes that disturbed a block; empty for a clean block, and for a block without counters."""
    return tuple(dict.fromkeys(cause for part, counts in noise.parts.items() for cause in above(part, counts)))


def is_disturbed(noise: Noise) -> bool:
    """True if something disturbed a part of a block."""
    rate = noise.throughput
    return disturbed("latency", noise.latency) or (rate is not None and disturbed("throughput", rate))


def unseen(noise: Noise) -> tuple[str, ...]:
    """Counters that the system does not have. A disturbance that only they would show stays unseen."""
    of_latency = READINGS(noise.latency)
    of_rate = READINGS(noise.throughput) if noise.throughput else of_latency
    if None not in of_latency and None not in of_rate:
        return ()
    return tuple([name for name, *values in zip(COUNTERS, of_latency, of_rate) if None in values])


def disturbed(part: str, counts: Counts) -> bool:
    """True if a count of one part of a block is above its threshold."""
    # A large run has hundreds of thousands of parts, nearly all of them clean: without the texts this takes half of the time.
    if not counts.wall_ns:
        return False
    for share, most in LIMITS[part]:
        if share(counts) > most:
            return True
    return bool(counts.gpu) and bool(above(part, counts))


def above(part: str, counts: Counts) -> list[str]:
    """Causes whose counts in one part of a block are above their thresholds."""
    if not counts.wall_ns:
        return []
    thresholds = (*THRESHOLDS[part], *OF_GPU) if counts.gpu else THRESHOLDS[part]
    return [item.text(counts) for item in thresholds if item.share(counts) > item.most]
