"""Interface of the tour to what it keeps of the nodes: run folders, or rows of a training. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...errors import BenchError
from ...results.store.nodes import NodeEntry
from .cluster import News, NodeOrder
from .nodes import Station


class Record(Protocol):
    """Record of one visit."""

    def local(self, text: str) -> str:
        """`text` of the node with the paths of this machine."""

    def add(self, news: News) -> None:
        """Keep `news`. Raises `StorageFailed`, and `BadInput` for data that no node sends."""

    def finish(self, error: BenchError | None) -> None:
        """End the record, and keep the `error` that ended the visit."""


class Records(Protocol):
    """Records of all nodes of a tour.

    `entries`: the nodes. `pause`: what ends before a node stops, for a note.
    """

    entries: list[NodeEntry]
    pause: str

    @property
    def limit_s(self) -> float:
        """Longest wait for a busy node."""

    def enlist(self, new: Sequence[Station]) -> None:
        """Add `new` stations to the entries. Raises `StorageFailed`."""

    def order(self, station: Station) -> NodeOrder:
        """Order to the node of `station`."""

    def open(self, station: Station) -> Record:
        """Begin the record of a visit."""
