"""Duration of the default sweep at each budget, beside the estimate of `--dry-run`; or the parts of one run.

    python benchmarks/duration.py [BUDGET ...]
    python benchmarks/duration.py --parts BUDGET

Three CPU backends, fp32, batch 1, 8 and 32, latency and throughput, of the CNN that is exported already. A part is the time
in which the parent waits for one kind of job, in the workers that open the cells first and in those of the lives.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxbench.budgets import BUDGETS
from onnxbench.runners.infer import Surroundings, infer
from onnxbench.runners.pool.pool import Local, Worker
from onnxbench.runners.worker.tasks import task_of
from onnxbench.spec import Sweep

COMMAND = (sys.executable, "-m", "onnxbench.cli")
LIFE = "-fp32"  # in the name of the log of a life's worker


def run(*arguments: str) -> tuple[float, str]:
    """Seconds, and what was printed."""
    begin = time.monotonic()
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=True)
    return time.monotonic() - begin, done.stdout


@dataclass(kw_only=True)
class Parts:
    """Seconds and numbers of the jobs of a run, by their name and place."""

    seconds: Counter[tuple[str, str]] = field(default_factory=Counter)
    numbers: Counter[tuple[str, str]] = field(default_factory=Counter)

    @contextmanager
    def part(self, place: str, name: str, number: int = 1) -> Iterator[None]:
        """Add the time inside to a part."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[place, name] += time.monotonic() - begin
            self.numbers[place, name] += number


class TimedWorker:
    """A worker whose answers are timed from outside. All else is the worker's own."""

    def __init__(self, worker: Worker, parts: Parts, place: str) -> None:
        self._worker, self._parts, self._place = worker, parts, place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def ask(self, job: Any, *rest: Any) -> Any:
        with self._parts.part(self._place, task_of(type(job)).name):
            return self._worker.ask(job, *rest)

    def receive(self, job: Any, *rest: Any) -> Any:
        with self._parts.part(self._place, task_of(type(job)).name):
            return self._worker.receive(job, *rest)

    def dismiss(self) -> None:
        with self._parts.part(self._place, "end of the process"):
            self._worker.dismiss()

    def __enter__(self) -> TimedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()


@dataclass(frozen=True, kw_only=True)
class TimedPool(Local):
    """Pool of this machine with timed workers."""

    parts: Parts

    def start(self, log: Path, python: str = sys.executable, *, network: bool = False) -> Any:
        place = "lives" if LIFE in log.stem else "first processes"
        with self.parts.part(place, "start of the process"):
            return TimedWorker(super().start(log, python, network=network), self.parts, place)


def tell_parts(artifacts: str, budget: str, folder: Path) -> None:
    """Print the parts of one run, the longest first."""
    parts, begin = Parts(), time.monotonic()
    infer(Sweep(artifacts=artifacts, budget=BUDGETS[budget]), Surroundings(out=folder, pool=TimedPool(parts=parts)))
    took = time.monotonic() - begin
    print(f"{budget}: {took:.1f} s, of which the parent itself {took - sum(parts.seconds.values()):.1f} s")
    for (place, name), seconds in parts.seconds.most_common():
        print(f"{place:16s} {name:22s} {parts.numbers[place, name]:4d} {seconds:7.1f} s")


def main() -> None:
    is_parts, names = "--parts" in sys.argv, [name for name in sys.argv[1:] if name != "--parts"]
    with tempfile.TemporaryDirectory() as folder:
        artifacts = str(Path(folder) / "artifacts")
        run("export", "--precision", "fp32", "--out", artifacts)
        for budget in names or ["quick", "normal"]:
            if is_parts:
                tell_parts(artifacts, budget, Path(folder) / budget)
                continue
            how = ("infer", "--artifacts", artifacts, "--budget", budget)
            _, said = run(*how, "--dry-run")
            took, _ = run(*how, "--out", str(Path(folder) / budget))
            expected = re.search(r"about [0-9]+( to [0-9]+)? s", said)
            print(f"{budget}: {took:.0f} s ({expected.group() if expected else 'nothing'} was expected)", flush=True)


if __name__ == "__main__":
    main()
