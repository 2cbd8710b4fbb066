"""Several models in one run, on ONNX Runtime: the CNN and two small files."""

import json
import math
from statistics import fmean

import onnxfiles
import pytest
from onnxbench.results.store.journal import read_journal
from onnxfiles import MINI, Type, helper, value

pytestmark = pytest.mark.long

ORT = ("--backend", "ort-cpu")


def square(size):
    """A layer with `size` inputs and outputs."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [value(name, Type.FLOAT, ["N", size]) for name in "xy"]
    return helper.make_graph([node], "g", ends[:1], ends[1:], [onnxfiles.weights(rows=size, columns=size)])


def of_nobody():
    """An operator that ONNX Runtime does not have."""
    node = helper.make_node("NoSuchOperator", ["x"], ["y"], domain="nobody")
    return helper.make_graph([node], "g", [value("x", Type.FLOAT, ["N", 4])], [value("y", Type.FLOAT, ["N", 4])])


@pytest.fixture(scope="module")
def several(trained):
    """A run of the CNN and two files in FP32 and INT8: the shell, and the printed JSON."""
    for size in (64, 256):
        onnxfiles.write(trained.folder / f"square{size}.onnx", square(size))
    how = ("--precision", "fp32,int8", "--batch", "1", "--images", "64", "--baseline", "ort-cpu", "--out", "several")
    done = trained.bench("infer", "--model", "cnn,square64.onnx,square256.onnx", *ORT, *how, *MINI, "--format", "json")
    assert done.returncode == 0, done.stderr
    return trained, json.loads(done.stdout)


def test_every_model_has_its_rows_in_the_same_rounds(several):
    shell, told = several
    rows = {(row["model"], row["precision"]): row for row in told["rows"]}
    assert set(rows) == {(model, precision) for model in ("cnn", "square64", "square256") for precision in ("fp32", "int8")}
    assert {row["status"] for row in rows.values()} <= {"ok", "mismatch"}
    assert {row["status"] for (_, precision), row in rows.items() if precision == "fp32"} == {"ok"}
    blocks = [event.round for _, event in read_journal(shell.folder / "several") if type(event).__name__ == "Block"]
    assert blocks == sorted(blocks)


def test_the_mean_of_the_speed_ups_is_that_of_the_rows(several):
    (mean,) = several[1]["mean_speedups"]
    speedups = {
        row["model"]: row["speedup"] for row in several[1]["rows"] if row["precision"] == "int8" and row["status"] == "ok"
    }
    assert (mean["backend"], mean["precision"], set(mean["models"])) == ("ort-cpu", "int8", set(speedups))
    assert mean["mean"] == pytest.approx(math.exp(fmean(map(math.log, speedups.values()))))
    if len(speedups) == 3:
        assert mean["ci_low"] < mean["mean"] < mean["ci_high"]


def test_each_model_is_recommended_apart_with_a_program_of_its_own(several):
    shell, _ = several
    told = json.loads(shell.bench("recommend", "several", "--format", "json").stdout)
    assert [item["model"] for item in told["models"]] == ["cnn", "square256", "square64"]
    assert all(item["pick"]["row"]["model"] == item["model"] for item in told["models"])
    assert all(item["model"] in item["pick"]["snippet"] for item in told["models"])
    nothing = shell.bench("recommend", "several", "--max", "p50=0.1us")
    assert nothing.returncode == 1


def test_a_run_of_several_models_is_shown_and_resumed_without_naming_them(several):
    shell, told = several
    before = len(list(read_journal(shell.folder / "several")))
    resumed = shell.rows("infer", "--out", "several", "--resume")
    assert len(list(read_journal(shell.folder / "several"))) == before
    shown = json.loads(shell.bench("show", "several", "--baseline", "ort-cpu", "--format", "json").stdout)
    assert resumed == shown["rows"] == told["rows"]


@pytest.mark.parametrize("bad", ["missing.onnx", "cn", "text.onnx", "pkg:make"])
def test_a_bad_model_among_several_ends_in_one_sentence_before_anything_is_made(shell, bad):
    onnxfiles.write(shell.folder / "square.onnx", square(8))
    (shell.folder / "text.onnx").write_text("no model")
    done = shell.bench("infer", "--model", f"square.onnx,{bad},cnn", *ORT, "--out", "run", *MINI)
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("bench: ")]) == 1
    assert bad in done.stderr
    assert not (shell.folder / "run/run.json").exists()
    assert not (shell.folder / "artifacts").exists()


@pytest.mark.parametrize("command", ["infer", "check"])
def test_a_model_that_no_runtime_runs_has_a_reason_and_the_others_are_measured(shell, command):
    onnxfiles.write(shell.folder / "square.onnx", square(8))
    graph = of_nobody()
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)], ir_version=10
    )
    (shell.folder / "other.onnx").write_bytes(model.SerializeToString())
    how = MINI if command == "infer" else ()
    rows = shell.rows(command, "--model", "other.onnx,square.onnx", *ORT, "--batch", "1", *how, code=3)
    status = {row["model"]: row["status"] for row in rows}
    assert status["square"] == "ok"
    assert status["other"] in ("failed", "unsupported")
    assert all(row["reason"] for row in rows if row["model"] == "other")
