"""Outputs of a graph that depend on a random generator, and differ from call to call. Reads messages of onnx only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

GENERATORS = (
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    *("Multinomial", "Bernoulli"),
)
STANDARD = ("", "ai.onnx")
TRAINING_MODE = 2  # index of Dropout's input, since opset 12

Functions = dict[tuple[str, str], "onnx.FunctionProto"]


def random_outputs(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the graph's outputs that depend on a generator, also on one in a subgraph or a function."""
    functions = {(function.domain, function.name): function for function in model.functions}
    constants = dict(_flags(model.graph))
    random = _random_values(model.graph.node, functions, constants)
    return tuple(value.name for value in model.graph.output if value.name in random)


def _random_values(nodes: Iterable[onnx.NodeProto], functions: Functions, constants: Mapping[str, bool]) -> set[str]:
    """Names of the values that depend on a generator."""
    nodes, random, before = list(nodes), set[str](), -1
    # Until nothing is added: some files list their nodes in another order than they run.
    while len(random) > before:
        before = len(random)
        for node in nodes:
            if not random.isdisjoint(_read_names(node)) or _is_random(node, functions, constants):
                random.update(filter(None, node.output))
    return random


def _is_random(node: onnx.NodeProto, functions: Functions, constants: Mapping[str, bool]) -> bool:
    """True if the node is a generator, or contains one."""
    function = functions.get((node.domain, node.op_type))
    if function is not None:
        return any(_is_random(inner, functions, dict(_flags_of(function.node))) for inner in function.node)
    if node.domain in STANDARD and (node.op_type in GENERATORS or _drops(node, constants)):
        return True
    return any(
        _is_random(inner, functions, {**constants, **dict(_flags(graph))}) for graph in subgraphs(node) for inner in graph.node
    )


def _drops(node: onnx.NodeProto, constants: Mapping[str, bool]) -> bool:
    """True for Dropout in training mode. A mode that the graph computes may be true."""
    if node.op_type != "Dropout" or len(node.input) <= TRAINING_MODE or not node.input[TRAINING_MODE]:
        return False
    return constants.get(node.input[TRAINING_MODE], True)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Graphs in the attributes of a node."""
    for attribute in node.attribute:
        yield from ((attribute.g,) if attribute.HasField("g") else ())
        yield from attribute.graphs


def _read_names(node: onnx.NodeProto) -> Iterator[str]:
    """Names of the values that a node reads, also in its subgraphs."""
    yield from filter(None, node.input)
    for graph in subgraphs(node):
        yield from (value.name for value in graph.output)
        for inner in graph.node:
            yield from _read_names(inner)


def _flags(graph: onnx.GraphProto) -> Iterator[tuple[str, bool]]:
    """Constants of one byte by name: the candidates for a training mode."""
    yield from ((tensor.name, _flag(tensor)) for tensor in graph.initializer if _is_flag(tensor))
    yield from _flags_of(graph.node)


def _flags_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, bool]]:
    for node in nodes:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value" and _is_flag(attribute.t):
                yield node.output[0], _flag(attribute.t)


def _is_flag(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == tensor.BOOL and len(tensor.raw_data) + len(tensor.int32_data) == 1


def _flag(tensor: onnx.TensorProto) -> bool:
    return any(tensor.raw_data) or any(tensor.int32_data)
