"""Converters that fail in every way, as a user sees them; and the runtimes whose converters are real, where they are."""

import json
import os
import sys

import onnx
import onnxfiles
import pytest
from onnxfiles import MINI

PLUGIN = '''
import sys
from dataclasses import replace
from pathlib import Path

from onnxbench.backends.conversion import Converter, run_program
from onnxbench.backends.null import Null, NullSession
from onnxbench.errors import RuntimeFailed
from onnxbench.spec import Settings

PROGRAMS = {
    "": "open('net', 'w').write('a whole file')",
    "die": "import os; os.kill(os.getpid(), 9)",
    "hang": "import time; print('thinking', flush=True); time.sleep(600)",
    "half": "open('net', 'w').write('a whole')",
    "eat": "block = b'1' * 600_000_000; import time; time.sleep(600)",
}


class Backend(Null):
    """A runtime that reads what a program wrote."""

    name = "copier"
    options = {"fault": "what the converter does"}
    converter = Converter(name="copy", packages=("numpy",), install="pip install numpy")

    def _convert(self, artifact, cell, folder):
        fault = dict(cell.settings.options).get("fault", "")
        run_program([sys.executable, "-c", PROGRAMS[fault]], folder, name="copy")

    def _open(self, artifact, cell, concurrency):
        if Path(artifact.converted, "net").read_text() != "a whole file":
            raise RuntimeFailed("the file ends too early")
        return NullSession(artifact, replace(cell, settings=Settings(threads=1)))
'''
CONVERTED = ("ncnn-cpu", "mnn-cpu", "litert-cpu")
NO_INTERPRETER = "BENCH_PYTHON names no interpreter of these runtimes: make test-runtimes makes them"
ENDS = {
    "die": ("failed", "copy was killed by SIGKILL"),
    "hang": ("timeout", "within 4 s"),
    "half": ("failed", "ends too early"),
    "eat": ("failed", "400 MB is the limit"),
}


