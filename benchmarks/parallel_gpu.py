"""Strong and weak scaling of data parallel and pipeline training: the CNN, ResNet-50 and ViT-B/16, repeated, as a page.

    python benchmarks/parallel_gpu.py                       two GPUs through NCCL: both models, fp32, tf32, bf16, five times
    python benchmarks/parallel_gpu.py --processes 2,4 --model resnet50,vit_b16 --precision bf16 \\
                                      --schedule gpipe,1f1b,interleaved --batch-norm shared,local
                                                            four GPUs, and two of them; without the CNN
    python benchmarks/parallel_gpu.py --device cpu --model cnn --precision fp32 --images 640 --batch-size 64 --epochs 2
                                                            two cores through gloo
    python benchmarks/parallel_gpu.py --page-only           the page again, of what is stored
    python benchmarks/parallel_gpu.py --rows FILE           go on with the rows of an unfinished page, on a machine of its kind

Strong scaling keeps the global batch, weak scaling gives every process the whole batch. Images are random: the rate does not
depend on them. One repetition of a model is one training of every row. On GPUs it has processes that no other repetition uses,
and on a CPU every row has processes of its own, because their peak memory cannot be reset. An interval is over the
repetitions, and a ratio is paired with the single process of the same repetition. Results go to runs/parallel, one file for
each repetition of a model: the same command goes on with an interrupted run. The page is docs/results/NAME-parallel.md with
its chart NAME-parallel.svg and its rows NAME-parallel.jsonl, whose first line has the settings. On GPUs the page of the
CNN ends with one table of the CPU, one GPU and all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from onnxbench.models import MODELS, NamedModel
from onnxbench.results.table import training as tables
from onnxbench.runners.pool.pool import Local, Pool, Worker
from onnxbench.runners.pool.progress import terminal
from onnxbench.runners.prepare import train as runner
from onnxbench.runners.prepare.parallel import Parallel
from onnxbench.runners.worker.rank_jobs import SHARED
from onnxbench.spec import TensorSpec
from parallel_page import STORED, TABLE, TABLE_BATCH, TABLE_EPOCHS, TABLE_IMAGES, Row, page, store, unpack

ROOT = Path(__file__).resolve().parents[1]
SIDES = {"cnn": 48, "resnet50": 224, "vit_b16": 224}
FACTORIES = {"cnn": "onnxbench.models.cnn:cnn", "resnet50": "resnet_layers:resnet50", "vit_b16": "vit_layers:vit_b16"}
IMAGES = {"cnn": 16384, "resnet50": 1024, "vit_b16": 1024}
BATCHES = {"cnn": 1024, "resnet50": 128, "vit_b16": 128}
BATCH_NORM = ("resnet50",)  # models that have it
NO_SETTINGS = ("page_only", "note", "repeats", "model", "rows")
PEER_S = 60.0  # the first step of a large model on a GPU is slow, because it chooses the kernels


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", default="2")
    parser.add_argument("--schedule", default="gpipe,1f1b")
    parser.add_argument("--batch-norm", default="shared")
    parser.add_argument("--model", default="cnn,resnet50")
    parser.add_argument("--precision", default="fp32,tf32,bf16")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--name", default="")
    parser.add_argument("--note", default="", help="paragraph for the page, such as the other load of the machine")
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("--rows", type=Path, help="NAME-parallel.jsonl of a page to go on with")
    return parser.parse_args()


def dataset(model: str, images: int, folder: Path) -> str:
    """Random images as the model takes them, with random labels."""
    generator, side = np.random.default_rng(0), SIDES[model]
    path = folder / f"{model}.npz"
    np.savez(path, x=generator.standard_normal((images, 3, side, side), np.float32), y=generator.integers(0, 10, images))
    return f"tensors:{path}"


def declare(model: str) -> None:
    """Let the runner find a model that the package does not name."""
    side = SIDES[model]
    given = (TensorSpec(name="input", dtype="float32", shape=("batch", 3, side, side)),)
    made = NamedModel(name=model, factory=FACTORIES[model], inputs=given, outputs=("logits",), dataset="digits")
    cast("dict[str, NamedModel]", MODELS)[model] = made


def ways(asked: argparse.Namespace, model: str) -> Mapping[str, Parallel]:
    """Trainings of one repetition of a model, by their scaling."""
    counts = tuple(map(int, asked.processes.split(",")))
    norms = tuple(asked.batch_norm.split(",")) if model in BATCH_NORM else (SHARED,)
    data = Parallel(data=counts, batch_norms=norms, peer_s=PEER_S)
    staged = replace(data, pipeline=counts, schedules=tuple(asked.schedule.split(",")))
    return {"strong": staged, "weak": replace(data, scale_batch=True)}


@dataclass
class Kept:
    """Pool that keeps its workers until it is left: starting one takes longer than a training does."""

    pool: Local = field(default_factory=Local)
    free: dict[int, Worker] = field(default_factory=dict)
    count: int = 0

    def start(self, log: Path, python: str = sys.executable, *, network: bool = False) -> Any:
        """The free worker with the lowest number, so that a worker is always the same rank; else a new one."""
        if self.free:
            number = min(self.free)
            return Lent(self, number, self.free.pop(number))
        self.count += 1
        return Lent(self, self.count, self.pool.start(log, python, network=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pool, name)

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.free.values():
            with worker:
                pass


@dataclass
class Lent:
    """Worker of a `Kept`, as a context manager: leaving without an error gives it back."""

    kept: Kept
    number: int
    worker: Worker

    def __getattr__(self, name: str) -> Any:
        return getattr(self.worker, name)

    def __enter__(self) -> Lent:
        self.worker.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self.kept.free[self.number] = self.worker
        else:
            self.worker.__exit__(*error)


def train(training: runner.Training, pool: Pool) -> Sequence[Row]:
    """Rows of one training, by the workers of `pool`."""
    with tempfile.TemporaryDirectory() as logs, terminal().live() as progress:
        results, interrupted = runner.run_training(training, Path(logs), pool, progress)
    if interrupted:
        raise SystemExit(130)
    return tables.build(results, training.head()).rows


def measure(asked: argparse.Namespace, model: str, data: str, repeat: int) -> Iterator[Row]:
    """Rows of one repetition."""
    with ExitStack() as stack:
        pool = Local() if asked.device == "cpu" else cast("Pool", stack.enter_context(Kept()))
        for scaling, parallel in ways(asked, model).items():
            training = runner.Training(
                model=model,
                dataset=data,
                devices=(asked.device,),
                precisions=tuple(asked.precision.split(",")),
                epochs=asked.epochs,
                batch_size=asked.batch_size or BATCHES[model],
                threads=Local().threads(),
                parallel=parallel,
            )
            for row in train(training, pool):
                yield {**row, "model": model, "scaling": scaling, "repeat": repeat}


def one_table(asked: argparse.Namespace, data: str) -> Iterator[Row]:
    """The CNN in FP32 on the CPU, one GPU and all of them: one run, with intervals over its epochs."""
    training = runner.Training(
        model="cnn",
        dataset=data,
        devices=("cpu", asked.device),
        precisions=("fp32",),
        epochs=TABLE_EPOCHS,
        batch_size=TABLE_BATCH,
        threads=Local().threads(),
        parallel=ways(asked, "cnn")["strong"],
    )
    yield from train(training, Local())


def remember(asked: argparse.Namespace) -> None:
    """Store what is measured and where; refuse to go on with a run of other settings."""
    host = Local().host()
    gpus = " and ".join(gpu.name or "GPU" for gpu in host.gpus or ())
    settings = {name: value for name, value in vars(asked).items() if name not in NO_SETTINGS}
    facts = {"cpu": host.cpu, "threads": host.usable_threads, "gpus": gpus, **settings}
    path = STORED / "facts.json"
    if path.exists() and json.loads(path.read_text()) != facts:
        raise SystemExit(f"{path} is of a run with other settings or of another machine: move {STORED} away")
    STORED.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=1) + "\n")


def run(asked: argparse.Namespace) -> None:
    """Measure, and store each part as soon as it is there."""
    remember(asked)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")  # multicast over NVLink fails on some shared hosts
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ONNXBENCH_CACHE"] = f"{folder}/cache"
        if asked.device != "cpu" and "cnn" in asked.model.split(","):
            (Path(folder) / TABLE).mkdir()
            store(STORED / f"{TABLE}.jsonl", one_table(asked, dataset("cnn", TABLE_IMAGES, Path(folder) / TABLE)))
        data = {}
        for model in asked.model.split(","):
            declare(model)
            data[model] = dataset(model, asked.images or IMAGES[model], Path(folder))
        for repeat in range(asked.repeats):
            for model, place in data.items():
                store(STORED / f"{repeat}-{model}.jsonl", measure(asked, model, place, repeat))


def main() -> None:
    asked = arguments()
    if asked.rows:
        unpack(asked.rows)
    if not asked.page_only:
        run(asked)
    page(asked.note)


if __name__ == "__main__":
    main()
