"""A worker process, asked directly: what it says when it ends, and that nothing is left of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from onnxbench.errors import BadInput, WorkerDied, WorkerTimeout
from onnxbench.runners.pool.process import GRACE_S, ProcessWorker
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.jobs import Probe

NULL = Probe(backend="null")


@pytest.fixture
def worker(tmp_path):
    with ProcessWorker(tmp_path / "worker.log", Clock()) as started:
        yield started


def pid_of(worker):
    return worker._process.pid


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_answers_and_ends_with_its_pipe(tmp_path):
    with ProcessWorker(tmp_path / "worker.log", Clock()) as worker:
        assert worker.ask(NULL, 60).available
        pid = pid_of(worker)
    assert gone(pid)


def test_an_error_comes_back_as_what_it_was(worker):
    with pytest.raises(BadInput, match="'nul' is not a backend; did you mean 'null'"):
        worker.ask(Probe(backend="nul"), 60)
    assert worker.ask(NULL, 60).available


def test_its_cuda_numbers_gpus_as_nvml_does(worker):
    worker.ask(NULL, 60)
    environment = Path(f"/proc/{pid_of(worker)}/environ").read_bytes().split(b"\0")
    assert b"CUDA_DEVICE_ORDER=PCI_BUS_ID" in environment
    assert any(line.startswith(b"PATH=") for line in environment)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSEGV])
def test_a_kill_is_told_by_its_signal(worker, sign):
    worker.ask(NULL, 60)
    os.kill(pid_of(worker), sign)
    with pytest.raises(WorkerDied, match=sign.name):
        worker.ask(NULL, 60)


@pytest.mark.parametrize("sign", [None, signal.SIGKILL])
def test_its_temporary_files_end_with_it(tmp_path, sign):
    with ProcessWorker(tmp_path / "worker.log", Clock()) as worker:
        worker.ask(NULL, 60)
        variables = Path(f"/proc/{pid_of(worker)}/environ").read_text().split("\0")
        folder = Path(next(line for line in variables if line.startswith("TMPDIR=")).removeprefix("TMPDIR="))
        (folder / "compiled").mkdir()
        (folder / "compiled/half.o").write_bytes(b"half a file")
        if sign:
            os.kill(pid_of(worker), sign)
            with pytest.raises(WorkerDied):
                worker.ask(NULL, 60)
    assert not folder.exists()


def test_its_last_words_are_told(worker):
    worker.ask(NULL, 60)
    worker.log.write_text("first\nassertion failed in a kernel\n\n")
    os.kill(pid_of(worker), signal.SIGABRT)
    with pytest.raises(WorkerDied, match="assertion failed in a kernel"):
        worker.ask(NULL, 60)


def test_a_python_that_there_is_not_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        ProcessWorker(tmp_path / "worker.log", Clock(), str(tmp_path / "python"))


def test_no_answer_in_time_ends_it(worker):
    with pytest.raises(WorkerTimeout, match=r"within 0\.01 s"):
        worker.ask(Probe(backend="torch-cpu"), 0.01)
    assert gone(pid_of(worker))


def test_it_hears_no_interrupt(worker):
    worker.ask(NULL, 60)
    os.kill(pid_of(worker), signal.SIGINT)
    assert worker.ask(NULL, 60).available


def state_of(pid):
    """State of the process by the kernel: `T` is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def stopped(worker):
    worker.ask(NULL, 60)
    worker.pause()
    return wait_until(lambda: state_of(pid_of(worker)) == "T")


def wait_until(true, limit_s=10):
    end = time.monotonic() + limit_s
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_a_stopped_process_goes_on_with_its_next_job(worker):
    assert stopped(worker)
    assert worker.ask(NULL, 60).available
    assert state_of(pid_of(worker)) != "T"


def test_a_stopped_process_ends_with_its_pipe_and_needs_no_kill(tmp_path):
    with ProcessWorker(tmp_path / "worker.log", Clock()) as worker:
        assert stopped(worker)
        process, begin = worker._process, time.monotonic()
    assert (process.returncode, time.monotonic() - begin < GRACE_S) == (0, True)


def test_a_stopped_process_can_be_dismissed_and_killed(tmp_path):
    with ProcessWorker(tmp_path / "worker.log", Clock()) as worker:
        assert stopped(worker)
        os.kill(pid_of(worker), signal.SIGKILL)
        with pytest.raises(WorkerDied, match="SIGKILL"):
            worker.ask(NULL, 60)
    other = ProcessWorker(tmp_path / "other.log", Clock())
    assert stopped(other)
    other.dismiss()
    assert gone(pid_of(other))


PARENT = """
import sys
from pathlib import Path
from onnxbench.runners.pool.process import ProcessWorker
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.jobs import Probe

worker = ProcessWorker(Path(sys.argv[1]), Clock())
worker.ask(Probe(backend="null"), 60)
worker.pause()
print(worker._process.pid, flush=True)
sys.stdin.read()
"""


def test_a_stopped_process_does_not_outlive_its_parent(tmp_path):
    command = [sys.executable, "-c", PARENT, str(tmp_path / "worker.log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert wait_until(lambda: state_of(pid) == "T")
        parent.kill()
    assert wait_until(lambda: gone(pid) or state_of(pid) == "Z")
