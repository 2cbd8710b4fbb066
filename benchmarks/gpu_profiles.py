"""Profiles with roofs of real models on a GPU, side by side over three runtimes, and the layers behind the largest difference.

    python benchmarks/gpu_profiles.py            ResNet-50 and BERT at batch 8 in FP16, in at most 9 minutes
    MODELS=resnet50 PRECISION=fp32 BATCH=1 python benchmarks/gpu_profiles.py
    python benchmarks/gpu_profiles.py show       prints the profiles in RUN again, and measures nothing

It stops after PIECE_S seconds (default 540), and the same command then goes on with the profiles that are missing. Each model
has a run in the folder RUN (default runs/gpu-profiles), with the roofs. TENSORRT names the Python that has TensorRT, where it
is not this one, and LEVEL the builder's optimization level, where it is not TensorRT's default. The files are those of
gpu_models.py, which exports them where they are missing. Weights are random: nothing is downloaded. torchvision and
transformers must be installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu_models import MODELS, Model, OutOfTimeError, bench, export, folder
from onnxbench.errors import BadInput
from onnxbench.results.profile.lines import Line, ProfiledCase, cases_of
from onnxbench.results.profile.roofs import SideWork
from onnxbench.results.store.record import read_run
from recommendation import COMMAND

RUN = Path(os.environ.get("RUN", "runs/gpu-profiles")).absolute()
PRECISION, BATCH = os.environ.get("PRECISION", "fp16"), os.environ.get("BATCH", "8")
BACKENDS = "torch-cuda,ort-cuda,tensorrt"
SHOWN = 12  # layers of a difference


def run_folder(model: Model) -> Path:
    return RUN / f"{model.name}-profile"


def profile(model: Model) -> None:
    """Make the run of a model, unless there is one."""
    out = run_folder(model)
    if (out / "run.json").exists():
        return
    folder(model).mkdir(parents=True, exist_ok=True)
    what = ("--artifacts", str(folder(model) / "artifacts"), *model.dims, "--precision", PRECISION, "--batch", BATCH)
    try:
        export(model)
        bench("profile", *what, "--backend", BACKENDS, "--roof", "--out", str(out))
    except OutOfTimeError:
        shutil.rmtree(out, ignore_errors=True)  # a part of a profile would pass for all of it
        raise


def show(model: Model) -> None:
    """Print the profiles as one table, and the layers behind the largest difference of two runtimes."""
    out = run_folder(model)
    if not (out / "run.json").exists():
        return
    subprocess.run([*COMMAND, "profile", str(out)], check=False)
    for case in cases_of([read_run(out)]):
        print(f"\n{model.name} {case.name}", flush=True)
        print_difference(case)


def print_difference(case: ProfiledCase) -> None:
    """Print the layers that explain most of the largest difference of two sides whose layers can be compared."""
    comparable = [place for place in range(len(case.sides)) if place not in case.coarse]
    pairs = [
        (one, other) for one in comparable for other in comparable if case.sides[one].total_ns < case.sides[other].total_ns
    ]
    if not pairs:
        print("no two sides whose layers can be compared")
        return
    fast, slow = max(pairs, key=lambda pair: case.sides[pair[1]].total_ns / case.sides[pair[0]].total_ns)
    total = case.sides[slow].total_ns - case.sides[fast].total_ns
    work = SideWork.of(case.sides[slow])
    print(f"{case.sides[slow].label} takes {total / 1e6:.4g} ms more in kernels than {case.sides[fast].label}:")
    for line in sorted(case.lines, key=lambda line: -abs(_more(line, fast, slow)))[:SHOWN]:
        more, main = _more(line, fast, slow), line.main
        layer = work.of_line(line, line.parts[slow]) if work else None
        reached = layer.shares.of_roof if layer else None
        roof = "" if reached is None else f", {reached:.0%} of the roof"
        name = main.name if main else "(not mapped)"
        print(f"  {more / 1e6:+.4f} ms ({more / total:+.0%}) {line.operators} {name}{roof}")


def _more(line: Line, fast: int, slow: int) -> float:
    """Time in ns that a line takes more on the slow side."""
    times = [part.ns if (part := line.parts[place]) else 0.0 for place in (fast, slow)]
    return times[1] - times[0]


def main(steps: Sequence[str]) -> None:
    named = os.environ.get("MODELS", "resnet50,bert").split(",")
    chosen = [model for model in MODELS if model.name in named]
    try:
        for model in chosen if "show" not in steps else ():
            profile(model)
    except OutOfTimeError:
        print("the time is over; the same command goes on", flush=True)
    for model in chosen:
        try:
            show(model)
        except BadInput as error:
            print(f"{model.name}: {error}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
