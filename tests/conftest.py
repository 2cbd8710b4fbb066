"""The schedule of pytest's workers, their signal stacks, and tests that need a CPU with VNNI.

In the schedule, a fixture that is long to make is made by one of them.

An integration test goes alone to the worker that is free. Unit tests go by their files, and so do files that share a fixture of
the session: their tests go to one worker, one file after the other. pytest-xdist 3.8 has groups for that, which pytest 9.2
does not pass on.

A test in which its worker ends is tried once more in a new worker, and fails if that one ends too. pytest-xdist 3.8 would
wait forever there: it hands out finished tests again, of which no report comes back, and a worker begins a test only when it
knows the next one.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

import pytest
from onnxbench.devices import lacks_vnni

SHARED = {
    "test_main_job.py": "trained",
    "test_precisions.py": "trained",
    "test_recommendation.py": "trained",
    "test_tensorrt.py": "trained",
    "test_environments.py": "environments",
    "test_remote_contract.py": "environments",
    "test_two_environments.py": "environments",
    "test_worker_wall.py": "environments",
    "test_report.py": "report",
}


with suppress(ImportError):  # a GPU machine has the contract suite's requirements alone
    import hypothesis

    hypothesis.settings.register_profile("gate", max_examples=int(os.environ.get("BENCH_EXAMPLES", "30")))
    hypothesis.settings.load_profile("gate")


def pytest_runtest_setup(item):
    """Skip a test of right INT8 answers on a CPU that cannot give them; fail it where BENCH_REQUIRE has `vnni`."""
    if item.get_closest_marker("vnni") and lacks_vnni():
        refuse = pytest.fail if "vnni" in os.environ.get("BENCH_REQUIRE", "").split(",") else pytest.skip
        refuse("this x86-64 CPU has no VNNI, so OpenVINO gives other answers with weights of 8 bits")


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux: the stack on which handlers of signals run in a thread."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    """Give the main thread its signal stack back after each test.

    OpenVINO's CPU plugin sets one of its own in the thread that loads it, and unmaps it in the thread that ends it. If these
    differ, the next signal that Python handles ends the process by SIGSEGV, and not even faulthandler can tell.
    """
    if sys.platform != "linux":
        return (yield)
    library, before = ctypes.CDLL(None), SignalStack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        return (yield)
    finally:
        library.sigaltstack(ctypes.byref(before), None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Say how a worker ended that was lost: its exit code, or minus the number of the signal."""
    if error:
        with suppress(Exception):  # attributes of execnet 2.1 that are not public
            print(f"\n{node.gateway.id} ended with {node.gateway._io.popen.wait(10)}", flush=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class ByFixture(LoadScopeScheduling):
        def __init__(self, config, log):
            super().__init__(config, log)
            self.tried = set()  # tests in which a worker ended

        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0].rpartition("/")[2]
            if nodeid.startswith("tests/contract/"):
                return "contract"
            return SHARED.get(file, nodeid) if "/integration/" in nodeid else file

        def _reschedule(self, node):
            while node in self.registered_collections and not node.shutting_down:
                super()._reschedule(node)
                if self._pending_of(self.assigned_work[node]) > 1:
                    break

        def remove_node(self, node):
            work = self.assigned_work.pop(node)
            left = [(scope, test) for scope, unit in work.items() for test, is_done in unit.items() if not is_done]
            crashed = left[0][1] if left and left[0][1] in self.tried else None
            for scope, test in left:
                if test != crashed:
                    self.workqueue.setdefault(scope, {})[test] = False
            if left and crashed is None:
                print(f"\n{left[0][1]} is tried again, because its worker ended", flush=True)
            self.tried |= {test for _, test in left[:1]}
            for other in self.assigned_work:
                self._reschedule(other)
            return crashed

    return ByFixture(config, log)
