"""MNN on the CPU, with files that its own converter writes. NumPy and MNN only.

The precision mode is pinned: in its mode `low` MNN computes in FP16 where the CPU has the instructions. MNN reports no types of
its kernels. A network of one multiplication, which is written beside the converted file, shows what a mode does on this CPU.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import RuntimeFailed, Unsupported, installed, one_line, quantity
from ..spec import Artifact, Cell, Concurrency
from . import snippets
from .arithmetic import arithmetic_of
from .conversion import Converter, run_program
from .opening import part
from .protocol import Array, Availability, Backend, Session, SessionInfo

NET, PROBE = "net.mnn", "probe.mnn"  # the converted file, and the network of one multiplication
CONVERT = "import sys, _tools; _tools.mnnconvert(['MNNConvert', *sys.argv[1:]])"  # without the log that MNN's own program sends
ARM = platform.machine() in ("aarch64", "arm64")
WINOGRAD_MEMORY_LEVEL, DEFAULT_LEVEL = 3, 3  # number of MNN's hint, and its value in MNN
LACKING = re.compile(r"These Op Not Support: *(.+)")

MNN_PROGRAM = """\
import MNN.expr as F
import MNN.nn as nn

manager = nn.create_runtime_manager(({"backend": "CPU", "precision": $mode, "numThread": THREADS},))
manager.set_hint(3, $winograd)  # the level of memory for Winograd convolutions
net = nn.load_module_from_file(MODEL + "/net.mnn", $inputs_of, $outputs_of, runtime_manager=manager)


def variable(array):
    kind, dtype = (F.float, np.float32) if array.dtype.kind == "f" else (F.int, np.int32)
    return F.const(np.ascontiguousarray(array, dtype), array.shape, F.NCHW, kind)


def open_lane():
    own = net.clone()
    values = [variable(array) for array in inputs.values()]
    return lambda: own.forward(values)
"""


class MnnSession(Session):
    """A module of MNN. A call is one `forward`, which computes before it returns."""

    no_profile = "a module of MNN reports no times of its operators to Python"

    def __init__(self, net: Any, artifact: Artifact, info: SessionInfo) -> None:
        self._net, self._artifact, self.info = net, artifact, info
        self._values: list[Any] = []
        self._answers: Sequence[Any] = ()

    def bind(self, inputs: Mapping[str, Array]) -> None:
        missing = [spec.name for spec in self._artifact.inputs if spec.name not in inputs]
        if missing:
            raise RuntimeFailed(f"input {missing[0]!r} is not bound")
        self._values = [_variable(inputs[spec.name]) for spec in self._artifact.inputs]

    def start(self) -> None:
        self._answers = self._net.forward(self._values)

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        answers = zip(self._artifact.outputs, self._answers)
        return {spec.name: np.array(answer.read()).astype(spec.dtype) for spec, answer in answers}

    def fork(self) -> Session:
        return MnnSession(self._net.clone(), self._artifact, self.info)


def _variable(array: Array) -> Any:
    """A copy of the array as MNN takes it: floats of 32 bits, and integers or booleans as integers of 32 bits."""
    import MNN.expr as F

    kind, dtype = (F.float, np.float32) if array.dtype.kind == "f" else (F.int, np.int32)
    return F.const(np.ascontiguousarray(array, dtype), array.shape, F.NCHW, kind)


class MnnCpu(Backend):
    """MNN's CPU backend."""

    name = "mnn-cpu"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "high", "fp16": "low", "int8": "high"}
    # `low` is FP32 on x86-64; MNN 3.6 does not convert files in INT8, and a row says so
    on_request = ("int8",) if ARM else ("fp16", "int8")
    options: ClassVar[Mapping[str, str]] = {
        "winograd": "0 to 3: sizes of Winograd convolutions that MNN chooses from; 3 (default) is fastest, and rounds most"
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"winograd": ("0", "1", "2", "3")}
    install = "pip install 'onnxbench[mnn]'"
    converter = Converter(name="mnnconvert", packages=("mnn",), install="pip install mnn", from_fp32=("fp16",))

    def _probe(self) -> Availability:
        mnn = _import_mnn()
        return Availability(available=True, version=str(mnn.version()), devices=("cpu",))

    def deploy(self, concurrency: Concurrency) -> str:
        return f"numThread={concurrency.threads} · {quantity(concurrency.lanes, 'clone')} of the module, each in its own thread"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        case = snippets.ProgramCase(artifact, cell, concurrency)
        values: dict[str, Any] = {
            f"{kind}_of": [spec.name for spec in getattr(artifact, kind)] for kind in ("inputs", "outputs")
        }
        values |= {"mode": self.precisions[cell.precision], "winograd": _winograd(cell)}
        return snippets.write_program(MNN_PROGRAM, case, snippets.THREADED, **values)

    def _convert(self, artifact: Artifact, cell: Cell, folder: Path) -> None:
        _import_mnn()
        files = ("--modelFile", Path(artifact.path).absolute(), "--MNNModel", NET)
        weights = ("--fp16",) if cell.precision == "fp16" else ()
        # by default it approximates Gelu, and marks the file for its own statistics
        exact = ("--useGeluApproximation", "0", "--bizCode", "onnxbench")
        command = (sys.executable, "-c", CONVERT, "-f", "ONNX", *files, *exact, *weights)
        output = run_program(command, folder, name="mnnconvert")
        lacking = LACKING.search(output)
        if lacking:
            raise Unsupported(f"MNN lacks operators of this model: {one_line(lacking[1])}")
        if not (folder / NET).is_file():
            raise RuntimeFailed("mnnconvert wrote no file")
        _write_probe(folder / PROBE)

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        _import_mnn()
        mode, folder = self.precisions[cell.precision], Path(artifact.converted)
        level = _winograd(cell)
        load = partial(_load, mode=mode, threads=concurrency.threads, winograd=level)
        names = ([spec.name for spec in specs] for specs in (artifact.inputs, artifact.outputs))
        with part("parse and optimize"):
            net = load(folder / NET, *names)
        executed = arithmetic_of(partial(_answer, load(folder / PROBE, ["values", "weights"], ["sum"])))
        settings = (("threads", str(concurrency.threads)), ("precision", mode), ("winograd", str(level)))
        return MnnSession(net, artifact, SessionInfo(executed=executed, settings=settings))


