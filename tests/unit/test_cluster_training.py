"""A training on the nodes of a cluster: the rows of all nodes, whatever happens to one of them."""

import json
import signal
from itertools import repeat

import pytest
from onnxbench.errors import BadInput, Interrupted, NodeLost
from onnxbench.evidence import Epoch
from onnxbench.results.table import training as tables
from onnxbench.results.table.training import RankResult, Result
from onnxbench.runners.cluster.cluster import TRAIN, End, News, TourRequest
from onnxbench.runners.cluster.training import check, train_on_nodes
from onnxbench.runners.infer import Surroundings
from onnxbench.runners.prepare import checkpoints
from onnxbench.runners.prepare.parallel import Parallel
from onnxbench.runners.prepare.train import TRAINING_INTERRUPTED, Training
from onnxbench.runners.worker.clock import Clock
from onnxbench.spec import from_wire, to_wire

from .fake_cluster import FakeCluster, ended, node
from .in_process import Notes
from .test_cluster import Ticking

NO_STEPS = RankResult(peak_memory_mb=1.0, steps=0, wall_s=0.0, communication_s=0.0)
TWO = Training(precisions=("fp32", "bf16"), threads=0)


def row(precision="fp32", status="ok", seconds=2.0, **more):
    rates = {"train_per_s": 100 / seconds, "test_per_s": 9.0}
    epochs = tuple(Epoch(seconds=time_s, **rates) for time_s in (9.0, seconds))
    reason = None if status == "ok" else TRAINING_INTERRUPTED
    own = {"epochs": epochs, "torch": "2.9", "threads": 2} if status == "ok" else {}
    return Result(device="cpu", precision=precision, status=status, reason=reason, **{**own, **more})


def rows(*items, **more):
    """News with rows of a training."""
    return News(results=json.dumps(list(map(to_wire, items))), **more)


def checkpoint(model="cnn", dataset="digits"):
    """The bytes of a checkpoint without weights."""
    record = json.dumps({"model": model, "dataset": dataset})
    header = json.dumps({"__metadata__": {"onnxbench": record}}).encode()
    return len(header).to_bytes(8, "little") + header


def done(*items, weights=b""):
    """The script of a node that trains these rows."""
    return lambda order: [rows(row("fp32", "failed"), row("bf16", "failed")), rows(*items), News(end=End(), weights=weights)]


def go(cluster, training=TWO, **request):
    around = Surroundings(out=None, progress=Notes(), clock=Clock(now_ns=Ticking(), cpu_ns=lambda: 0))
    return train_on_nodes(TourRequest(**{"task": TRAIN, **request}), training, around, cluster)


def test_the_table_has_the_rows_of_all_nodes(cache_folder):
    both = row(), row("bf16", seconds=4.0)
    cluster = FakeCluster([node("1", "a"), node("2", "b", cpu="Fast CPU", cpus=8)], dict.fromkeys("12", done(*both)))
    records, interrupted = go(cluster)
    assert not interrupted
    table = tables.build(records.results(), TWO.head(), records.hosts())
    assert [(line["host"], line["precision"], line["speedup"]) for line in table.rows] == [
        *(("a", "fp32", 1.0), ("a", "bf16", 0.5), ("b", "fp32", 1.0), ("b", "bf16", 0.5))
    ]
    assert table.fields[0].name == "host"
    assert table.head["hosts"] == {"a": "Test CPU, 1 CPUs", "b": "Fast CPU, 8 CPUs"}
    assert "b: Fast CPU, 8 CPUs · 2 threads · PyTorch 2.9" in table.facts
    alone = tables.build(both, TWO.head())
    assert alone.names == table.names
    assert {line["host"] for line in alone.rows} == {None}
    (order, _) = (visit.order for visit in cluster.visits)
    assert from_wire(Training, order.request) == TWO


def test_a_node_that_dies_keeps_its_rows_and_the_others_have_the_reason():
    lost = NodeLost("the node was lost")
    script = [rows(row(), row("bf16", "failed")), lost]
    records, _ = go(FakeCluster([node("1", "a"), node("2", "b", unfit="the node has Python 3.9")], {"1": lambda order: script}))
    assert [(item.host, item.precision, item.status, item.reason) for item in records.results()] == [
        ("a", "fp32", "ok", None),
        ("a", "bf16", "failed", "the node was lost"),
        ("b", "fp32", "failed", "the node has Python 3.9"),
        ("b", "bf16", "failed", "the node has Python 3.9"),
    ]


