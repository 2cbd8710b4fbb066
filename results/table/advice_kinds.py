"""Kinds of findings that advise what would make a row faster, which kinds.py joins to all others. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .kind import INFO, Kind

ADVICE_KINDS: Mapping[str, Kind] = {
    "help_memory": Kind(
        severity=INFO,
        sentence="it reads at {share_p:.0f} % of the memory bandwidth that this machine attains, and {weights_p:.0f} % of its"
        " bytes are weights: INT8 has fewer bytes, and a larger batch reads the weights once for more items",
    ),
    "help_memory_batch": Kind(
        severity=INFO,
        sentence="it reads at {share_p:.0f} % of the memory bandwidth that this machine attains, and {weights_p:.0f} % of its"
        " bytes are weights: a larger batch reads the weights once for more items",
    ),
    "help_memory_values": Kind(
        severity=INFO,
        sentence="it moves bytes at {share_p:.0f} % of the memory bandwidth that this machine attains, and only"
        " {weights_p:.0f} % of them are weights: smaller inputs and outputs, or a narrower type for them, would help",
    ),
    "help_compute": Kind(
        severity=INFO,
        sentence="it computes at {share_p:.0f} % of the rate of matrix products in {type} here: {other} would help, in which"
        " products are {ratio:.1f} times as fast here, or a model with fewer operations",
    ),
    "help_compute_alone": Kind(
        severity=INFO,
        sentence="it computes at {share_p:.0f} % of the rate of matrix products in {type} here: only fewer operations, or"
        " another type, would make it much faster",
    ),
    "help_launch": Kind(
        severity=INFO,
        sentence="the start of its {kernels} kernels explains {share_p:.0f} % of its time: a larger batch does more in each,"
        " and a runtime that fuses more has fewer",
    ),
    "help_graph": Kind(
        severity=INFO,
        sentence="the start of its {kernels} kernels explains {share_p:.0f} % of its time, and it has no CUDA graph: use one"
        " ({option})",
    ),
    "help_profile": Kind(
        severity=INFO,
        sentence="computing, memory and launches explain at most {largest_p:.0f} % of its time: bench profile --roof shows the"
        " layers that take it",
    ),
    "help_batch": Kind(
        severity=INFO,
        sentence="it reaches {of_roof_p:.0f} % of the roof, and {other_p:.0f} % at batch {batch}: a larger batch uses more of"
        " the machine",
    ),
}
