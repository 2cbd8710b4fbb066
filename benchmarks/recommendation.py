"""Does the program that `bench recommend` prints do what the table says? Its items a second over the stated throughput.

    python benchmarks/recommendation.py FILE.onnx [TIMES] [INFER OPTION ...]

Measures FILE on what is here, recommends by throughput and by latency, and runs what is to be pasted in a fresh process beside
the file, TIMES times (5). By latency the program keeps one call in flight, so what is stated is batch / p50.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

COMMAND = (sys.executable, "-m", "onnxbench.cli")


def run(*command: str, folder: Path | None = None) -> str:
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


def stated(row: dict[str, Any], objective: str) -> float:
    return float(row["throughput_per_s"]) if objective == "throughput" else 1e3 * float(row["batch"]) / float(row["p50_ms"])


def main() -> None:
    file, times = Path(sys.argv[1]).absolute(), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as name:
        out, program = str(Path(name) / "run"), Path(name) / "program.py"
        run(*COMMAND, "infer", "--model", str(file), "--out", out, *sys.argv[3:])
        for objective in ("throughput", "latency"):
            pick = json.loads(run(*COMMAND, "recommend", out, "--objective", objective, "--format", "json"))["pick"]
            program.write_text(pick["snippet"])
            rates = [float(run(sys.executable, str(program), folder=file.parent).split()[0]) for _ in range(times)]
            wanted = stated(pick["row"], objective)
            ratios = sorted(rate / wanted for rate in rates)
            print(
                f"{objective}: {pick['name']}: {median(rates):.0f} items/s of {wanted:.0f} stated: ratio {median(ratios):.3f}, "
                f"from {ratios[0]:.3f} to {ratios[-1]:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
