"""LiteRT (formerly TensorFlow Lite) on the CPU, with files that onnx2tf converts. NumPy and ai-edge-litert only.

onnx2tf stores images with channels last, and may do the same to outputs. The conversion finds the order of the axes by running
both files once, and a session puts them back. onnx2tf also marks every file as one that may be computed in FP16, which XNNPACK
does where the CPU has the instructions. That mark is taken away here.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import RuntimeFailed, Unsupported, installed, one_line, quantity
from ..spec import Artifact, Cell, Concurrency, TensorSpec
from . import snippets
from .conversion import Converter, run_program
from .protocol import Array, Availability, Backend, Session, SessionInfo, join_types

NET, LAYOUT = "net.tflite", "layout.json"
WORK, SOURCE = "work", "net.onnx"  # folder of the converter, and its input
FP16_MARK, NO_MARK = b"reduced_precision_support", b"reduced_precision_ignored"  # of the same length
TYPES = {"float32": "fp32", "float16": "fp16", "int8": "int8"}
LAYERS = ("CONV", "FULLY_CONNECTED", "BATCH_MATMUL", "DELEGATE")
PREFIX = "serving_default_"  # of names of tensors in some files
CHANNEL_RANKS = (3, 4, 5)
MOST_RANK = 5  # whose orders of axes are tried
CLOSE = 1e-2  # relative error of an output in the right order of its axes: rounding is far below
LACKING = ("not yet implemented", "reason_code=", "is not supported")
CONVERTER_INSTALL = (
    "python3.12 -m venv venvs/onnx2tf && venvs/onnx2tf/bin/pip install onnx2tf==2.6.9, then add --python onnx2tf=venvs/onnx2tf"
)

LITERT_PROGRAM = """\
import json

from ai_edge_litert.interpreter import Interpreter

with open(MODEL + "/layout.json") as file:
    layout = json.load(file)


def open_lane():
    interpreter = Interpreter(model_path=MODEL + "/net.tflite", num_threads=THREADS)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    for name, array in inputs.items():
        place, detail = layout["inputs"][name], details[layout["inputs"][name]["place"]]
        array = array if place["axes"] is None else np.transpose(array, place["axes"])
        interpreter.set_tensor(detail["index"], np.ascontiguousarray(array, detail["dtype"]).reshape(detail["shape"]))
    return interpreter.invoke
"""

Place = Mapping[str, Any]
"""Place of a tensor: its number in the file (`place`), and the order of its `axes`, or None for a change of the rank alone.

`axes` go from the ONNX file to the converted file for inputs, and back for outputs. `shape`: that of an output.
"""


class LitertSession(Session):
    """An interpreter of the file, which runs one call at a time."""

    def __init__(self, file: Path, artifact: Artifact, layout: Mapping[str, Mapping[str, Place]], threads: int) -> None:
        self._file, self._artifact, self._layout, self._threads = file, artifact, layout, threads
        self._interpreter = open_interpreter(file, threads)
        self._inputs, self._outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.info = _info(self._interpreter, threads)

    def bind(self, inputs: Mapping[str, Array]) -> None:
        for spec in self._artifact.inputs:
            if spec.name not in inputs:
                raise RuntimeFailed(f"input {spec.name!r} is not bound")
        _set_inputs(self._interpreter, self._inputs, self._layout["inputs"], inputs)

    def start(self) -> None:
        self._interpreter.invoke()

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        outputs = {}
        for spec in self._artifact.outputs:
            place = self._layout["outputs"][spec.name]
            array = self._interpreter.get_tensor(self._outputs[place["place"]]["index"])
            outputs[spec.name] = np.array(_ordered(array, place["axes"]).reshape(place["shape"]).astype(spec.dtype))
        return outputs

    def fork(self) -> Session:
        return LitertSession(self._file, self._artifact, self._layout, self._threads)

    def close(self) -> None:
        self._interpreter = None


class LitertCpu(Backend):
    """LiteRT's interpreter with XNNPACK, its library of CPU kernels."""

    name = "litert-cpu"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "float32"}
    install = "pip install 'onnxbench[litert]'"
    converter = Converter(name="onnx2tf", packages=("onnx2tf",), install=CONVERTER_INSTALL, fixes_shapes=True)

    def _probe(self) -> Availability:
        _import_interpreter()
        from importlib.metadata import version

        return Availability(available=True, version=version("ai-edge-litert"), devices=("cpu",))

    def deploy(self, concurrency: Concurrency) -> str:
        return f"num_threads={concurrency.threads} · {quantity(concurrency.lanes, 'interpreter')}, each in its own thread"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        if cell.feedback:
            return ""
        return snippets.write_program(LITERT_PROGRAM, snippets.ProgramCase(artifact, cell, concurrency), snippets.THREADED)

    def _convert(self, artifact: Artifact, cell: Cell, folder: Path) -> None:
        work = folder / WORK
        work.mkdir()
        shapes = dict(cell.shapes)
        images = [spec.name for spec in artifact.inputs if len(shapes[spec.name]) in CHANNEL_RANKS]
        _write_fixed(Path(artifact.path), cell, work / SOURCE)
        _run_converter(images, folder)
        files = sorted(work.glob("*_float32.tflite"))
        if not files:
            raise RuntimeFailed("onnx2tf wrote no file")
        (folder / NET).write_bytes(without_mark(files[0].read_bytes()))
        shutil.rmtree(work)
        (folder / LAYOUT).write_text(json.dumps(find_layout(artifact, cell, folder / NET)))

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        _import_interpreter()
        folder = Path(artifact.converted)
        layout = json.loads((folder / LAYOUT).read_text())
        return LitertSession(folder / NET, artifact, layout, concurrency.threads)


