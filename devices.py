"""Names of the devices that compute, one or several of a machine, and the CPU's instructions.

Standard library and errors only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import BadInput

USE = "use cpu, cuda or cuda:N; for several GPUs of one machine use cuda:all or cuda:N-M"

CPU_OR_CUDA = r"cpu|cuda(?::(?:(?P<every>all)|(?P<first>[0-9]{1,4})(?:-(?P<last>[0-9]{1,4}))?))?"
OTHERS = r"(?:dml|npu|webgpu)(?::(?P<first>[0-9]{1,4}))?"
"""Accelerators of which no clock, energy or memory is read. `gpu` is not among them: people write it for `cuda`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """`cpu`, one accelerator by kind and index (`cuda:0`), or several of one machine.

    `last`: index of the last one of several (`cuda:0-3`). `every`: all that the machine has (`cuda:all`); a plan replaces it.
    """

    kind: str
    index: int = 0
    last: int | None = None
    every: bool = False

    @classmethod
    def parse(cls, text: str) -> Device:
        """Parse `cpu`, `cuda`, `cuda:1`, `cuda:0-3`, `cuda:all` or one of OTHERS. `BadInput` for other texts."""
        if text == "cpu:all":
            raise BadInput(f"{text!r} is not a device: all cores of the machine are one device", "use cpu, and --threads N")
        match = re.fullmatch(OTHERS, text) or re.fullmatch(CPU_OR_CUDA, text)
        if not match:
            raise BadInput(f"{text!r} is not a device", USE)
        first, last = int(match["first"] or 0), match.groupdict().get("last")
        if last and int(last) <= first:
            right = f"cuda:{first}" if int(last) == first else f"cuda:{int(last)}-{first}"
            raise BadInput(f"{text!r} is not a range of devices", f"write {right}")
        return cls(kind=text.partition(":")[0], index=first, last=int(last) if last else None, every=text.endswith(":all"))

    @classmethod
    def one(cls, text: str, instead: str) -> Device:
        """Parse one device. `BadInput` for several, with `instead` as its hint."""
        device = cls.parse(text)
        if device.several:
            raise BadInput(f"--device {text} names several devices, and this command takes one", instead)
        return device

    @property
    def several(self) -> bool:
        """True for several devices of one machine."""
        return self.every or self.last is not None

    @property
    def each(self) -> tuple[Device, ...]:
        """The devices one by one. Of `cuda:all` only the first: its number is not known."""
        return tuple(Device(kind=self.kind, index=index) for index in range(self.index, (self.last or self.index) + 1))

    def __str__(self) -> str:
        if self.kind == "cpu":
            return self.kind
        end = "" if self.last is None else f"-{self.last}"
        return f"{self.kind}:all" if self.every else f"{self.kind}:{self.index}{end}"


def gpu_count(device: str) -> int | None:
    """Number of GPUs in the text of a cell's device: 4 for `cuda:0-3`; None without a GPU."""
    # Other tools name devices in other ways, which Device does not parse.
    match = re.fullmatch(r"[a-z]+:([0-9]{1,4})(?:-([0-9]{1,4}))?", device)
    return int(match[2] or match[1]) - int(match[1]) + 1 if match else None


VNNI = ("avx512_vnni", "avx_vnni")
INSTRUCTION_SETS = (
    *("avx2", "avx512f", *VNNI, "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)


@cache
def instruction_sets() -> tuple[str, ...]:
    """Instruction sets of this CPU that decide a runtime's choice of kernels, as Linux names them; empty on other systems."""
    flags = _cpu_flags()
    return tuple(name for name in INSTRUCTION_SETS if name in flags)


def lacks_vnni() -> bool:
    """True for an x86-64 CPU that cannot add products of 8 bits in 32 bits. False where the system does not tell."""
    return "avx2" in instruction_sets() and not set(VNNI) & set(instruction_sets())


def _cpu_flags() -> set[str]:
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        return set()
    return {flag for name, _, flags in lines if name.strip() in ("flags", "Features") for flag in flags.split()}
