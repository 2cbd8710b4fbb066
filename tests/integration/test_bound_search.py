"""`bench export` with a bound: the first INT8 file that keeps it, and the path to it in the manifest."""

import json

import numpy as np
import onnxfiles
import pytest
from onnxbench.exporters.manifest import read_manifest

PORTABLE = ("--precision", "int8", "--int8", "portable", "--backend", "ort-cpu")


@pytest.fixture
def sensitive(small, shell):
    """A network with one layer made sensitive, and its labelled images."""
    path = onnxfiles.rescaled(small.folder / "artifacts/small.onnx", shell.folder / "sensitive.onnx")
    return "--model", path, "--dataset", f"npz:{small.folder / 'images.npz'}"


def test_the_sensitive_layer_stays_in_float_and_the_manifest_keeps_the_path(sensitive, shell):
    done = shell.bench("export", *sensitive, *PORTABLE, "--min", "sqnr=25", "--max", "top1_drop=3")
    assert done.returncode == 0, done.stderr
    fp32, int8 = read_manifest(shell.folder / "artifacts")
    search, excluded = int8.made.search, {text for name, text in int8.artifact.derived.options if name == "exclude"}
    assert excluded
    assert excluded <= {"conv0", "relu0", "conv1"}
    assert (search.bounds, search.backend.split()[0]) == (("--max top1_drop=3", "--min sqnr=25"), "ort-cpu")
    first, last = search.steps[0], search.steps[-1]
    assert (first.exclude, first.part, first.accepted) == ((), "search", False)
    assert (set(last.exclude), last.part, last.accepted) == (excluded, "proof", True)
    assert first.look.speedup > 0
    assert last.figures.sqnr_db > 25 > first.figures.sqnr_db
    assert (search.parts.calibration, search.parts.proof, search.parts.labelled) == (128, last.figures.items, True)
    assert first.figures.items == search.parts.search
    assert (fp32.made.search, "sqnr=25" in done.stdout) == (None, True)


@pytest.mark.long
def test_where_no_file_keeps_the_bound_none_is_written_and_the_end_is_1(sensitive, shell):
    done = shell.bench("export", *sensitive, *PORTABLE, "--min", "sqnr=150")
    assert done.returncode == 1, done.stderr
    assert [item.artifact.precision for item in read_manifest(shell.folder / "artifacts")] == ["fp32"]
    *_, command, last = done.stderr.strip().splitlines()
    assert "bench export" in command
    assert "sqnr=150" in last


@pytest.mark.long
def test_the_users_arrays_are_split_and_another_backend_runs_the_files(small, shell):
    (spec,) = json.loads((small.folder / "artifacts/manifest.json").read_text())["artifacts"][0]["artifact"]["inputs"]
    shape = [40, *spec["shape"][1:]]
    np.savez(shell.folder / "x.npz", **{spec["name"]: np.random.default_rng(0).random(shape, np.float32)})
    model = ("--model", small.folder / "artifacts/small.onnx", "--calibration", "x.npz")
    done = shell.bench("export", *model, "--precision", "int8", "--min", "agreement=50", "--backend", "openvino-cpu")
    assert done.returncode == 0, done.stderr
    search = read_manifest(shell.folder / "artifacts")[1].made.search
    assert (search.parts.calibration, search.parts.search, search.parts.proof) == (20, 10, 10)
    assert (search.backend.split()[0], search.schemes[0]) == ("openvino-cpu", "openvino")
