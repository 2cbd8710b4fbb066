import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.commands import options
from onnxbench.errors import BadInput
from onnxbench.evidence import Epoch
from onnxbench.results.store.record import read_run
from onnxbench.results.table import training
from onnxbench.results.trackers import TRACKERS, Tracker, check, track
from onnxbench.results.trackers.logged import LoggedRow, LoggedRun, of_run, of_training, unique
from onnxbench.results.trackers.to_wandb import may_send

HEAD = {"model": "cnn", "dataset": "digits", "epochs": 2, "batch_size": 64, "lr": 0.01, "seed": 0, "threads": 2}
EMPTY = LoggedRun(name="run", folder=Path(), wall_s=1.0, params={}, rows=())


def tracker(log=None, needs=("json",)):
    return Tracker(needs=lambda: needs, log=log or (lambda logged, say: say("done")))


def test_the_command_line_offers_every_tracker():
    assert tuple(TRACKERS) == options.TRACKER_NAMES


def test_a_library_that_is_missing_is_told_with_what_installs_it():
    known = {"here": tracker(), "away": tracker(needs=("json", "no_such_module_1", "no_such_module_2"))}
    check(["here"], known)
    with pytest.raises(BadInput) as caught:
        check(["here", "away"], known)
    parts = ("--track away", "no_such_module_1, no_such_module_2", "pip install 'onnxbench[away]'")
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize("command", [["infer", "--backend", "no-such-backend"], ["check", "--model", "gone.onnx"], ["train"]])
@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_is_told_before_anything_else_is_looked_at(monkeypatch, tmp_path, command, name):
    for module in TRACKERS[name].needs():
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [*command, "--track", name])
    assert done.exit_code == 2
    assert f"pip install 'onnxbench[{name}]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_mlflow_needs_a_database_only_where_the_runs_stay_here(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert TRACKERS["mlflow"].needs() == ("mlflow", "sqlalchemy", "alembic")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://example.com")
    assert TRACKERS["mlflow"].needs() == ("mlflow",)


def test_a_tracker_that_fails_is_one_sentence_and_the_next_one_goes_on(capsys):
    def fail(logged, say):
        print("connecting")
        raise ConnectionError("no route to http://me:secret@host/api\nafter 3 tries")

    said = []
    track(["bad", "good", "good"], EMPTY, said.append, {"bad": tracker(fail), "good": tracker()})
    failed, *others = said
    assert others == ["done"]
    assert "bad" in failed
    assert "(ConnectionError: no route to http://host/api after 3 tries)" in failed
    assert capsys.readouterr() == ("", "connecting\n"), "what a library prints is not the result"


def test_a_row_is_what_was_asked_for_its_figures_and_how_it_came_out(run_folder, make_cell):
    fine, broken = make_cell(), make_cell(backend="openvino-cpu", environment="new")
    folder = run_folder(fine, broken, tool="0.1.0", began_unix_s=12.5)
    folder.measured(fine, 2_000_000)
    folder.add("failed", broken, status="failed", reason="it fell over")
    logged = of_run(read_run(folder.path), None)
    assert (logged.name, logged.folder, logged.wall_s) == ("run", folder.path, 12.5)
    assert logged.params == {
        **{"tool": "0.1.0", "kind": "infer", "host.cpu": "Test CPU"},
        **{"metric": "p50", "seed": "0", "budget": "normal"},
    }
    first, second = logged.rows
    assert first.name == "cnn ort-cpu fp32 b1 cpu"
    assert first.params["sha256"] == "ab" * 32
    assert first.params["version"] == "1.20"
    assert (first.params["batch"], first.params["threads"]) == (1, 2)
    assert {name: first.metrics[name] for name in ("p50_ms", "batch", "load_s")} == {
        "p50_ms": 2.0,
        "batch": 1.0,
        "load_s": 0.25,
    }
    assert "top1" not in first.metrics
    assert (first.tags["status"], first.tags["grade"], first.done) == ("ok", "A", True)
    assert second.name == "cnn openvino-cpu@new fp32 b1 cpu"
    assert second.params["environment"] == "new"
    assert (second.tags["status"], second.tags["reason"], second.done) == ("failed", "it fell over", False)
    assert set(second.metrics) == {"batch", "threads"}
    assert all(isinstance(value, str) for value in second.tags.values())


def test_entries_that_are_called_the_same_are_numbered():
    entry = LoggedRow(name="a", params={}, metrics={}, tags={})
    assert [item.name for item in unique([entry, entry, entry])] == ["a", "a (2)", "a (3)"]


def test_a_training_has_curves_by_epoch_without_what_is_no_number():
    epochs = (
        Epoch(seconds=2.0, train_per_s=10.0, test_per_s=20.0, loss=0.5, accuracy=90.0),
        Epoch(seconds=1.0, train_per_s=20.0, test_per_s=20.0, loss=None, accuracy=95.0),
    )
    results = [
        training.Result(device="cpu", precision="fp32", status="ok", epochs=epochs, peak_memory_mb=5.0, torch="2"),
        training.Result(device="cuda:0", precision="fp32", status="unavailable", reason="no GPU"),
    ]
    logged = of_training(results, training.build(results, HEAD), Path("runs/now-train"), 3.0)
    assert (logged.name, logged.wall_s, logged.params["lr"]) == ("now-train", 3.0, "0.01")
    first, second = logged.rows
    assert first.name == "cnn cpu fp32"
    assert first.curves == {
        "epoch/loss": ((1, 0.5),),
        "epoch/accuracy": ((1, 90.0), (2, 95.0)),
        "epoch/seconds": ((1, 2.0), (2, 1.0)),
    }
    assert (first.metrics["epoch_s"], first.metrics["accuracy"], first.params["torch"]) == (1.0, 95.0, "2")
    assert "loss" not in first.metrics
    assert second.curves == second.metrics == {}
    assert second.tags == {"status": "unavailable", "reason": "no GPU"}


@pytest.mark.parametrize(
    ("environment", "lines", "answer"),
    [
        ({}, "", False),
        ({"WANDB_API_KEY": "x"}, "", True),
        ({}, "machine api.wandb.ai login user password x", True),
        ({"WANDB_BASE_URL": "https://own.example"}, "machine api.wandb.ai login user password x", False),
        ({"WANDB_BASE_URL": "https://own.example"}, "machine own.example login user password x", True),
        ({}, "this is no such file", False),
    ],
)
def test_what_is_not_allowed_to_be_sent_stays_here(tmp_path, environment, lines, answer):
    file = tmp_path / "netrc"
    file.write_text(f"{lines}\n")
    file.chmod(0o600)
    assert may_send({"NETRC": str(file), **environment}) is answer
    assert not may_send({"NETRC": str(tmp_path / "none")})
