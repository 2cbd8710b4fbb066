"""Bad input: one sentence with what was found and what to do, exit 2, no traceback, before any long work."""

import json
import shutil

import numpy as np
import onnxfiles
import pytest
from onnxbench import backends
from onnxfiles import MINI


def refuse(shell, *arguments, code=2):
    done = shell.bench(*arguments, timeout=60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert len(last) < 400
    return last


@pytest.fixture
def tiny(shell):
    return onnxfiles.write(shell.folder / "tiny.onnx", onnxfiles.dense())


def test_a_file_that_is_no_model(shell):
    (shell.folder / "bad.onnx").write_text("hello, I am a text")
    assert "is not an ONNX file" in refuse(shell, "infer", "--model", "bad.onnx", "--backend", "null")


def test_an_empty_file(shell):
    (shell.folder / "bad.onnx").touch()
    assert "holds no graph" in refuse(shell, "infer", "--model", "bad.onnx", "--backend", "null")


def test_a_file_that_is_cut_short(shell, tiny):
    tiny.write_bytes(tiny.read_bytes()[:-20])
    assert f"{tiny} is not an ONNX file" in refuse(shell, "infer", "--model", tiny, "--backend", "null")


def test_a_file_that_is_not_there(shell):
    assert "there is no file" in refuse(shell, "export", "--model", "missing.onnx")


def test_missing_and_short_external_data(shell):
    how = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.dense(), **how)
    weights = shell.folder / "w.bin"
    weights.write_bytes(weights.read_bytes()[:8])
    assert "w.bin" in refuse(shell, "infer", "--model", path, "--backend", "null")
    weights.unlink()
    assert "w.bin" in refuse(shell, "infer", "--model", path, "--backend", "null")


def test_external_data_outside_the_folder(shell):
    how = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    inner = shell.folder / "inner"
    inner.mkdir()
    path = onnxfiles.write(inner / "model.onnx", onnxfiles.dense(), **how)
    path.write_bytes(path.read_bytes().replace(b"w.bin", b"../wb"))
    shutil.copy(inner / "w.bin", shell.folder / "wb")
    assert "outside its folder" in refuse(shell, "infer", "--model", path, "--backend", "null")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["infer", "--model", "cn", "--backend", "null"], ["'cn' is not a model", "'cnn'"]),
        (["infer", "--backend", "ort-cpo"], ["'ort-cpo' is not a backend", "'ort-cpu'"]),
        (["infer", "--precision", "fp31"], ["'fp31' is not a precision", "'fp32'"]),
        (["infer", "--device", "gpu"], ["'gpu' is not a device"]),
        (["infer", "--model", "collections:OrderedDict", "--shape", "x=1x2", "--backend", "null"], ["not an nn.Module"]),
        (["infer", "--batch", "0"], ["0 is less than 1"]),
        (["infer", "--batch", "1,x"], ["whole numbers"]),
        (["infer", "--threads", "0"], ["0 is less than 1"]),
        (["infer", "--shape", "x"], ["'x'", "NAME=1x3x224x224"]),
        (["infer", "--shape", "x=1xq"], ["is not a shape"]),
        (["infer", "--resume"], ["no run in runs/"]),
        (["infer", "--load", "poisson"], ["--load", "--slo p99=10ms"]),
        (["infer", "--slo", "p99=10ms"], ["--load poisson"]),
        (["infer", "--load", "poisson", "--slo", "p98=1ms"], ["'p98' is not one of p50"]),
        (["infer", "--load", "poisson", "--slo", "p99=fast"], ["'fast' is not a time"]),
        (["infer", "--load", "poisson", "--slo", "p99=0ms"], ["'0ms'", "p99=10ms"]),
        (["infer", "--load", "bursts", "--slo", "p99=1ms"], ["'bursts' is not"]),
        (["infer", "--model", "no_such_module:build", "--shape", "x=1x2", "--backend", "null"], ["no_such_module"]),
        (["infer", "--model", "json:loads", "--backend", "null"], ["json:loads", "--shape"]),
        (["infer", "--model", "json:load_it", "--shape", "x=1x2", "--backend", "null"], ["no callable 'load_it'"]),
        (["export", "--precision", "int9"], ["'int9' is not a precision"]),
        (["export", "--model", "cnn", "--dataset", "idx:nowhere"], ["train-images-idx3-ubyte"]),
        (["train", "--dataset", "mnist"], ["'mnist' is not a dataset"]),
        (["train", "--dataset", "npz:none.npz"], ["there is no file none.npz"]),
        (["train", "--device", "tpu"], ["'tpu' is not a device"]),
        (["train", "--model", "resnet"], ["'resnet'"]),
        (["show", "nowhere"], ["not a run folder"]),
    ],
)
def test_one_sentence_says_what_and_what_to_do(shell, arguments, words):
    last = refuse(shell, *arguments)
    for word in words:
        assert word in last