def test_a_busy_node_and_an_error_of_its_training_are_rows():
    cluster = FakeCluster(
        [node("1", "a"), node("2", "b")],
        {"1": lambda order: repeat(None), "2": lambda order: [ended(BadInput("too few cores", "less"))]},
    )
    records, _ = go(cluster)
    found = {item.host: (item.status, item.reason) for item in records.results()}
    assert found["a"][0] == "timeout"
    assert found["b"] == ("failed", "too few cores; less")


@pytest.mark.parametrize(
    "text",
    [
        *("{", "3", "[3]", '[{"device": "cpu"}]', '[{"device": 1, "precision": "fp32", "status": "ok"}]'),
        json.dumps([to_wire(row(parallel="data", ranks=(NO_STEPS,)))]),
        json.dumps([{**to_wire(row()), "epochs": [{"seconds": float("nan"), "train_per_s": 1.0, "test_per_s": 1.0}]}]),
    ],
)
def test_a_node_with_wrong_rows_spoils_its_own_alone(text):
    cluster = FakeCluster([node("1", "a"), node("2", "b")], {"1": lambda order: [News(results=text)], "2": done(row())})
    records, _ = go(cluster, Training(threads=0))
    assert [(item.host, item.status) for item in records.results()] == [("a", "failed"), ("b", "ok")]
    assert "version" in records.results()[0].reason


def test_a_node_cannot_take_the_name_of_another_one():
    records, _ = go(FakeCluster([node("1", "a")], {"1": done(row(host="b"))}))
    assert records.results()[0].host == "a"


def test_the_first_weights_are_kept_as_those_of_this_machine(cache_folder):
    failed = [row("fp32", "failed"), row("bf16", "failed")]
    scripts = {
        "1": done(*failed, weights=checkpoint(dataset="bad")),
        "2": done(row(), weights=checkpoint()),
        "3": done(row(), weights=checkpoint() + b" "),
    }
    go(FakeCluster([node("1", "a"), node("2", "b"), node("3", "c")], scripts))
    path = checkpoints.checkpoint_path("cnn", "digits")
    assert path.read_bytes() == checkpoint()
    for weights in (b"\0" * 9, checkpoint("other"), checkpoint(dataset="npz:/x")):
        records, _ = go(FakeCluster([node("1", "a")], {"1": done(row(), weights=weights)}))
        assert [item.status for item in records.results()] == ["ok"]
        assert path.read_bytes() == checkpoint()
        assert len(list(path.parent.iterdir())) == 1


def test_the_files_of_a_dataset_travel_and_its_name_stays(tmp_path, cache_folder):
    (tmp_path / "data.npz").write_bytes(b"arrays")
    cluster = FakeCluster([node("1", "a")], {"1": done(row())})
    go(cluster, Training(dataset=f"npz:{tmp_path}/data.npz"))
    (visit,) = cluster.visits
    assert list(cluster.parcel.files) == [f"{tmp_path}/data.npz"]
    there = from_wire(Training, visit.order.request)
    assert there.dataset == f"npz:{tmp_path}/data.npz"
    assert there.place.endswith(f"/files{tmp_path}/data.npz")
    assert there.source == f"npz:{there.place}"
    assert (there.data().name, there.data().place.path) == (there.dataset, there.place)


def test_a_dataset_or_a_kind_that_is_not_there_is_refused_before_any_visit(tmp_path):
    cluster = FakeCluster([node("1", "a")], {})
    with pytest.raises(BadInput):
        go(cluster, kinds=("tpu",))
    assert cluster.visits == []
    for training in (Training(dataset=f"npz:{tmp_path}/x.npz"), Training(parallel=Parallel(data=(2,)), batch_size=63)):
        with pytest.raises(BadInput):
            check(training)
    check(TWO)


def test_ctrl_c_leaves_the_rows_of_all_nodes_and_a_second_one_too():
    nodes = [node("1", "a"), node("2", "b", machine="1")]
    begun = rows(row(), row("bf16", "failed"))
    cluster = FakeCluster(nodes, {"1": lambda order: [begun, None, ended(Interrupted("stopped by Ctrl-C"))]})
    cluster.at_wait[2] = lambda: signal.raise_signal(signal.SIGINT)
    records, interrupted = go(cluster)
    assert interrupted
    assert [(item.host, item.status, item.reason) for item in records.results()] == [
        ("a", "ok", None),
        ("a", "failed", "stopped by Ctrl-C"),
        ("b", "failed", "stopped by Ctrl-C"),
        ("b", "failed", "stopped by Ctrl-C"),
    ]
    again = FakeCluster(nodes[:1], {"1": lambda order: [begun, *[None] * 9]})
    again.at_wait |= {number: lambda: signal.raise_signal(signal.SIGINT) for number in (2, 3)}
    records, interrupted = go(again)
    assert interrupted
    assert [item.status for item in records.results()] == ["ok", "failed"]
    assert all(visit.over for visit in again.visits)
