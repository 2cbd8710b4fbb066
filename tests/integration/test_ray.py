"""`--on ray` over a local Ray cluster of labelled nodes. Needs the extra `ray`: `make test-runtimes`."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxfiles
import psutil
import pytest
from onnxbench.results.store.nodes import read_nodes
from onnxbench.results.store.record import read_run
from onnxbench.runners.prepare.checkpoints import read_record
from onnxbench.runners.worker.clock import Clock

pytestmark = pytest.mark.runtimes
NODES = Path(__file__).with_name("ray_nodes.py")
QUICK = ("--model", "net.onnx", "--backend", "null,ort-cpu", "--budget", "quick")
LONG = ("--model", "net.onnx", "--backend", "ort-cpu", "--budget", "normal", "--batch", "1")
WAIT_S = 120


@dataclass
class Driver:
    """Runs `bench` in `folder`, each command in a process of its own, with the cluster of `nodes`."""

    folder: Path
    nodes: object

    def popen(self, *arguments):
        variables = {**os.environ, "ONNXBENCH_CACHE": str(self.folder / "cache"), "RAY_ADDRESS": self.nodes.address}
        command = [sys.executable, "-m", "onnxbench.cli", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=variables, **pipes)

    def bench(self, *arguments):
        with self.popen(*arguments) as process:
            stdout, stderr = process.communicate(timeout=280)
        return SimpleNamespace(returncode=process.returncode, stdout=stdout, stderr=stderr)

    def rows(self, *arguments, code=0):
        done = self.bench(*arguments, "--format", "json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)["rows"]


class Nodes:
    """The cluster's process, and its address."""

    def __init__(self, process):
        self._process = process
        self.address, self.client_port = process.stdout.readline().split()

    def say(self, *words):
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def cluster(folder, cache):
    """A cluster without nodes for work. Ray's files are below `folder`, whose path must be short: a socket's has 107 bytes."""
    variables = {"RAY_TMPDIR": str(folder), "ONNXBENCH_CACHE": str(cache), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, str(NODES)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}
    ) as process:
        yield Nodes(process)
        process.stdin.close()
        process.wait(60)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """A folder with a model, and a cluster of the nodes cpu-a and cpu-b that `bench --on ray` finds."""
    root = tmp_path_factory.mktemp("ray")
    onnxfiles.write(root / "net.onnx", onnxfiles.dense())
    short = Path(f"/tmp/r{os.getpid()}")
    with cluster(short, root / "cache") as nodes:
        for kind in ("cpu-a", "cpu-b"):
            nodes.say("add", kind)
        yield Driver(root, nodes)
    subprocess.run(["rm", "-rf", str(short)], check=True)


def until(happened):
    clock = Clock()
    begin = clock.now_ns()
    while not happened():
        assert clock.since_s(begin) < WAIT_S
        clock.sleep_s(0.1)


def lines(folder):
    path = folder / "journal.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def runs_on_nodes():
    """Processes of a visit that are alive, of this Python: other tests may run on this machine."""
    alive = []
    for process in psutil.process_iter(["cmdline"]):
        text = " ".join(process.info["cmdline"] or ())
        is_run = "cluster.entry" in text or ("onnxbench-node-" in text and "bootstrap" in text)
        if is_run and sys.executable in text:
            alive.append(text)
    return alive


def test_one_command_has_the_table_of_both_folders(shell):
    done = shell.bench("infer", "--on", "ray", *QUICK, "--batch", "1,8", "--out", "both")
    assert done.returncode == 0, done.stderr
    folders = [f"both/{kind}" for kind in ("cpu-a", "cpu-b")]
    assert shell.bench("show", *folders).stdout == done.stdout
    assert shell.bench("show", "both").stdout == done.stdout
    rows = shell.rows("show", *folders)
    assert {(row["host"], row["backend"], row["batch"], row["status"]) for row in rows} == {
        (host, backend, batch, "ok") for host in ("cpu-a", "cpu-b") for backend in ("null", "ort-cpu") for batch in (1, 8)
    }
    assert shell.bench("infer", *QUICK, "--batch", "1,8", "--out", "alone").returncode == 0
    alone, *nodes = (read_run(shell.folder / name) for name in ("alone", *folders))
    for run in nodes:
        assert [record.key for record in run.cells] == [record.key for record in alone.cells]
        assert run.head.versions == alone.head.versions
    own = shell.rows("show", "alone")
    assert {tuple(row) for row in (*own, *rows)} == {tuple(own[0])}
    assert runs_on_nodes() == []


