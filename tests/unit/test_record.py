import json

import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.evidence import KINDS, Failed, Finished
from onnxbench.results.store.head import SCHEMA, Host, is_measured, read_head
from onnxbench.results.store.journal import NAMES, read_journal
from onnxbench.results.store.record import read_run
from onnxbench.spec import Concurrency, Settings, Sweep, digest

ENDED = {"status": "timeout", "reason": "no answer"}


@pytest.fixture
def cell(make_cell):
    return make_cell()


def only(folder):
    (record,) = read_run(folder.path).cells
    return record


def calls(record, kind="latency"):
    """The times of all calls by round."""
    return {number: record.calls(number, kind).tolist() for number in record.blocks}


def test_a_measured_cell_is_ok_with_the_times_of_its_calls_by_round(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell)
    folder.warm(cell, lanes=2, threads=1)
    folder.block(cell, 1, [30, 40], [70])
    folder.block(cell, 0, [10, 20], [50, 60])
    record = only(folder)
    assert (record.status, record.reason, record.cell) == ("ok", None, cell)
    assert calls(record) == {0: [10, 20], 1: [30, 40]}
    assert calls(record, "end_to_end") == {0: [50, 60], 1: [70]}
    assert record.calls(0, "latency").dtype == np.int64
    assert (record.opened.load_s, record.parity, record.finished, record.cold) == (0.25, None, None, ())
    assert (record.warm.lanes, record.warm.concurrency) == (2, Concurrency(lanes=2, streams=1, threads=1))


def test_a_block_keeps_what_was_counted_over_each_part(run_folder, cell):
    folder = run_folder(cell)
    folder.block(cell, 0, [10], noise={"throughput": {"major_faults": 3}}, settled=False)
    block = only(folder).blocks[0]
    assert (block.noise.latency.major_faults, block.noise.throughput.major_faults) == (0, 3)
    assert block.settled is False


def test_cells_keep_the_order_of_the_plan_and_their_own_events(run_folder, make_cell):
    cells = [make_cell(batch=batch) for batch in (8, 1, 32)]
    folder = run_folder(*cells)
    for cell in reversed(cells):
        folder.cold(cell, peak_rss_mb=cell.batch)
        folder.measured(cell, cell.batch * 100, rounds=1)
    assert [
        (record.cell.batch, set(record.calls(0, "latency").tolist()), record.cold[0].peak_rss_mb)
        for record in read_run(folder.path).cells
    ] == [(8, {800}, 8), (1, {100}, 1), (32, {3200}, 32)]


def test_every_fresh_process_is_kept(run_folder, cell):
    folder = run_folder(cell)
    for memory in (300, 100, 200):
        folder.cold(cell, peak_rss_mb=memory)
    folder.opened(cell)
    assert [event.peak_rss_mb for event in only(folder).cold] == [300, 100, 200]


def test_what_finished_a_cell_last_is_kept(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=1)
    folder.finished(cell, why="budget", half_width=0.3)
    assert (only(folder).finished.why, only(folder).finished.half_width) == ("budget", 0.3)


def test_a_cell_without_blocks_was_interrupted(run_folder, cell):
    folder = run_folder(cell)
    folder.cold(cell, peak_rss_mb=100)
    folder.opened(cell)
    folder.warm(cell)
    record = only(folder)
    assert record.status == "failed"
    assert "--resume" in record.reason
    assert record.blocks == {}


def test_a_run_without_a_journal_is_read(run_folder, cell):
    assert only(run_folder(cell)).status == "failed"


def test_an_interrupted_cell_keeps_the_blocks_that_it_has(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell)
    folder.block(cell, 0, [10])
    assert (only(folder).status, list(only(folder).blocks), only(folder).finished) == ("ok", [0], None)


@pytest.mark.parametrize("status", ["failed", "timeout", "unsupported", "unavailable"])
def test_a_cell_that_ended_says_why(run_folder, cell, status):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=1)
    folder.add("failed", cell, status=status, reason="because")
    assert (only(folder).status, only(folder).reason) == (status, "because")


