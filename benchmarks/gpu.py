"""Everything that is known of a GPU machine, by one command: contract suite, sweep, programs, training, and bare loops.

    make gpu                              all steps, in this order; results go to docs/results/
    python benchmarks/gpu.py STEP ...     some of: contract sweep programs train loops results

What is interrupted goes on where it was; the run folder is RUN (runs/gpu). TENSORRT names the Python that has TensorRT, where
it is not this one (8.6 is for Python 3.10 alone); BUDGET is quick, normal (the default) or thorough. The results are called as
the GPU, or NAME. What there is to say of how it was run is in runs/gpu-notes/remarks.txt, a line each.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from onnxbench.results.recommend import recommend
from onnxbench.results.recommend.candidates import Request
from onnxbench.results.recommend.objective import OBJECTIVES
from onnxbench.results.stats.intervals import log_interval
from onnxbench.results.store import record
from onnxbench.results.store.head import Gpu
from onnxbench.results.table import render, table
from onnxbench.spec import to_wire
from recommendation import COMMAND, stated

ROOT = Path(__file__).resolve().parents[1]
RUN, KEPT, RESULTS = Path(os.environ.get("RUN", "runs/gpu")), Path("runs/gpu-notes"), ROOT / "docs/results"
TENSORRT = os.environ.get("TENSORRT", "")
BUDGET = os.environ.get("BUDGET", "normal")
BACKENDS = ("torch-cuda", "ort-cuda", "tensorrt")
SWEEPS = (
    ("ort-cpu,openvino-cpu", "fp32,bf16,int8", "1,16,256"),
    ("torch-cuda,ort-cuda,tensorrt", "fp32,tf32,fp16,int8,int8+fp16", "1,16,64,256,1024"),
)
LOOPS = (("fp32", 1), ("fp16", 1), ("fp16", 256))
ROUNDS = 12
PROGRAM_TIMES, PROGRAM_S = 3, 120.0
SHOWN = (
    *(
        "backend",
        "environment",
        "precision",
        "batch",
        "status",
        "executed",
        "p50_ms",
        "e2e_p50_ms",
        "device_p50_ms",
        "throughput_per_s",
    ),
    *("lanes", "build_s", "load_s", "top1", "sqnr_db", "energy_mj", "device_mem_mb", "grade"),
)


def bench(*arguments: str) -> int:
    """Run the tool; its exit code. What it prints goes where ours does."""
    where = ("--python", f"tensorrt={TENSORRT}") if TENSORRT and "tensorrt" in " ".join(arguments) else ()
    return subprocess.run([*COMMAND, *arguments, *where]).returncode


def elsewhere(backend: str) -> tuple[str, dict[str, str]]:
    """The Python that has the runtime of `backend`, and the environment for it."""
    if not TENSORRT or backend != "tensorrt":
        return sys.executable, dict(os.environ)
    return TENSORRT, {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def contract() -> None:
    """The contract suite of the GPU's backends, which must all be here."""
    needs = {"BENCH_REQUIRE": ",".join(BACKENDS), "BENCH_PYTHON": f"tensorrt={TENSORRT}" if TENSORRT else ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(ROOT / "tests/contract"),
        "-k",
        "cuda or tensorrt",
        "-rs",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, env={**os.environ, **needs}, capture_output=True, text=True, cwd=ROOT)
    print(done.stdout[-6000:])
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / "contract.txt").write_text(done.stdout.strip().splitlines()[-1] + "\n")
    if done.returncode:
        raise SystemExit(1)


def sweep() -> None:
    """Every backend, precision and batch of the GPU, beside the CPU's."""
    for backends, precisions, batches in SWEEPS:
        what = ("--backend", backends, "--precision", precisions, "--batch", batches)
        # The programs load the engines that were measured: a new build may get other kernels.
        bench("infer", *what, "--budget", BUDGET, "--keep-engines", str(KEPT / "engines"), "--out", str(RUN), "--resume")


