"""Options that a search tries (`--tune`), and the result of a search. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

Number = float | None
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tunable:
    """An option of a backend that is worth searching. `values`: those to try; the first is the value of an unset option.

    `always`: searched without `--tune` too. `images`: the option changes only models with an input of four dimensions.
    `open_dims`: it changes only files with an open dimension.
    """

    name: str
    values: tuple[str, ...]
    always: bool = False
    images: bool = False
    open_dims: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TriedOptions:
    """Options of a search, as far as they differ from the default, and their speed relative to the default's.

    `of`: latency or throughput. `speed`: 1.1 for options that are 10 % faster; None for a candidate that was dropped, for the
    `reason`.
    """

    of: str
    options: Pairs = ()
    speed: Number = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """Result of a search: the options for single calls and for parallel calls, as far as they differ from the default.

    `beside`: key of the cell with the default options. Where the search found nothing faster, the figures of that cell are
    those of this one. `default`: that cell's target. `untried`: options for which the time limit left no time, each after
    `latency` or `throughput`. `candidates`: those that were tried.
    """

    latency: Pairs = ()
    throughput: Pairs = ()
    beside: str = ""
    default: str = ""
    seconds: float = 0.0
    untried: Pairs = ()
    candidates: tuple[TriedOptions, ...] = ()

    @property
    def is_default(self) -> bool:
        """True if nothing was faster than the default."""
        return not self.latency and not self.throughput

    @property
    def dropped(self) -> tuple[TriedOptions, ...]:
        """Candidates that failed, or whose answers or arithmetic are others than requested."""
        return tuple(item for item in self.candidates if item.reason)


def written(options: Pairs) -> str:
    """`a=1 b=2`; `the default` for no options."""
    return " ".join(f"{name}={value}" for name, value in options) or "the default"


def merged(options: Pairs, changes: Pairs) -> Pairs:
    """`options` with `changes`, sorted by name."""
    return tuple(sorted({**dict(options), **dict(changes)}.items()))
