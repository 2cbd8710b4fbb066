"""What a backend is: it answers questions and opens sessions. NumPy only; no clock, no printing, no state.

`Backend` and `Session` are base classes whose public methods check and whose underscored methods do the work, so
that a backend is one small file. Two things follow from nobody here reading a clock: the interval that is called
latency is the same for all, and every backend can be tested without one.
"""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import BenchError, Unavailable, failure, one_line, quantity
from ..evidence import Kernel
from ..spec import Artifact, Cell, Concurrency, Device, Options

Array = NDArray[np.generic]
Answer = TypeVar("Answer")

DEVICE_LANES = (1, 2, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Availability:
    """Whether a backend can run here: if so its version and devices, if not the reason and how to get it."""

    available: bool
    version: str = ""
    devices: tuple[str, ...] = ()
    reason: str = ""
    install: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionInfo:
    """What really runs, from the runtime's own evidence where it gives any.

    `executed`: types of the arithmetic, the larger share first (`int8+fp32`). `placement`: nodes on the asked
    device of all nodes (`13/13 CPU`), None where the runtime does not tell. `settings`: as read back. `remarks`: in what way
    it runs otherwise than asked, in sentences for people.
    """

    executed: str
    placement: str | None = None
    settings: Options = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """What a runtime compiled for a cell before it is opened: the file at `path`, and how many seconds that took.

    `cached`: it was there already, and took so long when it was made. `remark`: what was in its place and could not be used.
    """

    path: Path
    seconds: float
    cached: bool = False
    remark: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """What building needs: a folder that keeps what was built, and a clock in nanoseconds."""

    folder: Path
    now_ns: Callable[[], int]


class Session(abc.ABC):
    """One in-flight slot on one compiled model; a context manager. Not to be used by two threads at once.

    `asynchronous`: `start` returns while the device computes, so that one thread can keep many lanes busy.
    """

    info: SessionInfo
    asynchronous: ClassVar[bool] = False

    def enter(self) -> None:  # noqa: B027 (most runtimes keep their threads in the session)
        """Called by a thread that is about to make calls: set what belongs to a thread and not to a session."""

    def pin(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """`inputs` as host arrays from which `bind` copies fastest; they are the session's own and stay where they are."""
        return inputs

    @abc.abstractmethod
    def bind(self, inputs: Mapping[str, Array]) -> None:
        """Put `inputs` (by ONNX name) where the device wants them, and make room for outputs of known shape."""

    @abc.abstractmethod
    def start(self) -> None:
        """Begin one inference on what is bound. No transfer happens in here. May block until it is done."""

    @abc.abstractmethod
    def wait(self) -> None:
        """Return when the inference that `start` began is done and its result could be used on the device."""

    @abc.abstractmethod
    def fetch(self) -> dict[str, Array]:
        """The outputs of the last inference by ONNX name, as fresh arrays on the host."""

    @abc.abstractmethod
    def fork(self) -> Session:
        """Another slot on the same compiled model, with nothing bound."""

    def kernels(self, timed: bool = False) -> tuple[Kernel, ...]:
        """What the runtime does in one call on what is bound, in its own words; empty where it does not tell.

        May load the model another time, and run it; `timed` asks for times too.
        """
        return ()

    def device_ns(self) -> int | None:
        """One inference on what is bound, timed by the device's own clock: nanoseconds from when the device reached it until
        it was done; None, with nothing done, where the device has no clock.
        """
        return None

    def close(self) -> None:  # noqa: B027 (most runtimes free what they hold when nothing refers to it)
        """Free what the session holds."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Backend(abc.ABC):
    """One runtime on one kind of device. Subclasses declare the class variables and the underscored methods.

    `precisions`: what each precision that it takes is called in the runtime's own terms. `options`: the names that
    `--option` takes, with what they mean, and `choices` the values of those that take only some. `builds`: it compiles a
    model ahead of opening it, which `build` does. `instrument`: it measures the tool itself, and is never a target.
    `on_request`: precisions that it takes but does not compute in, measured beside FP32 only when they are named.
    `int8_scheme`: of `bench export --int8`, the one that it computes most of in 8 bits.
    """

    name: ClassVar[str]
    device_kind: ClassVar[str] = "cpu"
    instrument: ClassVar[bool] = False
    precisions: ClassVar[Mapping[str, Any]]
    options: ClassVar[Mapping[str, str]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    builds: ClassVar[bool] = False
    on_request: ClassVar[tuple[str, ...]] = ()
    int8_scheme: ClassVar[str] = "portable"
    install: ClassVar[str] = ""

    def probe(self) -> Availability:
        """What can run here. Never raises."""
        try:
            return self._probe()
        except Unavailable as error:
            return Availability(available=False, reason=error.message, install=error.hint)
        except Exception as error:  # whatever a broken installation raises
            return Availability(available=False, reason=f"{type(error).__name__}: {one_line(error)}", install=self.install)

    def supports(self, cell: Cell, artifact: Artifact) -> str | None:
        """Why `cell` cannot be run, or None. Pure: nothing is imported or opened."""
        if Device.parse(cell.device).kind != self.device_kind:
            return f"{self.name} runs on {self.device_kind}, not on {cell.device}"
        if cell.precision not in self.precisions:
            return f"{self.name} has no {cell.precision} (it has {', '.join(self.precisions)})"
        unknown = sorted(name for name, _ in cell.settings.options if name not in self.options)
        if unknown:
            return f"{self.name} has no option {unknown[0]} (it has {', '.join(self.options) or 'none'})"
        for name, value in cell.settings.options:
            if value not in self.choices.get(name, (value,)):
                return f"{self.name} takes {name}={'|'.join(self.choices[name])}, not {value!r}"
        return self._supports(cell, artifact)

    def concurrencies(self, threads: int) -> tuple[Concurrency, ...]:
        """What is worth trying for throughput on `threads` compute threads, the latency session's own way first.

        On a CPU: whole calls side by side instead of one call on all threads, up to one for each thread, and two calls
        that share all. On another device the host's threads do not compute, and lanes alone are tried.
        """
        if self.device_kind != "cpu":
            return tuple(Concurrency(lanes=lanes, threads=threads) for lanes in DEVICE_LANES)
        lanes = (*_powers_of_two(threads), threads)
        sideways = (Concurrency(lanes=count, threads=max(1, threads // count)) for count in lanes)
        return tuple(dict.fromkeys((*sideways, Concurrency(lanes=2, threads=threads))))

    def build(self, artifact: Artifact, cell: Cell, workshop: Workshop) -> Engine | None:
        """What `open` loads instead of the file, compiled now or found in the workshop; None for runtimes that do not build."""
        return self._guarded("build", lambda: self._build(artifact, cell, workshop))

    def open(
        self, artifact: Artifact, cell: Cell, concurrency: Concurrency | None = None, built: Engine | None = None
    ) -> Session:
        """A session for `cell`, compiled and ready to bind, for one call in flight or for `concurrency`.

        `built` is what `build` answered; without it what must be built is, and is not kept. Every foreign exception comes
        out as `RuntimeFailed`, or as `OutOfMemory`.
        """
        asked = concurrency or Concurrency(threads=cell.settings.threads)
        return self._guarded("load", lambda: self._open_built(artifact, cell, asked, built))

    def _guarded(self, what: str, work: Callable[[], Answer]) -> Answer:
        try:
            return work()
        except BenchError:
            raise
        except Exception as error:  # each runtime has exceptions of its own; here is their edge
            raise failure(f"{self.name} cannot {what} the model", error) from error

    def _build(self, artifact: Artifact, cell: Cell, workshop: Workshop) -> Engine | None:
        return None

    def _open_built(self, artifact: Artifact, cell: Cell, concurrency: Concurrency, built: Engine | None) -> Session:
        return self._open(artifact, cell, concurrency)

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        return None

    @abc.abstractmethod
    def _probe(self) -> Availability: ...

    @abc.abstractmethod
    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session: ...

    def deploy(self, concurrency: Concurrency) -> str:
        """`concurrency` in the runtime's own terms, to paste into a deployment."""
        return f"{quantity(concurrency.lanes, 'call')} in parallel, {quantity(concurrency.threads, 'thread')} each"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        """A program that runs `cell` in the way of `concurrency` and prints items a second, with the runtime and NumPy alone;
        empty where there is none. It opens `artifact.path`."""
        return ""


def _powers_of_two(most: int) -> Iterator[int]:
    """1, 2, 4, ... up to `most`."""
    return (1 << exponent for exponent in range(most.bit_length()))


def by_share(types: Iterable[str]) -> str:
    """`int8+fp32`: every type once, the most frequent first."""
    return "+".join(name for name, _ in Counter(types).most_common())
