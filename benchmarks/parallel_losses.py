"""ResNet-50 over several GPUs against one: training losses of the first 50 steps, with batch normalization over all ranks.

    python benchmarks/parallel_losses.py [--device cuda] [--processes 2] [--batch-size 64]

Prints the loss of both ways at some steps and the largest relative difference of the mean of ten steps, in percent.
Exit code 1 if it is over `LIMIT_PERCENT`.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import parallel_gpu
from onnxbench.models.datasets import CALIBRATION_IMAGES
from onnxbench.runners.pool.pool import Local
from onnxbench.runners.pool.progress import terminal
from onnxbench.runners.prepare import train as runner
from onnxbench.runners.prepare.parallel import Parallel

STEPS, WINDOW, LIMIT_PERCENT = 50, 10, 2.0
LEARNING_RATE = 0.001  # at 0.01 the loss of one process alone goes up and down by a factor of 4
TRAINED = 0.8  # share of the images that are not for the test
SHOWN = (0, 1, 4, 9, 24, 49)


def losses(asked: argparse.Namespace, data: str) -> list[Sequence[float]]:
    """Losses of the first steps: of one process, then of all processes."""
    training = runner.Training(
        model="resnet50",
        dataset=data,
        devices=(asked.device,),
        precisions=("fp32",),
        epochs=1,
        batch_size=asked.batch_size,
        lr=LEARNING_RATE,
        threads=Local().threads(),
        parallel=Parallel(data=(asked.processes,), peer_s=parallel_gpu.PEER_S),
    )
    with tempfile.TemporaryDirectory() as logs, terminal().live() as progress:
        results, _ = runner.run_training(training, Path(logs), Local(), progress)
    failed = [result.reason for result in results if result.status != "ok"]
    if failed:
        raise SystemExit(f"a training failed: {failed[0]}")
    return [[float("nan") if loss is None else loss for loss in result.losses] for result in results]


def windows(values: Sequence[float]) -> list[float]:
    """Means of each `WINDOW` steps: the loss of a single small batch says little."""
    return [fmean(values[start : start + WINDOW]) for start in range(0, len(values) - WINDOW + 1, WINDOW)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(parallel_gpu.ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
    parallel_gpu.declare("resnet50")
    images = math.ceil(((STEPS + 1) * asked.batch_size + CALIBRATION_IMAGES) / TRAINED)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ONNXBENCH_CACHE"] = f"{folder}/cache"
        one, several = losses(asked, parallel_gpu.dataset("resnet50", images, Path(folder)))
    for step in SHOWN:
        print(f"step {step + 1}: one process {one[step]:.5f}, {asked.processes} processes {several[step]:.5f}")
    error = max(100 * abs(a - b) / a for a, b in zip(windows(one), windows(several), strict=True))
    print(f"{len(one)} steps; largest difference of a mean of {WINDOW} steps: {error:.3f} %")
    raise SystemExit(not error <= LIMIT_PERCENT)


if __name__ == "__main__":
    main()
