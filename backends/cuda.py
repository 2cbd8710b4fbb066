"""What sessions on an NVIDIA GPU have in common: streams, memory, copies, events, graphs. cuda-core, inside functions.

Nothing here computes. Runtimes that bring CUDA to Python themselves (PyTorch) use only `graphed`.
"""

from __future__ import annotations

import abc
import ctypes
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import OutOfMemory, RuntimeFailed, Unavailable, failure, installed, one_line
from ..spec import Cell, Device
from .protocol import Array, Session, SessionInfo

Call = Callable[[], object]

POISON = 0xFF  # as bytes of a float: not a number
ALIKE = 1e-2  # of the largest answer, for two runs of the same kernels
SETTLED = 2  # calls after which kernels are chosen and memory is held
GRAPH_OPTION = {"cuda_graph": "auto: where one can be captured; on: or else the row fails; off: every kernel is launched"}
GRAPH_CHOICES = {"cuda_graph": ("auto", "on", "off")}
ON_STREAM = """\
from cuda import core

device = core.Device($index)
device.set_current()
alive = []


def on_stream(stream, run):
    alive.append(run)  # a graph does not keep what it works on
    for _ in range(3):
        run()
    stream.sync()
    if not $graph:
        return run, stream.sync
    builder = stream.create_graph_builder().begin_building("thread_local")
    run()
    graph = builder.end_building().complete()
    return lambda: graph.launch(stream), stream.sync


"""
"""What programs to paste have in common: a call as the measurement made it, in a CUDA graph unless that was off."""


def import_core(install: str) -> Any:
    """The module `cuda.core`; `Unavailable` without it."""
    with installed("cuda-core", install):
        from cuda import core
    return core


def devices(install: str) -> tuple[str, ...]:
    """`cuda:0 NVIDIA H100`, one for each GPU; `Unavailable` says why there are none, in the driver's words."""
    core = import_core(install)
    try:
        found = core.Device.get_all_devices()
    except Exception as error:  # no driver, one that is too old, or one that finds nothing
        raise Unavailable(f"no GPU can be used here ({one_line(error)})") from error
    if not found:
        raise Unavailable("there is no NVIDIA GPU here")
    return tuple(f"cuda:{device.device_id} {device.name}" for device in found)


def identity(index: int, install: str) -> str:
    """What code that is compiled for this GPU depends on: its name and compute capability."""
    device = import_core(install).Device(index)
    return f"{device.name} sm_{device.arch}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned:
    """Host memory that a GPU copies from and to by itself: as an array, and as cuda-core has it."""

    array: Array
    buffer: Any


class Stream:
    """A CUDA stream, memory beside it, and two events on it. Errors of CUDA come out as cuda-core raises them."""

    def __init__(self, index: int, install: str) -> None:
        core = import_core(install)
        self._device = core.Device(index)
        self._device.set_current()
        self._stream = self._device.create_stream()
        self._begin, self._end = (self._device.create_event(core.EventOptions(timing_enabled=True)) for _ in range(2))
        self._host = core.LegacyPinnedMemoryResource()
        self._buffer = core.Buffer
        self.sync: Callable[[], None] = self._stream.sync
        self.handle = int(self._stream.handle)

    def enter(self) -> None:
        """Make the GPU the calling thread's own, without which the driver takes no calls from it."""
        self._device.set_current()

    def room(self, nbytes: int) -> Any:
        """A buffer of `nbytes` on the device."""
        return self._device.allocate(max(1, nbytes), stream=self._stream)

    def view(self, address: int, nbytes: int) -> Any:
        """Memory on the device that somebody else keeps alive."""
        return self._buffer.from_handle(address, max(1, nbytes))

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Pinned:
        """Host memory for an array."""
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        buffer = self._host.allocate(max(1, nbytes))
        memory = (ctypes.c_uint8 * nbytes).from_address(int(buffer.handle))
        return Pinned(array=np.frombuffer(memory, dtype=dtype).reshape(shape), buffer=buffer)

    def upload(self, source: Pinned, target: Any) -> None:
        """Begin to copy to the device."""
        target.copy_from(source.buffer, stream=self._stream)

    def download(self, source: Any, target: Pinned) -> None:
        """Begin to copy from the device."""
        source.copy_to(target.buffer, stream=self._stream)

    def poison(self, buffer: Any) -> None:
        """Begin to overwrite a buffer with what no network answers."""
        buffer.fill(POISON, stream=self._stream)

    def elapsed_ns(self, call: Call) -> int:
        """Nanoseconds between two events around what `call` puts on the stream; waits for it."""
        self._stream.record(self._begin)
        call()
        self._stream.record(self._end)
        self._end.sync()
        return int((self._end - self._begin) * 1e6)

    def graph(self, call: Call) -> Call:
        """What `call` puts on the stream, captured: the same again as one launch. Raises what capturing it raises."""
        builder = self._stream.create_graph_builder()
        try:
            builder.begin_building("thread_local")
            call()
            graph = builder.end_building().complete()
        except BaseException:
            with suppress(Exception):
                builder.close()  # it ends a capture that failed, which end_building refuses, so that the stream can be used
            raise
        graph.upload(self._stream)
        return _launch(graph, self._stream)


def _launch(graph: Any, stream: Any) -> Call:
    launch = graph.launch
    return lambda: launch(stream)


