"""The models of the census: those that ship inside the onnx package, and graphs of the kinds that users bring.

A model of onnx.backend.test comes with inputs, and with the answers that ONNX's authors expect; our own have neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from census_kinds import write_kinds
from onnx import TensorProto as Type
from onnx import helper, numpy_helper

DATA = Path(onnx.__file__).parent / "backend/test/data"
FOLDERS = ("simple", "pytorch-converted", "pytorch-operator")
CNN_OPSETS = range(7, onnx.defs.onnx_opset_version() + 1)
IR = 10
value = helper.make_tensor_value_info
node = helper.make_node


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model in `file`, of a `kind`.

    - `given`: its own inputs by name. `expected`: the answers to them, in the file's order, within `rtol` and `atol`.
    - `shapes`, `dims`: values of --shape and --dim. `precisions`: those of --precision, empty for that of the file.
    - `module`: a PyTorch module as MODULE:FACTORY, which has no file.
    """

    name: str
    kind: str
    file: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    expected: tuple[Any, ...] = ()
    shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    precisions: tuple[str, ...] = ()
    module: str = ""
    rtol: float = 1e-3
    atol: float = 1e-7


def cases(folder: Path, large: bool = False) -> Iterator[Case]:
    """Every model; those that must be written go to `folder`."""
    yield from own(folder, large)
    yield from (Case(name=file.stem, kind="light", file=file) for file in sorted((DATA / "light").glob("*.onnx")))
    for kind in FOLDERS:
        yield from (_of_folder(kind, place) for place in sorted((DATA / kind).iterdir()))
    yield from _nodes(folder)


def _nodes(folder: Path) -> Iterator[Case]:
    """onnx makes these in memory, some with warnings of NumPy about values that are meant to overflow."""
    from onnx.backend.test.loader import load_model_tests

    with np.errstate(all="ignore"):
        tests = load_model_tests(kind="node")
    for test in tests:
        file = folder / f"{test.name}.onnx"
        onnx.save(test.model, file)
        inputs, outputs = test.data_sets[0] if test.data_sets else ((), ())
        names = (entry.name for entry in test.model.graph.input)
        given = dict(zip(names, inputs))
        how = {"rtol": test.rtol, "atol": test.atol}
        yield Case(name=test.name, kind="node", file=file, given=given, expected=tuple(outputs), **how)


def _of_folder(kind: str, place: Path) -> Case:
    file = place / "model.onnx"
    graph = onnx.load(file).graph
    initial = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in initial]
    read = {
        way: _read(place / "test_data_set_0", way, list(ends)) for way, ends in (("input", inputs), ("output", graph.output))
    }
    given = {entry.name: array for entry, array in zip(inputs, read["input"]) if array is not None}
    expected = tuple(read["output"]) if all(array is not None for array in read["output"]) else ()
    return Case(name=place.name, kind=kind, file=file, given=given, expected=expected)


def _read(folder: Path, way: str, ends: list[Any]) -> list[Any]:
    """The tensors `way`_0.pb and on, for each of `ends`; None for what is no tensor or is not there."""
    files = [folder / f"{way}_{number}.pb" for number in range(len(ends))]
    return [
        numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes()))
        if file.exists() and end.type.HasField("tensor_type")
        else None
        for file, end in zip(files, ends)
    ]


def own(folder: Path, large: bool = False) -> Iterator[Case]:
    """A graph of every kind that users bring, each with one thing that a reader may trip over."""
    for name, (kind, graph, more) in _graphs().items():
        shapes, how = more.pop("shapes", {}), more.pop("how", {})
        yield Case(name=name, kind=kind, file=_write(folder / f"{name}.onnx", graph, how, **more), shapes=shapes)
    for name, kind, file, options in write_kinds(folder):
        yield Case(name=name, kind=kind, file=file, **options)
    for factory, shape in MODULES.items():
        yield Case(name=factory, kind="torch", file=Path(), module=f"census_torch:make_{factory}", shapes={"x": shape})
    if large:
        yield Case(name="external-data-over-2-GB", kind="vision", file=_large(folder))


