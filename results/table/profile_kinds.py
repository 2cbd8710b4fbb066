"""Kinds of findings about a profile, which kinds.py joins to all others. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .kind import CAUTION, FAILURE, INFO, Kind

PROFILE_KINDS: Mapping[str, Kind] = {
    "profile_absent": Kind(severity=FAILURE, sentence="no profile ({status}): {reason}"),
    "profile_empty": Kind(severity=FAILURE, sentence="no profile: the runtime reported no time of any kernel"),
    "profile_totals": Kind(
        severity=INFO,
        sentence="p50 {p50_ms:.4g} ms without the profiler; the kernels take {kernels_ms:.4g} ms ({sum_p:.0f} % of p50),"
        " and {mapped_p:.1f} % of their time is mapped to nodes; the profiler adds {cost_p:.1f} % to a call ({calls} calls)",
    ),
    "profile_start": Kind(
        severity=INFO,
        sentence="{cold_ms:.0f} ms from the start of a process to the first output: process {process_ms:.0f}, import"
        " {import_ms:.0f}, load {load_ms:.0f}, first call {first_ms:.0f}, rest {rest_ms:.0f} ms (inputs, and the"
        " build of an engine where none was)",
    ),
    "profile_opening": Kind(severity=INFO, sentence="parts of its load ({load_ms:.3g} ms): {parts} ms, by {source}"),
    "profile_gaps": Kind(
        severity=CAUTION,
        sentence="{gap_p:.0f} % of p50 is not in kernels: {gap_us:.2g} us for each of {kernels} kernels, in which the runtime"
        " starts them; {cut_p:.0f} % of p50 is at most the rounding of its clock",
    ),
    "profile_graph": Kind(
        severity=CAUTION,
        sentence="{gap_p:.0f} % of p50 is not in kernels, and it has no CUDA graph: use one ({option})",
    ),
    "profile_slowed": Kind(
        severity=CAUTION,
        sentence="the kernels take {sum_p:.0f} % more than p50, because the profiler slows them: by {cost_us:.2g} us for each"
        " of {kernels} kernels ({cost_p:+.0f} % on a call); times and shares of kernels as short as that are too large",
    ),
    "profile_unsteady": Kind(
        severity=CAUTION,
        sentence="the kernels differ from p50 by {sum_p:+.0f} %, and the profiler does not explain it ({cost_p:+.0f} % on a"
        " call): other work disturbed the calls; profile it again on a quiet machine",
    ),
    "profile_coarse": Kind(
        severity=INFO,
        sentence="it runs {nodes} nodes in {kernels}, whose time cannot be divided: they have lines of their own, and its"
        " layers cannot be compared with those of another runtime",
    ),
    "profile_moves": Kind(
        severity=CAUTION,
        sentence="{share_p:.0f} % of the kernels' time moves data or changes its layout or type ({operators})",
    ),
    "profile_qdq": Kind(
        severity=CAUTION,
        sentence="{share_p:.0f} % of the kernels' time quantizes and dequantizes outside of layers ({operators})",
    ),
    "profile_operator": Kind(
        severity=INFO,
        sentence="{operator} takes {share_p:.0f} % ({ms:.3g} ms in {lines} lines), and {other_share_p:.0f} %"
        " ({other_ms:.3g} ms) on {other}",
    ),
    "profile_roof": Kind(
        severity=INFO,
        sentence="a call reaches {of_roof_p:.0f} % of what this machine attains; its bound is {bound}",
    ),
    "profile_room": Kind(
        severity=INFO,
        sentence="{operators} ({node}) takes {share_p:.0f} % of the kernels' time at {of_roof_p:.0f} % of the roof: at the"
        " roof, all kernels together would take {room_p:.0f} % less",
    ),
    "profile_slower": Kind(
        severity=INFO,
        sentence="{operators} ({node}) takes {ms:.3g} ms, and {first_ms:.3g} ms on {first}: {excess_ms:.3g} ms more, where all"
        " kernels together differ by {total_ms:+.3g} ms",
    ),
}
