"""Small networks of the kinds that users export: residual, vision transformer, text transformer."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.n = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8)

    def forward(self, x):
        return torch.relu(x + self.b(torch.nn.functional.hardswish(self.n(self.a(x)))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(3, 8, 3, stride=2), Block(), nn.Linear(8, 5)

    def forward(self, x):
        x = torch.nn.functional.interpolate(self.block(self.stem(x)), scale_factor=2.0, mode="bilinear")
        return self.head(x.mean((2, 3)))


def gelu(x):
    """A function of its own: torch's encoder takes its fused operator, which has no ONNX form, for its own gelu."""
    return nn.functional.gelu(x)


class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.place = nn.Conv2d(3, 16, 8, stride=8), nn.Parameter(torch.randn(1, 17, 16))
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, activation=gelu, batch_first=True, norm_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 5)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], 1) + self.place
        return self.head(self.layers(tokens)[:, 0])


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50, 16), nn.Embedding(12, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, activation=nn.GELU("tanh"), batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        return self.layers(torch.nn.functional.normalize(x, dim=-1)).amax(1)
