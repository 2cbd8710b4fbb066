"""LiteRT (formerly TensorFlow Lite) on the CPU, with files that onnx2tf converts. NumPy and ai-edge-litert only.

onnx2tf stores images with channels last, and may do the same to outputs. The conversion finds the order of the axes by running
both files once, and a session puts them back. onnx2tf also marks every file as one that may be computed in FP16, which XNNPACK
does where the CPU has the instructions. That mark is taken away here.

onnx2tf makes the INT8 file from the FP32 file and calibration samples. It runs one sample a call, so the batch stays open in
that file, and a session sets it.
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
from ..spec import Artifact, Cell, Concurrency, Conversion, Shapes, TensorSpec
from . import snippets
from .conversion import Converter, run_program
from .opening import part
from .protocol import Array, Availability, Backend, Session, SessionInfo, join_types

NET, LAYOUT = "net.tflite", "layout.json"
WORK, SOURCE = "work", "net.onnx"  # folder of the converter, and its input
FLOAT, INT8 = "net_float32.tflite", "net_integer_quant.tflite"  # INT8 with inputs and outputs in FP32, as with Q/DQ in ONNX
METHOD = "minmax"  # the ranges of onnx2tf
FP16_MARK, NO_MARK = b"reduced_precision_support", b"reduced_precision_ignored"  # of the same length
TYPES = {"float32": "fp32", "float16": "fp16", "int8": "int8"}
LAYERS = ("CONV", "FULLY_CONNECTED", "BATCH_MATMUL", "DELEGATE")
PREFIX = "serving_default_"  # of names of tensors in some files
CHANNEL_RANKS = (3, 4, 5)
MOST_RANK = 5  # whose orders of axes are tried
CLOSE = 1e-2  # relative error of an output in the right order of its axes: rounding is far below
LACKING = ("not yet implemented", "reason_code=", "is not supported", "Unsupported op")
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
    details, arrays = interpreter.get_input_details(), {}
    for name, array in inputs.items():
        place, detail = layout["inputs"][name], details[layout["inputs"][name]["place"]]
        array = array if place["axes"] is None else np.transpose(array, place["axes"])
        if detail["shape_signature"].size and detail["shape_signature"][0] < 0:
            interpreter.resize_tensor_input(detail["index"], array.shape)
        arrays[detail["index"]] = np.ascontiguousarray(array, detail["dtype"])
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], arrays[detail["index"]].reshape(detail["shape"]))
    return interpreter.invoke
"""

Place = Mapping[str, Any]
"""Place of a tensor: its number in the file (`place`), and the order of its `axes`, or None for a change of the rank alone.

`axes` go from the ONNX file to the converted file for inputs, and back for outputs. `shape`: that of an output.
"""


class LitertSession(Session):
    """An interpreter of the file, which runs one call at a time."""

    no_profile = "LiteRT's interpreter reports no times of its operators to Python"

    def __init__(self, folder: Path, artifact: Artifact, shapes: Shapes, threads: int) -> None:
        self._folder, self._artifact, self._shapes, self._threads = folder, artifact, shapes, threads
        self._layout = json.loads((folder / LAYOUT).read_text())
        with part("parse"):
            self._interpreter = open_interpreter(folder / NET, threads)
        with part("optimize and allocate"):
            _allocate(self._interpreter, self._layout["inputs"], shapes)
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
        return LitertSession(self._folder, self._artifact, self._shapes, self._threads)

    def close(self) -> None:
        self._interpreter = None


class LitertCpu(Backend):
    """LiteRT's interpreter with XNNPACK, its library of CPU kernels."""

    name = "litert-cpu"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": FLOAT, "int8": INT8}
    int8_scheme = "litert"
    int8_schemes: ClassVar[tuple[str, ...]] = ("litert",)
    install = "pip install 'onnxbench[litert]'"
    converter = Converter(
        name="onnx2tf",
        packages=("onnx2tf",),
        install=CONVERTER_INSTALL,
        fixes_shapes=True,
        from_fp32=("int8",),
        calibrated=("int8",),
    )

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

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        if cell.precision not in self.converter.calibrated:
            return None
        how = Conversion.of(artifact.derived.options if artifact.derived else ())
        if how.method not in ("", METHOD):
            return f"onnx2tf calibrates with {METHOD}, and not with {how.method}"
        if how.exclude:
            return f"onnx2tf leaves no node in float, and {how.exclude[0]} is excluded"
        other = next((spec for spec in artifact.inputs if spec.dtype != "float32"), None)
        if other:
            return f"onnx2tf quantizes models whose inputs are all float32, and {other.name} is {other.dtype}"
        fixed = next(
            (spec for spec in artifact.inputs if not spec.shape or spec.shape[0] not in (None, 1, *_names(spec))), None
        )
        return f"onnx2tf calibrates with a batch of 1, and the first axis of {fixed.name} is fixed" if fixed else None

    def _convert(self, artifact: Artifact, cell: Cell, folder: Path) -> None:
        self._run_converter(artifact, cell, folder, ())

    def _convert_calibrated(self, artifact: Artifact, cell: Cell, folder: Path, samples: Path) -> None:
        calibration = ["-oiqt"]
        with np.load(samples, allow_pickle=False) as arrays:
            for number, spec in enumerate(artifact.inputs):
                file = folder / f"samples-{number}.npy"
                np.save(file, arrays[spec.name])
                calibration += ["-cind", spec.name, file.name, "0.0", "1.0"]  # (sample - 0) / 1
        self._run_converter(artifact, cell, folder, calibration)
        for file in folder.glob("samples-*.npy"):
            file.unlink()

    def _run_converter(self, artifact: Artifact, cell: Cell, folder: Path, more: Sequence[str]) -> None:
        """Write the file of `cell` and its layout into `folder`. `more`: arguments of onnx2tf for calibration."""
        work, shapes = folder / WORK, dict(cell.shapes)
        work.mkdir()
        images = [spec.name for spec in artifact.inputs if len(shapes[spec.name]) in CHANNEL_RANKS]
        _write_fixed(Path(artifact.path), cell, work / SOURCE, open_batch=bool(more))
        _run_onnx2tf(images, folder, more)
        layout = find_layout(artifact, cell, _unmarked(work / FLOAT, folder / NET))
        _unmarked(work / self.precisions[cell.precision], folder / NET)
        shutil.rmtree(work)
        (folder / LAYOUT).write_text(json.dumps(layout))

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        _import_interpreter()
        return LitertSession(Path(artifact.converted), artifact, cell.shapes, concurrency.threads)


