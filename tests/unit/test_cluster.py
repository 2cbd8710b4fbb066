"""A tour of a cluster: which nodes are visited and when, and what is left in the folders, whatever happens to a node."""

import json
import signal
from dataclasses import replace
from itertools import repeat

import onnxbench
import pytest
from onnxbench.errors import BadInput, Interrupted, NodeLost, OutOfMemory, StorageFailed, encode_error
from onnxbench.results.recommend import objective
from onnxbench.results.store import nodes as stored
from onnxbench.results.store.head import RUN, Head
from onnxbench.results.store.record import read_run
from onnxbench.results.table import conditions, table, values
from onnxbench.runners.cluster import node_run, ray_cluster
from onnxbench.runners.cluster.cluster import CHECK, FOLDER, INFER, News, TourRequest
from onnxbench.runners.cluster.nodes import Station, kinds_of, resumed, stations
from onnxbench.runners.cluster.tour import tour
from onnxbench.runners.infer import Surroundings
from onnxbench.runners.worker.clock import Clock
from onnxbench.spec import Sweep, to_wire

from .conftest import CELL
from .fake_cluster import FakeCluster, ended, news_of, node, packed
from .in_process import Notes

SWEEP = Sweep(model="net.onnx", backends=("ort-cpu",), timeout_s=300)


