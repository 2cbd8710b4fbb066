"""The tool as a user runs it: a process, a folder of its own, a cache of its own."""

import json
import os
import shutil
import subprocess
import sys
import traceback
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from onnxbench.budgets import BUDGETS
from onnxbench.cli import main

REQUIRED = os.environ.get("BENCH_REQUIRE", "").split(",")
DATA = Path(__file__).resolve().parents[1] / "data"
BENCH = (sys.executable, "-m", "onnxbench.cli")


@dataclass
class Shell:
    """Runs `bench` in `folder` with the cache `cache`.

    The command runs in this process, which saves half a second; its workers are processes. It is a process of its own where
    the test says so (`apart`), or where `environment` or `popen` are about one.
    """

    folder: Path
    cache: Path
    environment: dict = field(default_factory=dict)
    apart: bool = False

    def bench(self, *arguments, timeout=240, **popen):
        if self.apart or popen or "PYTHONPATH" in self.environment:
            command = self.command(*arguments)
            return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **self.popen(**popen))
        environment = {"ONNXBENCH_CACHE": str(self.cache), **self.environment}
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            done = CliRunner().invoke(main, [*map(str, arguments)], env=environment)
        finally:
            os.chdir(before)
        raised = [] if done.exception is None or isinstance(done.exception, SystemExit) else [done.exception]
        trace = "".join(line for error in raised for line in traceback.format_exception(error))
        return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr + trace)

    def rows(self, *arguments, code=0, **more):
        """The rows of a command that prints JSON and ends with `code`."""
        done = self.bench(*arguments, "--format", "json", **more)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)["rows"]

    def command(self, *arguments):
        return [*BENCH, *map(str, arguments)]

    def popen(self, **more):
        environment = {**os.environ, "ONNXBENCH_CACHE": str(self.cache), **self.environment}
        return {"cwd": self.folder, "env": environment, **more}


@pytest.fixture(scope="session", autouse=True)
def short_blocks():
    """Short blocks for `--budget quick` in commands of this process. Figures are steadier in longer ones, and no test needs it.

    Commands in processes of their own, and runs that they began, have the blocks of a user.
    """
    short = replace(BUDGETS["quick"], block_ms=15, rate_ms=15, warmup_ms=20, warmup_limit_ms=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUDGETS, "quick", short)
        yield


@pytest.fixture
def shell(tmp_path):
    """An empty folder and an empty cache."""
    folder = tmp_path / "here"
    folder.mkdir()
    return Shell(folder, tmp_path / "cache")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder in which the CNN was trained for one epoch and exported; `training` and `export` are those commands."""
    root = tmp_path_factory.mktemp("trained")
    shell = Shell(root, root / "cache")
    shell.training = shell.bench("train", "--epochs", "1", "--format", "json")
    assert shell.training.returncode == 0, shell.training.stderr
    shell.export = shell.bench("export")
    assert shell.export.returncode == 0, shell.export.stderr
    return shell


def unpack(version, folder):
    """What an earlier version left in tests/data, at `folder`: it was made elsewhere."""
    shutil.copytree(DATA / version, folder)
    for file in (folder / "artifacts/manifest.json", *folder.glob("cache/exports/*/entry.json")):
        file.write_text(file.read_text().replace("/data/example", str(folder)))
    return folder


@pytest.fixture
def small(tmp_path):
    """A small network in FP32, FP16 and INT8 with 128 labelled test images, where no CNN and no training is needed."""
    folder = unpack("v0_1", tmp_path / "small")
    return Shell(folder, folder / "cache")


@pytest.fixture(scope="session")
def table(trained):
    """The default sweep at batch 1, once: (stdout as JSON, stderr). benchmarks/duration.py runs the whole."""
    done = trained.bench("infer", "--budget", "quick", "--batch", "1", "--out", "run", "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="session")
def null_file(tmp_path_factory):
    """A small ONNX file with a dynamic batch, for runs on the null backend."""
    import onnxfiles

    return onnxfiles.write(tmp_path_factory.mktemp("null") / "tiny.onnx", onnxfiles.dense())


def python_3_10():
    """A Python 3.10 that starts, or None: pyenv's shims are there for versions that are not chosen."""
    by_pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.10.*/bin/python3.10")
    candidates = filter(None, [shutil.which("python3.10"), *by_pyenv])
    return next((path for path in candidates if not subprocess.run([path, "-V"], capture_output=True).returncode), None)


def environment(folder, python, *packages):
    """A virtual environment of `python` with `packages` and nothing that they would like beside them."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True, timeout=280)
    if not packages:
        return
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--quiet", "--disable-pip-version-check")
    # Tests use a small part of the packages, and Python compiles that part when it is imported.
    subprocess.run([*pip, "--no-compile", "--no-deps", *packages], check=True, timeout=280)


@pytest.fixture(scope="session")
def old_python(tmp_path_factory):
    """Python 3.10 with NumPy alone, as on a Jetson."""
    found = python_3_10()
    if found is None:
        refuse = pytest.fail if "python3.10" in REQUIRED else pytest.skip
        refuse("there is no Python 3.10 here")
    folder = tmp_path_factory.mktemp("old")
    environment(folder, found, "numpy")
    return folder / "bin/python"


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """The Python of an environment that has NumPy and ONNX Runtime, in this one's versions, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    environment(folder, sys.executable, *(f"{name}=={version(name)}" for name in ("numpy", "onnxruntime")))
    return str(folder / "bin/python")


@pytest.fixture(scope="session")
def other_python(request):
    """An interpreter beside this one: `old_python`, or this one again where there is none and none is required."""
    if python_3_10() is None and "python3.10" not in REQUIRED:
        return sys.executable
    return str(request.getfixturevalue("old_python"))
