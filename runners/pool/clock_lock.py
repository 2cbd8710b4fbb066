"""Lock of a GPU's clock for the time of a run, by a process of its own (worker/clock_guard.py). Standard library, and NVML.

A lock stays on the card until somebody lifts it. The guard lifts it when this process ends in any way, and this process lifts
it when the guard has died.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import BadInput, BenchError
from ..worker import clock_guard, nvml

GUARD = Path(clock_guard.__file__)
GRACE_S = 10.0  # for a driver that answers slowly
NO_RIGHTS = "Insufficient Permissions"  # NVML's text of NVML_ERROR_NO_PERMISSION


@contextmanager
def locked_clocks(index: int, mhz: int, gpu: nvml.Nvml) -> Iterator[None]:
    """Lock the clock of the GPU with CUDA's `index` while inside, at `mhz` or for 0 at its base clock.

    Raises `BadInput` where NVML refuses the lock, and `BenchError` where the lock cannot be lifted.
    """
    process = _start(index, mhz, gpu)
    try:
        yield
    finally:
        if not _lifted(process):
            reason = gpu.unlock_clocks(index)
            if reason:
                raise BenchError(
                    f"the clock of GPU {index} is still locked: {reason}", f"run sudo nvidia-smi -i {index} --reset-gpu-clocks"
                )


def _start(index: int, mhz: int, gpu: nvml.Nvml) -> subprocess.Popen[str]:
    """Start the guard, and wait until it has set the lock."""
    process = subprocess.Popen(
        [sys.executable, "-u", str(GUARD), str(index), str(mhz)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(gpu.environ),
        start_new_session=True,  # Ctrl-C in a terminal is for the parent alone
        text=True,
    )
    assert process.stdout is not None
    answer = _parsed(process.stdout.readline())
    if "locked" in answer:
        return process
    process.kill()
    process.wait()
    raise _refused(index, str(answer.get("reason", "the process that holds the lock ended")))


def _parsed(line: str) -> dict[str, object]:
    with suppress(ValueError):
        return dict(json.loads(line))
    return {}


def _refused(index: int, reason: str) -> BadInput:
    hint = f"run as root, or lock it before with sudo nvidia-smi -i {index} --lock-gpu-clocks=MHZ"
    if NO_RIGHTS not in reason:
        hint = "leave --lock-clocks out; the figures in cycles do not need it"
    return BadInput(f"--lock-clocks cannot lock the clock of GPU {index}: {reason}", hint)


def _lifted(process: subprocess.Popen[str]) -> bool:
    """Close the guard's input, and wait for its end. True if it has lifted the lock."""
    with suppress(subprocess.TimeoutExpired, OSError):
        process.communicate(timeout=GRACE_S)
    ended = process.poll()
    if ended is None:
        process.kill()
        process.wait()
    return ended == 0
