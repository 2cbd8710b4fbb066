"""A fleet of 1,000 nodes of 12 kinds: the scheduler of `bench infer --on` on nodes that wait, work and fail by a drawn clock.

    python benchmarks/fleet.py [REPETITIONS]         writes docs/results/fleet.md; 20 repetitions take about 10 minutes

The tour, its run folders and `--resume` are the tool's own. Only the nodes and the time are simulated. Assumptions, all
declared below: the sizes of the kinds, the length of a sweep, the share of nodes that other work uses and for how long, and
the rate of failures. A tour that leaves a kind incomplete is resumed at once, as a job of a scheduler would do.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnxbench.errors import NodeLost
from onnxbench.results.store.head import SCHEMA, Head, Host, head_to_wire
from onnxbench.results.store.nodes import read_nodes
from onnxbench.runners.cluster.cluster import INFER, End, News, NodeOrder, Parcel, TourRequest, Visit
from onnxbench.runners.cluster.node_run import is_complete
from onnxbench.runners.cluster.nodes import Node
from onnxbench.runners.cluster.parcel import Packed
from onnxbench.runners.cluster.tour import tour
from onnxbench.runners.infer import Surroundings
from onnxbench.runners.worker.clock import Clock
from onnxbench.spec import Cell, Settings, Sweep
from scipy.special import stdtrit

PAGE = Path(__file__).resolve().parents[1] / "docs/results/fleet.md"
REPETITIONS = 20
SIZES = (300, 200, 150, 100, 80, 60, 40, 30, 20, 10, 8, 2)  # nodes of each kind, 1,000 together
BUSY_SHARE, BUSY_S = 0.6, 1800.0  # nodes that other work uses, and the mean time until one of them is free
OPENING_S = 60.0  # from a free node to the first block: transfer, imports, conversions, inputs, searches
BLOCKS = 30
SWEEPS = {"10 minutes": 600.0, "3 hours": 10800.0}  # time of the blocks; kinds differ by up to a factor of 2
RATES = (0.0, 0.01, 0.1)  # failures of a node an hour
MOST_RESUMES, TICK_S = 50, 10.0
SPREAD = 0.03  # standard deviation between nodes of one kind, as a share of p50
TITLES = (
    *("nodes", "sweep", "failures an hour", "hours to the table, median", "95 % of fleets", "node-hours"),
    *("work lost", "lost without streaming", "resumes", "complete"),
)
CELL = Cell(
    model="m",
    sha256="ab" * 32,
    backend="null",
    device="cpu",
    precision="fp32",
    batch=1,
    shapes=(),
    settings=Settings(threads=1),
)
OPENED = {
    "info": {"executed": "fp32", "placement": "", "settings": {}},
    **{"load_s": 0.1, "first_ms": 1.0, "artifact_mb": 1.0},
}
SWEEP = Sweep(model="m.onnx", timeout_s=1e9)


@dataclass
class Time:
    """The simulated time in seconds."""

    now_s: float = 0.0

    def clock(self) -> Clock:
        """The time as the tool reads it."""
        return Clock(now_ns=lambda: int(self.now_s * 1e9), cpu_ns=lambda: 0)


def samples() -> bytes:
    """A file of samples with one call."""
    with tempfile.TemporaryFile() as file:
        np.savez(file, latency=np.array([1000], np.int64))
        file.seek(0)
        return file.read()


SAMPLES = samples()


@dataclass
class SimulatedVisit:
    """A visit that works from `begin_s` on. Its node fails at `fail_s`."""

    time: Time
    begin_s: float
    fail_s: float
    done: int
    block_s: float
    sent: int = 0
    arrived: bool = False
    head_sent: bool = False
    worked_s: float = 0.0

    @property
    def next_s(self) -> float:
        """Time of the next news."""
        opened = self.begin_s + OPENING_S
        if not self.head_sent:
            return min(self.fail_s, opened if self.arrived else self.begin_s)
        return min(self.fail_s, opened + (self.sent + 1) * self.block_s)

    def news(self) -> Sequence[News]:
        items = list(self._news())
        if not items and self.fail_s <= self.time.now_s:
            self.worked_s = max(0.0, self.fail_s - self.begin_s)
            raise NodeLost("the node failed")
        return items

    def _news(self) -> Iterator[News]:
        while self.next_s <= self.time.now_s:
            if self.next_s >= self.fail_s:
                return
            if not self.arrived:
                self.arrived = True
                yield News()
                continue
            if not self.head_sent:
                self.head_sent = True
                head = Head(schema=SCHEMA, host=Host(cpu="cpu"), sweep=SWEEP)
                opened = {"event": "opened", "cell": CELL.key, **OPENED}
                yield News(head=json.dumps(head_to_wire(head, {CELL: CELL.key})), lines=(json.dumps(opened),))
                continue
            self.sent += 1
            number = self.done + self.sent - 1
            name = f"samples/{CELL.key}-{number}.npz"
            lines = [{"event": "block", "cell": CELL.key, "round": number, "samples": name, "calls": 1}]
            is_last = number == BLOCKS - 1
            if is_last:
                lines.append({"event": "finished", "cell": CELL.key, "why": "interval", "of": "p50", "half_width": 0.01})
                self.worked_s = OPENING_S + self.sent * self.block_s
            end = End() if is_last else None
            yield News(lines=tuple(map(json.dumps, lines)), samples=((name, SAMPLES),), end=end)
            if is_last:
                return

    def stop(self) -> None: ...

    def end(self) -> None: ...


@dataclass
class Fleet:
    """The simulated cluster. A node that fails does not come back. `tells`: it says which nodes are busy."""

    time: Time
    random: np.random.Generator
    sweep_s: float
    rate: float
    tells: bool = True
    visits: list[SimulatedVisit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.factors = self.random.uniform(1.0, 2.0, len(SIZES))
        hourly = self.rate / 3600
        self.members, self.free_s, self.fail_s = dict[str, Node](), dict[str, float](), dict[str, float]()
        for kind, size in enumerate(SIZES):
            busy = self.random.random(size) < BUSY_SHARE
            waits = np.where(busy, self.random.exponential(BUSY_S, size), 0.0)
            for number, wait in enumerate(waits):
                name = f"{kind:02}-{number:03}"
                self.members[name] = Node(id=name, address=name, labels={"kind": f"kind-{kind:02}"}, machine=name)
                self.free_s[name] = float(wait)
                self.fail_s[name] = float(self.random.exponential(1 / hourly)) if hourly else float("inf")

    def nodes(self) -> Sequence[Node]:
        return [node for name, node in self.members.items() if self.fail_s[name] > self.time.now_s]

    def busy(self) -> Collection[str]:
        return {name for name, free_s in self.free_s.items() if free_s > self.time.now_s} if self.tells else ()

    def load(self, parcel: Parcel) -> None: ...

    def start(self, node: Node, order: NodeOrder) -> Visit:
        done = order.stored.get("journal.jsonl", b"").count(b'"block"')
        block_s = self.sweep_s * self.factors[int(node.id[:2])] / BLOCKS
        begin_s = max(self.time.now_s, self.free_s[node.id])
        self.visits.append(SimulatedVisit(self.time, begin_s, self.fail_s[node.id], done, block_s))
        return self.visits[-1]

    def wait(self, visits: Sequence[Visit], limit_s: float) -> None:
        """The time goes to the next news of a visit. While a visit waits for its node, the tour looks for a free one."""
        now_s, own = self.time.now_s, [visit for visit in visits if isinstance(visit, SimulatedVisit)]
        next_s = min(visit.next_s for visit in own)
        if self.tells and not all(visit.arrived for visit in own):
            next_s = min(next_s, now_s + TICK_S)
        self.time.now_s = max(now_s, TICK_S * -(-next_s // TICK_S))

    def close(self) -> None: ...


@dataclass
class Outcome:
    """Time to a complete table in hours, and work in node-hours.

    `lost`, `lost_whole`: work of it that was lost as it is, and without streaming. `complete`: share of the runs that are.
    """

    hours: float
    worked: float
    lost: float
    lost_whole: float
    resumes: int
    complete: float


def once(seed: int, sweep: str, rate: float, *, every: bool, tells: bool = True) -> Outcome:
    """One fleet, measured until its table is complete or no node of a kind is left."""
    time = Time()
    fleet = Fleet(time, np.random.default_rng(seed), SWEEPS[sweep], rate, tells)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        out, resumes = Path(folder) / "tour", 0
        while True:
            around = Surroundings(out=out, resume=resumes > 0, clock=time.clock())
            tour(
                TourRequest(task=INFER, every=every),
                SWEEP,
                around,
                fleet,
                lambda sweep, _: Packed(parcel=Parcel(), sweep=sweep, models=("m",)),
            )
            entries = read_nodes(out).nodes
            left = [entry for entry in entries if not is_complete(out / entry.folder)]
            kinds = {node.kind for node in fleet.nodes()}
            if not any(entry.kind in kinds for entry in left) or resumes == MOST_RESUMES or (every and left and resumes):
                break
            resumes += 1
    useful = sum(visit.sent * visit.block_s for visit in fleet.visits)
    worked = sum(visit.worked_s for visit in fleet.visits)
    failed = sum(visit.worked_s for visit in fleet.visits if visit.done + visit.sent < BLOCKS)
    lost = worked - useful - OPENING_S * len(entries)
    whole = 1 - len(left) / len(entries)
    return Outcome(float(time.now_s / 3600), worked / 3600, max(0.0, lost / 3600), failed / 3600, resumes, whole)


def row(name: str, sweep: str, rate: float, outcomes: Sequence[Outcome]) -> str:
    """One line of the table."""
    hours = [one.hours for one in outcomes]
    means = [float(np.mean([getattr(one, part) for one in outcomes])) for part in ("worked", "lost", "lost_whole", "resumes")]
    share = 100 * float(np.mean([one.complete for one in outcomes]))
    worked, lost, whole, resumes = means
    times = f"{np.median(hours):.2f} | {np.quantile(hours, 0.95):.2f}"
    losses = f"{100 * lost / worked:.2f} % | {100 * whole / worked:.2f} %"
    return f"| {name} | {sweep} | {100 * rate:g} % | {times} | {worked:.1f} | {losses} | {resumes:.1f} | {share:.0f} % |"


def nodes_of_a_kind() -> Iterator[str]:
    """Half-width of the interval of a kind's mean, by the number of nodes that are measured."""
    yield "| nodes of a kind | half-width at 95 % |"
    yield "|---|---|"
    for count in (2, 3, 5, 10, 20, 40):
        width = 100 * SPREAD * float(stdtrit(count - 1, 0.975)) / count**0.5
        yield f"| {count} | {width:.1f} % |"


