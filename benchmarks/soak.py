"""Hundreds of cells on the null backend while workers are killed at random: is every cell accounted for, does anything grow?

    python benchmarks/soak.py [MINUTES [CELLS]]

Prints counts: cells by status, kills, resumes, and the parent's memory, open files and children at start, middle and end.
Exits with 1 if a cell is missing, a row has no figures and no reason, or the parent's files or children grew.
"""

from __future__ import annotations

import collections
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx
import psutil
from onnx import TensorProto, helper

MINUTES, CELLS, ENVIRONMENTS, KILL_EVERY_S, RESUMES, LOOK_S, GRACE_S = 60.0, 500, 25, 10.0, 3, 1.0, 60
BENCH = (sys.executable, "-m", "onnxbench.cli")
Look = tuple[float, float, int, int]


def identity(path: Path) -> None:
    """An ONNX file that does nothing, with an open batch."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def command(folder: Path, cells: int) -> list[str]:
    names = [f"null@e{number}" for number in range(ENVIRONMENTS)]
    batches = ",".join(str(batch) for batch in range(1, cells // ENVIRONMENTS + 1))
    asked = ["infer", "--model", str(folder / "m.onnx"), "--backend", ",".join(names), "--batch", batches, "--budget", "quick"]
    return [*asked, *(word for number, name in enumerate(names) for word in ("--option", f"{name}.work={100 + number}"))]


def look(parent: psutil.Process, begin: float) -> Look:
    held = parent.memory_info().rss / 1e6
    return time.monotonic() - begin, held, parent.num_fds(), len(parent.children(recursive=True))


def soak(arguments: list[str], end: float, rng: random.Random) -> tuple[int, list[Look], int]:
    """Run until it ends or the time is up, killing workers; how many were, what the parent held, and its exit code."""
    process = subprocess.Popen([*BENCH, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parent, begin, kills, looks, due = psutil.Process(process.pid), time.monotonic(), 0, [], time.monotonic() + KILL_EVERY_S
    while process.poll() is None:
        time.sleep(LOOK_S)
        now = time.monotonic()
        try:
            looks.append(look(parent, begin))
            workers = parent.children()
            if now > due and workers:
                rng.choice(workers).kill()
                kills, due = kills + 1, now + rng.expovariate(1 / KILL_EVERY_S)
        except psutil.Error:
            continue
        if now > end:
            process.terminate() if now > end + GRACE_S else process.send_signal(2)
            process.wait()
    return kills, looks, process.returncode


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    cells = int(sys.argv[2]) if len(sys.argv) > 2 else CELLS
    rng, begin, failed = random.Random(0), time.monotonic(), False
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ONNXBENCH_CACHE"] = f"{scratch}/cache"
        folder = Path(scratch)
        identity(folder / "m.onnx")
        arguments = [*command(folder, cells), "--out", str(folder / "run")]
        for part in range(1, RESUMES + 1):
            end = begin + minutes * 60 * part / RESUMES
            kills, looks, code = soak([*arguments, *(["--resume"] if part > 1 else [])], end, rng)
            print(f"part {part}: exit code {code}, {kills} workers killed")
            for when in (looks[0], looks[len(looks) // 2], looks[-1]):
                print("  {:.0f} s: {:.0f} MB, {} open files, {} children".format(*when))
            failed |= looks[-1][2] > looks[len(looks) // 2][2] + 2 * ENVIRONMENTS
        shown = subprocess.run([*BENCH, "show", str(folder / "run"), "--format", "json"], capture_output=True, text=True)
        rows = json.loads(shown.stdout)["rows"]
        counts = collections.Counter(row["status"] for row in rows)
        print(f"{len(rows)} of {cells} cells accounted for: {dict(counts)}")
        mute = [row for row in rows if row["p50_ms"] is None and not row["reason"]]
        left = [child.pid for child in psutil.Process().children(recursive=True)]
        print(f"rows without figures and reason: {len(mute)}; processes left: {len(left)}")
    sys.exit(bool(failed or mute or left or len(rows) != cells))


if __name__ == "__main__":
    main()
