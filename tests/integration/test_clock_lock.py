"""The lock of a GPU's clock with a fake NVML, in the real process that holds the lock: no card is changed here."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from onnxbench.errors import BadInput, BenchError
from onnxbench.runners.pool import clock_lock
from onnxbench.runners.pool.pool import Local
from onnxbench.runners.worker.nvml import BASE_CLOCK, Nvml, environment

# Module pynvml, whose every change is a line of the file LOCK_LOG. LOCK_REFUSED is the text with which it refuses.
FAKE = """
import os

def nvmlInit():
    if os.environ.get("LOCK_REFUSED") == "no driver":
        raise RuntimeError("Driver Not Loaded")

def nvmlDeviceGetCount():
    return 2

def nvmlDeviceGetHandleByIndex(number):
    return number

def _note(*words):
    if os.environ.get("LOCK_REFUSED"):
        raise RuntimeError(os.environ["LOCK_REFUSED"])
    with open(os.environ["LOCK_LOG"], "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")

def nvmlDeviceSetGpuLockedClocks(device, least, most):
    _note("lock", device, least, most)

def nvmlDeviceResetGpuLockedClocks(device):
    _note("reset", device)
"""
# A parent that holds the lock until it is ended from outside.
HOLDER = """
import signal, time
from onnxbench.runners.pool.pool import Local
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
with Local().locked_clocks(1, 1500):
    print("locked", flush=True)
    time.sleep(60)
"""


class Library:
    """The fake NVML: its folder is on PYTHONPATH."""

    def __init__(self, folder, monkeypatch):
        (folder / "pynvml.py").write_text(FAKE)
        self.log = folder / "log"
        monkeypatch.setenv("LOCK_LOG", str(self.log))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))))
        self._monkeypatch = monkeypatch

    def refuse(self, reason):
        self._monkeypatch.setenv("LOCK_REFUSED", reason)

    @property
    def lines(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def wait_for(self, line, limit_s=10):
        """True once the file has `line`; the process that writes it is nobody's child any more."""
        end = time.monotonic() + limit_s
        while line not in self.lines and time.monotonic() < end:
            time.sleep(0.02)
        return line in self.lines


@pytest.fixture
def library(tmp_path, monkeypatch):
    return Library(tmp_path, monkeypatch)


def locked(index=0, mhz=1500, gpu=None):
    return clock_lock.locked_clocks(index, mhz, gpu or Nvml(environ=environment(os.environ)))


@pytest.mark.parametrize(("mhz", "clock"), [(1500, 1500), (0, BASE_CLOCK)])
def test_the_clock_is_locked_inside_and_free_after(library, mhz, clock):
    with locked(1, mhz):
        assert library.lines == [f"lock 1 {clock} {clock}"]
    assert library.lines == [f"lock 1 {clock} {clock}", "reset 1"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, BenchError("a worker died"), SystemExit])
def test_an_error_lifts_the_lock(library, error):
    with pytest.raises((KeyboardInterrupt, BenchError, SystemExit)), locked():
        raise error
    assert library.lines[-1] == "reset 0"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_parent_lifts_the_lock(library, number):
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout.readline() == b"locked\n"
        parent.send_signal(number)
    assert parent.returncode != 0
    assert library.wait_for("reset 1")
    assert library.lines == ["lock 1 1500 1500", "reset 1"]


def guard_pid():
    """Process of the guard that this process started."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return next(int(pid) for pid in children if b"clock_guard" in Path(f"/proc/{pid}/cmdline").read_bytes())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_the_guard_leaves_no_lock(library, number):
    changes = []

    class Here:
        nvmlDeviceGetCount = nvmlDeviceResetGpuLockedClocks = staticmethod(lambda *asked: changes.append(asked) or 1)
        nvmlDeviceGetHandleByIndex = staticmethod(lambda index: index)

    with locked(gpu=Nvml(load=Here, environ=environment(os.environ))):
        os.kill(guard_pid(), number)
        assert number == signal.SIGKILL or library.wait_for("reset 0")
    assert (number == signal.SIGKILL) == ((0,) in changes)


@pytest.mark.parametrize("reason", ["Insufficient Permissions", "Not Supported", "no driver"])
def test_a_refused_lock_is_one_sentence_before_anything_runs(library, reason):
    library.refuse(reason)
    with pytest.raises(BadInput) as caught, locked():
        raise AssertionError("nothing runs")
    assert ("Driver Not Loaded" if reason == "no driver" else reason) in caught.value.message
    assert ("sudo nvidia-smi" in caught.value.hint) == (reason == "Insufficient Permissions")
    assert library.lines == []


def test_a_lock_that_cannot_be_lifted_is_an_error_with_the_remedy(library):
    refusing = Nvml(load=lambda: (_ for _ in ()).throw(RuntimeError("Driver Not Loaded")), environ=environment(os.environ))
    with pytest.raises(BenchError, match="still locked") as caught, locked(gpu=refusing):
        os.kill(guard_pid(), signal.SIGKILL)
    assert "--reset-gpu-clocks" in caught.value.hint


def test_a_run_locks_the_clock_only_where_the_user_asks(library, shell, null_file, tmp_path):
    options = ("--model", null_file, "--backend", "null", "--batch", "1", "--budget", "quick", "--device", "cuda:1")
    assert shell.bench("infer", *options, "--out", tmp_path / "plain").returncode == 3  # null has no GPU
    assert library.lines == []
    done = shell.bench("infer", *options, "--out", tmp_path / "locked", "--lock-clocks", "1500")
    assert done.returncode == 3, done.stderr
    assert library.lines == ["lock 1 1500 1500", "reset 1"]
    assert json.loads((tmp_path / "locked/run.json").read_text())["sweep"]["lock_clocks"] == 1500


def test_the_death_of_a_worker_leaves_no_lock(library, shell, null_file, tmp_path):
    options = ("--model", null_file, "--backend", "null", "--batch", "1", "--budget", "quick", "--option", "fault=die@start")
    assert shell.bench("infer", *options, "--out", tmp_path / "run", "--lock-clocks").returncode == 3
    assert library.lines == [f"lock 0 {BASE_CLOCK} {BASE_CLOCK}", "reset 0"]


def test_this_machines_pool_locks(library):
    with Local().locked_clocks(0, 0):
        assert library.lines == [f"lock 0 {BASE_CLOCK} {BASE_CLOCK}"]
    assert library.lines[-1] == "reset 0"
