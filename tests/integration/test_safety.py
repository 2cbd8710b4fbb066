"""Limits of a folder, a file and a worker: each test fails without one of the promises of SECURITY.md."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import onnxfiles
import psutil
import pytest
from onnxbench.errors import BenchError, WorkerDied, WorkerTimeout
from onnxbench.models import onnx_file
from onnxbench.runners.pool import environments
from onnxbench.runners.pool.process import ProcessWorker
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.jobs import Probe
from onnxbench.runners.worker.tasks import TASKS
from onnxfiles import MINI

REQUIRED = os.environ.get("BENCH_REQUIRE", "").split(",")
BENCH = Path(sys.executable).with_name("bench")
PLANTED = ("tensorrt", "cuda", "tqdm", "google", "numpy", "onnx", "torch", "onnxruntime", "rich", "psutil", "scipy", "yaml")


def run(shell, *arguments, timeout=240):
    """`bench` as it is installed: `python -m` would put the current folder first by itself."""
    return subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **shell.popen())


def one_sentence(done, code=2):
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("bench: ")
    return done.stderr.splitlines()[-1]


# --- the network -----------------------------------------------------------------------------------------------------

WATCH = """
import os, socket, sys
def seen(event, arguments):
    worker = sys.argv and sys.argv[0].endswith("bootstrap.py")
    if event == "import" and worker and str(arguments[0]).startswith("onnxbench.") and arguments[0] not in done:
        done.add(arguments[0])
        with socket.socket() as line:
            line.settimeout(2)
            found = line.connect_ex(("127.0.0.1", int(os.environ["PORT"])))
        with open(os.environ["SEEN"], "a") as file:
            file.write(f"{arguments[0].rpartition('.')[2]} {'open' if found == 0 else 'isolated'}\\n")
