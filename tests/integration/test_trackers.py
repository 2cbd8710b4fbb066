"""Runs logged with the real libraries in their local or offline modes, and read back."""

import importlib.util
import json
import os

import numpy as np
import onnxfiles
import pytest
from onnxbench.results.trackers import track
from onnxbench.results.trackers.logged import LoggedRow, LoggedRun

REQUIRED = os.environ.get("BENCH_REQUIRE", "").split(",")
ASKED = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "NETRC")
ROWS = ["tiny null fp32 b1 cpu", "tiny null fp32 b2 cpu"]


def here(*names):
    """Whether libraries are here; fails where one is required and missing."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            refuse = pytest.fail if name in REQUIRED else pytest.skip
            refuse(f"{name} is not here: pip install 'onnxbench[{name}]'")


@pytest.fixture
def alone(shell, monkeypatch):
    """A shell in which no tracker was told anything, and no key is found."""
    for name in (*ASKED, *(name for name in os.environ if name.startswith("WANDB_"))):
        monkeypatch.delenv(name, raising=False)
    shell.apart = True  # trackers start threads that outlive a command
    shell.environment = {"NETRC": str(shell.folder / "none"), "WANDB_CONFIG_DIR": str(shell.folder / "config")}
    return shell


def measured(shell, *more, code=0, out="run"):
    file = onnxfiles.write(shell.folder / "tiny.onnx", onnxfiles.dense())
    what = ("--backend", "null", "--model", file, "--batch", "1,2", *onnxfiles.MINI, "--out", out, "--format", "json")
    done = shell.bench("infer", *what, *more)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)["rows"], done.stderr


def mlflow_runs(folder):
    """The parent's run and its children by name, from the store in `folder`."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow/mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "onnxbench"]
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    return client, parent, children