def programs() -> None:
    """Programs that are recommended for each backend, pasted and run: items a second over what the row says."""
    KEPT.mkdir(parents=True, exist_ok=True)
    runs, found = [record.read_run(RUN)], []
    for objective in ("throughput", "latency"):
        request = Request(objective=OBJECTIVES[objective], conditions=(), prices=())
        ranked = recommend.decide(runs, request).ranked
        for backend in BACKENDS:
            best = next((item for item in ranked if item.cells["backend"] == backend), None)
            if best is None:
                print(f"{objective} | {backend} has no row to recommend", flush=True)
                continue
            told = {"objective": objective, "name": best.name, "stated": stated(best.cells, objective)}
            found.append({**told, **_pasted(backend, best.deployment.snippet)})
            print(_program(found[-1]), flush=True)
            (KEPT / "programs.json").write_text(json.dumps(found, indent=1) + "\n")


def _pasted(backend: str, text: str) -> dict[str, Any]:
    """Items a second of some runs of a program, fewer where it first builds for long; what it said when it failed."""
    python, environment = elsewhere(backend)
    rates: list[float] = []
    end = time.monotonic() + PROGRAM_S
    while len(rates) < PROGRAM_TIMES and (not rates or time.monotonic() < end):
        done = subprocess.run([python, "-"], input=text, cwd="artifacts", capture_output=True, text=True, env=environment)
        if done.returncode:
            return {"rates": rates, "failed": f"{done.stderr.strip()[-2000:]} (exit code {done.returncode})"}
        rates.append(float(re.findall(r"([0-9.]+) items/s", done.stdout)[-1]))
    return {"rates": rates}


def _program(told: Mapping[str, Any]) -> str:
    shown = [told["objective"], told["name"], f"{told['stated']:.0f}"]
    if "failed" in told:
        return " | ".join([*shown, "", f"failed: {told['failed'].splitlines()[-1]}"])
    ratios = " ".join(f"{rate / told['stated']:.3f}" for rate in told["rates"])
    return " | ".join([*shown, f"{median(told['rates']):.0f}", ratios])


def train() -> None:
    """The CNN on the GPU against the CPU, where FP16 takes minutes an epoch; interrupted, it keeps what it has."""
    devices, how = ("--device", "cuda", "--device", "cpu"), ("--epochs", "2", "--format", "json")
    command = [*COMMAND, "train", *devices, "--precision", "fp32,tf32,bf16,fp16", *how]
    KEPT.mkdir(parents=True, exist_ok=True)
    with (
        (KEPT / "train.json").open("w") as file,
        subprocess.Popen(command, stdout=file) as process,
        suppress(KeyboardInterrupt),
    ):
        process.wait()
    print((KEPT / "train.json").read_text()[-1500:])