class Ticking:
    """Seconds that pass by themselves: one at each look."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        self.now += 10**9
        return self.now


@pytest.fixture
def ran(run_folder):
    """A run as a node writes it: two cells of ten rounds."""
    cells = (CELL, replace(CELL, batch=8))
    run = run_folder(*cells, name="on-node", sweep=to_wire(SWEEP))
    for cell in cells:
        run.measured(cell, 1000 * cell.batch)
    return run.path


@pytest.fixture
def go(tmp_path):
    """Make a tour of a cluster into the folder `tour`. Returns the notes."""

    def of(cluster, resume=False, sweep=SWEEP, **request):
        notes = Notes()
        around = Surroundings(out=of.out, resume=resume, progress=notes, clock=Clock(now_ns=Ticking(), cpu_ns=lambda: 0))
        tour(TourRequest(**{"task": INFER, **request}), sweep, around, cluster, packed)
        return notes

    of.out = tmp_path / "tour"
    return of


def whole(run):
    return lambda order: [*news_of(run), ended()]


def rows(folder):
    return {(row["host"], row["batch"]): row for row in values.measured_on_nodes(folder, None, SWEEP)}


# -- kinds ----------------------------------------------------------------------------------------------------------------


def test_a_kind_is_a_label_or_else_accelerators_or_else_cpus():
    assert node("a", "small").kind == "small"
    assert node("a", accelerator="H100", gpus=8.0, cpus=64.0).kind == "H100 x8"
    assert node("a", cpus=2.0).kind == "Test CPU x2"
    assert node("a", cpu="", unfit="no answer").kind == "unknown CPU x1"


def test_kinds_are_named_by_themselves_or_by_a_part():
    nodes = [node("2", "cpu-b"), node("3", "gpu"), node("1", "cpu-a"), node("4", "gpu")]
    assert kinds_of((), nodes) == ("cpu-a", "cpu-b", "gpu")
    assert kinds_of(("GP", "cpu-b", "gpu"), nodes) == ("gpu", "cpu-b")
    for name, shown in (("cpu", "cpu-a"), ("tpu", "gpu")):
        with pytest.raises(BadInput, match=shown):
            kinds_of((name,), nodes)
    with pytest.raises(BadInput, match="ray start"):
        kinds_of((), [])
    assert kinds_of(("cpu",), [node("1", "cpu"), node("2", "cpu-b")]) == ("cpu",)  # a complete name


def test_one_node_of_a_kind_is_one_that_can_measure_and_every_node_has_a_number():
    nodes = [node("1", "a", unfit="old"), node("2", "a"), node("3", "b")]
    assert [(one.name, one.node.id) for one in stations(nodes, ["a", "b"], every=False)] == [("a", "2"), ("b", "3")]
    assert [one.name for one in stations(nodes, ["a", "b"], every=True)] == ["a#1", "a#2", "b"]
    busy = [node("1", "a", unfit="old"), node("2", "a", busy=True), node("3", "a")]
    assert [one.node.id for one in stations(busy, ["a"], every=False)] == ["3"]
    assert [one.node.id for one in stations(busy[:2], ["a"], every=False)] == ["2"]


def test_a_resumed_node_is_the_same_one_or_another_of_its_kind():
    entries = [stored.NodeEntry(name=name, kind=name, id=name, folder=name) for name in ("a", "b", "c")]
    again, absent = resumed(entries, [node("new", "a"), node("b", "b"), node("x", "b")])
    assert [(one.name, one.node.id) for one in again] == [("a", "new"), ("b", "b")]
    assert [entry.name for entry in absent] == ["c"]


# -- runs -----------------------------------------------------------------------------------------------------------------


def test_the_table_of_a_tour_is_that_of_its_folders(go, ran):
    go(FakeCluster([node("1", "a"), node("2", "b")], {"1": whole(ran), "2": whole(ran)}))
    measured = values.measured_on_nodes(go.out, "ort-cpu", SWEEP)
    both = table.build([read_run(go.out / "a"), read_run(go.out / "b")], "ort-cpu")
    assert measured.table == both
    assert measured.folder == go.out
    again = onnxbench.read(go.out, baseline="ort-cpu")
    assert (again.table, again.exit_code) == (both, 0)
    assert measured.exit_code == 0
    alone = table.build([read_run(ran)])
    one_node = table.build([read_run(go.out / "a")]).rows
    strange = {"host", "run"}
    assert [{k: v for k, v in row.items() if k not in strange} for row in one_node] == [
        {k: v for k, v in row.items() if k not in strange} for row in alone.rows
    ]
    assert {row["host"] for row in both.rows} == {"a", "b"}
    assert [line for line in both.facts if "Test CPU" in line] == ["a: Test CPU", "b: Test CPU"]
    assert set(both.head["hosts"]) == {"a", "b"}


def test_nodes_that_share_a_machine_are_measured_one_after_the_other(go, ran):
    nodes = [node("1", "a", machine="m"), node("2", "b", machine="m"), node("3", "c")]
    cluster = FakeCluster(nodes, dict.fromkeys("123", whole(ran)))
    go(cluster)
    assert cluster.most_together == {"m": 1, "3": 1}
    assert [visit.node.id for visit in cluster.visits] == ["1", "3", "2"]
    assert all(visit.over for visit in cluster.visits)


def test_a_lost_node_keeps_its_blocks_and_a_resumed_tour_continues_it(go, ran):
    lines = len((ran / "journal.jsonl").read_text().splitlines())
    lost = NodeLost("the node was lost", "--resume continues it")
    cluster = FakeCluster(
        [node("1", "a"), node("2", "b")],
        {"1": lambda order: [*news_of(ran, lines // 2 + 3), lost], "2": whole(ran)},
    )
    notes = go(cluster)
    assert any("the node was lost" in text for text in notes.told)
    found = rows(go.out)
    assert found["b", 1]["status"] == found["b", 8]["status"] == found["a", 1]["status"] == "ok"
    second = next(item for item in read_run(go.out / "a").cells if item.cell.batch == 8)
    assert second.unfinished == bool(second.blocks)
    assert "the node was lost" in " ".join([second.reason or "", *(step.reason for step in second.failed_steps)])
    assert values.measured_on_nodes(go.out, None, SWEEP).exit_code == 3

    def rest(order):
        assert order.stored["journal.jsonl"].count(b"\n") > lines // 2
        assert {name for name in order.stored if name.startswith("samples/")}
        return [News(head=(ran / RUN).read_text()), *[*news_of(ran)][-(lines - lines // 2 - 3) :], ended()]

    again = FakeCluster([node("9", "a"), node("2", "b")], {"9": rest})
    go(again, resume=True)
    assert [visit.node.id for visit in again.visits] == ["9"]
    assert {row["status"] for row in rows(go.out).values()} == {"ok"}
    assert values.measured_on_nodes(go.out, None, SWEEP).exit_code == 0
    go(FakeCluster([node("9", "a"), node("2", "b")], {}), resume=True)  # nothing is left to visit


def test_a_node_that_cannot_measure_has_a_row_with_the_reason(go, ran):
    cluster = FakeCluster([node("1", "a", unfit="the node has Python 3.12"), node("2", "b")], {"2": whole(ran)})
    go(cluster)
    assert [visit.node.id for visit in cluster.visits] == ["2"]
    row = rows(go.out)["a", 1]
    assert (row["status"], row["backend"], row["model"], row["reason"]) == (
        "failed",
        "ort-cpu",
        "cnn",
        "the node has Python 3.12",
    )
    assert rows(go.out)["b", 1]["status"] == "ok"
    go(FakeCluster([node("1", "a"), node("2", "b")], {"1": whole(ran)}), resume=True)
    assert {row["status"] for row in rows(go.out).values()} == {"ok"}


def test_an_error_of_the_run_on_a_node_is_the_reason_of_its_rows(go, ran):
    error = BadInput("there is no /venv/bin/python", "give a Python")
    go(FakeCluster([node("1", "a")], {"1": lambda order: [ended(error)]}))
    assert rows(go.out)["a", 1]["reason"] == str(error)


def test_a_busy_node_has_a_row_after_the_time_limit(go, ran):
    cluster = FakeCluster([node("1", "a"), node("2", "b")], {"1": lambda order: repeat(None), "2": whole(ran)})
    go(cluster)
    assert rows(go.out)["a", 1]["status"] == "timeout"
    assert rows(go.out)["b", 1]["status"] == "ok"
    assert all(visit.over for visit in cluster.visits)


def test_a_free_node_of_a_kind_is_measured_in_place_of_a_busy_one(go, ran):
    cluster = FakeCluster([node("1", "a"), node("2", "a")], {"2": whole(ran)}, working={"1"})
    go(cluster)
    assert [visit.node.id for visit in cluster.visits] == ["2"]
    (entry,) = stored.read_nodes(go.out).nodes
    assert (entry.name, entry.id) == ("a", "2")


def test_a_visit_that_waits_moves_to_the_node_that_is_free_first(go, ran):
    nodes = [node("1", "a"), node("2", "a"), node("3", "b")]
    cluster = FakeCluster(nodes, {"1": lambda order: repeat(None), "2": whole(ran), "3": whole(ran)}, working={"1", "2"})
    cluster.at_wait[5] = lambda: cluster.working.remove("2")
    go(cluster)
    assert [visit.node.id for visit in cluster.visits] == ["1", "3", "2"]
    assert all(visit.over for visit in cluster.visits)
    assert {row["status"] for row in rows(go.out).values()} == {"ok"}
    assert [(entry.name, entry.id) for entry in stored.read_nodes(go.out).nodes] == [("a", "2"), ("b", "3")]


def test_a_visit_that_has_its_node_or_its_blocks_stays(go, ran):
    """A node works for the visit itself as soon as the visit has it."""
    nodes = [node("1", "a"), node("2", "a")]
    cluster = FakeCluster(nodes, {"1": lambda order: [News(), *[None] * 30, *news_of(ran, 5), NodeLost("lost")]})
    cluster.at_wait[1] = lambda: cluster.working.add("1")
    go(cluster)
    assert [visit.node.id for visit in cluster.visits] == ["1"]
    quiet = FakeCluster(nodes, {"1": lambda order: [*[None] * 30, *whole(ran)(order)]})  # a cluster that does not tell
    go.out = go.out.with_name("quiet")
    go(quiet)
    assert [visit.node.id for visit in quiet.visits] == ["1"]
    go.out = go.out.with_name("tour")
    again = FakeCluster(nodes, {"1": lambda order: [*[None] * 30, *whole(ran)(order)]}, working={"1"})
    go(again, resume=True)
    assert [visit.node.id for visit in again.visits] == ["1"]


@pytest.mark.parametrize(
    "bad",
    [News(samples=(("../../evil", b""),)), News(lines=('{"event": "block", "cell": "x", "round": "0"}',)), News(head="{}")],
)
def test_a_node_with_wrong_data_spoils_its_own_rows_alone(go, ran, bad, tmp_path):
    cluster = FakeCluster([node("1", "a"), node("2", "b")], {"1": lambda order: [bad, ended()], "2": whole(ran)})
    go(cluster)
    assert rows(go.out)["a", 1]["status"] == "failed"
    assert rows(go.out)["b", 8]["status"] == "ok"
    assert not list(tmp_path.rglob("evil"))


def test_a_kind_that_joins_late_is_measured_and_a_second_node_only_with_every_node(go, ran):
    for every, names in ((False, {"a", "b"}), (True, {"a", "a#2", "b"})):
        cluster = FakeCluster([node("1", "a")], {"1": lambda order: [*[None] * 15, *whole(ran)(order)], "2": whole(ran)})
        cluster.scripts["3"] = whole(ran)
        cluster.at_wait[2] = lambda cluster=cluster: cluster.present.extend([node("2", "b"), node("3", "a")])
        go.out = go.out.with_name(f"every-{every}")
        notes = Notes()
        around = Surroundings(out=go.out, progress=notes, clock=Clock(now_ns=Ticking(), cpu_ns=lambda: 0))
        tour(TourRequest(task=INFER, every=every), SWEEP, around, cluster, packed)
        assert {entry.name for entry in stored.read_nodes(go.out).nodes} == names
    named = FakeCluster([node("1", "a")], {"1": lambda order: [*[None] * 15, *whole(ran)(order)]})
    named.at_wait[2] = lambda: named.present.append(node("2", "b"))
    around = replace(around, out=go.out.with_name("named"))
    tour(TourRequest(task=INFER, kinds=("a",)), SWEEP, around, named, packed)
    assert [visit.node.id for visit in named.visits] == ["1"]


def test_ctrl_c_stops_every_node_after_its_block_and_a_second_one_at_once(go, ran):
    nodes = [node("1", "a"), node("2", "b", machine="1")]
    cluster = FakeCluster(nodes, {"1": lambda order: [*news_of(ran, 5), None, ended(Interrupted("stopped"))]})
    cluster.at_wait[2] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(Interrupted, match="--resume"):
        go(cluster)
    assert [(visit.stops, visit.over) for visit in cluster.visits] == [(1, True)]
    assert {row["status"] for row in rows(go.out).values()} == {"ok", "failed"}
    assert rows(go.out)["b", 1]["reason"] == "stopped by Ctrl-C"
    for number in (2, 3):
        cluster.at_wait[number] = lambda: signal.raise_signal(signal.SIGINT)
    cluster.waits, cluster.scripts = 0, dict.fromkeys("12", lambda order: repeat(None))
    with pytest.raises(KeyboardInterrupt):
        go(cluster, resume=True)
    assert all(visit.over for visit in cluster.visits)


def test_a_full_disk_here_ends_every_visit(go, ran, monkeypatch):
    cluster = FakeCluster([node("1", "a"), node("2", "b")], {"1": whole(ran), "2": lambda order: repeat(None)})

    def full(self, news):
        raise StorageFailed("no space")

    monkeypatch.setattr(node_run.NodeRun, "add", full)
    with pytest.raises(StorageFailed):
        go(cluster)
    assert [visit.over for visit in cluster.visits] == [True, True]


def test_a_folder_of_other_runs_is_refused_before_any_visit(go, ran, run_folder):
    cluster = FakeCluster([node("1", "a")], {"1": whole(ran)})
    go(cluster)
    with pytest.raises(BadInput, match="--resume"):
        go(cluster)
    with pytest.raises(BadInput, match="already"):
        go(cluster, resume=True, task=CHECK)
    run_folder(CELL, name="tour2")
    go.out = go.out.with_name("tour2")
    around = Surroundings(out=go.out)
    with pytest.raises(BadInput, match="one machine"):
        tour(TourRequest(task=INFER), SWEEP, around, cluster, packed)
    assert len(cluster.visits) == 1


def test_a_check_of_nodes_is_judged_by_its_limits(go, run_folder):
    run = run_folder(CELL, name="on-node", kind="check", sweep=to_wire(SWEEP))
    run.opened(CELL)
    run.inspected(CELL, "fp32 Conv")
    run.verified(CELL, sqnr_db=90.0)
    go(FakeCluster([node("1", "a")], {"1": whole(run.path)}), task=CHECK, least=(("sqnr", "80"),))
    for limit, code in (("80", 0), ("95", 1)):
        limits = conditions.parse([("sqnr", limit)], most=False)
        assert values.checked_on_nodes(go.out, limits, SWEEP).exit_code == code


def test_a_named_backend_needs_an_ok_row_on_one_node_only(go, ran, run_folder):
    gpu = replace(CELL, backend="ort-cuda", device="cuda:0")
    other = run_folder(gpu, name="no-gpu", sweep=to_wire(SWEEP))
    other.add("failed", gpu, status="unavailable", reason="no GPU")
    go(FakeCluster([node("1", "a"), node("2", "b")], {"1": whole(ran), "2": whole(other.path)}))
    measured = values.measured_on_nodes(go.out, None, replace(SWEEP, backends=("ort-cpu",)))
    assert measured.exit_code == 0
    assert values.measured_on_nodes(go.out, None, replace(SWEEP, backends=("ort-cpu", "ort-cuda"))).exit_code == 3


def test_a_price_of_a_kind_is_that_of_all_of_its_nodes():
    cells = [{"backend": "ort-cpu", "environment": None, "host": host} for host in ("a#1", "a#2", "ab")]
    prices = objective.parse_prices([("a", "2"), ("a#2", "3"), ("ab", "4")], cells)
    assert [objective.price_of(row, prices) for row in cells] == [2, 3, 4]
    with pytest.raises(BadInput):
        objective.parse_prices([("#", "1")], cells)


# -- what passes ----------------------------------------------------------------------------------------------------------


def test_paths_of_a_node_become_those_of_this_machine(tmp_path, ran):
    station = Station(name="a", kind="a", node=node("1", "a"))
    run = node_run.NodeRun(tmp_path / "new", station, INFER, SWEEP, ["cnn"])
    data = json.loads((ran / RUN).read_text())
    there = to_wire(replace(SWEEP, model=f"{FOLDER}/files/home/me/net.onnx"))
    run.add(News(head=json.dumps({**data, "sweep": there, "commit": f"{FOLDER}/files/home/me {FOLDER}/run/logs"})))
    run.finish(None)
    head = read_run(tmp_path / "new").head
    assert head.sweep == SWEEP
    assert head.commit == f"/home/me {tmp_path / 'new'}/logs"
    assert head.host.name == "a"


def test_a_list_of_nodes_names_folders_beside_it_alone(tmp_path):
    for folder in ("../x", "/etc", "", ".."):
        entry = stored.NodeEntry(name="a", kind="a", id="1", folder=folder)
        stored.write_nodes(tmp_path, stored.NodeList(task=INFER, sweep=SWEEP, nodes=(entry,)))
        with pytest.raises(BadInput, match="outside"):
            stored.read_nodes(tmp_path)
    for text in ("{", "[]", json.dumps({"schema": 99, "task": "infer", "sweep": {}})):
        (tmp_path / stored.NODES).write_text(text)
        with pytest.raises(BadInput):
            stored.read_nodes(tmp_path)


def test_a_host_without_a_name_keeps_the_name_of_its_cpu():
    assert Head(schema=3).host.label == "unknown"


# -- Ray's edge -----------------------------------------------------------------------------------------------------------


def test_addresses():
    assert [ray_cluster.address_of(text) for text in ("ray", "auto", "ray://h", "ray://10.0.0.1:99", "ray://[::1]:7")] == [
        *("auto", "auto", "ray://h:10001", "ray://10.0.0.1:99", "ray://[::1]:7")
    ]
    for text in ("", "rays", "ray://", "ray://h:0", "ray://h:99999", "ray://h:1/x", "http://h:1", "ray:/h"):
        with pytest.raises(BadInput):
            ray_cluster.address_of(text)


def test_a_node_with_another_version_cannot_measure():
    from platform import python_version

    from onnxbench import __version__

    same = {"missing": "", "tool": __version__, "python": python_version()}
    assert ray_cluster.unlike(same) == ""
    for change in ({"missing": "No module named 'onnxbench'", "tool": ""}, {"tool": "0.0.1"}, {"python": "3.99.1"}):
        assert ray_cluster.unlike({**same, **change})


def test_another_version_of_ray_or_python_is_one_sentence():
    """Ray 2.60 refuses a connection so."""
    cluster, program = "    Ray: 2.60.0\n    Python: 3.11.7\n", "    Ray: 2.60.0\n    Python: 3.12.1\n"
    text = f"Version mismatch: The cluster was started with:\n{cluster}This process on Ray Client was started with:\n{program}"
    refused = ray_cluster._refused("ray://h:10001", RuntimeError(text))
    assert all(part in str(refused) for part in ("ray://h:10001", "2.60.0", "3.11.7", "3.12.1"))
    assert "no disk" in str(ray_cluster._refused("auto", ConnectionError("failure from server:\nTraceback:\nOSError: no disk")))
    assert "3.12" not in str(ray_cluster._refused("auto", ConnectionError("no answer\nPython: 3.12.1")))


def test_an_error_passes_with_its_class():
    assert encode_error(OutOfMemory("full", "less"))["type"] == "OutOfMemory"