def test_a_cell_that_failed_and_was_measured_again_counts_as_measured(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell, load_s=1.0)
    folder.add("failed", cell, status="failed", reason="out of memory")
    folder.opened(cell, load_s=2.0)
    folder.warm(cell)
    folder.block(cell, 0, [10])
    record = only(folder)
    assert (record.status, record.reason, record.opened.load_s) == ("ok", None, 2.0)


def test_a_cell_that_failed_twice_says_why_the_second_time(run_folder, cell):
    folder = run_folder(cell)
    folder.add("failed", cell, status="failed", reason="first")
    folder.opened(cell)
    folder.add("failed", cell, status="timeout", reason="second")
    assert (only(folder).status, only(folder).reason) == ("timeout", "second")


def test_a_round_that_was_measured_again_replaces_the_first(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=1)
    folder.block(cell, 0, [55])
    assert calls(only(folder))[0] == [55]


def test_a_cut_line_is_dropped(run_folder, cell):
    folder = run_folder(cell)
    folder.block(cell, 0, [10])
    folder.block(cell, 1, [20])
    journal = folder.path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert list(only(folder).blocks) == [0]


def test_a_cut_line_in_the_middle_loses_no_other(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell)
    with (folder.path / "journal.jsonl").open("ab") as file:
        file.write(b'{"event": "block", "cell": "\xc3\n')
    folder.block(cell, 0, [10])
    assert [NAMES[type(event)] for _, event in read_journal(folder.path)] == ["opened", "block"]


def test_a_block_whose_samples_are_missing_is_left_out(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=2)
    (folder.path / f"samples/{cell.key}-0.npz").unlink()
    assert list(only(folder).blocks) == [1]


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_block_whose_samples_were_cut_short_is_left_out(run_folder, cell, keep):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=2)
    path = folder.path / f"samples/{cell.key}-1.npz"
    path.write_bytes(path.read_bytes()[:keep])
    assert list(only(folder).blocks) == [0]


@pytest.mark.parametrize(
    ("precision", "parity", "status"),
    [
        ("fp32", {"sqnr_db": 80.0}, "ok"),
        ("fp32", {"sqnr_db": 79.9}, "mismatch"),
        ("tf32", {"sqnr_db": 54.9}, "mismatch"),
        ("fp16", {"sqnr_db": 50.0}, "ok"),
        ("fp16", {"sqnr_db": 49.9}, "mismatch"),
        ("bf16", {"sqnr_db": 34.9}, "mismatch"),
        ("int8", {"sqnr_db": 20.0}, "ok"),
        ("int8", {"sqnr_db": 19.9}, "mismatch"),
        ("int8", {"sqnr_db": 19.9, "agreement": 97.0, "images": 100}, "ok"),
        ("int8", {"sqnr_db": 19.9, "agreement": 96.9, "images": 1000}, "mismatch"),
        ("int8", {"sqnr_db": 19.9, "agreement": 100.0, "images": 99}, "mismatch"),
        ("int8", {"sqnr_db": 19.9, "agreement": 100.0}, "mismatch"),
        ("int8", {"sqnr_db": 19.9, "agreement": None}, "mismatch"),
        ("int8", {"sqnr_db": 40.0, "agreement": 0.0, "images": 1000}, "ok"),
    ],
)
def test_a_mismatch_is_far_from_the_reference_and_answers_otherwise(run_folder, make_cell, precision, parity, status):
    cell = make_cell(precision=precision)
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=1)
    folder.add("verified", cell, **parity)
    assert only(folder).status == status


def test_a_mismatch_says_how_far_and_what_is_needed(run_folder, make_cell):
    cell = make_cell(precision="fp16")
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=1)
    folder.add("verified", cell, sqnr_db=12.345)
    assert all(part in only(folder).reason for part in ("12.3 dB", "fp16", "50 dB"))


def test_a_cell_that_ended_is_no_mismatch(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=1)
    folder.add("verified", cell, sqnr_db=0.0)
    folder.add("failed", cell, status="failed", reason="crashed")
    assert (only(folder).status, only(folder).reason) == ("failed", "crashed")


