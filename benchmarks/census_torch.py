"""PyTorch modules of the census, for the rows of torch-cpu. Workers import this file."""

from __future__ import annotations

import torch
from torch import nn


def make_perceptron() -> nn.Module:
    """Two layers with seeded weights, on [batch, 16]."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4)).eval()


def make_attention() -> nn.Module:
    """One encoder layer with seeded weights, on [batch, 12, 16]."""
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
