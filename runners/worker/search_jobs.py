"""Jobs of the search for an INT8 file within bounds. Standard library and the package only. search.py has the functions."""

from __future__ import annotations

from dataclasses import dataclass

from ...exporters.searched import DataParts, Evaluated, FirstLook, NodeError
from ...spec import Artifact
from .file_jobs import Making
from .jobs import Job

MOST_SEARCH, MOST_PROOF = 2_000, 10_000  # labelled items of each part


@dataclass(frozen=True, kw_only=True)
class CountParts(Making, Job[DataParts]):
    """Count the items of the disjoint parts of the data: calibration, search and proof."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedNodes:
    """The nodes that a scheme quantizes, the one with the largest error first."""

    nodes: tuple[NodeError, ...]


@dataclass(frozen=True, kw_only=True)
class RankNodes(Making, Job[RankedNodes]):
    """Measure the error of each node of the INT8 file alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Figures of a file, and a first look at its speed."""

    figures: Evaluated
    look: FirstLook | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluateInt8(Making, Job[Evaluation]):
    """Make a file with the scheme and the excluded nodes of `how`, and compare it with FP32 on a part of the data.

    `made`: a file to compare in place of a new one. `proof`: the part is the proof. `backend`, `device`: where the file runs.
    """

    backend: str
    device: str
    made: Artifact | None = None
    proof: bool = False
