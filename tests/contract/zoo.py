"""Small models of every kind of input, kept as `nn.Module` and, through the exporter, as ONNX."""

from dataclasses import dataclass

import torch
from onnxbench.models.cnn import cnn
from onnxbench.spec import TensorSpec
from torch import nn


class Sum(nn.Module):
    """Two inputs that share their batch."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, a, b):
        return torch.relu(self.left(a)) + self.right(b)


class Embedding(nn.Module):
    """Integer ids into a table."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(50, 8), nn.Linear(8, 3)

    def forward(self, ids):
        return self.head(self.table(ids).sum(1))  # TensorRT 8.6 does not see the axes of opset 18's ReduceMean


class Masked(nn.Module):
    """A second dynamic dimension, and a mask of booleans."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, tokens, mask):
        weight = mask.to(tokens.dtype).unsqueeze(-1)
        return (torch.tanh(self.mix(tokens)) * weight).sum(1)


class Scaled(nn.Module):
    """A scalar beside a batch, and several outputs, one of them of integers."""

    def forward(self, x, scale):
        y = x * scale
        return y, y.sum(1), y.argmax(1)


class Offsets(nn.Module):
    """Two integer inputs of different widths."""

    def forward(self, small, large):
        return small.to(torch.int64) * 3 + large


class Recurrent(nn.Module):
    """One step of two states."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(3, 5), nn.Linear(5, 5)

    def forward(self, x, h, c):
        h = torch.tanh(self.left(x) + self.right(h))
        c = c * 0.5 + h
        return c.sum(1), h, c


def _seeded(kind):
    def build():
        torch.manual_seed(1)
        return kind()

    return build


seeded_cnn, two_inputs, embedding = _seeded(cnn), _seeded(Sum), _seeded(Embedding)
masked, scaled, offsets, recurrent = _seeded(Masked), _seeded(Scaled), _seeded(Offsets), _seeded(Recurrent)


def spec(name, *shape, dtype="float32"):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@dataclass(frozen=True)
class Specimen:
    """A factory in this module, its inputs, and the sizes of its dimensions beside the batch."""

    factory: str
    inputs: tuple
    sizes: tuple = ()

    def shapes(self, batch):
        known = {"batch": batch, **dict(self.sizes)}
        return tuple((s.name, tuple(known.get(dim, dim) for dim in s.shape)) for s in self.inputs)


EXACT = {"mnn-cpu": (("winograd", "2"),)}
"""Options with which a runtime rounds as others do: by default MNN's convolutions lose 45 dB for speed."""

REFUSED = {
    "ncnn-cpu": {
        "embedding": "Gather",
        "masked": "bool",
        "scaled": "scale",
        "recurrent": "axis",
        "offsets": "Tensor.to",
    },
    "mnn-cpu": {"int8": "SIGABRT"},
}
"""Specimens, and precisions of the CNN, that a runtime's converter does not take, with a word of the reason that is given."""

SPECIMENS = {
    specimen.factory: specimen
    for specimen in (
        Specimen("seeded_cnn", (spec("input", "batch", 3, 48, 48),)),
        Specimen("two_inputs", (spec("a", "batch", 4), spec("b", "batch", 5))),
        Specimen("embedding", (spec("ids", "batch", 6, dtype="int64"),)),
        Specimen("masked", (spec("tokens", "batch", "seq", 4), spec("mask", "batch", "seq", dtype="bool")), (("seq", 7),)),
        Specimen("scaled", (spec("x", "batch", 3), spec("scale"))),
        Specimen("recurrent", (spec("x", "batch", 3), spec("h", "batch", 5), spec("c", "batch", 5))),
        Specimen("offsets", (spec("small", "batch", 2, dtype="int32"), spec("large", "batch", 2, dtype="int64"))),
    )
}
