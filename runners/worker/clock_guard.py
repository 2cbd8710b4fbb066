"""Script that locks the clocks of a GPU until its standard input closes. Standard library, and NVML by nvml.py.

    clock_guard.py INDEX MHZ      MHZ 0: the base clock, which the GPU keeps under any load

It writes `locked`, or the reason why it cannot, as one line of JSON. The input closes when the parent closes it or ends in any
way, even by SIGKILL. Then the script lifts the lock and ends. A worker cannot do this: the kernel kills it with its parent.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
from pathlib import Path
from typing import Any


def guard(gpu: Any, index: int, mhz: int) -> str | None:
    """Lock the clock of a GPU, wait until the standard input closes or SIGTERM arrives, and lift the lock.

    Return the reason why the lock could not be set or lifted. `gpu`: nvml.Nvml.
    """
    reason: str | None = gpu.lock_clocks(index, mhz)
    if reason:
        return reason
    try:
        print(json.dumps({"locked": mhz}), flush=True)
        sys.stdin.buffer.read()
    finally:
        reason = gpu.unlock_clocks(index)
    return reason


def _end(*_: object) -> None:
    raise SystemExit  # `guard` then lifts the lock


def main() -> None:
    """Run `guard` for the GPU that the arguments name."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes the input
    signal.signal(signal.SIGTERM, _end)
    here = Path(__file__).resolve().parent
    # Python puts a script's folder first, where `import load` would find this folder's load.py.
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]
    runpy.run_path(str(here / "bootstrap.py"))["load_package"]()
    from onnxbench.runners.worker.nvml import Nvml

    reason = guard(Nvml(), int(sys.argv[1]), int(sys.argv[2]))
    if reason:
        print(json.dumps({"reason": reason}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