done = set()
sys.addaudithook(seen)
"""
"""Tries to connect whenever a worker loads a module of its jobs, after it has left the network, if it has."""


@pytest.fixture
def listening(shell):
    """A port of this machine that listens, and the file to which workers write whether they reached it."""
    site = shell.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(WATCH)
    # Nobody accepts, and a connection that the queue has no room for looks like a missing network.
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        shell.environment |= {"PORT": str(server.getsockname()[1]), "SEEN": str(shell.folder / "seen")}
        shell.environment["PYTHONPATH"] = os.pathsep.join([str(site), *filter(None, sys.path)])
        yield shell


def isolates(tmp_path):
    """True if this system lets a worker leave the network."""
    with ProcessWorker(tmp_path / "probe.log", Clock(), network=False) as worker:
        worker.ask(Probe(backend="null"), 60)
        return worker.network == "isolated"


def needs_namespaces(tmp_path):
    if not isolates(tmp_path):
        refuse = pytest.fail if "namespaces" in REQUIRED else pytest.skip
        refuse("this system has no network namespaces for us")


def test_each_job_has_the_network_that_it_declares(listening, tmp_path, monkeypatch):
    needs_namespaces(tmp_path)
    for name, value in listening.environment.items():
        monkeypatch.setenv(name, value)
    seen = Path(listening.environment["SEEN"])
    # One process for each module and network: a process leaves the network before its first job, and cannot come back.
    groups = {(task.network, task.kind().__module__): [] for task in TASKS}
    for task in TASKS:
        groups[task.network, task.kind().__module__].append(task.kind())
    for (network, _), kinds in groups.items():
        seen.unlink(missing_ok=True)
        with ProcessWorker(tmp_path / "log", Clock(), network=network) as worker:
            for kind in kinds:
                # A request that lacks everything fails, and its module is loaded all the same. Without fields it is complete.
                with pytest.raises(BenchError) if fields(kind) else nullcontext():
                    worker.ask(kind(**{item.name: None for item in fields(kind)}), 60)
                assert worker.network == ("open" if network else "isolated")
        assert {line.split()[1] for line in seen.read_text().splitlines()} == {worker.network}


def test_commands_give_jobs_what_they_declare_and_the_record_says_so(listening, tmp_path):
    """A factory may fetch its weights; a file of somebody else's is opened without a network."""
    needs_namespaces(tmp_path)
    (listening.folder / "mine.py").write_text(
        "import os, socket, torch\n"
        "def build():\n"
        "    with socket.create_connection(('127.0.0.1', int(os.environ['PORT'])), 2):\n"
        "        return torch.nn.Linear(4, 2)\n"
    )
    done = run(listening, "export", "--model", "mine:build", "--shape", "x=1x4", "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    path = onnxfiles.write(listening.folder / "theirs.onnx", onnxfiles.dense())
    Path(listening.environment["SEEN"]).unlink()
    asked = ("--model", path, "--backend", "ort-cpu", "--precision", "fp32,int8", "--batch", "1", *MINI, "--out", "run")
    assert run(listening, "infer", *asked).returncode == 0
    tried = Path(listening.environment["SEEN"]).read_text().split("\n")
    assert {line.split()[1] for line in tried if line} == {"isolated"}
    head = json.loads((listening.folder / "run/run.json").read_text())
    assert set(head["networks"]) >= {"ort-cpu", "describe", "convert"}
    assert set(head["networks"].values()) == {"isolated"}
    events = [json.loads(line) for line in (listening.folder / "run/journal.jsonl").read_text().splitlines()]
    assert {event["network"] for event in events if event["event"] == "drawn"} == {"isolated"}


# --- code from the current folder ------------------------------------------------------------------------------------

COMMANDS = (
    ("backends",),
    ("export", "--model", "tiny.onnx", "--precision", "fp32,int8"),
    ("infer", "--model", "tiny.onnx", "--backend", "ort-cpu", "--batch", "1", *MINI, "--out", "run"),
    ("infer", "--out", "run", "--resume"),
    ("infer", "--model", "tiny.onnx", "--backend", "null", "--dry-run"),
    ("check", "--model", "tiny.onnx", "--backend", "ort-cpu"),
    ("train", "--dataset", "npz:few.npz", "--epochs", "1"),
    ("show", "run"),
    ("compare", "run", "run"),
    ("recommend", "run"),
    ("report", "run", "--out", "report.html"),
    ("import", "nothing.json", "--out", "imported"),
    ("cache",),
)


def test_no_command_runs_a_module_that_lies_in_the_current_folder(shell):
    mark = f"open({str(shell.folder / 'OWNED')!r}, 'a').write(__name__ + '\\n')\n"
    for name in PLANTED:
        (shell.folder / f"{name}.py").write_text(mark)
    (shell.folder / "nothing.json").write_text("{}")
    onnxfiles.write(shell.folder / "tiny.onnx", onnxfiles.dense())
    np.savez(shell.folder / "few.npz", x=np.zeros((40, 8, 8), np.uint8), y=np.arange(40) % 10)
    for command in COMMANDS:
        done = run(shell, *command)
        assert done.returncode in (0, 2 if command[0] == "import" else 0), (command, done.stderr)
    assert not (shell.folder / "OWNED").exists()


# --- identity --------------------------------------------------------------------------------------------------------


def in_a_constant(folder):
    """A file whose weights are in a Constant of a subgraph, kept beside it."""
    helper, value = onnx.helper, onnxfiles.value
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["w"], value=onnxfiles.weights("w"))], "b", [], [value("w", 1, [4, 2])]
    )
    nodes = [
        helper.make_node("If", ["c"], ["k"], then_branch=branch, else_branch=branch),
        helper.make_node("MatMul", ["x", "k"], ["y"]),
    ]
    truth = onnx.numpy_helper.from_array(np.array(True), "c")
    made = helper.make_graph(nodes, "g", [value("x", 1, ["N", 4])], [value("y", 1, ["N", 2])], [truth])
    path = onnxfiles.write(folder / "model.onnx", made)
    model = onnx.load(path)
    data = b""
    for graph in (model.graph.node[0].attribute[0].g, model.graph.node[0].attribute[1].g):
        tensor = graph.node[0].attribute[0].t
        entries = {"location": "w.bin", "offset": str(len(data)), "length": str(len(tensor.raw_data))}
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for name, text in entries.items():
            tensor.external_data.add(key=name, value=text)
    (folder / "w.bin").write_bytes(data)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_anywhere_in_a_file_are_part_of_its_hash_and_of_its_copy(shell):
    path = in_a_constant(shell.folder)
    assert onnx_file.external_files(path) == [shell.folder / "w.bin"]
    before = onnx_file.file_hash(path)
    (shell.folder / "w.bin").write_bytes((shell.folder / "w.bin").read_bytes()[::-1])
    assert onnx_file.file_hash(path) != before
    done = run(shell, "export", "--model", path, "--precision", "fp32", "--out", "copied")
    assert done.returncode == 0, done.stderr
    assert len(list((shell.folder / "copied").rglob("w.bin"))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "int8"},
        {"path": "../small.onnx"},
        {"path": "/etc/passwd"},
        {"nbytes": "many"},
        {"inputs": 5},
        {"opset": float("nan")},
    ],
    ids=str,
)
def test_a_manifest_that_says_otherwise_is_not_believed(small, change):
    path = small.folder / "artifacts/manifest.json"
    manifest = json.loads(path.read_text())
    shutil.copy(small.folder / "artifacts/small.onnx", small.folder / "small.onnx")
    manifest["artifacts"][0]["artifact"] |= change
    path.write_text(json.dumps(manifest))
    one_sentence(run(small, "infer", "--backend", "ort-cpu", *MINI))


