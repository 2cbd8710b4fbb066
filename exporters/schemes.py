"""INT8 schemes as data. Standard library only.

A backend names the schemes that it takes (`Backend.int8_schemes`), and a scheme says what it quantizes. To add a scheme, add an
entry here; static_int8.py and dynamic_int8.py read it. docs/quantization.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """A quantization scheme. Weights are signed and symmetric, with one scale per channel.

    - `weight_bits`: 8, or 7 for weights from -64 to 64. Two products of such weights and unsigned 8-bit values fit in a signed
      sum of 16 bits (2 x 64 x 255 = 32,640), which is what x86-64 CPUs without VNNI add in.

    - `text`: a phrase for the help of `--int8`. `activations`: quantized type of activations.
    - `dynamic`: the runtime computes the ranges of activations in each call, and no calibration is needed.
    - `operators`: the only operators that are quantized; empty for all that the quantizer supports, without the nodes that
      float_nodes.py finds. `float_outputs`: outputs of the graph stay in float.
    - `options`: settings of ONNX Runtime's quantizer.
    - `care`: place among the schemes for every runtime, from the fastest to the most careful; None for a scheme that suits one
      runtime.
    """

    text: str
    activations: str = "QInt8"
    weight_bits: int = 8
    dynamic: bool = False
    operators: tuple[str, ...] = ()
    float_outputs: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    care: int | None = None


_SYMMETRIC: Mapping[str, Any] = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "QDQDisableWeightAdjustForInt32Bias": True,
}
PORTABLE = "portable"
_PORTABLE = Scheme(text="one file for every backend", float_outputs=True, options=_SYMMETRIC, care=1)
_OPENVINO = Scheme(text="what suits OpenVINO", activations="QUInt8")
BEST = "best"  # in place of a scheme: the one that each backend chooses
SCHEMES: Mapping[str, Scheme] = {
    PORTABLE: _PORTABLE,
    "layers": Scheme(
        text="Conv, ConvTranspose, Gemm and MatMul alone",
        operators=LAYERS,
        float_outputs=True,
        options=_SYMMETRIC,
        care=2,
    ),
    "dynamic": Scheme(
        text="layers alone, with ranges from each call", activations="QUInt8", dynamic=True, operators=LAYERS, care=3
    ),
    "ort": Scheme(text="what suits ONNX Runtime on x86", activations="QUInt8", options={"QDQKeepRemovableActivations": True}),
    "openvino": _OPENVINO,
    "litert": Scheme(text="the types of LiteRT, whose converter quantizes the FP32 file by itself", activations="QInt8"),
    "portable-7bit": replace(_PORTABLE, text="portable with weights of 7 bits, for x86-64 CPUs without VNNI", weight_bits=7),
    "openvino-7bit": replace(_OPENVINO, text="openvino with weights of 7 bits, for x86-64 CPUs without VNNI", weight_bits=7),
}
"""By the names of `bench export --int8`. The first one is the default."""


def by_care(fastest: str, schemes: Sequence[str]) -> tuple[str, ...]:
    """The schemes of a runtime from its `fastest` to the most careful, among those that it takes (`schemes`).

    Schemes that suit another runtime are left out: this one may take them, and be slow. So are those whose weights have another
    number of bits.
    """
    bits = SCHEMES[fastest].weight_bits if fastest in SCHEMES else 8
    others = [name for name in schemes if name != fastest and SCHEMES[name].weight_bits == bits]
    general = [name for name in others if SCHEMES[name].care is not None]
    return (*([fastest] if fastest in schemes else []), *sorted(general, key=lambda name: SCHEMES[name].care or 0))
