"""Anybody's ONNX file: is it whole, what goes in and out, and in which precision is it. onnx, inside functions.

Run in a worker, so that a file that crashes a parser costs one worker and no memory of the parent.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput, Unsupported, one_line, shown
from ..spec import Artifact, TensorSpec
from ..untrusted import is_plain
from . import quantized

if TYPE_CHECKING:
    import onnx

CHUNK = 1 << 20
LONGEST_NUMBER = 19  # digits that 63 bits hold


def describe(path: Path, *, model: str, full_check: bool = False) -> Artifact:
    """Read and check the file at `path`. `BadInput` says what is wrong with it, `Unsupported` what is not taken.

    `full_check` adds strict shape inference, which files of other makers often fail though every runtime takes them.
    """
    proto = _parse(path)
    external = _external_files(proto, path)
    _check(path, full_check)
    initial = {tensor.name for tensor in proto.graph.initializer}
    heights, precision = _table_heights(proto), _precision(proto)
    in_8_bits, in_float = quantized.layers(proto.graph)
    return Artifact(
        model=model,
        precision=precision,
        path=str(path),
        sha256=digest_files([path, *external]),
        nbytes=sum(file.stat().st_size for file in (path, *external)),
        opset=next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0),
        inputs=tuple(_tensor(value, heights) for value in proto.graph.input if value.name not in initial),
        outputs=tuple(_tensor(value, {}) for value in proto.graph.output),
        nodes=len(proto.graph.node),
        quantized_layers=in_8_bits,
        float_layers=in_float,
        obstacle=quantized.obstacle(proto.graph, path.parent) if precision == "int8" else None,
    )


def file_hash(path: Path) -> str:
    """The hash that `describe` gives the file at `path`."""
    return digest_files([path, *external_files(path)])


def graph_of(path: Path) -> onnx.GraphProto:
    """The graph in the file at `path`, without weights that are in other files."""
    return _parse(path).graph


def external_files(path: Path) -> list[Path]:
    """The files beside `path` that hold its weights."""
    return _external_files(_parse(path), path)


def _parse(path: Path) -> onnx.ModelProto:
    import onnx

    if not is_plain(path):
        raise BadInput(f"there is no file {path}", "give the path of an ONNX file")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own errors have no common base
        raise BadInput(f"{path} is not an ONNX file, or is cut short", "export or fetch it again") from error
    if not proto.ir_version or not proto.graph.output:
        raise BadInput(f"{path} holds no graph, so it is not an ONNX model", "export or fetch it again")
    return proto


def _external_files(proto: onnx.ModelProto, path: Path) -> list[Path]:
    """The files that `proto` keeps tensors in, each once; `BadInput` if one is missing, short or elsewhere."""
    ends: dict[str, int] = {}
    for tensor in proto.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_location == tensor.EXTERNAL:
            location = entries.get("location", "")
            ends[location] = max(_end(entries, path), ends.get(location, 0))
    for location, end in ends.items():
        _check_external(path, location, end)
    return [path.parent / location for location in ends]


def _end(entries: dict[str, str], path: Path) -> int:
    """Where a tensor ends in its file. `BadInput` for anything but whole numbers from 0 up."""
    numbers = [entries.get(name) or "0" for name in ("offset", "length")]
    if not all(number.isascii() and number.isdecimal() and len(number) < LONGEST_NUMBER for number in numbers):
        raise BadInput(f"{path} keeps weights at {shown(' to '.join(numbers))}", "export it again")
    return sum(map(int, numbers))


def _check_external(path: Path, location: str, end: int) -> None:
    """`BadInput` unless `location` is a file of at least `end` bytes in the folder of `path`."""
    file = path.parent / location
    try:
        inside = file.resolve().is_relative_to(path.parent.resolve())
        size = file.stat().st_size if inside and is_plain(file) else None
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null byte, a link to itself
        raise BadInput(f"{path} keeps weights in {shown(location)}, which is no file", "export it again") from error
    if not inside:
        raise BadInput(f"{path} keeps weights outside its folder, in {shown(location)}", "move them beside it")
    if size is None or size < end:
        what = "is missing" if size is None else "is cut short"
        raise BadInput(
            f"{shown(location)}, in which {path} keeps its weights, {what}", f"put the whole file into {path.parent}"
        )


def _check(path: Path, full_check: bool) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=full_check)
    except Exception as error:  # the checker raises its own, and C++ errors as they come
        raise BadInput(f"{path} fails onnx.checker ({one_line(error)})", "export it again") from error


def digest_files(paths: list[Path]) -> str:
    """SHA-256 over the contents of `paths`, read in pieces."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                total.update(chunk)
    return total.hexdigest()


def _tensor(value: onnx.ValueInfoProto, heights: dict[str, int]) -> TensorSpec:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        found = (kind or "untyped value").replace("_type", "")
        raise Unsupported(f"{shown(value.name)} is a {found}, and only tensors can be measured", "export it with tensors")
    tensor = value.type.tensor_type
    if tensor.elem_type not in onnx.TensorProto.DataType.values() or not tensor.elem_type:
        raise Unsupported(f"{shown(value.name)} is of type {tensor.elem_type}, which this onnx does not know", "upgrade onnx")
    dtype = (
        "str" if tensor.elem_type == onnx.TensorProto.STRING else onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    )
    return TensorSpec(
        name=value.name, dtype=dtype, shape=tuple(_dim(dim) for dim in tensor.shape.dim), high=heights.get(value.name)
    )


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    return dim.dim_param or None


def _table_heights(proto: onnx.ModelProto) -> dict[str, int]:
    """For each input that indexes into a table of weights (Gather on axis 0): the smallest table's length."""
    lengths = {tensor.name: tensor.dims[0] for tensor in proto.graph.initializer if tensor.dims}
    heights: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in lengths:
            lengths[node.output[0]] = lengths[node.input[0]]
        if node.op_type == "Gather" and node.input[0] in lengths and not any(a.name == "axis" and a.i for a in node.attribute):
            length, ids = lengths[node.input[0]], node.input[1]
            heights[ids] = min(length, heights.get(ids, length))
    return heights


def _precision(proto: onnx.ModelProto) -> str:
    """`int8` if the graph quantizes, `fp16` if most of its weights are float16, else `fp32`."""
    import onnx

    if any(node.op_type in quantized.QUANTIZING for node in proto.graph.node):
        return "int8"
    halves = sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer)
    floats = sum(tensor.data_type == onnx.TensorProto.FLOAT for tensor in proto.graph.initializer)
    return "fp16" if halves > floats else "fp32"
