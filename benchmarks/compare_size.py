"""Time to compare two large runs, and to show, recommend from and report one. Synthetic runs, whole commands.

    python benchmarks/compare_size.py [ROWS ROUNDS [LIFE_ROUNDS]]

The runs are as `bench infer` leaves them (large_runs.py): SHAPES, unless one is given. With LIFE_ROUNDS they have lives of so
many rounds, as the budget `normal` has. The disk's cache holds them. The best of TIMES, in seconds. The report takes the extra
`report`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from large_runs import write

TIMES = 3
SHAPES = ((1000, 10), (1000, 40, 5), (10_000, 10))  # rows, rounds, and rounds of one life


def timed(*words: str | Path) -> tuple[float, float]:
    """The wall time and the CPU time of a command, in s."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "onnxbench.cli", *map(str, words)], check=True, capture_output=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def tell(rows: int, rounds: int, *words: str | Path) -> None:
    wall, cpu = (min(values) for values in zip(*(timed(*words) for _ in range(TIMES))))
    print(f"{words[0]}, {rows} rows of {rounds} rounds: {wall:.2f} s, {cpu:.2f} s of CPU time", flush=True)


def measure(rows: int, rounds: int, life_rounds: int = 0) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        base, new = (write(place / str(seed), rows, rounds, seed, life_rounds) for seed in (0, 1))
        tell(rows, rounds, "compare", base, new)
        tell(rows, rounds, "show", base, "--format", "csv")
        tell(rows, rounds, "recommend", base)
        tell(rows, rounds, "report", base, "--out", place / "report.html")


def main() -> None:
    asked = tuple(int(word) for word in sys.argv[1:])
    for shape in (asked,) if asked else SHAPES:
        measure(*shape)


if __name__ == "__main__":
    main()
