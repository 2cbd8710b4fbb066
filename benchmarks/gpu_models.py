"""Real models on a GPU machine, one after the other: rows of each, the same figures of bare loops, and pages.

    python benchmarks/gpu_models.py [STEP ...]          steps: unpack export sweep loops pack page; default: all but page
    MODELS=resnet50,bert SWEEPS=0,2 PIECE_S=500 python benchmarks/gpu_models.py

SWEEPS are numbers of the sweeps below: 0 is FP16, 1 the other precisions (four engines, a minute or more each), 2 the CPU,
3 TensorRT's INT8 at batch 1 and 64, which the table of the README has (readme_table.py). Default: 0,1,2.
It stops after PIECE_S seconds (default 540), or at Ctrl-C, and the same command then goes on where it was: each model has a
folder of its own below RUN (default runs/gpu-models). `pack` writes RUN/MODEL.tar.gz, and `page` reads such files from the
folders PACKED (default RUN) and writes docs/results/NAME-MODEL.md and a chart for each. On another machine of the same kind,
CONTINUE names a folder of such files to go on with. TENSORRT names the Python that has TensorRT, where it is not this
one, and LEVEL the optimization level of its builder, where it is not the default of TensorRT. BUDGET is quick, normal (the
default) or thorough. PRECISIONS are the files that `export` makes (default fp32,fp16,int8).

Weights are random: nothing is downloaded. torchvision, timm and transformers must be installed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gpu_models_page import pages
from onnxbench.exporters import manifest
from onnxbench.results.store import record
from onnxbench.spec import to_wire
from recommendation import COMMAND

ROOT = Path(__file__).resolve().parents[1]
RUN = Path(os.environ.get("RUN", "runs/gpu-models")).absolute()
TENSORRT = os.environ.get("TENSORRT", "")
BUDGET = os.environ.get("BUDGET", "normal")
LEVEL = os.environ.get("LEVEL", "")
PRECISIONS = os.environ.get("PRECISIONS", "fp32,fp16,int8")
ROUNDS, LOOP_BATCHES = 12, (1, 64)
GRACE_S = 25.0  # for a sweep to write what it has after an interrupt
GPU, CPU = "torch-cuda,ort-cuda,tensorrt", "ort-cpu,openvino-cpu"
PRINTED = "backend,environment,precision,batch,status,p50_ms,device_p50_ms,throughput_per_s,build_s,grade,reason"
SWEEPS = (
    # backends, precisions, batches: the rows that a reader looks for come first
    (GPU, "fp16", "1,8,64"),
    (GPU, "fp32,tf32,bf16,int8", "8"),
    (CPU, "fp32,int8", "1,8"),
    ("tensorrt", "int8", "1,64"),
)


@dataclass(frozen=True)
class Model:
    """A model: its name here, the `--model` of its export, and options that the export and the sweep need."""

    name: str
    text: str
    options: tuple[str, ...] = ()
    dims: tuple[str, ...] = ()
    random: bool = True


BERT = {  # of google-bert/bert-base-uncased, which needs no download in this form
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}
MODELS = (
    Model("cnn", "onnxbench.models.cnn:cnn", options=("--shape", "input=1x3x48x48"), random=False),
    Model("resnet50", "torchvision:resnet50"),
    Model("mobilenet_v3", "torchvision:mobilenet_v3_large"),
    Model("vit_b16", "timm:vit_base_patch16_224"),
    Model("bert", f"hf:{RUN}/bert-base", dims=("--dim", "sequence=128")),
)
END = time.monotonic() + float(os.environ.get("PIECE_S", "540"))


class OutOfTimeError(Exception):
    """The time of this piece is over; the next one goes on."""


def run(command: Sequence[str], environment: Mapping[str, str] | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run `command` until END. Then it is interrupted as by Ctrl-C, which keeps what it measured."""
    left = END - GRACE_S - time.monotonic()
    if left <= 0:
        raise OutOfTimeError
    with subprocess.Popen(command, text=True, env=environment, **how) as process:
        try:
            out, error = process.communicate(timeout=left)
            return subprocess.CompletedProcess(command, process.returncode, out, error)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
            process.kill()
            raise OutOfTimeError from None


def bench(*arguments: str) -> int:
    """Run the tool; its exit code. Its output goes where ours does."""
    engines = "tensorrt" in " ".join(arguments)
    where = ("--python", f"tensorrt={TENSORRT}") if TENSORRT and engines else ()
    level = ("--option", f"tensorrt.optimization_level={LEVEL}") if LEVEL and engines else ()
    return run([*COMMAND, *arguments, *where, *level]).returncode


def folder(model: Model) -> Path:
    return RUN / model.name


def export(model: Model) -> None:
    """Files in PRECISIONS, once."""
    done, made = folder(model) / "exported", folder(model) / "artifacts"
    if done.exists():
        return
    if model.text.endswith("bert-base"):
        place = Path(model.text.partition(":")[2])
        place.mkdir(parents=True, exist_ok=True)
        (place / "config.json").write_text(json.dumps(BERT))
    random = ("--random-weights",) if model.random else ()
    how = ("--precision", PRECISIONS, "--calibration-images", "16", "--out", str(made))
    code = bench("export", "--model", model.text, *random, *model.options, *model.dims, *how)
    if code:
        raise SystemExit(f"{model.name} was not exported (exit code {code})")
    done.touch()