def _winograd(cell: Cell) -> int:
    return int(dict(cell.settings.options).get("winograd", DEFAULT_LEVEL))


def _import_mnn() -> Any:
    with installed("MNN", MnnCpu.install), _prints_to_errors():
        import MNN
        import MNN.nn
    return MNN


@contextmanager
def _prints_to_errors() -> Iterator[None]:
    """Send what native code prints to standard output inside to standard error: MNN greets with the features of the CPU."""
    sys.stdout.flush()
    output = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(output, 1)
        os.close(output)


def _load(file: Path, inputs: Sequence[str], outputs: Sequence[str], *, mode: str, threads: int, winograd: int) -> Any:
    """The module in `file`, with a pinned precision mode."""
    from MNN import nn

    with _prints_to_errors():
        manager = nn.create_runtime_manager(({"backend": "CPU", "precision": mode, "numThread": threads},))
        manager.set_hint(WINOGRAD_MEMORY_LEVEL, winograd)
        return nn.load_module_from_file(str(file), list(inputs), list(outputs), runtime_manager=manager)


def _write_probe(file: Path) -> None:
    """Write a network that multiplies a row of two values with a column of two weights."""
    import MNN.expr as F

    values, weights = F.placeholder([1, 2], F.NCHW, F.float), F.placeholder([2, 1], F.NCHW, F.float)
    values.name, weights.name = "values", "weights"
    product = F.matmul(values, weights)
    product.name = "sum"
    F.save([product], str(file))


def _answer(net: Any, values: Sequence[float], weights: Sequence[float]) -> float:
    """Sum of the products of at most two `values` and `weights`, by the network of `_write_probe`."""
    row, column = (np.array([*numbers, 0.0][:2], np.float32) for numbers in (values, weights))
    answers = net.forward([_variable(row.reshape(1, 2)), _variable(column.reshape(2, 1))])
    return float(np.array(answers[0].read()).ravel()[0])
