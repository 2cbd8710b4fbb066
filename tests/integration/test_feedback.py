"""A recurrent model whose state is fed back, on real runtimes; and files that declare sizes of 0."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxfiles
import onnxruntime
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench import backends
from onnxbench.backends.recurrence import RESET_STEPS, Recurrence
from onnxbench.models import onnx_file
from onnxbench.runners.worker import lanes, measure
from onnxbench.runners.worker.clock import Clock
from onnxbench.spec import Cell, Concurrency, Settings

INPUTS, HIDDEN = 4, 8
RUNTIMES = ("ort-cpu", "openvino-cpu")
FEEDBACK = {"h_out": "h", "c_out": "c"}
PAIRS = [word for pair in FEEDBACK.items() for word in ("--feedback", "=".join(pair))]
value, node = onnxfiles.value, helper.make_node


def lstm():
    """One step of an LSTM: x [1, N, 4], its states [1, N, 8]."""
    generator = np.random.default_rng(0)
    shapes = {"w": (1, 4 * HIDDEN, INPUTS), "r": (1, 4 * HIDDEN, HIDDEN), "b": (1, 8 * HIDDEN)}
    weights = [numpy_helper.from_array(generator.standard_normal(shape, np.float32), name) for name, shape in shapes.items()]
    step = node("LSTM", ["x", "w", "r", "b", "", "h", "c"], ["", "h_out", "c_out"], hidden_size=HIDDEN)
    nodes = [step, node("ReduceSum", ["h_out"], ["y"], keepdims=1)]
    states = {name: value(name, Type.FLOAT, [1, "batch", HIDDEN]) for name in ("h", "c", "h_out", "c_out")}
    inputs = [value("x", Type.FLOAT, [1, "batch", INPUTS]), states["h"], states["c"]]
    return helper.make_graph(nodes, "g", inputs, [value("y", Type.FLOAT, [1, 1, 1]), states["h_out"], states["c_out"]], weights)


def scaling(factor):
    """A state that each step multiplies."""
    constant = numpy_helper.from_array(np.array(factor, np.float32), "factor")
    ends = [value(name, Type.FLOAT, ["batch", 3]) for name in ("s", "s_out")]
    return helper.make_graph([node("Mul", ["s", "factor"], ["s_out"])], "g", ends[:1], ends[1:], [constant])


def cache(dim):
    """A cache of the length `dim` to which each step adds an entry."""
    inputs = [value("x", Type.FLOAT, ["batch", 1, 2]), value("past", Type.FLOAT, ["batch", dim, 2])]
    join = node("Concat", ["past", "x"], ["present"], axis=1)
    return helper.make_graph([join], "g", inputs, [value("present", Type.FLOAT, ["batch", None, 2])])


@pytest.fixture
def path(shell):
    return onnxfiles.write(shell.folder / "lstm.onnx", lstm())


def draw(batch):
    generator = np.random.default_rng(1)
    widths = {"x": INPUTS, "h": HIDDEN, "c": HIDDEN}
    return {name: generator.standard_normal((1, batch, width), np.float32) for name, width in widths.items()}


def walk(path, inputs, steps):
    """The state after so many steps, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    arrays = dict(inputs)
    for _ in range(steps):
        outputs = dict(zip(("y", "h_out", "c_out"), session.run(None, arrays)))
        arrays |= {target: outputs[source] for source, target in FEEDBACK.items()}
    return outputs


def opened(name, path, inputs):
    shapes = tuple((key, array.shape) for key, array in inputs.items())
    artifact = onnx_file.describe(path, model="lstm")
    cell = Cell(
        **{"model": "lstm", "sha256": artifact.sha256, "backend": name, "device": "cpu", "precision": "fp32"},
        **{"batch": 2, "shapes": shapes, "settings": Settings(threads=1), "feedback": tuple(FEEDBACK.items())},
    )
    session = backends.get(name).open(artifact, cell, Concurrency(lanes=2, threads=1))
    return [stateful(lane, inputs) for lane in (session, session.fork())]


def stateful(session, inputs):
    session.bind(inputs)
    session.start()
    session.wait()
    session.recurrence = Recurrence(feedback=FEEDBACK, inputs=inputs)
    return session


# Five calls of the program's own lane; the closure has the binding or the request.
CALLS = """
inputs = dict(np.load("inputs.npz"))
call = open_lane()
for _ in range(STEPS):
    call()
cells = dict(zip(call.__code__.co_freevars, (cell.cell_contents for cell in call.__closure__)))
"""
CHECK = {
    # the program calls once itself when it opens a lane, without a hand-over
    "ort-cpu": CALLS.replace("STEPS", "5") + 'print(cells["binding"].get_outputs()[0].numpy().item())',
    "openvino-cpu": CALLS.replace("STEPS", "5") + 'print(cells["request"].get_tensor("y").data.item())',
}


def program(name, path):
    """The program of `bench recommend` for one call in flight, which measures for a short time."""
    artifact = onnx_file.describe(path, model="lstm")
    shapes = tuple((key, array.shape) for key, array in draw(2).items())
    cell = Cell(
        **{"model": "lstm", "sha256": artifact.sha256, "backend": name, "device": "cpu", "precision": "fp32"},
        **{"batch": 2, "shapes": shapes, "settings": Settings(threads=1), "feedback": tuple(FEEDBACK.items())},
    )
    text = backends.get(name).snippet(artifact, cell, Concurrency(threads=1))
    return text.replace("WARM_UP_S, SECONDS = 1.0, 3.0", "WARM_UP_S, SECONDS = 0.01, 0.05")


