"""The script that measures one model on every CPU backend, and its page."""

import pytest
import runtimes
from onnxbench import backends

ROW = dict.fromkeys([*runtimes.COLUMNS, "environment", "reason"]) | {"host": "A CPU", "threads": 2}


def row(backend, batch, p50=None, **more):
    return {**ROW, "backend": backend, "batch": batch, "p50_ms": p50, "status": "ok" if p50 else "unavailable", **more}


@pytest.fixture
def text():
    rows = [
        row("slow", 1, 2.5, executed="fp32", peak_rss_mb=400.0),
        row("fast", 1, 1.25, executed="fp32", peak_rss_mb=300.0),
        row("fast", 1, 0.5, environment="default", executed="bf16", status="mismatch", peak_rss_mb=300.0),
        row("absent", 1, reason="not | installed\nhere"),
    ]
    return "".join(runtimes.section("fp32", {"rows": rows, "versions": {"fast": "1.0"}}))


def test_rows_are_sorted_by_their_latency_and_a_default_has_its_own_name(text):
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert table[0] == "| backend | batch | executed | p50 ms | peak RSS MB | status |"
    assert table[1:] == [
        "| fast@default | 1 | bf16 | 0.500 | 300 | mismatch |",
        "| fast | 1 | fp32 | 1.250 | 300 | ok |",
        "| slow | 1 | fp32 | 2.500 | 400 | ok |",
    ]


def test_a_backend_without_figures_has_its_reason_on_one_line(text):
    assert "- `absent`: not | installed here\n" in text


def test_the_memory_of_all_processes_is_summed(text):
    assert "3 backends together take 1.0 GB" in text


def test_every_backend_on_a_cpu_is_named_and_its_own_default_beside_it():
    names, options = runtimes.names()
    assert set(names) <= {*backends.targets(), *(f"{name}@default" for name in backends.targets())}
    assert len(options) == sum(name.endswith("@default") for name in names) > 0
    assert all(backends.get(name.partition("@")[0]).device_kind == "cpu" for name in names)