def loops() -> None:
    """Sessions against bare loops, in one process for each backend."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for backend in os.environ.get("LOOPS", ",".join(BACKENDS)).split(","):
        python, environment = elsewhere(backend)
        for precision, batch in LOOPS:
            file = f"artifacts/cnn.{precision}.onnx"
            how = (backend, file, precision, str(batch), str(ROUNDS), "artifacts/cnn.safetensors")
            done = subprocess.run(
                [python, str(ROOT / "benchmarks/gpu_loops.py"), *how], capture_output=True, text=True, env=environment
            )
            if done.returncode:
                print(f"{backend} {precision} b{batch}: {done.stderr[-500:]}")
                continue
            (KEPT / f"loops-{backend}-{precision}-{batch}.json").write_text(done.stdout)
            for line in _ratios(json.loads(done.stdout)):
                print(line, flush=True)


def _ratios(told: Mapping[str, Any]) -> list[str]:
    """Ours over theirs, with intervals over the rounds."""
    lines = []
    for what, values in told["found"].items():
        if not values["theirs"]:
            continue
        interval = log_interval([one / other for one, other in zip(values["ours"], values["theirs"], strict=True)])
        ratio = f"{interval.middle:.3f} [{interval.low:.3f}, {interval.high:.3f}]" if interval else "too few rounds"
        ours, theirs = median(values["ours"]), median(values["theirs"])
        name = f"{told['backend']} {told['precision']} b{told['batch']}"
        lines.append(f"{name} | {what} | {ours:.4g} | {theirs:.4g} | {ratio}")
    return lines


def results() -> None:
    """The last results, as JSON and as a page."""
    run = record.read_run(RUN)
    found = table.build([run])
    gpu = next(iter(run.host.gpus or ()), Gpu(name="no GPU"))
    name = os.environ.get("NAME") or re.sub(r"[^a-z0-9]+", "-", str(gpu.name).lower()).strip("-")
    date = datetime.fromtimestamp(run.head.began_unix_s or 0, tz=timezone.utc).date().isoformat()
    kept = {path.stem: path.read_text() for path in sorted(KEPT.glob("*"))}
    trained = json.loads(kept["train"]) if kept.get("train") else {}
    told = [json.loads(text) for stem, text in kept.items() if stem.startswith("loops-")]
    budget = run.sweep.budget.name if run.sweep else None
    facts = {"date": date, "host": to_wire(run.host), "versions": run.head.versions, "budget": budget}
    RESULTS.mkdir(parents=True, exist_ok=True)
    remarks = kept.get("remarks", "").splitlines()
    content = {
        **facts,
        "contract": kept.get("contract"),
        "remarks": remarks,
        "rows": found.rows,
        "programs": json.loads(kept.get("programs", "[]")),
        "train": trained,
        "loops": told,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(_page(facts, found, content))
    print(RESULTS / f"{name}.md")


PROGRAMS_SAY = "Programs that `bench recommend` printed, run unchanged: their items a second, relative to the row's."
LOOPS_SAY = "onnxbench relative to a bare loop, paired by round. Host and device are in ms, rates in items a second."


def _page(facts: Mapping[str, Any], found: table.Table, content: Mapping[str, Any]) -> str:
    host = facts["host"]
    gpus = ", ".join(f"{gpu['name']} (driver {gpu.get('driver')})" for gpu in host["gpus"] or ())
    lines = [
        f"# {gpus or 'No GPU'}",
        "",
        f"Measured on {facts['date']} by `make gpu` at `{facts['budget']}`, on {host['cpu']} ({host['usable_threads']} threads"
        f", {' '.join(host['isa'])}). Versions: " + ", ".join(f"{name} {v}" for name, v in facts["versions"].items()) + ".",
        f"Contract suite of {', '.join(BACKENDS)}: {(content['contract'] or 'not run').strip()}.",
        *content["remarks"],
        *("", "## Inference", "", _markdown(found)),
        *("## Programs", "", PROGRAMS_SAY, ""),
        *_programs(content["programs"]),
        *(
            "",
            "## Training",
            "",
            "The CNN on the digits. `speedup` is relative to the first row.",
            "",
            _trained(content["train"]),
        ),
        *("## Against bare loops", "", LOOPS_SAY, ""),
        *("| cell | figure | onnxbench | bare loop | ratio |", "|---|---|---|---|---|"),
        *(f"| {line} |" for told in content["loops"] for line in _ratios(told)),
    ]
    return "\n".join(lines) + "\n"


def _markdown(found: table.Table) -> str:
    fields = [field for field in found.fields if field.name in SHOWN]
    return render.render(table.replace(found, fields=tuple(fields)), "markdown")


def _programs(found: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["| objective | row | stated | program | ratio of each run |", "|---|---|---|---|---|"]
    return [*head, *(f"| {_program(told)} |" for told in found)] if found else ["Not run."]


def _trained(told: Mapping[str, Any]) -> str:
    rows = told.get("rows", [])
    if not rows:
        return "Not run."
    names = [name for name in rows[0] if any(row.get(name) is not None for row in rows)]
    shown = [
        [
            f"{value:.4g}" if isinstance(value, float) else str(value if value is not None else "")
            for value in map(row.get, names)
        ]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [names, ["---"] * len(names), *shown]) + "\n"


STEPS: Mapping[str, Callable[[], None]] = {
    "contract": contract,
    "sweep": sweep,
    "programs": programs,
    "train": train,
    "loops": loops,
    "results": results,
}


def main() -> None:
    for step in sys.argv[1:] or STEPS:
        STEPS[step]()


if __name__ == "__main__":
    main()
