"""Halving of a list of versions, from a good one to a bad one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import BadInput, nearest
from ..history.order import version_key
from .trials import NOT_SLOWER, SLOWER, UNDECIDED, VersionTrial


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """Result of a bisection: `good` is the last version that is not slower, `bad` the first that is shown to be slower.

    `between`: versions between them that could not be decided.
    """

    good: str
    bad: str
    between: tuple[str, ...] = ()


def bracket(versions: Sequence[str], trials: Mapping[str, VersionTrial]) -> Bracket:
    """Bracket of `versions`, of which the first is good and the last is bad, by the `trials` so far."""
    verdicts = {version: trial.verdict for version, trial in trials.items()}
    bad = min((place for place, version in enumerate(versions) if verdicts.get(version) == SLOWER), default=len(versions) - 1)
    # a version that is not slower after one that is slower would be a second change: the first counts
    good = max((place for place, version in enumerate(versions[:bad]) if verdicts.get(version) == NOT_SLOWER), default=0)
    return Bracket(good=versions[good], bad=versions[bad], between=tuple(versions[good + 1 : bad]))


def next_version(versions: Sequence[str], trials: Mapping[str, VersionTrial]) -> str | None:
    """Version to try next: the middle of those in the bracket without a trial; None at the end."""
    untried = [version for version in bracket(versions, trials).between if version not in trials]
    return untried[len(untried) // 2] if untried else None


def steps_left(versions: Sequence[str], trials: Mapping[str, VersionTrial]) -> int:
    """Most further trials if each is decided."""
    return sum(version not in trials for version in bracket(versions, trials).between).bit_length()


def between(versions: Sequence[str], good: str, bad: str, package: str) -> tuple[str, ...]:
    """Versions from `good` to `bad`, the oldest first. `BadInput` if either is not among `versions`, or good is the newer."""
    ordered = sorted(versions, key=version_key)
    first, last = (_place(ordered, text, package) for text in (good, bad))
    if first >= last:
        problem = f"--good {good} is not older than --bad {bad}"
        raise BadInput(problem, "bisect finds the first slower version, so name the older one as --good")
    return tuple(ordered[first : last + 1])


def _place(ordered: Sequence[str], text: str, package: str) -> int:
    """Place of the version `text`: that version, else the newest that begins with it, such as 1.24.4 for 1.24."""
    exact = [place for place, version in enumerate(ordered) if version_key(version) == version_key(text)]
    begins = [place for place, version in enumerate(ordered) if version.startswith(f"{text}.")]
    if not (exact or begins):
        raise BadInput(f"pip finds no {package} {text} for this Python", nearest(text, ordered))
    return exact[0] if exact else begins[-1]


def undecided(trials: Mapping[str, VersionTrial], versions: Sequence[str]) -> list[VersionTrial]:
    """Trials of those `versions` that were measured without a decision."""
    return [trials[version] for version in versions if version in trials and trials[version].verdict == UNDECIDED]