@pytest.fixture
def copier(shell, null_file):
    """`bench infer` on the backend `copier`."""
    site = shell.folder / "site"
    (site / "copier-1.0.dist-info").mkdir(parents=True)
    (site / "copier_plugin.py").write_text(PLUGIN)
    (site / "copier-1.0.dist-info/entry_points.txt").write_text("[onnxbench.backends]\ncopier = copier_plugin:Backend\n")
    (site / "copier-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: copier\nVersion: 1.0\n")
    shell.environment["PYTHONPATH"] = os.pathsep.join([str(site), *sys.path])

    def infer(targets, *more, code=0):
        asked = ("infer", "--model", null_file, "--backend", targets, "--batch", "1", *MINI, *more)
        done = shell.bench(*asked, "--format", "json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)["rows"]

    return infer


def entries(shell):
    folder = shell.cache / "formats"
    return list(folder.iterdir()) if folder.is_dir() else []


def test_a_converter_that_fails_costs_its_row_and_leaves_nothing_in_the_cache(copier, shell):
    shell.environment["ONNXBENCH_MEMORY_MB"] = "400"
    options = [word for fault in ENDS for word in ("--option", f"copier@{fault}.fault={fault}")]
    targets = ",".join(["copier", *(f"copier@{fault}" for fault in ENDS)])
    rows = {row["environment"]: row for row in copier(targets, *options, "--build-timeout", "4", "--out", "run", code=3)}
    assert rows[None]["converter"].startswith("numpy ")
    assert (rows[None]["status"], rows[None]["convert_s"] > 0) == ("ok", True)
    assert {name: rows[name]["status"] for name in ENDS} == {name: status for name, (status, _) in ENDS.items()}
    assert [name for name, (_, word) in ENDS.items() if word not in rows[name]["reason"]] == []
    (entry,) = entries(shell)
    assert sorted(path.name for path in entry.rglob("*") if path.is_file()) == ["converted.json", "net"]
    assert not (shell.folder / "run/scratch").exists()
    assert "thinking" in (shell.folder / "run/logs/copier@hang-convert.log").read_text()


def interpreters():
    """Interpreters of runtimes by backend, as BENCH_PYTHON names them for the contract suite."""
    pairs = (pair.partition("=") for pair in filter(None, os.environ.get("BENCH_PYTHON", "").split(",")))
    return {name: python for name, _, python in pairs if name in CONVERTED}


def named(pythons):
    """Options that name these interpreters."""
    return [word for name, python in pythons.items() for word in ("--python", f"{name}={python}")]


@pytest.mark.runtimes
def test_an_operator_that_a_runtime_lacks_is_named_in_its_row(shell):
    pythons = {name: python for name, python in interpreters().items() if name != "litert-cpu"}  # which has this operator
    if not pythons:
        pytest.skip(NO_INTERPRETER)
    ends = [onnxfiles.value(name, onnx.TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Hardmax", ["x"], ["y"], "largest")], "g", ends[:1], ends[1:])
    file = onnxfiles.write(shell.folder / "largest.onnx", graph)
    rows = shell.rows("infer", "--model", file, "--backend", ",".join(pythons), *named(pythons), "--batch", "1", *MINI, code=3)
    assert [(row["backend"], row["status"], "Hardmax" in row["reason"]) for row in rows] == [
        (name, "unsupported", True) for name in pythons
    ]
    assert not entries(shell)


@pytest.mark.runtimes
def test_litert_computes_int8_in_a_file_of_its_own_converter(small):
    pythons = {name: python for name, python in interpreters().items() if name == "litert-cpu"}
    if not pythons:
        pytest.skip(NO_INTERPRETER)
    asked = (
        "infer",
        "--backend",
        "litert-cpu",
        *named(pythons),
        "--precision",
        "fp32,int8",
        "--int8",
        "litert",
        "--batch",
        "1,8",
    )
    rows = small.rows(*asked, *MINI, "--out", "one")
    assert [(row["precision"], row["status"]) for row in rows] == [("fp32", "ok"), ("int8", "ok")] * 2
    assert {row["executed"] for row in rows if row["precision"] == "fp32"} == {"fp32"}
    int8 = [row for row in rows if row["precision"] == "int8"]
    assert {row["executed"].split("+")[0] for row in int8} == {"int8"}
    assert {row["scheme"] for row in int8} == {"litert"}
    again = small.rows(*asked, *MINI, "--out", "two")
    assert [row["convert_s"] for row in again] == [row["convert_s"] for row in rows]  # of the file in the cache


@pytest.mark.runtimes
def test_runtimes_with_formats_of_their_own_compute_fp32_and_say_where_they_do_not(small):
    pythons = {name: python for name, python in interpreters().items() if name != "litert-cpu"}
    if not pythons:
        pytest.skip(NO_INTERPRETER)
    targets = ("--backend", ",".join(["ort-cpu", *pythons, "ncnn-cpu@default"]))
    options = ("--option", "ncnn-cpu@default.arithmetic=default", "--precision", "fp32,int8", "--batch", "1,8")
    rows = small.rows("infer", *targets, *named(pythons), *options, *MINI, code=3)
    fp32 = {(row["backend"], row["environment"], row["batch"]): row for row in rows if row["precision"] == "fp32"}
    strict = [row for (_, environment, _), row in fp32.items() if environment is None]
    assert {row["status"] for row in strict} == {"ok"}
    assert {row["executed"] for row in strict} == {"fp32"}
    assert min(row["sqnr_db"] for row in strict) > 80
    assert all((row["convert_s"] is None) == (row["backend"] == "ort-cpu") for row in strict)
    for batch in (1, 8):
        assert fp32["ncnn-cpu", "default", batch]["executed"] != "fp32"
        assert fp32["ncnn-cpu", "default", batch]["sqnr_db"] < fp32["ncnn-cpu", None, batch]["sqnr_db"] - 20
    int8 = {row["backend"]: row for row in rows if row["precision"] == "int8" and row["batch"] == 1 and not row["environment"]}
    assert (int8["mnn-cpu"]["status"], "SIGABRT" in int8["mnn-cpu"]["reason"]) == ("failed", True)
    assert (int8["ncnn-cpu"]["status"], "int8" in int8["ncnn-cpu"]["reason"]) == ("unsupported", True)
