"""What needs large installations of its own, or models of hundreds of megabytes: `make test-runtimes`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxbench as ob
import onnxfiles
import pytest
from onnxfiles import MINI

pytestmark = pytest.mark.runtimes

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/v0_1"
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
LARGE = sorted(path.stem for path in onnxfiles.LIGHT.glob("light_*.onnx"))


@pytest.mark.parametrize("name", LARGE)
def test_models_of_the_onnx_package(shell, name):
    asked = ("--model", onnxfiles.LIGHT / f"{name}.onnx", "--backend", "ort-cpu,openvino-cpu")
    rows = shell.rows("infer", *asked, *MINI)
    assert {(row["status"], row["batch"]) for row in rows} == {("ok", 1)}


def python(version):
    """An interpreter of `version` that starts; the test is skipped without one, and its name says which was not tried."""
    found = [*Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), shutil.which(f"python{version}")]
    starts = [path for path in found if path and not subprocess.run([path, "-V"], capture_output=True).returncode]
    if not starts:
        pytest.skip(f"there is no Python {version} here")
    return starts[0]


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=280, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_works_on_every_python(tmp_path, version):
    """On each: a run of another machine is read in every way, and the null backend is measured."""
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "artifacts", "runs", "__pycache__", "data")
    shutil.copytree(ROOT, tmp_path / "source", ignore=ignored)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", tmp_path / "source")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(python(version), "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv/bin/python", "-m", "pip", "install", "--quiet", f"{wheel}[report]")
    bench = tmp_path / "venv/bin/bench"
    assert "ort-cpu" in run(bench, "show", DATA / "run", cwd=tmp_path)
    assert "pick" in run(bench, "recommend", DATA / "run", cwd=tmp_path)
    run(bench, "compare", DATA / "run", DATA / "run", cwd=tmp_path)
    run(bench, "report", DATA / "run", "--out", "report.html", cwd=tmp_path)
    path = onnxfiles.write(tmp_path / "tiny.onnx", onnxfiles.dense())
    assert ",ok," in run(bench, "infer", "--backend", "null", "--model", path, *MINI, "--format", "csv", cwd=tmp_path)


def test_a_bisection_from_python_compares_two_releases(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "cache"))
    onnxfiles.write(tmp_path / "wide.onnx", onnxfiles.wide())
    how = {"backend": "ort-cpu", "batch": 64, "threads": 1, "budget": "quick", "threshold": "99%"}
    found = ob.bisect("wide.onnx", good="1.30.0", bad="1.31.0", **how)
    assert found.first_slower is None
    assert [(row["version"], row["verdict"]) for row in found] == [("1.31.0", "not slower")]
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_bisection_finds_the_release_that_is_slowed(tmp_path):
    """Three releases of ONNX Runtime from the package index; each call takes 1.8 times as long from 1.30.0 on."""
    path = onnxfiles.write(tmp_path / "wide.onnx", onnxfiles.wide())
    words = ("--backend", "ort-cpu", "--good", "1.29.0", "--bad", "1.31.0", "--model", path, "--batch", "64", "--threads", "1")
    script = (sys.executable, ROOT / "benchmarks/slowed_versions.py", "1.30.0", "0.8", *words, "--format", "json")
    found = json.loads(run(*script, cwd=tmp_path, env={**os.environ, "ONNXBENCH_CACHE": str(tmp_path / "cache")}))
    assert (found["versions"], found["first_slower"]) == (["1.29.0", "1.30.0", "1.31.0"], "1.30.0")
    assert {row["version"]: row["verdict"] for row in found["rows"]} == {"1.31.0": "slower", "1.30.0": "slower"}
    assert all(row["ratio_ci_low"] > found["limit"] > 1 for row in found["rows"])
