"""`bench profile` on real runtimes: the table, its totals, stored runs, and backends that have no profile."""

import csv
import io
import json

import pytest
from onnxfiles import wide, write

BOTH = "ort-cpu,openvino-cpu"


@pytest.fixture
def profiled(shell):
    """A profile of a small net on two runtimes, as JSON; the run is in `run`."""
    model = write(shell.folder / "wide.onnx", wide())
    done = shell.bench("profile", "--model", model, "--backend", BOTH, "--out", "run", "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_layers_of_two_runtimes_stand_side_by_side(profiled, shell):
    sides = {side["label"]: side for side in profiled["sides"]}
    assert list(sides) == BOTH.split(",")
    for side in sides.values():
        assert side["mapped"] >= 0.95
        assert 0 < side["kernels_ms"] < 3 * side["profiled_p50_ms"]
        assert side["p50_ms"] > 0
    rows = profiled["rows"]
    assert sum("MatMul" in row["operators"] for row in rows) == 4
    assert {row["shape"] for row in rows} == {"8x512"}
    for label in sides:
        assert sum(row[f"{label}.share_p"] or 0 for row in rows) == pytest.approx(100)
        assert {row[f"{label}.type"] for row in rows if "MatMul" in row["operators"]} == {"fp32"}
    assert all(row["openvino-cpu.ratio"] > 0 for row in rows if "MatMul" in row["operators"])

    again = shell.bench("profile", "run", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(again.stdout)))
    assert [line["node"] for line in lines] == [row["node"] for row in rows]
    twice = shell.bench("profile", "run", "run")
    assert twice.returncode == 0
    shown = shell.bench("show", "run")
    assert shown.returncode == 0, shown.stderr


def test_a_backend_without_a_profile_is_a_row_with_the_reason(shell, null_file):
    done = shell.bench("profile", "--model", null_file, "--backend", "null,ort-cpu", "--out", "run")
    assert done.returncode == 3
    assert "null: no profile (unsupported)" in done.stdout
    assert "ort-cpu: p50" in done.stdout


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--model", "none.onnx"), "none.onnx"),
        (("run", "--batch", "1"), "stored run"),
        (("missing",), "not a run folder"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(shell, words, what):
    done = shell.bench("profile", *words)
    assert (done.returncode, what in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_states_and_several_arrays_have_no_profile(shell, null_file):
    done = shell.bench("profile", "--model", null_file, "--backend", "ort-cpu", "--feedback", "y=x")
    assert (done.returncode, "--feedback" in done.stderr) == (2, True)
