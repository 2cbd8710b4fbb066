"""The census over one model of every kind, by the code that makes the page."""

import census
import census_kinds
import census_models
import numpy as np
import pytest
from census_bare import Question, measure_distances
from census_causes import NOT_EXPLAINED, cause_of
from census_page import page
from census_result import NO_PARITY, OWN_INPUTS, Result, Row, read_results, write_results

OK = ("ok", "ok")
EXPECTED = {
    "cnn-opset-7": OK,
    "cnn-external-data": OK,
    "text-ids-and-masks": OK,
    "audio-gru-state": OK,
    "audio-lstm-state": OK,
    "audio-lengths-and-gain": OK,
    "tabular-columns": OK,
    "tabular-trees": ("ok", "failed"),
    "tabular-map-output": ("unsupported", "unsupported"),
    "tabular-strings": ("unsupported", "unsupported"),
    "data-dependent-shape": OK,
    "sequence-output": ("unsupported", "unsupported"),
    "control-flow-if": OK,
    "control-flow-loop": OK,
    "control-flow-scan": OK,
    **{f"dims-{name}": OK for name in census_models.DIMS},
}
NAMED = {
    "tabular-map-output": "output 'probabilities' is of kind sequence",
    "tabular-strings": "input 'city' is of type string",
    "sequence-output": "output 'parts' is of kind sequence",
    "tabular-trees": "TreeEnsembleRegressor",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("census")
    asked = [case for case in census_models.own(folder) if case.name in EXPECTED]
    return census.work(iter(asked), folder, lambda entry: None)


def test_every_kind_of_model_is_taken_or_refused_by_name(found):
    rows = [row for entry in found for row in entry.rows]
    states = {entry.rows[0].case: tuple(row.state for row in entry.rows) for entry in found}
    assert states == EXPECTED, [row for row in rows if row.reason]
    for row in rows:
        assert row.state == "ok" or NAMED[row.case] in row.reason
        assert (row.reason == "") == (row.state == "ok")


def test_the_page_lists_them_all(found):
    text = page(found)
    for name in EXPECTED:
        assert name in text
    assert f"{len(EXPECTED)} models on ort-cpu, openvino-cpu" in text


def test_what_sets_an_operator_is_taken_from_the_models_own_inputs(tmp_path):
    value, kind = census_models.value, census_models.Type
    graph = census_models._graph(
        [census_models.node("Reshape", ["x", "shape"], ["y"])],
        [value("x", kind.FLOAT, [2, 6]), value("shape", kind.INT64, [2])],
        [value("y", kind.FLOAT, [3, 4])],
    )
    file = census_models._write(tmp_path / "reshape.onnx", graph, {})
    given = {"x": np.ones((2, 6), np.float32), "shape": np.array([3, 4])}
    case = census.Case(name="reshape", kind="node", file=file, given=given, expected=(np.zeros((3, 4), np.float32),))
    (entry,) = census.work(iter([case]), tmp_path, lambda entry: None)
    assert {row.state for row in entry.rows} == {OWN_INPUTS}
    assert {row.reason for row in entry.rows} == {
        "input 'shape' sets the shape of Reshape, so random values are wrong; write --input shape=FILE.npy"
    }
    assert (entry.plain, entry.differs) == ("", "differs by up to 1")


MISMATCHES = {  # the true ones: each is a fault of a conversion
    ("counted-outputs", "int8"),
    ("outputs-near-zero", "fp16"),
}
REFUSED = {  # by a runtime, in a sentence of its own
    ("sparse-weights", "fp32", "openvino-cpu"): "failed",
    ("ids-through-nodes", "fp32", "openvino-cpu"): "failed",
    ("reshape-of-one-item", "fp32", "ort-cpu"): "failed",
    ("reshape-of-one-item", "fp32", "openvino-cpu"): NO_PARITY,
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    names = {*census_kinds.GRAPHS, "weights-of-branches-in-a-file", "hub-cache", *census_models.MODULES}
    names.remove("two-matrix-products")  # whether OpenVINO is right there depends on the threads of the machine
    asked = [case for case in census_models.own(folder) if case.name in names]
    return census.work(iter(asked), folder, lambda entry: None)


@pytest.mark.long
def test_kinds_that_were_once_judged_wrongly_are_judged_right_in_every_precision(kinds):
    rows = [row for entry in kinds for row in entry.rows]
    assert {(row.case, row.precision) for row in rows if row.state == "mismatch"} == MISMATCHES
    others = {(row.case, row.precision, row.backend): row.state for row in rows if row.state not in ("ok", "mismatch")}
    assert others == REFUSED
    converted = {row.case for row in rows if row.precision == "int8"}
    assert len(converted) >= 15
    assert {row.case for row in rows if row.backend == "torch-cpu"} == set(census_models.MODULES)


@pytest.mark.long
def test_every_mismatch_has_a_cause_and_the_figures_of_bare_runtimes(kinds):
    far = [row for entry in kinds for row in entry.rows if row.state == "mismatch"]
    for row in far:
        assert cause_of(row.case, row.precision) != NOT_EXPLAINED
        assert "OpenVINO" in dict(row.bare)
    assert cause_of("no such model", "fp32") == NOT_EXPLAINED
    assert NOT_EXPLAINED not in page(kinds)


def test_a_bare_runtime_is_measured_against_the_answers_of_another(tmp_path):
    graph = census_models._graph(
        [census_models.node("Relu", ["x"], ["y"])], [census_models._open("x", [4])], [census_models._open("y", [4])]
    )
    file = census_models._write(tmp_path / "relu.onnx", graph, {})
    inputs = {"x": np.array([-1, 2, -3, 4], np.float32)}
    for against in ("onnx's evaluator", "ONNX's authors"):
        right = (np.array([0, 2, 0, 4], np.float32),)
        measured = measure_distances(Question(base=file, file=file, inputs=inputs, expected=right), against)
        assert set(dict(measured.figures).values()) == {200.0}
    wrong = Question(base=file, file=file, inputs=inputs, expected=(np.array([0, 2, 0, 5], np.float32),))
    assert max(dict(measure_distances(wrong, "ONNX's authors").figures).values()) < 20


def test_results_survive_a_call_that_was_killed(tmp_path):
    row = Row(case="a", kind="node", backend="ort-cpu", state="ok", sqnr_db=90.0, bare=(("OpenVINO", 3.0),))
    results = [Result(rows=(row,)), Result(rows=(row,), plain="refused")]
    write_results(tmp_path / "state", results)
    with (tmp_path / "state").open("a") as file:
        file.write('{"rows": [{"ca')
    assert read_results(tmp_path / "state") == results