class Inputs:
    """A session's inputs: for each a place on the device, and pinned memory that it is copied from."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._places: dict[str, tuple[Pinned, Any]] = {}

    def pin(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """`inputs` in this session's pinned memory."""
        self._stream.sync()  # what is copied from it now is not overwritten
        return {name: self._pin(name, array).array for name, array in inputs.items()}

    def upload(self, inputs: Mapping[str, Array]) -> None:
        """Begin to copy `inputs` to the device; arrays of `pin` are copied from where they are."""
        if any(name not in self._places or self._places[name][0].array is not array for name, array in inputs.items()):
            self.pin(inputs)
        for name in inputs:
            self._stream.upload(*self._places[name])

    def _pin(self, name: str, array: Array) -> Pinned:
        if name not in self._places:
            self._places[name] = (self._stream.pinned(array.shape, array.dtype), self._stream.room(array.nbytes))
        pinned, _ = self._places[name]
        if pinned.array.shape != array.shape:
            raise RuntimeFailed(f"input {name!r} has shape {array.shape}, and was bound with {pinned.array.shape}")
        if pinned.array is not array:
            np.copyto(pinned.array, array)
        return pinned

    def address(self, name: str) -> int:
        """Where an input is on the device."""
        return int(self._places[name][1].handle)

    def close(self) -> None:
        """Free all places."""
        self._places.clear()

    def on_host(self) -> dict[str, Array]:
        """What was pinned last, by name."""
        return {name: pinned.array for name, (pinned, _) in self._places.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A place on the device for an output of known shape, and pinned memory that it is copied to."""

    place: Any
    pinned: Pinned

    @property
    def address(self) -> int:
        """Where the output is on the device."""
        return int(self.place.handle)


def output(stream: Stream, shape: tuple[int, ...], dtype: Any) -> Output:
    """Room for an output."""
    pinned = stream.pinned(shape, dtype)
    return Output(place=stream.room(pinned.array.nbytes), pinned=pinned)


def programmed(cell: Cell) -> dict[str, Any]:
    """What `ON_STREAM` needs to know."""
    return {"index": Device.parse(cell.device).index, "graph": dict(cell.settings.options).get("cuda_graph") != "off"}


def graphed(mode: str, run: Call, capture: Callable[[], Call], info: SessionInfo) -> tuple[Call, SessionInfo]:
    """How calls are made after the first one, and what there is to say of it: as the graph that `capture` makes, or as `run`.

    Where no graph can be captured `auto` goes on without, with a remark, and `on` raises.
    """
    if mode == "off":
        return run, _said(info, "off")
    try:
        for _ in range(SETTLED):
            run()
        return capture(), _said(info, "on")
    except Exception as error:  # whatever a runtime says when it is captured
        failed = failure("no CUDA graph could be captured", error)
        if mode == "on" or isinstance(failed, OutOfMemory):
            raise failed from error
        with suppress(Exception):
            run()  # CUDA tells an error once more to whoever asks next
        run()
        return run, replace(_said(info, "off"), remarks=(*info.remarks, failed.message))


def _said(info: SessionInfo, state: str) -> SessionInfo:
    return replace(info, settings=(*info.settings, ("cuda_graph", state)))


class CudaSession(Session):
    """A session on a stream of its own, with inputs and outputs in fixed places on the device.

    The first call is one as it comes; then it is captured as a CUDA graph, where that is asked for. Subclasses say how a call
    is put on the stream (`_run`), in what types the inputs are, and what must be known before the first call (`_place`).
    """

    asynchronous = True

    def __init__(self, stream: Stream, graph: str, info: SessionInfo) -> None:
        self._stream, self._graph, self.info = stream, graph, info
        self._inputs = Inputs(stream)
        self._outputs: dict[str, Output] = {}
        self._go: Call = self._first

    @abc.abstractmethod
    def _run(self) -> None:
        """Put one inference on the stream."""

    @abc.abstractmethod
    def _typed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The model's own among `inputs`, in the types that it takes."""

    @abc.abstractmethod
    def _place(self) -> None:
        """Tell the runtime where inputs are, and fill `_outputs`."""

    def enter(self) -> None:
        self._stream.enter()

    def pin(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return self._inputs.pin(self._typed(inputs))

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._inputs.upload(self._typed(inputs))

    def start(self) -> None:
        self._go()

    def wait(self) -> None:
        self._stream.sync()

    def device_ns(self) -> int | None:
        return self._stream.elapsed_ns(self._go)

    def fetch(self) -> dict[str, Array]:
        for item in self._outputs.values():
            self._stream.download(item.place, item.pinned)
        self._stream.sync()
        return {name: item.pinned.array.copy() for name, item in self._outputs.items()}

    def close(self) -> None:
        """Let go of memory on the device now: a session refers to itself, and the collector may be off for long."""
        self._go = _closed
        self._outputs.clear()
        self._inputs.close()

    def _first(self) -> None:
        self._place()
        self._run()
        self._go, self.info = graphed(self._graph, self._run, self._captured, self.info)

    def _captured(self) -> Call:
        """A graph of a call that is known to compute from the inputs: what ran on the host while it was captured does not."""
        self._stream.sync()
        replay = self._stream.graph(self._run)
        given = {name: array.copy() for name, array in self._inputs.on_host().items()}
        self._inputs.upload({name: np.flip(array) for name, array in given.items()})
        self._run()
        expected = self.fetch()
        for item in self._outputs.values():
            self._stream.poison(item.place)
        replay()
        found = self.fetch()
        self._inputs.upload(given)
        wrong = [name for name in expected if not _alike(found[name], expected[name])]
        if wrong:
            raise RuntimeFailed(f"with other inputs its output {wrong[0]!r} is not what a call answers")
        replay()
        return replay


def _closed() -> None:
    raise RuntimeFailed("the session is closed")


def _alike(found: Array, expected: Array) -> bool:
    """Equal but for the order of sums."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    finite = b[np.isfinite(b)]
    most = ALIKE * float(np.abs(finite).max(initial=0.0))
    return bool(np.all((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= most)))
