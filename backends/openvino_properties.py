"""Properties of OpenVINO on the CPU, for OpenVINO itself and for its provider in ONNX Runtime. Standard library only."""

from __future__ import annotations

from typing import Any

from ..spec import Concurrency


def cpu_properties(hint: str, concurrency: Concurrency) -> dict[str, Any]:
    """Properties that compile a model for `concurrency` in the arithmetic `hint`; an empty hint leaves it to OpenVINO."""
    precision = {"INFERENCE_PRECISION_HINT": hint} if hint else {}
    # By default (32) OpenVINO rounds the activations of layers with compressed weights to 8 bits, in groups of 32 values.
    return {**precision, **parallel_properties(concurrency), "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


def parallel_properties(concurrency: Concurrency) -> dict[str, Any]:
    """Properties for the streams and threads of `concurrency`."""
    # INFERENCE_NUM_THREADS is the sum over all streams; without pinning, the process's affinity mask alone chooses the cores
    return {
        "NUM_STREAMS": concurrency.streams,
        "INFERENCE_NUM_THREADS": concurrency.streams * concurrency.threads,
        "ENABLE_CPU_PINNING": False,
    }


def concurrencies(threads: int) -> tuple[Concurrency, ...]:
    """List numbers of streams that divide `threads`, each with one and with two infer requests per stream.

    With two requests a stream has the next request ready when it ends one.
    """
    streams = [count for count in range(1, threads + 1) if threads % count == 0]
    pairs = [(lanes * count, count) for count in streams for lanes in (1, 2)]
    return tuple(Concurrency(lanes=lanes, streams=count, threads=threads // count) for lanes, count in pairs)
