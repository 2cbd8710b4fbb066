"""The side of a visit that is on a node, without a cluster: its files, its run in a process of its own, and the end of it."""

import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxfiles
import psutil
import pytest
from onnxbench.budgets import BUDGETS
from onnxbench.errors import BadInput, decode_error
from onnxbench.results.store.nodes import run_folders
from onnxbench.results.store.record import read_run
from onnxbench.runners import infer as runner
from onnxbench.runners.cluster import visitor as visitors
from onnxbench.runners.cluster.cluster import INFER, TRAIN, NodeOrder, TourRequest
from onnxbench.runners.cluster.nodes import Node
from onnxbench.runners.cluster.parcel import pack
from onnxbench.runners.cluster.tour import tour
from onnxbench.runners.cluster.training import train_on_nodes
from onnxbench.runners.infer import Surroundings
from onnxbench.runners.pool.context import Context
from onnxbench.runners.pool.pool import Local
from onnxbench.runners.pool.progress import Notes
from onnxbench.runners.prepare.checkpoints import checkpoint_path, read_record
from onnxbench.runners.prepare.train import Training
from onnxbench.spec import Sweep, to_wire


class HereVisit:
    """A visit whose node is this process."""

    def __init__(self, order, parcel):
        self.visitor = visitors.Visitor()
        self.first = self.visitor.begin(order, parcel)

    def news(self):
        news, self.first = self.first or self.visitor.poll(0.2), None
        return (news,)

    def stop(self):
        self.visitor.stop()

    def end(self):
        self.visitor.close()


