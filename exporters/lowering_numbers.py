"""Rules for operators that compute: activations, normalizations, quantization, and types that older operators lack.

NumPy; onnx inside functions. Run in a worker.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from .lowering_site import Site

EIGHT_BITS = "older opsets quantize to int8 and uint8 only, for a whole tensor or for an axis"


def gelu(site: Site) -> None:
    """Gelu (20): its formula, in the form that runtimes fuse."""
    x = site.input(0)
    half, one = site.like(0.5), site.like(1.0)
    if site.attribute("approximate", "none") == "tanh":
        cube = site.add("Mul", [site.add("Mul", [x, x]), x])
        inner = site.add("Add", [x, site.add("Mul", [cube, site.like(0.044715)])])
        gate = site.add("Tanh", [site.add("Mul", [inner, site.like(sqrt(2 / pi))])])
    else:
        gate = site.add("Erf", [site.add("Div", [x, site.like(sqrt(2))])])
    site.finish("Mul", [site.add("Mul", [x, site.add("Add", [gate, one])]), half])


def _normalized(site: Site, x: str, scale: str, bias: str) -> str:
    """`x` [N, groups, rest] normalized by group, with a `scale` and a `bias` for each group."""
    epsilon = site.attribute("epsilon", 1e-5)
    return site.add("InstanceNormalization", [x, scale, bias], epsilon=epsilon)


def group_norm_by_group(site: Site) -> None:
    """GroupNormalization (18), which has a scale and a bias for each group."""
    x, groups = site.input(0), site.attribute("num_groups")
    flat = site.add("Reshape", [x, site.const([0, groups, -1])])
    flat = _normalized(site, flat, site.input(1), site.input(2))
    site.finish("Reshape", [flat, site.add("Shape", [x])])


def group_norm_by_channel(site: Site) -> None:
    """GroupNormalization (21), which has a scale and a bias for each channel, and may compute in another type."""
    from onnx import TensorProto

    x, groups, rank = site.input(0), site.attribute("num_groups"), site.rank(0)
    kind, stash = site.type_of(0), site.attribute("stash_type", int(TensorProto.FLOAT))
    cast = kind != stash
    flat = site.add("Reshape", [site.add("Cast", [x], to=stash) if cast else x, site.const([0, groups, -1])])
    one, zero = (site.const(np.full(groups, value), np.float32) for value in (1, 0))
    if stash != TensorProto.FLOAT:
        one, zero = (site.add("Cast", [name], to=stash) for name in (one, zero))
    flat = _normalized(site, flat, one, zero)
    back = site.add("Reshape", [flat, site.add("Shape", [x])])
    back = site.add("CastLike", [back, x]) if cast else back
    wide = site.const([-1] + [1] * (rank - 2))
    scale, bias = (site.add("Reshape", [site.input(index), wide]) for index in (1, 2))
    site.finish("Add", [site.add("Mul", [back, scale]), bias])


def reduce_bool(site: Site) -> None:
    """ReduceMax and ReduceMin (20) of booleans: those of 0 and 1."""
    from onnx import TensorProto

    if site.type_of(0) != TensorProto.BOOL:
        return site.keep()
    numbers = site.add("Cast", [site.input(0)], to=TensorProto.UINT8)
    attributes = site.attributes()
    reduced = site.add(site.node.op_type, [numbers, *site.node.input[1:]], **attributes)
    return site.finish("Cast", [reduced], to=TensorProto.BOOL)


def is_inf(site: Site) -> None:
    """IsInf (20) of 16-bit floats: that of the same values in 32 bits."""
    from onnx import TensorProto

    if site.type_of(0) in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        return site.keep([site.add("Cast", [site.input(0)], to=TensorProto.FLOAT)])
    return site.keep()


def bitwise_not(site: Site) -> None:
    """BitwiseNot (18): the largest value minus x, or -1 - x for a signed type."""
    from onnx import TensorProto, helper

    kind = site.type_of(0)
    if not kind:
        site.refuse("the type of its input is unknown")
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    largest = int(np.iinfo(dtype).max) if dtype.kind == "u" and dtype.itemsize < 8 else -1
    whole = site.add("Cast", [site.input(0)], to=TensorProto.INT64)
    site.finish("Cast", [site.add("Sub", [site.const(largest), whole])], to=kind)


def has_element(site: Site) -> None:
    """OptionalHasElement (18) of a tensor, or of nothing: a constant."""
    from onnx import numpy_helper

    value = site.scope.types.get(site.input(0))
    if site.input(0) and (value is None or value.HasField("optional_type")):
        return site.keep()
    return site.finish("Constant", [], value=numpy_helper.from_array(np.array(bool(site.input(0)))))


def get_element(site: Site) -> None:
    """OptionalGetElement (18) of a value that is not optional: the value itself."""
    value = site.scope.types.get(site.input(0))
    if value is None or value.HasField("optional_type"):
        return site.keep()
    return site.finish("Identity", [site.input(0)])


def _check_granularity(site: Site) -> None:
    """Refuse a node that quantizes by blocks."""
    scale = site.shape(1)
    if site.attribute("block_size", 0) or (scale is not None and len(scale) > 1):
        site.refuse(f"it quantizes blocks; {EIGHT_BITS}", "quantize for a whole tensor or for each channel")


def _in_float(site: Site, index: int) -> str:
    """An input in 32-bit float."""
    from onnx import TensorProto

    if site.type_of(index) in (0, TensorProto.FLOAT):
        return site.input(index)
    return site.add("Cast", [site.input(index)], to=TensorProto.FLOAT)


NEWER = ("saturate", "block_size", "output_dtype", "precision")


def quantize(site: Site) -> None:
    """QuantizeLinear (19 and later): floats of 32 bits, for a tensor or for an axis."""
    from onnx import TensorProto, helper

    _check_granularity(site)
    inputs = [site.input(0) if site.type_of(0) == TensorProto.INT32 else _in_float(site, 0), _in_float(site, 1), site.input(2)]
    kind = site.attribute("output_dtype", 0)
    if kind and not inputs[2]:
        if kind not in (TensorProto.INT8, TensorProto.UINT8):
            site.refuse(EIGHT_BITS, "quantize to int8")
        scale = site.shape(1)
        if scale is None or None in scale:
            site.refuse("it has no zero point, and the shape of its scale is unknown")
        inputs[2] = site.const(np.zeros([dim or 0 for dim in scale]), helper.tensor_dtype_to_np_dtype(kind))
    site.keep(inputs, NEWER)


def matmul_scales(site: Site) -> None:
    """QLinearMatMul (21): scales of 32 bits."""
    inputs = list(site.node.input)
    for index in (1, 4, 6):
        inputs[index] = _in_float(site, index)
    site.keep(inputs)


def dequantize(site: Site) -> None:
    """DequantizeLinear (19 and later): a scale of 32 bits, and a Cast to the requested type."""
    from onnx import TensorProto

    _check_granularity(site)
    kind = site.attribute("output_dtype", 0) or site.type_of(1)
    inputs = [site.input(0), _in_float(site, 1), site.input(2)]
    if kind in (0, TensorProto.FLOAT):
        return site.keep(inputs, NEWER)
    attributes = {name: value for name, value in site.attributes().items() if name not in NEWER}
    made = site.add("DequantizeLinear", [name for name in inputs if name], **attributes)
    return site.finish("Cast", [made], to=kind)
