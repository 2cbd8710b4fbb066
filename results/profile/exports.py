"""Profiles in the formats of other tools: traces and flame graphs. Pure.

- Trace Event Format, which Perfetto and chrome://tracing open:
  https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
- folded stacks, which flamegraph.pl, inferno and speedscope read: https://github.com/brendangregg/FlameGraph
- speedscope's own format: https://www.speedscope.app/file-format-schema.json

A stack is the side, the parts of the path of the node's module or name, the node and the kernel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...evidence import Kernel
from ..table.render import bare_paths, plain
from .lines import ProfiledCase, Side

CHROME, FOLDED, SPEEDSCOPE = "chrome-trace", "folded", "speedscope"
SCHEMA_URL = "https://www.speedscope.app/file-format-schema.json"
LONGEST_FRAME = 200
Stack = tuple[str, ...]


def export(cases: Sequence[ProfiledCase], format: str) -> str:
    """Text of the profiles in one of FORMATS, ending in a newline."""
    sides = [(_title(case, side, cases), side) for case in cases for side in case.sides]
    return FORMATS[format](sides)


Titled = Sequence[tuple[str, Side]]


def _title(case: ProfiledCase, side: Side, cases: Sequence[ProfiledCase]) -> str:
    return _text(bare_paths(f"{case.name} {side.label}" if len(cases) > 1 else side.label))


def _text(text: str) -> str:
    # The names of nodes are paths too, and have no folder of the machine.
    return plain(text)[:LONGEST_FRAME]


def _chrome(sides: Titled) -> str:
    events = [event for number, (title, side) in enumerate(sides, 1) for event in _events(number, title, side)]
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}, allow_nan=False) + "\n"


def _events(number: int, title: str, side: Side) -> Iterator[Mapping[str, Any]]:
    """Events of one side, a process of the trace. Times in us.

    The begins are those of one usual call. A runtime without begins has its kernels one after another.
    """
    yield {"ph": "M", "pid": number, "name": "process_name", "args": {"name": title}}
    threads: dict[str, int] = {}
    next_ns = 0.0
    for kernel in side.profiled.kernels:
        if kernel.ns:
            begin_ns = next_ns if kernel.begin_ns is None else kernel.begin_ns
            # the durations of the call that has the begins: a mean over calls may be longer than the time to the next kernel
            ns = kernel.ns if kernel.usual_ns is None else kernel.usual_ns
            next_ns = begin_ns + ns
            facts = {"nodes": [_text(name) for name in kernel.nodes], "type": kernel.type, "kernel": _text(kernel.node)}
            yield {
                "ph": "X",
                "pid": number,
                "tid": threads.setdefault(kernel.thread, len(threads) + 1),
                "name": _text(kernel.operator),
                "ts": begin_ns / 1e3,
                "dur": ns / 1e3,
                "args": {**facts, "begin": "not reported" if kernel.begin_ns is None else "measured"},
            }


def _folded(sides: Titled) -> str:
    """Lines of `frame;frame;... ns`. A frame has no semicolon and no space at its end."""
    lines = ["{} {:.0f}".format(";".join(frame.replace(";", ",") for frame in stack), ns) for stack, ns in _all_stacks(sides)]
    return "".join(f"{line}\n" for line in lines)


def _all_stacks(sides: Titled) -> Iterator[tuple[Stack, float]]:
    for title, side in sides:
        for stack, ns in _stacks(side).items():
            yield (title, *stack), ns


def _stacks(side: Side) -> dict[Stack, float]:
    """Time of each stack in ns. The rounding to whole ns would lose nothing, and an empty time is left out."""
    scopes = {node.name: node.scope for node in side.profiled.nodes}
    times: dict[Stack, float] = {}
    for kernel in side.profiled.kernels:
        if kernel.ns:
            stack = _stack(kernel, scopes)
            times[stack] = times.get(stack, 0.0) + kernel.ns
    return times


def _stack(kernel: Kernel, scopes: Mapping[str, str | None]) -> Stack:
    name = next(iter(kernel.nodes), "")
    scope = scopes.get(name)
    path = scope.split(".") if scope else re.split(r"[/;]", name)[:-1]
    node = _text(name) or "(not mapped)"
    return (*(_text(part) for part in path if part), node, _text(f"{kernel.operator} {kernel.type}".strip()))


def _speedscope(sides: Titled) -> str:
    frames: dict[str, int] = {}
    profiles = []
    for title, side in sides:
        stacks = _stacks(side)
        profiles.append(
            {
                "type": "sampled",
                "name": title,
                "unit": "nanoseconds",
                "startValue": 0,
                "endValue": sum(stacks.values()),
                "samples": [[frames.setdefault(frame, len(frames)) for frame in stack] for stack in stacks],
                "weights": list(stacks.values()),
            }
        )
    data = {"$schema": SCHEMA_URL, "shared": {"frames": [{"name": name} for name in frames]}, "profiles": profiles}
    return json.dumps({**data, "exporter": "onnxbench"}, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Titled], str]] = {CHROME: _chrome, FOLDED: _folded, SPEEDSCOPE: _speedscope}
