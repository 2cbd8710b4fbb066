"""The contract suite over a backend that lives in another interpreter."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import remote
from onnxbench.backends.protocol import Concurrency
from onnxbench.errors import RuntimeFailed
from onnxbench.spec import Artifact, Cell, Settings, TensorSpec

ROOT = Path(__file__).resolve().parents[2]
ARRAYS = {"x": np.ones((2, 4), np.float32)}
SPEC = TensorSpec(name="x", dtype="float32", shape=("N", 4))
ARTIFACT = Artifact(
    model="tiny", precision="fp32", path="none", sha256="0", nbytes=0, opset=17, inputs=(SPEC,), outputs=(SPEC,), source=None
)


def cell(**options):
    return Cell(
        model="tiny",
        sha256="0",
        backend="null",
        device="cpu",
        precision="fp32",
        batch=2,
        shapes=(("x", (2, 4)),),
        settings=Settings(threads=1, options=tuple(options.items())),
    )


@pytest.fixture(scope="module")
def interpreters(other_python):
    with remote.Interpreters(f"null={other_python}") as found:
        yield found


@pytest.fixture
def null(interpreters):
    return interpreters.backend("null")


@pytest.mark.long
def test_the_contract_of_a_backend_elsewhere_is_tested_from_here(other_python, tmp_path):
    watched, started = tmp_path / "python", tmp_path / "started"
    watched.write_text(f'#!/bin/sh\necho "$2" >> {started}\nexec {other_python} "$@"\n')
    watched.chmod(0o755)
    command = (sys.executable, "-m", "pytest", "tests/contract", "-k", "null", "-p", "no:cacheprovider", "-rA")
    environment = {**os.environ, "BENCH_PYTHON": f"null={watched}", "BENCH_REQUIRE": "null"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") >= 10
    assert "SKIPPED" not in done.stdout
    assert started.read_text().split() == [remote.__file__]  # once


def test_the_suite_ends_with_a_sentence_where_an_interpreter_does_not_start(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    with remote.Interpreters(f"null={broken}") as found, pytest.raises(RuntimeFailed, match=r"/python has ended .*7"):
        found.backend("null").probe()


def test_facts_are_read_here_and_methods_run_there(null, interpreters):
    assert null.name == "null"
    assert null.instrument
    assert null.probe().available
    assert null.concurrencies(4)[0] == Concurrency(threads=4)
    assert null.supports(cell(), ARTIFACT) is None
    assert "no_such" in null.supports(cell(no_such="1"), ARTIFACT)
    assert interpreters.backend("ort-cpu").name == "ort-cpu"
    assert not hasattr(null, "_probe")


def test_a_session_elsewhere_answers_and_has_forks(null):
    with null.open(ARTIFACT, cell(work="5"), Concurrency(threads=1)) as session:
        assert dict(session.info.settings) == {"work": "5"}
        assert not session.asynchronous
        lanes = [session, session.fork(), session.fork()]
        for lane in lanes:
            lane.bind(ARRAYS)
        threads = [threading.Thread(target=_call, args=(lane,)) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answers = [lane.fetch()["x"] for lane in lanes]
        assert session.kernels(timed=True) == ()
        assert session.device_ns() is None
    assert [(answer.shape, answer.flags.writeable) for answer in answers] == [((2, 4), True)] * 3
    assert ARRAYS["x"].all()  # what the other end overwrites is its copy


def _call(lane):
    lane.enter()
    for _ in range(20):
        lane.start()
        lane.wait()


def test_errors_elsewhere_are_raised_here_as_themselves(null):
    with null.open(ARTIFACT, cell(fault="raise@start")) as session:
        with pytest.raises(RuntimeFailed, match="option fault"):
            session.start()
        with pytest.raises(RuntimeFailed, match="'x'"):
            session.bind({})
        with pytest.raises(RuntimeError, match="AttributeError"):
            session.no_such()
        assert session.start() is None


def test_a_key_error_stays_one():
    with remote.Interpreters(f"null={sys.executable}") as found, pytest.raises(KeyError, match="12345"):
        found.backend("null")._interpreter.ask(12345, "start")


def test_what_is_printed_elsewhere_is_printed_here(null, capfd):
    with null.open(ARTIFACT, cell(fault="print@start")) as session:
        assert capfd.readouterr().out == ""
        session.start()
        assert capfd.readouterr().out == "a stray print\n"
        session.start()
    assert capfd.readouterr().out == ""


def test_a_process_that_dies_is_a_sentence_and_the_next_one_works(interpreters):
    null = interpreters.backend("null")
    session = null.open(ARTIFACT, cell(fault="die@start"))
    for call in (session.start, session.wait, null.probe):
        with pytest.raises(RuntimeFailed, match="has ended") as caught:
            call()
    assert "\n" not in str(caught.value)
    assert interpreters.backend("null").probe().available


def test_an_interrupted_call_leaves_no_answer_to_the_next(other_python):
    class Stopped(BaseException):
        pass

    def stop(signum, frame):
        raise Stopped

    with ExitStack() as stack:
        null = stack.enter_context(remote.Interpreters(f"null={other_python}")).backend("null")
        session = null.open(ARTIFACT, cell(fault="hang@start"))
        stack.callback(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, stop))
        timer = threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1))
        timer.start()
        with pytest.raises(Stopped):
            session.start()
        with pytest.raises(RuntimeFailed, match="has ended"):
            session.wait()


def test_a_session_that_nobody_has_is_gone_there_too(null):
    session = null.open(ARTIFACT, cell())
    number, interpreter = session._number, session._interpreter
    del session
    null.probe()
    with pytest.raises(KeyError):
        interpreter.ask(number, "wait")