@pytest.mark.parametrize("steps", [1, 2, 40, RESET_STEPS, RESET_STEPS + 3])
@pytest.mark.parametrize("name", RUNTIMES)
def test_the_state_after_some_steps_is_that_of_the_reference(name, steps, path):
    inputs, since = draw(2), (steps - 1) % RESET_STEPS + 1
    session, _ = opened(name, path, inputs)
    measure.latency(session, Clock().now_ns, least_ns=0, least_calls=steps)
    expected, outputs = walk(path, inputs, since), session.fetch()
    for output in ("y", *FEEDBACK):
        np.testing.assert_allclose(outputs[output], expected[output], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_lane_walks_by_itself(name, path):
    inputs, others = draw(2), {name: -array for name, array in draw(2).items()}
    first, second = opened(name, path, inputs)
    stateful(second, others)
    lanes.throughput([first, second], Clock().now_ns, lanes.Length(least_ns=2_000_000))
    for session, own in ((first, inputs), (second, others)):
        expected = walk(path, own, session.recurrence.steps)
        np.testing.assert_allclose(session.fetch()["h_out"], expected["h_out"], atol=1e-4, rtol=1e-4)


def test_a_run_with_feedback(shell, path):
    options = ("--backend", ",".join((*RUNTIMES, "null")), *PAIRS, "--step-seconds", "0.5", "--batch", "1,2", "--out", "run")
    rows = shell.rows("infer", "--model", path, *onnxfiles.MINI, *options)
    assert {(row["status"], row["feedback"]) for row in rows} == {("ok", "h_out=h c_out=c")}
    assert len(rows) == 6
    for row in rows:
        assert row["real_time_factor"] == pytest.approx(row["p50_ms"] / 500)
        assert "feedback=" in row["settings"]
        assert row["sqnr_db"] is None or row["sqnr_db"] > 80
        assert row["parity_output"] is None or ", step " in row["parity_output"]
    assert shell.bench("infer", "--out", "run", "--resume").returncode == 0
    shown = json.loads(shell.bench("show", "run", "--format", "json").stdout)["rows"]
    assert [row["feedback"] for row in shown] == ["h_out=h c_out=c"] * 6


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_program_to_paste_hands_the_state_over(shell, path, name):
    text = program(name, path)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert "items/s" in done.stdout
    lane = text[: text.index("def rate(")] + CHECK[name]
    inputs = draw(2)
    np.savez(shell.folder / "inputs.npz", **inputs)
    done = subprocess.run([sys.executable, "-c", lane], capture_output=True, text=True, cwd=shell.folder)
    assert done.returncode == 0, done.stderr
    expected = walk(path, inputs, 5)["y"]
    np.testing.assert_allclose(float(done.stdout), expected.item(), rtol=1e-3, atol=1e-3)


def test_rows_with_and_without_feedback_are_not_compared(shell, path):
    same = ("--model", path, "--backend", "ort-cpu", "--batch", "1", *onnxfiles.MINI)
    shell.rows("infer", *same, *PAIRS, "--out", "with")
    plain = shell.rows("infer", *same, "--out", "without")
    assert (plain[0]["feedback"], plain[0]["real_time_factor"]) == (None, None)
    done = shell.bench("compare", "with", "without", "--format", "json")
    assert not [row for row in json.loads(done.stdout or '{"rows": []}')["rows"] if row.get("p50_ms")] or done.returncode


def test_a_state_that_is_not_finite_is_a_mismatch(shell):
    path = onnxfiles.write(shell.folder / "grows.onnx", scaling(10))
    request = ("--backend", ",".join(RUNTIMES), "--feedback", "s_out=s")
    done = shell.bench("check", "--model", path, *request, "--format", "json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert {row["status"] for row in answer["rows"]} == {"mismatch"}
    assert all("s_out" in row["reason"] for row in answer["rows"])
    (finding,) = [item for item in answer["findings"] if item["kind"] == "diverged"]
    # 10 to the power of 38 fits into FP32, and 10 to the power of 39 does not
    assert (finding["severity"], finding["values"]["output"]) == ("failure", "s_out")
    assert 36 < finding["values"]["steps"] < 42
    path = onnxfiles.write(shell.folder / "fades.onnx", scaling(0.9))
    rows = shell.rows("check", "--model", path, *request)
    assert {row["status"] for row in rows} == {"ok"}


@pytest.mark.parametrize("dim", ["past_sequence_length", "length", 4])
def test_a_growing_cache_is_refused_before_anything_is_measured(shell, dim):
    path = onnxfiles.write(shell.folder / "cache.onnx", cache(dim))
    sizes = () if dim == 4 else ("--dim", f"{dim}=4")
    options = ("--backend", "ort-cpu", "--feedback", "present=past", *sizes, "--out", "run")
    done = shell.bench("infer", "--model", path, *onnxfiles.MINI, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert "static cache" in done.stderr
    assert "--dim" in done.stderr


@pytest.mark.parametrize("place", [0, 1])
def test_a_declared_size_of_0_is_open_on_every_runtime(shell, place):
    shape = ["batch", 4]
    shape[place] = 0
    ends = [value(name, Type.FLOAT, shape) for name in ("x", "y")]
    path = onnxfiles.write(shell.folder / "zero.onnx", helper.make_graph([node("Neg", ["x"], ["y"])], "g", ends[:1], ends[1:]))
    before = path.read_bytes()
    options = ("--batch", "3") if place == 0 else ("--dim", "x.1=4", "--batch", "3")
    rows = shell.rows("check", "--model", path, "--backend", ",".join(RUNTIMES), *options)
    assert {(row["status"], row["shapes"]) for row in rows} == {("ok", "x=3x4")}
    assert all(row["sqnr_db"] > 80 for row in rows)
    assert path.read_bytes() == before
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[place].dim_value == 0
