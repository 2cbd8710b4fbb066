"""One node that is lowered to an earlier opset, and the values that it sees. onnx, inside functions; run in a worker."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..errors import Unsupported
from . import lowering_folding as folding
from .lowering_folding import Array
from .repair import unused_name

if TYPE_CHECKING:
    import onnx

STANDARD = ("", "ai.onnx")
DEEPEST = 12  # nodes in a chain that computes a parameter
Dims = tuple[int | None, ...]
LARGEST_CONSTANT = 1 << 20  # bytes: axes, sizes and scales are small, and a weight is no parameter of an operator
FILE_HINT = "export the model at the lower opset, or use a runtime that takes this opset"


@dataclass(kw_only=True)
class ModelFacts:
    """Facts that all scopes of a model share: its folder, its opset, the names of its values, and a counter."""

    folder: Path
    opset: int
    names: set[str]
    numbers: int = 0


class GraphValues:
    """Values of one graph and of the graphs around it: their types, their constants, and all names of the model.

    `place`: facts about the model.
    """

    def __init__(self, graph: onnx.GraphProto, place: ModelFacts, outer: GraphValues | None = None) -> None:
        self.place, self.names = place, place.names
        makers = {name: node for node in graph.node for name in node.output if name}
        types = {value.name: value.type for value in (*graph.input, *graph.output, *graph.value_info)}
        types |= {tensor.name: _type_of(tensor) for tensor in graph.initializer}
        inputs = {value.name for value in graph.input}
        # An initializer that is an input too has a default, which a caller may replace.
        constants = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}
        for node in graph.node:
            if node.op_type == "Constant" and (tensor := constant_of(node)) is not None:
                constants[node.output[0]] = tensor
        self.types: ChainMap[str, onnx.TypeProto] = ChainMap(types, *(outer.types.maps if outer else ()))
        self.constants: ChainMap[str, onnx.TensorProto] = ChainMap(constants, *(outer.constants.maps if outer else ()))
        self._makers: ChainMap[str, onnx.NodeProto] = ChainMap(makers, *(outer._makers.maps if outer else ()))

    def inner(self, graph: onnx.GraphProto) -> GraphValues:
        """Values of a subgraph."""
        return GraphValues(graph, self.place, self)

    def number(self) -> int:
        """A number that no earlier call had."""
        self.place.numbers += 1
        return self.place.numbers

    def type_of(self, name: str) -> int:
        """Element type of the tensor `name`; 0 if it is unknown."""
        value = self.types.get(name)
        return int(value.tensor_type.elem_type) if value is not None and value.HasField("tensor_type") else 0

    def shape(self, name: str) -> Dims | None:
        """Shape of the tensor `name`, None for an open dimension; None if the rank is unknown."""
        value = self.types.get(name)
        if value is None or not value.HasField("tensor_type") or not value.tensor_type.HasField("shape"):
            return None
        return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in value.tensor_type.shape.dim)

    def array(self, name: str, depth: int = DEEPEST) -> Array | None:
        """Values of `name` if they are constant, or computed from constants and known shapes. None for many values."""
        from onnx import external_data_helper, numpy_helper

        tensor = self.constants.get(name)
        if tensor is None:
            return self._computed(name, depth) if depth else None
        if _nbytes(tensor) > LARGEST_CONSTANT:
            return None
        if tensor.data_location == tensor.EXTERNAL:
            # A copy: the weights of the lowered file stay in their own file.
            tensor = type(tensor).FromString(tensor.SerializeToString())
            external_data_helper.load_external_data_for_tensor(tensor, str(self.place.folder))
        array: Array = numpy_helper.to_array(tensor)
        return array

    def _computed(self, name: str, depth: int) -> Array | None:
        node = self._makers.get(name)
        if node is None or node.domain not in STANDARD:
            return None
        if node.op_type in ("Shape", "Size"):
            return folding.of_shape(node, self.shape(node.input[0]))
        if node.op_type not in folding.FOLDED:
            return None
        arrays = {part: self.array(part, depth - 1) for part in node.input if part}
        constants = {part: array for part, array in arrays.items() if array is not None}
        return folding.evaluate(node, constants, self.place.opset) if len(constants) == len(arrays) else None


def _type_of(tensor: onnx.TensorProto) -> onnx.TypeProto:
    from onnx import helper

    return helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))


def _nbytes(tensor: onnx.TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64)) * 8


def constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node; None for text and for sparse values."""
    from onnx import helper, numpy_helper

    kinds = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor: onnx.TensorProto = attribute.t
            return tensor
        if attribute.name in kinds:
            return numpy_helper.from_array(np.asarray(helper.get_attribute_value(attribute), kinds[attribute.name]))
    return None


