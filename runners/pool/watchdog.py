"""Memory limit of a worker, which the parent checks from outside. A worker above it ends before the machine is full.

The kernel's out-of-memory killer is the second line of defence. Workers ask to be its first choice (bootstrap.py), and the
parent, its journal and other programs survive.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ...errors import BadInput
from . import host

MEMORY_VARIABLE = "ONNXBENCH_MEMORY_MB"
FREE_SHARE = 0.9  # of the free memory at the worker's start
LOOK_S = 0.25  # between two checks; a check is one read of /proc, about 30 µs


def limit_mb() -> float:
    """Limit of one worker's resident memory in MB: ONNXBENCH_MEMORY_MB, or FREE_SHARE of the free memory.

    Raises `BadInput` for a value that is not a positive whole number.
    """
    text = os.environ.get(MEMORY_VARIABLE, "")
    if not text:
        return host.memory_free_mb() * FREE_SHARE
    if not text.isdecimal() or not int(text):
        raise BadInput(f"{MEMORY_VARIABLE} is {text!r}", "set it to a whole number of MB, or unset it")
    return float(text)


@dataclass(frozen=True, kw_only=True)
class Watchdog:
    """Memory check of the process `pid`, whose limit is `most_mb` of resident memory."""

    pid: int
    most_mb: float = field(default_factory=limit_mb)

    def excess(self) -> str:
        """Sentence part about a process above its limit; empty below it."""
        resident_mb = host.rss_mb(self.pid)
        return (
            f"used {resident_mb:.0f} MB of memory, and {self.most_mb:.0f} MB is the limit" if resident_mb > self.most_mb else ""
        )