def test_a_run_tells_its_host_and_what_was_asked_for(run_folder, cell):
    run = read_run(run_folder(cell, sweep={"metric": "p99"}).path)
    assert (run.host, run.sweep) == (Host(cpu="Test CPU"), Sweep(metric="p99"))


def test_the_base_of_a_cell_is_the_baselines_fp32_of_the_same_model_batch_and_threads(run_folder, make_cell):
    base = make_cell(backend="torch-cpu")
    others = [
        make_cell(backend="torch-cpu", precision="int8"),
        make_cell(backend="torch-cpu", batch=8),
        make_cell(backend="torch-cpu", model="other"),
        make_cell(backend="torch-cpu", settings=Settings(threads=1)),
        make_cell(precision="int8"),
    ]
    run = read_run(run_folder(*others, base).path)
    found = [run.base_of(record, "torch-cpu") for record in run.cells]
    assert [record and record.cell for record in found] == [base, others[1], others[2], others[3], base, base]
    assert found[-1] is run.cells[-1]


def test_without_a_baseline_no_cell_has_a_base(run_folder, cell):
    run = read_run(run_folder(cell).path)
    assert run.base_of(run.cells[0], None) is None
    assert run.base_of(run.cells[0], "torch-cpu") is None


def test_a_run_of_the_first_schema_is_read(run_folder, cell):
    folder = run_folder(cell, schema=1, sweep={"budget": {"name": "quick"}})
    folder.measured(cell, 100, rounds=3)
    journal = folder.path / "journal.jsonl"
    old = [json.loads(line) for line in journal.read_text().splitlines()]
    old = [{**event, "noise": {"steal_ticks": 2}} if event["event"] == "block" else event for event in old]
    journal.write_text("".join(json.dumps(event) + "\n" for event in old if event["event"] != "finished"))
    record = only(folder)
    assert (record.status, list(record.blocks), record.finished) == ("ok", [0, 1, 2], None)
    assert not record.unfinished


@pytest.fixture
def check(run_folder):
    return lambda *cells: run_folder(*cells, kind="check")


@pytest.mark.parametrize(
    ("head", "answer", "measured"), [({"kind": "check"}, True, False), ({}, False, True), ({"kind": "other"}, False, False)]
)
def test_a_run_is_a_check_if_its_head_says_so(run_folder, cell, head, answer, measured):
    folder = run_folder(cell, **head)
    run = read_run(folder.path)
    assert (run.is_check, run.cells[0].check, is_measured(folder.path)) == (answer, answer, measured)


def test_whether_a_folder_was_measured_is_not_said_where_there_is_no_run(tmp_path):
    with pytest.raises(BadInput, match="is not a run folder"):
        is_measured(tmp_path)


def test_a_cell_of_a_check_is_ok_when_its_kernels_were_told_though_nothing_was_timed(check, cell):
    folder = check(cell)
    folder.opened(cell)
    folder.verified(cell, sqnr_db=81.0)
    folder.inspected(cell, "fp32 Conv", "Reshape")
    folder.add("explained", cell, why_not="because")
    record = only(folder)
    assert (record.status, record.reason, record.measured) == ("ok", None, False)
    assert [kernel.operator for kernel in record.inspected.kernels] == ["Conv", "Reshape"]
    assert (record.parity.sqnr_db, record.explained.why_not) == (81.0, "because")


def test_a_cell_of_a_check_far_from_the_reference_is_a_mismatch(check, make_cell):
    cell = make_cell(precision="fp16")
    folder = check(cell)
    folder.verified(cell, sqnr_db=12.345, agreement=50.0)
    folder.inspected(cell)
    assert only(folder).status == "mismatch"
    assert all(part in only(folder).reason for part in ("12.3 dB", "fp16", "50 dB"))


def test_a_cell_without_a_reference_is_ok_in_a_check(check, cell):
    folder = check(cell)
    folder.opened(cell)
    folder.inspected(cell)
    assert (only(folder).status, only(folder).parity) == ("ok", None)


