"""A digest says what the journal says, or is not used."""

import json
import os
import shutil

import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.results.compare.compare import compare
from onnxbench.results.store import digest, record, series
from onnxbench.results.table.columns import COLUMNS, Row
from onnxbench.spec import Sweep, to_wire

ASKED = to_wire(Sweep())


@pytest.fixture
def folder(run_folder, make_cell):
    """A run of cells that were measured, disturbed, opened twice, ended and never begun."""
    cells = [make_cell(batch=batch) for batch in (1, 2, 4, 8)]
    made = run_folder(*cells)
    made.cold(cells[0], peak_rss_mb=100.5, device_mem_mb=None)
    made.cold(cells[0], peak_rss_mb=101.5, device_mem_mb=None)
    made.verified(cells[0], top1=97.5, top1_drop=0.5, lost=7, gained=2, images=1000)
    made.series(cells[0], [1_000_000 + number for number in range(14)], disturbed=(3, 4))
    made.warm(cells[1], deploy="first", lanes=2)
    made.warm(cells[1], stationary=False)
    made.series(cells[1], [2_000_000] * 3)
    made.measured(cells[2], 3_000_000)
    made.add("ended", cells[2], status="failed", reason="out of memory")
    return made


def told(run):
    """All that is in the table, and what two runs are compared by."""
    rows = [Row(record=item, base=None, host="host", asked=ASKED) for item in run.cells]
    columns = [{column.name: column.of(row) for column in COLUMNS} for row in rows]
    return [(item.cell, row, series.figures(item), series.disturbed(item)) for item, row in zip(run.cells, columns)]


def fits(folder):
    """Whether the digest is what is read."""
    return any(item.digested for item in digest.read(folder.path).cells)


def test_a_digest_says_what_the_journal_says(folder):
    before = told(record.read(folder.path))
    digest.write(folder.path)
    assert fits(folder)
    assert told(digest.read(folder.path)) == before


def test_what_is_not_in_a_digest_is_read_from_the_journal_when_it_is_asked_for(folder):
    plain = record.read(folder.path).cells
    digest.write(folder.path)
    for ours, theirs in zip(digest.read(folder.path).cells, plain):
        for part in ("built", "opened", "inspected", "parity", "explained", "warm", "energy", "stopped", "ended"):
            assert getattr(ours, part) == getattr(theirs, part)
        assert (ours.cold, ours.blocks, ours.status, ours.reason) == (theirs.cold, theirs.blocks, theirs.status, theirs.reason)
        assert [ours.calls(number, "latency").tolist() for number in ours.blocks] == [
            theirs.calls(number, "latency").tolist() for number in theirs.blocks
        ]


def test_neither_blocks_nor_samples_are_read_to_compare_and_to_show_percentiles(folder):
    digest.write(folder.path)
    for path in (folder.path / "samples").iterdir():
        path.write_bytes(b"")
    first = digest.read(folder.path).cells[0]
    assert series.of_calls(first, "latency", 50) == 1_000_007
    assert (series.calls(first, "latency"), series.calls(first, "device")) == (40 * 12, 0)
    assert (series.of_calls(first, "latency", 99), series.of_calls(first, "device", 50)) == (1_000_013, None)
    _, found = compare([digest.read(folder.path)], [digest.read(folder.path)])
    assert {item.metric.name for item in found if item.ends} >= {"p50", "e2e_p50", "throughput", "peak_rss"}


def test_without_a_digest_the_journal_is_read(folder):
    assert not fits(folder)
    assert told(digest.read(folder.path)) == told(record.read(folder.path))


def test_reading_writes_nothing(folder):
    digest.read(folder.path)
    assert not (folder.path / "digest.npz").exists()


def test_a_copied_run_is_read_from_its_journal(folder, tmp_path):
    """Whoever passes a run on may have put other figures into its digest."""
    digest.write(folder.path)
    assert any(item.digested for item in digest.read(folder.path).cells)
    shutil.copytree(folder.path, tmp_path / "copy", copy_function=shutil.copyfile)
    assert not any(item.digested for item in digest.read(tmp_path / "copy").cells)


def more_events(folder):
    """What a run that goes on does."""
    folder.block(folder_cell(folder, 0), 14, [5] * 40)


