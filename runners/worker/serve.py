"""The worker's side of the pipe: one JSON line requests a job, one JSON line answers it. NumPy and a runtime
only.

Answers have a descriptor of their own, because native code prints to standard output and error. Both of those
are the log file.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import BenchError, StorageFailed, Unavailable, encode_error, failure
from ...spec import from_wire, to_wire
from .bootstrap import NETWORK
from .clock import Clock
from .jobs import Reporter
from .nvml import Nvml
from .procfs import ReadCounters, counters
from .rapl import Rapl
from .tasks import BY_NAME

if TYPE_CHECKING:
    from .cell_jobs import OpenCell
    from .flush import HostFlush
    from .profiling import ProfileInProgress
    from .rank_job import RankTraining
    from .search import SearchBench

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@dataclass(kw_only=True)
class State:
    """State of a worker between jobs.

    Its clock, the reader of disturbance counters, NVML, the counters of CPU energy, the open cells and profiles that go on by
    key, and the flush of the host's caches once a cell has needed it. A rank also has its training, and
    the first rank the rendezvous, a TCPStore of torch. `search`: the file of a search for an INT8 file. `spinning`: key of the
    cell whose threads may not be idle; empty for none.
    """

    clock: Clock = field(default_factory=Clock)
    counters: ReadCounters = counters
    gpu: Nvml = field(default_factory=Nvml)
    packages: Rapl = field(default_factory=Rapl)
    open_cells: dict[str, OpenCell] = field(default_factory=dict)
    profiles: dict[str, ProfileInProgress] = field(default_factory=dict)
    host_flush: HostFlush | None = None
    rendezvous: Any = None
    rank: RankTraining | None = None
    search: SearchBench | None = None
    spinning: str = ""


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
    """Run the job that `request` names, and return ("ok" or "error", content).

    A request is {"job": name, "asked": fields of the job}. Progress reports go to `report` during the job.
    """
    try:
        task = BY_NAME[request["job"]]
        return "ok", to_wire(task.function()(state, report, from_wire(task.kind(), request["asked"])))
    except BenchError as error:
        return "error", encode_error(error)
    except Exception as error:  # any exception of a runtime becomes the reason of a failed row
        with suppress(OSError):  # the log may be on the full disk
            traceback.print_exc(file=sys.stderr)
        return "error", encode_error(_named(error))


def _named(error: Exception) -> BenchError:
    """Error of the package for an exception of Python or of a runtime."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return Unavailable(f"the package {package} is not installed in {sys.executable}", f"install {package} there")
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return StorageFailed(
            f"cannot write {error.filename or 'samples'} ({error.strerror})",
            "free some space, then repeat with --resume",
        )
    return failure(type(error).__name__, error)