@pytest.mark.parametrize("sqnr_db", [100.0, 0.0])
def test_a_cell_of_a_check_whose_kernels_were_not_told_was_interrupted(check, cell, sqnr_db):
    folder = check(cell)
    folder.opened(cell)
    folder.verified(cell, sqnr_db=sqnr_db)
    assert only(folder).status == "failed"
    assert "--resume" not in only(folder).reason


def test_an_instrument_of_a_check_has_nothing_to_compare(check, make_cell):
    cell = make_cell(backend="null")
    folder = check(cell)
    folder.opened(cell, instrument=True)
    assert only(folder).status == "ok"


def test_a_measured_cell_needs_blocks_whatever_was_told_of_its_kernels(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell, instrument=True)
    folder.inspected(cell, "fp32 Conv")
    assert only(folder).status == "failed"
    assert "--resume" in only(folder).reason


@pytest.mark.parametrize("status", ["failed", "timeout", "unsupported", "unavailable"])
def test_a_cell_of_a_check_that_ended_says_why(check, cell, status):
    folder = check(cell)
    folder.opened(cell)
    folder.verified(cell, sqnr_db=0.0)
    folder.inspected(cell)
    folder.add("failed", cell, status=status, reason="because")
    assert (only(folder).status, only(folder).reason) == (status, "because")


def test_what_was_told_before_a_cell_ended_is_not_told_of_its_next_try(check, cell):
    folder = check(cell)
    folder.inspected(cell, "fp32 Conv")
    folder.add("explained", cell, why_not="because")
    folder.add("failed", cell, status="failed", reason="out of memory")
    folder.opened(cell)
    record = only(folder)
    assert (record.status, record.inspected, record.explained, record.failed) == ("failed", None, None, None)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="is not a run folder"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"schema": null}', '{"schema": "x"}', "\x00"])
def test_a_damaged_head_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadInput, match=r"is not a run folder.*; give a folder that bench infer wrote"):
        read_head(tmp_path)


def test_a_newer_schema_is_refused(run_folder):
    with pytest.raises(BadInput, match=rf"schema {SCHEMA + 1}\b.*\b{SCHEMA}\b"):
        read_run(run_folder(schema=SCHEMA + 1).path)


@pytest.mark.parametrize("cells", [None, 5, [5], [{}], ["cell"], [{"model": "cnn", "settings": 1}]])
def test_a_damaged_list_of_cells_is_refused(run_folder, cells):
    with pytest.raises(BadInput, match=r"run\.json"):
        read_run(run_folder(cells=cells).path)


def test_a_missing_list_of_cells_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "host": {}}))
    with pytest.raises(BadInput, match=r"run\.json"):
        read_run(tmp_path)


