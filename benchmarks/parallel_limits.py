"""Parts of a data parallel step, each timed apart: computing, the exchange of gradients, BatchNorm over all ranks, the input.

    python benchmarks/parallel_limits.py [--processes 2] [--model resnet50,vit_b16] [--batch-size 128] [--steps 10]
    python benchmarks/parallel_limits.py --device cpu --model vit_b16 --batch-size 1 --steps 2       two cores through gloo

Each rank has the whole batch, in BF16. All but the input have their images on the device already. Prints a table in Markdown:
milliseconds of a step, the mean of the repetitions with its 95 % interval, by rank 0. In a repetition every part has its turn.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import torch
from onnxbench.factories import resolve
from onnxbench.runners.worker.train_job import arithmetic, copied, wait_for
from parallel_gpu import FACTORIES, SIDES
from parallel_page import figure
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

IMAGES, WARM_STEPS = 512, 3
Step = Callable[[], object]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--model", default="resnet50,vit_b16")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def trained(network: nn.Module, images: torch.Tensor, device: str) -> Step:
    """One step of SGD on `images`."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    labels = torch.zeros(len(images), dtype=torch.long, device=device)

    def step() -> None:
        optimizer.zero_grad()
        with arithmetic(device, "bf16"):
            loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()

    return step


def parts(model: str, device: str, batch: int) -> dict[str, Step]:
    """Steps of one rank, by what they contain."""
    side, made = SIDES[model], lambda: resolve(FACTORIES[model])().to(device)
    ids = None if device == "cpu" else [torch.device(device).index]
    resident = torch.randn(batch, 3, side, side, device=device)
    host = torch.randn(max(IMAGES, batch), 3, side, side)
    whole, local = made(), DistributedDataParallel(made(), device_ids=ids)
    gradients = torch.zeros(sum(each.numel() for each in whole.parameters()), device=device)
    steps: dict[str, Step] = {
        "one process, the others wait": trained(whole, resident, device),
        "all processes, nothing exchanged": trained(whole, resident, device),
        "with the exchange of gradients": trained(local, resident, device),
        "the sum of the gradients alone": lambda: distributed.all_reduce(gradients),
        "the input alone": lambda: copied(host, torch.randperm(len(host))[:batch], device),
    }
    if any(isinstance(each, nn.BatchNorm2d) for each in whole.modules()) and device != "cpu":
        shared = DistributedDataParallel(nn.SyncBatchNorm.convert_sync_batchnorm(made()), device_ids=ids)
        steps["with the exchange, and BatchNorm over all ranks"] = trained(shared, resident, device)
    return steps


def timed(step: Step, device: str, steps: int) -> float:
    """Milliseconds of a step, by the wall clock around all of them."""
    for _ in range(WARM_STEPS):
        step()
    wait_for(device)
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    wait_for(device)
    return 1e3 * (time.perf_counter() - begin) / steps


def rank(number: int, asked: argparse.Namespace) -> None:
    """Measure all models as rank `number`, and print a line for each part on rank 0."""
    device = asked.device if asked.device == "cpu" else f"{asked.device}:{number}"
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // asked.processes))
    backend = "gloo" if device == "cpu" else "nccl"
    if device != "cpu":
        torch.cuda.set_device(device)
    torch.manual_seed(0)
    distributed.init_process_group(backend, rank=number, world_size=asked.processes)
    for model in asked.model.split(","):
        found: dict[str, list[float]] = {}
        steps = parts(model, device, asked.batch_size)
        for _ in range(asked.repeats):
            for name, step in steps.items():
                distributed.barrier()
                if number == 0 or not name.startswith("one process"):
                    found.setdefault(name, []).append(timed(step, device, asked.steps))
        for name, values in found.items() if number == 0 else ():
            print(f"| {model} | {name} | {figure(values, 1)} |", flush=True)
    distributed.destroy_process_group()


def main() -> None:
    asked = arguments()
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": os.environ.get("MASTER_PORT", "29511")})
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")  # multicast over NVLink fails on some shared hosts
    print(f"{asked.processes} processes on {asked.device}, {asked.batch_size} images a rank\n")
    print("| model | part | ms |\n|---|---|---:|", flush=True)
    multiprocessing.spawn(rank, (asked,), asked.processes)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
