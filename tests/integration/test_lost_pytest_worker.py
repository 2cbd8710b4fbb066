"""The gate: a test that ends its worker of pytest again fails alone, the run ends, and no runtime leaves a signal stack."""

import subprocess
import sys
from pathlib import Path

import onnxfiles
import pytest

SCHEDULE = Path(__file__).resolve().parents[1] / "conftest.py"
FILE = """
import os, signal, pytest
@pytest.mark.parametrize("number", range(12))
def test_of(number):
    if number in {deadly} or (number == 7 and not os.path.exists("once")):
        open("once" if number == 7 else "other", "a").close()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("folder", "deadly"), [("integration", (5,)), ("integration", (11,)), ("unit", (3, 4))])
def test_a_test_that_ends_its_worker_twice_fails_alone(tmp_path, folder, deadly):
    (tmp_path / "tests" / folder).mkdir(parents=True)
    (tmp_path / "tests/conftest.py").write_text(SCHEDULE.read_text())
    (tmp_path / "tests" / folder / "test_it.py").write_text(FILE.replace("{deadly}", str(deadly)))
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert f"{len(deadly)} failed, {12 - len(deadly)} passed" in done.stdout
    assert all(f"test_of[{number}]" in done.stdout for number in deadly)
    assert done.stdout.count("test_of[7] is tried again") == 1


FREED_ELSEWHERE = """
import gc, signal, threading, openvino

def test_a_plugin_ends_in_another_thread():
    core = openvino.Core()
    kept = [core, core.compile_model(core.read_model("net.onnx"), "CPU")]
    del core
    other = threading.Thread(target=kept.clear)
    other.start()
    other.join()

def test_a_signal_is_handled():
    seen = []
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(True))
    signal.raise_signal(signal.SIGUSR1)
    assert seen == [True]
"""


def test_openvino_leaves_no_signal_stack_behind(tmp_path):
    (tmp_path / "conftest.py").write_text(SCHEDULE.read_text())
    (tmp_path / "test_it.py").write_text(FREED_ELSEWHERE)
    onnxfiles.write(tmp_path / "net.onnx", onnxfiles.dense())
    command = [sys.executable, "-m", "pytest", "-n", "1", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "2 passed" in done.stdout
    assert "is tried again" not in done.stdout
