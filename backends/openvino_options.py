"""Options of OpenVINO's CPU plugin: applied, read back, and written into programs. Imports nothing of OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..spec import Cell
from ..tuning import Pairs, Tunable
from .protocol import setting

HINT, THREADS, CORES = "performance_hint", "enable_hyper_threading", "scheduling_core_type"
PINNING, MMAP = "enable_cpu_pinning", "enable_mmap"
OPTIONS: Mapping[str, str] = {
    HINT: "none (default): the number of streams is set; LATENCY or THROUGHPUT: OpenVINO chooses it",
    PINNING: "NO (default): the system places the threads; YES: each thread keeps its core",
    THREADS: "YES (default): use both threads of a core; NO: use one",
    CORES: "ANY_CORE (default), PCORE_ONLY or ECORE_ONLY, on CPUs with two kinds of cores",
    MMAP: "YES (default): map the weights into memory; NO: read them",
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    HINT: ("none", "LATENCY", "THROUGHPUT"),
    PINNING: ("NO", "YES"),
    THREADS: ("YES", "NO"),
    CORES: ("ANY_CORE", "PCORE_ONLY", "ECORE_ONLY"),
    MMAP: ("YES", "NO"),
}
TUNABLES = tuple(Tunable(name=name, values=CHOICES[name]) for name in (PINNING, HINT, THREADS, CORES, MMAP))


def changed(properties: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """`properties` for compiling, with the options of `cell`. With a hint, OpenVINO chooses the number of streams."""
    own = {name: value for name, value in cell.settings.options if name != MMAP and (name, value) != (HINT, "none")}
    result = {**properties, **{name.upper(): _plain(value) for name, value in own.items()}}
    if HINT in own:
        del result["NUM_STREAMS"]
    return result


def _plain(value: str) -> Any:
    return {"YES": True, "NO": False}.get(value, value)


def of_reading(cell: Cell) -> dict[str, Any]:
    """Properties to set before the file is read."""
    return {MMAP.upper(): _plain(setting(cell, MMAP))} if setting(cell, MMAP) else {}


def program(cell: Cell) -> str:
    """Line of a program that sets the properties before the file is read; empty for the defaults."""
    return f"core.set_property({of_reading(cell)!r})\n" if of_reading(cell) else ""


def read_options(core: Any, compiled: Any, cell: Cell) -> Pairs:
    """Options that `cell` sets, as OpenVINO reports them."""
    own = dict(cell.settings.options)
    reported = {name: _text(core if name == MMAP else compiled, name) for name in OPTIONS if name in own}
    if own.get(HINT) == "none":  # OpenVINO reports LATENCY where no hint is set
        reported[HINT] = "none"
    return tuple(reported.items())


def _text(source: Any, name: str) -> str:
    """A property as its option is written: `YES` for True, and the name of an enumeration's value."""
    value = source.get_property(name.upper())
    if isinstance(value, bool):
        return "YES" if value else "NO"
    return str(value).rpartition(".")[2]
