"""One runtime against itself in the same environment: does the tool call it different?

    python benchmarks/same_twice.py BACKEND FILE FOLDER [RUNS]        200 runs at `normal`, one to two minutes each

Each run measures BACKEND and BACKEND@b, two names of one interpreter, at batch 1; the baseline is BACKEND@b in every second
run. The run folders stay in FOLDER. A second call goes on with the runs that FOLDER lacks, thus the runs may be spread over
several days. Nothing else may run on the machine.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median, stdev

from onnxbench.results.store.record import Run, read_run
from onnxbench.results.table import table
from scipy.special import stdtrit


def measure(backend: str, file: str, folder: Path, seed: int) -> None:
    """Measure run `seed` into its folder, or the rest of it where it was interrupted."""
    out = folder / str(seed)
    command = [sys.executable, "-m", "onnxbench.cli", "infer", "--out", str(out)]
    if (out / "run.json").exists():
        command += ["--resume"]
    else:
        base = backend if seed % 2 else f"{backend}@b"
        command += ["--model", file, "--backend", f"{backend},{backend}@b", "--python", f"{backend}@b={sys.executable}"]
        command += ["--baseline", base, "--precision", "fp32", "--batch", "1", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"run {seed} failed: {done.stderr.strip()}")


def complete(run: Run) -> bool:
    """True if both cells are finished."""
    return len(run.cells) == 2 and all(item.finished and not item.failed for item in run.cells)


def compared(run: Run) -> Iterator[tuple[float, float, str | None]]:
    """Log of the speed-up over the baseline, the interval's half-width as a share, and the verdict."""
    baseline = run.sweep.baseline if run.sweep else None
    for row in table.build([run], baseline).rows:
        low, high, ratio = (row[name] for name in ("speedup_ci_low", "speedup_ci_high", "speedup"))
        if isinstance(low, float) and isinstance(high, float) and isinstance(ratio, float):
            yield math.log(ratio), math.sqrt(high / low) - 1, str(row["verdict"])


def report(folder: Path, runs: int) -> str:
    """Summary of the complete runs in `folder`."""
    stored = [read_run(path) for path in sorted(folder.iterdir()) if (path / "run.json").exists()]
    rows = [item for run in stored if complete(run) for item in compared(run)]
    if len(rows) < 2:
        return f"{len(rows)} of {runs} runs are complete"
    logs = [log for log, _, _ in rows]
    half = float(stdtrit(len(logs) - 1, 0.975)) * stdev(logs) / math.sqrt(len(logs))
    different = sum(verdict in ("faster", "slower") for _, _, verdict in rows)
    low, high = (100 * math.expm1(fmean(logs) + sign * half) for sign in (-1, 1))
    return (
        f"{len(rows)} of {runs} runs: {different} called different; mean difference {low:+.2f} to {high:+.2f} % (95 %); "
        f"spread between runs {100 * stdev(logs):.2f} % (standard deviation); "
        f"half of the intervals are within +-{100 * median(half for _, half, _ in rows):.2f} %"
    )


def main() -> None:
    backend, file, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    runs = int(sys.argv[4]) if len(sys.argv) > 4 else 200
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(runs):
        out = folder / str(seed)
        if not ((out / "run.json").exists() and complete(read_run(out))):
            measure(backend, file, folder, seed)
            print(report(folder, runs), flush=True)
    print(report(folder, runs))


if __name__ == "__main__":
    main()
