"""A cluster of nodes that are not there: each visit gives the news of a run that a test wrote, until its script ends."""

from dataclasses import dataclass, field

import numpy as np
from onnxbench.errors import encode_error
from onnxbench.results.store.head import RUN
from onnxbench.results.store.journal import JOURNAL
from onnxbench.runners.cluster.cluster import End, News, Parcel
from onnxbench.runners.cluster.nodes import Node
from onnxbench.runners.cluster.parcel import Packed


def node(name, kind=None, **facts):
    """A node on a machine of its own."""
    labels = {"kind": kind} if kind else {}
    return Node(**{"id": name, "address": name, "cpu": "Test CPU", "machine": name, "labels": labels, **facts})


def news_of(run, lines=None):
    """News of the run folder `run`: its head, then each of its first `lines` lines (all, if None) with the samples it names."""
    yield News(head=(run / RUN).read_text())
    for line in (run / JOURNAL).read_text().splitlines()[:lines]:
        names = [part for part in line.split('"') if part.startswith("samples/")]
        yield News(lines=(line,), samples=tuple((name, (run / name).read_bytes()) for name in names))


def ended(error=None):
    """The last news of a run."""
    return News(end=End(error=error and encode_error(error)))


def packed(sweep, around):
    """What `pack` makes, without files."""
    return Packed(parcel=Parcel(files={"/x": np.zeros(1, np.uint8)}), sweep=sweep, models=("cnn",))


@dataclass
class FakeVisit:
    """One visit. `script`: its news one by one; an exception is raised, and None means no news yet."""

    cluster: object
    node: Node
    order: object
    script: object
    stops: int = 0
    over: bool = False

    def news(self):
        item = next(self.script)
        if isinstance(item, Exception):
            raise item
        return () if item is None else (item,)

    def stop(self):
        self.stops += 1
        self.cluster.on_stop(self)

    def end(self):
        self.over = True


@dataclass
class FakeCluster:
    """`present`: the nodes. `working`: ids of those with other work.

    `scripts`: for a node's id, a function that makes the script of a visit from its order.
    """

    present: list
    scripts: dict
    visits: list = field(default_factory=list)
    most_together: dict = field(default_factory=dict)
    waits: int = 0
    at_wait: dict = field(default_factory=dict)
    working: set = field(default_factory=set)

    def nodes(self):
        return list(self.present)

    def busy(self):
        return set(self.working)

    def load(self, parcel):
        self.parcel = parcel

    def start(self, one, order):
        self.visits.append(FakeVisit(self, one, order, iter(self.scripts[one.id](order))))
        running = [visit for visit in self.visits if not visit.over and visit.node.machine == one.machine]
        self.most_together[one.machine] = max(len(running), self.most_together.get(one.machine, 0))
        return self.visits[-1]

    def wait(self, visits, limit_s):
        self.waits += 1
        self.at_wait.get(self.waits, lambda: None)()

    def on_stop(self, visit):
        """The run of a node ends after its block."""

    def close(self):
        pass
