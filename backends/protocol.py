"""Base classes of a backend, which answers questions, and of the sessions that it opens. NumPy only.

Public methods check, and underscored methods do a runtime's work: a backend is one small file. Backends read no clock. The
worker times `start` and `wait`, therefore latency is the same interval for every backend, and tests need no clock either.
"""

from __future__ import annotations

import abc
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import devices
from ..errors import BenchError, Unavailable, Unsupported, failure, one_line, quantity
from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency, Device, Options, has_any
from ..tuning import Tunable
from .conversion import Converter

if TYPE_CHECKING:
    from .profiling import SessionProfiler
    from .recurrence import Recurrence
    from .rotation import Rotation

Array = NDArray[np.generic]
Answer = TypeVar("Answer")

DEVICE_LANES = (1, 2, 4)
PROFILED_CALLS, UNCOUNTED_CALLS = 10, 2
"""Calls whose kernels are timed, and how many of the first are left out: they allocate memory and start threads."""
SCHEMES_OF_7_BITS = ("portable-7bit", "openvino-7bit")
"""INT8 schemes with weights of 7 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Availability:
    """Availability of a backend on this machine: its version and devices, or the `reason` and the command to `install` it.

    A device is `cpu`, or an index and a name (`cuda:0 NVIDIA H100`).
    """

    available: bool
    version: str = ""
    devices: tuple[str, ...] = ()
    reason: str = ""
    install: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionInfo:
    """Facts of an open session, read from the runtime where it reports them.

    `executed`: types of the arithmetic, the larger share first (`int8+fp32`). `placement`: nodes on the requested device, of
    all nodes (`13/13 CPU`); None where the runtime does not report it. `settings`: names and values as the runtime reports
    them. `remarks`: differences from the request, each a sentence for people.
    """

    executed: str
    placement: str | None = None
    settings: Options = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """A file that a runtime compiled for a cell, to be loaded instead of the ONNX file, and the seconds that this took.

    `cached`: an earlier call compiled the file, in that many seconds. `remark`: the reason that an older engine was not used.
    `maker`: the runtime's version and the device, without which nothing can load the file. `recipe`: digest of the ONNX file
    and of the settings that decide the engine.
    """

    path: Path
    seconds: float
    cached: bool = False
    remark: str = ""
    sha256: str = ""
    maker: str = ""
    recipe: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """The folder that keeps engines, and the clock (in ns) that times their build.

    `build`: number of the build. Builds above 0 know nothing of earlier builds, and may get other kernels. `file`: an engine
    that the user keeps, which is used as it is; nothing is built then. `record`: the file that tells how `file` was built.
    `without_timings`: build 0 knows nothing of earlier builds either.
    """

    folder: Path
    now_ns: Callable[[], int]
    build: int = 0
    file: Path | None = None
    record: Path | None = None
    without_timings: bool = False


class Session(abc.ABC):
    """One call in flight on one compiled model; a context manager. One thread at a time may use a session.

    `asynchronous`: `start` returns while the device computes. One thread can then keep many lanes busy. `handover`: the way
    in which `feed` moves a state. `no_profile`: the reason of a session without a profiler. `recurrence`: the state that the
    worker feeds back between calls; None without `--feedback`. `rotation`: the arrays that the calls get in turn; None without
    `--inputs`. `precede`: work before each single call, outside of its time, such as a flush of the caches.
    """

    info: SessionInfo
    asynchronous: ClassVar[bool] = False
    no_profile: ClassVar[str] = "its runtime reports no times of kernels to this tool"
    handover: ClassVar[str] = "fetched and bound again"
    recurrence: Recurrence | None = None
    rotation: Rotation | None = None
    precede: Callable[[], None] | None = None

    def enter(self) -> None:  # noqa: B027 (most runtimes keep their threads in the session)
        """Set state of the calling thread, such as its GPU. Every thread calls `enter` before its first `start`."""

    def pin(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Copy `inputs` to host memory from which `bind` copies fastest; the session keeps these arrays alive."""
        return inputs

    @abc.abstractmethod
    def bind(self, inputs: Mapping[str, Array]) -> None:
        """Copy `inputs` (by ONNX name) to memory of the device, and allocate outputs whose shape is fixed."""

    @abc.abstractmethod
    def start(self) -> None:
        """Begin one inference on the bound inputs. Copy nothing to the device or back. May block until the inference ends."""

    @abc.abstractmethod
    def wait(self) -> None:
        """Return when the inference of the last `start` is done and its outputs are valid on the device."""

    @abc.abstractmethod
    def fetch(self) -> dict[str, Array]:
        """Copy the outputs of the last inference (by ONNX name) to new arrays on the host, in the dtypes of the ONNX file."""

    def feed(self, feedback: Mapping[str, str], inputs: Mapping[str, Array]) -> None:
        """Begin to copy outputs of the last inference to inputs of the next. `feedback`: the input of each output, by name.

        `inputs` are the arrays that were bound. Inputs that no output feeds keep their values.
        """
        outputs = self.fetch()
        self.bind({**inputs, **{target: outputs[source] for source, target in feedback.items()}})

    def refill(self, inputs: Mapping[str, Array]) -> None:
        """Begin to copy `inputs`, of the shapes that were bound, for the next call. Its outputs may stay where they are."""
        self.bind(inputs)

    @abc.abstractmethod
    def fork(self) -> Session:
        """Open another session on the same compiled model, without inputs. Both may run in two threads at once."""

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        """List the kernels of one call on the bound inputs, as the runtime reports them; empty if it reports none.

        May load the model again, and run it. With `timed`, each kernel has its median time.
        """
        return ()

    def profiler(self, folder: Path) -> SessionProfiler:
        """Open a session on the bound inputs in which the runtime's own profiler is on. It may load the model again.

        The runtime may write files into the empty `folder`. Raise `Unsupported` where the runtime reports no times.
        """
        raise Unsupported(self.no_profile)

    def device_ns(self) -> int | None:
        """Run one inference and time it with the device's clock, in ns from its begin on the device to its end.

        Without such a clock, return None and run nothing.
        """
        return None

    def flush_bytes(self) -> int:
        """Size of the buffer that `flush` overwrites on the device; 0 where the host computes, and the worker flushes."""
        return 0

    def flush(self) -> None:  # noqa: B027 (the worker flushes the host)
        """Overwrite the last-level cache of the device, and return when it is done."""

    def close(self) -> None:  # noqa: B027 (most runtimes free memory when the last reference goes)
        """Free the session's memory. The session cannot be used afterwards."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Backend(abc.ABC):
    """One runtime on one kind of device. Subclasses declare the class variables and the underscored methods.

    `precisions`: each precision that the backend accepts, with the runtime's own name or settings for it. `options`: names of
    `--option`, each with its meaning; `choices`: the allowed values, for options that have a fixed list. `builds`: `build`
    compiles an engine before `open`. `searches`: options, and their values with which each opening times kernels and chooses
    the fastest; an empty text stands for an option that is not set. `tunables`: options that `--tune` searches, the most
    promising first; none of them changes the arithmetic. `instrument`: the backend measures this tool, and nobody
    deploys on it. `on_request`: precisions that the runtime accepts but computes in another; they are skipped unless
    `--precision` names them. `int8_schemes`: the schemes of `bench export --int8` that the runtime takes. `int8_scheme`: the
    fastest one on it. `int8_scheme_without_vnni`: the one in its place on x86-64 CPUs without VNNI, where some runtimes cut
    sums off.
    `opsets`: the highest ONNX opset that the runtime takes, by the version from which this holds; empty for a runtime that
    states no limit. A file of a higher opset is lowered first.
    `open_shapes_since`: the first version that runs files which fill or gather integers or booleans by open sizes, or take a
    part of a shape. Earlier ones get such a file with the shapes of a row. Empty for a runtime that always runs them.
    `converter`: program that writes the file which the runtime reads; None for a runtime that reads ONNX files.
    `install`: the command that installs the runtime.
    """

    name: ClassVar[str]
    device_kind: ClassVar[str] = "cpu"
    instrument: ClassVar[bool] = False
    precisions: ClassVar[Mapping[str, Any]]
    options: ClassVar[Mapping[str, str]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    builds: ClassVar[bool] = False
    searches: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    tunables: ClassVar[tuple[Tunable, ...]] = ()
    on_request: ClassVar[tuple[str, ...]] = ()
    int8_scheme: ClassVar[str] = "portable"
    int8_scheme_without_vnni: ClassVar[str] = ""
    int8_schemes: ClassVar[tuple[str, ...]] = ("portable", "layers", "portable-7bit")
    opsets: ClassVar[Mapping[str, int]] = {}
    open_shapes_since: ClassVar[str] = ""
    converter: ClassVar[Converter | None] = None
    install: ClassVar[str] = ""

    def probe(self) -> Availability:
        """Report the version and devices here, or the reason that there are none. Never raises."""
        try:
            return self._probe()
        except Unavailable as error:
            return Availability(available=False, reason=error.message, install=error.hint)
        except Exception as error:  # whatever a broken installation raises
            return Availability(available=False, reason=f"{type(error).__name__}: {one_line(error)}", install=self.install)

    def supports(self, cell: Cell, artifact: Artifact) -> str | None:
        """Give the reason that this backend cannot run `cell`, or None. Imports no runtime and opens no file."""
        if Device.parse(cell.device).kind != self.device_kind:
            return f"{self.name} runs on the device {self.device_kind}, not on {cell.device}"
        if cell.precision not in self.precisions:
            return f"{self.name} does not support {cell.precision}; it supports {', '.join(self.precisions)}"
        unknown = sorted(name for name, _ in cell.settings.options if name not in self.options)
        if unknown:
            return f"{self.name} has no option {unknown[0]}; its options: {', '.join(self.options) or 'none'}"
        for name, value in cell.settings.options:
            if value not in self.choices.get(name, (value,)):
                return f"{self.name} does not accept {name}={value}; values: {', '.join(self.choices[name])}"
        if cell.scheme and cell.scheme not in self.int8_schemes:
            return f"{self.name} does not take the INT8 scheme {cell.scheme}; it takes {', '.join(self.int8_schemes)}"
        return self._supports(cell, artifact)

    def fastest_int8_scheme(self) -> str:
        """The fastest scheme whose answers are right on this CPU."""
        return (self.int8_scheme_without_vnni if devices.lacks_vnni() else "") or self.int8_scheme

    def highest_opset(self, version: str) -> int:
        """Highest opset that this `version` takes; 0 without a limit, and for a version before all of `opsets`."""
        numbers = {_numbers(first): opset for first, opset in self.opsets.items()}
        return max((opset for first, opset in numbers.items() if first <= _numbers(version)), default=0)

    def fixes_shapes(self, version: str) -> bool:
        """True if this `version` gets such a file with the shapes of its row (`open_shapes_since`)."""
        return bool(self.open_shapes_since) and _numbers(version) < _numbers(self.open_shapes_since)

    def concurrencies(self, threads: int) -> tuple[Concurrency, ...]:
        """List the concurrencies to try for throughput on `threads` compute threads, that of the latency session first.

        On a CPU: 1, 2, 4, ... calls in parallel that divide the threads among them, and two calls that share all threads. On
        a GPU: 1, 2 and 4 calls in flight, because the host's threads do not compute.
        """
        if self.device_kind != "cpu":
            return tuple(Concurrency(lanes=lanes, threads=threads) for lanes in DEVICE_LANES)
        lanes = (*_powers_of_two(threads), threads)
        divided = (Concurrency(lanes=count, threads=max(1, threads // count)) for count in lanes)
        # fromkeys: without doubles, and in this order
        return tuple(dict.fromkeys((*divided, Concurrency(lanes=2, threads=threads))))

    def is_searching(self, cell: Cell) -> bool:
        """True if every opening of `cell` times kernels and chooses the fastest."""
        return has_any(cell.settings.options, self.searches)

    def convert(self, artifact: Artifact, cell: Cell, folder: Path, samples: Path | None = None) -> None:
        """Write the file of `cell` in the runtime's own format into the empty `folder`, which is `artifact.converted` later.

        `samples`: an .npz file of calibration samples by input name, for a precision in `converter.calibrated`. The first axis
        of each array counts samples. Raise `Unsupported` with the name of an operator that the converter lacks.
        """
        if samples is None:
            self._guard("convert", lambda: self._convert(artifact, cell, folder))
        else:
            self._guard("quantize", lambda: self._convert_calibrated(artifact, cell, folder, samples))

    def build(self, artifact: Artifact, cell: Cell, workshop: Workshop) -> Engine | None:
        """Compile the engine of `cell`, or find it in the workshop; None for a runtime that compiles none."""
        return self._guard("build", lambda: self._build(artifact, cell, workshop))

    def open(
        self, artifact: Artifact, cell: Cell, concurrency: Concurrency | None = None, engine: Engine | None = None
    ) -> Session:
        """Open a session for `cell`, compiled and ready to bind; for one call in flight unless `concurrency` says more.

        `engine` is the result of `build`. Without it a runtime that builds compiles a new engine, and keeps no file of it.
        Raise `RuntimeFailed` or `OutOfMemory` for every exception of the runtime.
        """
        single = Concurrency(threads=cell.settings.threads)
        return self._guard("load", lambda: self._open_engine(artifact, cell, concurrency or single, engine))

    def _guard(self, verb: str, work: Callable[[], Answer]) -> Answer:
        try:
            return work()
        except BenchError:
            raise
        except Exception as error:  # each runtime has its own exception classes, often plain RuntimeError
            raise failure(f"{self.name} cannot {verb} the model", error) from error

    def _convert(self, artifact: Artifact, cell: Cell, folder: Path) -> None:
        raise Unavailable(f"{self.name} has no converter")

    def _convert_calibrated(self, artifact: Artifact, cell: Cell, folder: Path, samples: Path) -> None:
        raise Unavailable(f"{self.name} has no quantizer")

    def _build(self, artifact: Artifact, cell: Cell, workshop: Workshop) -> Engine | None:
        return None

    def _open_engine(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, engine: Engine | None) -> Session:
        return self._open(artifact, cell, concurrency)

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        return None

    @abc.abstractmethod
    def _probe(self) -> Availability: ...

    @abc.abstractmethod
    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session: ...

    def deploy(self, concurrency: Concurrency) -> str:
        """Describe `concurrency` in the runtime's own terms, to copy into a deployment."""
        return f"{quantity(concurrency.lanes, 'call')} in parallel, {quantity(concurrency.threads, 'thread')} each"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        """Write a program that runs `cell` with `concurrency`, and prints items per second; empty if there is none.

        The program imports the runtime and NumPy, and nothing of this package. It opens `artifact.path`.
        """
        return ""

    def engine_snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, engine: Engine) -> str:
        """Write the program of `snippet` that loads `engine.path` instead of building an engine."""
        return self.snippet(artifact, cell, concurrency)


def setting(cell: Cell, name: str, default: str = "") -> str:
    """Value of the option `name` in `cell`; the default for an option that is not set."""
    return dict(cell.settings.options).get(name, default)


def _numbers(version: str) -> tuple[int, ...]:
    """Numbers at the beginning of a version: 10 and 15 of `10.15.1rc1` with its last number."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _powers_of_two(limit: int) -> Iterator[int]:
    """1, 2, 4, ... up to `limit`."""
    return (1 << exponent for exponent in range(limit.bit_length()))


def join_types(types: Iterable[str]) -> str:
    """Join types to `int8+fp32`: each type once, the most frequent first."""
    return "+".join(name for name, _ in Counter(types).most_common())
