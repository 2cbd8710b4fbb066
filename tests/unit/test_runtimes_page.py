"""The script that measures one model on every CPU backend, and its page."""

import pytest
import runtimes
from onnxbench import backends

SHOWN = ("backend", "batch", "executed", "p50_ms", "p50_ci_low_ms", "p50_ci_high_ms", "sqnr_db", "peak_rss_mb", "fit")
ROW = dict.fromkeys([*runtimes.COLUMNS, "environment", "reason"]) | {"host": "A CPU", "threads": 2}


def row(backend, batch, p50=None, **more):
    return {**ROW, "backend": backend, "batch": batch, "p50_ms": p50, "status": "ok" if p50 else "unavailable", **more}


@pytest.fixture
def text():
    rows = [
        row("slow", 1, 2.5, executed="fp32", peak_rss_mb=400.0, sqnr_db=120.0, p50_ci_low_ms=1.2, p50_ci_high_ms=2.6),
        row("fast", 1, 1.25, executed="fp32", peak_rss_mb=300.0, sqnr_db=130.0, p50_ci_low_ms=1.1, p50_ci_high_ms=1.3),
        {
            **row("fast", 1, 0.5, environment="default", executed="bf16", peak_rss_mb=300.0, sqnr_db=50.25),
            **{"status": "mismatch", "reason": "SQNR 50 dB"},
        },
        row("absent", 1, reason="not | installed\nhere"),
    ]
    return "".join(runtimes.section("fp32", {"rows": rows, "versions": {"fast": "1.0"}, "host": {"memory_gb": 2.0}}))


def test_rows_are_sorted_by_their_latency_and_a_default_has_its_own_name(text):
    table = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0] == [runtimes.COLUMNS[key] for key in (*SHOWN, "status")]
    shown = [dict(zip(cells[0], line)) for line in cells[1:]]
    assert [(line["backend"], line["p50 ms"], line["fit at once"], line["status"]) for line in shown] == [
        ("fast@default", "0.500", "6", "mismatch"),
        ("fast", "1.250", "6", "ok"),
        ("slow", "2.500", "5", "ok"),
    ]


def test_a_reader_learns_the_fastest_right_row_and_the_defaults(text):
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert "`fast`" in lines[0]
    assert "`slow` takes 2.00 times as long." in text.replace("\n  ", " ")
    assert "overlap" in text
    assert "2.2 times its begin" in text
    assert "`fast` computed in bf16" in lines[1]
    assert "50.2 dB" in lines[1]


def test_intervals_that_are_apart_are_not_said_to_overlap():
    rows = [
        row("fast", 1, 1.0, sqnr_db=130.0, p50_ci_low_ms=0.9, p50_ci_high_ms=1.1),
        row("slow", 1, 2.0, sqnr_db=130.0, p50_ci_low_ms=1.9, p50_ci_high_ms=2.1),
    ]
    (sentence,) = runtimes.lessons(rows)
    assert not {"overlap", "begin"} & set(sentence.split())


def test_a_row_with_other_answers_has_its_reason_beside_its_figures(text):
    assert "- `fast@default, batch 1`: SQNR 50 dB\n" in text


def test_a_backend_without_figures_has_its_reason_on_one_line(text):
    assert "- `absent`: not | installed here\n" in text


def test_the_memory_of_all_processes_is_summed(text):
    assert "3 backends together take 1.0 GB at most, of 2.0 GB" in text


def test_every_backend_on_a_cpu_is_named_and_its_own_default_beside_it():
    names, options = runtimes.names()
    assert set(names) <= {*backends.targets(), *(f"{name}@default" for name in backends.targets())}
    assert len(options) == sum(name.endswith("@default") for name in names) > 0
    assert all(backends.get(name.partition("@")[0]).device_kind == "cpu" for name in names)


def test_a_second_row_has_the_interpreter_of_the_first():
    own = next(name for name in runtimes.names()[0] if name.endswith("@default")).partition("@")[0]
    for rest in (["--python", f"{own}=/venv/python", "--python", "onnx2tf=/other"], [f"--python={own}=/venv/python"]):
        _, options = runtimes.names(rest)
        assert [word for word in options if word.startswith("--python")] == [f"--python={own}@default=/venv/python"]
