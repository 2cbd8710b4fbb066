"""Files of onnx2tf in LiteRT: orders of axes, the mark that allows FP16, and a session on a runtime of a few lines."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxbench.backends import litert_cpu
from onnxbench.errors import RuntimeFailed, Unsupported
from onnxbench.spec import Conversion, Derived, TensorSpec

RUNTIME = '''
import numpy as np


class Interpreter:
    """Doubles an image with channels last. The file has its shape; a batch of 0 is an open one. After `;` is its type."""

    def __init__(self, model_path, num_threads):
        sizes, kind, *_ = open(model_path, "rb").read().split(b";")
        self.threads, self.kind, self.allocated = num_threads, np.int8 if kind == b"int8" else np.float32, False
        self.refused = kind == b"wrong"
        sizes = [int(size) for size in sizes.split(b",")]
        self.shape, self.declared = (sizes[0] or 1, *sizes[1:]), [sizes[0] or -1, *sizes[1:]]

    def resize_tensor_input(self, index, shape):
        assert (index, self.allocated) == (4, False)
        self.shape = shape

    def allocate_tensors(self):
        if self.refused:
            raise RuntimeError("shapes do not fit")
        self.allocated = True

    def get_input_details(self):
        shapes = {"shape": np.array(self.shape), "shape_signature": np.array(self.declared)}
        return [{"name": "serving_default_x:0", "index": 4, "dtype": self.kind, **shapes}]

    def get_output_details(self):
        return [{"name": "other", "index": 9, "shape": np.array(self.shape), "dtype": self.kind}]

    def set_tensor(self, index, array):
        assert self.allocated
        assert (index, array.shape, array.dtype) == (4, self.shape, self.kind)
        self.array = array.copy()

    def invoke(self):
        self.answer = self.array * 2

    def get_tensor(self, index):
        assert index == 9
        return self.answer

    def _get_ops_details(self):
        delegate = {"op_name": "DELEGATE", "operand_types": [np.float32, np.float32]}
        return [{"op_name": "RESHAPE", "operand_types": [np.int32]}, delegate]
'''
LAYOUT = {
    "inputs": {"x": {"place": 0, "axes": [0, 2, 3, 1]}},
    "outputs": {"y": {"place": 0, "axes": [0, 3, 1, 2], "shape": [1, 3, 4, 5]}},
}


@pytest.fixture
def opened(tmp_path, monkeypatch, make_artifact, make_cell):
    """A session of the runtime above on a file of onnx2tf with this `content`."""
    package = tmp_path / "site/ai_edge_litert"
    package.mkdir(parents=True)
    (package / "interpreter.py").write_text(RUNTIME)
    monkeypatch.syspath_prepend(str(package.parent))
    specs = [(TensorSpec(name=name, dtype="float32", shape=(1, 3, 4, 5)),) for name in "xy"]
    artifact = make_artifact(inputs=specs[0], outputs=specs[1], converted=str(tmp_path))

    def session(content=b"1,4,5,3;;", batch=1):
        output = {**LAYOUT["outputs"]["y"], "shape": [batch, 3, 4, 5]}
        (tmp_path / litert_cpu.NET).write_bytes(content)
        (tmp_path / litert_cpu.LAYOUT).write_text(json.dumps({**LAYOUT, "outputs": {"y": output}}))
        return litert_cpu.LitertCpu().open(artifact, make_cell(backend="litert-cpu", shapes=(("x", (batch, 3, 4, 5)),)))

    return session


def test_channels_last_is_seen_by_nobody(opened):
    image = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)
    with opened() as session:
        for lane in (session, session.fork()):
            lane.bind({"x": image})
            lane.start()
            lane.wait()
            np.testing.assert_array_equal(lane.fetch()["y"], 2 * image)
        assert (session.info.executed, dict(session.info.settings)) == ("fp32", {"threads": "2", "xnnpack_parts": "1"})


def test_a_file_with_an_open_batch_gets_that_of_the_row(opened):
    image = np.random.default_rng(0).standard_normal((8, 3, 4, 5)).astype(np.float32)
    with opened(b"0,4,5,3;;", batch=8) as session:
        for lane in (session, session.fork()):
            lane.bind({"x": image})
            lane.start()
            np.testing.assert_array_equal(lane.fetch()["y"], 2 * image)


def test_values_are_not_cut_to_integers_that_a_file_takes_by_mistake(opened):
    with opened(b"1,4,5,3;int8;") as session, pytest.raises(RuntimeFailed, match="takes int8 for x, and not float32"):
        session.bind({"x": np.zeros((1, 3, 4, 5), np.float32)})


def derived(method="minmax", exclude=()):
    how = Conversion(scheme="litert", method=method, exclude=exclude)
    return Derived(origin="0" * 64, recipe="int8", revision=1, tool="", options=how.options)


@pytest.mark.parametrize(
    ("shape", "dtype", "made", "reason"),
    [
        (("N", 3), "float32", derived(), None),
        ((1, 3), "float32", derived(), None),
        ((None, 3), "float32", derived(), None),
        ((8, 3), "float32", derived(), "batch of 1"),
        (("N", 3), "int64", derived(), "x is int64"),
        (("N", 3), "float32", derived("entropy"), "not with entropy"),
        (("N", 3), "float32", derived(exclude=("conv",)), "conv is excluded"),
    ],
)
def test_int8_is_refused_where_the_converter_cannot_do_what_was_asked(make_artifact, make_cell, shape, dtype, made, reason):
    artifact = make_artifact(inputs=(TensorSpec(name="x", dtype=dtype, shape=shape),), precision="int8", derived=made)
    cell = make_cell(backend="litert-cpu", precision="int8", scheme="litert")
    found = litert_cpu.LitertCpu().supports(cell, artifact)
    assert (found is None) if reason is None else (reason in found)
    assert litert_cpu.LitertCpu().supports(make_cell(backend="litert-cpu"), artifact) is None


ONNX2TF = """
import shutil, sys
from pathlib import Path

