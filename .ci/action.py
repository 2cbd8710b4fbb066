"""Measurement of action.yml: both sides in turns, the comparison as a job summary, and the outputs of the step.

Two runtimes share one run, whose rounds are paired. Two models have runs of their own, in turns and in a turned order. Every
request is an environment variable.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import onnxbench as ob
from onnxbench.errors import BadInput

SIDES = ("base", "head")


def main() -> int:
    """Measure, and write `comparison.txt`, the summary and the outputs."""
    request = {name.lower(): os.environ[name] for name in REQUEST}
    out = Path(request["out"])
    if not (request["base_model"] or (request["base_python"] and request["head_python"])):
        raise BadInput(
            "both sides have the same model and the same runtime", "set base-model, or base-runtime and head-runtime"
        )
    text, summary, verdict, failed = (_two_models if request["base_model"] else _two_runtimes)(request, out)
    (out / "comparison.txt").write_text(text)
    print(text)
    _append("GITHUB_STEP_SUMMARY", f"## {request['backend']}: {verdict}\n\n{summary}")
    _append("GITHUB_OUTPUT", f"verdict={verdict}\nfailed={str(failed).lower()}\n")
    return 0


REQUEST = ("MODEL", "BASE_MODEL", "BACKEND", "BASE_PYTHON", "HEAD_PYTHON", "BATCH", "BUDGET", "RUNS", "LIMIT", "OUT")
Outcome = tuple[str, str, str, bool]


def _two_models(request: dict[str, str], out: Path) -> Outcome:
    """Runs of both models in turns. The first side of a turn changes from turn to turn."""
    models = {"base": request["base_model"], "head": request["model"]}
    runs: dict[str, list[ob.Measurement]] = {side: [] for side in SIDES}
    for number in range(int(request["runs"])):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            python = request[f"{side}_python"]
            environment = {request["backend"]: python} if python else None
            runs[side].append(_measure(request, models[side], request["backend"], environment, out / f"{side}-{number + 1}"))
    change = ob.compare(runs["base"], runs["head"], fail_on=f"p50>{request['limit']}%", inconclusive="warn")
    return str(change), change.to_markdown(), change.verdict, change.failed


def _two_runtimes(request: dict[str, str], out: Path) -> Outcome:
    """One run of both runtimes, with paired rounds."""
    targets = {side: f"{request['backend']}@{side}" for side in SIDES}
    environments = {targets[side]: request[f"{side}_python"] for side in SIDES}
    both = _measure(request, request["model"], list(targets.values()), environments, out / "both", targets["base"])
    head = [row for row in both if row["environment"] == "head"]
    worst = 1 / (1 + float(request["limit"]) / 100)
    failed = any(row["verdict"] == "slower" and float(row["speedup_ci_high"] or 1) < worst for row in head)
    return str(both), both.to_markdown(), _verdict({str(row["verdict"]) for row in head}), failed


def _measure(
    request: dict[str, str],
    model: str,
    backends: str | list[str],
    environments: dict[str, str] | None,
    out: Path,
    baseline: str | None = None,
) -> ob.Measurement:
    budget = request["budget"]
    options = {"backend": backends, "python": environments, "batch": request["batch"], "budget": budget, "baseline": baseline}
    measured = ob.infer(model, progress=True, out=out, **options)
    if measured.exit_code:
        print(measured)
        reasons = dict.fromkeys(str(row["reason"]) for row in measured if row["reason"])
        raise ob.BenchError(f"not every row of {model} was measured", "; ".join(reasons))
    return measured


def _verdict(verdicts: set[str]) -> str:
    """One verdict on the rows of head."""
    if {"slower", "faster"} <= verdicts:
        return "mixed"
    return next((name for name in ("slower", "faster") if name in verdicts), "undecided")


def _append(variable: str, text: str) -> None:
    """Append `text` to the file that a runner names in `variable`."""
    if path := os.environ.get(variable):
        with Path(path).open("a") as file:
            file.write(text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ob.BenchError as error:
        print(f"::error::{str(error).splitlines()[0]}")
        sys.exit(error.exit_code)
