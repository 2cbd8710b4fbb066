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

from ...errors import BenchError, StorageFailed, Unavailable, failure, to_wire
from .bootstrap import NETWORK
from .clock import Clock
from .nvml import Nvml
from .procfs import ReadCounters, counters

if TYPE_CHECKING:
    from .slots import Slot

Reply = Mapping[str, Any]
Tell = Callable[[Reply], None]

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job's function (`module:function` of this folder), and its need of the network.

    A job that loads the user's MODULE:FACTORY needs it, because the factory may fetch weights. Jobs of a cell run what the
    cell's backend runs, so their workers have the network if the backend has it (`backends.network`).
    """

    target: str
    network: bool = False


JOBS: Mapping[str, Job] = {
    "probe": Job(target="slots:probe"),
    "supports": Job(target="slots:supports"),
    "build": Job(target="slots:build"),
    "open": Job(target="slots:open_slot"),
    "verify": Job(target="slots:verify"),
    "inspect": Job(target="slots:inspect"),
    "warm": Job(target="slots:warm"),
    "latency": Job(target="slots:latency"),
    "throughput": Job(target="slots:throughput"),
    "energy": Job(target="energy:energy"),
    "load": Job(target="load:load"),
    "close": Job(target="slots:close"),
    "cold": Job(target="slots:cold"),
    "describe": Job(target="prepare_jobs:describe"),
    "export": Job(target="prepare_jobs:export", network=True),
    "count": Job(target="prepare_jobs:count"),
    "adopt": Job(target="prepare_jobs:adopt"),
    "convert": Job(target="convert_jobs:convert"),
    "explain": Job(target="explain_jobs:explain"),
    "draw": Job(target="prepare_jobs:draw"),
    "reference": Job(target="prepare_jobs:reference"),
    "train": Job(target="train_job:train"),
}


@dataclass(kw_only=True)
class State:
    """What a worker keeps between jobs: its clock, who counts disturbances, NVML, and the open sessions by cell key."""

    clock: Clock = field(default_factory=Clock)
    counters: ReadCounters = counters
    gpu: Nvml = field(default_factory=Nvml)
    slots: dict[str, Slot] = field(default_factory=dict)


def serve(requests: int, answers: int) -> None:
    """Answer requests until the pipe closes."""
    state = State()
    with os.fdopen(requests, "r") as source, os.fdopen(answers, "w") as sink:

        def send(kind: str, content: Reply) -> None:
            sink.write(json.dumps({kind: content, "network": os.environ.get(NETWORK, "open")}) + "\n")
            sink.flush()

        for line in source:
            kind, content = answer(state, json.loads(line), lambda event: send("event", event))
            send(kind, content)


def answer(state: State, request: dict[str, Any], tell: Tell) -> tuple[str, Reply]:
    """Run the job that `request` names; its events go to `tell` while it runs. Errors are answers too."""
    try:
        return "ok", _find(request.pop("job"))(state, tell, **request)
    except BenchError as error:
        return "error", to_wire(error)
    except Exception as error:  # what a runtime raises while it runs: a row's reason
        with suppress(OSError):  # the log may be on a disk that is full
            traceback.print_exc(file=sys.stderr)
        return "error", to_wire(_named(error))


def _named(error: Exception) -> BenchError:
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return Unavailable(f"the package {package} is not installed in {sys.executable}", f"install {package} there")
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return StorageFailed(f"cannot write {error.filename or 'samples'} ({error.strerror})", "free some space, then --resume")
    return failure(type(error).__name__, error)


def _find(job: str) -> Callable[..., Reply]:
    module, _, function = JOBS[job].target.partition(":")
    found: Callable[..., Reply] = getattr(import_module(f".{module}", __package__), function)
    return found
