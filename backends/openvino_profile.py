"""Profile of a model that OpenVINO compiled with PERF_COUNT. Standard library only; it reads objects of openvino.

Each layer of the compiled graph has the names of the layers that it replaces (`originalLayersNames`), and its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..profiles import Kernel, Links
from .profiling import Ran, Recorded, SessionProfiler
from .protocol import Session

STEP_NS = 1000  # OpenVINO reports whole microseconds
ReadText = Callable[[Any, str], str]


class OpenVinoProfiler(SessionProfiler):
    """A session whose infer `request` reports the time of each layer of its last call."""

    def __init__(self, session: Session, request: Any, kernels: Sequence[Kernel], links: Sequence[Links]) -> None:
        self.session, self._request = session, request
        self._pairs = list(zip(kernels, links))
        self._places = {kernel.node: place for place, kernel in enumerate(kernels)}
        self._calls: list[list[Ran]] = []

    def collect(self) -> None:
        times = ((layer.node_name, layer.real_time.total_seconds() * 1e9) for layer in self._request.profiling_info)
        self._calls.append([Ran(self._places[name], ns) for name, ns in times if name in self._places])

    def read(self) -> Recorded:
        return Recorded(kernels=self._pairs, calls=self._calls, step_ns=STEP_NS)


def links_of(compiled: Any, read_text: ReadText) -> dict[str, Links]:
    """References of each layer of the compiled graph, by its name. `read_text` reads a text from the facts of a layer."""
    return {op.get_friendly_name(): _links(op, read_text) for op in compiled.get_runtime_model().get_ordered_ops()}


def _links(op: Any, read_text: ReadText) -> Links:
    name = op.get_friendly_name()
    sources = (op.input_value(place).get_node().get_friendly_name() for place in range(op.get_input_size()))
    originals = read_text(op.get_rt_info(), "originalLayersNames").split(",")
    return Links(covers=tuple(filter(None, (*originals, name))), reads=tuple(sources), writes=(name,))
