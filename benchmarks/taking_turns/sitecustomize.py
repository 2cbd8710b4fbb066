"""Let a run compute in its turn only. Python imports this file at its start, because ray_cost.py puts the folder on PYTHONPATH.

It works in the processes of `bench infer` and of a run on a node, with ONNXBENCH_TURNS set to the socket of the referee
(ray_turns.py). Their workers compute only between a job and its answer, so a turn ends before a job, while no worker computes.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing's own takes longer to import than everything here
if TYPE_CHECKING:
    from typing import Any

    from onnxbench.runners.pool.process import ProcessWorker
    from onnxbench.runners.worker.jobs import Job

PROGRAMS = {"bench": "alone", "onnxbench.runners.cluster.entry": "ray"}
IDLE_S = 0.06  # after a job that does not wait for the threads of its runtime: ONNX Runtime's spin for about 50 ms


class Turns:
    """Place of this run in the order of its jobs, and its connection to the referee."""

    def __init__(self, way: str, path: str) -> None:
        import socket

        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._answers = self._socket.makefile("r")
        self._way, self._round, self._job, self._is_settled = way, -1, 0, True
        self._busy: set[ProcessWorker] = set()
        self._give_up()

    def begin(self, worker: ProcessWorker, job: Job[Any] | None = None) -> None:
        """Wait for a turn before `worker` starts, or does `job`. Workers that start together share a turn."""
        if not self._busy:
            number = getattr(job, "round", self._round)
            self._job = self._job + 1 if number == self._round else 1
            self._round = number
            self._give_up()
            self._is_settled = hasattr(job, "block_ms")
        self._busy.add(worker)

    def end(self, worker: ProcessWorker) -> None:
        """The worker computes no more."""
        self._busy.discard(worker)

    def _give_up(self) -> None:
        import json
        import time

        if not self._is_settled:
            time.sleep(IDLE_S)
        line = {"way": self._way, "pid": os.getpid(), "place": [self._round, self._job]}
        self._socket.sendall(json.dumps(line).encode() + b"\n")
        if not self._answers.readline():
            sys.exit("the referee is gone")


def take_turns(turns: Turns) -> None:
    """Wrap the parent's side of a worker."""
    from onnxbench.runners.pool.process import ProcessWorker as Worker

    start, send, receive, kill = Worker.__init__, Worker.send, Worker.receive, Worker.kill

    def start_in_turn(self: Worker, *arguments: Any, **options: Any) -> None:
        turns.begin(self)
        try:
            start(self, *arguments, **options)
        except BaseException:
            turns.end(self)
            raise

    def send_in_turn(self: Worker, job: Job[Any]) -> None:
        turns.begin(self, job)
        send(self, job)

    def receive_in_turn(self: Worker, *arguments: Any, **options: Any) -> Any:
        try:
            return receive(self, *arguments, **options)
        finally:
            turns.end(self)

    def kill_in_turn(self: Worker) -> None:
        turns.end(self)
        kill(self)

    Worker.__init__, Worker.send, Worker.receive, Worker.kill = start_in_turn, send_in_turn, receive_in_turn, kill_in_turn


if PATH := os.environ.get("ONNXBENCH_TURNS"):
    for program in PROGRAMS.keys() & set(sys.orig_argv):
        take_turns(Turns(PROGRAMS[program], PATH))
