"""Throughput of INT8 over that of FP32, in turns, in one run.

    python benchmarks/int8.py FP32.onnx INT8.onnx [ROUNDS] [BATCH ...]

On each CPU runtime that has INT8, both with the settings that the search finds for them. Ratios are INT8 over FP32, paired by
round; beside them is the CPU's word on its units for 8 bits, without which there is little to gain.
"""

from __future__ import annotations

import random
import sys
from statistics import median

from onnxbench.runners.pool import host
from tool import BenchmarkCell, ratio, told

SECONDS = 0.5
BACKENDS = ("ort-cpu", "openvino-cpu")


def compare(backend: str, files: tuple[str, str], batch: int, rounds: int) -> None:
    fp32, int8 = files
    with BenchmarkCell(backend, fp32, batch) as base, BenchmarkCell(backend, int8, batch) as quantized:
        settings = [cell.warm(search=True) for cell in (base, quantized)]
        rates: dict[BenchmarkCell, list[float]] = {base: [], quantized: []}
        for _ in range(rounds):
            for cell in random.sample((base, quantized), 2):
                rates[cell].append(cell.throughput(SECONDS))
        print(f"{backend}, batch {batch}: INT8 over FP32 {told(ratio(rates[quantized], rates[base]))}")
        for name, cell, how in zip(("fp32", "int8"), rates, settings):
            print(f"    {name}: {median(rates[cell]):.0f} items/s with {how}", flush=True)


def main() -> None:
    files, rounds = (sys.argv[1], sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 20
    random.seed(0)
    machine = host.describe()
    print(f"{machine.cpu}: {' '.join(machine.isa or ())}")
    for batch in [int(text) for text in sys.argv[4:]] or [32]:
        for backend in BACKENDS:
            compare(backend, files, batch, rounds)


if __name__ == "__main__":
    main()
