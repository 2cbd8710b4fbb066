"""Packages that backends need: licence, wheels and size of the tested version. Standard library only.

The licence is the one that the package declares, as an SPDX expression. Libraries inside it may have others. The size is that
of the installed files on Linux x86-64, without other packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LINUX, LINUX_ARM, MACOS, MACOS_INTEL = "Linux x86-64", "Linux ARM64", "macOS ARM64", "macOS x86-64"
WINDOWS, WINDOWS_ARM = "Windows x86-64", "Windows ARM64"


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """A package of pip. `platforms` have wheels of `version` for `pythons`. `size_mb`: 0 if nobody measured it."""

    version: str
    licence: str
    platforms: tuple[str, ...]
    pythons: str
    size_mb: int = 0


PACKAGES: Mapping[str, Distribution] = {
    "torch": Distribution(
        version="2.13.0",
        licence="BSD-3-Clause",
        platforms=(LINUX, LINUX_ARM, MACOS, WINDOWS),
        pythons="3.10-3.14",
        size_mb=698,  # the build for CPUs
    ),
    "onnxruntime": Distribution(
        version="1.31.1",
        licence="MIT",
        platforms=(LINUX, LINUX_ARM, MACOS, WINDOWS, WINDOWS_ARM),
        pythons="3.11-3.14",
        size_mb=64,
    ),
    "onnxruntime-gpu": Distribution(
        version="1.31.1", licence="MIT", platforms=(LINUX, LINUX_ARM, WINDOWS), pythons="3.11-3.14"
    ),
    "tensorrt": Distribution(version="8.6.0", licence="LicenseRef-NVIDIA-TensorRT", platforms=(LINUX,), pythons="3.6-3.10"),
    "openvino": Distribution(
        version="2026.4.1",
        licence="Apache-2.0",
        platforms=(LINUX, LINUX_ARM, MACOS, WINDOWS),
        pythons="3.10-3.14",
        size_mb=184,
    ),
    "ncnn": Distribution(
        version="1.0.20261020",
        licence="BSD-3-Clause",
        platforms=(LINUX, LINUX_ARM, MACOS, MACOS_INTEL, WINDOWS),
        pythons="3.9-3.15",
        size_mb=29,
    ),
    "mnn": Distribution(
        version="3.6.1",
        licence="BSD-3-Clause",
        platforms=(LINUX, LINUX_ARM, MACOS, MACOS_INTEL, WINDOWS),
        pythons="3.8-3.14",
        size_mb=58,
    ),
    "ai-edge-litert": Distribution(
        version="2.3.0",
        licence="Apache-2.0",
        platforms=(LINUX, LINUX_ARM, MACOS, WINDOWS),
        pythons="3.10-3.14",
        size_mb=60,
    ),
    "onnxruntime-ep-openvino": Distribution(
        version="1.8.1", licence="MIT", platforms=(LINUX, WINDOWS), pythons="3.10 and later", size_mb=165
    ),
    "onnxruntime-ep-nv-tensorrt-rtx-cu13": Distribution(
        version="0.5.0",
        licence="Apache-2.0",
        platforms=(LINUX, LINUX_ARM, WINDOWS, WINDOWS_ARM),
        pythons="3.8 and later",
        size_mb=315,
    ),
    "onnxruntime-ep-webgpu": Distribution(
        version="0.4.0",
        licence="MIT",
        platforms=(LINUX, LINUX_ARM, MACOS, WINDOWS, WINDOWS_ARM),
        pythons="3.11 and later",
        size_mb=17,
    ),
    "onnxruntime-qnn": Distribution(
        version="2.7.0",
        licence="MIT",
        platforms=(LINUX, LINUX_ARM, WINDOWS, WINDOWS_ARM),
        pythons="3.11-3.14",
        size_mb=256,
    ),
    "onnxruntime-directml": Distribution(version="1.24.4", licence="MIT", platforms=(WINDOWS,), pythons="3.11-3.14"),
}
"""Each package by its name in the package index."""


def licence(package: str) -> str:
    """Licence of a package; empty for one that is not in the table, or for none."""
    return PACKAGES[package].licence if package in PACKAGES else ""
