import json

import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.results.record import read, read_head, read_journal


@pytest.fixture
def cell(make_cell):
    return make_cell()


def only(folder):
    (record,) = read(folder.path).cells
    return record


def test_a_measured_cell_is_ok_with_its_samples_by_round(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell)
    folder.warm(cell, lanes=2)
    folder.block(cell, 1, [30, 40], [70])
    folder.block(cell, 0, [10, 20], [50, 60])
    record = only(folder)
    assert (record.status, record.reason, record.cell) == ("ok", None, cell)
    assert {number: samples.tolist() for number, samples in record.rounds.items()} == {0: [10, 20], 1: [30, 40]}
    assert record.samples.tolist() == [10, 20, 30, 40]
    assert sorted(record.end_to_end.tolist()) == [50, 60, 70]
    assert record.samples.dtype == np.int64
    assert (record.opened["load_s"], record.warm["lanes"], record.parity) == (0.25, 2, None)


def test_cells_keep_the_order_of_the_plan_and_their_own_events(run_folder, make_cell):
    cells = [make_cell(batch=batch) for batch in (8, 1, 32)]
    folder = run_folder(*cells)
    for cell in reversed(cells):
        folder.measured(cell, cell.batch * 100)
    assert [(record.cell.batch, int(record.samples[0])) for record in read(folder.path).cells] == [
        (8, 800),
        (1, 100),
        (32, 3200),
    ]


def test_a_cell_without_blocks_was_interrupted(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell)
    folder.warm(cell)
    record = only(folder)
    assert (record.status, record.reason) == ("failed", "not measured: the run was interrupted; --resume goes on with it")
    assert (record.samples.tolist(), record.end_to_end.tolist(), record.rounds) == ([], [], {})


def test_a_run_without_a_journal_is_read(run_folder, cell):
    assert only(run_folder(cell)).status == "failed"


def test_an_interrupted_cell_keeps_the_blocks_that_it_has(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=2)
    assert (only(folder).status, list(only(folder).rounds)) == ("ok", [0, 1])


@pytest.mark.parametrize("status", ["failed", "timeout", "unsupported", "unavailable"])
def test_a_cell_that_ended_says_why(run_folder, cell, status):
    folder = run_folder(cell)
    folder.measured(cell, 100)
    folder.add("ended", cell, status=status, reason="because")
    assert (only(folder).status, only(folder).reason) == (status, "because")


def test_a_cell_that_failed_and_was_measured_again_counts_as_measured(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell, load_s=1.0)
    folder.add("ended", cell, status="failed", reason="out of memory")
    folder.opened(cell, load_s=2.0)
    folder.warm(cell)
    folder.block(cell, 0, [10])
    record = only(folder)
    assert (record.status, record.reason, record.opened["load_s"]) == ("ok", None, 2.0)


def test_a_cell_that_failed_twice_says_why_the_second_time(run_folder, cell):
    folder = run_folder(cell)
    folder.add("ended", cell, status="failed", reason="first")
    folder.opened(cell)
    folder.add("ended", cell, status="timeout", reason="second")
    assert (only(folder).status, only(folder).reason) == ("timeout", "second")


def test_a_round_that_was_measured_again_replaces_the_first(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100)
    folder.block(cell, 0, [55])
    assert only(folder).samples.tolist() == [55]


def test_a_cut_line_is_dropped(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=2)
    journal = folder.path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert list(only(folder).rounds) == [0]


def test_a_cut_line_in_the_middle_loses_no_other(run_folder, cell):
    folder = run_folder(cell)
    folder.opened(cell)
    with (folder.path / "journal.jsonl").open("ab") as file:
        file.write(b'{"event": "block", "cell": "\xc3\n')
    folder.block(cell, 0, [10])
    assert [event["event"] for event in read_journal(folder.path)] == ["opened", "block"]


def test_a_block_whose_samples_are_missing_is_left_out(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=2)
    (folder.path / f"samples/{cell.key}-0.npz").unlink()
    assert list(only(folder).rounds) == [1]


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_block_whose_samples_were_cut_short_is_left_out(run_folder, cell, keep):
    folder = run_folder(cell)
    folder.measured(cell, 100, rounds=2)
    path = folder.path / f"samples/{cell.key}-1.npz"
    path.write_bytes(path.read_bytes()[:keep])
    assert list(only(folder).rounds) == [0]


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
    folder.measured(cell, 100)
    folder.add("verified", cell, **parity)
    assert only(folder).status == status


def test_a_mismatch_says_how_far_and_what_is_needed(run_folder, make_cell):
    cell = make_cell(precision="fp16")
    folder = run_folder(cell)
    folder.measured(cell, 100)
    folder.add("verified", cell, sqnr_db=12.345)
    assert only(folder).reason == "SQNR 12.3 dB against the FP32 reference, and fp16 needs 50"


def test_a_cell_that_ended_is_no_mismatch(run_folder, cell):
    folder = run_folder(cell)
    folder.measured(cell, 100)
    folder.add("verified", cell, sqnr_db=0.0)
    folder.add("ended", cell, status="failed", reason="crashed")
    assert (only(folder).status, only(folder).reason) == ("failed", "crashed")


def test_a_run_tells_its_host(run_folder, cell):
    assert read(run_folder(cell).path).host == {"cpu": "Test CPU"}


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="is not a run folder"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"schema": null}', '{"schema": "x"}', "\x00"])
def test_a_damaged_head_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadInput, match=r"is not a run folder.*; give a folder that bench infer wrote"):
        read_head(tmp_path)


def test_a_newer_schema_is_refused(run_folder):
    with pytest.raises(BadInput, match="has schema 2, and this version reads up to 1; upgrade onnxbench"):
        read(run_folder(schema=2).path)


@pytest.mark.parametrize("cells", [None, 5, [5], [{}], ["cell"], [{"model": "cnn", "settings": 1}]])
def test_a_damaged_list_of_cells_is_refused(run_folder, cells):
    with pytest.raises(BadInput, match=r"run\.json has no list of cells .*; measure it again"):
        read(run_folder(cells=cells).path)


def test_a_missing_list_of_cells_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "host": {}}))
    with pytest.raises(BadInput, match="has no list of cells"):
        read(tmp_path)