class HereCluster:
    """Nodes that are all this machine."""

    def __init__(self, *kinds):
        self.kinds = kinds

    def nodes(self):
        return [Node(id=kind, labels={"kind": kind}, machine="here") for kind in self.kinds]

    def busy(self):
        return ()

    def load(self, parcel):
        self.parcel = parcel

    def start(self, node, order):
        return HereVisit(order, self.parcel)

    def wait(self, visits, limit_s):
        pass

    def close(self):
        pass


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, and a cache and a place for temporary files of its own."""
    folder = tmp_path / "here"
    (tmp_path / "tmp").mkdir()
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(visitors.tempfile, "tempdir", str(tmp_path / "tmp"))
    environment = {**os.environ, "ONNXBENCH_CACHE": str(tmp_path / "cache")}
    monkeypatch.setattr(visitors, "plain_environment", lambda: environment)
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "cache"))
    return folder


def sweep_of(**changes):
    return Sweep(**{"backends": ("null",), "batches": (1,), "budget": BUDGETS["quick"], "artifacts": "", **changes})


@pytest.mark.long  # test_ray.py shows the same over two nodes
def test_a_node_has_the_rows_of_a_run_here(here, small, monkeypatch):
    """Exported files in three precisions with a labelled dataset, all found by relative paths."""
    monkeypatch.chdir(small.folder)
    monkeypatch.setenv("ONNXBENCH_CACHE", str(small.cache))
    sweep = sweep_of(precisions=("fp32", "int8"))
    tour(TourRequest(task=INFER), sweep, Surroundings(out=here / "tour"), HereCluster("a"))
    runner.infer(sweep, Surroundings(out=here / "alone"))
    alone, run = (read_run(folder) for folder in (here / "alone", *run_folders([here / "tour"])))
    assert run.host.name == "a"
    assert [record.key for record in run.cells] == [record.key for record in alone.cells]
    assert [record.status for record in run.cells] == [record.status for record in alone.cells] == ["ok", "ok"]
    assert [record.opened.sha256 for record in run.cells] == [record.opened.sha256 for record in alone.cells]
    assert run.sweep == sweep
    assert str(here.parent / "tmp") not in (run.folder / "run.json").read_text()
    assert list((here.parent / "tmp").iterdir()) == []


@pytest.mark.long  # test_ray.py shows the same over two nodes
def test_a_node_trains_as_this_machine_does(here):
    draw = np.random.default_rng(0)
    np.savez(here / "data.npz", x=draw.integers(0, 256, (100, 8, 8), np.uint8), y=np.arange(100) % 10)
    training = Training(dataset="npz:data.npz", epochs=1, threads=0)
    around = Surroundings(out=here, progress=Notes())
    records, interrupted = train_on_nodes(TourRequest(task=TRAIN), training, around, HereCluster("a"))
    (row,) = records.results()
    assert (row.host, row.status, row.reason, row.threads, interrupted) == ("a", "ok", None, Local().threads(), False)
    record = read_record(checkpoint_path("cnn", "npz:data.npz"))
    assert record["dataset"] == f"npz:{here}/data.npz"
    assert record["epochs_done"] == [to_wire(row.epochs[0])]
    assert list((here.parent / "tmp").iterdir()) == []


def test_a_file_travels_with_its_weights_its_inputs_and_its_place(here, tmp_path):
    (here / "sub").mkdir()
    path = onnxfiles.write(here / "sub" / "net.onnx", onnxfiles.dense())
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = onnx.load(path)
    name, size = model.graph.input[0].name, model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    np.save(here / "x.npy", np.ones((1, size), np.float32))
    sweep = sweep_of(model="sub/net.onnx", inputs=((name, "x.npy"),))
    order, parcel = packed(sweep, tmp_path)
    assert set(parcel.files) == {str(here / part) for part in ("sub/net.onnx", "sub/w.bin", "x.npy")}
    visitor = visitors.Visitor()
    lines, end = all_news(visitor, order, parcel)
    visitor.close()
    assert end.error is None
    assert any('"finished"' in line for line in lines)


def packed(sweep, tmp_path):
    context = Context(logs=tmp_path / "logs", progress=Notes(), timeout_s=60)
    done = pack(sweep, context)
    return NodeOrder(task=INFER, request=to_wire(done.sweep), place=str(Path.cwd())), done.parcel


def all_news(visitor, order, parcel, meanwhile=lambda lines: None):
    news, lines = visitor.begin(order, parcel), []
    while news.end is None:
        news = visitor.poll(0.2)
        lines += news.lines
        meanwhile(lines)
    return lines, news.end


def processes_in(folder):
    """Processes that work below `folder`, or were started with its path."""
    text, alive = str(folder), []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if text in " ".join([process.cwd(), *process.cmdline()]):
                alive.append(process)
    return alive


@pytest.fixture
def long_run(here, tmp_path):
    """A run on the null backend that would take a minute: its order and its files."""
    onnxfiles.write(here / "net.onnx", onnxfiles.dense())
    slow = replace(BUDGETS["quick"], looks=(600,), block_ms=50, rate_ms=50, cell_s=60)
    return packed(sweep_of(model="net.onnx", budget=slow), tmp_path)


def test_a_stopped_run_ends_after_its_block(long_run, tmp_path):
    visitor, requests = visitors.Visitor(), []

    def stop_once(lines):
        if not requests and sum('"block"' in line for line in lines) > 2:
            requests.append(visitor.stop())

    # As in a worker of Ray, which blocks the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        _, end = all_news(visitor, *long_run, stop_once)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    assert end.error["type"] == "Interrupted"
    visitor.close()
    assert processes_in(tmp_path / "tmp") == []


@pytest.mark.long
def test_a_killed_run_is_an_error_and_leaves_no_process(long_run, tmp_path):
    visitor, killed = visitors.Visitor(), []

    def kill(lines):
        if not killed and any('"block"' in line for line in lines):
            killed.append(visitor._process.pid)
            os.kill(visitor._process.pid, signal.SIGKILL)

    _, end = all_news(visitor, *long_run, kill)
    assert "SIGKILL" in str(decode_error(end.error))
    visitor.close()
    assert processes_in(tmp_path / "tmp") == []


def test_closing_ends_a_run_and_the_next_visit_removes_what_a_killed_one_left(long_run, tmp_path):
    order, parcel = long_run
    visitor = visitors.Visitor()
    visitor.begin(order, parcel)
    while not any('"block"' in line for line in visitor.poll(0.2).lines):
        pass
    visitors.remove_leftovers()
    assert visitor._folder.exists()  # its lock shows that it lives
    left = tmp_path / "tmp" / "onnxbench-node-left"
    left.mkdir()
    (left / visitors.LOCK).touch()
    visitors.remove_leftovers()
    assert not left.exists()
    visitor.close()
    assert processes_in(tmp_path / "tmp") == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_node_without_a_disk_says_so(long_run, tmp_path):
    (tmp_path / "tmp").rmdir()
    news = visitors.Visitor().begin(*long_run)
    assert news.end.error["type"] == "StorageFailed"


def test_what_cannot_travel_is_refused_at_once(here, tmp_path):
    onnxfiles.write(here / "net.onnx", onnxfiles.dense())
    (here / "list.csv").write_text("a.png,0\n")
    for change in (
        {"dataset": "images:list.csv?size=8"},
        {"model": None, "models": ("net.onnx", "torchvision:resnet18"), "random_weights": True},
        {"model": "absent.onnx"},
    ):
        with pytest.raises(BadInput):
            packed(sweep_of(**{"model": "net.onnx", **change}), tmp_path)


def test_variables_of_ray_do_not_reach_the_run(tmp_path):
    (tmp_path / "environ").write_bytes(b"HOME=/root\0RAY_JOB_ID=1\0X=a=b\0")
    assert visitors.plain_environment(str(tmp_path / "environ")) == {"HOME": "/root", "X": "a=b"}