# --- comparisons that tell nothing -----------------------------------------------------------------------------------


def test_a_reference_of_zeros_proves_nothing(shell):
    nodes = [onnx.helper.make_node("Mul", ["x", "zero"], ["y"])]
    zero = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "zero")
    ends = [onnxfiles.value(name, 1, ["N", 4]) for name in "xy"]
    path = onnxfiles.write(shell.folder / "zeros.onnx", onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], [zero]))
    done = shell.bench(
        "infer", "--model", path, "--backend", "ort-cpu", "--batch", "1", *MINI, "--out", "run", "--format", "json"
    )
    (row,) = json.loads(done.stdout)["rows"]
    assert (done.returncode, row["status"]) == (3, "undetermined")
    assert row["p50_ms"] > 0
    assert shell.bench("recommend", "run").returncode == 1
    assert shell.bench("check", "--model", path, "--backend", "ort-cpu").returncode == 1


# --- workers that write, fork or ignore the protocol -----------------------------------------------------------------


@pytest.fixture
def worker_of(tmp_path):
    """Starts a worker whose interpreter is a Python program with these lines; `answer` writes to the pipe."""

    def start(lines):
        program = tmp_path / "python"
        begin = f"#!{sys.executable}\nimport json, os, sys, time\nanswer = os.fdopen(int(sys.argv[4]), 'w')\n"
        body = begin + textwrap.dedent(lines)
        program.write_text(body)
        program.chmod(0o755)
        return ProcessWorker(tmp_path / "log", Clock(), str(program))

    return start


def held_mb():
    return psutil.Process().memory_info().rss / 1e6


@pytest.mark.parametrize(
    ("lines", "limit_s", "error"),
    [
        ("while True: answer.write('x' * 65536)", 8, WorkerDied),
        ("while True:\n    answer.write('x'); answer.flush(); time.sleep(0.05)", 4, WorkerTimeout),
        ("while True: answer.write(json.dumps({'event': {}}) + '\\n')", 60, WorkerDied),
        ("while True: os.write(1, b'x' * 65536)", 8, (WorkerDied, WorkerTimeout)),
        ("answer.write('[1, 2]\\n'); answer.flush(); time.sleep(60)", 8, WorkerDied),
        ("answer.write('{\"ok\": 5}\\n'); answer.flush(); time.sleep(60)", 8, WorkerDied),
        ("answer.write('{\"error\": {}}\\n'); answer.flush(); time.sleep(60)", 8, WorkerDied),
        ("answer.write('nothing\\n'); answer.flush(); time.sleep(60)", 8, WorkerDied),
    ],
    ids=["no newline", "slowly", "events", "its log", "a list", "a number", "half an error", "no JSON"],
)
def test_a_worker_that_writes_what_it_likes_is_ended_in_time(worker_of, lines, limit_s, error):
    before, begin = held_mb(), time.monotonic()
    with worker_of(lines) as worker:
        with pytest.raises(error):
            worker.ask(Probe(backend="null"), min(limit_s, 8))
        assert gone(worker._process.pid, limit_s=0.1)
    assert time.monotonic() - begin < limit_s + 10
    assert held_mb() - before < 150


