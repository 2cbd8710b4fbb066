"""What TensorRT runs, layer by layer, from its own engine inspector. Standard library only.

The inspector names every layer of the engine after all fusions, with the types of its inputs and outputs and the kernel that
was chosen; a kernel that rounds to TF32 has it in its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ..evidence import Kernel

TYPES = (
    (re.compile(r"\bint8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\b(fp16|half)\b", re.IGNORECASE), "fp16"),
    (re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE), "bf16"),
    (re.compile(r"\b(fp32|float)\b", re.IGNORECASE), "fp32"),
)
LAYER = re.compile(r"conv(?!ert)|gemm|matrix.?mul|fully.?connected|attention|mha|rnn", re.IGNORECASE)
MOVES = re.compile(
    r"^(reformat|noop|no_op|constant|shuffle|slice|concat\w*|copy|cast|identity|gather\w*|scatter\w*|shape\w*|signal|wait|fill|padding)$",
    re.IGNORECASE,
)
TF32 = re.compile(r"tf32", re.IGNORECASE)


def read(text: str, times_ns: Mapping[str, Sequence[int]]) -> tuple[Kernel, ...]:
    """The layers in the inspector's JSON `text`, each with its median time where `times_ns` has any by its name."""
    layers = json.loads(text, strict=False)["Layers"]  # names of fused layers hold control characters
    return tuple(_kernel(layer, times_ns) for layer in layers if isinstance(layer, dict))


def _kernel(layer: Mapping[str, Any], times_ns: Mapping[str, Sequence[int]]) -> Kernel:
    operator, name = str(layer.get("LayerType", "")), str(layer.get("Name", ""))
    moves = bool(MOVES.match(operator))
    took = times_ns.get(name)
    return Kernel(
        node=name,
        operator=operator,
        type="" if moves else _type(layer),
        layer=bool(LAYER.search(operator)) and not moves,
        ns=int(median(took)) if took else None,
    )


def _type(layer: Mapping[str, Any]) -> str:
    """What a layer computes in: the type of its first input that has one, and TF32 where its kernel says so."""
    tensors = [*layer.get("Inputs", ()), *layer.get("Outputs", ())]
    formats = [str(tensor.get("Format/Datatype", "")) for tensor in tensors if isinstance(tensor, dict)]
    found = next((name for text in formats for pattern, name in TYPES if pattern.search(text)), "")
    return "tf32" if found == "fp32" and TF32.search(str(layer.get("TacticName", ""))) else found
