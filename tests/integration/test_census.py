"""The census over one model of every kind, by the code that makes the page."""

import census
import census_models
import numpy as np
import pytest
from census_page import page

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
    assert f"{len(EXPECTED)} models on ort-cpu and openvino-cpu" in text


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
    assert {row.state for row in entry.rows} == {census.OWN_INPUTS}
    assert {row.reason for row in entry.rows} == {
        "input 'shape' sets the shape of Reshape, so random values are wrong; write --input shape=FILE.npy"
    }
    assert (entry.plain, entry.differs) == ("", "differs by up to 1")