def test_an_interpreter_that_prints_without_end_is_refused_at_once(tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec yes 42\n")
    program.chmod(0o755)
    before, begin = held_mb(), time.monotonic()
    with pytest.raises(BenchError, match="is not a Python 3"):
        environments.interpreter(str(program))
    assert time.monotonic() - begin < 5
    assert held_mb() - before < 20


LIAR = """#!{python}
import os, sys
if "-c" in sys.argv:
    print(42)
    sys.exit()
answers = os.fdopen(int(sys.argv[sys.argv.index("-u") + 3]), "w")
for _ in os.fdopen(int(sys.argv[sys.argv.index("-u") + 2])):
    answers.write({answer!r} + "\\n")
    answers.flush()
"""


@pytest.mark.parametrize("answer", ['{"ok": {}}', '{"ok": {"available": true, "devices": 5, "reason": ""}}', '{"event": {}}x'])
def test_an_interpreter_that_answers_something_else_is_a_row(shell, null_file, answer):
    program = shell.folder / "liar"
    program.write_text(LIAR.format(python=sys.executable, answer=answer))
    program.chmod(0o755)
    asked = ("--model", null_file, "--backend", "null,null@liar", "--python", f"null@liar={program}", "--batch", "1", *MINI)
    done = run(shell, "infer", *asked, "--format", "json", timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
    rows = {row["environment"]: row["status"] for row in json.loads(done.stdout)["rows"]}
    assert rows == {None: "ok", "liar": "unavailable"}


FORKS = """
child = os.fork()
if child == 0:
    time.sleep(300)
    os._exit(0)
open({mark!r}, 'w').write(str(child))
"""


def gone(pid, limit_s=5):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_what_a_worker_forked_ends_with_it_and_its_own_end_is_seen_at_once(worker_of, tmp_path):
    """The child holds the pipe open, so that no end of file tells of the worker's death."""
    mark, begin = tmp_path / "child", time.monotonic()
    with worker_of(FORKS.format(mark=str(mark)) + "os._exit(7)\n") as worker, pytest.raises(WorkerDied, match="exit code 7"):
        worker.ask(Probe(backend="null"), 60)
    assert time.monotonic() - begin < 10
    assert gone(int(mark.read_text()))


def test_a_factory_that_forks_leaves_nobody(shell):
    (shell.folder / "mine.py").write_text(
        "import os, time, torch\n"
        "def build():\n"
        "    if os.fork() == 0:\n"
        "        open(f'child-{os.getpid()}', 'w').close()\n"
        "        time.sleep(300)\n"
        "        os._exit(0)\n"
        "    return torch.nn.Linear(4, 2)\n"
    )
    done = run(shell, "export", "--model", "mine:build", "--shape", "x=1x4", "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    children = [int(path.name.partition("-")[2]) for path in shell.folder.glob("child-*")]
    assert children
    assert all(map(gone, children))


def test_a_program_that_ignores_the_protocol_dies_with_its_parent(tmp_path):
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(300)\n"
    )
    program.chmod(0o755)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom onnxbench.runners.pool.process import ProcessWorker\n"
        "from onnxbench.runners.worker.clock import Clock\n"
        f"worker = ProcessWorker(Path({str(tmp_path / 'log')!r}), Clock(), {str(program)!r})\ntime.sleep(300)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert gone(int((tmp_path / "pid").read_text()))


# --- links, pipes and devices ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [".lock", "journal.jsonl", "samples", "scratch", "logs", "logs/null.log"])
def test_nothing_is_written_through_a_link_in_a_run_folder(shell, null_file, place):
    victim = shell.folder / "victim"
    folder = place in ("samples", "scratch", "logs")
    victim.mkdir() if folder else victim.write_text("precious")
    link = shell.folder / "run" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    done = run(shell, "infer", "--model", null_file, "--backend", "null", *MINI, "--out", "run")
    one_sentence(done, 3 if "null.log" in place else 2)
    assert list(victim.iterdir()) == [] if folder else victim.read_text() == "precious"


@pytest.mark.parametrize("place", [".lock", "journal.jsonl"])
def test_a_pipe_in_a_run_folder_is_refused_and_not_waited_for(shell, null_file, place):
    (shell.folder / "run").mkdir()
    os.mkfifo(shell.folder / "run" / place)
    one_sentence(run(shell, "infer", "--model", null_file, "--backend", "null", *MINI, "--out", "run", timeout=60))


def test_samples_are_not_written_through_a_link(shell, null_file):
    asked = ("infer", "--model", null_file, "--backend", "null", "--batch", "1", *MINI, "--out")
    assert run(shell, *asked, "first").returncode == 0
    (shell.folder / "victim").write_text("precious")
    (shell.folder / "run/samples").mkdir(parents=True)
    for file in (shell.folder / "first/samples").iterdir():  # the same cell has the same names
        (shell.folder / "run/samples" / file.name).symlink_to(shell.folder / "victim")
    assert run(shell, *asked, "run").returncode == 0
    assert (shell.folder / "victim").read_text() == "precious"


def test_a_report_is_written_into_a_pipe_and_a_device_and_not_over_a_link(small):
    os.mkfifo(small.folder / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((small.folder / "pipe").read_bytes()))
    reader.start()
    assert run(small, "report", "run", "--out", "pipe", "--format", "csv").returncode == 0
    reader.join(10)
    assert read[0].startswith(b"host,")
    assert run(small, "report", "run", "--out", "/dev/null", "--format", "csv").returncode == 0
    assert Path("/dev/null").is_char_device()
    (small.folder / "victim.csv").write_text("precious")
    (small.folder / "link.csv").symlink_to(small.folder / "victim.csv")
    assert "is a link" in one_sentence(run(small, "report", "run", "--out", "link.csv"))
    assert (small.folder / "victim.csv").read_text() == "precious"


def test_a_full_disk_leaves_no_half_of_a_report(small):
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))}
    command = [BENCH, "report", "run", "--out", "report.csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **limit, **small.popen())
    one_sentence(done, 3)
    assert [path.name for path in small.folder.iterdir() if "report" in path.name] == []


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_behind_a_stream_is_no_traceback(small, stream):
    with Path("/dev/full").open("w") as full:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = subprocess.run([BENCH, "show", "run"], text=True, timeout=60, **pipes, **small.popen())
    assert "Traceback" not in (done.stderr or "")
    assert done.returncode == (3 if stream == "stdout" else 0)


def test_a_path_that_is_too_long_and_a_folder_that_is_gone_are_one_sentence(small):
    one_sentence(run(small, "show", "x" * 5000))
    one_sentence(run(small, "report", "run", "--out", "x" * 300 + ".csv"), 3)
    code = "import os, subprocess, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); " + (
        f"sys.exit(subprocess.run([{str(BENCH)!r}, 'infer', '--model', 'm.onnx', '--backend', 'null']).returncode)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **small.popen())
    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr


def test_few_file_handles_are_one_sentence(small, null_file):
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))}
    command = [BENCH, "infer", "--model", str(null_file), "--backend", "null,ort-cpu,openvino-cpu", *MINI]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **limit, **small.popen())
    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr


