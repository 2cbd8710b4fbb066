"""Reader of any ONNX file: its integrity, inputs, outputs and precision. onnx, inside functions.

It runs in a worker: a file that crashes the parser ends the worker and not the parent.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput, Unsupported, distinct_names, one_line, shown
from ..spec import Artifact, TensorSpec
from ..untrusted import WRONG, is_plain
from . import hub_links, plausible, quantized

if TYPE_CHECKING:
    import onnx

CHUNK = 1 << 20
NO_NAME = ("", "?", "-1", "None")  # exporters' names of an unknown dimension: equal names do not mean equal sizes
LONGEST_NUMBER = 19  # digits: offsets of fewer digits fit into 63 bits


def describe(path: Path, *, model: str, full_check: bool = False, strict: bool = True) -> Artifact:
    """Read and check the file at `path`. `BadInput` for a damaged file, `Unsupported` for types that cannot be measured.

    `full_check` adds strict shape inference. `strict` refuses a file that onnx.checker refuses; otherwise the artifact has
    the reason. Many files of other tools fail these checks, although every runtime accepts them.
    """
    proto = _parse(path)
    external = _external_files(proto, path)
    invalid = _check(path, external, full_check)
    refusal = BadInput(f"{path} fails onnx.checker ({invalid})", "export it again")
    if invalid and strict:
        raise refusal
    try:
        return _artifact(proto, path, model, external, invalid)
    except WRONG as error:
        if not invalid:
            raise
        # The checker is right: a node lacks what every reader of its operator expects.
        raise refusal from error


def _artifact(proto: onnx.ModelProto, path: Path, model: str, external: Sequence[Path], invalid: str | None) -> Artifact:
    initial = {tensor.name for tensor in proto.graph.initializer}
    uses, precision = plausible.find_uses(proto.graph, proto.functions), _precision(proto)
    in_8_bits, in_float = quantized.count_layers(proto.graph, proto.functions)
    return Artifact(
        model=model,
        precision=precision,
        path=str(path),
        sha256=digest_files([path, *external]),
        nbytes=sum(file.stat().st_size for file in (path, *external)),
        opset=next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0),
        inputs=tuple(_input(value, uses) for value in proto.graph.input if value.name not in initial),
        outputs=_outputs(proto.graph),
        unsized=_unsized(proto.graph),
        nodes=len(proto.graph.node),
        quantized_layers=in_8_bits,
        float_layers=in_float,
        obstacle=quantized.find_obstacle(proto.graph, path.parent, proto.functions) if precision == "int8" else None,
        invalid=invalid,
    )


def file_hash(path: Path) -> str:
    """The hash that `describe` gives the file at `path`."""
    return digest_files([path, *external_files(path)])


def model_of(path: Path) -> onnx.ModelProto:
    """The model in the file at `path`, without the weights in other files."""
    return _parse(path)


def graph_of(path: Path) -> onnx.GraphProto:
    """The graph of `model_of`."""
    return _parse(path).graph


def external_files(path: Path) -> list[Path]:
    """The files beside `path` with its weights."""
    return _external_files(_parse(path), path)


def _parse(path: Path) -> onnx.ModelProto:
    import onnx

    if not is_plain(path):
        raise BadInput(f"there is no file {path}", "write the path of an ONNX file")
    if link := hub_links.find_link(path, path.parent):
        raise BadInput(f"{path} is {link}", f"write the path of the file itself, {shown(str(path.resolve()), 400)}")
    if not str(path).isprintable() and _undecodable(str(path)):
        raise BadInput(f"onnx cannot open {shown(str(path))}, because the name is not UTF-8", "rename the file")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own errors have no common base
        raise BadInput(f"{path} is not an ONNX file, or is incomplete", "export or download it again") from error
    if not proto.ir_version or not proto.graph.output:
        raise BadInput(f"{path} holds no graph, so it is not an ONNX model", "export or download it again")
    return proto


def _undecodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _external_files(proto: onnx.ModelProto, path: Path) -> list[Path]:
    """The files in which `proto` stores tensors. `BadInput` if a file is missing, too short or in another folder."""
    ends: dict[str, int] = {}
    for tensor in tensors(proto):
        entries = {entry.key: str(entry.value) for entry in tensor.external_data}  # protobuf gives bytes if not UTF-8
        if tensor.data_location == tensor.EXTERNAL:
            location = entries.get("location", "")
            ends[location] = max(_end(entries, path), ends.get(location, 0))
    for location, end in ends.items():
        _check_external(path, location, end)
    return [path.parent / location for location in ends]


def tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initializers, sparse initializers and attributes, in every subgraph and function."""
    yield from _of_graph(proto.graph)
    for function in proto.functions:
        yield from _of_nodes(function.node)
        for attribute in function.attribute_proto:
            yield from _of_attribute(attribute)
    for training in proto.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _of_attribute(attribute)