def scalars(folder):
    """The scalars of a folder of event files, by tag as (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events, {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_mlflow_has_a_run_for_each_row_within_one_for_all(alone):
    here("mlflow")
    rows, stderr = measured(alone, "--track", "mlflow")
    assert "mlflow: 2 rows in sqlite:///" in stderr
    _, parent, children = mlflow_runs(alone.folder / "run")
    assert sorted(children) == ROWS
    assert (parent.info.run_name, parent.info.status, parent.data.params["budget"]) == ("run", "FINISHED", "quick")
    for row, name in zip(rows, ROWS):
        found = children[name]
        assert found.info.status == "FINISHED"
        numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
        assert found.data.metrics == {key: pytest.approx(value) for key, value in numbers.items()}
        assert (found.data.params["backend"], found.data.params["batch"]) == ("null", str(row["batch"]))
        assert len(found.data.params["sha256"]) == 64
        assert (found.data.tags["status"], found.data.tags["grade"]) == ("ok", row["grade"])
        assert found.data.tags["notes"] == row["notes"]


@pytest.mark.runtimes
def test_mlflow_goes_where_its_own_variable_says_and_a_failed_row_is_a_failed_run(alone):
    here("mlflow")
    alone.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{alone.folder / 'mlflow/mlflow.db'}"
    (alone.folder / "mlflow").mkdir()
    file = onnxfiles.write(alone.folder / "tiny.onnx", onnxfiles.dense())
    done = alone.bench(
        "infer",
        "--backend",
        "null,torch-cuda",
        "--model",
        file,
        "--batch",
        "1",
        *onnxfiles.MINI,
        "--out",
        "run",
        "--track",
        "mlflow",
    )
    assert "mlflow: " in done.stderr
    assert not (alone.folder / "run/mlflow").exists()
    _, _, children = mlflow_runs(alone.folder)
    by_status = {run.data.params["backend"]: (run.data.tags["status"], run.info.status) for run in children.values()}
    assert by_status["null"] == ("ok", "FINISHED")
    if by_status["torch-cuda"][0] != "ok":
        assert by_status["torch-cuda"][1] == "FAILED"
        assert children["tiny torch-cuda fp32 b1 cuda:0"].data.tags["reason"]


@pytest.mark.long
def test_a_server_that_is_not_there_changes_neither_the_table_nor_the_exit_code(alone):
    here("mlflow")
    alone.environment |= {"MLFLOW_TRACKING_URI": "http://me:secret@127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    rows, stderr = measured(alone, "--track", "mlflow")
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert "bench: mlflow could not log the run" in stderr
    assert "secret" not in stderr
    assert len(alone.rows("show", "run")) == 2


def test_wandb_is_kept_here_without_a_key(alone):
    here("wandb")
    rows, stderr = measured(alone, "--track", "wandb")
    assert "offline, without WANDB_MODE and a key" in stderr
    (run,) = (alone.folder / "run/wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    (file,) = (run / "files/media/table").glob("rows_*.json")
    table = json.loads(file.read_text())
    kept = [dict(zip(table["columns"], row)) for row in table["data"]]
    assert [row["name"] for row in kept] == ROWS
    assert [row["p50_ms"] for row in kept] == [pytest.approx(row["p50_ms"]) for row in rows]
    assert [row["status"] for row in kept] == ["ok", "ok"]


@pytest.mark.long
def test_wandb_is_off_where_its_own_variable_says_so(alone):
    here("wandb")
    alone.environment["WANDB_MODE"] = "disabled"
    _, stderr = measured(alone, "--track", "wandb")
    assert "wandb: 2 rows" in stderr
    assert not list((alone.folder / "run").glob("wandb/offline-run-*"))


def test_tensorboard_has_a_folder_for_each_row(alone):
    here("tensorboard")
    rows, _ = measured(alone, "--track", "tensorboard")
    folders = sorted(path for path in (alone.folder / "run/tensorboard").iterdir() if path.is_dir())
    assert [path.name for path in folders] == [name.replace(" ", "-") for name in ROWS]
    for row, folder in zip(rows, folders):
        events, found = scalars(folder)
        assert found["p50_ms"] == [(0, pytest.approx(row["p50_ms"]))]
        assert events.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name == "hparams"
        assert row["notes"].encode() in events.Tensors("notes")[0].tensor_proto.string_val


@pytest.mark.runtimes
def test_all_at_once_and_a_check(alone):
    here("mlflow", "wandb", "tensorboard")
    file = onnxfiles.write(alone.folder / "tiny.onnx", onnxfiles.dense())
    everything = ("--track", "mlflow", "--track", "wandb", "--track", "tensorboard")
    done = alone.bench("check", "--backend", "ort-cpu", "--model", file, "--out", "run", *everything)
    assert done.returncode == 0, done.stderr
    _, parent, children = mlflow_runs(alone.folder / "run")
    assert parent.data.params["kind"] == "check"
    (child,) = children.values()
    assert child.data.metrics["sqnr_db"] > 80
    assert list((alone.folder / "run/wandb").glob("offline-run-*"))
    assert list((alone.folder / "run/tensorboard").iterdir())


@pytest.mark.long
def test_a_training_is_logged_with_its_curves(alone):
    here("mlflow", "wandb", "tensorboard")
    everything = ("--track", "mlflow", "--track", "wandb", "--track", "tensorboard")
    draw = np.random.default_rng(0)
    np.savez(alone.folder / "data.npz", x=draw.integers(0, 256, (100, 8, 8), np.uint8), y=np.arange(100) % 10)
    done = alone.bench("train", "--dataset", "npz:data.npz", "--epochs", "2", "--format", "json", *everything)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    (folder,) = (alone.folder / "runs").glob("*-train")
    client, parent, children = mlflow_runs(folder)
    child = children["cnn cpu fp32"]
    assert parent.data.params["epochs"] == "2"
    history = client.get_metric_history(child.info.run_id, "epoch/loss")
    assert [(point.step, point.value) for point in history][-1] == (2, pytest.approx(row["loss"]))
    assert child.data.metrics["accuracy"] == pytest.approx(row["accuracy"])
    _, found = scalars(folder / "tensorboard/cnn-cpu-fp32")
    assert [step for step, _ in found["epoch/accuracy"]] == [1, 2]
    assert found["epoch/accuracy"][-1][1] == pytest.approx(row["accuracy"])
    assert list((folder / "wandb").glob("offline-run-*/files/media/table/rows_*.json"))


def test_a_curve_may_be_longer_than_one_request_and_a_text_longer_than_what_is_taken(tmp_path, monkeypatch):
    here("mlflow")
    for name in ASKED:
        monkeypatch.delenv(name, raising=False)
    curve = tuple((step, 1 / step) for step in range(1, 1501))
    texts = {"params": {"x@y": "p" * 9000}, "metrics": {}, "tags": {"status": "ok", "notes": "n" * 9000}}
    entry = LoggedRow(name="row", **texts, curves={"epoch/loss": curve})
    said = []
    track(["mlflow"], LoggedRun(name="run", folder=tmp_path, wall_s=1e9, params={}, rows=(entry,)), said.append)
    assert said[0].startswith("mlflow: 1 row ")
    client, _, children = mlflow_runs(tmp_path)
    assert len(client.get_metric_history(children["row"].info.run_id, "epoch/loss")) == 1500
    assert set(children["row"].data.params) == {"x_y"}
    assert children["row"].data.tags["notes"].startswith("nnn")
