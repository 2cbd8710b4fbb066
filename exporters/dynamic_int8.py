"""INT8 with weights in 8 bits, and ranges of activations that the runtime computes in each call.

ONNX Runtime's quantizer, inside a function; run in a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .schemes import Scheme
from .static_int8 import is_external


def quantize(prepared: Path, target: Path, scheme: Scheme, exclude: Sequence[str], only: Sequence[str]) -> None:
    """Write a prepared file to `target`. `only`: nodes to quantize; empty for all layers."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        prepared,
        target,
        op_types_to_quantize=list(scheme.operators),
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=list(only),
        nodes_to_exclude=list(exclude),
        use_external_data_format=is_external(prepared),
        extra_options={"WeightSymmetric": True},
    )
