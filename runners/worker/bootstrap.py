"""First script of a worker process. Standard library only, for any Python from 3.10 on.

It loads the package from the folder above this file, because the worker's environment need not have the
package installed. Its arguments are two file descriptors (requests come in on the first, answers go out on
the second), the parent's process id, and `isolated` for a worker without a network.

Python 3.6 to 3.9 can read this file, and so can an environment without NumPy. Both answer every request with
an error.
"""

import ctypes
import importlib.util
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
NETWORK = "ONNXBENCH_NETWORK"  # the user sets `open` to give all workers a network; `main` then sets the actual state
OLDEST = (3, 10)


def _die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent ends. Outside Linux the closed pipe ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _die_first() -> None:
    """Make this process the kernel's first choice when memory runs out: its loss costs one row only."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass


def _isolate() -> bool:
    """Move this process to an empty network namespace. Return False where the system refuses.

    Call it before any thread starts, because a process with threads cannot change its user namespace. Root
    needs no user namespace; any other user needs one, which maps the user's own id to itself.
    """
    if sys.platform != "linux":
        return False
    unshare, user, group = ctypes.CDLL(None).unshare, os.getuid(), os.getgid()
    if unshare(CLONE_NEWNET) == 0:
        return True
    if unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        try:
            with open("/proc/self/" + name, "w") as file:
                file.write(text)
        except OSError:
            pass
    return True


def _obstacle() -> str:
    """Reason that this interpreter cannot run a worker, with the remedy; empty if it can."""
    if sys.version_info < OLDEST:
        return f"it is Python {sys.version.split()[0]}, but a worker needs 3.10 or later; name another one with --python"
    try:
        importlib.import_module("numpy")
    except ImportError as error:
        message = " ".join(str(error).split())[:200]
        return f"NumPy cannot be imported ({message}); install numpy there"
    return ""


def _refuse(requests: int, answers: int, reason: str) -> None:
    """Answer every request with the error `Unavailable`, without the package."""
    error = {"type": "Unavailable", "message": reason, "hint": ""}
    with os.fdopen(requests) as source, os.fdopen(answers, "w") as sink:
        for _ in source:
            sink.write(json.dumps({"error": error}) + "\n")
            sink.flush()


def load_package() -> None:
    """Load the package from the folder above this file."""
    here = os.path.abspath(__file__)
    for _ in ("worker", "runners", "onnxbench"):
        here = os.path.dirname(here)
    spec = importlib.util.spec_from_file_location(
        "onnxbench", os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["onnxbench"] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Become a worker: `bootstrap.py REQUESTS_FD ANSWERS_FD PARENT_PID [isolated]`."""
    requests, answers, parent = (int(text) for text in sys.argv[1:4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    isolated = "isolated" in sys.argv[4:] and os.environ.get(NETWORK) != "open" and _isolate()
    os.environ[NETWORK] = "isolated" if isolated else "open"
    _die_with_parent(parent)  # after the namespaces: a change of credentials clears the setting (prctl(2))
    _die_first()
    here = os.path.dirname(os.path.abspath(__file__))
    # Python puts a script's folder first, where `import load` would find this folder's load.py.
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]
    reason = _obstacle()
    if reason:
        return _refuse(requests, answers, reason)
    load_package()
    from onnxbench.runners.worker.serve import serve

    return serve(requests, answers)


if __name__ == "__main__":
    main()
