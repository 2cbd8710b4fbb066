"""Process group of the ranks of one training, on this machine's loopback. Imports torch inside functions."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ...errors import PeerLost, Unavailable, installed, one_line
from ...spec import Device
from .jobs import Reporter
from .rank_jobs import CountGpus, GpuCount, JoinRanks, OpenRendezvous, Rendezvous
from .serve import State

LOOPBACK = "127.0.0.1"
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")  # variables with the network interface of each library
NCCL_WAITS = 2
LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed? ?out", re.IGNORECASE)
"""Messages of gloo, NCCL and the rendezvous about another process. They are plain RuntimeErrors in torch."""


def count_gpus(state: State, report: Reporter, job: CountGpus) -> GpuCount:
    """Count the GPUs that PyTorch finds."""
    with installed("PyTorch", "pip install 'onnxbench[torch]'"):
        import torch
    return GpuCount(gpus=torch.cuda.device_count())


def open_rendezvous(state: State, report: Reporter, job: OpenRendezvous) -> Rendezvous:
    """Open a store for `ranks` processes, on the loopback alone."""
    dist = _distributed()
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    # torch listens on all interfaces by itself; a socket that is bound already keeps other machines out
    state.rendezvous = dist.TCPStore(
        *(LOOPBACK, port, job.ranks, True), wait_for_workers=False, master_listen_fd=listener.detach()
    )
    return Rendezvous(address=f"{LOOPBACK}:{port}")


def _distributed() -> Any:
    with installed("PyTorch", "pip install 'onnxbench[torch]'"):
        from torch import distributed
    if not distributed.is_available():
        raise Unavailable("this PyTorch has no torch.distributed", "install PyTorch from pytorch.org")
    return distributed


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The ranks that have joined: this one's number, and the number of all."""

    rank: int
    ranks: int
    device: str

    def sums(self, values: Sequence[float]) -> list[float]:
        """Sum of each value over all ranks. It waits for all of them."""
        import torch
        from torch import distributed

        kind = torch.float64 if Device.parse(self.device).kind == "cpu" else torch.float32
        tensor = torch.tensor(values, dtype=kind, device=self.device)
        distributed.all_reduce(tensor)
        return [float(value) for value in tensor.cpu()]


def join(state: State, job: JoinRanks) -> ProcessGroup:
    """Join the other ranks, when all of them are ready."""
    dist = _distributed()
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    os.environ.update(dict.fromkeys(INTERFACES, loopback))
    os.environ.update(RANK=str(job.rank), LOCAL_RANK=str(job.rank), WORLD_SIZE=str(job.ranks))  # as torchrun sets them
    host, _, port = job.address.partition(":")
    store = state.rendezvous or dist.TCPStore(host, int(port), job.ranks, False, wait_for_workers=False)
    store.set(f"ready{job.rank}", "1")
    store.wait([f"ready{rank}" for rank in range(job.ranks)], timedelta(seconds=job.join_s))
    kind = Device.parse(job.device).kind
    # NCCL kills the rank that waits; the parent's limit comes before, and names the rank that did not answer
    wait_s = job.peer_s * (1 if kind == "cpu" else NCCL_WAITS)
    dist.init_process_group(BACKENDS[kind], store=store, rank=job.rank, world_size=job.ranks, timeout=timedelta(seconds=wait_s))
    group = ProcessGroup(rank=job.rank, ranks=job.ranks, device=job.device)
    group.sums([0.0])  # connects all ranks before the first step
    return group


@contextmanager
def peers_named(rank: int) -> Iterator[None]:
    """Turn an exception about another rank into `PeerLost`: the other rank has the reason."""
    try:
        yield
    except RuntimeError as error:  # gloo and NCCL have no class of their own in every version
        if LOST.search(str(first := _first_cause(error))):
            raise PeerLost(f"process {rank} lost another process of the training ({one_line(first)})") from error
        raise first from None


def _first_cause(error: BaseException) -> BaseException:
    """Exception in which `error` began: a pipeline's stage wraps the model's own."""
    while error.__cause__:
        error = error.__cause__
    return error


def leave() -> None:
    """Leave the group, without waiting for the others."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
