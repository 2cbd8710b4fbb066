"""Options of ONNX Runtime's sessions: applied, read back, and written into programs. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..spec import Cell, Concurrency
from ..tuning import Pairs, Tunable
from .protocol import setting

LEVEL, ARENA, SPINNING, INTER_OP = "graph_optimization_level", "enable_cpu_mem_arena", "allow_spinning", "inter_op_num_threads"
FREE_DIMENSIONS = "free_dimensions"
FREE_OPTION: Mapping[str, str] = {
    FREE_DIMENSIONS: "fixed (default): open dimensions of the file have the sizes of the row; open: they stay open"
}
FREE_CHOICES: Mapping[str, tuple[str, ...]] = {FREE_DIMENSIONS: ("fixed", "open")}
# Fixed sizes change which nodes are fused: a MatMul and its Add become a Gemm, and a bias is no longer part of a Gelu
FREE_TUNABLE = Tunable(name=FREE_DIMENSIONS, values=FREE_CHOICES[FREE_DIMENSIONS], open_dims=True)
OPTIONS: Mapping[str, str] = {
    LEVEL: "all (default): also layouts such as NCHWc; extended: fusions without layouts; basic: neither",
    ARENA: "1 (default): take memory from an arena; 0: from the system in each call",
    SPINNING: "1 (default): threads spin while they wait for work; 0: they sleep",
    INTER_OP: "1 (default): one node at a time; 2: two nodes at a time, with one thread fewer in each node",
    **FREE_OPTION,
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    LEVEL: ("all", "extended", "basic"),
    ARENA: ("1", "0"),
    SPINNING: ("1", "0"),
    INTER_OP: ("1", "2"),
    **FREE_CHOICES,
}
TUNABLES = (*(Tunable(name=name, values=CHOICES[name]) for name in (SPINNING, INTER_OP, ARENA, LEVEL)), FREE_TUNABLE)
LEVELS: Mapping[str, str] = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC"}
SPINNING_ENTRY = "session.intra_op.allow_spinning"


def apply(onnxruntime: Any, options: Any, cell: Cell, concurrency: Concurrency) -> None:
    """Set the options of `cell`. An option that is not set keeps the default of ONNX Runtime."""
    own = dict(cell.settings.options)
    if LEVEL in own:
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[own[LEVEL]])
    if ARENA in own:
        options.enable_cpu_mem_arena = own[ARENA] == "1"
    if SPINNING in own:
        options.add_session_config_entry(SPINNING_ENTRY, own[SPINNING])
    if (count := int(own.get(INTER_OP, 1))) > 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = count
        options.intra_op_num_threads = _intra_op(concurrency, count)


def _intra_op(concurrency: Concurrency, count: int) -> int:
    """Threads of a node where `count` nodes run at a time. Together they are not more than requested."""
    return max(1, concurrency.threads - count + 1)


def read_options(options: Any, cell: Cell) -> Pairs:
    """Options that `cell` sets, as the session reports them."""
    names = {value: name for name, value in LEVELS.items()}
    level = str(options.graph_optimization_level).rpartition(".")[2]
    own = dict(cell.settings.options)
    reported = {
        LEVEL: names.get(level, level),
        ARENA: str(int(options.enable_cpu_mem_arena)),
        SPINNING: options.get_session_config_entry(SPINNING_ENTRY) if SPINNING in own else "1",
        INTER_OP: str(options.inter_op_num_threads),
        FREE_DIMENSIONS: own.get(FREE_DIMENSIONS, "fixed"),  # a session does not report it
    }
    return tuple((name, reported[name]) for name in OPTIONS if name in own)


def program(cell: Cell, concurrency: Concurrency) -> str:
    """Lines of a program that set the options of `cell` on `options`; empty for the defaults."""
    lines, count = [], int(setting(cell, INTER_OP, "1"))
    if level := setting(cell, LEVEL):
        lines.append(f"options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{LEVELS[level]}")
    if arena := setting(cell, ARENA):
        lines.append(f"options.enable_cpu_mem_arena = {arena == '1'}")
    if spinning := setting(cell, SPINNING):
        lines.append(f'options.add_session_config_entry("{SPINNING_ENTRY}", "{spinning}")')
    if count > 1:
        lines.append("options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL")
        lines.append(f"options.inter_op_num_threads = {count}")
        lines.append(f"options.intra_op_num_threads = {_intra_op(concurrency, count)}")
    return "".join(f"{line}\n" for line in lines)
