"""Interface to a cluster, and the values that pass between this machine and a node. Standard library only.

The sweep on a node is the ordinary one. A node sends the new lines of its run folder, and no code outside this folder knows
that there is a cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .nodes import Node

FOLDER = "@onnxbench-folder@"
"""Stands for the folder of a visit on its node, in every text that passes: nobody here knows that folder's path."""

FILES, OUT = "files", "run"  # in that folder: this machine's files under their absolute paths, and the run folder
INFER, CHECK, TRAIN = "infer", "check", "train"
WEIGHTS = "weights.safetensors"  # in that folder: checkpoint of a training


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcel:
    """Files that the sweep reads, by their absolute paths here: bytes, uint8 [N]. `texts`: files with FOLDER in paths."""

    files: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeOrder:
    """Order to a node. `task`: INFER, CHECK or TRAIN. `request`: data of the sweep or the training, with FOLDER in its paths.

    `most`, `least`, `explain`: those of a check. `place`: working folder here, which a relative path is relative to.
    `stored`: files of a run folder to continue, by their relative paths; empty for a new run.
    """

    task: str
    request: Mapping[str, Any]
    place: str
    most: tuple[tuple[str, str], ...] = ()
    least: tuple[tuple[str, str], ...] = ()
    explain: bool = False
    stored: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """End of a visit. `error`: the error that ended its run (errors.encode_error); None for a complete run."""

    error: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """News of a node since the last ones.

    `head`: text of run.json if it changed. `samples`: new files of samples by name. `lines`: new complete lines of the journal;
    the samples of its blocks came before. `results`: JSON list of the rows of a training if they changed. `weights`: content of
    its checkpoint, which comes with the end. `step`: last step, with the steps done and their total.
    """

    head: str | None = None
    samples: tuple[tuple[str, bytes], ...] = ()
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    step: tuple[str, float, float] | None = None
    results: str | None = None
    weights: bytes = b""
    end: End | None = None


class Visit(Protocol):
    """A run on one node, which has the whole node for itself."""

    def news(self) -> Sequence[News]:
        """News that have arrived; none until the node is free. Does not wait. Raises `NodeLost`."""

    def stop(self) -> None:
        """Ask the run to end after its current block, as the first Ctrl-C does."""

    def end(self) -> None:
        """End the run now, with every process of it. The node is free afterwards."""


class Cluster(Protocol):
    """Nodes that can measure."""

    def nodes(self) -> Sequence[Node]:
        """Nodes that are there now and have CPUs for work, with their facts except `busy`."""

    def busy(self) -> Collection[str]:
        """Ids of the nodes with work now. Empty where the cluster does not tell."""

    def load(self, parcel: Parcel) -> None:
        """Take the files that the visits need. They travel once to each node."""

    def start(self, node: Node, order: NodeOrder) -> Visit:
        """Begin a visit, which waits until the whole node is free."""

    def wait(self, visits: Sequence[Visit], limit_s: float) -> None:
        """Return when one of `visits` has news, and after `limit_s` seconds at the latest."""

    def close(self) -> None:
        """Leave the cluster. Ends every visit."""
