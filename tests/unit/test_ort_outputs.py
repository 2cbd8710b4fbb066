"""Outputs of ONNX Runtime's sessions that have another shape than the file declares."""

import numpy as np
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper, save
from onnxbench import backends
from onnxbench.backends.ort import resolve_symbols
from onnxbench.backends.ort_cuda import OrtCudaSession
from onnxbench.errors import RuntimeFailed
from onnxbench.models.onnx_file import describe
from onnxbench.spec import Concurrency, TensorSpec

value, node = helper.make_tensor_value_info, helper.make_node


@pytest.fixture
def artifact(tmp_path):
    """A file whose output is declared as one item, as some exporters leave it, with an open batch at its input."""

    def make(*declared):
        weights = numpy_helper.from_array(np.eye(4, 2, dtype=np.float32), "w")
        ends = value("x", Type.FLOAT, [None, 4]), value("y", Type.FLOAT, declared)
        graph = helper.make_graph([node("MatMul", ["x", "w"], ["y"])], "g", [ends[0]], [ends[1]], [weights])
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
        return describe(tmp_path / "m.onnx", model="m")

    return make


@pytest.mark.parametrize("declared", [(1, 2), ("N", 2), (3, 2)])
def test_every_call_answers_whatever_shape_the_file_declares(artifact, make_cell, declared):
    file, cell = artifact(*declared), make_cell(batch=3, shapes=(("x", (3, 4)),))
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    with backends.get("ort-cpu").open(file, cell) as session, session.fork() as fork:
        for each in (session, fork):
            each.bind({"x": x})
            for _ in range(3):
                each.start()
                each.wait()
            assert each.fetch()["y"].tolist() == x[:, :2].tolist()


def test_outputs_of_the_declared_shape_are_bound_once(artifact, make_cell):
    with backends.get("ort-cpu").open(artifact("N", 2), make_cell(batch=3, shapes=(("x", (3, 4)),))) as session:
        session.bind({"x": np.ones((3, 4), np.float32)})
        session.start()
        first = session._binding.get_outputs()[0].data_ptr()
        session.start()
        assert session._binding.get_outputs()[0].data_ptr() == first


@pytest.mark.parametrize("declared", [(1, 2), ("N", 2)])
def test_the_program_to_paste_runs_too(artifact, make_cell, capsys, declared):
    file, cell = artifact(*declared), make_cell(batch=3, shapes=(("x", (3, 4)),))
    text = backends.get("ort-cpu").snippet(file, cell, Concurrency(lanes=2, threads=1))
    exec(compile(text.replace("= 1.0, 3.0", "= 0.0, 0.01"), "program", "exec"), {})
    assert capsys.readouterr().out.endswith(" items/s\n")


def test_a_name_with_two_sizes_stays_open(make_artifact, make_cell):
    inputs = tuple(TensorSpec(name=name, dtype="float32", shape=("batch", "seq")) for name in "ab")
    cell = make_cell(batch=2, shapes=(("a", (2, 16)), ("b", (2, 8))))
    assert resolve_symbols(make_artifact(inputs=inputs), cell) == {"batch": 2}


def test_no_graph_is_captured_of_outputs_that_move():
    session = OrtCudaSession.__new__(OrtCudaSession)
    session._undeclared = ["y"]
    with pytest.raises(RuntimeFailed, match="'y' has another shape"):
        session._capture()
