"""What several unit tests build by hand: cells, artifacts, run folders as the journal writes them, and records in memory."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from onnxbench.evidence import Block, Counts, Kernel, Noise, Rate
from onnxbench.results.store.head import SCHEMA
from onnxbench.results.store.record import CellRecord
from onnxbench.spec import Artifact, Cell, Settings, Sweep, TensorSpec, from_wire, to_wire

from .in_process import FP16, FP32, INT8, Bench, Works

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
    "schema": SCHEMA,
    "host": {"cpu": "Test CPU"},
    "versions": {"ort-cpu": "1.20"},
    "instruments": ["null"],
    "sweep": to_wire(Sweep()),
}
QUIET = {
    **{"wall_ns": 10**9, "cpus": 2, "steal_ns": 0, "others_ns": 0, "run_delay_ns": 0, "major_faults": 0},
    **{"involuntary_switches": 0, "mhz": 2400},
}
STOLEN = {"latency": {"steal_ns": 10**9}}
KERNEL = re.compile(r"(?:([a-z]+[0-9]+) )?(\w+)(?: ([0-9]+))?")


def parts(noise=None):
    """What was counted over both parts of a visit: nothing, but for what `noise` says of a part."""
    return {part: {**QUIET, **(noise or {}).get(part, {})} for part in ("latency", "throughput")}


def kernels(*texts):
    """What a runtime tells of its kernels, each as `fp32 Relu 100`: its type if it computes, its operator, its ns if known.

    They are called /Relu_0, /Conv_1, ...; those that multiply are layers.
    """
    told = [KERNEL.fullmatch(text).groups() for text in texts]
    return [
        asdict(
            Kernel(
                node=f"/{operator}_{number}",
                operator=operator,
                type=type or "",
                layer=any(name in operator for name in ("Conv", "Gemm", "MatMul")),
                ns=int(ns) if ns else None,
            )
        )
        for number, (type, operator, ns) in enumerate(told)
    ]


class RunFolder:
    """A run folder, written event by event."""

    def __init__(self, path, *cells, **head):
        self.path = path
        (path / "samples").mkdir(parents=True)
        (path / "run.json").write_text(
            json.dumps({**HEAD, "cells": [{**to_wire(cell), "key": cell.key} for cell in cells], **head})
        )

    def add(self, event, cell, **content):
        with (self.path / "journal.jsonl").open("a") as file:
            file.write(json.dumps({"event": event, "cell": cell.key, **content}) + "\n")

    def cold(self, cell, **content):
        self.add("cold", cell, **content)

    def opened(self, cell, executed=None, placement="12/12 CPU", **content):
        info = {
            "executed": executed or cell.precision,
            "placement": placement,
            "settings": {"threads": "2", "arena": "on"},
        }
        self.add("opened", cell, **{"info": info, "load_s": 0.25, "first_ms": 4.5, "artifact_mb": 20.4, **content})

    def inspected(self, cell, *texts):
        """`texts`: the kernels, as in `kernels`."""
        self.add("inspected", cell, kernels=kernels(*texts))

    def verified(self, cell, sqnr_db=100.0, **content):
        found = {"sqnr_db": sqnr_db, "max_abs_err": 0.001, "rel_err": 0.0001, "agreement": 100.0, **content}
        self.add("verified", cell, **found)

    def warm(self, cell, stationary=True, lanes=1, streams=1, threads=2, **content):
        chosen = {"lanes": lanes, "streams": streams, "threads": threads}
        found = {"lanes": lanes, "concurrency": chosen, "deploy": "", "tried": [], "settled": True, **content}
        self.add("warm", cell, calls=100, took_ns=10**9, stationary=stationary, **found)

    def block(
        self,
        cell,
        number,
        latency,
        end_to_end=(),
        *,
        calls=100,
        took_ns=10**9,
        noise=None,
        settled=True,
        life=None,
        throttled=0,
        **more,
    ):
        """A round's block. `noise`: by part, what was counted over it. `more`: the times of other kinds of calls."""
        name = f"samples/{cell.key}-{number}.npz"
        times = {"latency": latency, "end_to_end": end_to_end, **more}
        np.savez(self.path / name, **{kind: np.array(ns, np.int64) for kind, ns in times.items()})
        rate = {"calls": calls, "took_ns": took_ns, "lanes": 1}
        content = {"samples": name, "calls": len(latency), "throughput": rate, "noise": parts(noise), "settled": settled}
        self.add("block", cell, round=number, **content, throttled=throttled, **({} if life is None else {"life": life}))

    def finished(self, cell, why="interval", of="p50", half_width=0.01):
        self.add("finished", cell, why=why, of=of, half_width=half_width)

    def series(self, cell, latencies, disturbed=(), **content):
        """A cell with everything but parity, at its end: a block of 40 calls for each of `latencies`, which take so many ns."""
        self.opened(cell, **content)
        self.warm(cell)
        for number, latency in enumerate(latencies):
            noise = STOLEN if number in disturbed else None
            self.block(cell, number, [latency] * 40, [latency * 2] * 40, noise=noise)
        self.finished(cell)

    def measured(self, cell, latency, rounds=10, **content):
        """A cell with everything but parity, at its end: `rounds` blocks of 40 calls that all took `latency` ns."""
        self.series(cell, [latency] * rounds, **content)


@dataclass(frozen=True, kw_only=True)
class Held(CellRecord):
    """A record that was never in a folder: its samples are in `times`, by round."""

    times: Mapping[int, Mapping[str, np.ndarray]]

    def calls(self, number, kind):
        return self.times[number].get(kind, np.array([], np.int64))


def hold(p50s, disturbed=(), cell=CELL, life_rounds=0, **parts_of_record):
    """The record of `cell` with one call of so many ns in each round: `p50s` by round, or of the rounds from 0 on.

    `life_rounds`: rounds of one life; 0 for a record without lives.
    """
    by_round = dict(p50s) if isinstance(p50s, Mapping) else dict(enumerate(p50s))
    times = {number: {"latency": np.array([p50]), "end_to_end": np.array([2 * p50])} for number, p50 in by_round.items()}
    noises = {number: from_wire(Noise, parts(STOLEN if number in disturbed else None)) for number in by_round}
    rate = Rate(calls=100, took_ns=10**9)
    lives = {number: number // life_rounds if life_rounds else None for number in by_round}
    blocks = {n: Block(round=n, throughput=rate, noise=noise, life=lives[n]) for n, noise in noises.items()}
    return Held(cell=cell, key=cell.key, folder=Path(), blocks=blocks, times=times, **parts_of_record)


@pytest.fixture(scope="session")
def counts():
    """The counts of one part of a visit of 1 s on two CPUs, all 0 but for what is given."""
    return lambda **changes: from_wire(Counts, {**QUIET, **changes})


@pytest.fixture(scope="session")
def make_record():
    """A record in memory, from its p50 in each round (`hold`)."""
    return hold


@pytest.fixture(scope="session")
def make_kernels():
    """What a runtime tells of its kernels, from texts (`kernels`)."""
    return kernels


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


@pytest.fixture
def bench(tmp_path):
    """A folder with some files, in which a run is made with workers in this process; unless they are said, the files are FP32
    and what was made from it. No worker outlives the test."""
    made = []

    def of(*files, plot=lambda job, name, nth: {}, images=1000, probed=None):
        works = Works(files or (FP32, FP16, INT8), plot, images, probed or {})
        made.append(Bench(tmp_path / str(len(made)), works))
        return made[-1]

    yield of
    assert not any(worker.alive for found in made for worker in found.works.started)
