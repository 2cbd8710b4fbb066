"""`bench profile` on real runtimes: the table, its totals, stored runs, and backends that have no profile."""

import csv
import io
import json

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnxfiles import Type, value, wide, write

BOTH = "ort-cpu,openvino-cpu"


def graph_of(nodes, shape, **constants):
    """A graph from `x` to `y`, both float32 of that shape."""
    ends = [value(name, Type.FLOAT, shape) for name in "xy"]
    arrays = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    return helper.make_graph(nodes, "g", ends[:1], ends[1:], arrays)


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs.split(), [output], name=f"make_{output}", **attributes)


def turned():
    """A large transposition before a Relu."""
    return graph_of([node("Transpose", "x", "t", perm=[0, 2, 1]), node("Relu", "t", "y")], ["N", 256, 256])


def rounded():
    """A pair of quantization outside of a layer."""
    pair = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"), node("Sigmoid", "d", "y")]
    return graph_of(pair, ["N", 65536], s=np.float32(0.1), z=np.int8(0))


def chain(count=100):
    """Nodes so small that the profiler takes longer than they do."""
    names = ["x", *(f"t{place}" for place in range(1, count)), "y"]
    kinds = ("Sigmoid", "Tanh") * (count // 2)
    return graph_of([node(*each) for each in zip(kinds, names, names[1:])], ["N", 4])


def repeated(times):
    """An Erf of an array that is so many times as long as the input, beside a product."""
    nodes = [
        node("Tile", "x times", "t"),
        node("Erf", "t", "e"),
        node("ReduceMax", "e", "r", axes=[1]),
        node("MatMul", "x w", "m"),
        node("Add", "m r", "y"),
    ]
    square = np.random.default_rng(0).random((256, 256), np.float32)
    return graph_of(nodes, ["N", 256], times=np.array([1, times]), w=square)


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


MADE = {"turned": "profile_moves", "rounded": "profile_qdq", "chain": "profile_slowed"}


@pytest.mark.long
def test_what_takes_the_time_of_a_model_that_is_made_for_it_is_found(shell):
    """Three models in one run."""
    graphs = {"turned": turned(), "rounded": rounded(), "chain": chain()}
    files = ",".join(str(write(shell.folder / f"{name}.onnx", graph)) for name, graph in graphs.items())
    done = shell.bench("profile", "--model", files, "--backend", "ort-cpu", "--format", "json", "--out", "run")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [side["mapped"] for side in data["sides"]] == [1.0] * 3
    kinds = [finding["kind"] for finding in data["findings"]]
    assert set(MADE.values()) <= set(kinds)
    assert {row["case"] for row in data["rows"]} == {f"{name} b8" for name in MADE}


@pytest.mark.long
def test_the_layer_that_became_slower_between_two_runs_is_found(shell):
    """Of two files with the same nodes, one has 1024 times as much to do in one of them."""
    for run, times in (("old", 1), ("new", 1024)):
        (shell.folder / f"in-{run}").mkdir()
        model = write(shell.folder / f"in-{run}" / "net.onnx", repeated(times))
        done = shell.bench("profile", "--model", model, "--backend", "ort-cpu", "--out", run)
        assert done.returncode == 0, done.stderr
    data = json.loads(shell.bench("profile", "old", "new", "--format", "json").stdout)
    (line,) = [row for row in data["rows"] if row["operators"] == "Erf"]
    assert line["new ort-cpu.ratio"] > 2
    found = {(finding["kind"], *finding["rows"], finding["values"].get("operator")): finding for finding in data["findings"]}
    assert found["profile_operator", "new ort-cpu", "Erf"]["values"]["other"] == "old ort-cpu"
    slower = [finding["values"]["node"] for finding in data["findings"] if finding["kind"] == "profile_slower"]
    assert "make_e" in slower
    assert "make_m" not in slower


@pytest.mark.long
def test_layers_are_compared_with_what_the_machine_attains(shell):
    """Two runtimes with roofs: operations and bytes by hand, shares, a chart, and a second look at the stored run."""
    model = write(shell.folder / "wide.onnx", wide(layers=2, columns=512))
    what = ("--model", model, "--backend", BOTH, "--out", "run", "--roof", "--format", "json")
    done = shell.bench("profile", *what)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [side["label"] for side in data["sides"]] == BOTH.split(",")
    assert all(0 < side["of_roof"] < 300 for side in data["sides"])
    products = [row for row in data["rows"] if "MatMul" in row["operators"]]
    assert [row["gflops"] for row in products] == [pytest.approx(2 * 8 * 512 * 512 / 1e9)] * 2
    for label in BOTH.split(","):
        for row in products:
            assert 0 < row[f"{label}.of_roof"] < 300
            assert row[f"{label}.gflops_per_s"] == pytest.approx(row["gflops"] / row[f"{label}.ms"] * 1e3, rel=0.5)
            assert row[f"{label}.bound"] in ("compute", "memory", "launch", "overhead")
    assert sum(finding["kind"] == "profile_roof" for finding in data["findings"]) == 2
    again = json.loads(shell.bench("profile", "run", "--format", "json").stdout)
    assert again["rows"] == data["rows"]
    report = shell.bench("report", "run", "--out", "page.html")
    assert report.returncode == 0, report.stderr
    assert "Roofline of the layers" in (shell.folder / "page.html").read_text()


def test_a_backend_without_a_profile_is_a_row_with_the_reason(shell, null_file):
    done = shell.bench("profile", "--model", null_file, "--backend", "null,ort-cpu", "--out", "run")
    assert done.returncode == 3
    assert "null: no profile (unsupported)" in done.stdout
    assert "ort-cpu: p50" in done.stdout


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--model", "none.onnx", "--backend", "null"), "none.onnx"),
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
