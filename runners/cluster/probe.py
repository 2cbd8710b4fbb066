"""Facts of a node, from a function that is sent as it is: the node may lack this package. Standard library only, inside it."""

from __future__ import annotations


def node_facts() -> dict[str, str]:
    """Facts of the machine that runs this: versions, CPU, and a name that all of its containers share.

    `missing`: reason why onnxbench cannot be imported; empty if it can.
    """
    import importlib
    import platform
    from pathlib import Path

    facts = {"python": platform.python_version(), "tool": "", "missing": "", "cpu": "", "machine": platform.node()}
    try:
        facts["tool"] = str(importlib.import_module("onnxbench").__version__)
    except Exception as error:  # a broken installation raises anything
        facts["missing"] = f"{type(error).__name__}: {error}"
    try:
        facts["machine"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip() or facts["machine"]
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts["cpu"] = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    facts["cpu"] = facts["cpu"] or platform.processor() or platform.machine()
    return facts