class Site:
    """One node, the version `since` of its operator, and the nodes that replace it at opset `below`, one less.

    A rule reads the node and adds nodes. `target`: the opset to which the model is lowered, for messages.
    """

    def __init__(self, node: onnx.NodeProto, scope: GraphValues, since: int, target: int) -> None:
        self.node, self.scope, self.since, self.target = node, scope, since, target
        self.nodes: list[onnx.NodeProto] = []

    @property
    def below(self) -> int:
        """Opset of the nodes that a rule adds."""
        return self.since - 1

    def input(self, index: int) -> str:
        """Name of an input; empty for one that is left out."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def attributes(self) -> dict[str, Any]:
        """Attributes by name, texts decoded."""
        from onnx import helper

        values = {attribute.name: helper.get_attribute_value(attribute) for attribute in self.node.attribute}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute, or `default`."""
        return self.attributes().get(name, default)

    def constant(self, index: int) -> Array | None:
        """Values of a constant input; None for another input, and for one that is left out."""
        name = self.input(index)
        return self.scope.array(name) if name else None

    def type_of(self, index: int) -> int:
        """Element type of an input; 0 if it is unknown or left out."""
        return self.scope.type_of(self.input(index))

    def shape(self, index: int) -> Dims | None:
        """Shape of an input; None if its rank is unknown."""
        return self.scope.shape(self.input(index))

    def rank(self, index: int) -> int:
        """Rank of an input. Refuse the node if it is unknown."""
        shape = self.shape(index)
        if shape is None:
            self.refuse(f"the rank of {self.input(index)} is unknown")
        return len(shape)

    def whole_shape(self, index: int) -> tuple[int, ...]:
        """Shape of an input. Refuse the node if a dimension is open."""
        shape = self.shape(index)
        if shape is None or None in shape:
            self.refuse(f"the shape of {self.input(index)} is open", "fix it with --shape in bench export")
        return tuple(dim for dim in shape if dim is not None)

    def values(self, index: int, meaning: str) -> Array:
        """Values of a constant input, which is its `meaning`. Refuse the node if the input is computed."""
        array = self.constant(index)
        if array is None:
            self.refuse(f"its {meaning} are computed by the graph")
        return array

    def refuse(self, why: str, hint: str = FILE_HINT) -> NoReturn:
        """Raise `Unsupported` with the name of the operator and of the node."""
        name = self.node.name or (self.node.output[0] if self.node.output else "")
        operator = f"{self.node.op_type}-{self.since} ({name})" if name else f"{self.node.op_type}-{self.since}"
        raise Unsupported(f"{operator} cannot be lowered to opset {self.target}: {why}", hint)

    def new_name(self, suffix: str) -> str:
        """A name that the model does not have yet."""
        base = self.node.output[0] if self.node.output else self.node.name
        name = unused_name(f"{base}_{suffix}", self.scope.names)
        self.scope.names.add(name)
        return name

    def const(self, values: Any, dtype: Any = np.int64) -> str:
        """Add a constant, and return its name."""
        from onnx import helper, numpy_helper

        name, tensor = self.new_name("const"), numpy_helper.from_array(np.asarray(values, dtype))
        self.nodes.append(helper.make_node("Constant", [], [name], name=name, value=tensor))
        self.scope.constants[name], self.scope.types[name] = tensor, _type_of(tensor)
        return name

    def like(self, value: float, index: int = 0) -> str:
        """Add a number of the element type of an input, and return its name."""
        from onnx import TensorProto, helper

        kind = self.type_of(index)
        if not kind:
            return self.add("CastLike", [self.const(value, np.float32), self.input(index)])
        if kind == TensorProto.BFLOAT16:
            return self.add("Cast", [self.const(value, np.float32)], to=kind)
        return self.const(value, helper.tensor_dtype_to_np_dtype(kind))

    def add(self, operator: str, inputs: Sequence[str], outputs: Iterable[str] | None = None, **attributes: Any) -> str:
        """Add a node, and return its first output: a new name, or the first of `outputs`."""
        from onnx import helper

        names = list(outputs) if outputs is not None else [self.new_name(operator.lower())]
        given = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=f"{names[0]}_{operator}", **given))
        return names[0]

    def finish(self, operator: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Add the node that computes the outputs of the replaced node."""
        self.add(operator, inputs, self.node.output, **attributes)
        self.nodes[-1].name = self.node.name or self.nodes[-1].name

    def keep(self, inputs: Sequence[str] | None = None, drop: Iterable[str] = (), **attributes: Any) -> None:
        """Add the node itself, with other `inputs`, without the attributes in `drop`, and with other `attributes`."""
        from onnx import helper

        node = type(self.node).FromString(self.node.SerializeToString())
        if inputs is not None:
            names = list(inputs)
            while names and not names[-1]:
                names.pop()
            node.input[:] = names
        changed = {*drop, *attributes}
        attributes_left = [attribute for attribute in node.attribute if attribute.name not in changed]
        attributes_left += [helper.make_attribute(name, value) for name, value in attributes.items() if value is not None]
        del node.attribute[:]
        node.attribute.extend(attributes_left)
        self.nodes.append(node)
