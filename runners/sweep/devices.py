"""Devices of the cells of a sweep: one, or for several GPUs also the first of them alone. Loads no framework."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from ...errors import BadInput, quantity
from ...spec import COLD, WARM, Device, Sweep
from ..pool.pool import Pool
from ..pool.survey import ProbedBackend


def cell_devices(device: str | None, backend: ProbedBackend, cache: str = WARM) -> tuple[str, ...]:
    """Devices of a backend's cells with this state of the caches, for the `device` that the user named.

    Several GPUs give two: the first alone, and all together. Their scaling is measured in one run, and in turns. `cuda:all` on
    a machine with one GPU gives this GPU. Cells with cold caches have single calls alone, which use one GPU.
    """
    if device is None:
        own = {"cpu": "cpu", "": "unknown"}
        return (own.get(backend.device_kind, f"{backend.device_kind}:0"),)
    parsed = Device.parse(device)
    if not parsed.several:
        return (device,)
    last = parsed.last if parsed.last is not None else len(_gpus(backend, parsed.kind)) - 1
    first = Device(kind=parsed.kind, index=parsed.index)
    if last <= parsed.index or cache == COLD:
        return (str(first),)
    return str(first), str(Device(kind=parsed.kind, index=parsed.index, last=last))


def check_gpus(device: str | None, backends: Sequence[ProbedBackend]) -> None:
    """Raise `BadInput` if `device` names a GPU that is not here, or several GPUs of different models."""
    parsed = Device.parse(device) if device else Device(kind="cpu")
    present = max((_gpus(item, parsed.kind) for item in backends if item.available), key=len, default=[])
    if parsed.kind == "cpu" or not present:  # without a usable backend the rows have the reasons
        return
    named = present if parsed.every else present[parsed.index : (parsed.last or parsed.index) + 1]
    if not parsed.every and len(named) < len(parsed.each):
        kind = parsed.kind
        right = f"{kind}:0" if len(present) == 1 else f"{kind}:all, or one of {kind}:0 to {kind}:{len(present) - 1}"
        raise BadInput(f"--device {device} names a GPU that is not here: this machine has {_list(present)}", f"use {right}")
    names = dict.fromkeys(name.partition(" ")[2] for name in named)
    if len(names) > 1:
        # Replicas of one row need the same engine, and an efficiency is relative to one GPU.
        problem = f"--device {device} needs GPUs of one model, and here are {_list(present)}"
        raise BadInput(problem, "use one GPU, as --device cuda:1")


def _gpus(backend: ProbedBackend, kind: str) -> list[str]:
    return [name for name in backend.devices if name.startswith(f"{kind}:")]


def _list(gpus: Sequence[str]) -> str:
    return f"{quantity(len(gpus), 'GPU')} ({', '.join(gpus)})"


def note_one_gpu(sweep: Sweep, backends: Sequence[ProbedBackend]) -> str:
    """A note for `cuda:all` on a machine with one GPU; empty for any other sweep."""
    every = sweep.device is not None and Device.parse(sweep.device).every
    counts = {len(_gpus(item, "cuda")) for item in backends if item.available} - {0}
    return (
        "--device cuda:all is cuda:0: this machine has one GPU, and no scaling is measured" if every and counts == {1} else ""
    )


@contextmanager
def lock_gpus(sweep: Sweep, pool: Pool) -> Iterator[None]:
    """Lock the clocks of the GPUs while inside, if the sweep requests it. Raises `BadInput` where it cannot."""
    if sweep.lock_clocks is None:
        yield
        return
    device = Device.parse(sweep.device or "cuda")
    if device.kind == "cpu":
        raise BadInput("--lock-clocks has no GPU to lock with --device cpu", "leave one of the two out")
    indices = range(max(1, len(pool.host().gpus or ()))) if device.every else [each.index for each in device.each]
    with ExitStack() as stack:
        for index in indices:
            stack.enter_context(pool.locked_clocks(index, sweep.lock_clocks))
        yield
