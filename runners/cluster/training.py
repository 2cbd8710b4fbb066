"""`bench train` on the nodes of a cluster: the rows of each node, which arrive while it trains. Loads no framework.

A training has no run folder. A node sends all of its rows at the start and after each training, and at the end the weights
of the first row that succeeded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import BadInput, BenchError, StorageFailed
from ...files import replace_file
from ...models import datasets
from ...models.preprocessing import absolute_name
from ...results.store.nodes import NodeEntry
from ...results.table import training as tables
from ...results.table.training import Result
from ...spec import from_wire, to_wire
from ...untrusted import WRONG, parse
from ..infer import Surroundings
from ..prepare import checkpoints
from ..prepare.parallel import check_batch
from ..prepare.train import TRAINING_INTERRUPTED, Training
from .cluster import TRAIN, Cluster, News, NodeOrder, TourRequest
from .node_run import local_text
from .nodes import Station, kinds_of, stations
from .parcel import data_parcel, data_there
from .tour import looked_at, visit_all

SAME = "use one version of onnxbench on all nodes"


@dataclass(kw_only=True)
class NodeRows:
    """Rows of one node. `weights`: its checkpoint, as the bytes of a file; empty without one."""

    station: Station
    training: Training
    results: list[Result] = field(default_factory=list)
    weights: bytes = b""

    def local(self, text: str) -> str:
        """`text` of the node with the paths of this machine."""
        return local_text(text, Path("the node"))

    def add(self, news: News) -> None:
        """Replace the rows by newer ones, and take the weights. `BadInput` for data that no training has."""
        if news.results is not None:
            try:
                rows = [from_wire(Result, data) for data in parse(self.local(news.results).encode())]
                tables.build(rows, self.training.head())
            except WRONG as error:
                raise BadInput(f"the node {self.station.name} sent other rows than a training has ({error})", SAME) from error
            self.results = [replace(row, host=self.station.name) for row in rows]
        if news.weights:
            self._check_weights(news.weights)
            self.weights = news.weights

    def _check_weights(self, weights: bytes) -> None:
        """Raise `BadInput` for other data than weights of this model and this dataset."""
        try:
            record = checkpoints.record_of(weights)
        except WRONG as error:
            raise BadInput(f"the node {self.station.name} sent no checkpoint", SAME) from error
        if (record.get("model"), record.get("dataset")) != (self.training.model, absolute_name(self.training.dataset)):
            raise BadInput(f"the node {self.station.name} sent the weights of another training", SAME)

    def finish(self, error: BenchError | None) -> None:
        """Give the rows that did not end the `error` as their reason, and one to a node without rows."""
        if error is None:
            return
        self.results = self.results or list(self._expected())
        for place, row in enumerate(self.results):
            if row.reason == TRAINING_INTERRUPTED:
                self.results[place] = replace(row, status=error.status, reason=str(error))

    def _expected(self) -> Sequence[Result]:
        training = self.training
        names = [(device, precision) for device in training.devices for precision in training.precisions]
        row = Result(device="", precision="", status="failed", reason=TRAINING_INTERRUPTED, host=self.station.name)
        return [replace(row, device=device, precision=precision) for device, precision in names]


@dataclass(kw_only=True)
class TrainingRecords:
    """Rows of all nodes. `training`: the user's. `there`: the same with the paths of the nodes."""

    training: Training
    there: Training
    entries: list[NodeEntry] = field(default_factory=list)
    rows: dict[str, NodeRows] = field(default_factory=dict)
    pause: str = "the current step"

    @property
    def limit_s(self) -> float:
        return self.training.timeout_s

    def enlist(self, new: Sequence[Station]) -> None:
        """Add stations. A station of an earlier name replaces its node."""
        for station in new:
            entry = NodeEntry(name=station.name, kind=station.kind, id=station.node.id, folder="")
            self.entries = [old for old in self.entries if old.name != station.name] + [entry]
            self.rows[station.name] = NodeRows(station=station, training=self.training)

    def order(self, station: Station) -> NodeOrder:
        """Order to train."""
        return NodeOrder(task=TRAIN, request=to_wire(self.there), place=os.fspath(Path.cwd()))

    def open(self, station: Station) -> NodeRows:
        """Rows of `station`, which are empty."""
        return self.rows[station.name]

    def results(self) -> list[Result]:
        """Rows of all nodes in the order of the nodes."""
        return [row for rows in self.rows.values() for row in rows.results]

    def hosts(self) -> dict[str, str]:
        """Facts of each node by its name: CPU, CPUs for work, accelerators."""
        return {name: _facts(rows.station) for name, rows in self.rows.items()}

    def keep_weights(self) -> str:
        """Write the first checkpoint as that of this machine, and return the name of its node; empty without any.

        Raises `StorageFailed`.
        """
        for name, rows in self.rows.items():
            if rows.weights and any(row.status == "ok" for row in rows.results):
                _write_checkpoint(self.training, rows.weights)
                return name
        return ""


def _facts(station: Station) -> str:
    node = station.node
    parts = [node.cpu, f"{node.cpus:g} CPUs", node.accelerator and f"{node.accelerator} x{node.gpus:g}"]
    return ", ".join(part for part in parts if part)


def _write_checkpoint(training: Training, weights: bytes) -> None:
    try:
        path = checkpoints.prepare_path(training.model, training.dataset)
        replace_file(path, lambda scratch: scratch.write_bytes(weights))
    except OSError as error:
        raise StorageFailed(f"cannot keep the weights ({error})", "free some space, then train again") from error


def check(training: Training) -> None:
    """Raise `BadInput` for a training that no node can do."""
    datasets.check(training.dataset)
    check_batch(training.parallel, training.batch_size)


def train_on_nodes(
    request: TourRequest, training: Training, around: Surroundings, cluster: Cluster
) -> tuple[TrainingRecords, bool]:
    """Train on the nodes of `cluster`. Returns the rows, and True if Ctrl-C ended the training.

    `training.threads` is 0 for all threads of each node. Raises `BadInput` before any training, and `StorageFailed`.
    """
    nodes = looked_at(cluster)
    selected = stations(nodes, kinds_of(request.kinds, nodes), every=request.every)
    name = absolute_name(training.dataset)
    cluster.load(data_parcel(name))
    records = TrainingRecords(training=training, there=replace(training, dataset=name, place=data_there(name)))
    try:
        interrupted = visit_all(request, records, selected, around, cluster)
    except KeyboardInterrupt:
        interrupted = True
    if host := records.keep_weights():
        around.progress.note(f"kept the weights that {host} trained")
    return records, interrupted