import numpy as np

words = sys.argv[1:]
first = words.index("-cind")
assert "-oiqt" in words and words[first + 1] == "x" and words[first + 3 : first + 5] == ["0.0", "1.0"]
assert np.load(words[first + 2]).shape == (5, 3, 4, 5)
for name in ("net_float32.tflite", "net_full_integer_quant.tflite", "net_integer_quant.tflite"):
    Path("work", name).write_text(f"0,4,5,3;SIZES;{name}")
"""


@pytest.fixture
def quantized(tmp_path, monkeypatch, opened, make_artifact, make_cell):
    """A conversion to INT8 by the converter above, into the folder that it returns. `kind`: of the file that it writes."""

    def convert(kind=""):
        (tmp_path / "site/onnx2tf").mkdir()
        (tmp_path / "site/onnx2tf/__init__.py").touch()
        (tmp_path / "site/onnx2tf/__main__.py").write_text(ONNX2TF.replace("SIZES", kind))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
        specs = [(TensorSpec(name=name, dtype="float32", shape=("N", 3, 4, 5)),) for name in "xy"]
        source, samples, folder = tmp_path / "double.onnx", tmp_path / "samples.npz", tmp_path / "made"
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, 4, 5]) for name in "xy"]
        two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
        graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "g", ends[:1], ends[1:], [two])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
        artifact = make_artifact(path=str(source), inputs=specs[0], outputs=specs[1])
        cell = make_cell(backend="litert-cpu", precision="int8", batch=2, shapes=(("x", (2, 3, 4, 5)),))
        folder.mkdir()
        np.savez(samples, x=np.ones((5, 3, 4, 5), np.float32))
        litert_cpu.LitertCpu().convert(artifact, cell, folder, samples)
        return folder

    return convert


def test_the_int8_file_is_made_with_the_samples_and_keeps_float_inputs(quantized):
    folder = quantized()
    assert sorted(path.name for path in folder.iterdir()) == [litert_cpu.LAYOUT, litert_cpu.NET]
    assert (folder / litert_cpu.NET).read_text().endswith(";net_integer_quant.tflite")
    assert json.loads((folder / litert_cpu.LAYOUT).read_text())["outputs"]["y"]["shape"] == [2, 3, 4, 5]


def test_a_file_that_the_runtime_refuses_is_the_fault_of_the_converter(quantized):
    with pytest.raises(RuntimeFailed, match=r"file of onnx2tf \(shapes do not fit\)"):
        quantized("wrong")


def test_a_missing_input_is_named(opened):
    with opened() as session, pytest.raises(RuntimeFailed, match="'x'"):
        session.bind({})


def test_a_file_that_allows_fp16_is_not_computed_as_fp32(opened):
    marked = b"1,4,5,3;;" + litert_cpu.FP16_MARK + b"\0fp16accfp32"
    with pytest.raises(Unsupported, match="FP16"):
        opened(marked)
    with opened(litert_cpu.without_mark(marked)) as session:
        assert session.info.executed == "fp32"


def test_the_mark_is_taken_away_without_a_change_of_the_rest():
    content = b"TFL3\0" + litert_cpu.FP16_MARK + b"\0fp16accfp32\0"
    changed = litert_cpu.without_mark(content)
    assert len(changed) == len(content)
    assert litert_cpu.FP16_MARK not in changed
    assert [left for left, right in zip(content, changed) if left != right] == list(b"support")


def numbers(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_an_output_is_found_by_its_values_and_not_by_its_shape():
    """All sizes are equal, so that every order of the axes has the shape."""
    expected = numbers(4, 4, 4)
    others = [numbers(4, 4, 4, seed=2), np.transpose(expected, (0, 2, 1))]
    place = litert_cpu.output_place("y", expected, others)
    assert place == {"place": 1, "axes": (0, 2, 1), "shape": (4, 4, 4)}


def test_an_output_of_another_rank_is_reshaped():
    expected = numbers(2, 3)
    place = litert_cpu.output_place("y", expected, [expected.reshape(1, 2, 3)])
    assert place == {"place": 0, "axes": None, "shape": (2, 3)}


def test_rounding_is_no_other_answer():
    expected = numbers(2, 3)
    assert litert_cpu.output_place("y", expected, [expected * (1 + 1e-5)])["place"] == 0


@pytest.mark.parametrize("answers", [[numbers(2, 3, seed=9)], [numbers(4, 4)], [], [np.full((2, 3), np.nan)]])
def test_other_answers_are_an_error_that_names_the_output(answers):
    with pytest.raises(RuntimeFailed, match="logits"):
        litert_cpu.output_place("logits", numbers(2, 3), answers)


@pytest.mark.parametrize(
    ("shape", "details", "place"),
    [
        ((1, 3, 4, 5), [("x", (1, 4, 5, 3))], (0, (0, 2, 3, 1))),
        ((1, 3, 4, 5), [("x", (1, 3, 4, 5))], (0, None)),
        ((1, 3, 7), [("a", (1,)), ("serving_default_x:0", (1, 7, 3))], (1, (0, 2, 1))),
        ((), [("renamed", (1,))], (0, None)),
    ],
)
def test_an_input_is_found_by_its_name_and_its_axes_by_its_shape(shape, details, place):
    found = litert_cpu._input_place("x", 0, shape, [{"name": name, "shape": np.array(size)} for name, size in details])
    assert (found["place"], found["axes"]) == place


def test_an_input_of_another_size_and_one_that_is_left_out_are_refused():
    with pytest.raises(RuntimeFailed, match="shape"):
        litert_cpu._input_place("x", 0, (1, 3), [{"name": "x", "shape": np.array((1, 4))}])
    with pytest.raises(Unsupported, match="no output"):
        litert_cpu._input_place("x", 1, (1, 3), [{"name": "a", "shape": np.array((1, 4))}])


def test_a_converter_that_is_missing_says_the_two_commands():
    from onnxbench.errors import Unavailable

    with pytest.raises(Unavailable) as caught:
        litert_cpu.LitertCpu.converter.versions()
    assert "--python onnx2tf=" in caught.value.hint
