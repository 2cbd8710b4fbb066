"""Profile of a model that OpenVINO compiled with PERF_COUNT. Standard library only; it reads objects of openvino.

Each layer of the compiled graph has the names of the layers that it replaces (`originalLayersNames`), and its inputs.

OpenVINO reports the average of a layer over all calls of the compiled model, in whole microseconds, and nothing of one call
(PerfCount::avg in its CPU plugin). So each turn has a model of its own. Its first call, which is slower, is taken out of the
average of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..profiles import Kernel, Links
from .profiling import Ran, Recorded, SessionProfiler
from .protocol import Session

STEP_NS = 1000
ReadText = Callable[[Any, str], str]
Make = Callable[[], tuple[Session, Any]]
"""Compiles the model again. Returns a session with inputs bound, and its infer request."""


class OpenVinoProfiler(SessionProfiler):
    """A session for each turn, whose request reports the average time of each layer over the calls of the turn."""

    def __init__(self, make: Make, kernels: Sequence[Kernel], links: Sequence[Links]) -> None:
        self._make, self._pairs = make, list(zip(kernels, links))
        self._places = {kernel.node: place for place, kernel in enumerate(kernels)}
        self._calls: list[list[Ran]] = []
        self._first: dict[str, float] = {}
        self._count = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        self.session, self._request = self._make()
        self._count = 0
        yield
        average = self._averages()
        # The first call and the average of all calls give the average of the calls after the first.
        later = {
            name: max(0.0, (self._count * ns - self._first.get(name, 0.0)) / max(1, self._count - 1))
            for name, ns in average.items()
        }
        self._calls += [self._runs(self._first), *([self._runs(later)] * (self._count - 1))]

    def collect(self) -> None:
        self._count += 1
        if self._count == 1:
            self._first = self._averages()

    def _averages(self) -> dict[str, float]:
        """Average time of each layer so far in ns, by the layer's name."""
        return {layer.node_name: layer.real_time.total_seconds() * 1e9 for layer in self._request.profiling_info}

    def _runs(self, times_ns: Mapping[str, float]) -> list[Ran]:
        return [Ran(self._places[name], ns) for name, ns in times_ns.items() if name in self._places]

    def close(self) -> None:
        """Free nothing: a model goes with its last reference."""

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
