"""Streams, memory, copies, events and CUDA graphs for sessions on an NVIDIA GPU. Imports cuda-core, inside functions.

Nothing here computes. PyTorch has its own streams and memory, and uses only `use_graph` of this module.
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

POISON = 0xFF  # four of these bytes are a NaN as float32
TOLERANCE = 1e-2  # of the largest output: two runs of the same kernels may add in another order
FLUSH_SHARE = 2  # of the L2 cache: as much memory is overwritten before a call with a cold cache
CALLS_BEFORE_CAPTURE = 2  # first calls choose kernels and allocate memory, which fails inside a capture
GRAPH_OPTION = {"cuda_graph": "auto: use a CUDA graph if one can be captured; on: fail if none can; off: launch every kernel"}
GRAPH_CHOICES = {"cuda_graph": ("auto", "on", "off")}
ON_STREAM = """\
from cuda import core

device = core.Device($index)
device.set_current()
alive = []


def on_stream(stream, run):
    alive.append(run)  # a graph keeps no reference to the memory that it uses
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
"""Part of programs to paste: calls on a stream as they were measured, in a CUDA graph unless the session had none."""


def import_core(install: str) -> Any:
    """Import `cuda.core`. Raise `Unavailable`, with `install` as the hint, if it is missing."""
    with installed("cuda-core", install):
        from cuda import core
    return core


def devices(install: str) -> tuple[str, ...]:
    """List the GPUs, as `cuda:0 NVIDIA H100`. Raise `Unavailable`, with the driver's reason, if there are none."""
    core = import_core(install)
    try:
        gpus = core.Device.get_all_devices()
    except Exception as error:  # no driver, a driver that is too old, or a driver without a GPU
        raise Unavailable(f"this machine has no usable NVIDIA GPU ({one_line(error)})") from error
    if not gpus:
        raise Unavailable("this machine has no NVIDIA GPU")
    return tuple(f"cuda:{gpu.device_id} {gpu.name}" for gpu in gpus)


def identity(index: int, install: str) -> str:
    """Name and compute capability of a GPU: an engine that was compiled on another one cannot be used."""
    device = import_core(install).Device(index)
    return f"{device.name} sm_{device.arch}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned:
    """Page-locked host memory, which a GPU can copy directly: as an `array`, and as the `buffer` of cuda-core.

    The array does not own the memory. It is valid while the buffer lives.
    """

    array: Array
    buffer: Any


class Stream:
    """A CUDA stream with its memory and two timing events. CUDA's errors are raised as cuda-core raises them."""

    def __init__(self, index: int, install: str) -> None:
        core = import_core(install)
        self._device = core.Device(index)
        self._device.set_current()
        self._stream = self._device.create_stream()
        self._begin, self._end = (self._device.create_event(core.EventOptions(timing_enabled=True)) for _ in range(2))
        self._host = core.LegacyPinnedMemoryResource()
        self._buffer = core.Buffer
        self._flushed: Any = None
        self.sync: Callable[[], None] = self._stream.sync
        self.handle = int(self._stream.handle)

    def enter(self) -> None:
        """Make this GPU current in the calling thread: CUDA's current device belongs to a thread."""
        self._device.set_current()

    def allocate(self, nbytes: int) -> Any:
        """Allocate a buffer of `nbytes` on the device; one byte for an empty array, since CUDA allocates no 0 bytes."""
        return self._device.allocate(max(1, nbytes), stream=self._stream)

    def view(self, address: int, nbytes: int) -> Any:
        """Wrap memory at `address` on the device. The caller keeps it alive."""
        return self._buffer.from_handle(address, max(1, nbytes))

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Pinned:
        """Allocate page-locked host memory for an array."""
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

    def copy(self, source: Any, target: Any) -> None:
        """Begin to copy from one buffer of the device to another of the same size."""
        target.copy_from(source, stream=self._stream)

    def poison(self, buffer: Any) -> None:
        """Begin to fill a buffer with NaN, which marks outputs that nothing writes."""
        buffer.fill(POISON, stream=self._stream)

    def flush_bytes(self) -> int:
        """Size of a buffer that replaces everything in the L2 cache."""
        return FLUSH_SHARE * int(self._device.properties.l2_cache_size)

    def flush(self) -> None:
        """Overwrite a buffer that is larger than the L2 cache, and wait for the end."""
        self._flushed = self._flushed or self.allocate(self.flush_bytes())
        self._flushed.fill(0, stream=self._stream)
        self.sync()

    def free_flushed(self) -> None:
        """Free the buffer of `flush`."""
        self._flushed = None

    def elapsed_ns(self, call: Call) -> int:
        """Time the work that `call` puts on the stream, in ns between two events, and wait for its end."""
        self._stream.record(self._begin)
        call()
        self._stream.record(self._end)
        self._end.sync()
        return int((self._end - self._begin) * 1e6)  # the difference of two events is in ms

    def graph(self, call: Call) -> Call:
        """Capture the work that `call` puts on the stream; return a function that launches it as one CUDA graph.

        Raises the exception of a capture that fails, and leaves the stream usable.
        """
        builder = self._stream.create_graph_builder()
        try:
            builder.begin_building("thread_local")
            call()
            graph = builder.end_building().complete()
        except BaseException:
            with suppress(Exception):
                builder.close()  # ends the failed capture, as end_building refuses to; until then the stream is unusable
            raise
        graph.upload(self._stream)
        return _launch(graph, self._stream)


