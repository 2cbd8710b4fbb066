"""Referee of two runs that measure at the same time: one computes in its turn, and the other waits for its own.

A run asks for a turn before each job of a worker (taking_turns/sitecustomize.py). The run that is behind gets it. Between
runs at the same place chance decides which goes first. So each block of a run stands beside the same block of the other.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ALONE, RAY = "alone", "ray"
LOOK_S = 0.2
PAUSE_S = (0.01, 0.11)
"""Shortest and longest pause before a turn. Processes that were stopped catch up with their timers within 5 ms. A timer of
100 ms begins anew then: after pauses of one length, it would ring in no block, or in each."""
STATUS = ("Cpus_allowed_list", "Mems_allowed_list", "CapEff", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn", "THP_enabled")
OWN = ("TMPDIR", "ONNXBENCH_CACHE")  # variables that name a folder of each run's own
FACTS = ("limits", "cgroup", "oom_score_adj", "timerslack_ns", "personality")


@dataclass
class Stopped:
    """Processes that stand still, while `stop` was called last. `find` lists them."""

    find: Callable[[], Iterable[int]]
    pids: list[int] = field(default_factory=list)
    began: float = 0.0
    longest_s: float = 0.0

    def stop(self) -> None:
        """Stop the processes."""
        if not self.pids:
            self.pids, self.began = list(self.find()), time.monotonic()
            self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)
        if self.pids:
            self.longest_s = max(self.longest_s, time.monotonic() - self.began)
        self.pids = []

    def _signal(self, number: int) -> None:
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def family(roots: Iterable[int], without: int) -> list[int]:
    """Processes `roots` and all of their descendants, but not `without` and its descendants."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, left = [], list(roots)
    while left:
        pid = left.pop()
        if pid != without:
            found.append(pid)
            left += children.get(pid, [])
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Each process of the machine with its parent. psutil takes five times as long, in every turn."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (folder / "stat").read_bytes()
            yield int(folder.name), int(stat[stat.rindex(b")") + 2 :].split()[1])


@dataclass
class Turn:
    """A run that is connected. `place`: number of its round and job, while it waits."""

    stream: socket.socket
    pid: int = 0
    place: tuple[int, ...] | None = None


class Referee:
    """Server of turns at the socket `path`. `roots`: Ray's processes, which stand still in the turns of the run alone.

    `apart_s`: seconds from a job to the same job of the other run. `unlike`: differences of their workers (likeness).
    """

    def __init__(self, path: Path, roots: Sequence[int]) -> None:
        self._turns: dict[str, Turn] = {}
        self._began: dict[tuple[int, ...], float] = {}
        self._holder = ""
        self.apart_s: list[float] = []
        self.unlike: dict[str, Any] | None = None
        self.stopped = Stopped(lambda: family(roots, self._turns[RAY].pid))
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)

    def serve(self, runs: Sequence[subprocess.Popen[Any]]) -> None:
        """Give turns until both runs have ended. Nothing is stopped afterwards."""
        met = False
        try:
            while met or all(run.poll() is None for run in runs):
                for key, _ in self._selector.select(LOOK_S):
                    self._read(key.fileobj)  # type: ignore[arg-type]
                met = met or len(self._turns) == 2
                if met and not self._turns:
                    return
                if met and not self._holder and all(turn.place for turn in self._turns.values()):
                    self._give()
        finally:
            self.stopped.go_on()
            # A run that still waits for its turn ends.
            for key in list(self._selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
            self._selector.close()

    def _read(self, stream: socket.socket) -> None:
        if stream is self._server:
            self._selector.register(self._server.accept()[0], selectors.EVENT_READ)
            return
        line = stream.recv(1 << 12)
        if not line:
            self._leave(stream)
            return
        said = json.loads(line)
        self._turns.setdefault(said["way"], Turn(stream))
        turn = self._turns[said["way"]]
        turn.pid, turn.place = said["pid"], tuple(said["place"])
        if self._holder == said["way"]:
            self._holder = ""

    def _leave(self, stream: socket.socket) -> None:
        self._selector.unregister(stream)
        stream.close()
        for way in [way for way, turn in self._turns.items() if turn.stream is stream]:
            self.stopped.go_on()
            del self._turns[way]
            self._holder = "" if self._holder == way else self._holder

    def _give(self) -> None:
        """Give the turn to the run that is behind."""
        way = min(self._turns, key=lambda way: (self._turns[way].place, random.random()))
        turn, both = self._turns[way], len(self._turns) == 2
        place, turn.place, self._holder = turn.place, None, way
        assert place is not None
        if both and place[0] > 0 and self.unlike is None:
            self.unlike = likeness(*(self._turns[name].pid for name in (ALONE, RAY)))
        if both and way == ALONE:
            self.stopped.stop()
        else:
            self.stopped.go_on()
        time.sleep(random.uniform(*PAUSE_S))
        now = time.monotonic()
        if place in self._began and both and place[0] >= 0:
            self.apart_s.append(now - self._began[place])
        self._began[place] = now
        turn.stream.sendall(b"go\n")

    def told(self) -> dict[str, Any]:
        """Facts of the turns, for the record."""
        apart = statistics.median(self.apart_s) if self.apart_s else None
        return {"apart_s": apart, "longest_stop_s": self.stopped.longest_s, "unlike": self.unlike}


def likeness(alone: int, node: int) -> dict[str, Any] | None:
    """Differences of the workers of two runs, in pairs of values, alone first; None without workers."""
    workers = [sorted(psutil.Process(pid).children(), key=lambda item: item.create_time()) for pid in (alone, node)]
    if not all(workers):
        return None
    found: dict[str, Any] = {}
    for one, other in zip(*workers, strict=True):
        first, second = facts(one.pid), facts(other.pid)
        differ = [name for name in sorted(first.keys() | second.keys()) if first.get(name) != second.get(name)]
        found |= {name: (first.get(name), second.get(name)) for name in differ}
    return found


def facts(pid: int) -> dict[str, str]:
    """Settings that a process takes from the one that started it: variables, priority, CPUs, limits."""
    folder = Path(f"/proc/{pid}")
    variables = [item.partition("=") for item in (folder / "environ").read_text(errors="replace").split("\0") if item]
    found = {f"${name}": value for name, _, value in variables if name not in OWN}
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    found |= {name: status.get(name, "").strip() for name in STATUS}
    for name in FACTS:
        with suppress(OSError):
            found[name] = (folder / name).read_text()
    found["autogroup"] = (folder / "autogroup").read_text().partition(" ")[2]
    found["nice"] = str(os.getpriority(os.PRIO_PROCESS, pid))
    found["policy"] = str(os.sched_getscheduler(pid))
    return found