def _of_attribute(attribute: onnx.AttributeProto) -> Iterator[onnx.TensorProto]:
    yield from ((attribute.t,) if attribute.HasField("t") else ())
    yield from attribute.tensors
    for sparse in (*((attribute.sparse_tensor,) if attribute.HasField("sparse_tensor") else ()), *attribute.sparse_tensors):
        yield from (sparse.values, sparse.indices)
    for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
        yield from _of_graph(graph)


def _end(entries: dict[str, str], path: Path) -> int:
    """End of a tensor in its file, in bytes. `BadInput` unless its offset and length are whole numbers of at least 0."""
    numbers = [entries.get(name) or "0" for name in ("offset", "length")]
    if not all(number.isascii() and number.isdecimal() and len(number) < LONGEST_NUMBER for number in numbers):
        raise BadInput(f"{path} has wrong offsets of weights, {shown(' and '.join(numbers))}", "export it again")
    return sum(map(int, numbers))


def _check_external(path: Path, location: str, end: int) -> None:
    """Raise `BadInput` unless `location` is a file of at least `end` bytes in the folder of `path`.

    A link is refused, except for one of the hub's cache.
    """
    file = path.parent / location
    try:
        inside = hub_links.lexical(file).is_relative_to(hub_links.lexical(path.parent))
        link = hub_links.find_link(file, path.parent) if inside else None
        size = file.stat().st_size if inside and not link and is_plain(file) else None
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a null byte, a link to itself
        raise BadInput(f"{path} stores weights in {shown(location)}, which is not a file", "export it again") from error
    if link:
        raise BadInput(f"{path} stores weights in {shown(location)}, {link}", f"copy the file itself to {path.parent}")
    if not inside:
        raise BadInput(f"{path} stores weights outside its folder, in {shown(location)}", f"move them to {path.parent}")
    if size is None or size < end:
        defect = "is missing" if size is None else f"has {size} bytes, but needs {end}"
        raise BadInput(f"{shown(location)} {defect}; {path} stores weights there", f"copy the whole file to {path.parent}")


def _check(path: Path, external: Sequence[Path], full_check: bool) -> str | None:
    """Reason of onnx.checker to refuse the file; None for a valid file.

    onnx opens no weights through links. Files of the hub's cache are checked when the cache has their copy.
    """
    import onnx

    if any(file.is_symlink() for file in external):
        return None
    try:
        onnx.checker.check_model(str(path), full_check=full_check)
    except Exception as error:  # the checker's own errors and C++ errors have no common base
        return one_line(error)
    return None


def digest_files(paths: list[Path]) -> str:
    """SHA-256 over the contents of `paths`, one after another, in hexadecimal."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                total.update(chunk)
    return total.hexdigest()


def _unsized(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Inputs that declare a size of 0."""
    initial = {tensor.name for tensor in graph.initializer}
    return tuple(value.name for value in graph.input if value.name not in initial and _has_zero(value))


def _has_zero(value: onnx.ValueInfoProto) -> bool:
    """True if `value` declares a size of 0, which old exporters (CNTK, MXNet, Paddle) write for an unknown size."""
    return any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in value.type.tensor_type.shape.dim)


def unsized(path: Path) -> tuple[str, ...]:
    """Inputs of the file at `path` that declare a size of 0."""
    return _unsized(graph_of(path))


