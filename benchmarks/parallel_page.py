"""Page and chart of `parallel_gpu.py`, and its stored rows as one file."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from onnxbench.results.stats.intervals import LIFE, Repeated

STORED, RESULTS = Path("runs/parallel"), Path(__file__).resolve().parents[1] / "docs/results"
TABLE = "table"
TABLE_IMAGES, TABLE_BATCH, TABLE_EPOCHS = 2048, 256, 6  # of the CNN on the CPU, one GPU and all GPUs, in one run
WAYS = {"": "one process", "data": "data parallel", "gpipe": "pipeline, gpipe", "1f1b": "pipeline, 1f1b"}
WAYS |= {"interleaved": "pipeline, interleaved", "local": "data parallel, local BatchNorm"}
FIGURES = {"train_per_s": 0, "speedup": 2, "efficiency": 0, "communication": 0, "bubble": 0, "bubble_formula": 1}
FIGURES |= {"peak_memory_mb": 0}  # digits, by column
BASIS = {
    False: (
        "Figures are medians over the repetitions, with the smallest and the largest in parentheses, where there are several.",
    ),
    True: ("Figures are means over the repetitions, with their 95 % intervals in brackets.",),
}

Row = Mapping[str, Any]


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


def part(row: Row) -> str:
    """Name of the part that has a row."""
    return f"{row['repeat']}-{row['model']}" if "repeat" in row else TABLE


def packed(path: Path, rows: Sequence[Row]) -> None:
    """Write the settings and all rows to one file."""
    facts = json.loads((STORED / "facts.json").read_text())
    path.write_text("".join(json.dumps(each) + "\n" for each in (facts, *rows)))


def unpack(path: Path) -> None:
    """Store the parts of a file that `packed` wrote."""
    facts, *rows = map(json.loads, path.read_text().splitlines())
    STORED.mkdir(parents=True, exist_ok=True)
    (STORED / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    for name in {part(row) for row in rows}:
        store(STORED / f"{name}.jsonl", (row for row in rows if part(row) == name))


def stored(pattern: str) -> list[Row]:
    """Rows of the complete parts."""
    return [json.loads(text) for path in sorted(STORED.glob(pattern)) for text in path.read_text().splitlines()]


def groups(rows: Sequence[Row]) -> Mapping[tuple[Any, ...], list[Row]]:
    """Rows of all repetitions, by what they measure."""
    grouped: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        way = "local" if row.get("batch_norm") == "local" else row["parallel"] or ""
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
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


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
    grouped, repeats = groups(rows), Counter(model for model, _ in {(row["model"], row["repeat"]) for row in rows})
    counts = ", ".join(f"{count} of {model}" for model, count in sorted(repeats.items()))
    name = facts["name"] or ("gpu" if facts["device"] != "cpu" else "cpu")
    titles = ("model", "precision", "scaling", "way", "processes", "threads", "images a second", "speed-up", "efficiency, %")
    titles += ("communication, %", "bubble, %", "formula, %", "memory, MB")
    machine = facts["gpus"] if facts["device"] != "cpu" else facts["cpu"]
    text = [
        f"# Training over {facts['processes']} processes: {machine}",
        "",
        f"By `python benchmarks/parallel_gpu.py` on {facts['cpu']} ({facts['threads']} threads):",
        f"{facts['epochs']} epochs on random images. Repetitions: {counts}.",
        *BASIS[min(repeats.values()) >= LIFE.least],
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
    packed(RESULTS / f"{name}-parallel.jsonl", [*rows, *stored(f"{TABLE}.jsonl")])
    (RESULTS / f"{name}-parallel.svg").write_text(chart(grouped))
    (RESULTS / f"{name}-parallel.md").write_text("\n".join(text) + "\n")
    print(RESULTS / f"{name}-parallel.md", file=sys.stderr)
