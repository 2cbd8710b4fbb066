"""ncnn on the CPU, with files that pnnx converts. NumPy and ncnn only.

By default ncnn stores values in FP16: on x86-64 the weights of fully connected layers, on ARM64 all weights and the values
between layers. It computes in FP16 where its layers have the instructions. All of this is off here in rows of FP32. A small
network shows at each opening what the options do on this CPU.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import RuntimeFailed, Unsupported, installed, one_line, quantity
from ..spec import Artifact, Cell, Concurrency, TensorSpec
from . import snippets
from .arithmetic import arithmetic_of
from .conversion import Converter, run_program
from .opening import part
from .protocol import Array, Availability, Backend, Session, SessionInfo

PARAM, WEIGHTS, LAYOUT = "net.ncnn.param", "net.ncnn.bin", "layout.json"  # the converted file: graph, weights, batch axes
SCRIPT = "net_ncnn.py"  # pnnx's example, which alone tells the batch axes
TYPES = {"float32": "f32", "float16": "f16", "int32": "i32", "int64": "i64"}  # of inputs, in pnnx's words
NO_BATCH = 233  # ncnn's number for a tensor without a batch axis
FP16_OPTIONS = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
ARM = platform.machine() in ("aarch64", "arm64")
PNNX_INSTALL = "pip install --no-deps pnnx"  # its program alone: its Python part needs PyTorch
LINE_PARTS = 2  # of a layer in a graph file: its type and its name
REDUCTION, ALL_AXES, NO_AXES = "Reduction", "1=1", "-23303=0"

NCNN_PROGRAM = """\
import ncnn

net = ncnn.Net()
net.opt.num_threads = THREADS
for name in $fp16_options:
    setattr(net.opt, name, $fp16)
net.load_param(MODEL + "/net.ncnn.param")
net.load_model(MODEL + "/net.ncnn.bin")
AXES, OUTPUTS = $axes, $outputs  # inputs by ncnn's names, with the axis of the batch


def open_lane():
    mats = {
        name: ncnn.Mat(np.ascontiguousarray(array), batch_index=AXES[name]).clone()
        for name, array in zip(AXES, inputs.values())
    }

    def call():
        extractor = net.create_extractor()
        for name, mat in mats.items():
            extractor.input(name, mat)
        return [extractor.extract(name) for name in OUTPUTS]

    return call