def test_a_recommendation_chooses_between_machines_by_their_price(shell):
    for cheap, dear in (("cpu-a", "cpu-b"), ("cpu-b", "cpu-a")):
        prices = ("--price", f"{cheap}=0.01", "--price", f"{dear}=100")
        done = shell.bench("recommend", "both", "--objective", "cost", *prices)
        assert done.returncode == 0, done.stderr
        assert f"on {cheap}" in done.stdout.splitlines()[0]


def test_a_check_runs_on_one_kind_over_a_client(shell):
    address = f"ray://127.0.0.1:{shell.nodes.client_port}"
    done = shell.bench("check", "--on", address, "--node", "b", *QUICK[:4], "--format", "json", "--out", "checked")
    assert done.returncode == 0, done.stderr
    assert {row["host"] for row in shell.rows("show", "checked")} == {"cpu-b"}


def test_a_node_measures_under_load(shell):
    """The rate within the limit depends on other work of the machine. The curve is there in any case."""
    load = ("--load", "poisson", "--slo", "p99=20ms", "--batch", "1", "--out", "loaded")
    done = shell.bench(
        "infer", "--on", "ray", "--node", "cpu-a", *QUICK[:2], "--backend", "ort-cpu", "--budget", "quick", *load
    )
    assert done.returncode == 0, done.stderr
    (cell,) = read_run(shell.folder / "loaded/cpu-a").cells
    assert all(curve.points for curve in cell.load.ways)
    assert cell.load.ways


def draw_images(path):
    """A dataset of 100 images in 10 classes."""
    draw = np.random.default_rng(0)
    np.savez(path, x=draw.integers(0, 256, (100, 8, 8), np.uint8), y=np.arange(100) % 10)


def test_a_training_has_the_rows_of_all_nodes_in_one_table(shell):
    """The weights of the first node are here afterwards, under the name of the dataset here."""
    draw_images(shell.folder / "data.npz")
    ways = ("--dataset", "npz:data.npz", "--epochs", "2", "--threads", "1", "--data-parallel", "2", "--batch-size", "20")
    done = shell.bench("train", "--on", "ray", "--node", "cpu-a,cpu-b", *ways, "--format", "json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [(row["host"], row["parallel"], row["processes"], row["status"]) for row in shown["rows"]] == [
        *(("cpu-a", None, 1, "ok"), ("cpu-a", "data", 2, "ok"), ("cpu-b", None, 1, "ok"), ("cpu-b", "data", 2, "ok"))
    ]
    first, _, second, _ = shown["rows"]
    assert first["accuracy"] == second["accuracy"]  # one seed and one dataset
    assert set(shown["hosts"]) == {"cpu-a", "cpu-b"}
    (path,) = (shell.folder / "cache/checkpoints/cnn").glob("*.safetensors")
    assert read_record(path)["dataset"] == f"npz:{shell.folder}/data.npz"
    alone = shell.rows("train", *ways[:2], "--epochs", "1")
    assert {tuple(row) for row in (*alone, *shown["rows"])} == {tuple(first)}
    assert runs_on_nodes() == []


