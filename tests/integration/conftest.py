"""The tool as a user runs it: a process, a folder of its own, a cache of its own."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

REQUIRED = os.environ.get("BENCH_REQUIRE", "").split(",")
BENCH = (sys.executable, "-m", "onnxbench.cli")


@dataclass
class Shell:
    """Runs `bench` in `folder` with the cache `cache`."""

    folder: Path
    cache: Path
    environment: dict = field(default_factory=dict)

    def bench(self, *arguments, timeout=240, **popen):
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout, **self.popen(**popen))

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


@pytest.fixture
def shell(tmp_path):
    """An empty folder and an empty cache."""
    folder = tmp_path / "here"
    folder.mkdir()
    return Shell(folder, tmp_path / "cache")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """`made_once(name, make)`: a folder that `make(folder)` fills once for all of pytest's workers; they only read it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def of(name, make):
        folder, done = base / f"once-{name}", base / f"once-{name}.done"
        with (base / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return of


def printed(done):
    """What a command printed, as JSON data; it must have ended well."""
    assert done.returncode == 0, done.stderr
    return {"stdout": done.stdout, "stderr": done.stderr}


@pytest.fixture(scope="session")
def trained(tmp_path_factory, made_once):
    """A folder in which the CNN was trained for one epoch and exported; `training` and `export` hold what that printed."""

    def make(folder):
        shell = Shell(folder, folder / "cache")
        said = {"training": printed(shell.bench("train", "--epochs", "1", "--format", "json"))}
        said["export"] = printed(shell.bench("export"))
        (folder / "said.json").write_text(json.dumps(said))

    root = tmp_path_factory.mktemp("trained") / "own"
    shutil.copytree(made_once("trained", make), root)
    shell, said = Shell(root, root / "cache"), json.loads((root / "said.json").read_text())
    shell.training, shell.export = (SimpleNamespace(**said[what]) for what in ("training", "export"))
    return shell


@pytest.fixture(scope="session")
def table(trained, made_once):
    """The default sweep, once, its folder in `trained`'s: (stdout as JSON, stderr)."""

    def make(folder):
        said = printed(trained.bench("infer", "--budget", "quick", "--out", folder / "run", "--format", "json"))
        (folder / "said.json").write_text(json.dumps(said))

    swept = made_once("swept", make)
    shutil.copytree(swept / "run", trained.folder / "run")
    said = json.loads((swept / "said.json").read_text())
    return json.loads(said["stdout"]), said["stderr"]


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
    subprocess.run([python, "-m", "venv", folder], check=True, timeout=280)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    subprocess.run([folder / "bin/python", *pip, *packages], check=True, timeout=280)


@pytest.fixture(scope="session")
def old_python(made_once):
    """Python 3.10 with NumPy alone, as on a Jetson."""
    found = python_3_10()
    if found is None:
        refuse = pytest.fail if "python3.10" in REQUIRED else pytest.skip
        refuse("there is no Python 3.10 here")
    return made_once("old", lambda folder: environment(folder, found, "numpy")) / "bin/python"


@pytest.fixture(scope="session")
def bare_python(made_once):
    """The Python of an environment that has NumPy and ONNX Runtime, in this one's versions, and nothing else."""
    wanted = [f"{name}=={version(name)}" for name in ("numpy", "onnxruntime")]
    return str(made_once("bare", lambda folder: environment(folder, sys.executable, *wanted)) / "bin/python")


@pytest.fixture(scope="session")
def other_python(request):
    """An interpreter beside this one: `old_python`, or this one again where there is none and none is required."""
    if python_3_10() is None and "python3.10" not in REQUIRED:
        return sys.executable
    return str(request.getfixturevalue("old_python"))
