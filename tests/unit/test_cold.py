"""What the journal keeps of fresh processes, with workers in this process."""

from types import SimpleNamespace

import pytest
from onnxbench.results.store.record import read_journal
from onnxbench.runners.pool.context import Context
from onnxbench.runners.pool.progress import Silent
from onnxbench.runners.sweep import cold
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.sweep.plan import Planned
from onnxbench.runners.sweep.visits import Desk, Visit
from onnxbench.runners.worker.clock import Clock
from onnxbench.spec import Sweep

ANSWER = {"up_ns": 3 * 10**9, "answered_ns": 5 * 10**9, "import_s": 1.0, "load_s": 0.5, "first_ms": 2.0, "peak_rss_mb": 300.0}


@pytest.fixture
def kept(tmp_path, monkeypatch, make_cell, make_artifact):
    """The names that the journal has of a fresh process that answered so."""

    def of(answer, **asked):
        fake = {"send": lambda job, **request: None, "receive": lambda job, timeout_s: dict(answer), "dismiss": lambda: None}
        monkeypatch.setattr(cold, "Worker", lambda log, clock, python, network: SimpleNamespace(**fake))
        with Journal(tmp_path / "run") as journal:
            journal.write_head({"schema": 2, "cells": []})
            context = Context(logs=journal.logs, clock=Clock(now_ns=lambda: 10**9), progress=Silent(), timeout_s=1)
            desk = Desk(sweep=Sweep(**asked), journal=journal, context=context, stop=SimpleNamespace(asked=False))
            cold.measure(desk, [Visit(planned=Planned(cell=make_cell(), artifact=make_artifact()))])
        event = next(event for event in read_journal(tmp_path / "run") if event["event"] == "cold")
        return {name: value for name, value in event.items() if name not in ("event", "cell")}

    return of


def test_without_cold_starts_memory_alone_is_kept(kept):
    assert kept(ANSWER) == {"peak_rss_mb": 300.0}


@pytest.mark.parametrize("used", [512.0, None])
def test_memory_of_a_gpu_is_kept_where_the_process_told_it(kept, used):
    assert kept({**ANSWER, "device_mem_mb": used}) == {"peak_rss_mb": 300.0, "device_mem_mb": used}


def test_cold_starts_keep_everything(kept):
    found = kept({**ANSWER, "device_mem_mb": 512.0}, cold=True)
    assert (found["process_s"], found["cold_s"], found["load_s"], found["device_mem_mb"]) == (2.0, 4.0, 0.5, 512.0)
