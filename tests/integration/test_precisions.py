"""FP16 and INT8 as a user has them made, measured and checked, on the runtimes that are here."""

import json
import re
import shlex
import shutil

import numpy as np
import onnxfiles
import pytest
from onnxbench.results.table.findings import Finding
from onnxfiles import MINI

ALL = ("--precision", "fp32,fp16,int8")
RUNTIMES = ("--backend", "ort-cpu,openvino-cpu")
SMALL = ("--images", "64")
OTHER = Finding.of("other_arithmetic", asked="fp16", ran="fp32")


def manifest(shell):
    held = json.loads((shell.folder / "artifacts/manifest.json").read_text())["artifacts"]
    return {item["artifact"]["precision"]: item for item in held}


def test_a_named_model_is_exported_in_every_precision(trained):
    held = manifest(trained)
    assert list(held) == ["fp32", "fp16", "int8"]
    assert "portable, minmax over 128 of digits" in trained.export.stdout
    origin = held["fp32"]["artifact"]["sha256"]
    assert {held[name]["artifact"]["derived"]["origin"] for name in ("fp16", "int8")} == {origin}
    sizes = [held[name]["artifact"]["nbytes"] for name in ("fp32", "fp16", "int8")]
    assert sizes[0] > 1.9 * sizes[1] > 3.6 * sizes[2]


@pytest.mark.vnni
def test_rows_say_what_ran_and_what_it_cost(table):
    rows = table[0]["rows"]
    for row in (row for row in rows if row["precision"] == "int8"):
        assert row["status"] == "ok"
        assert row["executed"].split("+")[0] == "int8"
        assert re.search(r"int8 \d+/\d+ nodes$", row["placement"])
        assert row["sqnr_db"] < 60  # against FP32, not against itself
        assert row["images"] == 128
        assert row["top1_drop_ci_low"] < row["top1_drop"] < row["top1_drop_ci_high"]
        assert "portable" in row["conversion"]
    assert {row["executed"] for row in rows if row["precision"] == "fp32"} == {"fp32"}


def test_fp16_on_a_cpu_is_measured_when_it_is_named_and_says_that_fp32_ran(small):
    rows = small.rows("infer", *MINI, *RUNTIMES, "--precision", "fp16", "--batch", "1", "--images", "16")
    assert [(row["status"], row["executed"]) for row in rows] == [("ok", "fp32")] * 2
    assert all(OTHER.sentence in row["notes"] for row in rows)
    assert all(50 < row["sqnr_db"] < 150 for row in rows)


def test_what_is_left_out_is_said(table):
    assert "fp16 on torch-cpu, ort-cpu, openvino-cpu; int8 on torch-cpu" in table[1]


def test_a_factor_that_fp16_cannot_hold_is_a_mismatch_and_no_fast_row(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.overflowing_branch())
    rows = shell.rows(
        "infer", "--model", path, "--backend", "ort-cpu", *MINI, "--batch", "1", "--precision", "fp32,fp16", code=3
    )
    assert {(row["precision"], row["status"]) for row in rows} == {("fp32", "ok"), ("fp16", "mismatch")}
    assert all(row["sqnr_db"] < 1 for row in rows if row["precision"] == "fp16")
    table = shell.bench("show", *shell.folder.glob("runs/*")).stdout
    assert "*" not in "".join(line for line in table.splitlines() if "fp16" in line)


def test_a_variance_that_fp16_cannot_hold_stays_in_fp32(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.overflowing())
    done = shell.bench("export", "--model", path, "--precision", "fp16")
    assert done.returncode == 0, done.stderr
    assert "norm" in done.stdout + done.stderr
    rows = shell.rows("infer", "--model", path, "--backend", "ort-cpu", *MINI, "--batch", "1", "--precision", "fp16")
    assert [row["status"] for row in rows] == ["ok"]


def test_a_file_from_elsewhere_is_converted_and_measured(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.overflowing(variance=1.0))
    rows = shell.rows("infer", "--model", path, "--backend", "ort-cpu", *ALL, *MINI, "--batch", "2")
    assert {(row["precision"], row["status"]) for row in rows} == {(name, "ok") for name in ("fp32", "fp16", "int8")}
    assert all("random inputs" in row["notes"] for row in rows if row["precision"] == "int8")


def test_a_precision_that_cannot_be_made_is_a_row_and_the_others_are_measured(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.integers())
    how = ("--model", path, "--backend", "ort-cpu", *MINI, "--batch", "1", "--precision", "fp32,int8")
    rows = shell.rows("infer", *how, code=3)
    assert {(row["precision"], row["status"]) for row in rows} == {("fp32", "ok"), ("int8", "unsupported")}
    told = shell.bench("export", "--model", path, "--precision", "int8")
    assert told.returncode == 2
    assert "nothing can be quantized in a graph of Add" in told.stderr


def test_a_sweep_keeps_what_was_exported_of_its_file(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.dense())
    data = arrays_file(shell.folder, "data.npz", x=np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32))
    done = shell.bench("export", "--model", path, "--precision", "int8", "--calibration", data, "--int8", "ort")
    assert done.returncode == 0, done.stderr
    how = ("--model", path, "--backend", "ort-cpu", *MINI, "--batch", "1", "--precision", "fp32,fp16,int8")
    rows = {row["precision"]: row for row in shell.rows("infer", *how)}
    assert set(rows) == {"fp32", "fp16", "int8"}
    assert rows["int8"]["conversion"] == f"ort, minmax over 8 of {data}"