def _write(path: Path, graph: Any, how: Mapping[str, Any], opset: int = 17, ir: int = IR, ml: bool = False) -> Path:
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid("ai.onnx.ml", 3)] * ml
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=ir), path, **how)
    return path


def _weights(name: str, *shape: int) -> Any:
    return numpy_helper.from_array(np.random.default_rng(0).standard_normal(shape).astype(np.float32) / 4, name)


def _whole(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values, np.int64), name)


def _graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], tensors: list[Any] | None = None) -> Any:
    return helper.make_graph(nodes, "g", inputs, outputs, tensors or [])


def _graphs() -> dict[str, tuple[str, Any, dict[str, Any]]]:
    external = {"how": {"save_as_external_data": True, "location": "cnn-weights.bin", "size_threshold": 0}}
    found: dict[str, tuple[str, Any, dict[str, Any]]] = {
        f"cnn-opset-{opset}": ("vision", _cnn(), {"opset": opset, "ir": 4 if opset < 9 else IR}) for opset in CNN_OPSETS
    }
    found["cnn-external-data"] = ("vision", _cnn(), external)
    found["text-ids-and-masks"] = ("text", _text(), {"shapes": {"input_ids": (2, 16)}})
    found["audio-gru-state"] = ("audio", _recurrent("GRU", 3), {})
    found["audio-lstm-state"] = ("audio", _recurrent("LSTM", 4), {})
    found["audio-lengths-and-gain"] = ("audio", _lengths(), {})
    found["tabular-columns"] = ("tabular", _columns(), {})
    found["tabular-trees"] = ("tabular", _trees(), {"ml": True})
    found["tabular-map-output"] = ("tabular", _zipmap(), {"ml": True})
    found["tabular-strings"] = ("tabular", _strings(), {"ml": True})
    found["data-dependent-shape"] = ("shapes", _nonzero(), {})
    found["sequence-output"] = ("shapes", _sequence(), {})
    found["control-flow-if"] = ("control flow", _if(), {})
    found["control-flow-loop"] = ("control flow", _loop(), {})
    found["control-flow-scan"] = ("control flow", _scan(), {})
    for name, dims in DIMS.items():
        found[f"dims-{name}"] = ("shapes", _concat(*dims), {"shapes": DIMS_GIVEN.get(name, {})})
    return found


MODULES: Mapping[str, tuple[int, ...]] = {"perceptron": (1, 16), "attention": (1, 12, 16)}  # of census_torch, with input shapes
DIMS: Mapping[str, tuple[list[Any], list[Any]]] = {
    "shared": (["N", "T"], ["N", "T"]),
    "empty": (["", 4], ["", 4]),
    "none": ([None, 4], [None, 4]),
    "question-marks": (["?", "?"], ["?", "?"]),
    "minus-one-text": (["-1", "-1"], ["-1", "-1"]),
    "minus-one": ([-1, 4], [-1, 4]),
    "expression": (["N", "T"], ["N", "2*T"]),
    "expression-of-batch": (["batch", 4], ["2*batch", 4]),
    "sum": (["N", "past"], ["N", "past + 1"]),
}
DIMS_GIVEN: Mapping[str, dict[str, tuple[int, ...]]] = {
    "shared": {"a": (2, 5)},
    "question-marks": {"a": (2, 5), "b": (2, 3)},
    "minus-one-text": {"a": (2, 5), "b": (2, 3)},
    "expression": {"a": (2, 5)},
    "sum": {"a": (2, 5)},
}


def _concat(first: list[Any], second: list[Any]) -> Any:
    """Two inputs side by side, or below each other, whose dimensions are told in some way."""
    axis = 0 if isinstance(first[1], int) else 1
    ends = value("y", Type.FLOAT, ["rows", "columns"])
    return _graph([node("Concat", ["a", "b"], ["y"], axis=axis)], [_open("a", first), _open("b", second)], [ends])


def _open(name: str, dims: list[Any]) -> Any:
    return value(name, Type.FLOAT, dims)


