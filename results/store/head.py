"""run.json: facts of the whole run, and its cells with their keys in the journal. Standard library and spec only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import BadInput, one_line
from ...parity import ImageSet
from ...spec import KEY_DIGITS, Cell, Sweep, digest, from_wire, to_wire
from ...untrusted import WRONG, parse, read_bytes

SCHEMA = 3
RUN = "run.json"
CHECK = "check"  # the kind of a run that measures no time
PROFILE = "profile"  # the kind of a run that times kernels
Number = float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """Facts of one GPU; None for a fact that NVML does not report."""

    name: str | None = None
    driver: str | None = None
    memory_gb: Number = None
    power_limit_w: Number = None
    max_sm_mhz: Number = None
    persistence: bool | None = None
    mig: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """Facts of the machine that measured; `gpus` are in the order of CUDA's indices, `cpu_quota` is in CPUs.

    `name`: name of the machine in a table, where its CPU alone does not tell it from others: its kind in a cluster, and for one
    of several nodes of a kind `KIND#NUMBER`.
    """

    cpu: str | None = None
    cores: int | None = None
    usable_threads: int | None = None
    cpu_quota: Number = None
    memory_gb: Number = None
    isa: tuple[str, ...] | None = None
    os: str | None = None
    machine: str | None = None
    python: str | None = None
    gpus: tuple[Gpu, ...] | None = None
    name: str | None = None

    @property
    def label(self) -> str:
        """Name of the machine in a table."""
        return self.name or self.cpu or "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Content of run.json without the cells.

    `sweep`: the requested sweep; None where another tool measured. `commit`: commit of the git
    repository in which the run began. `images`: facts of decoded image files, by the dataset's name.
    """

    schema: int
    kind: str = ""
    tool: str | None = None
    began_unix_s: float | None = None
    host: Host = Host()
    versions: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    instruments: tuple[str, ...] = ()
    sweep: Sweep | None = None
    commit: str | None = None
    images: Mapping[str, ImageSet] = field(default_factory=dict)


def read_head(folder: Path) -> Head:
    """Read run.json without its cells. `BadInput` if the file is missing, damaged or of a newer schema."""
    return _read_head(folder)[0]


def read_whole_head(folder: Path) -> tuple[Head, dict[Cell, str]]:
    """Read run.json with its cells and their keys in the journal. Raises the errors of `read_head`."""
    return _whole_head(*_read_head(folder), folder)


def head_of_text(text: bytes, folder: Path) -> tuple[Head, dict[Cell, str]]:
    """Read the text of a run.json that is to be written to `folder`. Raises the errors of `read_head`."""
    return _whole_head(*_parse_head(text, folder), folder)


def _whole_head(head: Head, data: Mapping[str, Any], folder: Path) -> tuple[Head, dict[Cell, str]]:
    try:
        return head, {from_wire(Cell, cell): _key(cell) for cell in data["cells"]}
    except WRONG as error:
        raise BadInput(f"{folder / RUN} has no valid list of cells ({one_line(error)})", "measure it again") from error


def _read_head(folder: Path) -> tuple[Head, Mapping[str, Any]]:
    try:
        text = read_bytes(folder / RUN)
    except OSError as error:
        raise _no_run(folder, error) from error
    return _parse_head(text, folder)


def _no_run(folder: Path, error: Exception) -> BadInput:
    return BadInput(f"{folder} is not a run folder ({one_line(error)})", "give a folder that bench infer wrote")


def _parse_head(text: bytes, folder: Path) -> tuple[Head, Mapping[str, Any]]:
    try:
        data = parse(text)
        head = from_wire(Head, _readable(data))
    except WRONG as error:
        raise _no_run(folder, error) from error
    if head.schema > SCHEMA:
        raise BadInput(f"{folder} has schema {head.schema}; this version reads up to {SCHEMA}", "upgrade onnxbench")
    return head, data


def _readable(data: Any) -> Any:
    """Data of a head in the form of the current schema."""
    # Before schema 2 a budget had no `looks`, the rounds at which the stop rule decides. Without them nobody can tell
    # whether a cell was complete, thus such a sweep is dropped.
    sweep = data.get("sweep") if isinstance(data, dict) else None
    budget = sweep.get("budget") if isinstance(sweep, dict) else None
    return {**data, "sweep": None} if isinstance(budget, dict) and "looks" not in budget else data


def head_to_wire(head: Head, cells: Mapping[Cell, str]) -> Mapping[str, Any]:
    """Data of run.json: `head`, and `cells` with their keys in the journal."""
    return {**to_wire(head), "cells": [{**to_wire(cell), "key": key} for cell, key in cells.items()]}


def _key(listed: Mapping[str, Any]) -> str:
    """Key of a cell that a head lists. `ValueError` for a text that is not a key."""
    # Files are named after the key, and a run folder may come from anybody. Before schema 3 run.json had no key; it was
    # the digest of the cell's data.
    key = listed["key"] if "key" in listed else digest(dict(listed))[:KEY_DIGITS]
    if not re.fullmatch(f"[0-9a-f]{{{KEY_DIGITS}}}", key):
        raise ValueError("a cell's key is not hexadecimal")
    return str(key)


def is_measured(folder: Path) -> bool:
    """True if the run in `folder` was measured: neither a check nor imported."""
    return not read_head(folder).kind
