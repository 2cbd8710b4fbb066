"""The CNN of the article: three convolutions and two dense layers, for 3x48x48 images of ten classes.

Max pooling and then ReLU follow each convolution, in this order. The usual order is ReLU first. Both orders give the same
values, but runtimes fuse them differently and run them at different speeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

CHANNELS = (3, 64, 128, 256)
SIDE, HIDDEN, CLASSES = 48, 512, 10


def cnn() -> nn.Module:
    """Make the untrained network: float32 [N, 3, 48, 48] -> logits float32 [N, 10]."""
    from torch import nn

    features: list[nn.Module] = []
    for outputs, inputs in zip(CHANNELS[1:], CHANNELS):
        features += [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
    flat = CHANNELS[-1] * (SIDE // 2 ** (len(CHANNELS) - 1)) ** 2
    classifier = [nn.Flatten(), nn.Linear(flat, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)]
    return nn.Sequential(*features, *classifier)
