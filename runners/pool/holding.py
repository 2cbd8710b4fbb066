"""A program of its own: take BYTES of memory page by page, say how many, and keep them until stdin ends.

    python holding.py BYTES

Standard library only, no import of this package: it starts in a few hundredths of a second.
"""

import mmap
import sys
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Take the memory and keep it. Exits with a traceback where a limit does not allow it."""
    size = int(sys.argv[1])
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the first to end if memory gets too short
    with mmap.mmap(-1, size) as area:
        with suppress(OSError, AttributeError):  # a kernel without huge pages
            area.madvise(mmap.MADV_NOHUGEPAGE)  # a huge page is no small block
        area[:: mmap.PAGESIZE] = bytes(size // mmap.PAGESIZE)  # the kernel gives a page when it is written
        print(size, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
