"""Types of an arithmetic by its answers, and the pins of runtimes that report no types, with fakes of these runtimes."""

import itertools
import json
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from onnxbench.backends import mnn_cpu, ncnn_cpu
from onnxbench.backends.arithmetic import arithmetic_of
from onnxbench.errors import RuntimeFailed, Unsupported
from onnxbench.spec import Settings


def bf16(number):
    bits = np.float32(number).view(np.uint32)
    return np.uint32((int(bits) + 0x8000) & 0xFFFF0000).view(np.float32)


ROUNDS = {"fp32": np.float32, "fp16": np.float16, "bf16": bf16}


def sums(stored="fp32", weights=None, computed="fp32", fused=False):
    """An arithmetic: how it stores values and weights, computes products and sums, and if it rounds once after both."""
    value, weight, result = (ROUNDS[name] for name in (stored, weights or stored, computed))

    def answer(numbers, factors):
        total = 0.0
        for number, factor in zip(numbers, factors):
            product = float(value(number)) * float(weight(factor))
            total = float(result(total + (product if fused else float(result(product)))))
        return float(value(total))

    return answer


@pytest.mark.parametrize(
    ("how", "types"),
    [
        ({}, "fp32"),
        ({"stored": "fp16"}, "fp32+fp16"),
        ({"weights": "fp16"}, "fp32+fp16"),
        ({"stored": "fp16", "computed": "fp16"}, "fp16"),
        ({"stored": "fp16", "computed": "fp16", "fused": True}, "fp16"),
        ({"weights": "bf16"}, "bf16"),
        ({"stored": "bf16", "computed": "bf16"}, "bf16"),
    ],
)
def test_an_arithmetic_is_known_by_its_answers(how, types):
    assert arithmetic_of(sums(**how)) == types


OPTIONS = {f"use_fp16_{name}": True for name in ("packed", "storage", "arithmetic")}


class Mat(np.ndarray):
    def __new__(cls, array, batch_index=None):
        return np.asarray(array).view(cls)

    def clone(self):
        return self.copy()

    def numpy(self, batch_index):
        return np.asarray(self)


class Net:
    """ncnn's network of one layer, whose weights are FP16 unless that is off."""

    def __init__(self):
        self.opt = SimpleNamespace(num_threads=8, **OPTIONS)

    def load_param(self, path):
        return 0

    load_model = load_param_mem = load_param

    def load_model_mem(self, data):
        self.weights = np.frombuffer(data[4:], np.float32)

    def input_names(self):
        return ["in0"]

    def create_extractor(self):
        return Extractor(self)


class Extractor:
    def __init__(self, net):
        self.net = net

    def input(self, name, mat):
        self.values = mat
        return 0

    def extract(self, name):
        fp16 = self.net.opt.use_fp16_storage
        return 0, Mat(np.array([sums(weights="fp16" if fp16 else "fp32")(self.values, self.net.weights)], np.float32))


@pytest.fixture
def ncnn(monkeypatch):
    known = {"Input": 0, "Convolution": 6, "Reduction": 7}
    fake = SimpleNamespace(Net=Net, Mat=Mat, __version__="1.0", layer_to_index=lambda kind: known.get(kind, -1))
    monkeypatch.setitem(sys.modules, "ncnn", fake)


@pytest.fixture
def open_ncnn(ncnn, tmp_path, make_artifact, make_cell):
    def of(param="Input in0 0 1 in0", precision="fp32", options=()):
        (tmp_path / ncnn_cpu.PARAM).write_text(f"7767517\n1 1\n{param}\n")
        (tmp_path / ncnn_cpu.LAYOUT).write_text(json.dumps({"inputs": {"in0": 0}, "outputs": {"out0": 0}}))
        settings = Settings(threads=2, options=options)
        cell = make_cell(backend="ncnn-cpu", precision=precision, settings=settings)
        return ncnn_cpu.NcnnCpu().open(make_artifact(converted=str(tmp_path)), cell)

    return of


@pytest.mark.parametrize(
    ("how", "executed", "storage"),
    [
        ({}, "fp32", "off"),
        ({"options": (("arithmetic", "strict"),)}, "fp32", "off"),
        ({"options": (("arithmetic", "default"),)}, "fp32+fp16", "on"),
        ({"precision": "fp16"}, "fp32+fp16", "on"),
    ],
)
def test_ncnn_stores_no_fp16_in_rows_of_fp32(open_ncnn, how, executed, storage):
    info = open_ncnn(**how).info
    assert (info.executed, dict(info.settings)) == (
        executed,
        {"threads": "2", **dict.fromkeys(("fp16_packed", "fp16_storage", "fp16_arithmetic"), storage)},
    )


@pytest.mark.parametrize(
    ("param", "word"),
    [
        ("Gather g 2 1 a b c\nReduction r 1 1 a b 0=0 1=0 -23303=0 4=0", "Gather"),
        ("Reduction sum_3 1 1 12 out0 0=0 1=0 -23303=0 4=0 5=1", "sum_3"),
    ],
)
def test_what_ncnn_would_answer_otherwise_is_refused_by_name(open_ncnn, param, word):
    with pytest.raises(Unsupported, match=word):
        open_ncnn(param)