def test_mistakes_end_in_one_sentence(shell):
    for options, part in (
        (("--on", "ray", "--node", "tpu"), "tpu"),
        (("--on", "ray", "--node", "cpu"), "cpu-a, cpu-b"),
        (("--on", "ray://127.0.0.1:1"), "127.0.0.1:1"),
        (("--on", "http://x"), "http://x"),
        (("--node", "cpu-a"), "--on"),
        (("--on", "ray", "--dry-run"), "--dry-run"),
        (("--on", "ray", "--keep-engines", "x"), "--keep-engines"),
        (("--on", "ray", "--resume", "--out", "alone"), "one machine"),
        (("--resume", "--out", "both"), "--on ray"),
    ):
        done = shell.bench("infer", *QUICK[:2], *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert part in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_a_node_of_another_version_or_without_the_runtime_has_rows_with_reasons(shell, tmp_path):
    fake = tmp_path / "onnxbench"
    fake.mkdir()
    (fake / "__init__.py").write_text('__version__ = "0.0.1"\n')
    shell.nodes.say("add", "old", tmp_path)
    rows = shell.rows("infer", "--on", "ray", "--node", "old,cpu-b", *QUICK[:2], "--backend", "null,ort-cuda", code=3)
    by_host = {host: [row for row in rows if row["host"] == host] for host in ("old", "cpu-b")}
    assert {row["status"] for row in by_host["old"]} == {"failed"}
    assert all("0.0.1" in row["reason"] for row in by_host["old"])
    assert {(row["backend"], row["status"]) for row in by_host["cpu-b"]} == {("null", "ok"), ("ort-cuda", "unavailable")}
    shell.nodes.say("kill", "old")


def test_a_free_node_goes_before_a_busy_one_and_the_first_that_is_free_before_all(shell):
    for _ in range(2):
        shell.nodes.say("add", "twin")
    quick = ("infer", "--node", "twin", *QUICK[:2], "--backend", "null", "--budget", "quick", "--batch", "1")
    shell.nodes.say("hold", "twin")
    done = shell.bench(*quick, "--on", "ray", "--timeout", "60", "--out", "free")
    assert done.returncode == 0, done.stderr
    (free,) = read_nodes(shell.folder / "free").nodes
    shell.nodes.say("hold", "twin")
    with shell.popen(*quick, "--on", "ray", "--out", "moved") as process:
        until((shell.folder / "moved/nodes.json").exists)
        (waiting,) = read_nodes(shell.folder / "moved").nodes
        shell.nodes.say("free", "twin")
        _, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr
    (moved,) = read_nodes(shell.folder / "moved").nodes
    assert waiting.id < moved.id == free.id
    shell.nodes.say("free", "twin")
    for _ in range(2):
        shell.nodes.say("kill", "twin")


def test_a_killed_node_leaves_the_other_whole_and_resume_finishes(shell):
    kinds = ("--node", "cpu-a,cpu-b")  # and no node of an earlier test, which the cluster lists until it misses its signals
    command = ("infer", "--on", "ray", *kinds, *LONG, "--out", "killed")
    with shell.popen(*command) as process:
        until(lambda: sum('"block"' in line for line in lines(shell.folder / "killed/cpu-a")) > 2)
        shell.nodes.say("kill", "cpu-a")
        stdout, stderr = process.communicate(timeout=280)
    assert process.returncode == 3, stderr
    assert "raylet" not in stdout.lower()
    rows = shell.rows("show", "killed")
    assert {row["status"] for row in rows if row["host"] == "cpu-b"} == {"ok"}
    first = read_run(shell.folder / "killed/cpu-a")
    reasons = [text for item in first.cells for text in (item.reason, *(step.reason for step in item.failed_steps)) if text]
    assert len(reasons) == len(first.cells)
    assert all("lost" in text for text in reasons)
    blocks = {item.key: set(item.blocks) for item in first.cells}
    assert any(blocks.values())
    shell.nodes.say("add", "cpu-a")
    other = lines(shell.folder / "killed/cpu-b")
    done = shell.bench("infer", "--on", "ray", "--resume", "--out", "killed")
    assert done.returncode == 0, done.stderr
    assert lines(shell.folder / "killed/cpu-b") == other
    again = read_run(shell.folder / "killed/cpu-a")
    assert all(item.status == "ok" and item.finished and blocks[item.key] <= set(item.blocks) for item in again.cells)


def test_a_node_that_is_killed_while_it_trains_has_a_row_with_the_reason(shell):
    draw_images(shell.folder / "data.npz")
    training = ("--dataset", "npz:data.npz", "--epochs", "20", "--format", "json")
    with shell.popen("train", "--on", "ray", "--node", "cpu-a,cpu-b", *training) as process:
        assert any("epoch 2/20" in line for line in process.stderr)
        shell.nodes.say("kill", "cpu-a")
        stdout, stderr = process.communicate(timeout=280)
    assert process.returncode == 3, stderr
    lost, whole = json.loads(stdout)["rows"]
    assert (lost["host"], lost["status"], whole["host"], whole["status"]) == ("cpu-a", "failed", "cpu-b", "ok")
    assert "lost" in lost["reason"]
    shell.nodes.say("add", "cpu-a")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_ends_leaves_nothing_running(shell, number):
    out = f"ended-{number.name}"
    command = ("infer", "--on", "ray", "--node", "cpu-a", *LONG, "--out", out)
    with shell.popen(*command) as process:
        until(lambda: sum('"block"' in line for line in lines(shell.folder / out / "cpu-a")) > 2)
        assert runs_on_nodes()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number), stderr
    until(lambda: not runs_on_nodes())
    assert any(item.blocks for item in read_run(shell.folder / out / "cpu-a").cells)