def _names(spec: TensorSpec) -> tuple[str, ...]:
    """Name of the first dimension of an input, if it is open and has a name."""
    return (spec.shape[0],) if spec.shape and isinstance(spec.shape[0], str) else ()


def _unmarked(file: Path, target: Path) -> Path:
    """Write a file of onnx2tf to `target`, without the mark that allows FP16."""
    if not file.is_file():
        raise RuntimeFailed(f"onnx2tf wrote no file {file.name}")
    target.write_bytes(without_mark(file.read_bytes()))
    return target


def _run_onnx2tf(images: Sequence[str], folder: Path, more: Sequence[str]) -> None:
    """Run onnx2tf in `folder`. `images`: inputs whose channels stay where they are."""
    keep = ["-k", *images] if images else []
    command = [sys.executable, "-m", "onnx2tf", "-i", f"{WORK}/{SOURCE}", "-o", WORK, "-n", *keep, *more]
    try:
        run_program(command, folder, name="onnx2tf")
    except RuntimeFailed as error:
        if any(words in error.message for words in LACKING):
            raise Unsupported(error.message, error.hint) from error
        raise


def _write_fixed(file: Path, cell: Cell, target: Path, open_batch: bool) -> None:
    """Copy an ONNX file, with the shapes of `cell` in place of open dimensions: onnx2tf 2.6 ignores its own option for that.

    `open_batch`: the first axis of each input stays as it is.
    """
    import onnx

    model, shapes = onnx.load(str(file)), dict(cell.shapes)
    for tensor in model.graph.input:
        dimensions = tensor.type.tensor_type.shape.dim
        for axis, (dimension, size) in enumerate(zip(dimensions, shapes.get(tensor.name, ()))):
            if axis or not open_batch:
                dimension.dim_value = size
    del model.graph.value_info[:]  # shapes that follow from the open ones
    onnx.save(model, str(target))


def without_mark(content: bytes) -> bytes:
    """A file of which XNNPACK computes FP32 in FP32 alone: the name of the mark is another one of the same length."""
    return content.replace(FP16_MARK, NO_MARK)


def open_interpreter(file: Path, threads: int) -> Any:
    """An interpreter without memory for its tensors yet. `Unsupported` for a file that may be computed in FP16."""
    if FP16_MARK in file.read_bytes():
        raise Unsupported(f"{file.name} allows LiteRT to compute FP32 in FP16", "convert the file again: bench cache --clear")
    return _import_interpreter()(model_path=str(file), num_threads=threads)


def _allocate(interpreter: Any, places: Mapping[str, Place], shapes: Shapes) -> None:
    """Set the batch of inputs that have an open one, and allocate all tensors."""
    details, sizes = interpreter.get_input_details(), dict(shapes)
    for name, place in places.items():
        detail, axes = details[place["place"]], place["axes"]
        shape = tuple(sizes[name][axis] for axis in axes) if axes else sizes[name]
        if _is_open(detail) and len(shape) == len(detail["shape"]):
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()


def _is_open(detail: Mapping[str, Any]) -> bool:
    """True if the first axis of an input is open."""
    signature = detail.get("shape_signature", detail["shape"])
    return bool(len(signature)) and int(signature[0]) < 0


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
        if arrays[name].dtype.kind == "f" != np.dtype(detail["dtype"]).kind:
            raise RuntimeFailed(
                f"the file of onnx2tf takes {np.dtype(detail['dtype'])} for {name}, and not {arrays[name].dtype}"
            )
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
    try:
        _allocate(interpreter, inputs, cell.shapes)
        _set_inputs(interpreter, interpreter.get_input_details(), inputs, arrays)
        interpreter.invoke()
    except RuntimeError as error:  # the interpreter's only class of errors
        raise RuntimeFailed(f"LiteRT does not run the file of onnx2tf ({one_line(error)})") from error
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
    if _is_open(details[place]):
        target = (*shape[:1], *target[1:])
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
