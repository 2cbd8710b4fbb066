"""Layers of a TensorRT engine, read from the JSON of its inspector. Standard library only.

The inspector lists the layers after all fusions, each with the types of its inputs and outputs and the name of its kernel.
The name of a kernel that computes in TF32 contains `tf32`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ..evidence import Kernel

TYPE_PATTERNS = (
    (re.compile(r"\bint8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\b(fp16|half)\b", re.IGNORECASE), "fp16"),
    (re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE), "bf16"),
    (re.compile(r"\b(fp32|float)\b", re.IGNORECASE), "fp32"),
)
TENSORRT_LAYERS = re.compile(r"conv(?!ert)|gemm|matrix.?mul|fully.?connected|attention|mha|rnn", re.IGNORECASE)
TENSORRT_MOVES = re.compile(
    r"^(reformat|noop|no_op|constant|shuffle|slice|concat\w*|copy|cast|identity|gather\w*|scatter\w*|shape\w*|signal|wait|fill|padding)$",
    re.IGNORECASE,
)
TF32 = re.compile(r"tf32", re.IGNORECASE)


def read_layers(text: str, times_ns: Mapping[str, Sequence[int]]) -> tuple[Kernel, ...]:
    """Read the layers from the inspector's JSON `text`, each with the median of its `times_ns`, None for a layer without."""
    layers = json.loads(text, strict=False)["Layers"]  # names of fused layers contain control characters
    # an engine that was built without detailed verbosity has plain strings in the list
    return tuple(_kernel(layer, times_ns) for layer in layers if isinstance(layer, dict))


def _kernel(layer: Mapping[str, Any], times_ns: Mapping[str, Sequence[int]]) -> Kernel:
    operator, name = str(layer.get("LayerType", "")), str(layer.get("Name", ""))
    moves = bool(TENSORRT_MOVES.match(operator))
    times = times_ns.get(name)
    return Kernel(
        node=name,
        operator=operator,
        type="" if moves else _type(layer),
        layer=bool(TENSORRT_LAYERS.search(operator)) and not moves,
        ns=int(median(times)) if times else None,
    )


def _type(layer: Mapping[str, Any]) -> str:
    """Type that a layer computes in: that of its first typed tensor, and `tf32` for an FP32 kernel with TF32 in its name."""
    tensors = [*layer.get("Inputs", ()), *layer.get("Outputs", ())]
    formats = [str(tensor.get("Format/Datatype", "")) for tensor in tensors if isinstance(tensor, dict)]
    type = next((name for text in formats for pattern, name in TYPE_PATTERNS if pattern.search(text)), "")
    return "tf32" if type == "fp32" and TF32.search(str(layer.get("TacticName", ""))) else type