def page(repetitions: int) -> Iterator[str]:
    """Lines of the page."""
    yield "# A simulated fleet"
    yield ""
    yield f"Written by `benchmarks/fleet.py`, {repetitions} repetitions. [Fleets](../fleet.md) reads it."
    yield ""
    sizes = ", ".join(map(str, SIZES))
    yield f"1,000 nodes of 12 kinds ({sizes} nodes)."
    yield f"Other work uses {100 * BUSY_SHARE:.0f} % of the nodes, for {BUSY_S / 60:.0f} more minutes on average."
    yield f"A visit takes {OPENING_S:.0f} s until its first of {BLOCKS} blocks."
    yield "`the first`: the first node of each kind by address, busy or not, as where a cluster does not tell."
    yield "A kind takes 1 to 2 times the length of the sweep. A node that fails does not come back."
    yield ""
    yield f"| {' | '.join(TITLES)} |"
    yield "|---" * len(TITLES) + "|"
    cases = [("one of each kind", False, True), ("one of each kind, the first", False, False), ("every node", True, False)]
    for name, every, tells in cases:
        for sweep in SWEEPS:
            for rate in RATES[1:2] if every else RATES:
                count = max(1, repetitions // 20) if every else repetitions
                yield row(name, sweep, rate, [once(seed, sweep, rate, every=every, tells=tells) for seed in range(count)])
    yield ""
    yield f"With a standard deviation of {100 * SPREAD:g} % between nodes of one kind:"
    yield ""
    yield from nodes_of_a_kind()


def main(repetitions: int = REPETITIONS) -> None:
    """Write the page."""
    text = "\n".join(page(repetitions)) + "\n"
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
