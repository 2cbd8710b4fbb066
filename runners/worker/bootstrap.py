"""What a worker process runs first. Standard library only, for any Python from 3.10 on; an older one that can read this file
(3.6), or one without NumPy, answers every request with that.

It loads the package from the folder that this file is under, so a worker can live in an environment in which the
package is not installed. Its arguments are two file descriptors (requests come in on one, answers go out on the other),
the parent's process id, and `isolated` if it is to have no network.
"""

import ctypes
import importlib.util
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
NETWORK = "ONNXBENCH_NETWORK"  # `open`: the user wants workers to have one. For a worker's jobs: how it is.
OLDEST = (3, 10)


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; elsewhere the closed pipe ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _die_first() -> None:
    """Ask the kernel to take this process first where memory runs out: what it was doing is one row."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass


def _isolate() -> bool:
    """Leave the network for an empty one; whether that was possible. Before any thread is started.

    Root can do it at once. Anybody else needs a user namespace, in which he stays who he is.
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
    """Why this interpreter cannot be a worker's, and what to do; empty if it can."""
    if sys.version_info < OLDEST:
        return f"it is Python {sys.version.split()[0]}, and 3.10 is the oldest that will do; give another one with --python"
    try:
        importlib.import_module("numpy")
    except ImportError as error:
        words = " ".join(str(error).split())[:200]
        return f"NumPy cannot be imported ({words}); install numpy there"
    return ""


def _refuse(requests: int, answers: int, why: str) -> None:
    """Answer every request with an error of the package, which cannot be loaded here."""
    error = {"type": "Unavailable", "message": why, "hint": ""}
    with os.fdopen(requests) as source, os.fdopen(answers, "w") as sink:
        for _ in source:
            sink.write(json.dumps({"error": error}) + "\n")
            sink.flush()


def _load_package() -> None:
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    isolated = "isolated" in sys.argv[4:] and os.environ.get(NETWORK) != "open" and _isolate()
    os.environ[NETWORK] = "isolated" if isolated else "open"
    _die_with_parent(parent)  # after the namespaces: the kernel forgets it where rights change
    _die_first()
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]  # its modules are the package's alone
    why = _obstacle()
    if why:
        return _refuse(requests, answers, why)
    _load_package()
    from onnxbench.runners.worker.serve import serve

    return serve(requests, answers)


if __name__ == "__main__":
    main()
