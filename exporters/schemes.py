"""INT8 schemes as data. Standard library only.

A backend names the schemes that it takes (`Backend.int8_schemes`), and a scheme says what it quantizes. To add a scheme, add an
entry here; static_int8.py and dynamic_int8.py read it. docs/quantization.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """A quantization scheme. Weights are signed and symmetric, with one scale per channel.

    - `text`: a phrase for the help of `--int8`. `activations`: quantized type of activations.
    - `dynamic`: the runtime computes the ranges of activations in each call, and no calibration is needed.
    - `operators`: the only operators that are quantized; empty for all that the quantizer supports, without the nodes that
      float_nodes.py finds. `float_outputs`: outputs of the graph stay in float.
    - `options`: settings of ONNX Runtime's quantizer.
    """

    text: str
    activations: str = "QInt8"
    dynamic: bool = False
    operators: tuple[str, ...] = ()
    float_outputs: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


_SYMMETRIC: Mapping[str, Any] = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "QDQDisableWeightAdjustForInt32Bias": True,
}
PORTABLE = "portable"
BEST = "best"  # in place of a scheme: the one that each backend chooses
SCHEMES: Mapping[str, Scheme] = {
    PORTABLE: Scheme(text="one file for every backend", float_outputs=True, options=_SYMMETRIC),
    "layers": Scheme(
        text="Conv, ConvTranspose, Gemm and MatMul alone",
        operators=LAYERS,
        float_outputs=True,
        options=_SYMMETRIC,
    ),
    "dynamic": Scheme(text="layers alone, with ranges from each call", activations="QUInt8", dynamic=True, operators=LAYERS),
    "ort": Scheme(text="what suits ONNX Runtime on x86", activations="QUInt8", options={"QDQKeepRemovableActivations": True}),
    "openvino": Scheme(text="what suits OpenVINO", activations="QUInt8"),
}
"""By the names of `bench export --int8`. The first one is the default."""
