"""Operations of the ONNX files of three networks, against torch's own counter: `python benchmarks/flops.py`.

The CNN of the article, ResNet-50, and BERT-base of transformers made from its configuration (random weights). Prints both
counts; ends with 1 where they differ.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from networks import resnet50
from onnxbench.models.cnn import cnn
from onnxbench.runners.worker.work_jobs import work_of
from torch.utils.flop_counter import FlopCounterMode

BATCH, TOKENS = 2, 128


class Bert(torch.nn.Module):
    """BERT-base with one output."""

    def __init__(self) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        # `eager`: the products of attention as matrix products, which both counters see. The pooler is no part of the output,
        # so an export leaves it out.
        self.net = BertModel(BertConfig(attn_implementation="eager"), add_pooling_layer=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        return self.net(input_ids=ids, attention_mask=mask).last_hidden_state


def networks() -> Iterator[tuple[str, torch.nn.Module, dict[str, torch.Tensor]]]:
    """Name, module and inputs of each network."""
    yield "cnn", cnn(), {"x": torch.randn(BATCH, 3, 48, 48)}
    yield "resnet50", resnet50(), {"x": torch.randn(BATCH, 3, 224, 224)}
    ids = torch.randint(0, 1000, (BATCH, TOKENS))
    yield "bert-base", Bert(), {"ids": ids, "mask": torch.ones_like(ids)}


def main() -> int:
    """Count each network in both ways."""
    same = True
    for name, net, inputs in networks():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net.eval()(*inputs.values())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            torch.onnx.export(net, tuple(inputs.values()), str(path), dynamo=True, input_names=list(inputs), verbose=False)
            work = work_of(path, tuple((key, tuple(array.shape)) for key, array in inputs.items()))
        expected = counter.get_total_flops()
        same &= work.layer_flops == expected
        print(f"{name}: {work.layer_flops} operations in the file, {expected} by torch; {work.least_bytes} bytes at least")
        for reason in work.unknown:
            print(f"  not counted: {reason}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