"""


class NcnnSession(Session):
    """An open network. Each call has an extractor of its own, which computes the outputs one after the other."""

    no_profile = "ncnn times its layers if it is built with NCNN_BENCHMARK, and its Python package is built without"

    def __init__(self, net: Any, artifact: Artifact, layout: Mapping[str, Mapping[str, int]], info: SessionInfo) -> None:
        self._net, self._artifact, self._layout, self.info = net, artifact, layout, info
        own_names = set(net.input_names())
        names = zip((spec.name for spec in artifact.inputs), (f"in{number}" for number in range(len(artifact.inputs))))
        self._inputs = {name: own for name, own in names if own in own_names}
        self._mats: dict[str, Any] = {}
        self._answers: dict[str, Any] = {}

    def bind(self, inputs: Mapping[str, Array]) -> None:
        import ncnn

        missing = [spec.name for spec in self._artifact.inputs if spec.name not in inputs]
        if missing:
            raise RuntimeFailed(f"input {missing[0]!r} is not bound")
        # `clone`, because a Mat of an array shares its memory
        self._mats = {
            own: ncnn.Mat(_narrow(inputs[name]), batch_index=self._layout["inputs"].get(own, NO_BATCH)).clone()
            for name, own in self._inputs.items()
        }

    def start(self) -> None:
        extractor = self._net.create_extractor()
        for name, mat in self._mats.items():
            if extractor.input(name, mat):
                raise RuntimeFailed(f"ncnn does not take the input {name}")
        for number in range(len(self._artifact.outputs)):
            code, self._answers[f"out{number}"] = extractor.extract(f"out{number}")
            if code:
                raise RuntimeFailed(f"ncnn computes no output out{number} (code {code})")

    def wait(self) -> None:
        pass

    def fetch(self) -> dict[str, Array]:
        outputs = {}
        for number, spec in enumerate(self._artifact.outputs):
            axis = self._layout["outputs"].get(f"out{number}", NO_BATCH)
            outputs[spec.name] = np.array(self._answers[f"out{number}"].numpy(batch_index=axis)).astype(spec.dtype)
        return outputs

    def fork(self) -> Session:
        return NcnnSession(self._net, self._artifact, self._layout, self.info)


def _narrow(array: Array) -> Array:
    """The array as ncnn takes it: its integers have 32 bits."""
    narrow = array.astype(np.int32) if array.dtype.kind in "iu" else array.astype(np.float32, copy=False)
    return np.ascontiguousarray(narrow)


class NcnnCpu(Backend):
    """ncnn's CPU layers."""

    name = "ncnn-cpu"
    precisions: ClassVar[Mapping[str, bool]] = {"fp32": False, "fp16": True}
    on_request = () if ARM else ("fp16",)  # on x86-64 ncnn stores FP16 and computes in FP32
    options: ClassVar[Mapping[str, str]] = {
        "arithmetic": "strict: store and compute in FP32 in rows of fp32; default: ncnn's own options, which store FP16"
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"arithmetic": ("strict", "default")}
    install = f"pip install 'onnxbench[ncnn]', and {PNNX_INSTALL}"
    converter = Converter(
        name="pnnx",
        packages=("pnnx",),
        install=PNNX_INSTALL,
        fixes_shapes=True,
        from_fp32=("fp16",),
    )

    def _probe(self) -> Availability:
        ncnn = _import_ncnn()
        return Availability(available=True, version=str(ncnn.__version__), devices=("cpu",))

    def deploy(self, concurrency: Concurrency) -> str:
        lanes = quantity(concurrency.lanes, "extractor")
        return f"net.opt.num_threads={concurrency.threads} · {lanes} at the same time, each in a thread of its own"

    def snippet(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> str:
        case = snippets.ProgramCase(artifact, cell, concurrency)
        layout = _layout(Path(artifact.converted)) if artifact.converted else {"inputs": {}, "outputs": {}}
        return snippets.write_program(
            NCNN_PROGRAM,
            case,
            snippets.THREADED,
            fp16_options=FP16_OPTIONS,
            fp16=self._is_fp16(cell),
            axes=dict(layout["inputs"]),
            outputs=list(layout["outputs"]),
        )

    def _supports(self, cell: Cell, artifact: Artifact) -> str | None:
        unknown = next((spec for spec in artifact.inputs if spec.dtype not in TYPES), None)
        if unknown:
            return f"pnnx takes no inputs of type {unknown.dtype} ({unknown.name})"
        scalar = next((name for name, shape in cell.shapes if not shape), None)
        return f"pnnx takes no scalar inputs ({scalar})" if scalar else None

    def _convert(self, artifact: Artifact, cell: Cell, folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        # pnnx writes beside the file that it reads
        for path in Path(artifact.path).parent.iterdir() if _has_weight_files(artifact) else (Path(artifact.path),):
            (work / path.name).symlink_to(path.absolute())
        source = (work / Path(artifact.path).name).rename(work / "net.onnx")
        shapes = _shapes_argument(artifact.inputs, cell)
        fp16 = int(self.precisions[cell.precision])
        run_program([_program(), source.name, f"inputshape={shapes}", f"fp16={fp16}"], work)
        script = work / SCRIPT
        if not script.is_file() or not (work / PARAM).is_file():
            raise RuntimeFailed("pnnx wrote no ncnn file")
        (folder / LAYOUT).write_text(json.dumps(_read_layout(script.read_text())))
        for name in (PARAM, WEIGHTS):
            (work / name).rename(folder / name)
        shutil.rmtree(work)

    def _open(self, artifact: Artifact, cell: Cell, concurrency: Concurrency) -> Session:
        ncnn = _import_ncnn()
        folder = Path(artifact.converted)
        param = (folder / PARAM).read_text()
        _check_layers(param)
        _check_reductions(param)
        net = ncnn.Net()
        _set_options(net.opt, fp16=self._is_fp16(cell), threads=concurrency.threads)
        with part("parse"):
            failed = net.load_param(str(folder / PARAM))
        with part("read and convert the weights"):
            failed = failed or net.load_model(str(folder / WEIGHTS))
        if failed:
            raise RuntimeFailed("ncnn does not load the file of pnnx")
        return NcnnSession(net, artifact, _layout(folder), _info(net.opt))

    def _is_fp16(self, cell: Cell) -> bool:
        """True if ncnn's own options stay as they are."""
        return self.precisions[cell.precision] or dict(cell.settings.options).get("arithmetic") == "default"


def _import_ncnn() -> Any:
    with installed("ncnn", NcnnCpu.install):
        import ncnn
    return ncnn


def _has_weight_files(artifact: Artifact) -> bool:
    """True if the weights are in files beside the ONNX file."""
    return artifact.nbytes > Path(artifact.path).stat().st_size


def _program() -> Path:
    """pnnx's program. Its Python part, which would start the program, imports PyTorch."""
    from importlib.metadata import files

    for file in files("pnnx") or ():
        path = Path(str(file.locate()))
        if path.stem == "pnnx" and path.parent.name == "pnnx" and path.suffix in ("", ".exe") and os.access(path, os.X_OK):
            return path
    raise RuntimeFailed("the package pnnx has no program", PNNX_INSTALL)


def _shapes_argument(inputs: Sequence[TensorSpec], cell: Cell) -> str:
    """Shapes and types of all inputs, as pnnx takes them."""
    shapes = dict(cell.shapes)
    return ",".join(f"[{','.join(map(str, shapes[spec.name]))}]{TYPES[spec.dtype]}" for spec in inputs)


def _read_layout(script: str) -> dict[str, dict[str, int]]:
    """Axis of the batch in each input and output, from pnnx's own script."""
    inputs = re.findall(r'input\("(in\d+)", ncnn\.Mat\(\w+\.numpy\(\), batch_index=(\d+)\)', script)
    outputs = re.findall(r"from_numpy\((out\d+)\.numpy\(batch_index=(\d+)\)\)", script)
    if not outputs:
        raise RuntimeFailed("pnnx wrote a script of another form, from which the axes of the batch cannot be read")
    return {kind: {name: int(axis) for name, axis in pairs} for kind, pairs in (("inputs", inputs), ("outputs", outputs))}


def _layout(folder: Path) -> Mapping[str, Mapping[str, int]]:
    layout: dict[str, dict[str, int]] = json.loads((folder / LAYOUT).read_text())
    return layout


def _layers(param: str) -> Iterable[list[str]]:
    """Parts of each line about a layer: its type, its name, and the rest."""
    lines = (line.split() for line in param.splitlines()[LINE_PARTS:])
    return (parts for parts in lines if len(parts) > LINE_PARTS)


def _check_layers(param: str) -> None:
    """Raise `Unsupported` for operators that pnnx left as they are, because ncnn has no layer for them."""
    import ncnn

    kinds = dict.fromkeys(parts[0] for parts in _layers(param))
    unknown = [kind for kind in kinds if ncnn.layer_to_index(kind) < 0]
    if unknown:
        raise Unsupported(f"ncnn lacks {quantity(len(unknown), 'operator')} of this model: {one_line(', '.join(unknown))}")


def _check_reductions(param: str) -> None:
    """Raise `Unsupported` for a sum or mean whose axis pnnx lost: the network would run, with other answers."""
    for parts in _layers(param):
        if parts[0] == REDUCTION and NO_AXES in parts and ALL_AXES not in parts:
            problem = f"pnnx loses the axis of the reduction {parts[1]}, which is an input of the node since opset 13"
            raise Unsupported(problem, "write the file with bench export --opset 12")


def _set_options(options: Any, *, fp16: bool, threads: int) -> None:
    options.num_threads = threads
    if not fp16:
        for name in FP16_OPTIONS:
            setattr(options, name, False)


def _info(options: Any) -> SessionInfo:
    settings = [(name.removeprefix("use_"), "on" if getattr(options, name) else "off") for name in FP16_OPTIONS]
    return SessionInfo(
        executed=arithmetic_of(partial(_answer, options)), settings=(("threads", str(options.num_threads)), *settings)
    )


def _answer(options: Any, values: Sequence[float], weights: Sequence[float]) -> float:
    """Sum of the products of `values` and `weights`, by a layer of ncnn with `options`."""
    import ncnn

    net = ncnn.Net()
    net.opt = options
    count = len(values)
    net.load_param_mem(f"7767517\n2 2\nInput in0 0 1 in0\nInnerProduct fc 1 1 in0 out0 0=1 1=0 2={count}\n")
    net.load_model_mem(bytes(4) + np.array(weights, np.float32).tobytes())  # the first four bytes: weights in FP32
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(np.array(values, np.float32)).clone())
    _, answer = extractor.extract("out0")
    return float(np.array(answer)[0])
