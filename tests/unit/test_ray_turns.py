"""Turns of two runs: an order without a deadlock, and Ray stands still in the turns of the run alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import psutil
import pytest
from ray_turns import ALONE, RAY, Referee, facts, family

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark needs Linux")
SLEEPER = (sys.executable, "-c", "import sys; sys.stdin.read()")


class Run:
    """A run that asks for a turn at each of `places`, and notes the state of the process `watched` in each."""

    def __init__(self, path, way, places, watched):
        self._path, self._way, self._places, self._watched = path, way, places, watched
        self.seen = []
        self.thread = threading.Thread(target=self._ask)
        self.thread.start()

    def _ask(self):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self._path))
            for place in self._places:
                stream.sendall(json.dumps({"way": self._way, "pid": self._watched.run, "place": place}).encode() + b"\n")
                stream.recv(16)
                is_stopped = psutil.Process(self._watched.daemon).status() == psutil.STATUS_STOPPED
                self._watched.seen.append((self._way, place, is_stopped))

    def poll(self):
        return None if self.thread.is_alive() else 0


class Watched:
    """A daemon of Ray, the process of the run on the node, and what was seen in each turn."""

    def __init__(self, daemon, run):
        self.daemon, self.run, self.seen = daemon, run, []


@pytest.fixture
def watched():
    processes = [subprocess.Popen(SLEEPER, stdin=subprocess.PIPE) for _ in range(2)]
    yield Watched(*(process.pid for process in processes))
    for process in processes:
        process.send_signal(signal.SIGCONT)
        process.communicate()


def _serve(folder, watched, alone, node):
    referee = Referee(folder / "turns", [watched.daemon])
    runs = [Run(folder / "turns", way, places, watched) for way, places in ((ALONE, alone), (RAY, node))]
    referee.serve(runs)
    for run in runs:
        run.thread.join(5)
    return referee


def test_the_run_that_is_behind_has_the_turn(tmp_path, watched):
    alone, node = [(-1, 1), (0, 1), (0, 2), (1, 1)], [(-1, 1), (0, 1), (0, 2), (0, 3), (0, 4), (1, 1)]
    referee = _serve(tmp_path, watched, alone, node)
    order = [place for _, place, _ in watched.seen]
    assert order == sorted(alone + node)
    assert len(referee.apart_s) == 2  # (0, 1) and (0, 2): a run that ended has no neighbour


def test_ray_stands_still_in_the_turns_of_the_run_alone(tmp_path, watched):
    _serve(tmp_path, watched, [(0, 1), (0, 3), (0, 5)], [(0, 2), (0, 4), (0, 6)])
    both = [(way, is_stopped) for way, place, is_stopped in watched.seen if place < (0, 5)]
    assert both == [(ALONE, True), (RAY, False)] * 2
    assert psutil.Process(watched.daemon).status() != psutil.STATUS_STOPPED


def test_a_run_that_ends_early_leaves_the_turns_to_the_other(tmp_path, watched):
    places = [(number, 1) for number in range(5)]
    _serve(tmp_path, watched, places[:1], places)
    assert [place for way, place, _ in watched.seen if way == RAY] == places


def test_a_family_has_all_descendants_but_those_of_one():
    parent = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'input()']); print(child.pid, flush=True)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", f"{parent}; child.wait()"], **pipes) as process:
        child = int(process.stdout.readline())
        try:
            assert family([process.pid], child) == [process.pid]
            assert family([process.pid], process.pid) == []
        finally:
            process.stdin.write("\n\n")
            process.stdin.flush()


def test_facts_of_a_process_have_what_another_start_changes():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": {"OMP_NUM_THREADS": "1"}}
    with subprocess.Popen(["nice", "-n", "5", sys.executable, "-c", "print(flush=True); input()"], **pipes) as process:
        process.stdout.readline()  # the program has started
        changed, own = facts(process.pid), facts(os.getpid())
        process.communicate(b"\n")
    assert changed["$OMP_NUM_THREADS"] == "1"
    assert changed["nice"] != own["nice"]
    assert changed["limits"] == own["limits"]
