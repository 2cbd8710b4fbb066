"""Small graphs whose answers show the arithmetic of an execution provider of ONNX Runtime. NumPy only.

A provider repeats the options that it was given, and not those that it follows. So its arithmetic is measured. A one with one
more bit at its end survives a multiplication by one only if the arithmetic has that bit. Products that sum up to zero do so
exactly in integers, and leave a rounding error in floats.

The graphs are encoded here, because a worker has no onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .protocol import Array, join_types

Run = Callable[[bytes, Array], Array]
"""Runs a model with one input `x` and one output, and returns the output."""

SIZE, ITEMS = 64, 8
FP32_BITS, HALF_BITS, BF16_BITS = 23, 10, 7  # of the significand, without the leading one
LARGE = 2.0**17  # above the largest value of FP16
TYPE_NUMBERS = {"float32": 1, "int8": 3}  # of TensorProto.DataType
LENGTH_DELIMITED, MORE = 2, 0x80  # of the encoding of protobuf


def float_types(run: Run) -> str:
    """Types in which a provider multiplies matrices and convolves: `fp32`, or `tf32+fp32` where they differ."""
    ones = np.eye(SIZE, dtype=np.float32)
    rows = np.ones((ITEMS, SIZE), np.float32)
    rows[0] = 1 + 2.0 ** -np.arange(SIZE)
    rows[1] = LARGE
    images, kernel = rows.reshape(ITEMS, SIZE, 1, 1), ones.reshape(SIZE, SIZE, 1, 1)
    answers = (run(_product("MatMul", rows, ones), rows), run(_product("Conv", images, kernel), images))
    return join_types(_type(answer.reshape(ITEMS, SIZE)) for answer in answers)


def _type(answer: Array) -> str:
    """Type whose digits and range `answer` has."""
    # equal, and not only unlike one: rounding may bring a lost bit back as the one before it
    bits = max((bit for bit in range(1, FP32_BITS + 1) if answer[0, bit] == 1 + 2.0**-bit), default=0)
    half = "tf32" if np.array_equal(answer[1], np.full(SIZE, LARGE)) else "fp16"
    return {FP32_BITS: "fp32", HALF_BITS: half, BF16_BITS: "bf16"}.get(bits, f"{bits}-bit")


def computes_int8(run: Run) -> bool:
    """True if a provider multiplies quantized matrices in integers."""
    generator = np.random.default_rng(0)
    first, second, third = generator.integers(1, 11, (3, SIZE // 2))
    factors = generator.integers(1, 12, (SIZE // 2, SIZE))
    # each pair of products is (first * second) * (third * factor) - (first * third) * (second * factor)
    row = np.stack([first * second, first * third], axis=1).reshape(SIZE)
    weights = np.stack([third[:, None] * factors, -second[:, None] * factors], axis=1).reshape(SIZE, SIZE).astype(np.int8)
    scale = np.float32(0.1)
    rows = np.tile(row * scale, (ITEMS, 1)).astype(np.float32)
    return not run(_quantized_product(rows, weights, scale), rows).any()


def _quantized_product(rows: Array, weights: Array, scale: Any) -> bytes:
    nodes = (
        _node("QuantizeLinear", ("x", "scale", "zero"), "q"),
        _node("DequantizeLinear", ("q", "scale", "zero"), "left"),
        _node("DequantizeLinear", ("weights", "weights_scale", "zero"), "right"),
        _node("MatMul", ("left", "right"), "y"),
    )
    values = {
        "scale": np.asarray(scale),
        "zero": np.asarray(0, np.int8),
        "weights_scale": np.asarray(0.03, np.float32),
        "weights": weights,
    }
    return _model(nodes, values, rows)


def _product(operator: str, left: Array, right: Array) -> bytes:
    return _model((_node(operator, ("x", "w"), "y"),), {"w": right}, left)


def _model(nodes: Iterable[bytes], values: dict[str, Array], like: Array) -> bytes:
    """A ModelProto from `x` to `y`, both of the shape of `like`."""
    graph = [*(_field(1, node) for node in nodes), _field(2, b"trial")]
    graph += [_field(5, _tensor(name, value)) for name, value in values.items()]
    graph += [_field(11, _port("x", like)), _field(12, _port("y", like))]
    return _number(1, 8) + _field(7, b"".join(graph)) + _field(8, _number(2, 17))


def _node(operator: str, inputs: Iterable[str], output: str) -> bytes:
    names = b"".join(_field(1, name.encode()) for name in inputs)
    return names + _field(2, output.encode()) + _field(3, output.encode()) + _field(4, operator.encode())


def _tensor(name: str, value: Array) -> bytes:
    shape = b"".join(_number(1, size) for size in value.shape)
    return shape + _number(2, TYPE_NUMBERS[str(value.dtype)]) + _field(8, name.encode()) + _field(9, value.tobytes())


def _port(name: str, like: Array) -> bytes:
    shape = b"".join(_field(1, _number(1, size)) for size in like.shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, TYPE_NUMBERS[str(like.dtype)]) + _field(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    low, high = value % MORE, value // MORE
    return bytes([low | MORE]) + _varint(high) if high else bytes([low])
