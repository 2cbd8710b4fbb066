"""Strong and weak scaling of data parallel and pipeline training: the CNN and torchvision's ResNet-50, repeated, as a page.

    python benchmarks/parallel_gpu.py                       two GPUs through NCCL: both models, fp32, tf32, bf16, five times
    python benchmarks/parallel_gpu.py --device cpu --model cnn --precision fp32 --images 640 --batch-size 64 --epochs 2
                                                            two cores through gloo
    python benchmarks/parallel_gpu.py --page-only           the page again, of what is stored

Strong scaling keeps the global batch, weak scaling gives every process the whole batch. Images are random: the rate does not
depend on them. One repetition is one training of every row, in processes of its own. An interval is over the repetitions, and
a ratio is paired with the single process of the same repetition. Results go to runs/parallel, and the page to
docs/results/NAME-parallel.md with its chart NAME-parallel.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, cast

import numpy as np
from onnxbench.models import MODELS, NamedModel
from onnxbench.results.stats.intervals import LIFE, Repeated
from onnxbench.results.table import training as tables
from onnxbench.runners.pool.pool import Local
from onnxbench.runners.pool.progress import terminal
from onnxbench.runners.prepare import train as runner
from onnxbench.runners.prepare.parallel import Parallel
from onnxbench.spec import TensorSpec

ROOT = Path(__file__).resolve().parents[1]
STORED, RESULTS = Path("runs/parallel"), ROOT / "docs/results"
SIDES = {"cnn": 48, "resnet50": 224}
FACTORIES = {"cnn": "onnxbench.models.cnn:cnn", "resnet50": "resnet_layers:resnet50"}
IMAGES, BATCHES = {"cnn": 16384, "resnet50": 2048}, {"cnn": 1024, "resnet50": 128}
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


def measure(asked: argparse.Namespace, model: str, data: str, repeat: int) -> Iterator[Row]:
    """Rows of one repetition."""
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
        with tempfile.TemporaryDirectory() as logs, terminal().live() as progress:
            results, interrupted = runner.run_training(training, Path(logs), Local(), progress)
        if interrupted:
            raise SystemExit(130)
        for row in tables.build(results, training.head()).rows:
            yield {**row, "model": model, "scaling": scaling, "repeat": repeat}


def run(asked: argparse.Namespace) -> None:
    """Measure, and store each row as soon as it is there."""
    STORED.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")  # multicast over NVLink fails on some shared hosts
    host = Local().host()
    gpus = " and ".join(gpu.name or "GPU" for gpu in host.gpus or ())
    facts = {"cpu": host.cpu, "threads": host.usable_threads, "gpus": gpus, **vars(asked)}
    (STORED / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    with tempfile.TemporaryDirectory() as folder, (STORED / "rows.jsonl").open("w") as file:
        os.environ["ONNXBENCH_CACHE"] = f"{folder}/cache"
        data = {}
        for model in asked.model.split(","):
            declare(model)
            data[model] = dataset(model, asked.images or IMAGES[model], Path(folder))
        for repeat in range(asked.repeats):
            for model, place in data.items():
                for row in measure(asked, model, place, repeat):
                    file.write(json.dumps(row) + "\n")
                    file.flush()


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


def page(note: str) -> None:
    """Write the page and its chart from the stored rows, with the paragraph `note`."""
    facts = json.loads((STORED / "facts.json").read_text())
    rows = [json.loads(text) for text in (STORED / "rows.jsonl").read_text().splitlines()]
    grouped = groups(rows)
    name = facts["name"] or ("gpu" if facts["device"] != "cpu" else "cpu")
    titles = ("model", "precision", "scaling", "way", "processes", "threads", "images a second", "speed-up", "efficiency, %")
    titles += ("communication, %", "bubble, %", "formula, %", "memory, MB")
    machine = facts["gpus"] if facts["device"] != "cpu" else facts["cpu"]
    text = [
        f"# Training over {facts['processes']} processes: {machine}",
        "",
        f"By `python benchmarks/parallel_gpu.py` on {facts['cpu']} ({facts['threads']} threads):",
        f"{facts['repeats']} repetitions of {facts['epochs']} epochs on random images.",
        *BASIS[facts["repeats"] >= LIFE.least],
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
