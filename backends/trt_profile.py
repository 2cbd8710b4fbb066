"""Profile of a TensorRT engine: times of its layers, and their references to the graph. Standard library only.

The inspector gives each layer the names of its tensors, which are those of the file where TensorRT added no copy. Since version
10 it also lists the ONNX nodes of a layer in its `Metadata`. A name of version 8.6 joins those of the nodes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..profiles import Kernel, Links
from .profiling import Ran, Recorded, SessionProfiler
from .protocol import Session

ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]\x1e]+)\]")
PARTS = re.compile(r" \+ |, |\.\.\.|PWN\(|\|\||[()\[\]{}]|ForeignNode")  # what TensorRT puts around and between names


class TensorRtProfiler(SessionProfiler):
    """A session whose context reports the time of each layer after a call to `times_ns`, by the layer's name."""

    def __init__(self, session: Session, times_ns: Mapping[str, Sequence[int]], kernels: Sequence[Kernel], text: str) -> None:
        self.session, self._times_ns = session, times_ns
        links = links_of(text)
        self._pairs = [(kernel, links.get(kernel.node, Links())) for kernel in kernels]
        self._places = {kernel.node: place for place, kernel in enumerate(kernels)}
        self._read: dict[str, int] = {}
        self._calls: list[list[Ran]] = []

    def collect(self) -> None:
        call = []
        for name, times in self._times_ns.items():
            new = times[self._read.get(name, 0) :]
            self._read[name] = len(times)
            if new:
                call.append(Ran(self._place(name), sum(new)))
        self._calls.append(call)

    def _place(self, name: str) -> int:
        """Place of a layer; a new one for a layer that the inspector does not list."""
        if name not in self._places:
            self._places[name] = len(self._pairs)
            self._pairs.append((Kernel(node=name, operator=name), Links(covers=_names(name))))
        return self._places[name]

    def read(self) -> Recorded:
        return Recorded(kernels=self._pairs, calls=self._calls)


def links_of(text: str) -> dict[str, Links]:
    """References of each layer in the inspector's JSON `text`, by the layer's name."""
    layers = json.loads(text, strict=False)["Layers"]  # names of fused layers contain control characters
    return {str(layer.get("Name", "")): _links(layer) for layer in layers if isinstance(layer, dict)}


def _links(layer: Mapping[str, Any]) -> Links:
    nodes = ONNX_LAYER.findall(str(layer.get("Metadata", "")))
    return Links(
        covers=tuple(nodes) or _names(str(layer.get("Name", ""))),
        reads=_tensors(layer.get("Inputs", ())),
        writes=_tensors(layer.get("Outputs", ())),
    )


def _names(name: str) -> tuple[str, ...]:
    """Names of nodes that the name of a layer joins: `conv + relu`, `PWN(a, b)`, `{ForeignNode[first...last]}`."""
    return tuple(dict.fromkeys((name, *filter(None, (part.strip() for part in PARTS.split(name))))))


def _tensors(ends: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(tensor["Name"]) for tensor in ends if isinstance(tensor, dict) and "Name" in tensor)
