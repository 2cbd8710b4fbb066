"""Train, export, infer, show: on real data and real runtimes, as a user does it."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxfiles
import pytest
from onnxbench.runners.prepare import checkpoints
from onnxfiles import MINI

ROOT = Path(__file__).resolve().parents[2]
CPU_BACKENDS = {"torch-cpu", "ort-cpu", "openvino-cpu"}


def test_training_answers_one_row_with_its_figures(trained):
    (row,) = json.loads(trained.training.stdout)["rows"]
    assert (row["device"], row["status"]) == ("cpu", "ok")
    assert row["first_epoch_s"] > 0
    assert row["epoch_s"] is None
    assert row["accuracy"] > 20
    assert "epoch 1/1" in trained.training.stderr


def test_export_reports_parity_and_the_second_one_is_from_the_cache(trained):
    assert "exported and checked" in trained.export.stdout
    assert "dB against the module" in trained.export.stdout
    again = trained.bench("export")
    assert again.stdout.count("taken from the cache") == 3


@pytest.mark.long  # test_fault_matrix.py damages the entry of a small file in every way
def test_a_damaged_cache_entry_is_made_again(trained, tmp_path):
    (entry,) = (trained.cache / "exports").glob("*/cnn.fp32.onnx")
    entry.write_bytes(b"damaged")
    again = trained.bench("export", "--precision", "fp32", "--out", tmp_path / "other")
    assert "exported and checked" in again.stdout


@pytest.mark.vnni
def test_the_default_sweep_has_every_cpu_backend_at_every_batch(trained, table):
    planned, rows = trained.rows("infer", "--dry-run"), table[0]["rows"]
    for precision, backends in (("fp32", CPU_BACKENDS), ("int8", CPU_BACKENDS - {"torch-cpu"})):
        found = {(row["backend"], row["batch"]) for row in planned if row["precision"] == precision}
        assert found == {(b, n) for b in backends for n in (1, 8, 32)}
        assert {row["backend"] for row in rows if row["precision"] == precision} == backends
    assert {row["precision"] for row in rows} == {"fp32", "int8"}
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["executed"] for row in rows if row["precision"] == "fp32"} == {"fp32"}


@pytest.mark.vnni
def test_figures_are_there_and_plausible(table):
    for row in table[0]["rows"]:
        assert 0 < row["p50_ms"] < row["first_ms"] * 50
        assert row["throughput_per_s"] > row["batch"]
        assert row["samples"] >= 6
        assert row["sqnr_db"] > {"fp32": 100, "int8": 20}[row["precision"]]
        assert row["agreement"] >= {"fp32": 100, "int8": 90}[row["precision"]]
        assert 0 < row["load_s"] < 60
        assert 20 < row["artifact_mb"] * {"fp32": 1, "int8": 4}[row["precision"]] < 21


def test_the_note_about_absent_backends_is_on_stderr(table):
    assert "torch-cuda" in table[1]


def test_rows_keep_the_contracts_columns_in_order(table, trained):
    from onnxbench.results.table.columns import COLUMNS

    names = [column.name for column in COLUMNS]
    assert list(table[0]["rows"][0]) == names
    shown = trained.bench("show", "run", "--format", "csv").stdout
    assert next(csv.reader(io.StringIO(shown))) == names


def test_show_needs_no_new_run_for_another_baseline(table, trained):
    rows = trained.rows("show", "run", "--baseline", "torch-cpu")
    assert {row["speedup"] for row in rows if row["backend"] == "torch-cpu"} == {1.0}
    assert all(row["speedup"] for row in rows)


def test_the_table_names_no_axis_that_does_not_vary(table, trained):
    text = trained.bench("show", "run").stdout
    assert "backend" in text
    header = next(line for line in text.splitlines() if "backend " in line)
    assert "model" not in header
    assert "device" not in header
    assert " *" in text


def test_training_on_a_gpu_that_is_not_there_is_a_row(trained):
    rows = trained.rows("train", "--device", "cuda:99", "--epochs", "1", code=3)
    assert rows[0]["status"] == "unavailable"
    assert "CUDA" in rows[0]["reason"]


def test_a_checkpoint_is_data_and_records_its_split(trained):
    (path,) = (trained.cache / "checkpoints/cnn").glob("*.safetensors")
    record = checkpoints.read_record(path)
    assert record["split"] == {"train": 1310, "calibration": 128, "test": 359}
    assert len(record["split_sha256"]) == 64


@pytest.mark.long
def test_bf16_training_and_an_npz_dataset(shell):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 60)
    images = generator.integers(0, 255, (60, 12, 12), np.uint8)
    np.savez(shell.folder / "data.npz", x=images, y=labels)
    rows = shell.rows("train", "--dataset", "npz:data.npz", "--epochs", "2", "--precision", "fp32,bf16")
    assert [(row["precision"], row["status"]) for row in rows] == [("fp32", "ok"), ("bf16", "ok")]
    assert rows[0]["speedup"] == 1
    (checkpoint,) = (shell.cache / "checkpoints/cnn").glob("*.safetensors")
    assert checkpoints.read_record(checkpoint)["dataset"] == f"npz:{shell.folder / 'data.npz'}"


def test_an_interrupted_training_keeps_the_epochs_that_were_done(shell):
    np.savez(shell.folder / "data.npz", x=np.zeros((60, 12, 12), np.uint8), y=np.arange(60) % 10)
    many = ("train", "--dataset", "npz:data.npz", "--epochs", "9999", "--precision", "fp32,bf16", "--format", "json")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(shell.command(*many), start_new_session=True, **pipes, **shell.popen())
    assert any("epoch 3/9999" in line for line in process.stderr)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    first, second = json.loads(out)["rows"]
    assert [row["status"] for row in (first, second)] == ["failed", "failed"]
    assert all("interrupted" in row["reason"] for row in (first, second))
    assert first["epoch_s"] > 0
    assert first["speedup"] is second["first_epoch_s"] is None


def test_a_module_from_elsewhere_is_exported_and_measured(shell):
    (shell.folder / "mine.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.table, self.head = torch.nn.Embedding(20, 4), torch.nn.Linear(4, 3)\n"
        "    def forward(self, ids, scale):\n"
        "        return self.head(self.table(ids).mean(1)) * scale\n"
        "def build():\n"
        "    torch.manual_seed(3)\n"
        "    return Net()\n"
    )
    signature = ("--shape", "ids=1x5:int64", "--shape", "scale=1x1")
    rows = shell.rows("infer", "--model", "mine:build", *signature, "--backend", "torch-cpu,ort-cpu", "--batch", "2", *MINI)
    assert {row["backend"]: row["status"] for row in rows} == {"torch-cpu": "ok", "ort-cpu": "ok"}


def test_the_readmes_python_works(shell):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    onnxfiles.write(shell.folder / "FILE.onnx", onnxfiles.dense())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **shell.popen())
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^ ort-cpu +[18] +ok", done.stdout, re.M)) == 2


def test_the_parent_stays_small(small):
    code = (
        "import sys\nfrom onnxbench.cli import main\nfrom onnxbench.runners.worker.procfs import peak_rss_mb\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(round(peak_rss_mb()), file=sys.stderr)"
    )
    arguments = ["infer", "--backend", "ort-cpu", "--precision", "fp32", "--batch", "16", *MINI]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, **small.popen())
    assert 20 < int(done.stderr.split()[-1]) < 150
