"""Networks with seeded weights for benchmarks. Workers import this file."""

from __future__ import annotations

import torch
from torch import nn

BLOCKS = (3, 4, 6, 3)


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut, and a Relu of their sum."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.path = nn.Sequential(
            *(*convolution(inputs, width, 1), nn.ReLU()),
            *(*convolution(width, width, 3, stride), nn.ReLU()),
            *convolution(width, outputs, 1),
        )
        is_same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if is_same else nn.Sequential(*convolution(inputs, outputs, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.path(x) + self.shortcut(x))


def convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), nn.BatchNorm2d(outputs)


def resnet50() -> nn.Module:
    layers: list[nn.Module] = [*convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, count in enumerate(BLOCKS):
        for number in range(count):
            width = 64 << stage
            layers.append(Bottleneck(inputs, width, 2 if stage and not number else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def make_residual() -> nn.Module:
    """Two blocks with residual connections, one of them with a convolution beside it, on images of any size."""
    torch.manual_seed(0)
    head = (*convolution(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2))
    blocks = Bottleneck(16, 8, 1), Bottleneck(32, 8, 1)
    return nn.Sequential(*head, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).eval()


def make_transformer() -> nn.Module:
    """Two encoder layers with GELU, on [batch, time, 64]."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 4, 128, activation="gelu", batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(64, 10)).eval()