# --- what is passed on -----------------------------------------------------------------------------------------------


def test_what_is_passed_on_has_no_formula_and_no_folder(small):
    head = json.loads((small.folder / "run/run.json").read_text())
    for number, cell in enumerate(head["cells"]):
        head["cells"][number] = {**cell, "model": '=HYPERLINK("http://x")'}
    head["cells"] = [{**cell, "key": key} for cell, key in zip(head["cells"], keys_of(small.folder / "run"))]
    (small.folder / "run/run.json").write_text(json.dumps({**head, "schema": 3}))
    table = run(small, "show", "run", "--format", "csv").stdout
    assert "'=HYPERLINK" in table
    for name in ("out.csv", "out.md", "out.html"):
        assert run(small, "report", "run", "--out", name).returncode == 0
        text = (small.folder / name).read_text()
        assert "/data/example" not in text
        assert "images.npz" in text


def keys_of(folder):
    """The keys of a run's cells, in the order of its head."""
    from onnxbench.results.store import record

    shown = record.read_run(folder)
    return [cell.key for cell in shown.cells]


def test_a_program_that_is_pasted_says_whose_it_is(small):
    program = run(small, "recommend", "run").stdout.partition("to paste:\n\n")[2]
    assert "read it before you run it" in program.splitlines()[0]


# --- damaged runs ----------------------------------------------------------------------------------------------------

DAMAGES = {
    **{f"head {name}": ("head", name) for name in ("host", "versions", "networks", "instruments", "sweep", "cells", "schema")},
    **{f"sweep {name}": ("sweep", name) for name in ("backends", "batches", "budget", "timeout_s", "threads", "pythons")},
    **{
        f"{kind} {name}": (kind, name)
        for kind, name in (
            ("opened", "info"),
            ("verified", "sqnr_db"),
            ("warm", "concurrency"),
            ("block", "round"),
            ("block", "throughput"),
            ("block", "p50_ns"),
            ("stopped", "half_width"),
        )
    },
}


