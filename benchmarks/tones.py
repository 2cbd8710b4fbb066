"""Synthetic music for a model of sound: decaying notes with overtones, and noise far below them.

    python benchmarks/tones.py MODEL.onnx TONES.npz [ITEMS] [SEED] [RATE]
    bench export --model MODEL.onnx --precision int8 --calibration TONES.npz

The model has one input [batch, samples] or [batch, samples, 1]. RATE is in Hz, 22,050 by default.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx

LOWEST_HZ, OCTAVES, OVERTONES = 27.5, 6.5, 8


def item(generator: np.random.Generator, samples: int, rate: float) -> np.ndarray:
    """Two to seven notes that begin at random times."""
    times = np.arange(samples) / rate
    sound = generator.standard_normal(samples) * 10 ** generator.uniform(-4, -2.5)
    for _ in range(generator.integers(2, 8)):
        pitch = LOWEST_HZ * 2 ** generator.uniform(1, OCTAVES)
        since = times - generator.uniform(0, 0.8 * times[-1])
        loudness = generator.uniform(0.05, 0.4) * np.where(
            since > 0, np.exp(-generator.uniform(1, 5) * np.maximum(since, 0)), 0
        )
        for number in range(1, OVERTONES + 1):
            if number * pitch < rate / 2:
                phase = generator.uniform(0, 2 * np.pi)
                sound += loudness / number ** generator.uniform(1, 2) * np.sin(2 * np.pi * number * pitch * times + phase)
    return sound.astype(np.float32)


def main() -> None:
    model, target = Path(sys.argv[1]), Path(sys.argv[2])
    items, seed, rate = (int(text) for text in (*sys.argv[3:], *("16", "0", "22050")[len(sys.argv) - 3 :]))
    entry = onnx.load(model).graph.input[0]
    sizes = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    generator = np.random.default_rng(seed)
    sounds = [item(generator, sizes[1], rate).reshape(sizes[1:]) for _ in range(items)]
    np.savez(target, **{entry.name: np.stack(sounds)})


if __name__ == "__main__":
    main()
