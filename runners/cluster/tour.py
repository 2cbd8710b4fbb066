"""Tour of a cluster: a visit to one node of each kind, and a run folder here for each. Loads no framework.

Nodes on different machines are measured at the same time. Nodes that share a machine are measured one after the other, since
they would disturb each other. A visit is never repeated by itself: a node that fails has rows with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import BadInput, BenchError, Interrupted, NodeLost, StorageFailed, WorkerTimeout, decode_error
from ...results.store.head import RUN
from ...results.store.nodes import NodeEntry, NodeList, is_of_nodes, read_nodes, write_nodes
from ...spec import Sweep, to_wire
from ..infer import Surroundings
from ..pool.context import Context
from ..pool.progress import Progress
from ..sweep.interrupt import Stop, interruptible
from .cluster import INFER, Cluster, News, NodeOrder, Visit
from .node_run import NodeRun, is_complete, local_text, stored_files
from .nodes import Node, Station, kinds_of, resumed, stations
from .parcel import Packed, pack

WAIT_S, LIST_S = 1.0, 10.0  # longest wait for news, and time between two looks for nodes that joined


@dataclass(frozen=True, kw_only=True)
class TourRequest:
    """Request to measure on a cluster. `task`, `most`, `least`, `explain`: as in NodeOrder, with the user's limits.

    `on`: the cluster, as the user wrote it. `kinds`: kinds that the user named; empty for all. `every`: every node of a kind.
    """

    task: str
    on: str = "ray"
    kinds: tuple[str, ...] = ()
    every: bool = False
    most: tuple[tuple[str, str], ...] = ()
    least: tuple[tuple[str, str], ...] = ()
    explain: bool = False


@dataclass(kw_only=True)
class _Stay:
    """A visit that is under way, with its run folder. `heard`: the node is free, and its run has begun."""

    station: Station
    visit: Visit
    run: NodeRun
    began_ns: int
    heard: bool = False
    done: float = 0.0


@dataclass(kw_only=True)
class _Tour:
    """State of a tour. `waiting`: stations to visit. `stays`: visits that are under way."""

    request: TourRequest
    sweep: Sweep
    packed: Packed
    around: Surroundings
    cluster: Cluster
    entries: list[NodeEntry] = field(default_factory=list)
    waiting: list[Station] = field(default_factory=list)
    stays: list[_Stay] = field(default_factory=list)
    ended: int = 0
    stopping: bool = False

    @property
    def progress(self) -> Progress:
        return self.around.progress

    def folder_of(self, station: Station) -> Path:
        """Run folder of a station."""
        return self.around.out / next(entry.folder for entry in self.entries if entry.name == station.name)

    def enlist(self, new: Sequence[Station]) -> None:
        """Write `new` stations into nodes.json, and let them wait for their visit. Raises `StorageFailed`."""
        for station in new:
            entry = NodeEntry(name=station.name, kind=station.kind, id=station.node.id, folder=self._new_folder(station.name))
            same = [index for index, old in enumerate(self.entries) if old.name == station.name]
            if same:
                self.entries[same[0]] = replace(self.entries[same[0]], id=station.node.id)
            else:
                self.entries.append(entry)
        self.waiting += new
        request = self.request
        nodes = NodeList(
            task=request.task, sweep=self.sweep, kinds=request.kinds, every=request.every, nodes=tuple(self.entries)
        )
        try:
            write_nodes(self.around.out, nodes)
        except OSError as error:
            raise StorageFailed(f"cannot write to {self.around.out} ({error.strerror})", "give another --out") from error

    def _new_folder(self, name: str) -> str:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "node"
        used = {entry.folder for entry in self.entries}
        return next(text for text in (base, *(f"{base}-{n}" for n in range(2, len(used) + 3))) if text not in used)

    def start_what_can(self) -> None:
        """Begin the visits to machines that no visit is on."""
        for station in list(self.waiting):
            busy = {stay.station.node.machine or stay.station.node.id for stay in self.stays}
            if (station.node.machine or station.node.id) not in busy:
                self.waiting.remove(station)
                self._start(station)

    def _start(self, station: Station) -> None:
        folder = self.folder_of(station)
        stored = stored_files(folder)
        run = NodeRun(folder, station, self.request.task, self.sweep, self.packed.models)
        if station.node.unfit:
            self._close(run, NodeLost(station.node.unfit))
            return
        order = NodeOrder(
            task=self.request.task,
            sweep=to_wire(self.packed.sweep),
            place=str(Path.cwd()),
            most=self.request.most,
            least=self.request.least,
            explain=self.request.explain,
            stored=stored,
        )
        self.progress.note(f"{station.name}: {'continuing' if stored else 'measuring'} on {station.node.address or 'its node'}")
        visit = self.cluster.start(station.node, order)
        self.stays.append(_Stay(station=station, visit=visit, run=run, began_ns=self.around.clock.now_ns()))

    def hear(self, stay: _Stay) -> None:
        """Write the news of a visit. Ends the visit where the run ended, the node was lost, or never became free."""
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
                self._finish(stay, _error(item, stay.run.folder))
                return
        limit_s = self.sweep.timeout_s
        if not stay.heard and (self.stopping or self.around.clock.since_s(stay.began_ns) > limit_s):
            busy = WorkerTimeout(f"other work kept the node busy for {limit_s:g} s", "wait for it, or give a larger --timeout")
            self._finish(stay, Interrupted("stopped by Ctrl-C") if self.stopping else busy)

    def _write(self, stay: _Stay, news: News) -> None:
        stay.run.add(news)
        for note in news.notes:
            self.progress.note(f"{stay.station.name}: {local_text(note, stay.run.folder)}")
        if news.step:
            what, done, total = news.step
            stay.done = done / total if total else 0.0
            of_all = self.ended + sum(item.done for item in self.stays)
            self.progress.step(f"{stay.station.name}: {what}", round(of_all, 2), len(self.entries))

    def _finish(self, stay: _Stay, error: BenchError | None) -> None:
        stay.visit.end()
        self.stays.remove(stay)
        self.ended += 1
        if error and not isinstance(error, Interrupted):
            self.progress.note(f"{stay.station.name}: {error}")
        self._close(stay.run, error)

    def _close(self, run: NodeRun, error: BenchError | None) -> None:
        """End the writing of a run. An interrupted run needs no reason in its rows: they tell how to continue."""
        try:
            if error and (not isinstance(error, Interrupted) or not (run.folder / RUN).exists()):
                run.fail(error)
        finally:
            run.close()

    def stop(self) -> None:
        """Ask every visit to end after its current block."""
        self.stopping = True
        for station in self.waiting:
            folder = self.folder_of(station)
            if not (folder / RUN).exists():
                run = NodeRun(folder, station, self.request.task, self.sweep, self.packed.models)
                self._close(run, Interrupted("stopped by Ctrl-C"))
        self.waiting.clear()
        for stay in self.stays:
            stay.visit.stop()

    def end(self) -> None:
        """End every visit now."""
        for stay in list(self.stays):
            stay.visit.end()
            stay.run.close()

    def welcome(self) -> None:
        """Enlist nodes that joined since, of kinds that have no station yet; with --every-node all new ones."""
        if self.request.kinds:
            return
        nodes = self.cluster.nodes()
        ids, kinds = {entry.id for entry in self.entries}, {entry.kind for entry in self.entries}
        fit = [node for node in nodes if node.id not in ids and not node.unfit]
        new = [node for node in fit if self.request.every or node.kind not in kinds]
        if new:
            self.enlist(self._named(new))

    def _named(self, new: Sequence[Node]) -> list[Station]:
        """Stations of nodes that joined. A further node of a kind has the next number."""
        selected = stations(new, tuple(dict.fromkeys(node.kind for node in new)), every=self.request.every)
        names = {entry.name for entry in self.entries}
        counts = {kind: sum(entry.kind == kind for entry in self.entries) for kind in {item.kind for item in selected}}
        numbered = []
        for item in selected:
            counts[item.kind] += 1
            name = item.name if item.name not in names and counts[item.kind] == 1 else f"{item.kind}#{counts[item.kind]}"
            numbered.append(replace(item, name=name))
        return numbered


def _error(news: News, folder: Path) -> BenchError | None:
    data = news.end.error if news.end else None
    return decode_error({key: local_text(text, folder) for key, text in data.items()}) if data else None


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
    _check_out(request, around)
    nodes = cluster.nodes()
    kinds = kinds_of(request.kinds, nodes)
    with ExitStack() as stack:
        state = _Tour(request=request, sweep=sweep, packed=(packing or packed)(sweep, around), around=around, cluster=cluster)
        cluster.load(state.packed.parcel)
        around.out.mkdir(parents=True, exist_ok=True)
        state.enlist(_stations(request, state, nodes, kinds))
        stop = stack.enter_context(interruptible())
        stack.callback(state.end)
        _visit_all(state, stop)
    if state.stopping:
        again = f"to continue, run bench infer --on {request.on} --out {around.out} --resume"
        raise Interrupted("stopped by Ctrl-C", again if request.task == INFER else "run bench check again to start over")


def _visit_all(state: _Tour, stop: Stop) -> None:
    listed_ns = state.around.clock.now_ns()
    while state.waiting or state.stays:
        state.start_what_can()
        if state.stays:
            state.cluster.wait([stay.visit for stay in state.stays], WAIT_S)
        for stay in list(state.stays):
            state.hear(stay)
        if stop.requested and not state.stopping:
            state.progress.note("stopping after the current block of each node; press Ctrl-C again to stop at once")
            state.stop()
        if not state.stopping and state.around.clock.since_s(listed_ns) > LIST_S:
            listed_ns = state.around.clock.now_ns()
            state.welcome()


def _check_out(request: TourRequest, around: Surroundings) -> None:
    """Raise `BadInput` where the folder has other runs, or runs that the user did not ask to continue."""
    out = around.out
    if (out / RUN).exists():
        raise BadInput(f"{out} holds a run of one machine", "give another --out")
    if not is_of_nodes(out):
        return
    task = read_nodes(out).task
    if task != request.task or not around.resume:
        hint = "give --resume to continue it, or another --out" if task == request.task == INFER else "give another --out"
        raise BadInput(f"{out} holds runs of bench {task} on a cluster already", hint)


def packed(sweep: Sweep, around: Surroundings) -> Packed:
    """Pack the files of `sweep`. Raises the errors of `pack`."""
    around.progress.step("preparing the files for the nodes", 0, 1)
    with TemporaryDirectory(prefix="onnxbench-") as logs:
        context = Context(
            logs=Path(logs), clock=around.clock, progress=around.progress, timeout_s=sweep.timeout_s, pool=around.pool
        )
        return pack(sweep, context)


def _stations(request: TourRequest, state: _Tour, nodes: Sequence[Node], kinds: Sequence[str]) -> list[Station]:
    """Stations to visit: for a resumed tour those that are not complete, and new ones."""
    if not is_of_nodes(state.around.out):
        return stations(nodes, kinds, every=request.every)
    state.entries = list(read_nodes(state.around.out).nodes)
    left = [entry for entry in state.entries if not is_complete(state.around.out / entry.folder)]
    state.ended = len(state.entries) - len(left)
    selected, absent = resumed([entry for entry in left if entry.kind in kinds or not request.kinds], nodes)
    for entry in absent:
        state.progress.note(f"{entry.name}: no node of this kind is in the cluster, so that its rows stay as they are")
    present = {entry.kind for entry in state.entries}
    return selected + stations(nodes, [kind for kind in kinds if kind not in present], every=request.every)