def test_shapes_and_inputs_that_do_not_fit(shell, tiny):
    assert "no input 'z'" in refuse(shell, "infer", "--model", tiny, "--shape", "z=1x4", "--backend", "null")
    assert "1x5 in --shape" in refuse(shell, "infer", "--model", tiny, "--shape", "x=1x5", "--backend", "null")
    np.save(shell.folder / "x.npy", np.array([{}], object), allow_pickle=True)
    assert "x.npy" in refuse(shell, "infer", "--model", tiny, "--input", "x=x.npy", "--backend", "null")


def test_a_baseline_that_is_not_measured(shell, tiny):
    assert "'ort-cpu' is not among" in refuse(shell, "infer", "--model", tiny, "--backend", "null", "--baseline", "ort-cpu")


def test_an_array_of_another_type(shell, tiny):
    np.save(shell.folder / "x.npy", np.ones((2, 4)))
    last = refuse(shell, "infer", "--model", tiny, "--input", "x=x.npy", "--backend", "null")
    assert "needs float32" in last
    assert "float64" in last


def test_unknown_options_are_named_with_the_nearest(shell, tiny):
    last = refuse(shell, "infer", "--model", tiny, "--backend", "null", "--option", "wrok=1")
    assert "'wrok'" in last
    assert "'work'" in last


@pytest.mark.parametrize("command", ["infer", "export"])
def test_an_unwritable_out(shell, tiny, command):
    (shell.folder / "file").touch()
    assert "cannot write to" in refuse(shell, command, "--model", tiny, "--out", "file/inside")


def test_a_folder_that_holds_a_run_is_not_overwritten(shell, tiny):
    run = ("infer", "--model", tiny, "--backend", "null", *MINI, "--out", "run")
    assert shell.bench(*run).returncode == 0
    before = (shell.folder / "run/journal.jsonl").read_bytes()
    assert "holds a run already" in refuse(shell, *run)
    assert (shell.folder / "run/journal.jsonl").read_bytes() == before


def test_a_newer_schema_is_refused(shell):
    run = shell.folder / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"schema": 999}))
    assert "upgrade" in refuse(shell, "show", "run")


def test_an_artifact_that_was_changed_is_not_measured_as_what_it_was(shell, tiny):
    assert shell.bench("export", "--model", tiny, "--precision", "fp32").returncode == 0
    (held,) = (shell.folder / "artifacts").glob("*.onnx")
    onnxfiles.write(held, onnxfiles.dense(batch="M"))
    assert "run bench export again" in refuse(shell, "infer", "--backend", "null")
    held.unlink()
    assert "there is no file" in refuse(shell, "infer", "--backend", "null")


def test_a_dataset_folder_without_its_files(shell):
    (shell.folder / "empty").mkdir()
    assert "train-images-idx3-ubyte" in refuse(shell, "train", "--dataset", "idx:empty")


def test_cuda_that_is_not_here_says_why(shell, tiny):
    if backends.get("ort-cuda").probe().available:
        pytest.skip("ONNX Runtime's CUDA build is here")
    for named in (("--backend", "ort-cuda"), ("--device", "cuda")):
        done = shell.bench("infer", "--model", tiny, *named, *MINI)
        assert done.returncode == 3
        assert "unavailable: onnxruntime" in done.stdout
        assert "pip install" in done.stdout
