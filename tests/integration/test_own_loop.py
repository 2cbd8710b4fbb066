"""A program's own loop in turns with backends, as a user runs it."""

import json
import signal
import subprocess
import sys
import textwrap
import time

import onnxbench as ob
import psutil
import pytest
from onnxbench.errors import BadInput
from onnxfiles import MINI

ORT_LOOP = """
    import os, sys
    import numpy as np
    import onnxruntime
    import onnxbench as ob

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["ONNXBENCH_THREADS"])
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    name, shape = session.get_inputs()[0].name, [1, *session.get_inputs()[0].shape[1:]]
    frame = np.ones(shape, np.float64)
    for _ in ob.calls():
        with ob.phase("copy_in"):
            for _ in range(50):
                inputs = frame.astype(np.float32)
        with ob.phase("compute"):
            outputs = session.run(None, {name: inputs})
        with ob.phase("copy_out"):
            answer = [output.copy() for output in outputs]
"""
PLAIN = """
    for index in range(40):
        print(f"{2 + index % 3 / 10} ms")
"""
FAILS_LATER = """
    import sys
    print("onnxbench ready", flush=True)
    for number, line in enumerate(sys.stdin):
        if number > 5:
            sys.exit("the camera was unplugged")
        print(*["latency_ms=1"] * int(line.split()[1]), "end", sep="\\n", flush=True)
"""


@pytest.fixture
def script(shell):
    """Write a program into the shell's folder; the command that runs it."""

    def write(code):
        (shell.folder / "my_loop.py").write_text(textwrap.dedent(code))
        return "--", sys.executable, "my_loop.py"

    return write


def measure(file, *more):
    return ("measure", "--model", file, "--backend", "null", *MINI, *more)


def by_backend(rows):
    return {row["backend"]: row for row in rows}


def test_a_loop_around_onnx_runtime_stands_beside_it_with_its_parts(shell, script, null_file):
    options = ("measure", "--model", null_file, "--backend", "ort-cpu", "--budget", "quick", "--out", "run", "--format", "json")
    done = shell.bench(*options, *script(ORT_LOOP), null_file)
    assert done.returncode == 0, done.stderr
    rows = by_backend(json.loads(done.stdout)["rows"])
    own, runtime = rows["my_loop"], rows["ort-cpu"]
    assert (own["status"], runtime["status"]) == ("ok", "ok")
    assert own["rounds"] == runtime["rounds"] == 3
    assert own["e2e_p50_ms"] == own["p50_ms"]
    assert 0 < own["copy_in_ms"] < own["p50_ms"]
    assert own["copy_in_ms"] + own["compute_ms"] + own["copy_out_ms"] < 2 * own["p50_ms"]
    assert own["wait_ms"] is own["sqnr_db"] is own["load_s"] is runtime["copy_in_ms"] is None
    assert "copy_in" in own["notes"]
    assert own["speedup"] < 1  # against the first backend: its 50 copies cost more than this small model
    assert (own["model"], own["batch"], own["threads"]) == (runtime["model"], runtime["batch"], runtime["threads"])


def test_a_program_that_only_prints_runs_in_each_round(shell, script, null_file):
    done = shell.bench(*measure(null_file, "--out", "run", "--format", "json"), "--name", "mine", *script(PLAIN))
    assert done.returncode == 0, done.stderr
    rows = by_backend(json.loads(done.stdout)["rows"])
    assert rows["mine"]["p50_ms"] == pytest.approx(2.1)
    assert rows["mine"]["samples"] == rows["mine"]["rounds"] * 36
    (resumed,) = [row for row in shell.rows("infer", "--resume", "--out", "run") if row["backend"] == "mine"]
    assert resumed["p50_ms"] == rows["mine"]["p50_ms"]
    for command in ("show", "recommend", "report"):
        out = ("--out", "report.html") if command == "report" else ()
        assert shell.bench(command, "run", *out).returncode == 0


def test_a_program_alone_is_measured(shell, script):
    done = shell.bench("measure", *MINI, "--batch", "4", "--out", "run", "--format", "json", *script(PLAIN))
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["backend"], row["model"], row["batch"], row["status"]) == ("my_loop", "my_loop", 4, "ok")
    assert row["throughput_per_s"] == pytest.approx(4 / 2.1e-3, rel=0.02)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("print('1,5')", "decimal comma"),
        ("print('loading')", "is not a latency"),
        ("pass", "printed no latency"),
        ("raise SystemExit('no camera')", "no camera"),
        ("import time; time.sleep(60)", "within 2 s"),
    ],
)
def test_a_program_without_latencies_is_refused_before_any_work(shell, script, code, word):
    done = shell.bench("measure", "--budget", "quick", "--timeout", "2", "--out", "run", *script(code))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert word in line
    assert not (shell.folder / "run").exists()


def test_a_baseline_that_is_not_there_is_refused(shell, script):
    done = shell.bench("measure", "--baseline", "ort-cpu", "--out", "run", *script(PLAIN))
    assert done.returncode == 2
    assert "ort-cpu" in done.stderr


def test_a_program_that_fails_in_a_round_is_one_row(shell, script, null_file):
    done = shell.bench(*measure(null_file, "--out", "run", "--format", "json"), *script(FAILS_LATER))
    rows = by_backend(json.loads(done.stdout)["rows"])
    assert done.returncode == 3
    assert rows["null"]["status"] == "ok"
    assert rows["my_loop"]["status"] == "failed"
    assert "the camera was unplugged" in rows["my_loop"]["reason"]


def test_ctrl_c_ends_the_program_and_what_was_measured_stays(shell, script):
    slow = ORT_LOOP[: ORT_LOOP.index("options =")] + "for _ in ob.calls():\n        sum(range(10000))\n"
    command = shell.command("measure", "--budget", "thorough", "--out", "run", *script(slow))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **shell.popen())
    wait_for(lambda: '"block"' in read(shell.folder / "run" / "journal.jsonl"))
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"--resume" in errors
    assert children
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def read(path):
    return path.read_text() if path.exists() else ""


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_call_of_python_takes_turns_with_a_backend(tmp_path, null_file, monkeypatch):
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "cache"))
    numbers = []

    def call(inputs):
        with ob.phase("compute"):
            numbers.append(sum(inputs))

    beside = ob.Beside(model=null_file, backends=("null",))
    result = ob.measure(call, range(1000), name="mine", budget="quick", beside=beside, out=tmp_path / "run")
    rows = by_backend(result.rows)
    assert set(rows) == {"null", "mine"}
    assert rows["mine"]["status"] == "ok"
    assert rows["mine"]["compute_ms"] <= rows["mine"]["p50_ms"]
    assert rows["mine"]["samples"] < len(numbers)
    assert "mine" in str(result)


def test_a_call_that_fails_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="KeyError"):
        ob.measure(lambda inputs: inputs["image"], {}, budget="quick", out=tmp_path / "run")
    with pytest.raises(BadInput, match="is not a budget"):
        ob.measure(lambda inputs: None, {}, budget="fast", out=tmp_path / "run")
