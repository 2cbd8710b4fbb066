"""Run folders of a tour: nodes.json, a folder for each node, and the nodes that a resumed tour visits. Loads no framework."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import BadInput, StorageFailed
from ...results.store.head import RUN
from ...results.store.nodes import NodeEntry, NodeList, is_of_nodes, read_nodes, write_nodes
from ...spec import Sweep, to_wire
from .cluster import INFER, NodeOrder, TourRequest
from .node_run import NodeRun, is_complete, stored_files
from .nodes import Node, Station, resumed, stations
from .parcel import Packed


@dataclass(kw_only=True)
class RunRecords:
    """Run folders in `out`. `sweep`: the user's. `packed`: the same for the nodes."""

    request: TourRequest
    sweep: Sweep
    packed: Packed
    out: Path
    entries: list[NodeEntry] = field(default_factory=list)
    pause: str = "the current block"

    @property
    def limit_s(self) -> float:
        return self.sweep.timeout_s

    def enlist(self, new: Sequence[Station]) -> None:
        """Write `new` stations into nodes.json. A station of an earlier entry replaces its node."""
        for station in new:
            same = [index for index, old in enumerate(self.entries) if old.name == station.name]
            if same:
                self.entries[same[0]] = replace(self.entries[same[0]], id=station.node.id)
            else:
                folder = self._new_folder(station.name)
                self.entries.append(NodeEntry(name=station.name, kind=station.kind, id=station.node.id, folder=folder))
        request, entries = self.request, tuple(self.entries)
        nodes = NodeList(task=request.task, sweep=self.sweep, kinds=request.kinds, every=request.every, nodes=entries)
        try:
            write_nodes(self.out, nodes)
        except OSError as error:
            raise StorageFailed(f"cannot write to {self.out} ({error.strerror})", "give another --out") from error

    def _new_folder(self, name: str) -> str:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "node"
        used = {entry.folder for entry in self.entries}
        return next(text for text in (base, *(f"{base}-{n}" for n in range(2, len(used) + 3))) if text not in used)

    def _folder_of(self, station: Station) -> Path:
        return self.out / next(entry.folder for entry in self.entries if entry.name == station.name)

    def order(self, station: Station) -> NodeOrder:
        """Order with the files of a run that the node continues."""
        return NodeOrder(
            task=self.request.task,
            request=to_wire(self.packed.sweep),
            place=str(Path.cwd()),
            most=self.request.most,
            least=self.request.least,
            explain=self.request.explain,
            stored=stored_files(self._folder_of(station)),
        )

    def open(self, station: Station) -> NodeRun:
        """Open the run folder of a node."""
        return NodeRun(self._folder_of(station), station, self.request.task, self.sweep, self.packed.models)

    def stations(self, nodes: Sequence[Node], kinds: Sequence[str]) -> tuple[list[Station], int, list[NodeEntry]]:
        """Stations to visit, number of complete runs, and entries without a node.

        A resumed tour visits the nodes that are not complete, and those of new kinds.
        """
        every = self.request.every
        if not is_of_nodes(self.out):
            return stations(nodes, kinds, every=every), 0, []
        self.entries = list(read_nodes(self.out).nodes)
        left = [entry for entry in self.entries if not is_complete(self.out / entry.folder)]
        named = [entry for entry in left if entry.kind in kinds or not self.request.kinds]
        selected, absent = resumed(named, nodes)
        present = {entry.kind for entry in self.entries}
        new = stations(nodes, [kind for kind in kinds if kind not in present], every=every)
        return selected + new, len(self.entries) - len(left), absent


def check_out(request: TourRequest, out: Path, *, resume: bool) -> None:
    """Raise `BadInput` where the folder has other runs, or runs that the user did not ask to continue."""
    if (out / RUN).exists():
        raise BadInput(f"{out} holds a run of one machine", "give another --out")
    if not is_of_nodes(out):
        return
    task = read_nodes(out).task
    if task != request.task or not resume:
        hint = "give --resume to continue it, or another --out" if task == request.task == INFER else "give another --out"
        raise BadInput(f"{out} holds runs of bench {task} on a cluster already", hint)
