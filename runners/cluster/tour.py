"""Tour of a cluster: a visit to one node of each kind, and a run folder here for each. Loads no framework.

Nodes on different machines are measured at the same time. Nodes that share a machine are measured one after the other, since
they would disturb each other. A visit is never repeated by itself: a node that fails has rows with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import BadInput, BenchError, Interrupted, NodeLost, WorkerTimeout, decode_error
from ...spec import Sweep
from ..infer import Surroundings
from ..pool.context import Context
from ..pool.progress import Progress
from ..sweep.interrupt import Stop, interruptible
from .cluster import CHECK, INFER, TRAIN, Cluster, News, TourRequest, Visit
from .nodes import Node, Station, kinds_of, stations
from .parcel import Packed, pack
from .records import Record, Records
from .runs import RunRecords, check_out

VERBS = {INFER: "measuring", CHECK: "checking", TRAIN: "training"}
STOPPED = "stopped by Ctrl-C"
WAIT_S, LIST_S = 1.0, 10.0  # longest wait for news, and time between two looks for nodes that joined


@dataclass(kw_only=True)
class _Stay:
    """A visit that is under way, with its record. `heard`: it has the node for itself. `movable`: another node would do."""

    station: Station
    visit: Visit
    record: Record
    began_ns: int
    movable: bool
    heard: bool = False
    done: float = 0.0


@dataclass(kw_only=True)
class _Tour:
    """State of a tour. `waiting`: stations to visit. `stays`: visits that are under way. `ended`: number of complete ones."""

    request: TourRequest
    records: Records
    around: Surroundings
    cluster: Cluster
    waiting: list[Station] = field(default_factory=list)
    stays: list[_Stay] = field(default_factory=list)
    ended: int = 0
    stopping: bool = False

    @property
    def progress(self) -> Progress:
        return self.around.progress

    def enlist(self, new: Sequence[Station]) -> None:
        """Let `new` stations wait for their visit."""
        self.records.enlist(new)
        self.waiting += new

    def start_what_can(self) -> None:
        """Begin the visits to machines that no visit is on."""
        for station in list(self.waiting):
            busy = {stay.station.node.machine or stay.station.node.id for stay in self.stays}
            if (station.node.machine or station.node.id) not in busy:
                self.waiting.remove(station)
                self._start(station)

    def _start(self, station: Station) -> None:
        order = self.records.order(station)
        record = self.records.open(station)
        if station.node.unfit:
            record.finish(NodeLost(station.node.unfit))
            return
        verb = "continuing" if order.stored else VERBS[self.request.task]
        self.progress.note(f"{station.name}: {verb} on {station.node.address or 'its node'}")
        visit = self.cluster.start(station.node, order)
        # Blocks of one run are of one machine.
        movable = not order.stored and not self.request.every
        began_ns = self.around.clock.now_ns()
        self.stays.append(_Stay(station=station, visit=visit, record=record, began_ns=began_ns, movable=movable))

    def hear(self, stay: _Stay) -> None:
        """Keep the news of a visit. Ends the visit where the run ended, the node was lost, or never became free."""
        try:
            news = stay.visit.news()
        except NodeLost as error:
            self._finish(stay, error)
            return
        for item in news:
            stay.heard = True
            try:
                self._write(stay, item)
            except BadInput as error:
                self._finish(stay, error)
                return
            if item.end:
                self._finish(stay, _error(item, stay.record))
                return
        limit_s = self.records.limit_s
        if not stay.heard and (self.stopping or self.around.clock.since_s(stay.began_ns) > limit_s):
            busy = WorkerTimeout(f"other work kept the node busy for {limit_s:g} s", "wait for it, or give a larger --timeout")
            self._finish(stay, Interrupted(STOPPED) if self.stopping else busy)

    def _write(self, stay: _Stay, news: News) -> None:
        stay.record.add(news)
        for note in news.notes:
            self.progress.note(f"{stay.station.name}: {stay.record.local(note)}")
        if news.step:
            what, done, total = news.step
            stay.done = done / total if total else 0.0
            of_all = self.ended + sum(item.done for item in self.stays)
            self.progress.step(f"{stay.station.name}: {what}", round(of_all, 2), len(self.records.entries))

    def _finish(self, stay: _Stay, error: BenchError | None) -> None:
        stay.visit.end()
        self.stays.remove(stay)
        self.ended += 1
        if error and not isinstance(error, Interrupted):
            self.progress.note(f"{stay.station.name}: {error}")
        stay.record.finish(error)

    def stop(self) -> None:
        """Ask every visit to end after its current block."""
        self.stopping = True
        for station in self.waiting:
            self.records.open(station).finish(Interrupted(STOPPED))
        self.waiting.clear()
        for stay in self.stays:
            stay.visit.stop()

    def end(self) -> None:
        """End every visit now."""
        for stay in list(self.stays):
            stay.visit.end()
            stay.record.finish(None)

    def move(self) -> None:
        """Let visits that wait for a busy node go to a free one of its kind."""
        waiting = [stay for stay in self.stays if stay.movable and not stay.heard]
        nodes = looked_at(self.cluster) if waiting else []
        busy = {node.id for node in nodes if node.busy}
        for stay in waiting:
            station, used = stay.station, {entry.id for entry in self.records.entries}
            free = [node for node in nodes if node.id not in used | busy and not node.unfit and station.node.id in busy]
            for other in stations(free, [station.kind], every=False):
                self.progress.note(f"{station.name}: other work keeps {station.node.address or 'its node'} busy")
                stay.visit.end()
                self.stays.remove(stay)
                stay.record.finish(None)
                self.enlist([replace(station, node=other.node)])

    def welcome(self) -> None:
        """Enlist nodes that joined since, of kinds that have no station yet; with --every-node all new ones."""
        if self.request.kinds:
            return
        nodes = self.cluster.nodes()
        ids, kinds = {entry.id for entry in self.records.entries}, {entry.kind for entry in self.records.entries}
        fit = [node for node in nodes if node.id not in ids and not node.unfit]
        new = [node for node in fit if self.request.every or node.kind not in kinds]
        if new:
            self.enlist(self._named(new))

    def _named(self, new: Sequence[Node]) -> list[Station]:
        """Stations of nodes that joined. A further node of a kind has the next number."""
        selected = stations(new, tuple(dict.fromkeys(node.kind for node in new)), every=self.request.every)
        names = {entry.name for entry in self.records.entries}
        counts = {kind: sum(entry.kind == kind for entry in self.records.entries) for kind in {item.kind for item in selected}}
        numbered = []
        for item in selected:
            counts[item.kind] += 1
            name = item.name if item.name not in names and counts[item.kind] == 1 else f"{item.kind}#{counts[item.kind]}"
            numbered.append(replace(item, name=name))
        return numbered


def _error(news: News, record: Record) -> BenchError | None:
    data = news.end.error if news.end else None
    return decode_error({key: record.local(text) for key, text in data.items()}) if data else None


def looked_at(cluster: Cluster) -> list[Node]:
    """Nodes of the cluster, with those that are busy now."""
    nodes, busy = cluster.nodes(), cluster.busy()
    return [replace(node, busy=node.id in busy) for node in nodes]


def tour(
    request: TourRequest,
    sweep: Sweep,
    around: Surroundings,
    cluster: Cluster,
    packing: Callable[[Sweep, Surroundings], Packed] | None = None,
) -> None:
    """Measure `sweep` on nodes of `cluster`, each into a run folder in `around.out`. `packing`: packs the files of the sweep.

    Raises `BadInput` before any long work, `StorageFailed` for this machine's disk, and `Interrupted`. What was measured stays.
    """
    check_out(request, around.out, resume=around.resume)
    nodes = looked_at(cluster)
    kinds = kinds_of(request.kinds, nodes)
    records = RunRecords(request=request, sweep=sweep, packed=(packing or packed)(sweep, around), out=around.out)
    cluster.load(records.packed.parcel)
    around.out.mkdir(parents=True, exist_ok=True)
    selected, ended, absent = records.stations(nodes, kinds)
    for entry in absent:
        around.progress.note(f"{entry.name}: no node of this kind is in the cluster, so that its rows stay as they are")
    if visit_all(request, records, selected, around, cluster, ended):
        again = f"to continue, run bench infer --on {request.on} --out {around.out} --resume"
        raise Interrupted(STOPPED, again if request.task == INFER else "run bench check again to start over")


def visit_all(
    request: TourRequest,
    records: Records,
    selected: Sequence[Station],
    around: Surroundings,
    cluster: Cluster,
    ended: int = 0,
) -> bool:
    """Visit the `selected` stations, and keep their news in `records`. True if the user interrupted it.

    `ended`: number of entries that are complete already. A second Ctrl-C raises KeyboardInterrupt.
    """
    state = _Tour(request=request, records=records, around=around, cluster=cluster, ended=ended)
    with ExitStack() as stack:
        state.enlist(selected)
        stop = stack.enter_context(interruptible())
        stack.callback(state.end)
        _visit(state, stop)
    return state.stopping


def _visit(state: _Tour, stop: Stop) -> None:
    listed_ns = state.around.clock.now_ns()
    while state.waiting or state.stays:
        state.start_what_can()
        if state.stays:
            state.cluster.wait([stay.visit for stay in state.stays], WAIT_S)
        for stay in list(state.stays):
            state.hear(stay)
        if stop.requested and not state.stopping:
            state.progress.note(f"stopping after {state.records.pause} of each node; press Ctrl-C again to stop at once")
            state.stop()
        if not state.stopping and state.around.clock.since_s(listed_ns) > LIST_S:
            listed_ns = state.around.clock.now_ns()
            state.welcome()
            state.move()


def packed(sweep: Sweep, around: Surroundings) -> Packed:
    """Pack the files of `sweep`. Raises the errors of `pack`."""
    around.progress.step("preparing the files for the nodes", 0, 1)
    with TemporaryDirectory(prefix="onnxbench-") as logs:
        context = Context(
            logs=Path(logs), clock=around.clock, progress=around.progress, timeout_s=sweep.timeout_s, pool=around.pool
        )
        return pack(sweep, context)