@pytest.mark.vnni
def test_a_check_compares_every_precision_without_timing(small):
    done = small.bench("check", *RUNTIMES, "--max", "top1_drop=2", "--min", "sqnr=20", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["precision"] for row in rows} == {"fp32", "fp16", "int8"}
    assert {row["images"] for row in rows} == {128}
    assert {row["p50_ms"] for row in rows} == {None}
    assert all(row["agreement"] > 97 for row in rows)


def test_a_limit_that_is_broken_ends_with_1_and_names_the_row(small):
    limited = ("--precision", "int8", "--min", "sqnr=150", "--images", "64", "--format", "json")
    done = small.bench("check", *RUNTIMES, *limited)
    assert done.returncode == 1
    missed = [finding for finding in json.loads(done.stdout)["findings"] if finding["kind"] == "limit_missed"]
    assert ["ort-cpu int8 b8"] in [finding["rows"] for finding in missed]
    assert {finding["values"]["column"] for finding in missed} == {"sqnr_db"}


def test_a_mismatch_ends_a_check_with_1(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.overflowing_branch())
    done = shell.bench("check", "--model", path, *RUNTIMES, "--precision", "fp16")
    assert done.returncode == 1
    assert "SQNR" in done.stdout


@pytest.mark.long
def test_the_doctor_finds_what_was_made_sensitive_and_its_suggestion_helps(small, shell):
    path = onnxfiles.rescaled(small.folder / "artifacts/small.onnx", shell.folder / "sensitive.onnx")
    what = ("--model", path, "--dataset", f"npz:{small.folder / 'images.npz'}")
    sick = shell.bench("check", *what, *SMALL, "--precision", "int8", "--backend", "ort-cpu", "--explain", "--format", "json")
    assert sick.returncode == 1, sick.stderr
    told = json.loads(sick.stdout)
    values = {finding["kind"]: finding["values"] for finding in told["findings"]}
    suggested = values["int8_exclude_agreement"]["nodes"]
    assert set(suggested.split(",")) <= {"conv0", "relu0", "conv1"}
    assert 0 < values["int8_unfused"]["share"] < 1
    assert values["int8_top1"]["after"] >= values["int8_top1"]["before"]
    assert values["int8_command"]["sqnr_after_db"] > values["int8_command"]["sqnr_before_db"] + 15
    command = shlex.split(values["int8_command"]["command"])
    assert command[command.index("--exclude") + 1] == suggested
    done = shell.bench(*command[1:])
    assert done.returncode == 0, done.stderr
    cured = shell.rows("check", *SMALL, "--precision", "int8", "--backend", "ort-cpu")
    assert told["rows"][0]["status"] == "mismatch"
    assert cured[0]["status"] == "ok"
    assert cured[0]["sqnr_db"] > told["rows"][0]["sqnr_db"] + 15


@pytest.mark.vnni
def test_the_doctor_leaves_a_healthy_model_alone(small):
    done = small.bench("check", "--precision", "int8", "--backend", "openvino-cpu", "--explain")
    assert done.returncode == 0, done.stderr
    assert "no node stands out" in done.stdout
    assert re.search(r"small/openvino-cpu/cpu/int8/b8: kernels take [0-9.]+ ms; [0-9]+% in INT8 layers", done.stdout)


def arrays_file(folder, name, **arrays):
    np.savez(folder / name, **arrays)
    return folder / name


def wrong(folder):
    """Commands with something wrong in them, and a word of what is said."""
    pixels = np.zeros((40, 3, 48, 48), np.float32)
    yield ("--calibration", "none.npz"), "there is no file none.npz"
    yield ("--calibration", arrays_file(folder, "name.npz", image=pixels)), "'image'"
    yield ("--calibration", arrays_file(folder, "shape.npz", input=pixels[:, :, 1:])), "[40, 3, 47, 48]"
    yield ("--calibration", arrays_file(folder, "type.npz", input=pixels.astype(np.float64))), "float64"
    yield ("--exclude", "node_conv2d_9"), "node_conv2d"
    labels = np.arange(40) % 11
    yield ("--dataset", f"tensors:{arrays_file(folder, 'labels.npz', x=pixels, y=labels)}"), "labels up to 10"


@pytest.mark.parametrize("number", range(6))
def test_bad_calibration_is_one_sentence_and_leaves_nothing_half_written(trained, tmp_path, number):
    shell = type(trained)(tmp_path, tmp_path / "cache")
    path = shutil.copy(trained.folder / "artifacts/cnn.fp32.onnx", tmp_path / "model.onnx")
    arguments, word = list(wrong(tmp_path))[number]
    done = shell.bench("export", "--model", path, "--precision", "int8", *arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    kept = [entry for entry in (tmp_path / "cache/exports").glob("*") if entry.name.startswith(".")]
    assert kept == []
    assert not (tmp_path / "artifacts/model.int8.onnx").exists()


def test_too_few_images_for_the_asked_certainty_are_said_before_any_work(small):
    done = small.bench("check", *RUNTIMES, "--max", "top1_drop_ci_high=0.5")
    assert done.returncode == 2
    assert "128 test images of npz:" in done.stderr
    assert "a drop of at most 0.5 points" in done.stderr
    assert "reaches 3.37" in done.stderr
    assert "875 images" in done.stderr


def test_a_limit_on_labels_needs_labels(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.dense())
    done = shell.bench("check", "--model", path, "--max", "top1_drop=1")
    assert done.returncode == 2
    assert "--dataset" in done.stderr
