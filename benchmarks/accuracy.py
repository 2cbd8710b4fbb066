"""Accuracy that the default training reaches, over seeds and over the spread that the preprocessing divides by.

    python benchmarks/accuracy.py [SEEDS]

Each line is one training of the CNN on the digits with the defaults of `bench train` (10 epochs, learning rate 0.01):
test accuracy in per cent after every epoch. It is the evidence for the constant SPREAD in models/datasets.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from onnxbench.models import datasets
from onnxbench.runners.prepare.parallel import Plan
from onnxbench.runners.prepare.train import Training, TrainingRow
from onnxbench.runners.worker import train_job
from onnxbench.runners.worker.jobs import Data
from onnxbench.runners.worker.serve import State
from onnxbench.runners.worker.threads import usable_threads

SPREADS = (0.35, 0.2)


def accuracies(seed: int, spread: float, folder: Path) -> list[float]:
    """Test accuracy after each epoch, in per cent."""
    datasets.SPREAD = spread
    training = Training(seed=seed, threads=usable_threads())
    plan = Plan(threads=training.threads, batch_size=training.batch_size)
    row = TrainingRow(training=training, device="cpu", precision="fp32", plan=plan)
    done = train_job.train(State(), lambda _: None, row.job(Data.named(training.dataset), folder / "unkept.safetensors"))
    return [epoch.accuracy for epoch in done.epochs]


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        for spread in SPREADS:
            for seed in range(seeds):
                found = accuracies(seed, spread, Path(folder))
                print(f"spread {spread:g}, seed {seed}: " + " ".join(f"{value:.1f}" for value in found), flush=True)


if __name__ == "__main__":
    main()
