"""Spread of the shares of roofs, layer by layer, over several profiles of one model.

    python benchmarks/layer_roofs.py FILE.onnx BACKEND,... [RUNS] [PROFILE OPTION ...]       5 runs of `bench profile --roof`

Prints, for each backend and each layer with at least SHARE of the kernels' time, the share of the roof in each run, in %, and
the largest over the smallest. Nothing else should run on the machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from onnxbench.results.profile.lines import cases_of
from onnxbench.results.profile.roofs import SideWork
from onnxbench.results.store.record import read_run
from recommendation import COMMAND

SHARE = 0.05
Layer = tuple[str, str]
"""Backend and layer."""


def shares_of(folder: Path) -> Iterator[tuple[Layer, float, float]]:
    """Each layer of the profile in `folder`: its share of the kernels' time, and its share of the roof."""
    (case,) = cases_of([read_run(folder)])
    for place, side in enumerate(case.sides):
        work = SideWork.of(side)
        for line in case.lines if work else ():
            part = line.parts[place]
            layer = work.of_line(line, part) if work else None
            if line.main and part and layer and layer.shares.of_roof is not None:
                name = (str(side.record.cell.target), f"{line.operators} {line.main.name}")
                yield name, part.ns / side.total_ns, layer.shares.of_roof


def table(runs: Sequence[Sequence[tuple[Layer, float, float]]]) -> Iterator[str]:
    """Rows of a Markdown table. A layer counts that is in every run, and has SHARE of the time in the median."""
    yield "| backend | layer | of the time, % | of the roof in each run, % | largest over smallest |"
    yield "|---|---|---:|---|---:|"
    times: dict[Layer, list[float]] = {}
    roofs: dict[Layer, list[float]] = {}
    for run in runs:
        for name, time, roof in run:
            times.setdefault(name, []).append(time)
            roofs.setdefault(name, []).append(roof)
    for (backend, layer), found in roofs.items():
        time = median(times[backend, layer])
        if len(found) == len(runs) and time >= SHARE:
            texts = ", ".join(f"{100 * share:.1f}" for share in found)
            yield f"| {backend} | {layer} | {100 * time:.0f} | {texts} | {max(found) / min(found):.2f} |"


def main(file: str, backends: str, count: str = "5", *options: str) -> None:
    runs = []
    for number in range(int(count)):
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "run"
            what = ("--model", file, "--backend", backends, "--roof", *options, "--out", str(out))
            subprocess.run([*COMMAND, "profile", *what], check=True, capture_output=True)
            runs.append(list(shares_of(out)))
        print(f"run {number + 1} of {count}", file=sys.stderr, flush=True)
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main(*sys.argv[1:])
