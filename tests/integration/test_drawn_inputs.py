"""Graphs that refuse some drawn inputs: what is drawn fits where it can, and otherwise the reason says that it was drawn."""

import numpy as np
import onnxfiles
import pytest
from onnx import TensorProto as Type
from onnx import helper

RUNTIMES = "ort-cpu,openvino-cpu"
DRAWN = "inputs were drawn; give --input NAME=FILE.npy"
value, node = onnxfiles.value, helper.make_node


def looked_up(*nodes, rows, constants=(), columns=3):
    """Ids that reach a table of `rows` rows through `nodes`, which make `i` of `ids`."""
    inputs, outputs = [value("ids", Type.INT64, ["N", columns])], [value("y", Type.FLOAT, ["N", columns, 2])]
    tensors = [onnxfiles.weights(rows=rows), *constants]
    return helper.make_graph([*nodes, node("Gather", ["w", "i"], ["y"])], "g", inputs, outputs, tensors)


def checked(shell, graph, *more, code=0, batch="1,4", backend=RUNTIMES):
    path = onnxfiles.write(shell.folder / "model.onnx", graph)
    return shell.rows("check", "--model", path, "--backend", backend, "--batch", batch, *more, code=code)


def test_values_that_the_graph_computes_out_of_range_are_drawn_again_smaller(shell):
    """No reader of graphs sees a bound behind a product: ids of 0..9 times 3 are out of a table of 4 rows, 0 and 1 are not."""
    three = helper.make_tensor("three", Type.INT64, [], [3])
    rows = checked(shell, looked_up(node("Mul", ["ids", "three"], ["i"]), rows=4, constants=[three]))
    assert {(row["status"], row["batch"]) for row in rows} == {("ok", 1), ("ok", 4)}
    assert all(row["sqnr_db"] > 60 for row in rows)


def test_what_no_drawn_value_fits_says_that_it_was_drawn_and_what_to_give(shell):
    nine = helper.make_tensor("nine", Type.INT64, [], [-9])
    graph = looked_up(node("Mul", ["ids", "ids"], ["s"]), node("Sub", ["s", "nine"], ["i"]), rows=2, constants=[nine])
    rows = checked(shell, graph, code=3)
    reasons = {row["reason"] for row in rows if row["backend"] == "ort-cpu"}
    assert {row["status"] for row in rows if row["backend"] == "ort-cpu"} == {"failed"}
    assert reasons
    assert all(reason.endswith(DRAWN) for reason in reasons)


def test_what_the_user_gives_is_not_called_drawn(shell):
    np.save(shell.folder / "ids.npy", np.full((1, 3), 7))
    (row,) = (
        row
        for row in checked(
            shell, looked_up(node("Identity", ["ids"], ["i"]), rows=2), "--input", "ids=ids.npy", code=3, batch="1"
        )
        if row["backend"] == "ort-cpu"
    )
    assert row["status"] == "failed"
    assert "drawn" not in row["reason"]


@pytest.mark.parametrize("fixed", [1, 4])
def test_each_batch_has_a_reference_of_its_own(shell, fixed):
    """A Reshape that says one batch behind an input that says any: the other batches fail, and that one is compared."""
    shape = helper.make_tensor("shape", Type.INT64, [2], [fixed, 4])
    nodes = [node("Reshape", ["x", "shape"], ["r"]), node("MatMul", ["r", "w"], ["y"])]
    ends = value("x", Type.FLOAT, ["N", 4]), value("y", Type.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "g", [ends[0]], [ends[1]], [onnxfiles.weights(), shape])
    rows = {row["batch"]: row for row in checked(shell, graph, backend="ort-cpu", code=3)}
    assert (rows[fixed]["status"], rows[fixed]["sqnr_db"]) == ("ok", 200)
    assert {row["status"] for batch, row in rows.items() if batch != fixed} == {"failed"}
