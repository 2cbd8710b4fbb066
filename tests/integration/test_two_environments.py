"""One runtime in several environments, side by side in one run; and interpreters in which nothing can be measured."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from .conftest import environment

VERSIONS = {"ort-cpu@old": "1.23.2", "ort-cpu@new": version("onnxruntime")}
QUICK = ("--budget", "quick", "--batch", "1")


@pytest.fixture(scope="module")
def two(tmp_path_factory, bare_python):
    """`--python` for two versions of ONNX Runtime, one given by its folder and one by its interpreter."""
    old = tmp_path_factory.mktemp("venvs") / "old"
    environment(old, sys.executable, f"onnxruntime=={VERSIONS['ort-cpu@old']}", "numpy")
    return ("--python", f"ort-cpu@old={old}", "--python", f"ort-cpu@new={bare_python}")


def test_two_versions_of_one_runtime_are_compared_in_one_run(shell, null_file, two):
    asked = ("--backend", "ort-cpu@old,ort-cpu@new", *two, "--baseline", "ort-cpu@old", "--out", "run")
    done = shell.bench("infer", "--model", null_file, *QUICK, *asked, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {row["environment"]: row for row in found["rows"]}
    assert {name: (row["backend"], row["status"]) for name, row in rows.items()} == {
        "old": ("ort-cpu", "ok"),
        "new": ("ort-cpu", "ok"),
    }
    assert rows["old"]["speedup"] == 1
    assert rows["new"]["speedup"] > 0
    assert found["versions"] == json.loads((shell.folder / "run/run.json").read_text())["versions"] == VERSIONS
    shown = shell.bench("show", "run", "--baseline", "ort-cpu@new")
    assert shown.returncode == 0, shown.stderr
    for text in ("ort-cpu@old 1.23.2 · ort-cpu@new 1.31.1", "against ort-cpu@new", "environment"):
        assert text in shown.stdout
    again = shell.bench("infer", "--out", "run", "--resume")
    assert again.returncode == 0, again.stderr


def test_versions_are_previewed_checked_and_listed_as_they_are_measured(shell, null_file, two):
    versions = {row["backend"]: row["version"] for row in shell.rows("backends", *two)}
    assert {label: versions[label] for label in VERSIONS} == VERSIONS
    asked = ("--model", null_file, "--batch", "1", "--backend", "ort-cpu,ort-cpu@old,ort-cpu@new", *two)
    preview = shell.rows("infer", *asked, "--budget", "quick", "--dry-run")
    assert [(row["environment"], row["status"]) for row in preview] == [(label, "planned") for label in (None, "old", "new")]
    checked = shell.rows("check", *asked)
    assert [(row["environment"], row["status"]) for row in checked] == [(label, "ok") for label in (None, "old", "new")]


def test_an_environment_without_the_runtime_is_a_row_that_says_so(shell, null_file, old_python, tmp_path):
    bare, numpy = tmp_path / "bare", old_python.parents[1]
    environment(bare, sys.executable)
    pythons = ("--python", f"ort-cpu@bare={bare}", "--python", f"ort-cpu@numpy={numpy}")
    asked = ("--model", null_file, *QUICK, "--backend", "null,ort-cpu@bare,ort-cpu@numpy")
    rows = {row["environment"]: row for row in shell.rows("infer", *asked, *pythons, code=3)}
    assert {name: row["status"] for name, row in rows.items()} == {None: "ok", "bare": "unavailable", "numpy": "unavailable"}
    assert rows["bare"]["reason"].startswith(f"{bare}/bin/python: NumPy cannot be imported")
    assert rows["numpy"]["reason"].startswith(f"{numpy}/bin/python: onnxruntime is not installed")


def test_an_older_python_is_a_row_that_says_so(shell, null_file):
    found = next(Path.home().glob(".pyenv/versions/3.[6-9].*/bin/python"), None)
    if not found or subprocess.run([found, "-V"], capture_output=True).returncode:
        pytest.skip("there is no Python older than 3.10 here")
    asked = ("--model", null_file, *QUICK, "--backend", "null,null@older", "--python", f"null@older={found}")
    rows = {row["environment"]: row for row in shell.rows("infer", *asked, code=3)}
    assert (rows[None]["status"], rows["older"]["status"]) == ("ok", "unavailable")
    assert "needs 3.10 or later" in rows["older"]["reason"]


@pytest.mark.parametrize(
    ("pythons", "backend", "says"),
    [
        (("--python", "ort-cpu@old=none/here"), "ort-cpu@old", "there is no "),
        (("--python", "ort-cpu@old=."), "ort-cpu@old", "there is no "),
        (("--python", "ort-cpu@old=/dev/null"), "ort-cpu@old", "cannot be executed"),
        (("--python", "ort-cpu@old=/bin/echo"), "ort-cpu@old", "is not a Python"),
        (("--python", "ort-cpu@o.d=/bin/echo"), "ort-cpu", "is not BACKEND or BACKEND@ENV"),
        (("--python", "ort-cup@old=/bin/echo"), "ort-cpu", "did you mean 'ort-cpu'"),
        ((), "ort-cpu@old", "names no environment; give --python ort-cpu@old=PATH, or --option ort-cpu@old.KEY=VALUE"),
    ],
)
def test_what_is_no_environment_ends_in_one_sentence(shell, null_file, pythons, backend, says):
    done = shell.bench("infer", "--model", null_file, "--backend", backend, *pythons)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench: ")
    assert says in line
    assert not (shell.folder / "runs").exists()


def test_an_environment_of_options_is_in_this_interpreter(shell, null_file):
    asked = ("--backend", "null,null@busy", "--option", "null@busy.work=20000", "--baseline", "null", "--out", "run")
    rows = {row["environment"]: row for row in shell.rows("infer", "--model", null_file, *QUICK, *asked)}
    assert {name: (row["status"], row["settings"]) for name, row in rows.items()} == {
        None: ("ok", "work=0"),
        "busy": ("ok", "work=20000"),
    }
    versions = json.loads((shell.folder / "run/run.json").read_text())["versions"]
    assert versions["null"] == versions["null@busy"]
