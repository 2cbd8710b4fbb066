"""INT8 schemes of one model by runtime, as two tables: accuracy, and speed beside the FP32 row of the same run.

    bench check --precision fp32,int8 --int8 portable,layers,dynamic,ort,openvino --batch 32 --out check
    bench infer --precision fp32,int8 --int8 portable,layers,dynamic,ort,openvino --batch 1 --out run
    python benchmarks/int8_schemes.py check run ...

A ratio is that of two cells of one backend, batch and run, with its 95 % interval.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from onnxbench.results.stats.intervals import Interval
from onnxbench.results.store.record import CellRecord, read_run
from onnxbench.results.store.series import paired, ratios
from onnxbench.results.table.columns import BY_NAME
from onnxbench.results.table.row import Row

ACCURACY = ("backend", "file", "MB", "top-1, %", "drop, points (95 %)", "agreement, %", "SQNR, dB")
SPEED = ("backend", "batch", "file", "p50, ms", "speed-up", "items/s", "throughput over FP32")


def main() -> None:
    checked = [cell for cell in read_run(Path(sys.argv[1])).cells if cell.opened]
    _print(ACCURACY, map(_accuracy, checked))
    for name in sys.argv[2:]:
        cells = [cell for cell in read_run(Path(name)).cells if cell.measured]
        _print(SPEED, [_speed(cell, _base(cell, cells)) for cell in cells])


def _print(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    numbers = (name.endswith((", %", "dB", "MB", "ms", "/s")) for name in head)
    for cells in (head, ["---:" if is_number else "---" for is_number in numbers], *rows):
        print("| " + " | ".join(cells) + " |")
    print()


def _base(cell: CellRecord, cells: Sequence[CellRecord]) -> CellRecord:
    """The FP32 row of the same backend and batch."""
    place = (cell.cell.backend, cell.cell.batch, "fp32")
    return next(each for each in cells if (each.cell.backend, each.cell.batch, each.cell.precision) == place)


def _values(cell: CellRecord, *names: str) -> Mapping[str, object]:
    row = Row(record=cell, base=None, host="")
    return {name: BY_NAME[name].value(row) for name in names}


def _accuracy(cell: CellRecord) -> tuple[str, ...]:
    drop = ("top1_drop", "top1_drop_ci_low", "top1_drop_ci_high")
    value = _values(cell, "artifact_mb", "top1", *drop, "agreement", "sqnr_db")
    own = ("", "", "") if _is_fp32(cell) else (_drop(value), _number(value["agreement"], 2), _number(value["sqnr_db"], 1))
    return (cell.cell.backend, _file(cell), _number(value["artifact_mb"], 2), _number(value["top1"], 2), *own)


def _speed(cell: CellRecord, base: CellRecord) -> tuple[str, ...]:
    value = _values(cell, "p50_ms", "throughput_per_s")
    pairs = (ratios(base, cell), paired(base, cell, "throughput"))
    gain, rate = ("1", "1") if cell is base else (_ratio(pair.interval) for pair in pairs)
    times = (_number(value["p50_ms"], 3), gain, _number(value["throughput_per_s"], 0), rate)
    return (cell.cell.backend, str(cell.cell.batch), _file(cell), *times)


def _is_fp32(cell: CellRecord) -> bool:
    return cell.cell.precision == "fp32"


def _file(cell: CellRecord) -> str:
    return "FP32" if _is_fp32(cell) else f"`{cell.cell.scheme}`"


def _number(value: object, decimals: int) -> str:
    return f"{value:,.{decimals}f}" if isinstance(value, int | float) else ""


def _drop(value: Mapping[str, object]) -> str:
    ends = [value[name] for name in ("top1_drop", "top1_drop_ci_low", "top1_drop_ci_high")]
    return "{:+.2f} ({:+.2f} to {:+.2f})".format(*ends) if ends[0] is not None else ""


def _ratio(interval: Interval | None) -> str:
    return f"{interval.middle:.2f} [{interval.low:.2f}, {interval.high:.2f}]" if interval else ""


if __name__ == "__main__":
    main()
