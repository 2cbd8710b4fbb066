"""PyTorch compiled ahead of time: packages of small modules, and what a user sees of them."""

import json
import shutil
import stat
import time

import numpy as np
import pytest
import torch
import zoo
from onnxbench import backends
from onnxbench.backends.protocol import Workshop
from onnxbench.errors import Unsupported
from onnxbench.spec import Artifact, Cell, Settings, Source, TensorSpec
from onnxfiles import MINI

NAME = "torch-compile-cpu"
FACTORY = """
import torch

def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder of temporary files, which is empty at first."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def own_library(tmp_path, monkeypatch):
    """Compile with a g++ that puts a copy of the C++ library into what it links."""
    script = tmp_path / "g++"
    script.write_text(f'#!/bin/sh\nexec {shutil.which("g++")} "$@" -static-libstdc++\n')
    script.chmod(stat.S_IRWXU)
    monkeypatch.setenv("CXX", str(script))


@pytest.mark.runtimes
@pytest.mark.usefixtures("own_library")
def test_a_package_is_built_once_found_again_and_leaves_nothing_behind(tmp_path, scratch):
    specs = zoo.SPECIMENS["two_inputs"].inputs
    outputs = (TensorSpec(name="y", dtype="float32", shape=("batch", 3)),)
    source = Source(factory="zoo:two_inputs")
    artifact = Artifact(
        **{"model": "sum", "precision": "fp32", "path": "sum.onnx", "sha256": "ab" * 32, "nbytes": 1, "opset": 20},
        inputs=specs,
        outputs=outputs,
        source=source,
    )
    cell = Cell(
        **{"model": "sum", "sha256": artifact.sha256, "backend": NAME, "device": "cpu", "precision": "fp32", "batch": 2},
        shapes=zoo.SPECIMENS["two_inputs"].shapes(2),
        settings=Settings(threads=1),
    )
    backend, now = backends.get(NAME), time.perf_counter_ns
    built = backend.build(artifact, cell, Workshop(folder=tmp_path / "engines", now_ns=now))
    begin = now()
    found = backend.build(artifact, cell, Workshop(folder=tmp_path / "engines", now_ns=now))
    arrays = {spec.name: np.full(shape, 0.5, np.float32) for spec, (_, shape) in zip(specs, cell.shapes)}
    with backend.open(artifact, cell, engine=found) as session:
        session.bind(arrays)
        session.start()
        answer = session.fetch()["y"]
        took_s = (now() - begin) / 1e9
    assert (built.cached, found.cached) == (False, True)
    assert took_s < built.seconds / 2  # no call compiles
    with torch.inference_mode():
        expected = zoo.two_inputs().eval()(*map(torch.tensor, arrays.values())).numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-5)
    assert (session.info.executed, dict(session.info.settings)["threads"]) == ("fp32", "1")
    assert list(scratch.iterdir()) == []
    _is_refused_when_it_was_changed(backend, artifact, cell, found, tmp_path)


def _is_refused_when_it_was_changed(backend, artifact, cell, engine, folder):
    """A package that the user keeps is native code: with one byte changed it is not loaded."""
    kept = folder / "kept.engine"
    shutil.copyfile(engine.path, kept)
    record = {name: getattr(engine, name) for name in ("maker", "recipe", "seconds", "sha256")}
    kept.with_suffix(".json").write_text(json.dumps(record))
    workshop = Workshop(folder=folder / "others", now_ns=time.perf_counter_ns, file=kept)
    assert backend.build(artifact, cell, workshop).path == kept
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    with pytest.raises(Unsupported, match="damaged"):
        backend.build(artifact, cell, workshop)


def test_a_package_is_never_a_model(shell):
    (shell.folder / "model.pt2").write_bytes(b"PK\x03\x04 native code")
    done = shell.bench("infer", "--model", "model.pt2", "--backend", NAME, *MINI)
    assert done.returncode == 2
    assert "model.pt2" in done.stderr


@pytest.fixture
def infer(shell):
    """`bench infer` of a small module; returns the rows."""
    (shell.folder / "nets.py").write_text(FACTORY)
    asked = ("infer", "--model", "nets:build", "--shape", "x=Nx4", "--batch", "2", "--precision", "fp32", *MINI)

    def rows(*more, **how):
        return shell.rows(*asked, *more, **how)

    rows.shell = shell
    return rows


@pytest.mark.runtimes
def test_its_rows_are_beside_those_of_eager_pytorch_and_cached_later(infer):
    first = infer("--backend", f"torch-cpu,{NAME}", "--out", "one")
    assert [(row["backend"], row["status"], row["executed"]) for row in first] == [
        ("torch-cpu", "ok", "fp32"),
        (NAME, "ok", "fp32"),
    ]
    compiled = first[1]
    assert first[0]["build_s"] is None
    assert compiled["build_s"] * 1000 > 5 * (compiled["load_s"] * 1000 + compiled["first_ms"])
    (again,) = infer("--backend", NAME, "--out", "two")
    assert again["build_s"] == compiled["build_s"]  # of the package in the cache


@pytest.mark.runtimes
def test_an_option_makes_another_package_and_is_in_the_row(infer):
    (row,) = infer("--backend", NAME, "--option", "max_autotune=on", "--option", "freezing=on")
    assert row["status"] == "ok"
    assert "max_autotune=on" in row["settings"]


@pytest.mark.runtimes
def test_a_machine_without_a_compiler_has_a_row_that_says_how_to_get_one(infer, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    (row,) = infer("--backend", NAME, code=3)
    assert (row["status"], "no-such-compiler" in row["reason"]) == ("unavailable", True)


@pytest.mark.runtimes
def test_a_compiler_that_hangs_is_ended_and_leaves_nothing(infer, monkeypatch, tmp_path, scratch):
    slow = tmp_path / "g++"
    slow.write_text("#!/bin/sh\nsleep 100\n")
    slow.chmod(0o755)
    monkeypatch.setenv("CXX", str(slow))
    (row,) = infer("--backend", NAME, "--build-timeout", "20", code=3)
    assert (row["status"], "--build-timeout" in row["reason"]) == ("timeout", True)
    assert not list((infer.shell.cache / "engines").rglob("engine.plan"))
    assert list(scratch.iterdir()) == []
