"""Short table of README.md and docs/gpu.md, from stored runs: latency of one item, and most items a second of any batch.

    python benchmarks/readme_table.py RUN ... [--rows BACKEND:PRECISION,...] [--write FILE]

RUN is the folder of a run, or a packed run of gpu_models.py (MODEL.tar.gz). All runs are of one model: the CPU's and the GPU's
may be apart. Without --rows every measured backend and precision has a row. --write replaces the table in FILE, which keeps its
text: check its sentences by the ratios that are printed.

    python benchmarks/readme_table.py runs/gpu-models/resnet50/run --write README.md \
        --rows ort-cpu:fp32,openvino-cpu:int8,torch-cuda:fp16,ort-cuda:fp16,tensorrt:fp16
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxbench.results.store import record
from onnxbench.results.table import table

TITLES = "| backend | precision | p50 at batch 1, ms | {items} a second | at batch | GPU energy, mJ {item} |"
RULE = "|---|---|---:|---:|---:|---:|"
Row = Mapping[str, Any]
Kind = tuple[str, str]


@dataclass(frozen=True)
class Figures:
    """A row of the short table: `alone` is the row at batch 1, `most` that with the highest throughput."""

    alone: Row | None
    most: Row

    @property
    def line(self) -> str:
        p50 = f"{self.alone['p50_ms']:.3f}" if self.alone else ""
        energy = f"{self.most['energy_mj']:.3g}" if self.most["energy_mj"] else ""
        cells = (name_of(self.most), self.most["precision"], p50, f"{self.most['throughput_per_s']:,.0f}", self.most["batch"])
        return f"| {' | '.join(map(str, cells))} | {energy} |".replace("|  |", "| |")


def name_of(row: Row) -> str:
    """Name of the backend, with that of its settings or environment: a row of other settings is another row."""
    return "@".join(str(row[part]) for part in ("backend", "environment") if row.get(part))


def figures(rows: Iterable[Row], asked: Sequence[Kind] = ()) -> dict[Kind, Figures]:
    """Figures of each backend and precision that is `asked`, in this order; of all without any. Only `ok` rows count."""
    kinds: dict[Kind, list[Row]] = {kind: [] for kind in asked}
    for row in rows:
        kind = (name_of(row), str(row["precision"]))
        if row["status"] == "ok" and (not asked or kind in kinds):
            kinds.setdefault(kind, []).append(row)
    missing = [":".join(kind) for kind, found in kinds.items() if not found]
    if missing:
        raise SystemExit(f"no measured row of {', '.join(missing)}")
    return {
        kind: Figures(
            alone=next((row for row in found if row["batch"] == 1), None),
            most=max(found, key=lambda row: float(row["throughput_per_s"])),
        )
        for kind, found in kinds.items()
    }


def lines(found: Iterable[Figures], items: str = "images") -> list[str]:
    """Lines of the table."""
    one = {"images": "an image"}.get(items, f"a {items.removesuffix('s')}")
    return [TITLES.format(items=items, item=one), RULE, *(item.line for item in found)]


def replaced(text: str, new: Sequence[str]) -> str:
    """`text` with `new` in place of its first table that begins like it."""
    old = text.splitlines()
    begin = next((place for place, line in enumerate(old) if line.startswith(TITLES.partition("ms")[0])), None)
    if begin is None:
        raise SystemExit("the file has no such table")
    end = next((place for place in range(begin, len(old)) if not old[place].startswith("|")), len(old))
    return "\n".join([*old[:begin], *new, *old[end:]]) + "\n"


def facts(run: Any) -> Iterator[str]:
    """Sentences on the run, for the text around the table."""
    host = run.host
    gpus = ", ".join(f"{gpu.name} (driver {gpu.driver})" for gpu in host.gpus or ()) or "no GPU"
    yield f"{run.folder}: {host.cpu}, {host.usable_threads} threads; {gpus}"
    yield (
        f"models {', '.join(sorted({item.cell.model for item in run.cells}))}; "
        + (f"budget {run.sweep.budget.name}; " if run.sweep else "")
        + ", ".join(f"{name} {version}" for name, version in run.head.versions.items())
    )


def ratios(found: Mapping[Kind, Figures]) -> Iterator[str]:
    """Each row over the first, for the sentences below the table."""
    first = next(iter(found.values()))
    for kind, item in found.items():
        faster = f"p50 {first.alone['p50_ms'] / item.alone['p50_ms']:.2f} times as fast, " if first.alone and item.alone else ""
        more = item.most["throughput_per_s"] / first.most["throughput_per_s"]
        yield f"{' '.join(kind)}: {faster}{more:.2f} times as many a second as {' '.join(next(iter(found)))}"


def opened(path: Path, scratch: Path) -> Any:
    """The run at `path`, which may be packed."""
    if path.is_dir():
        return record.read_run(path)
    with tarfile.open(path) as tar:
        tar.extractall(scratch, filter="data")
    return record.read_run(scratch / path.name.removesuffix(".tar.gz"))


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rows", default="")
    parser.add_argument("--items", default="images")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    asked = [(name, precision) for name, _, precision in (text.partition(":") for text in given.rows.split(",") if text)]
    with tempfile.TemporaryDirectory() as scratch:
        runs = [opened(path, Path(scratch)) for path in given.runs]
        found = figures(table.build(runs, None).rows, asked)
    new = lines(found.values(), given.items)
    print("\n".join([*new, "", *(fact for run in runs for fact in facts(run)), *ratios(found)]))
    if given.write:
        given.write.write_text(replaced(given.write.read_text(), new))


if __name__ == "__main__":
    main()