def _cnn() -> Any:
    """Convolutions, pooling and a dense layer, in operators that have been the same since opset 7."""
    nodes = [
        node("Conv", ["image", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["c2"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w3", "b3"], ["logits"]),
    ]
    tensors = [_weights("w1", 8, 3, 3, 3), _weights("w2", 16, 8, 3, 3), _weights("w3", 16, 10), _weights("b3", 10)]
    ends = value("image", Type.FLOAT, ["N", 3, 32, 32]), value("logits", Type.FLOAT, ["N", 10])
    return _graph(nodes, [ends[0]], [ends[1]], tensors)


def _text() -> Any:
    """Ids and segments that index tables, and a mask of integers."""
    ends = [value(name, Type.INT64, ["batch", "seq"]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    nodes = [
        node("Gather", ["words", "input_ids"], ["w"]),
        node("Cast", ["token_type_ids"], ["kinds"], to=Type.INT32),
        node("Gather", ["segments", "kinds"], ["s"]),
        node("Add", ["w", "s"], ["e"]),
        node("Cast", ["attention_mask"], ["m"], to=Type.FLOAT),
        node("Unsqueeze", ["m", "last"], ["m3"]),
        node("Mul", ["e", "m3"], ["kept"]),
        node("ReduceSum", ["kept", "time"], ["sum"], keepdims=0),
        node("ReduceSum", ["m", "time"], ["count"], keepdims=1),
        node("Div", ["sum", "count"], ["sentence"]),
    ]
    tensors = [_weights("words", 50, 8), _weights("segments", 2, 8), _whole("last", [2]), _whole("time", [1])]
    return _graph(nodes, ends, [value("sentence", Type.FLOAT, ["batch", 8])], tensors)


def _recurrent(kind: str, gates: int) -> Any:
    """One layer whose state goes in and comes out, on 10 frames."""
    states = ["h0", "c0"] if kind == "LSTM" else ["h0"]
    nodes = [node(kind, ["frames", "W", "R", "", "", *states], ["y", *(f"{name}_out" for name in states)], hidden_size=6)]
    inputs = [value("frames", Type.FLOAT, [10, "batch", 4]), *(value(name, Type.FLOAT, [1, "batch", 6]) for name in states)]
    outputs = [value("y", Type.FLOAT, [10, 1, "batch", 6])]
    outputs += [value(f"{name}_out", Type.FLOAT, [1, "batch", 6]) for name in states]
    return _graph(nodes, inputs, outputs, [_weights("W", 1, gates * 6, 4), _weights("R", 1, gates * 6, 6)])


def _lengths() -> Any:
    """Lengths of what was padded, and a scalar."""
    nodes = [
        node("Mul", ["frames", "gain"], ["loud"]),
        node("GRU", ["loud", "W", "R", "", "lengths"], ["", "h"], hidden_size=6),
    ]
    inputs = [
        value("frames", Type.FLOAT, [10, "batch", 4]),
        value("lengths", Type.INT32, ["batch"]),
        value("gain", Type.FLOAT, []),
    ]
    return _graph(nodes, inputs, [value("h", Type.FLOAT, [1, "batch", 6])], [_weights("W", 1, 18, 4), _weights("R", 1, 18, 6)])


def _columns() -> Any:
    """Numbers and categories of a table, one input each."""
    nodes = [
        node("Gather", ["cities", "city"], ["c"]),
        node("Concat", ["numbers", "c"], ["row"], axis=1),
        node("MatMul", ["row", "w"], ["score"]),
    ]
    inputs = [value("numbers", Type.FLOAT, ["N", 5]), value("city", Type.INT64, ["N"])]
    return _graph(nodes, inputs, [value("score", Type.FLOAT, ["N", 1])], [_weights("cities", 7, 3), _weights("w", 8, 1)])


def _trees() -> Any:
    """A tree of ai.onnx.ml with one split."""
    tree = node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[1.0, 2.0],
    )
    return _graph([tree], [value("x", Type.FLOAT, ["N", 3])], [value("y", Type.FLOAT, ["N", 1])])


def _zipmap() -> Any:
    """Probabilities as scikit-learn's converter gives them: a sequence of maps."""
    maker = node("ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    proto = onnx.TypeProto()
    proto.sequence_type.elem_type.map_type.key_type = Type.INT64
    proto.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = Type.FLOAT
    return _graph([maker], [value("x", Type.FLOAT, ["N", 3])], [helper.make_value_info("probabilities", proto)])


def _strings() -> Any:
    maker = node("LabelEncoder", ["city"], ["y"], domain="ai.onnx.ml", keys_strings=["a", "b"], values_int64s=[0, 1])
    return _graph([maker], [value("city", Type.STRING, ["N"])], [value("y", Type.INT64, ["N"])])


def _nonzero() -> Any:
    nodes = [node("Relu", ["x"], ["r"]), node("NonZero", ["r"], ["places"])]
    return _graph(nodes, [value("x", Type.FLOAT, ["N", 8])], [value("places", Type.INT64, [2, None])])


def _sequence() -> Any:
    ends = helper.make_tensor_sequence_value_info("parts", Type.FLOAT, None)
    return _graph([node("SplitToSequence", ["x"], ["parts"], axis=1)], [value("x", Type.FLOAT, ["N", 3])], [ends])


def _if() -> Any:
    """A branch that a boolean input chooses, with weights inside the branches."""
    branches = {
        f"{which}_branch": helper.make_graph(
            [node("MatMul", ["x", which], [f"{which}_y"])],
            which,
            [],
            [value(f"{which}_y", Type.FLOAT, ["N", 2])],
            [_weights(which, 4, 2)],
        )
        for which in ("then", "else")
    }
    inputs = [value("x", Type.FLOAT, ["N", 4]), value("fast", Type.BOOL, [])]
    return _graph([node("If", ["fast"], ["y"], **branches)], inputs, [value("y", Type.FLOAT, ["N", 2])])


def _loop() -> Any:
    """Three turns of a loop that carries a tensor."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["go_out"]), node("MatMul", ["h", "w"], ["h1"]), node("Tanh", ["h1"], ["h_out"])],
        "body",
        [value("i", Type.INT64, []), value("go", Type.BOOL, []), value("h", Type.FLOAT, ["N", 4])],
        [value("go_out", Type.BOOL, []), value("h_out", Type.FLOAT, ["N", 4])],
    )
    ends = value("x", Type.FLOAT, ["N", 4]), value("y", Type.FLOAT, ["N", 4])
    return _graph(
        [node("Loop", ["turns", "", "x"], ["y"], body=body)], [ends[0]], [ends[1]], [_whole("turns", 3), _weights("w", 4, 4)]
    )


def _scan() -> Any:
    """A running sum over six frames."""
    body = helper.make_graph(
        [node("Add", ["sum", "frame"], ["sum_out"]), node("Identity", ["sum_out"], ["each"])],
        "body",
        [value("sum", Type.FLOAT, [4]), value("frame", Type.FLOAT, [4])],
        [value("sum_out", Type.FLOAT, [4]), value("each", Type.FLOAT, [4])],
    )
    inputs = [value("state", Type.FLOAT, [4]), value("frames", Type.FLOAT, [6, 4])]
    outputs = [value("last", Type.FLOAT, [4]), value("all", Type.FLOAT, [6, 4])]
    return _graph([node("Scan", ["state", "frames"], ["last", "all"], body=body, num_scan_inputs=1)], inputs, outputs)


def _large(folder: Path) -> Path:
    """A matrix of more than 2 GB in a file of its own, sparse on the disk."""
    rows, columns = 34_000, 16_000
    tensor = onnx.TensorProto(name="w", data_type=Type.FLOAT, dims=[rows, columns], data_location=Type.EXTERNAL)
    for key, text in {"location": "large.bin", "offset": "0", "length": str(rows * columns * 4)}.items():
        tensor.external_data.add(key=key, value=text)
    with (folder / "large.bin").open("wb") as file:
        file.truncate(rows * columns * 4)
        for row in range(rows):  # one value a row: an output of zeros would prove nothing
            file.seek(row * columns * 4)
            file.write(np.float32(row + 1).tobytes())
    nodes = [node("Gather", ["w", "ids"], ["y"])]
    graph = _graph(nodes, [value("ids", Type.INT64, ["N"])], [value("y", Type.FLOAT, ["N", columns])], [tensor])
    return _write(folder / "large.onnx", graph, {})
