"""Pages of benchmarks/gpu_models.py: a table, a chart and the bare loops of one model each, from packed runs."""

from __future__ import annotations

import json
import math
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

from onnxbench.results.stats.intervals import log_interval
from onnxbench.results.store import record
from onnxbench.results.table import render, table

SHOWN = (
    *("backend", "environment", "precision", "batch", "dims", "status", "executed", "p50_ms", "e2e_p50_ms", "device_p50_ms"),
    *("throughput_per_s", "lanes", "build_s", "sqnr_db", "energy_mj", "device_mem_mb", "grade"),
)
WHAT = {"host": "host, ms", "device": "device, ms", "rate": "items a second"}
COLOURS = {
    **{"torch-cuda": "#d55e00", "ort-cuda": "#0072b2", "tensorrt": "#009e73"},
    **{"ort-cpu": "#56b4e9", "openvino-cpu": "#cc79a7"},
}
WIDTH, HEIGHT, LEFT, BOTTOM, KEY = 760, 420, 70, 50, 170


def pages(models: Sequence[str], packed: Sequence[Path], results: Path, name: str, date: str) -> None:
    """Write a page for each of `models` that has a packed run: pieces of machine time measure some models at a time.

    `name`: of the machine in the names of the files; empty for that of its GPU.
    """
    with tempfile.TemporaryDirectory() as scratch:
        places = _unpack(models, packed, Path(scratch))
        if not places:
            raise SystemExit(f"no packed run in {', '.join(map(str, packed))}")
        for model, place in places.items():
            _page(model, place, results, name, date)


def _page(model: str, place: Path, results: Path, name: str, date: str) -> None:
    run = record.read_run(place)
    loops = [json.loads(path.read_text()) for path in sorted(place.glob("loop-*.json"))]
    gpus = ", ".join(f"{gpu.name} (driver {gpu.driver})" for gpu in run.host.gpus or ()) or "no GPU"
    stem = f"{name or _slug(gpus.partition(' (')[0])}-{_slug(model)}"
    found = table.build([replace(run, cells=tuple(item for item in run.cells if not item.interrupted))])
    (results / f"{stem}.svg").write_text(draw(model, found.rows))
    missing = len(run.cells) - len(found.rows)
    lines = [f"# {model} on {gpus}", "", *_facts(run, date), ""]
    lines += [f"![Latency and throughput of {model}]({stem}.svg)", "", _markdown(found).strip()]
    lines += ["", f"The time on the machine ended before {missing} more rows."] if missing else []
    lines += ["", *_loops(loops)]
    (results / f"{stem}.md").write_text("\n".join(lines).rstrip() + "\n")
    print(results / f"{stem}.md")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _unpack(models: Sequence[str], packed: Sequence[Path], scratch: Path) -> dict[str, Path]:
    """Folder of each model's run. The last of several files of one model counts."""
    places = {}
    for model in models:
        for file in (path / f"{model}.tar.gz" for path in packed if (path / f"{model}.tar.gz").is_file()):
            with tarfile.open(file) as tar:
                tar.extractall(scratch, filter="data")
            places[model] = scratch / model
    return places


def _facts(run: Any, date: str) -> Iterator[str]:
    threads, budget = run.host.usable_threads, run.sweep.budget.name if run.sweep else "?"
    yield f"Written on {date} by `benchmarks/gpu_models.py`, at `{budget}`, on {run.host.cpu} with {threads} threads."
    yield "Versions: " + ", ".join(f"{name} {version}" for name, version in run.head.versions.items()) + "."
    yield "All weights are random, so no accuracy is shown, and INT8 may be far from FP32. BERT has 128 tokens."


def _markdown(found: table.Table) -> str:
    fields = [field for field in found.fields if field.name in SHOWN]
    return render.render(table.replace(found, fields=tuple(fields)), "markdown")