def test_a_reduction_of_all_axes_or_of_some_is_taken(open_ncnn):
    assert open_ncnn("Reduction a 1 1 b c 0=0 1=1 -23303=0\nReduction b 1 1 b c 0=0 1=0 -23303=1,1")


def test_ncnn_answers_by_the_files_names(open_ncnn, make_artifact):
    session = open_ncnn()
    session._net.weights = np.array([2.0], np.float32)
    with pytest.raises(RuntimeFailed, match="input"):
        session.bind({})
    session.bind({"input": np.array([3.0], np.float32)})
    session.start()
    np.testing.assert_array_equal(session.fetch()["logits"], [6.0])


def test_pnnx_is_told_all_shapes_and_its_script_gives_the_axes(make_artifact, make_cell):
    spec = make_artifact().inputs[0]
    inputs = (spec, replace(spec, name="ids", dtype="int64"))
    cell = make_cell(shapes=(("input", (1, 3, 48, 48)), ("ids", (1, 7))))
    assert ncnn_cpu._shapes_argument(inputs, cell) == "[1,3,48,48]f32,[1,7]i64"
    script = (
        'ex.input("in0", ncnn.Mat(in0.numpy(), batch_index=0).clone())\n_ = (torch.from_numpy(out0.numpy(batch_index=233)))'
    )
    assert ncnn_cpu._read_layout(script) == {"inputs": {"in0": 0}, "outputs": {"out0": 233}}
    with pytest.raises(RuntimeFailed, match="script"):
        ncnn_cpu._read_layout("print()")


@pytest.mark.parametrize(("change", "word"), [({"dtype": "bool"}, "bool"), ({}, "scalar")])
def test_inputs_that_pnnx_does_not_take_are_named(make_artifact, make_cell, change, word):
    spec = replace(make_artifact().inputs[0], **change)
    cell = make_cell(backend="ncnn-cpu", shapes=(("input", ()),))
    assert word in ncnn_cpu.NcnnCpu().supports(cell, make_artifact(inputs=(spec,)))


class Module:
    """MNN's network of one multiplication, on a CPU whose modes below `high` compute in FP16."""

    def __init__(self, manager):
        self.how = {"computed": "fp32"} if manager["precision"] == "high" else {"stored": "fp16", "computed": "fp16"}

    def forward(self, variables):
        values, weights = (list(itertools.chain(*variable)) for variable in variables)
        answer = np.array([[sums(**self.how)(values, weights)]], np.float32)
        return [SimpleNamespace(read=lambda: answer)]

    def clone(self):
        return self


class Manager(dict):
    """MNN's configuration of a runtime, and its hints."""

    def set_hint(self, number, value):
        self[number] = value


@pytest.fixture
def open_mnn(monkeypatch, tmp_path, make_artifact, make_cell):
    managers = []

    def create(configuration):
        managers.append(Manager(configuration[0]))
        return managers[-1]

    mnn, nn, expr = ModuleType("MNN"), ModuleType("MNN.nn"), ModuleType("MNN.expr")
    nn.create_runtime_manager = create
    nn.load_module_from_file = lambda path, inputs, outputs, runtime_manager: Module(runtime_manager)
    expr.float, expr.int, expr.NCHW = "float", "int", "NCHW"
    expr.const = lambda array, shape, layout, kind: array.copy()
    mnn.nn, mnn.expr, mnn.version = nn, expr, lambda: "3.6"
    for name, module in (("MNN", mnn), ("MNN.nn", nn), ("MNN.expr", expr)):
        monkeypatch.setitem(sys.modules, name, module)

    def of(precision="fp32", options=()):
        cell = make_cell(backend="mnn-cpu", precision=precision, settings=Settings(threads=2, options=options))
        return mnn_cpu.MnnCpu().open(make_artifact(converted=str(tmp_path)), cell), managers

    return of


@pytest.mark.parametrize(("precision", "mode", "executed"), [("fp32", "high", "fp32"), ("fp16", "low", "fp16")])
def test_mnn_computes_in_the_mode_of_the_precision(open_mnn, precision, mode, executed):
    session, managers = open_mnn(precision)
    assert session.info.executed == executed
    assert {(item["precision"], item["numThread"]) for item in managers} == {(mode, 2)}
    assert dict(session.info.settings) == {"threads": "2", "precision": mode, "winograd": "3"}


@pytest.mark.parametrize(("options", "level"), [((), 3), ((("winograd", "0"),), 0)])
def test_mnn_chooses_among_the_sizes_of_its_option(open_mnn, options, level):
    _, managers = open_mnn(options=options)
    assert {manager[mnn_cpu.WINOGRAD_MEMORY_LEVEL] for manager in managers} == {level}


def test_mnn_takes_integers_and_booleans_in_32_bits(open_mnn):
    open_mnn()
    arrays = (np.array([1], np.int64), np.array([True]), np.array([1], np.float64))
    assert [mnn_cpu._variable(array).dtype for array in arrays] == [np.int32, np.int32, np.float32]
