"""Parser of the latencies that a program prints: one call a line. Standard library and loop.py only.

    0.00131                         seconds
    1.31 ms                         a number with its unit: ns, us, ms or s
    latency_ms=1.31                 the same, by name
    latency_ms=1.31 copy_in_ms=0.12 compute_ms=1.05 wait_ms=0.1 copy_out_ms=0.04

A first line `latency_ms` (or `_s`, `_us`, `_ns`) gives the unit of bare numbers, as in the files of `bench import`. Empty lines
and lines that begin with # are skipped. Every other line is an error: a line that is dropped in silence may be a latency.
"""

from __future__ import annotations

import re

from ...errors import RuntimeFailed, shown
from ...loop import LATENCY, PHASES, Times

UNITS_NS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
NUMBER = r"(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+)"
BARE = re.compile(rf"{NUMBER}\s*(ns|us|µs|ms|s)?")
NAMED = re.compile(rf"({LATENCY}|{'|'.join(PHASES)})_(ns|us|ms|s)={NUMBER}")
UNIT_LINE = re.compile(rf"{LATENCY}_(ns|us|ms|s)")
COMMA = re.compile(r"(^|=)\d+,\d+(\s|$)")
LONGEST_NS = 1e15  # eleven days: a longer call is a wrong unit
FORM = "print one latency a line on stdout, such as latency_ms=1.31, and everything else on stderr"


class LatencyLines:
    """Calls that the lines of one block or of one run give, in `times`. `program`: name for the errors.

    All lines have the same phases. Without `latency` in a line, the latency is the sum of its phases.
    """

    def __init__(self, program: str) -> None:
        self.times = Times()
        self._program, self._unit, self._number = program, "s", 0
        self._names: frozenset[str] | None = None

    def add(self, line: str) -> None:
        """Read one line. Raises `RuntimeFailed` for a line that is no latency."""
        self._number += 1
        text = line.strip()
        if not text or text.startswith("#"):
            return
        if unit := UNIT_LINE.fullmatch(text):
            self._unit = unit[1]
            return
        values = self._parse(text)
        latency = values.pop(LATENCY, None)
        self._check_names(text, frozenset(values))
        latency = sum(values.values()) if latency is None else latency
        if not latency:
            raise self._refuse(text, "takes no time", "print the time of each call in a smaller unit, such as latency_ns")
        self.times.add(latency, values)

    def _parse(self, text: str) -> dict[str, int]:
        """Times of one line in ns, by name."""
        if bare := BARE.fullmatch(text):
            return {LATENCY: self._to_ns(text, bare[1], bare[2] or self._unit)}
        matches = [NAMED.fullmatch(part) for part in text.split()]
        values = {match[1]: self._to_ns(text, match[3], match[2]) for match in matches if match}
        if len(values) < len(matches):
            raise self._wrong(text)
        return values

    def _to_ns(self, text: str, number: str, unit: str) -> int:
        ns = float(number) * UNITS_NS[unit]
        if ns > LONGEST_NS:
            raise self._refuse(text, f"is longer than {LONGEST_NS / 1e9:.0f} s", "check the unit; a bare number is in seconds")
        return round(ns)

    def _check_names(self, text: str, names: frozenset[str]) -> None:
        """Raise `RuntimeFailed` if a line has other phases than the lines before: no median of a phase would be that of all."""
        if self._names is not None and names != self._names:
            before = ", ".join(sorted(self._names)) or "none"
            raise self._refuse(text, f"has other phases than the lines before ({before})", "print the same phases in each line")
        self._names = names

    def _wrong(self, text: str) -> RuntimeFailed:
        if COMMA.search(text):
            return self._refuse(
                text, "has a decimal comma", "print 1.31 instead of 1,31 (LC_ALL=C sets that for many programs)"
            )
        return self._refuse(text, "is not a latency", FORM)

    def _refuse(self, text: str, problem: str, hint: str) -> RuntimeFailed:
        return RuntimeFailed(f"line {self._number} of {self._program}, {shown(text, 60)}, {problem}", hint)
