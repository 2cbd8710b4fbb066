"""Small free blocks of memory, taken while processes open, so that each of these gets memory in large blocks. Linux only.

The kernel gives away its smallest free blocks first. A process that opens early then has pages that are scattered over the
memory, and the next one has fewer of them. The first of five processes was 3 % slower than their mean, for as long as it lived
(ADR 0061).
"""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..worker.procfs import read_text

BUDDYINFO = Path("/proc/buddyinfo")
"""Free blocks of each zone by order: a block of order n has 2**n pages (`Documentation/filesystems/proc.rst` of Linux)."""

HOLDING = Path(__file__).with_name("holding.py")
ORDERS = 4  # blocks of 1, 2, 4 and 8 pages count as small
SHARE = 0.125  # of the free memory, at most


@contextmanager
def contiguous_memory(free_mb: float, buddyinfo: Path = BUDDYINFO) -> Iterator[int]:
    """Take the small free blocks while inside, at most SHARE of `free_mb`. Yield the bytes taken; 0 where it cannot."""
    size = min(small_blocks(buddyinfo), int(free_mb * 1e6 * SHARE)) // mmap.PAGESIZE * mmap.PAGESIZE
    if sys.platform != "linux" or not size:
        yield 0
        return
    # A process of its own: this one stays small, and if memory gets too short, the kernel ends the other one first.
    command = [sys.executable, "-I", "-S", str(HOLDING), str(size)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as holder:
        try:
            # Nothing is said where a limit of the process does not allow that much.
            yield int((holder.stdout.readline() if holder.stdout else "") or 0)
        finally:
            holder.kill()


def small_blocks(buddyinfo: Path = BUDDYINFO) -> int:
    """Bytes in free blocks of fewer than 2**ORDERS pages, of all zones; 0 where the system does not say."""
    counts = [line.split("zone", 1)[1].split()[1 : 1 + ORDERS] for line in read_text(buddyinfo).splitlines() if "zone" in line]
    return sum(int(count) << order for zone in counts for order, count in enumerate(zone)) * mmap.PAGESIZE
