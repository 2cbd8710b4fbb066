"""Energy of CPU packages from a powercap tree: its zones, its limits, and the pass of a cell that reads it."""

import threading
from types import SimpleNamespace

import pytest
from onnxbench.backends.protocol import Session, SessionInfo
from onnxbench.evidence import Energy
from onnxbench.runners.worker.cell_jobs import OpenCell
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.energy import CPU_POLL_S
from onnxbench.runners.worker.jobs import ReadEnergy
from onnxbench.runners.worker.rapl import Rapl
from onnxbench.runners.worker.serve import State, answer
from onnxbench.spec import Concurrency, from_wire, to_wire

MOST_UJ = 262_143_328_850  # of an Intel Xeon


def zone(root, name, kind, energy_uj, most_uj=MOST_UJ):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "max_energy_range_uj").write_text(f"{most_uj}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder / "energy_uj"


@pytest.fixture
def tree(tmp_path):
    """Two packages with their parts, their DRAM, the platform, and the packages again by another way."""
    files = {"first": zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)}
    files["second"] = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 7)
    zone(tmp_path, "intel-rapl:0:1", "dram", 8)
    zone(tmp_path, "intel-rapl:2", "psys", 9)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000)
    (tmp_path / "intel-rapl").mkdir()
    return SimpleNamespace(root=tmp_path, **files)


def test_packages_are_added_and_nothing_else(tree):
    rapl = Rapl(root=tree.root)
    assert rapl.energy_mj() == (0.0, None)
    for path in tree.root.glob("*/energy_uj"):
        path.write_text(str(int(path.read_text()) + 2_000_000))
    assert rapl.energy_mj() == (4000.0, None)


def test_a_counter_that_begins_again_goes_on(tree):
    tree.first.write_text(str(MOST_UJ - 1000))
    rapl = Rapl(root=tree.root)
    assert rapl.energy_mj() == (0.0, None)
    tree.first.write_text("2000")
    assert rapl.energy_mj() == (3.0, None)
    tree.first.write_text("4000")
    assert rapl.energy_mj() == (5.0, None)


def test_a_file_that_only_root_reads_is_a_reason_with_the_remedy(tree, monkeypatch):
    class Closed(type(tree.root)):
        """A path as a user sees it who is not root; root, who runs tests in a container, may read each file."""

        def read_text(self, *how):
            if self.name == "energy_uj":
                raise PermissionError(13, "Permission denied", str(self))
            return super().read_text(*how)

    value, reason = Rapl(root=Closed(tree.root)).energy_mj()
    assert value is None
    assert "energy_uj" in reason
    assert "chmod a+r" in reason


@pytest.mark.parametrize("kinds", [(), ("psys", "dram")])
def test_a_system_without_a_package_says_so(tmp_path, kinds):
    for number, kind in enumerate(kinds):
        zone(tmp_path, f"intel-rapl:{number}", kind, 5)
    value, reason = Rapl(root=tmp_path).energy_mj()
    assert (value, str(tmp_path) in reason) == (None, True)
    assert Rapl(root=tmp_path / "none").energy_mj()[0] is None


@pytest.mark.parametrize("name", ["energy_uj", "max_energy_range_uj"])
def test_a_file_without_a_number_is_a_reason(tree, name):
    (tree.root / "intel-rapl:0" / name).write_text("")
    value, reason = Rapl(root=tree.root).energy_mj()
    assert value is None
    assert reason


class Busy(Session):
    """A call takes 5 ms, in which both packages together use `watt`."""

    info = SessionInfo(executed="fp32")

    def __init__(self, tree, watt):
        self.tree, self.watt, self.ns, self.slept = tree, watt, 0, set()

    def bind(self, inputs): ...

    def start(self):
        self.forward(5 * 10**6)

    def forward(self, ns):
        self.ns += ns
        for path, share in ((self.tree.first, 0.75), (self.tree.second, 0.25)):
            new = path.with_name("new")  # another thread reads the counter: it must never find half of it
            new.write_text(str(int(self.ns * self.watt * share / 1000) % MOST_UJ))
            new.replace(path)
        threading.Event().wait(0.0005)

    def wait(self): ...

    def fetch(self):
        return {}

    def fork(self):
        return self

    def look(self):
        self.ns += 1000
        return self.ns

    def sleep(self, seconds):
        self.slept.add(seconds)
        threading.Event().wait(0.0001)


def measured(session, cell, artifact, root):
    open_cell = OpenCell(artifact=artifact, cell=cell, backend=None, inputs={}, session=session)
    open_cell.compiled[1, 1] = session
    clock = Clock(now_ns=session.look, cpu_ns=lambda: 0, sleep_s=session.sleep)
    state = State(clock=clock, packages=Rapl(root=root), open_cells={"a": open_cell})
    job = ReadEnergy(key="a", block_ms=500, concurrency=Concurrency(threads=1))
    kind, content = answer(state, {"job": "energy", "asked": to_wire(job)}, lambda _: None)
    assert kind == "ok", content
    return from_wire(Energy, content)


def test_a_cell_on_a_cpu_has_the_energy_of_all_packages(tree, make_cell, make_artifact):
    session = Busy(tree, watt=120)
    found = measured(session, make_cell(batch=4), make_artifact(), tree.root)
    assert found.power_w == pytest.approx(120, rel=0.05)
    assert found.items_per_s == pytest.approx(800, rel=0.05)
    assert found.energy_mj == pytest.approx(found.power_w / found.items_per_s * 1e3)
    assert CPU_POLL_S in session.slept


def test_without_a_counter_nothing_is_loaded(tmp_path, make_cell, make_artifact):
    session = Busy(None, watt=120)
    found = measured(session, make_cell(), make_artifact(), tmp_path)
    assert (found.energy_mj, found.power_w, session.ns) == (None, None, 0)
    assert found.reason
