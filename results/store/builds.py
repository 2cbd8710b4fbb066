"""Figures of several builds of one cell: the p50 of each, the middle one, and their spread. Standard library and evidence only.

Engines of one file differ, because the builder times kernels and chooses the fastest each time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from ...evidence import TimedBuild


def p50_of_builds(timed: Sequence[TimedBuild]) -> dict[int, float]:
    """p50 in ns of each build, by its number: the mean of its blocks on the log scale. A repeated turn counts once."""
    turns = {(event.build, event.turn): event.p50_ns for event in timed}
    blocks: dict[int, list[float]] = {}
    for (build, _), p50_ns in sorted(turns.items()):
        blocks.setdefault(build, []).extend(p50_ns)
    return {build: math.exp(fmean(map(math.log, values))) for build, values in blocks.items()}


def middle_build(timed: Sequence[TimedBuild]) -> int | None:
    """Number of the build whose p50 is the median; of two, the slower. None without a timed build."""
    p50_ns = p50_of_builds(timed)
    return sorted(p50_ns, key=lambda build: (p50_ns[build], build))[len(p50_ns) // 2] if p50_ns else None


def process_spread(timed: Sequence[TimedBuild]) -> float | None:
    """Largest difference of two processes of one build, as a share of the faster. None if no build has two processes."""
    turns: dict[int, dict[int, float]] = {}
    for event in timed:
        turns.setdefault(event.build, {})[event.turn] = math.exp(fmean(map(math.log, event.p50_ns)))
    shares = [max(values.values()) / min(values.values()) - 1 for values in turns.values() if len(values) > 1]
    return max(shares, default=None)


def spread(p50_ns: Mapping[int, float]) -> float | None:
    """Difference of the slowest and the fastest build, as a share of the middle one. None for fewer than two builds."""
    ordered = sorted(p50_ns.values())
    return (ordered[-1] - ordered[0]) / ordered[len(ordered) // 2] if len(ordered) > 1 else None