def _launch(graph: Any, stream: Any) -> Call:
    launch = graph.launch  # looked up once, since a call of a small model takes microseconds
    return lambda: launch(stream)


class Inputs:
    """Inputs of a session: for each a buffer on the device, and the page-locked memory from which it is copied."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffers: dict[str, tuple[Pinned, Any]] = {}

    def pin(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Copy `inputs` to this session's page-locked memory."""
        self._stream.sync()  # an earlier upload may still read this memory
        return {name: self._pin(name, array).array for name, array in inputs.items()}

    def upload(self, inputs: Mapping[str, Array]) -> None:
        """Begin to copy `inputs` to the device. Arrays that `pin` returned need no copy on the host."""
        if any(name not in self._buffers or self._buffers[name][0].array is not array for name, array in inputs.items()):
            self.pin(inputs)
        for name in inputs:
            self._stream.upload(*self._buffers[name])

    def _pin(self, name: str, array: Array) -> Pinned:
        if name not in self._buffers:
            self._buffers[name] = (self._stream.pinned(array.shape, array.dtype), self._stream.allocate(array.nbytes))
        pinned, _ = self._buffers[name]
        # a CUDA graph has the addresses and sizes of its first call
        if pinned.array.shape != array.shape:
            raise RuntimeFailed(f"input {name!r} has shape {array.shape}; this session was bound with {pinned.array.shape}")
        if pinned.array is not array:
            np.copyto(pinned.array, array)
        return pinned

    def fill(self, name: str, source: Output) -> bool:
        """Begin to copy an output to the input `name`, on the device. False, without a copy, if their types or sizes differ."""
        pinned, buffer = self._buffers[name]
        alike = (pinned.array.dtype, pinned.array.shape) == (source.pinned.array.dtype, source.pinned.array.shape)
        if alike:
            self._stream.copy(source.buffer, buffer)
        return alike

    def address(self, name: str) -> int:
        """Address of an input on the device."""
        return int(self._buffers[name][1].handle)

    def close(self) -> None:
        """Free the memory of all inputs, on the device and the host."""
        self._buffers.clear()

    def on_host(self) -> dict[str, Array]:
        """Host arrays of the last inputs, by name. They are views: the next `pin` overwrites them."""
        return {name: pinned.array for name, (pinned, _) in self._buffers.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """An output of fixed shape: its buffer on the device, and the page-locked memory to which it is copied."""

    buffer: Any
    pinned: Pinned

    @property
    def address(self) -> int:
        """Address of the output on the device."""
        return int(self.buffer.handle)


def make_output(stream: Stream, shape: tuple[int, ...], dtype: Any) -> Output:
    """Allocate an output of `shape` and `dtype`."""
    pinned = stream.pinned(shape, dtype)
    return Output(buffer=stream.allocate(pinned.array.nbytes), pinned=pinned)


def program_values(cell: Cell) -> dict[str, Any]:
    """Values of the names in `ON_STREAM`: the GPU's index, and whether to capture a graph."""
    return {"index": Device.parse(cell.device).index, "graph": dict(cell.settings.options).get("cuda_graph") != "off"}


def use_graph(mode: str, run: Call, capture: Callable[[], Call], info: SessionInfo) -> tuple[Call, SessionInfo]:
    """Choose the call of a session after its first: the graph that `capture` makes, or `run`. Add the choice to `info`.

    If no graph can be captured, the mode `auto` uses `run` and adds a remark; the mode `on` raises.
    """
    if mode == "off":
        return run, _with_setting(info, "off")
    try:
        for _ in range(CALLS_BEFORE_CAPTURE):
            run()
        return capture(), _with_setting(info, "on")
    except Exception as error:  # a capture fails with exceptions of the runtime, of CUDA or of cuda-core
        failed = failure("no CUDA graph could be captured", error)
        if mode == "on" or isinstance(failed, OutOfMemory):
            raise failed from error
        with suppress(Exception):
            run()  # CUDA reports an asynchronous error again in the next call: take it here
        run()
        return run, replace(_with_setting(info, "off"), remarks=(*info.remarks, failed.message))


def _with_setting(info: SessionInfo, state: str) -> SessionInfo:
    return replace(info, settings=(*info.settings, ("cuda_graph", state)))


class CudaSession(Session):
    """A session with its own stream, and with inputs and outputs at fixed addresses on the device.

    The first call launches kernels. Later calls launch a CUDA graph of it, unless the option `cuda_graph` is off. Subclasses
    put a call on the stream (`_run`), convert inputs (`_typed`), and give the runtime all addresses (`_place`).
    """

    asynchronous = True
    # A graph has fixed addresses: it reads the state from one buffer and writes it to another, and `feed` copies it back.
    handover = "copied on the device between two buffers"

    def __init__(self, stream: Stream, graph: str, info: SessionInfo) -> None:
        self._stream, self._graph, self.info = stream, graph, info
        self._inputs = Inputs(stream)
        self._outputs: dict[str, Output] = {}
        self._call: Call = self._first_call

    @abc.abstractmethod
    def _run(self) -> None:
        """Put one inference on the stream."""

    @abc.abstractmethod
    def _typed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Select the model's inputs, in the dtypes that the runtime accepts."""

    @abc.abstractmethod
    def _place(self) -> None:
        """Give the runtime the addresses of the inputs, and fill `_outputs`. Called once, before the first `_run`."""

    def enter(self) -> None:
        self._stream.enter()

    def pin(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return self._inputs.pin(self._typed(inputs))

    def bind(self, inputs: Mapping[str, Array]) -> None:
        self._inputs.upload(self._typed(inputs))

    def start(self) -> None:
        self._call()

    def wait(self) -> None:
        self._stream.sync()

    def device_ns(self) -> int | None:
        return self._stream.elapsed_ns(self._call)

    def flush_bytes(self) -> int:
        return self._stream.flush_bytes()

    def flush(self) -> None:
        self._stream.flush()

    def fetch(self) -> dict[str, Array]:
        for item in self._outputs.values():
            self._stream.download(item.buffer, item.pinned)
        self._stream.sync()
        return {name: item.pinned.array.copy() for name, item in self._outputs.items()}

    def feed(self, feedback: Mapping[str, str], inputs: Mapping[str, Array]) -> None:
        outputs = self._outputs
        if not all(source in outputs and self._inputs.fill(target, outputs[source]) for source, target in feedback.items()):
            super().feed(feedback, inputs)

    def close(self) -> None:
        """Free memory on the device now. A session refers to itself, and measurements switch the garbage collector off."""
        self._call = _closed
        self._outputs.clear()
        self._inputs.close()
        self._stream.free_flushed()

    def _first_call(self) -> None:
        self._place()
        self._run()
        self._call, self.info = use_graph(self._graph, self._run, self._capture, self.info)

    def _capture(self) -> Call:
        """Capture a call as a graph, and compare its outputs on other inputs with those of a plain call."""
        self._stream.sync()
        replay = self._stream.graph(self._run)
        # A graph has only GPU work: a node that ran on the host during the capture has left a constant in it. Flipped
        # inputs and poisoned outputs show a constant, and an output that the graph does not write.
        inputs = {name: array.copy() for name, array in self._inputs.on_host().items()}
        self._inputs.upload({name: np.flip(array) for name, array in inputs.items()})
        self._run()
        expected = self.fetch()
        for item in self._outputs.values():
            self._stream.poison(item.buffer)
        replay()
        replayed = self.fetch()
        self._inputs.upload(inputs)
        wrong = [name for name in expected if not _almost_equal(replayed[name], expected[name])]
        if wrong:
            raise RuntimeFailed(f"on other inputs, output {wrong[0]!r} of the graph differs from that of a plain call")
        replay()  # the bound inputs are in place again: the outputs must be theirs
        return replay


def _closed() -> None:
    raise RuntimeFailed("the session is closed")


def _almost_equal(replayed: Array, expected: Array) -> bool:
    """Tell if two outputs are equal within `TOLERANCE` of the largest finite value; NaN equals NaN."""
    a, b = replayed.astype(np.float64), expected.astype(np.float64)
    finite = b[np.isfinite(b)]
    limit = TOLERANCE * float(np.abs(finite).max(initial=0.0))
    return bool(np.all((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= limit)))
