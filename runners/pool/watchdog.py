"""How much memory a worker may hold, seen from outside: one that grows past it is ended before the machine runs out.

The kernel's own killer is the second line of defence: workers ask to be its first choice (bootstrap), so the parent, its
journal and everybody else's programs outlive them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ...errors import BadInput
from . import host

MEMORY_VARIABLE = "ONNXBENCH_MEMORY_MB"
FREE_SHARE = 0.9  # of what is free when the worker starts
LOOK_S = 0.25  # a look is one read of /proc, some 30 us


def limit_mb() -> float:
    """What one worker may have resident, in MB: what ONNXBENCH_MEMORY_MB says, or a share of what is free now."""
    text = os.environ.get(MEMORY_VARIABLE, "")
    if not text:
        return host.memory_free_mb() * FREE_SHARE
    if not text.isdecimal() or not int(text):
        raise BadInput(f"{MEMORY_VARIABLE} is {text!r}", "give a number of MB, or leave it out")
    return float(text)


@dataclass(frozen=True, kw_only=True)
class Watchdog:
    """Looks at the process `pid`, which may have `most_mb` resident."""

    pid: int
    most_mb: float = field(default_factory=limit_mb)

    def excess(self) -> str:
        """What is wrong with it; empty while nothing is."""
        resident_mb = host.rss_mb(self.pid)
        return (
            f"held {resident_mb:.0f} MB of memory, and {self.most_mb:.0f} MB is the limit" if resident_mb > self.most_mb else ""
        )
