"""The worker's side of the pipe: one JSON line asks for a job, one JSON line answers. NumPy and a runtime only.

Answers go to a descriptor of their own; standard output and error are the log file, so nothing that native code
prints can be taken for an answer.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...errors import BenchError, StorageFailed, Unavailable, encode_error, failure
from ...spec import from_wire, to_wire
from .bootstrap import NETWORK
from .clock import Clock
from .jobs import Job, Reporter
from .nvml import Nvml
from .procfs import ReadCounters, counters
from .tasks import BY_NAME, JOBS

if TYPE_CHECKING:
    from .cell_jobs import OpenCell

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@dataclass(kw_only=True)
class State:
    """What a worker keeps between jobs: its clock, who counts disturbances, NVML, and the open sessions by cell key."""

    clock: Clock = field(default_factory=Clock)
    counters: ReadCounters = counters
    gpu: Nvml = field(default_factory=Nvml)
    open_cells: dict[str, OpenCell] = field(default_factory=dict)


def serve(requests: int, answers: int) -> None:
    """Answer requests until the pipe closes."""
    state = State()
    with os.fdopen(requests, "r") as source, os.fdopen(answers, "w") as sink:

        def send(kind: str, content: Mapping[str, Any]) -> None:
            sink.write(json.dumps({kind: content, "network": os.environ.get(NETWORK, "open")}) + "\n")
            sink.flush()

        for line in source:
            send(*answer(state, json.loads(line), lambda report: send("event", to_wire(report))))


def answer(state: State, request: Mapping[str, Any], report: Reporter) -> tuple[str, Mapping[str, Any]]:
    """Do the job that `request` names ({"job": its name, "asked": its fields}); signs of life go to `report` meanwhile.

    The answer is "ok" or "error", and its content.
    """
    try:
        kind = BY_NAME[request["job"]]
        return "ok", to_wire(_find(kind)(state, report, from_wire(kind, request["asked"])))
    except BenchError as error:
        return "error", encode_error(error)
    except Exception as error:  # what a runtime raises while it runs: a row's reason
        with suppress(OSError):  # the log may be on a disk that is full
            traceback.print_exc(file=sys.stderr)
        return "error", encode_error(_named(error))


def _named(error: Exception) -> BenchError:
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return Unavailable(f"the package {package} is not installed in {sys.executable}", f"install {package} there")
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return StorageFailed(f"cannot write {error.filename or 'samples'} ({error.strerror})", "free some space, then --resume")
    return failure(type(error).__name__, error)


def _find(kind: type[Job[Any]]) -> Callable[[State, Reporter, Job[Any]], Any]:
    module, _, function = JOBS[kind].target.partition(":")
    found: Callable[[State, Reporter, Job[Any]], Any] = getattr(import_module(f".{module}", __package__), function)
    return found
