"""Time to compare two large runs, and to show, recommend from and report one. Synthetic runs, whole commands.

    python benchmarks/compare_size.py [ROWS ROUNDS [LIFE_ROUNDS]]

The runs are as `bench infer` leaves them (large_runs.py): SHAPES, unless one is given. With LIFE_ROUNDS they have lives of so
many rounds, as the budget `normal` has. The disk's cache holds them. The best of TIMES, in seconds. Python keeps the compiled
modules, as those of an installed package. The report takes the extra `report`.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from large_runs import write

TIMES = 3
SHAPES = ((1000, 10), (1000, 40, 5), (10_000, 10))  # rows, rounds, and rounds of one life


def environment(compiled: Path) -> dict[str, str]:
    """Environment of the commands. Python writes compiled modules into the folder `compiled`, and reads them from there."""
    # An environment may forbid the files. Then each command compiles all modules again, as no user's command does.
    own = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "PYTHONPYCACHEPREFIX": str(compiled)}


def timed(compiled: Path, *words: str | Path) -> tuple[float, float]:
    """The wall time and the CPU time of a command, in s."""
    command = [sys.executable, "-m", "onnxbench.cli", *map(str, words)]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment(compiled), check=True, capture_output=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def tell(what: str, compiled: Path, *words: str | Path) -> None:
    wall, cpu = (min(values) for values in zip(*(timed(compiled, *words) for _ in range(TIMES))))
    print(f"{words[0]}, {what}: {wall:.2f} s, {cpu:.2f} s of CPU time", flush=True)


def measure(rows: int, rounds: int, life_rounds: int = 0) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        place, what, compiled = Path(scratch), f"{rows} rows of {rounds} rounds", Path(scratch) / "compiled"
        base, new = (write(place / str(seed), rows, rounds, seed, life_rounds) for seed in (0, 1))
        tell(what, compiled, "compare", base, new)
        tell(what, compiled, "show", base, "--format", "csv")
        tell(what, compiled, "recommend", base)
        tell(what, compiled, "report", base, "--out", place / "report.html")


def main() -> None:
    asked = tuple(int(word) for word in sys.argv[1:])
    for shape in (asked,) if asked else SHAPES:
        measure(*shape)


if __name__ == "__main__":
    main()
