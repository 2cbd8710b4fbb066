"""What a worker process runs first. Standard library only, for any Python from 3.10 on.

It loads the package from the folder that this file is in, so a worker can live in an environment in which the
package is not installed. Its arguments are two file descriptors (requests come in on one, answers go out on the other)
and the parent's process id.
"""

import ctypes
import importlib.util
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; elsewhere the closed pipe ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _load_package() -> None:
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = importlib.util.spec_from_file_location(
        "onnxbench", os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["onnxbench"] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Become a worker: `bootstrap.py REQUESTS_FD ANSWERS_FD PARENT_PID`."""
    requests, answers, parent = (int(text) for text in sys.argv[1:4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _die_with_parent(parent)
    sys.path[:] = [*sys.path[1:], os.getcwd()]  # MODULE:FACTORY is found here, and shadows nothing that is installed
    _load_package()
    from onnxbench.runners.worker import serve

    serve(requests, answers)


if __name__ == "__main__":
    main()
