"""Strong and weak scaling of data parallel and pipeline training: the CNN and torchvision's ResNet-50, repeated, as a page.

    python benchmarks/parallel_gpu.py                       two GPUs through NCCL: both models, fp32, tf32, bf16, five times
    python benchmarks/parallel_gpu.py --device cpu --model cnn --precision fp32 --images 640 --batch-size 64 --epochs 2
                                                            two cores through gloo
    python benchmarks/parallel_gpu.py --page-only           the page again, of what is stored

Strong scaling keeps the global batch, weak scaling gives every process the whole batch. Images are random: the rate does not
depend on them. One repetition of a model is one training of every row. On GPUs it has processes that no other repetition uses,
and on a CPU every row has processes of its own, because their peak memory cannot be reset. An interval is over the
repetitions, and a ratio is paired with the single process of the same repetition. Results go to runs/parallel, one file for
each repetition of a model: the same command goes on with an interrupted run. The page is docs/results/NAME-parallel.md with
its chart NAME-parallel.svg. On GPUs it ends with one table of the CPU, one GPU and all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any, cast

import numpy as np
from onnxbench.models import MODELS, NamedModel
from onnxbench.results.stats.intervals import LIFE, Repeated
from onnxbench.results.table import training as tables
from onnxbench.runners.pool.pool import Local, Pool, Worker
from onnxbench.runners.pool.progress import terminal
from onnxbench.runners.prepare import train as runner
from onnxbench.runners.prepare.parallel import Parallel
from onnxbench.spec import TensorSpec

ROOT = Path(__file__).resolve().parents[1]
STORED, RESULTS = Path("runs/parallel"), ROOT / "docs/results"
SIDES = {"cnn": 48, "resnet50": 224}
FACTORIES = {"cnn": "onnxbench.models.cnn:cnn", "resnet50": "resnet_layers:resnet50"}
IMAGES, BATCHES = {"cnn": 16384, "resnet50": 1024}, {"cnn": 1024, "resnet50": 128}
TABLE_IMAGES, TABLE_BATCH, TABLE_EPOCHS = 2048, 256, 6  # of the CNN on the CPU, one GPU and all GPUs, in one run
TABLE = "table"
WAYS = {"": "one process", "data": "data parallel", "gpipe": "pipeline, gpipe", "1f1b": "pipeline, 1f1b"}

FIGURES = {"train_per_s": 0, "speedup": 2, "efficiency": 0, "communication": 0, "bubble": 0, "bubble_formula": 1}
FIGURES |= {"peak_memory_mb": 0}  # digits, by column
PEER_S = 60.0  # the first step of a large model on a GPU is slow, because it chooses the kernels

BASIS = {
    False: ("Figures are medians over the repetitions, with the smallest and the largest in parentheses.",),
    True: ("Figures are means over the repetitions, with their 95 % intervals in brackets.",),
}

Row = Mapping[str, Any]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--model", default="cnn,resnet50")
    parser.add_argument("--precision", default="fp32,tf32,bf16")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--name", default="")
    parser.add_argument("--note", default="", help="paragraph for the page, such as the other load of the machine")
    parser.add_argument("--page-only", action="store_true")
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


def ways(processes: int) -> Mapping[str, Parallel]:
    """Trainings of one repetition, by their scaling."""
    counts = (processes,)
    strong = Parallel(data=counts, pipeline=counts, peer_s=PEER_S)
    return {"strong": strong, "weak": Parallel(data=counts, scale_batch=True, peer_s=PEER_S)}


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
        for scaling, parallel in ways(asked.processes).items():
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
        parallel=ways(asked.processes)["strong"],
    )
    yield from train(training, Local())


def store(path: Path, rows: Iterator[Row]) -> None:
    """Write the rows of one part. Only a complete part gets its name; a part that is there is not measured again."""
    if path.exists():
        return
    unfinished = path.with_suffix(".part")
    with unfinished.open("w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
            file.flush()
    unfinished.rename(path)


def remember(asked: argparse.Namespace) -> None:
    """Store what is measured and where; refuse to go on with a run of other settings."""
    host = Local().host()
    gpus = " and ".join(gpu.name or "GPU" for gpu in host.gpus or ())
    settings = {name: value for name, value in vars(asked).items() if name not in ("page_only", "note", "repeats", "model")}
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
        if asked.device != "cpu":
            (Path(folder) / TABLE).mkdir()
            store(STORED / f"{TABLE}.jsonl", one_table(asked, dataset("cnn", TABLE_IMAGES, Path(folder) / TABLE)))
        data = {}
        for model in asked.model.split(","):
            declare(model)
            data[model] = dataset(model, asked.images or IMAGES[model], Path(folder))
        for repeat in range(asked.repeats):
            for model, place in data.items():
                store(STORED / f"{repeat}-{model}.jsonl", measure(asked, model, place, repeat))


def stored(pattern: str) -> list[Row]:
    """Rows of the complete parts."""
    return [json.loads(text) for path in sorted(STORED.glob(pattern)) for text in path.read_text().splitlines()]


def groups(rows: Sequence[Row]) -> Mapping[tuple[Any, ...], list[Row]]:
    """Rows of all repetitions, by what they measure."""
    grouped: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        way = row["parallel"] or ""
        # a single process is the same for both scalings
        scaling = row["scaling"] if way else ""
        grouped[row["model"], row["precision"], scaling, way, row["processes"], row["threads"]].append(row)
    return grouped


def by_repetition(members: Sequence[Row], name: str) -> list[float]:
    """Figure of each repetition. A single process is trained for each scaling, and its figure is the mean of these."""
    values: dict[int, list[float]] = defaultdict(list)
    for row in members:
        if row["status"] == "ok" and row[name] is not None:
            values[row["repeat"]].append(row[name])
    return [fmean(each) for each in values.values()]


def typical(values: Sequence[float]) -> float:
    """Middle of the interval; the median of values that are too few for an interval."""
    measured = Repeated(values, LIFE)
    return measured.interval.middle if measured.interval else median(values)


def figure(values: Sequence[float], digits: int) -> str:
    """Figure with its 95 % interval; with the smallest and the largest value if they are too few for an interval."""
    if not values:
        return ""
    measured, middle = Repeated(values, LIFE), f"{typical(values):.{digits}f}"
    if measured.interval:
        return f"{middle} [{measured.interval.low:.{digits}f}, {measured.interval.high:.{digits}f}]"
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def line(key: tuple[Any, ...], members: Sequence[Row]) -> str:
    """Line of the page for one group."""
    model, precision, scaling, way, processes, threads = key
    head = [model, precision, scaling, WAYS[way], str(processes), str(threads)]
    if not by_repetition(members, "train_per_s"):
        return f"| {' | '.join([*head, str(members[0]['reason'])])} | | | | | | |"
    figures = [figure(by_repetition(members, name), digits) for name, digits in FIGURES.items()]
    return f"| {' | '.join([*head, *figures])} |"


def chart(grouped: Mapping[tuple[Any, ...], list[Row]]) -> str:
    """Bars of the images a second, as SVG."""
    bars = []
    for key, members in grouped.items():
        rates = by_repetition(members, "train_per_s")
        if rates:
            model, precision, scaling, way, processes, threads = key
            name = " ".join(filter(None, (model, precision, scaling, WAYS[way]))) + f", {processes} x {threads} threads"
            bars.append((name, typical(rates), model))
    most = {model: max(rate for _, rate, other in bars if other == model) for _, _, model in bars}
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{22 * len(bars) + 30}" font-family="sans-serif">']
    lines.append('<text x="8" y="16" font-size="13">Images a second; a full bar is the fastest row of its model</text>')
    for number, (name, rate, model) in enumerate(bars):
        y, width = 26 + 22 * number, 380 * rate / most[model]
        lines.append(f'<text x="8" y="{y + 13}" font-size="12">{name}</text>')
        lines.append(f'<rect x="400" y="{y}" width="{width:.0f}" height="16" fill="#4878a8"/>')
        lines.append(f'<text x="{406 + width:.0f}" y="{y + 13}" font-size="12">{rate:.0f}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def one_table_lines(rows: Sequence[Row]) -> list[str]:
    """Section of the page with the run over the CPU, one GPU and all of them."""
    if not rows:
        return []
    titles = ("device", "way", "processes", "threads", "images a second [95 %]", "speed-up", "efficiency, %", "memory, MB")
    text = [
        "",
        "## CPU, one GPU and all of them",
        "",
        f"One run of `bench train`: the CNN in FP32, {TABLE_IMAGES} random images an epoch, batch {TABLE_BATCH},",
        f"{TABLE_EPOCHS} epochs. The speed-up is against the CPU with all threads.",
        "Intervals are over the epochs after the first.",
        "",
        f"| {' | '.join(titles)} |",
        f"|{'---|' * 2}{'---:|' * (len(titles) - 2)}",
    ]
    return [*text, *(one_table_line(row) for row in rows)]


def one_table_line(row: Row) -> str:
    """Line of one row, or the reason why it failed."""
    head = f"| {row['device']} | {WAYS[row['parallel'] or '']} | {row['processes']} | {row['threads']} |"
    if row["status"] != "ok":
        return f"{head} {row['reason']} | | | |"
    figures = {"speedup": 1, "efficiency": 0, "peak_memory_mb": 0}
    rest = ["" if row[name] is None else f"{row[name]:.{digits}f}" for name, digits in figures.items()]
    bounds = "" if row["train_per_s_low"] is None else f" [{row['train_per_s_low']:.0f}, {row['train_per_s_high']:.0f}]"
    return f"{head} {row['train_per_s']:.0f}{bounds} | {' | '.join(rest)} |"


def page(note: str) -> None:
    """Write the page and its chart from the stored rows, with the paragraph `note`."""
    facts = json.loads((STORED / "facts.json").read_text())
    rows = sorted(stored("[0-9]*-*.jsonl"), key=lambda row: (row["model"], row["repeat"]))
    grouped, repeats = groups(rows), len({row["repeat"] for row in rows})
    name = facts["name"] or ("gpu" if facts["device"] != "cpu" else "cpu")
    titles = ("model", "precision", "scaling", "way", "processes", "threads", "images a second", "speed-up", "efficiency, %")
    titles += ("communication, %", "bubble, %", "formula, %", "memory, MB")
    machine = facts["gpus"] if facts["device"] != "cpu" else facts["cpu"]
    text = [
        f"# Training over {facts['processes']} processes: {machine}",
        "",
        f"By `python benchmarks/parallel_gpu.py` on {facts['cpu']} ({facts['threads']} threads):",
        f"{repeats} repetitions of {facts['epochs']} epochs on random images.",
        *BASIS[repeats >= LIFE.least],
        "A single process is trained once for each scaling, and its figure in a repetition is the mean.",
        "The speed-up is against one process with all threads, trained for the same scaling in the same repetition.",
        "[Parallel training](../parallel.md) has the columns.",
        "",
        *([note, ""] if note else []),
        f"![Images a second]({name}-parallel.svg)",
        "",
        f"| {' | '.join(titles)} |",
        f"|{'---|' * 4}{'---:|' * (len(titles) - 4)}",
        *(line(key, members) for key, members in grouped.items()),
        *one_table_lines(stored(f"{TABLE}.jsonl")),
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}-parallel.svg").write_text(chart(grouped))
    (RESULTS / f"{name}-parallel.md").write_text("\n".join(text) + "\n")
    print(RESULTS / f"{name}-parallel.md", file=sys.stderr)


def main() -> None:
    asked = arguments()
    if not asked.page_only:
        run(asked)
    page(asked.note)


if __name__ == "__main__":
    main()
