"""Time of `bench --help`, as a ratio to `python -c "import click"`, interleaved in one run.

    python benchmarks/startup.py [ROUNDS]

Prints the median ratio over the rounds and its range. The bound is 2.5.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

BOUND = 2.5
COMMANDS = {"click": [sys.executable, "-c", "import click"], "help": [sys.executable, "-m", "onnxbench.cli", "--help"]}


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of one run of `command`."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for command in COMMANDS.values():
        seconds(command)
    ratios = [seconds(COMMANDS["help"]) / seconds(COMMANDS["click"]) for _ in range(rounds)]
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"bench --help / import click: median {middle:.2f} ({low:.2f} to {high:.2f}) over {rounds} rounds; bound {BOUND}")
    sys.exit(middle > BOUND)


if __name__ == "__main__":
    main()
