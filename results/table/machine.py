"""Table of `bench backends`: the backends of this machine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...axes import Scalar
from ..store.head import SCHEMA
from .column import Field
from .findings import Finding
from .table import Table

FIELDS = (
    Field(name="backend", number=False, priority=0, definition="Backend, with its environment where it has one."),
    Field(name="status", number=False, priority=1, definition="ok, or unavailable."),
    Field(name="version", number=False, priority=2, definition="Version of the runtime."),
    Field(name="devices", number=False, priority=3, definition="Devices that it can use here."),
    Field(
        name="opset",
        priority=4,
        definition="Highest ONNX opset that it takes; files of a higher one are lowered.",
    ),
    Field(name="default", number=False, priority=5, definition="yes: a sweep without --backend measures it."),
)
FACTS = (
    Field(name="precisions", number=False, priority=6, definition="Precisions; those in parentheses are measured on request."),
    Field(name="threads", priority=7, definition="Compute threads of a row without --threads; empty where a GPU computes."),
    Field(name="licence", number=False, priority=8, definition="Licence that its package declares (SPDX)."),
    Field(name="options", number=False, priority=9, definition="Names for --option."),
    Field(name="install", number=False, priority=10, definition="Command that installs it."),
    Field(
        name="converter",
        number=False,
        priority=11,
        definition="Packages that convert ONNX files to its format, with their versions, or the way to install them.",
    ),
)
"""Further columns of `--all`."""

STORED = ("reason", "install", "instrument")


@dataclass(frozen=True, kw_only=True)
class Presence:
    """A backend on this machine.

    `reason`: cause of its absence. `install`: command that installs it. `instrument`: it measures onnxbench itself.
    `opset`: the highest ONNX opset that it takes; 0 without a limit. `default`: a sweep without `--backend` measures it.
    `threads`: compute threads of a row without `--threads`; 0 where a GPU computes. `licence`: an SPDX expression.
    `converter`: packages of its converter.
    """

    backend: str
    available: bool
    version: str = ""
    devices: tuple[str, ...] = ()
    reason: str = ""
    install: str = ""
    instrument: bool = False
    opset: int = 0
    default: bool = True
    precisions: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    threads: int = 0
    licence: str = ""
    converter: str = ""


def build(backends: Sequence[Presence], everything: bool = False) -> Table:
    """Build the table of `backends`, in their order. `everything`: with all facts of each."""
    fields = (*FIELDS, *FACTS) if everything else FIELDS
    findings = [replace(finding, rows=(item.backend,)) for item in backends for finding in _findings(item)]
    return Table(
        names=tuple(dict.fromkeys((*(field.name for field in FIELDS), *STORED, *(field.name for field in fields)))),
        rows=tuple(map(_row, backends)),
        fields=fields,
        findings=tuple(findings),
        head={"schema": SCHEMA, "findings": [finding.wire() for finding in findings]},
        grouped=False,
    )


def _row(item: Presence) -> dict[str, Scalar]:
    return {
        "backend": item.backend,
        "status": "ok" if item.available else "unavailable",
        "version": item.version or None,
        "devices": ", ".join(item.devices) or None,
        "opset": item.opset or None,
        "default": "yes" if item.default else None,
        "reason": item.reason or None,
        "install": item.install or None,
        "instrument": "yes" if item.instrument else None,
        "precisions": ", ".join(item.precisions) or None,
        "threads": item.threads or None,
        "licence": item.licence or None,
        "options": ", ".join(item.options) or None,
        "converter": item.converter or None,
    }


def _findings(item: Presence) -> list[Finding]:
    if item.available:
        return [Finding.of("instrument")] if item.instrument else []
    kind = "missing_install" if item.install else "missing"
    return [Finding.of(kind, reason=item.reason, install=item.install)]