def _loops(told: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """FP16 figures beside those of bare loops of the same runtime, paired by round in one process."""
    if not told:
        yield "No bare loops were measured."
        return
    yield "Beside bare loops of the same runtime in one process, FP16; the ratio is ours over theirs, with its 95 % interval:"
    yield from ("", "| backend | batch | figure | ours | bare loop | ratio |", "|---|---:|---|---:|---:|---|")
    for item in sorted(told, key=lambda item: (item["backend"], item["batch"])):
        if "failed" in item:
            yield f"| {item['backend']} | {item['batch']} | failed: {item['failed'].splitlines()[-1][:120]} | | | |"
            continue
        for what, values in item["found"].items():
            interval = log_interval([one / other for one, other in zip(values["ours"], values["theirs"], strict=True)])
            ratio = f"{interval.middle:.3f} ({interval.low:.3f} to {interval.high:.3f})" if interval else "too few rounds"
            ours, theirs = f"{median(values['ours']):.4g}", f"{median(values['theirs']):.4g}"
            yield f"| {item['backend']} | {item['batch']} | {WHAT[what]} | {ours} | {theirs} | {ratio} |"


def draw(model: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Chart of latency (across) against throughput (up), both on logarithmic axes, a point for each measured row."""
    points = [row for row in rows if row["p50_ms"] and row["throughput_per_s"]]
    across, up = (_axis([float(row[name]) for row in points]) for name in ("p50_ms", "throughput_per_s"))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_grid(across, up),
        *(_point(row, across, up) for row in points),
        *_key(sorted({str(row["backend"]) for row in points}, key=lambda name: (name not in COLOURS, name))),
        f'<text x="{(WIDTH - KEY + LEFT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">p50 of one call, ms</text>',
        f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})" text-anchor="middle">items a second</text>',
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(model)}: right and low is slow, left and high is fast</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _axis(values: Sequence[float]) -> tuple[float, float]:
    """Powers of ten around `values`, as exponents."""
    logs = [math.log10(value) for value in values] or [0.0]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    return low, max(high, low + 1)


def _x(value: float, axis: tuple[float, float]) -> float:
    return LEFT + (math.log10(value) - axis[0]) / (axis[1] - axis[0]) * (WIDTH - KEY - LEFT)


def _y(value: float, axis: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (math.log10(value) - axis[0]) / (axis[1] - axis[0]) * (HEIGHT - BOTTOM - 30)


def _grid(across: tuple[float, float], up: tuple[float, float]) -> Iterator[str]:
    for power in range(int(across[0]), int(across[1]) + 1):
        x = _x(10.0**power, across)
        yield f'<line x1="{x:.0f}" x2="{x:.0f}" y1="30" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>'
        yield f'<text x="{x:.0f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{10.0**power:g}</text>'
    for power in range(int(up[0]), int(up[1]) + 1):
        y = _y(10.0**power, up)
        yield f'<line x1="{LEFT}" x2="{WIDTH - KEY}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{10.0**power:g}</text>'


def _point(row: Mapping[str, Any], across: tuple[float, float], up: tuple[float, float]) -> str:
    x, y = _x(float(row["p50_ms"]), across), _y(float(row["throughput_per_s"]), up)
    colour, text = COLOURS.get(str(row["backend"]), "#555"), f"{row['precision']} b{row['batch']}"
    title = f"{row['backend']} {text}: {row['p50_ms']:.4g} ms, {row['throughput_per_s']:.4g} items a second"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(title)}</title></circle>'
        f'<text x="{x + 6:.1f}" y="{y + 3:.1f}" font-size="9" fill="{colour}">{escape(text)}</text>'
    )


def _key(backends: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(backends):
        y = 50 + 20 * number
        yield f'<circle cx="{WIDTH - KEY + 20}" cy="{y}" r="5" fill="{COLOURS.get(name, "#555")}"/>'
        yield f'<text x="{WIDTH - KEY + 32}" y="{y + 4}">{escape(name)}</text>'