def test_a_journal_that_tells_medians_spares_reading_the_samples(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.block(cell, 0, [10, 20, 30], [50])
    told = {"samples": f"samples/{cell.key}-0.npz", "p50_ns": {"latency": 77.0}, "noise": {}}
    folder.add("block", cell, round=1, **told)
    (record,) = read_run(folder.path).cells
    assert [record.p50_ns(number, "latency") for number in (1, 0)] == [77.0, 20.0]
    assert [record.p50_ns(number, kind) for number, kind in ((1, "device"), (0, "device"), (0, "end_to_end"))] == [
        None,
        None,
        50,
    ]


def test_a_cell_keeps_the_key_that_stands_beside_it(run_folder, cell):
    folder = run_folder(cell)
    head = json.loads((folder.path / "run.json").read_text())
    head["cells"][0]["key"] = "0123456789abcdef"
    (folder.path / "run.json").write_text(json.dumps(head))
    (folder.path / "journal.jsonl").write_text(json.dumps({"event": "failed", "cell": "0123456789abcdef", **ENDED}) + "\n")
    (found,) = read_run(folder.path).cells
    assert (found.cell, found.key, found.status) == (cell, "0123456789abcdef", "timeout")


def test_before_keys_were_written_a_key_was_the_digest_of_the_cell_as_written(run_folder, cell):
    folder = run_folder(cell, schema=2)
    head = json.loads((folder.path / "run.json").read_text())
    written = {name: value for name, value in head["cells"][0].items() if name != "key"}
    (folder.path / "run.json").write_text(json.dumps({**head, "cells": [written]}))
    key = digest(written)[:16]
    (folder.path / "journal.jsonl").write_text(json.dumps({"event": "failed", "cell": key, **ENDED}) + "\n")
    (found,) = read_run(folder.path).cells
    assert (found.cell, found.key, found.status) == (cell, key, "timeout")
    assert key != cell.key


@pytest.mark.parametrize("key", ["", "../../../../tmp", "0123456789ABCDEF", "0123456789abcdef0", 5, None])
def test_a_key_that_could_be_a_path_is_refused(run_folder, cell, key):
    folder = run_folder(cell)
    head = json.loads((folder.path / "run.json").read_text())
    head["cells"][0]["key"] = key
    (folder.path / "run.json").write_text(json.dumps(head))
    with pytest.raises(BadInput):
        read_run(folder.path)


def test_a_later_step_that_fails_keeps_the_figures_and_a_success_forgets_it(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100)
    for step in ("load", "round"):
        folder.add("step_failed", cell, step=step, **ENDED)
    record = only(folder)
    assert (record.status, len(record.blocks)) == ("ok", 10)
    assert [event.step for event in record.failed_steps] == ["load", "round"]
    folder.add("load", cell, asked={"percentile": 99, "limit_ms": 10}, ways=[])
    assert [event.step for event in only(folder).failed_steps] == ["round"]
    folder.block(cell, 10, [100], [200])
    assert only(folder).failed_steps == ()


def test_a_journal_that_says_stopped_and_ended_is_read_as_finished_and_failed(run_folder, make_cell):
    cells = [make_cell(batch=batch) for batch in (1, 8)]
    folder = run_folder(*cells, schema=2)
    folder.block(cells[0], 0, [100])
    folder.add("stopped", cells[0], budget="quick", why="budget", of="p50", half_width=None)
    folder.add("ended", cells[1], **ENDED)
    first, second = read_run(folder.path).cells
    assert (first.finished, first.failed, first.unfinished) == (Finished(why="budget", of="p50", budget="quick"), None, False)
    assert (second.finished, second.failed, second.status) == (None, Failed(**ENDED), "timeout")


@pytest.mark.parametrize(
    ("head", "unfinished"), [({}, True), ({"kind": "check"}, False), ({"kind": "imported"}, False), ({"sweep": None}, False)]
)
def test_a_cell_with_rounds_is_unfinished_where_its_run_measures_until_it_is_finished(run_folder, cell, head, unfinished):
    folder = run_folder(cell, **head)
    folder.block(cell, 0, [100])
    assert (only(folder).unfinished, only(folder).interrupted) == (unfinished, unfinished)
    folder.finished(cell)
    assert (only(folder).unfinished, only(folder).interrupted) == (False, False)


def test_a_cell_without_figures_was_interrupted_unless_it_failed(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell)
    assert (only(folder).unfinished, only(folder).interrupted) == (False, True)
    folder.add("failed", cell, **ENDED)
    assert only(folder).interrupted is False


@pytest.mark.parametrize(
    ("kinds", "error"),
    [
        ({"latency": {"samples": 40, "p50_ns": -1.0}}, "percentiles must be positive"),
        ({"latency": {"samples": 40, "p99_ns": 0}}, "percentiles must be positive"),
        ({"latency": {"samples": -40}}, "percentiles must be positive"),
        ({"latency": {"samples": 40, "p90_ns": float("nan")}}, "nan"),
        ({"latency": {}}, "samples"),
        ({"latency": 5}, "5 is no Percentiles"),
        ({}, "latency"),
    ],
)
def test_pooled_percentiles_that_no_calls_have_are_refused(run_folder, cell, kinds, error):
    folder = run_folder(cell)
    folder.measured(cell, 100)
    known = {kind: {"samples": 0} for kind in KINDS} if kinds else {}
    folder.add("pooled", cell, rounds=list(range(10)), kinds={**known, **kinds})
    with pytest.raises(BadInput, match=error):
        read_run(folder.path)
