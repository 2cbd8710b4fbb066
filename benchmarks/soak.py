"""Hundreds of cells on the null backend while workers are killed at random: is every cell accounted for, does anything grow?

    python benchmarks/soak.py [MINUTES [CELLS]]

The run is interrupted after a third of the time, its parent is killed after two, and it is resumed each time. Prints what the
parent held, workers killed, and cells by status. Exits with 1 if a cell is missing, a row has no figures and no reason, no row
is ok, the journal lost a line, a process is left, or the parent's memory, open files or children grew.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import onnx
import psutil
from onnx import TensorProto, helper

MINUTES, CELLS, ENVIRONMENTS, BUDGET = 60.0, 500, 25, "normal"
KILL_EVERY_S, LOOK_S, SETTLE_S, GRACE_S = 10.0, 1.0, 2.0, 120.0
ENDS = (signal.SIGINT, signal.SIGKILL, signal.SIGINT)
MORE = {"mb": 10.0, "files": 2, "children": 1}
"""By how much a part's last quarter may be above its second: the allocator's noise, and less than one worker has."""
BENCH = (sys.executable, "-m", "onnxbench.cli")


class Look(NamedTuple):
    """State of the parent after `s` seconds: resident memory, open files, processes under it."""

    s: float
    mb: float
    files: int
    children: int


def identity(path: Path) -> None:
    """An ONNX file that does nothing, with an open batch."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def command(folder: Path, cells: int) -> list[str]:
    names = [f"null@e{number}" for number in range(ENVIRONMENTS)]
    batches = ",".join(str(batch) for batch in range(1, cells // ENVIRONMENTS + 1))
    asked = ["infer", "--model", str(folder / "m.onnx"), "--backend", ",".join(names), "--batch", batches, "--budget", BUDGET]
    work = [word for number, name in enumerate(names) for word in ("--option", f"{name}.work={100 + number}")]
    return [*asked, *work, "--out", str(folder / "run")]


def look(parent: psutil.Process, begin: float) -> Look:
    held = parent.memory_info().rss / 1e6
    return Look(time.monotonic() - begin, held, parent.num_fds(), len(parent.children(recursive=True)))


def soak(arguments: list[str], end: float, last: int, rng: random.Random) -> tuple[list[Look], int, int]:
    """Run until it is done, or send it the signal `last` at `end`, and kill workers meanwhile.

    What the parent held, how many workers were killed, and its exit code.
    """
    process = subprocess.Popen([*BENCH, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parent, begin, looks, kills = psutil.Process(process.pid), time.monotonic(), [], 0
    due = begin + KILL_EVERY_S
    while process.poll() is None and time.monotonic() < end:
        time.sleep(LOOK_S)
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            looks.append(look(parent, begin))
            if time.monotonic() > due and (workers := parent.children()):
                rng.choice(workers).kill()
                kills, due = kills + 1, time.monotonic() + rng.expovariate(1 / KILL_EVERY_S)
    if process.poll() is None:
        process.send_signal(last)
    return looks, kills, process.wait(GRACE_S)


def grown(looks: list[Look]) -> list[str]:
    """Resources of the parent that grew from its second quarter to its last; the first is its start.

    Medians: while a worker is started there are more files for a moment, and what leaks stays.
    """
    count = len(looks) // 4
    found = []
    for name, most in MORE.items():
        before, after = (median([getattr(one, name) for one in part]) for part in (looks[count : 2 * count], looks[-count:]))
        highest = max(getattr(one, name) for one in looks)
        print(f"  {name}: {before:.0f} in the second quarter, {after:.0f} in the last (medians), at most {highest:.0f}")
        found += [f"{name} grew"] if after > before + most else []
    return found


def left(cache: str) -> list[int]:
    """Processes that are still there, by the cache that they were given."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("ONNXBENCH_CACHE") == cache:
                found.append(process.pid)
    return found


def parts(folder: Path, cells: int, minutes: float) -> list[str]:
    """The run, ended and gone on with; what was wrong on the way."""
    rng, begin, wrong = random.Random(0), time.monotonic(), []
    kept, journal = b"", folder / "run/journal.jsonl"
    for number, last in enumerate(ENDS):
        end = begin + minutes * 60 * (number + 1) / len(ENDS)
        looks, kills, code = soak([*command(folder, cells), *(["--resume"] if number else [])], end, last, rng)
        print(f"part {number + 1}: {looks[-1].s:.0f} s, {kills} workers killed, exit code {code}", flush=True)
        wrong += grown(looks)
        text = journal.read_bytes()
        wrong += [] if text.startswith(kept) else ["the journal lost records"]
        kept = text[: text.rfind(b"\n") + 1]
        time.sleep(SETTLE_S)
        wrong += [f"process {pid} is left" for pid in left(os.environ["ONNXBENCH_CACHE"])]
    return wrong


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    cells = int(sys.argv[2]) if len(sys.argv) > 2 else CELLS
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ONNXBENCH_CACHE"] = f"{scratch}/cache"
        identity(Path(scratch, "m.onnx"))
        wrong = parts(Path(scratch), cells, minutes)
        shown = subprocess.run([*BENCH, "show", f"{scratch}/run", "--format", "json"], capture_output=True, text=True)
        rows = json.loads(shown.stdout)["rows"]
    counts = collections.Counter(row["status"] for row in rows)
    print(f"{len(rows)} of {cells} cells accounted for: {dict(counts)}")
    for reason, count in collections.Counter(row["reason"] for row in rows if row["status"] != "ok").most_common(5):
        print(f"  {count} of: {reason}")
    wrong += [
        f"{row['environment']} b{row['batch']}: neither figures nor a reason"
        for row in rows
        if row["p50_ms"] is None and not row["reason"]
    ]
    wrong += [] if len(rows) == cells else ["cells are missing"]
    wrong += [] if counts["ok"] else ["no row is ok"]
    print("\n".join(wrong) or "nothing is wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
