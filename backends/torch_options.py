"""Options of PyTorch: layouts, cuDNN's search, kernels of attention. Functions take the module `torch` as an argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..spec import Cell
from ..tuning import Pairs, Tunable
from .protocol import setting

LAYOUT, BENCHMARK, SDPA = "channels_last", "cudnn_benchmark", "sdpa"
KINDS: Mapping[str, str] = {"flash": "flash", "efficient": "mem_efficient", "math": "math", "cudnn": "cudnn"}
"""Kernels of scaled dot product attention: our names, and the names in torch.backends.cuda."""

CPU_OPTIONS: Mapping[str, str] = {LAYOUT: "on: store weights and images with channels last (NHWC); off (default): NCHW"}
CPU_CHOICES: Mapping[str, tuple[str, ...]] = {LAYOUT: ("off", "on")}
CPU_TUNABLES = (Tunable(name=LAYOUT, values=CPU_CHOICES[LAYOUT], images=True),)
CUDA_OPTIONS: Mapping[str, str] = {
    **CPU_OPTIONS,
    BENCHMARK: "on: cuDNN times its algorithms and uses the fastest; off (default): it chooses by rules",
    SDPA: "kernels of scaled dot product attention: auto (default), flash, efficient, cudnn or math",
}
CUDA_CHOICES: Mapping[str, tuple[str, ...]] = {**CPU_CHOICES, BENCHMARK: ("off", "on"), SDPA: ("auto", *KINDS)}
CUDA_TUNABLES = (
    # A GPU's convolutions in FP16 want channels last: NCHW took 1.6 times as long for ResNet-50 on an H200.
    Tunable(name=LAYOUT, values=CUDA_CHOICES[LAYOUT], always=True, images=True),
    Tunable(name=BENCHMARK, values=CUDA_CHOICES[BENCHMARK], images=True),
    Tunable(name=SDPA, values=CUDA_CHOICES[SDPA]),
    Tunable(name="cuda_graph", values=("auto", "off")),
)


def has_channels_last(cell: Cell) -> bool:
    """True if `cell` sets the layout with channels last."""
    return setting(cell, LAYOUT) == "on"


def apply_process_wide(torch: Any, benchmark: bool, sdpa: str) -> None:
    """Set the options that hold for the whole process. Sessions with other options may be open beside this one."""
    torch.backends.cudnn.benchmark = benchmark
    if sdpa == "auto" and len(_enabled(torch)) != 1:  # no session has chosen: torch's own defaults stay
        return
    for kind, name in KINDS.items():
        enable = getattr(torch.backends.cuda, f"enable_{name}_sdp", None)
        if enable:
            enable(sdpa in ("auto", kind))


def read_layout(torch: Any, module: Any, cell: Cell) -> str:
    """`on` if the weights of convolutions are stored with channels last; the value of `cell` where no weight shows it."""
    # A kernel of 1 x 1 or of one channel has the same bytes in both layouts.
    images = [weight for weight in module.parameters() if weight.dim() == 4 and max(weight.shape[2:]) > 1 < weight.shape[1]]
    last = [weight.is_contiguous(memory_format=torch.channels_last) for weight in images]
    return ("on" if all(last) else "off") if last else setting(cell, LAYOUT, "off")


def _enabled(torch: Any) -> list[str]:
    return [kind for kind, name in KINDS.items() if getattr(torch.backends.cuda, f"{name}_sdp_enabled", lambda: False)()]


def read_process_wide(torch: Any) -> Pairs:
    """The options that hold for the whole process, as torch reports them."""
    enabled = _enabled(torch)
    sdpa = enabled[0] if len(enabled) == 1 else "auto"
    return ((BENCHMARK, str(torch.backends.cudnn.benchmark).lower()), (SDPA, sdpa))


def sdpa_program(cell: Cell) -> str:
    """Lines of a program that choose the kernels of attention; empty for torch's own choice."""
    choice = setting(cell, SDPA, "auto")
    if choice == "auto":
        return ""
    return "".join(f"torch.backends.cuda.enable_{name}_sdp({kind == choice})\n" for kind, name in KINDS.items())
