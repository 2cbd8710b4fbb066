"""What several unit tests build by hand: cells, artifacts, and run folders as the journal writes them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from onnxbench.spec import Artifact, Cell, Settings, TensorSpec, to_wire

# The same examples in every run, and no failure because the machine is busy.
settings.register_profile("unit", derandomize=True, deadline=None)
settings.load_profile("unit")

CELL = Cell(
    model="cnn",
    sha256="ab" * 32,
    backend="ort-cpu",
    device="cpu",
    precision="fp32",
    batch=1,
    shapes=(("input", (1, 3, 48, 48)),),
    settings=Settings(threads=2),
)
ARTIFACT = Artifact(
    model="cnn",
    precision="fp32",
    path="cnn-fp32.onnx",
    sha256="ab" * 32,
    nbytes=20_400_000,
    opset=18,
    inputs=(TensorSpec(name="input", dtype="float32", shape=("batch", 3, 48, 48)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 10)),),
)
HEAD = {
    "schema": 1,
    "host": {"cpu": "Test CPU"},
    "versions": {"ort-cpu": "1.20"},
    "instruments": ["null"],
    "sweep": {"budget": {"name": "quick"}},
}


class RunFolder:
    """A run folder, written event by event."""

    def __init__(self, path, *cells, **head):
        self.path = path
        (path / "samples").mkdir(parents=True)
        (path / "run.json").write_text(json.dumps({**HEAD, "cells": [to_wire(cell) for cell in cells], **head}))

    def add(self, event, cell, **content):
        with (self.path / "journal.jsonl").open("a") as file:
            file.write(json.dumps({"event": event, "cell": cell.key, **content}) + "\n")

    def opened(self, cell, executed=None, **content):
        info = {"executed": executed or cell.precision, "placement": "12/12 CPU", "settings": {"threads": "2", "arena": "on"}}
        self.add("opened", cell, **{"info": info, "load_s": 0.25, "first_ms": 4.5, "artifact_mb": 20.4, **content})

    def warm(self, cell, stationary=True, lanes=1):
        self.add("warm", cell, calls=100, took_ns=10**9, stationary=stationary, lanes=lanes)

    def block(self, cell, number, latency, end_to_end=(), calls=100, took_ns=10**9, steal_ticks=0):
        name = f"samples/{cell.key}-{number}.npz"
        np.savez(self.path / name, latency=np.array(latency, np.int64), end_to_end=np.array(end_to_end, np.int64))
        rate, noise = {"calls": calls, "took_ns": took_ns, "lanes": 1}, {"steal_ticks": steal_ticks}
        self.add("block", cell, round=number, samples=name, calls=len(latency), throughput=rate, noise=noise)

    def measured(self, cell, latency, rounds=1, **content):
        """A cell with everything but parity: `rounds` blocks of 400 calls that all took `latency` ns."""
        self.opened(cell, **content)
        self.warm(cell)
        for number in range(rounds):
            self.block(cell, number, [latency] * 400, [latency * 2] * 400)


@pytest.fixture
def make_cell():
    return lambda **changes: replace(CELL, **changes)


@pytest.fixture
def make_artifact():
    return lambda **changes: replace(ARTIFACT, **changes)


@pytest.fixture
def run_folder(tmp_path):
    return lambda *cells, name="run", **head: RunFolder(tmp_path / name, *cells, **head)


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("ONNXBENCH_CACHE", str(folder))
    return folder