def unpack(model: Model) -> None:
    """The run of a piece on another machine, where this machine has none."""
    file = Path(os.environ.get("CONTINUE", "")) / f"{model.name}.tar.gz"
    if not file.is_file() or (folder(model) / "run").exists():
        return
    with tarfile.open(file) as tar:
        tar.extractall(folder(model), filter="data")
    (folder(model) / model.name).rename(folder(model) / "run")
    for path in (folder(model) / "run").glob("loop-*.json"):
        path.rename(folder(model) / path.name)


def sweep(model: Model) -> None:
    """Rows of every backend. A finished sweep takes seconds the second time."""
    chosen = os.environ.get("SWEEPS", "0,1,2").split(",")
    for number, (backends, asked, batches) in enumerate(SWEEPS):
        precisions = ",".join(name for name in asked.split(",") if name != "int8" or name in PRECISIONS.split(","))
        done = folder(model) / f"swept-{number}"
        if done.exists() or str(number) not in chosen:
            continue
        what = ("--backend", backends, "--precision", precisions, "--batch", batches, *model.dims)
        where = ("--artifacts", str(folder(model) / "artifacts"), "--out", str(folder(model) / "run"), "--resume")
        code = bench("infer", *what, *where, "--budget", BUDGET, "--format", "csv", "--columns", PRINTED)
        if code in (0, 3):  # 3: a row has a reason in place of figures
            done.touch()


def loops(model: Model) -> None:
    """FP16 rows of the GPU in LOOP_BATCHES, each beside a bare loop of the same runtime in the same process."""
    for name, case in _cases(model):
        target = folder(model) / f"loop-{name}.json"
        if target.exists():
            continue
        file = folder(model) / "case.json"
        file.write_text(json.dumps(case))
        python, environment = sys.executable, dict(os.environ)
        if TENSORRT and case["cell"]["backend"] == "tensorrt":
            python, environment = TENSORRT, {key: value for key, value in environment.items() if key != "PYTHONPATH"}
        command = [python, str(ROOT / "benchmarks/gpu_loops.py"), str(file), str(ROUNDS)]
        done = run(command, environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        text = done.stdout if not done.returncode else json.dumps({**case["cell"], "failed": done.stderr.strip()[-2000:]})
        target.write_text(text)
        print(f"{model.name} {name}: {'loop measured' if not done.returncode else done.stderr.strip()[-300:]}", flush=True)


def _cases(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    """Artifact and cell of each measured FP16 row of the GPU, on the wire. The artifact is the file that the row ran."""
    run_folder = folder(model) / "run"
    if not (run_folder / "run.json").exists():
        return
    files = {item.artifact.precision: item.artifact for item in manifest.read_manifest(folder(model) / "artifacts")}
    for item in record.read_run(run_folder).cells:
        cell, opened = item.cell, item.opened
        default = cell.precision == "fp16" and not cell.environment  # the bare loops have the default options
        if not default or cell.device == "cpu" or cell.batch not in LOOP_BATCHES:
            continue
        if opened is None or item.failed or not item.blocks:
            continue
        artifact = replace(files["fp16"], path=opened.file, sha256=opened.sha256)
        yield f"{cell.backend}-b{cell.batch}", {"artifact": to_wire(artifact), "cell": to_wire(cell)}


def pack(model: Model) -> None:
    """RUN/MODEL.tar.gz: the run without logs, and the loops. A block without its samples would not count."""
    place = folder(model) / "run"
    if not (place / "run.json").exists():
        return
    packed = RUN / f"{model.name}.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        for name in ("run.json", "journal.jsonl", "samples"):
            if (place / name).exists():
                tar.add(place / name, f"{model.name}/{name}")
        for path in sorted(folder(model).glob("loop-*.json")):
            tar.add(path, f"{model.name}/{path.name}")
    print(f"{packed}: {packed.stat().st_size / 1e6:.1f} MB", flush=True)


STEPS = {"unpack": unpack, "export": export, "sweep": sweep, "loops": loops, "pack": pack}


def main() -> None:
    steps = sys.argv[1:] or list(STEPS)
    named = os.environ.get("MODELS")
    chosen = [model for model in MODELS if not named or model.name in named.split(",")]
    if "page" in steps:
        packed = [Path(text) for text in os.environ.get("PACKED", str(RUN)).split(",")]
        date = datetime.now(timezone.utc).date().isoformat()
        return pages([model.name for model in MODELS], packed, ROOT / "docs/results", os.environ.get("NAME", ""), date)
    try:
        for model in chosen:
            folder(model).mkdir(parents=True, exist_ok=True)
            for step in (item for item in steps if item != "pack"):
                begin = time.monotonic()
                STEPS[step](model)
                print(f"{model.name} {step}: {time.monotonic() - begin:.0f} s", flush=True)
    except OutOfTimeError:
        print("the time is over; the same command goes on", flush=True)
    finally:
        for model in chosen:
            if "pack" in steps:
                pack(model)


if __name__ == "__main__":
    main()