def same_length_and_time(folder):
    """The journal edited in place."""
    path = folder.path / "journal.jsonl"
    then = path.stat()
    with path.open("r+b") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace(b"97.5", b"96.5"))
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))


def another_head(folder):
    path = folder.path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": {"cpu": "another"}}))


def no_samples(folder):
    next((folder.path / "samples").glob("*-1.npz")).unlink()


def cut_short(folder):
    """What a copy that broke off leaves."""
    path = folder.path / "digest.npz"
    path.write_bytes(path.read_bytes()[:-100])


def a_flipped_byte(folder):
    path = folder.path / "digest.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def emptied(folder):
    (folder.path / "digest.npz").write_bytes(b"")


def a_folder(folder):
    (folder.path / "digest.npz").unlink()
    (folder.path / "digest.npz").mkdir()


def lacking(folder):
    rewritten(folder, lambda parts: parts.pop("p50"))


def of_fewer_cells(folder):
    rewritten(folder, lambda parts: parts.update(event_counts=parts["event_counts"][:-1]))


def of_no_time(folder):
    rewritten(folder, lambda parts: parts.update(p50=parts["p50"] * 0))


def rewritten(folder, change):
    with np.load(folder.path / "digest.npz") as stored:
        parts = dict(stored)
    change(parts)
    np.savez(folder.path / "digest.npz", **parts)


def folder_cell(folder, number):
    return record.read(folder.path).cells[number].cell


@pytest.mark.parametrize(
    "happens",
    [
        *(more_events, same_length_and_time, another_head, no_samples),
        *(cut_short, a_flipped_byte, emptied, a_folder, lacking, of_fewer_cells, of_no_time),
    ],
)
def test_a_digest_of_something_else_or_that_is_damaged_is_not_used(folder, happens):
    digest.write(folder.path)
    happens(folder)
    assert not fits(folder)
    assert told(digest.read(folder.path)) == told(record.read(folder.path))


@pytest.mark.parametrize(("where", "name", "value"), [(digest, "FORMAT", -1), (digest, "LEAST_ROUNDS", 11)])
def test_a_digest_by_other_rules_is_not_used(folder, monkeypatch, where, name, value):
    with monkeypatch.context() as other:
        other.setattr(where, name, value)
        digest.write(folder.path)
        assert fits(folder)
    assert not fits(folder)


def test_a_digest_replaces_one_that_no_longer_fits(folder):
    digest.write(folder.path)
    more_events(folder)
    digest.write(folder.path)
    assert fits(folder)
    assert told(digest.read(folder.path)) == told(record.read(folder.path))


def test_a_digest_that_cannot_be_written_is_none(folder):
    """As in a folder that is read-only, which the superuser would not notice."""
    (folder.path / f".digest.npz.{os.getpid()}").mkdir()
    with pytest.raises(OSError, match="directory"):
        (folder.path / f".digest.npz.{os.getpid()}").open("wb")
    digest.write(folder.path)
    assert not fits(folder)


def test_a_write_that_is_interrupted_leaves_the_old_digest_and_nothing_else(folder, monkeypatch):
    digest.write(folder.path)
    before = (folder.path / "digest.npz").read_bytes()

    def interrupted(file, **_):
        file.write(b"PK")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        digest.write(folder.path)
    assert (folder.path / "digest.npz").read_bytes() == before
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".digest")]


def test_a_run_that_goes_on_while_its_digest_is_written_is_not_taken_for_its_beginning(folder, monkeypatch):
    whole_lines, cell = record.whole_lines, folder_cell(folder, 0)

    def meanwhile(journal, path):
        folder.block(cell, 14, [5] * 40)
        return whole_lines(journal, path)

    with monkeypatch.context() as other:
        other.setattr(digest.record, "whole_lines", meanwhile)
        digest.write(folder.path)
    assert (folder.path / "digest.npz").exists()
    assert not fits(folder)


def test_what_is_no_run_has_no_digest(tmp_path):
    digest.write(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(BadInput, match="is not a run folder"):
        digest.read(tmp_path)


def test_a_run_without_blocks_has_a_digest(run_folder, make_cell):
    made = run_folder(make_cell())
    made.add("ended", make_cell(), status="unsupported", reason="no")
    digest.write(made.path)
    assert fits(made)
    assert told(digest.read(made.path)) == told(record.read(made.path))
