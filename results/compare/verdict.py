"""Verdict on all changes of a comparison together, and the line that stands for changes without a decision. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..stats.ambiguity import AMBIGUOUS
from ..table.findings import Finding
from .change import BETTER, INCONCLUSIVE, NO_DIFFERENCE, VERDICTS, WORSE, Change

MIXED, EQUAL, UNDECIDED = "mixed", "equal", "undecided"
PLACES = {verdict: place for place, verdict in enumerate(VERDICTS)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Overall:
    """Verdict on all changes together: slower, worse, faster, better, mixed, equal or undecided.

    `counts`: the number of changes by verdict, without verdicts that no change has.
    """

    verdict: str
    counts: Mapping[str, int]

    @property
    def text(self) -> str:
        """The numbers of changes in words."""
        return ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items()) or "nothing was compared"

    @property
    def finding(self) -> Finding:
        return Finding.of("overall", verdict=self.verdict, counts=self.text)


def overall(changes: Sequence[Change]) -> Overall:
    """Verdict on `changes`. Without a worse or better figure, they are equal only if all of them are decided."""
    seen = Counter(change.verdict for change in changes)
    # only the control has no verdict
    counts = {verdict: seen[verdict] for verdict in VERDICTS if seen[verdict]}
    return Overall(verdict=_together(counts), counts=counts)


def _together(counts: Mapping[str, int]) -> str:
    worse, better = ([verdict for verdict in verdicts if verdict in counts] for verdicts in (WORSE, BETTER))
    if worse or better:
        # time stands first in WORSE and BETTER, so it names a change of time and memory in one direction
        return MIXED if worse and better else (worse or better)[0]
    return EQUAL if counts and not {INCONCLUSIVE, AMBIGUOUS} & counts.keys() else UNDECIDED


def decided_first(changes: Sequence[Change]) -> list[Change]:
    """Sort `changes` by verdict: losses, gains, ambiguous, equal, inconclusive, the control. The order is stable."""
    return sorted(changes, key=lambda change: PLACES.get(change.verdict or "", len(PLACES)))


def is_shown(change: Change) -> bool:
    """True if a folded table shows the change: a loss, a gain, or an ambiguous one."""
    return change.verdict in (*WORSE, *BETTER, AMBIGUOUS)


def folded(changes: Sequence[Change]) -> list[Finding]:
    """Finding that stands for the changes that a folded table leaves out; none if it leaves out nothing."""
    parts = [
        _part(f"{{}} {NO_DIFFERENCE}", [change for change in changes if change.verdict == NO_DIFFERENCE]),
        _part(f"{{}} {INCONCLUSIVE}", [change for change in changes if change.verdict == INCONCLUSIVE]),
        _part("{} of the control", [change for change in changes if change.verdict is None]),
    ]
    counts = "; ".join(filter(None, parts))
    return [Finding.of("folded", counts=counts)] if counts else []


def _part(text: str, changes: Sequence[Change]) -> str:
    """Number of `changes`, with their reasons and the range of their ratios; empty without changes."""
    if not changes:
        return ""
    ratios = [change.effect for change in changes if not change.metric.in_points]
    about = list(dict.fromkeys(change.reason for change in changes if change.reason and change.verdict))
    if ratios:
        about.append(f"new/base {min(ratios):.3g} to {max(ratios):.3g}")
    return f"{text.format(len(changes))} ({', '.join(about)})" if about else text.format(len(changes))
