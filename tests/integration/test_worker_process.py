"""A worker process, asked directly: what it says when it ends, and that nothing is left of it."""

import os
import signal
from pathlib import Path

import pytest
from onnxbench.errors import BadInput, WorkerDied, WorkerTimeout
from onnxbench.runners.pool.isolate import Worker
from onnxbench.runners.worker.clock import Clock


@pytest.fixture
def worker(tmp_path):
    with Worker(tmp_path / "worker.log", Clock()) as started:
        yield started


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_answers_and_ends_with_its_pipe(tmp_path):
    with Worker(tmp_path / "worker.log", Clock()) as worker:
        assert worker.ask("probe", 60, backend="null")["available"]
        pid = worker.pid
    assert gone(pid)


def test_an_error_comes_back_as_what_it_was(worker):
    with pytest.raises(BadInput, match="'nul' is not a backend; did you mean 'null'"):
        worker.ask("probe", 60, backend="nul")
    assert worker.ask("probe", 60, backend="null")["available"]


def test_its_cuda_numbers_gpus_as_nvml_does(worker):
    worker.ask("probe", 60, backend="null")
    environment = Path(f"/proc/{worker.pid}/environ").read_bytes().split(b"\0")
    assert b"CUDA_DEVICE_ORDER=PCI_BUS_ID" in environment
    assert any(line.startswith(b"PATH=") for line in environment)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSEGV])
def test_a_kill_is_told_by_its_signal(worker, sign):
    worker.ask("probe", 60, backend="null")
    os.kill(worker.pid, sign)
    with pytest.raises(WorkerDied, match=sign.name):
        worker.ask("probe", 60, backend="null")


def test_its_last_words_are_told(worker):
    worker.ask("probe", 60, backend="null")
    worker.log.write_text("first\nassertion failed in a kernel\n\n")
    os.kill(worker.pid, signal.SIGABRT)
    with pytest.raises(WorkerDied, match="its last words were: assertion failed in a kernel"):
        worker.ask("probe", 60, backend="null")


def test_a_python_that_there_is_not_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Worker(tmp_path / "worker.log", Clock(), str(tmp_path / "python"))


def test_no_answer_in_time_ends_it(worker):
    with pytest.raises(WorkerTimeout, match=r"within 0\.01 s"):
        worker.ask("probe", 0.01, backend="torch-cpu")
    assert gone(worker.pid)


def test_it_hears_no_interrupt(worker):
    worker.ask("probe", 60, backend="null")
    os.kill(worker.pid, signal.SIGINT)
    assert worker.ask("probe", 60, backend="null")["available"]