def _run_converter(images: Sequence[str], folder: Path) -> None:
    """Run onnx2tf in `folder`. `images`: inputs whose channels stay where they are."""
    keep = ["-k", *images] if images else []
    command = [sys.executable, "-m", "onnx2tf", "-i", f"{WORK}/{SOURCE}", "-o", WORK, "-n", *keep]
    try:
        run_program(command, folder, name="onnx2tf")
    except RuntimeFailed as error:
        if any(words in error.message for words in LACKING):
            raise Unsupported(error.message, error.hint) from error
        raise


def _write_fixed(file: Path, cell: Cell, target: Path) -> None:
    """Copy an ONNX file, with the shapes of `cell` in place of open dimensions: onnx2tf 2.6 ignores its own option for that."""
    import onnx

    model, shapes = onnx.load(str(file)), dict(cell.shapes)
    for tensor in model.graph.input:
        dimensions = tensor.type.tensor_type.shape.dim
        for dimension, size in zip(dimensions, shapes.get(tensor.name, ())):
            dimension.dim_value = size
    del model.graph.value_info[:]  # shapes that follow from the open ones
    onnx.save(model, str(target))


def without_mark(content: bytes) -> bytes:
    """A file of which XNNPACK computes FP32 in FP32 alone: the name of the mark is another one of the same length."""
    return content.replace(FP16_MARK, NO_MARK)


def open_interpreter(file: Path, threads: int) -> Any:
    """An interpreter with memory for its tensors. `Unsupported` for a file that may be computed in FP16."""
    if FP16_MARK in file.read_bytes():
        raise Unsupported(f"{file.name} allows LiteRT to compute FP32 in FP16", "convert the file again: bench cache --clear")
    interpreter = _import_interpreter()(model_path=str(file), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def _import_interpreter() -> Any:
    with installed("LiteRT", LitertCpu.install):
        from ai_edge_litert.interpreter import Interpreter
    return Interpreter


def _info(interpreter: Any, threads: int) -> SessionInfo:
    """Types of the values that layers read, and the number of parts of the graph that XNNPACK runs."""
    operators = interpreter._get_ops_details()
    layers = [item for item in operators if any(part in item["op_name"] for part in LAYERS)]
    names = [np.dtype(kind).name for item in layers for kind in item["operand_types"]]
    executed = join_types(TYPES[name] for name in names if name in TYPES) or "fp32"
    parts = sum(item["op_name"] == "DELEGATE" for item in operators)
    return SessionInfo(executed=executed, settings=(("threads", str(threads)), ("xnnpack_parts", str(parts))))


def _set_inputs(interpreter: Any, details: Sequence[Any], places: Mapping[str, Place], arrays: Mapping[str, Array]) -> None:
    for name, place in places.items():
        detail = details[place["place"]]
        array = np.ascontiguousarray(_ordered(arrays[name], place["axes"]), detail["dtype"])
        interpreter.set_tensor(detail["index"], array.reshape(detail["shape"]))


def _ordered(array: Array, axes: Sequence[int] | None) -> Array:
    return array if axes is None else np.transpose(array, axes)


def find_layout(artifact: Artifact, cell: Cell, file: Path) -> dict[str, dict[str, Place]]:
    """Places of all inputs and outputs. Runs the ONNX file and the converted file once, with the same random inputs.

    Needs ONNX Runtime, which onnx2tf needs too. `RuntimeFailed` if no order of the axes gives the answers of the ONNX file.
    """
    import onnxruntime

    arrays = _draw(artifact.inputs, cell)
    interpreter = open_interpreter(file, cell.settings.threads)
    details = interpreter.get_input_details()
    inputs = {name: _input_place(name, number, array.shape, details) for number, (name, array) in enumerate(arrays.items())}
    _set_inputs(interpreter, details, inputs, arrays)
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    answers = [interpreter.get_tensor(detail["index"]) for detail in outputs]
    session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in artifact.outputs]
    expected = dict(zip(names, session.run(names, arrays)))
    return {"inputs": inputs, "outputs": {name: output_place(name, array, answers) for name, array in expected.items()}}


