"""onnxbench: one table of a model's speed, accuracy and cost over runtimes, devices, precisions and batch sizes.

The commands are functions: `export`, `infer`, `check`, `recommend` and others (docs/python.md). `measure` measures a call of
Python. `calls` and `phase` are for a program that `bench measure` runs.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0.dev0"

API = ("bisect", "check", "compare", "export", "history", "infer", "read", "recommend", "report", "table", "train")
PUBLIC = {
    **dict.fromkeys(API, "api"),
    **{"calls": "loop", "phase": "loop", "measure": "runners.measure", "Beside": "runners.measure"},
    **{"Rows": "results.table.values", "Measurement": "results.table.values", "ComparedRuns": "results.compare.judged"},
    **{"Recommendation": "results.recommend.recommendation", "PickedRow": "results.recommend.recommendation"},
    **{"BisectedVersions": "results.bisect.steps", "BenchError": "errors"},
}
"""Public names and their modules. __init__.pyi has their types: an import here would tie all modules together."""


def __getattr__(name: str) -> Any:
    """Import a public function at its first use: `import onnxbench` loads nothing else."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    """Public names, for completion in a shell."""
    return sorted((*PUBLIC, "__version__"))