def open_zeros(path: Path) -> bool:
    """Make each size of 0 that the file at `path` declares an open one, if an input has such a size. False without one.

    ONNX Runtime takes no other array than an empty one for a size of 0, and other runtimes take any.
    """
    import onnx

    proto = _parse(path)
    if not _unsized(proto.graph):
        return False
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim if _has_zero(value) else ():
            if not dim.dim_value and not dim.dim_param:
                dim.Clear()
    path.unlink()  # a second name of a file of the hub's cache must not change that file
    onnx.save(proto, path)
    return True


def _input(value: onnx.ValueInfoProto, uses: Mapping[str, plausible.Use]) -> TensorSpec:
    spec = _tensor(value, "input")
    return replace(spec, **plausible.tensor_fields(uses.get(spec.name), spec.name, spec.dtype))


def _outputs(graph: onnx.GraphProto) -> tuple[TensorSpec, ...]:
    """The outputs. A file may list an output twice: the second one has a name of its own here."""
    specs = [_tensor(value, "output") for value in graph.output]
    return tuple(replace(spec, name=name) for spec, name in zip(specs, distinct_names(spec.name for spec in specs)))


def _tensor(value: onnx.ValueInfoProto, end: str) -> TensorSpec:
    """Describe `value`, an `end` ("input" or "output") of the graph. `Unsupported` for values that are no arrays."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        name = (kind or "untyped value").replace("_type", "")
        raise Unsupported(
            f"{end} {shown(value.name)} is of kind {name}, and only tensors can be measured", "export it with tensors"
        )
    tensor = value.type.tensor_type
    shape = tuple(_dim(dim) for dim in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=_dtype(value, end), shape=shape, ranked=tensor.HasField("shape"))


def _dtype(value: onnx.ValueInfoProto, end: str) -> str:
    """NumPy's name of the type. Strings are allowed for outputs only: outputs are compared, but inputs must be bound."""
    import onnx

    kind = value.type.tensor_type.elem_type
    if kind == onnx.TensorProto.STRING and end == "output":
        return "str"
    if kind not in onnx.TensorProto.DataType.values() or not kind:
        raise Unsupported(
            f"{end} {shown(value.name)} is of type {kind}, which this version of onnx does not know", "upgrade onnx"
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    if dtype.kind not in "fiub" or dtype.isbuiltin != 1:
        name = onnx.TensorProto.DataType.Name(kind).lower()
        raise Unsupported(f"{end} {shown(value.name)} is of type {name}, and only NumPy's numbers and booleans can be measured")
    return str(dtype.name)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value") and dim.dim_value > 0:  # see `_has_zero`
        return int(dim.dim_value)
    return None if dim.dim_param in NO_NAME else str(dim.dim_param)


def _precision(proto: onnx.ModelProto) -> str:
    """`int8` for a graph that quantizes, or has most bytes of its weights in at most 8 bits. `fp16` or `fp32` otherwise.

    The type of most bytes of the weights decides between `fp16` and `fp32`; without weights, that of most inputs.
    """
    import onnx

    scopes = list(quantized.scopes(proto.graph, proto.functions))
    if any(quantized.computes_in_8_bits(node) for scope in scopes for node in scope.nodes):
        return "int8"
    weights = list(tensors(proto))
    inputs = [value.type.tensor_type.elem_type for value in proto.graph.input]
    halves, floats = (
        sum(_nbytes(tensor) for tensor in weights if tensor.data_type == kind)
        for kind in (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)
    )
    packed = {id(scope.constants[name]): scope.constants[name] for scope in scopes for name in quantized.packed_weights(scope)}
    if sum(map(_nbytes, packed.values())) > halves + floats:
        return "int8"
    if not halves and not floats:
        halves, floats = inputs.count(onnx.TensorProto.FLOAT16), inputs.count(onnx.TensorProto.FLOAT)
    return "fp16" if halves > floats else "fp32"


def _nbytes(tensor: onnx.TensorProto) -> int:
    """Bytes of the values of `tensor`, wherever the file stores them."""
    import onnx

    bits = 4 if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4) else None
    if bits is None:
        bits = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(math.prod(tensor.dims) * bits // 8)