def _draw(specs: Sequence[TensorSpec], cell: Cell) -> dict[str, Array]:
    """Random inputs of an ONNX file, of plausible values."""
    generator, shapes = np.random.default_rng(0), dict(cell.shapes)
    arrays: dict[str, Array] = {}
    for spec in specs:
        shape = shapes[spec.name]
        if spec.dtype.startswith("float"):
            arrays[spec.name] = np.asarray(abs(generator.standard_normal(shape)) + 0.1, spec.dtype)
        else:
            low, high = (0, 2) if spec.dtype == "bool" else spec.integers(shapes)
            arrays[spec.name] = np.asarray(generator.integers(low, high, shape), spec.dtype)
    return arrays


def _input_place(name: str, number: int, shape: tuple[int, ...], details: Sequence[Any]) -> Place:
    """Place of an input: by its name, or by its number in a file that renames inputs."""
    names = [_plain(str(detail["name"])) for detail in details]
    place = names.index(name) if name in names else number
    if place >= len(details):
        raise Unsupported(f"onnx2tf leaves the input {name} out, because no output depends on it")
    target = tuple(int(size) for size in details[place]["shape"])
    last = (0, *range(2, len(shape)), 1)
    if target != shape and len(shape) in CHANNEL_RANKS and tuple(shape[axis] for axis in last) == target:
        return {"place": place, "axes": last}
    if int(np.prod(target)) != int(np.prod(shape)):
        raise RuntimeFailed(f"onnx2tf gives the input {name} the shape {target}, and not {shape}")
    return {"place": place, "axes": None}


def _plain(name: str) -> str:
    return name.partition(":")[0].removeprefix(PREFIX)


def output_place(name: str, expected: Array, answers: Sequence[Array]) -> Place:
    """Place of the output `name`: the answer, and the order of its axes, that is nearest to `expected`."""
    best = min(_candidates(expected, answers), key=lambda item: item[0], default=None)
    if best is None or not best[0] <= CLOSE:
        detail = "no output of its shape" if best is None else f"relative error {best[0]:.2g}"
        raise RuntimeFailed(f"the file of onnx2tf has other answers for {one_line(name)} than the ONNX file ({detail})")
    return {"place": best[1], "axes": best[2], "shape": expected.shape}


def _candidates(expected: Array, answers: Sequence[Array]) -> Iterator[tuple[float, int, tuple[int, ...] | None]]:
    """Relative error, number and order of axes of each answer that can be `expected`."""
    for number, answer in enumerate(answers):
        if answer.ndim != expected.ndim or answer.ndim > MOST_RANK:
            if answer.size == expected.size:
                yield _error(expected, answer.reshape(expected.shape)), number, None
            continue
        for axes in itertools.permutations(range(answer.ndim)):
            if tuple(answer.shape[axis] for axis in axes) == expected.shape:
                yield _error(expected, np.transpose(answer, axes)), number, axes


def _error(expected: Array, answer: Array) -> float:
    """Root of the relative squared error."""
    first, second = (np.asarray(array, np.float64) for array in (expected, answer))
    return float(np.linalg.norm(first - second) / max(float(np.linalg.norm(first)), 1e-30))