@pytest.mark.parametrize("value", ["text", [1], float("nan")], ids=["text", "list", "NaN"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_one_sentence_or_as_before(small, damage, value, monkeypatch):
    from click.testing import CliRunner
    from onnxbench.cli import main

    where, name = DAMAGES[damage]
    folder = small.folder / "run"
    if where in ("head", "sweep"):
        head = json.loads((folder / "run.json").read_text())
        (head if where == "head" else head["sweep"])[name] = value
        (folder / "run.json").write_text(json.dumps(head))
    else:
        lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
        next(line for line in lines if line["event"] == where)[name] = value
        (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.chdir(small.folder)
    for command in (["show", "run"], ["recommend", "run"], ["compare", "run", "run"]):
        done = CliRunner().invoke(main, command)
        assert done.exception is None or isinstance(done.exception, SystemExit), (command, done.exception)
        assert done.exit_code in (0, 1, 2)
        if done.exit_code == 2:
            assert len(done.stderr.splitlines()) == 1


RESUMED = (
    "head host",
    "head versions",
    "head cells",
    "head sweep",
    "sweep budget",
    "sweep timeout_s",
    "opened info",
    "verified sqnr_db",
    "warm concurrency",
    "block round",
    "block throughput",
    "stopped half_width",
)


@pytest.mark.long
def test_damaged_runs_are_resumed_or_refused_in_one_sentence(small, monkeypatch):
    from click.testing import CliRunner
    from onnxbench.cli import main

    monkeypatch.chdir(small.folder)
    monkeypatch.setenv("ONNXBENCH_CACHE", str(small.cache))
    shutil.copytree(small.folder / "run", small.folder / "whole")
    asked = ["--backend", "null", "--batch", "1", "--precision", "fp32", *MINI]
    for damage in RESUMED:  # with options, and without where these are what is damaged
        where, name = DAMAGES[damage]
        shutil.rmtree(small.folder / "run")
        folder = Path(shutil.copytree(small.folder / "whole", small.folder / "run"))
        if where in ("head", "sweep"):
            head = json.loads((folder / "run.json").read_text())
            (head if where == "head" else head["sweep"])[name] = ["x", {}]
            (folder / "run.json").write_text(json.dumps(head))
        else:
            lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
            next(line for line in lines if line["event"] == where)[name] = ["x", {}]
            (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for more in [*([[]] if where == "sweep" else []), asked]:
            done = CliRunner().invoke(main, ["infer", "--out", "run", "--resume", *more])
            assert done.exception is None or isinstance(done.exception, SystemExit), (damage, more, repr(done.exception))
            fine = (0, 2) if where == "sweep" and more else (2,)  # the command line says what to measure
            assert done.exit_code in fine, (damage, more, done.exit_code, done.stderr)


# --- smaller ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("--timeout", "nan"), ("--timeout", "inf"), ("--seed", "-1")], ids=" ".join)
def test_numbers_that_are_none_are_refused(shell, null_file, words):
    done = run(shell, "infer", "--model", null_file, "--backend", "null", *words)
    assert done.returncode == 2
    assert words[0] in done.stderr


def test_a_file_whose_name_is_no_utf_8_gets_the_true_reason(shell):
    path = os.fsencode(shell.folder / "m") + b"\xff.onnx"
    shutil.copy(os.fsencode(onnxfiles.write(shell.folder / "tiny.onnx", onnxfiles.dense())), path)
    done = subprocess.run(
        [BENCH, "infer", "--backend", "null", "--model", path], capture_output=True, timeout=60, **shell.popen()
    )
    assert done.returncode == 2
    assert b"UTF-8" in done.stderr


def test_sigterm_prints_the_table_and_leaves_no_scratch(shell, null_file):
    asked = (
        "infer",
        "--model",
        null_file,
        "--backend",
        "null",
        "--batch",
        "1,8",
        "--budget",
        "normal",
        "--option",
        "work=20000",
    )
    process = subprocess.Popen(
        [BENCH, *map(str, asked), "--out", "run", "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **shell.popen(),
    )
    journal = shell.folder / "run/journal.jsonl"
    while not (journal.exists() and journal.read_text().count('"block"') >= 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(json.loads(out)["rows"]) == 2
    assert not (shell.folder / "run/scratch").exists()
