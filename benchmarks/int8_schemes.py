"""INT8 schemes of one model by runtime, as a table: each row beside the FP32 row of its backend and batch in the same run.

    bench infer --int8 portable,layers,dynamic,ort,openvino --precision fp32,int8 --batch 1 --out run
    bench check --int8 portable,layers,dynamic,ort,openvino --precision fp32,int8 --batch 32 --out check
    python benchmarks/int8_schemes.py check run ...

Accuracy comes from the check, which uses all labelled images.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from onnxbench.results.stats.intervals import Interval
from onnxbench.results.store.record import CellRecord, read_run
from onnxbench.results.store.series import paired, ratios
from onnxbench.results.table.columns import BY_NAME
from onnxbench.results.table.row import Row

HEAD = ("backend", "batch", "file", "MB", "top-1, %", "drop, points (95 %)", "SQNR, dB", "p50, ms", "speed-up")
HEAD = (*HEAD, "items/s", "throughput over FP32")


def main() -> None:
    checked = {_file(cell): cell for cell in read_run(Path(sys.argv[1])).cells}
    cells = [cell for name in sys.argv[2:] for cell in read_run(Path(name)).cells if cell.measured]
    print("| " + " | ".join(HEAD) + " |")
    print("|---" * 3 + "|---:" * 2 + "|---" + "|---:" * 2 + "|---" + "|---:" + "|---|")
    for cell in cells:
        base = next((each for each in cells if _place(each) == _place(cell) and each.cell.precision == "fp32"), cell)
        print("| " + " | ".join(_texts(cell, base, checked[_file(cell)])) + " |")


def _place(cell: CellRecord) -> tuple[str, int]:
    return cell.cell.backend, cell.cell.batch


def _file(cell: CellRecord) -> tuple[str, str, str]:
    return cell.cell.backend, cell.cell.precision, cell.cell.scheme


def _texts(cell: CellRecord, base: CellRecord, checked: CellRecord) -> Iterator[str]:
    row, accuracy = (Row(record=record, base=base, host="") for record in (cell, checked))
    value = {name: BY_NAME[name].value(row) for name in SPEED} | {name: BY_NAME[name].value(accuracy) for name in ACCURACY}
    is_base = cell is base
    yield from (cell.cell.backend, str(cell.cell.batch), "FP32" if is_base else f"`{cell.cell.scheme}`")
    yield from (_number(value["artifact_mb"], 2), _number(value["top1"], 2), "" if is_base else _drop(value))
    yield from ("" if is_base else _number(value["sqnr_db"], 1), _number(value["p50_ms"], 3))
    yield "1" if is_base else _ratio(ratios(base, cell).interval)
    yield _number(value["throughput_per_s"], 0)
    yield "1" if is_base else _ratio(paired(base, cell, "throughput").interval)


def _number(value: object, decimals: int) -> str:
    return f"{value:,.{decimals}f}" if isinstance(value, int | float) else ""


def _drop(value: dict[str, object]) -> str:
    middle, low, high = (value[name] for name in ("top1_drop", "top1_drop_ci_low", "top1_drop_ci_high"))
    return f"{middle:+.2f} ({low:+.2f} to {high:+.2f})" if middle is not None else ""


def _ratio(interval: Interval | None) -> str:
    return f"{interval.middle:.2f} [{interval.low:.2f}, {interval.high:.2f}]" if interval else ""


ACCURACY = ("top1", "top1_drop", "top1_drop_ci_low", "top1_drop_ci_high", "sqnr_db")
SPEED = ("artifact_mb", "p50_ms", "throughput_per_s")

if __name__ == "__main__":
    main()
