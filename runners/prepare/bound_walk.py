"""The walk of a search for an INT8 file: from the fastest scheme to the most careful one, to the first file within all bounds.

Pure. Each scheme is tried with all of its nodes in INT8, then with its worst nodes in float, in growing numbers. The search
part of the data decides what to try next, as often as needed. The file that it accepts is proven on the proof part. If the
proof fails, the walk continues with the next candidate, which must be clearly more exact, and the proof halves alpha.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ...exporters.searched import Evaluated, FirstLook, NodeError, SearchStep
from ...spec import PRECISIONS
from .bounds import Bound

SEARCH, PROOF = "search", "proof"
SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)  # numbers of nodes in float that are tried
ROUNDING_DB = PRECISIONS["fp32"].floor_db  # above it the error of a node is that of rounding in FP32
BETTER_DB = 3.0  # half of the error: a candidate behind a failed proof is at least that much more exact

Names = tuple[str, ...]


class Evaluator(Protocol):
    """The measurements of a search."""

    def rank(self, scheme: str) -> Sequence[NodeError]:
        """The nodes that `scheme` quantizes, the one with the largest error first."""

    def search(self, scheme: str, exclude: Names) -> tuple[Evaluated, FirstLook | None]:
        """Figures of a candidate on the search part, and a first look at its speed."""

    def prove(self, scheme: str, exclude: Names) -> Evaluated:
        """Figures of a candidate on the proof part."""

    def record(self, step: SearchStep) -> None:
        """Listen to a finished step."""


@dataclass(frozen=True, kw_only=True)
class WalkResult:
    """All steps in their order, and the step whose proof accepted a file; None where no file is within the bounds.

    `nearest`: the step of the search part that comes closest to the first bound; None where no file has figures.
    `limiting`: nodes in INT8 of that step, the one with the largest error first. `used_up`: the proof part cannot show the
    bounds in a further proof.
    """

    steps: tuple[SearchStep, ...]
    proven: SearchStep | None = None
    nearest: SearchStep | None = None
    limiting: tuple[NodeError, ...] = ()
    used_up: bool = False


@dataclass(kw_only=True)
class Walk:
    """One search. `proof_items`: size of the proof part."""

    schemes: Sequence[str]
    bounds: Sequence[Bound]
    evaluator: Evaluator
    proof_items: int
    steps: list[SearchStep] = field(default_factory=list)
    ranked: dict[str, Sequence[NodeError]] = field(default_factory=dict)

    def run(self) -> WalkResult:
        """Try candidates until a proof accepts one, or until the proof part cannot show the bounds in a further proof."""
        for step in (step for scheme in self.schemes for step in self._candidates(scheme)):
            figures = self.evaluator.prove(step.scheme, step.exclude)
            proof = self._add(SearchStep(scheme=step.scheme, exclude=step.exclude, part=PROOF, figures=figures))
            if proof.accepted:
                return WalkResult(steps=tuple(self.steps), proven=proof)
            if not all(bound.can_be_shown(self.proof_items, self._attempt()) for bound in self.bounds):
                return self._unreached(used_up=True)
        return self._unreached(used_up=False)

    def _candidates(self, scheme: str) -> Iterator[SearchStep]:
        """Steps on the search part that are worth a proof."""
        whole = self._search(scheme, ())
        if whole.figures.failed:
            return
        if self._is_worth(whole):
            yield whole
        self.ranked[scheme] = self.evaluator.rank(scheme)
        worst = tuple(node.name for node in self.ranked[scheme])
        most = most_in_float(self.ranked[scheme])
        sizes = [size for size in (*(each for each in SIZES if each < most), most) if 0 < size <= SIZES[-1]]
        # The largest number first: where that is not enough, the smaller ones need no trial.
        if not sizes or not self._is_worth(self._search(scheme, worst[: sizes[-1]])):
            return
        for size in sizes:
            step = self._search(scheme, worst[:size])
            if self._is_worth(step):
                yield self._without_idle(step)

    def _without_idle(self, step: SearchStep) -> SearchStep:
        """`step` without those nodes in float that the bounds do not need, the least sensitive first."""
        for name in reversed(step.exclude):
            fewer = tuple(other for other in step.exclude if other != name)
            if fewer and self._is_worth(trial := self._search(step.scheme, fewer)):
                step = trial
        return step

    def _search(self, scheme: str, exclude: Names) -> SearchStep:
        """Evaluate a candidate on the search part, once."""
        for step in self.steps:
            if (step.scheme, step.exclude, step.part) == (scheme, exclude, SEARCH):
                return step
        figures, look = self.evaluator.search(scheme, exclude)
        return self._add(SearchStep(scheme=scheme, exclude=exclude, part=SEARCH, figures=figures, look=look))

    def _add(self, step: SearchStep) -> SearchStep:
        attempt = self._attempt()
        items = self.proof_items if step.part == SEARCH else None
        holds = not step.figures.failed and all(bound.holds(step.figures, attempt, items) for bound in self.bounds)
        step = replace(step, alpha=tuple(bound.alpha(attempt) for bound in self.bounds), accepted=holds)
        self.steps.append(step)
        self.evaluator.record(step)
        return step

    def _attempt(self) -> int:
        """Number of the next proof, from 1."""
        return 1 + sum(step.part == PROOF for step in self.steps)

    def _is_worth(self, step: SearchStep) -> bool:
        """True if a proof of `step` may succeed: its bounds hold, and it is clearly more exact than any that failed."""
        proofs = [(other.scheme, other.exclude) for other in self.steps if other.part == PROOF]
        tried = [other for other in self.steps if other.part == SEARCH and (other.scheme, other.exclude) in proofs]
        least_db = max((other.figures.sqnr_db or 0.0 for other in tried), default=None)
        attempt = self._attempt()
        if least_db is not None and (step.figures.sqnr_db or 0.0) < least_db + BETTER_DB:
            return False
        return not step.figures.failed and all(bound.holds(step.figures, attempt, self.proof_items) for bound in self.bounds)

    def _unreached(self, *, used_up: bool) -> WalkResult:
        nearest = self._nearest()
        nodes = self.ranked.get(nearest.scheme, ()) if nearest else ()
        in_int8 = [node for node in nodes if nearest and node.name not in nearest.exclude]
        limiting = tuple(node for node in in_int8 if node.sqnr_db < ROUNDING_DB)
        return WalkResult(steps=tuple(self.steps), nearest=nearest, limiting=limiting, used_up=used_up)

    def _nearest(self) -> SearchStep | None:
        """The step of the search part whose figures come closest to the first bound; of equal ones the first."""
        bound = self.bounds[0]
        ends = [(bound.end(step.figures, 1, self.proof_items), step) for step in self.steps if step.part == SEARCH]
        sorted_ends = sorted(((end, step) for end, step in ends if end is not None), key=lambda pair: pair[0])
        if not sorted_ends:
            return None
        best = sorted_ends[0 if bound.most else -1][0]
        return next(step for end, step in sorted_ends if end == best)


def most_in_float(nodes: Sequence[NodeError]) -> int:
    """Largest number of the worst `nodes` that may stay in float: half of the nodes, and half of the layers (ADR 0030)."""
    layers = sum(node.layer for node in nodes)
    most = len(nodes) // 2
    while most and 2 * sum(node.layer for node in nodes[:most]) > layers:
        most -= 1
    return min(most, SIZES[-1])
