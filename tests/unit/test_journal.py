import json

import pytest
from onnxbench.errors import BadInput, Unsupported
from onnxbench.evidence import Failed, Opened
from onnxbench.results.store.head import Head, read_head, read_whole_head
from onnxbench.results.store.journal import NAMES, read_journal
from onnxbench.runners.sweep.journal import Journal, sample_file


def events(folder):
    return [(NAMES[type(event)], key) for key, event in read_journal(folder)]


def test_an_event_is_on_the_disk_when_it_was_added(tmp_path):
    with Journal(tmp_path / "run") as journal:
        journal.add("cell", Failed(status="timeout", reason="no answer"))
        assert (tmp_path / "run" / "journal.jsonl").read_text() == (
            '{"event": "failed", "cell": "cell", "status": "timeout", "reason": "no answer"}\n'
        )


def test_a_journal_that_is_opened_again_grows(tmp_path):
    for cell in "ab":
        with Journal(tmp_path) as journal:
            journal.add(cell, Opened())
    assert events(tmp_path) == [("opened", "a"), ("opened", "b")]


def test_a_line_that_was_cut_short_does_not_spoil_the_next(tmp_path):
    (tmp_path / "journal.jsonl").write_text('{"event": "opened", "cell": "a"}\n{"event": "wa')
    with Journal(tmp_path) as journal:
        journal.add("b", Opened())
    assert events(tmp_path) == [("opened", "a"), ("opened", "b")]


def test_a_line_that_lacks_only_its_end_is_kept(tmp_path):
    (tmp_path / "journal.jsonl").write_text('{"event": "opened", "cell": "a"}')
    with Journal(tmp_path) as journal:
        journal.add("b", Opened())
    assert events(tmp_path) == [("opened", "a"), ("opened", "b")]


def test_a_whole_journal_is_not_touched(tmp_path):
    text = '{"event": "opened", "cell": "a"}\n'
    (tmp_path / "journal.jsonl").write_text(text)
    with Journal(tmp_path):
        pass
    assert (tmp_path / "journal.jsonl").read_text() == text


def test_two_cannot_write_to_one_folder(tmp_path):
    with Journal(tmp_path) as journal:
        (journal.scratch / "array.npy").write_text("mine")
        with pytest.raises(BadInput, match=r"is writing to .*--out"):
            Journal(tmp_path).__enter__()
        journal.add("a", Opened())
        assert (journal.scratch / "array.npy").exists()
    assert events(tmp_path) == [("opened", "a")]


def test_a_folder_is_free_again_when_its_writer_left(tmp_path):
    with pytest.raises(ValueError, match="stop"), Journal(tmp_path):
        raise ValueError("stop")
    with Journal(tmp_path) as journal:
        journal.add("a", Opened())
    assert events(tmp_path) == [("opened", "a")]


def test_a_writer_that_could_not_begin_holds_no_folder(tmp_path):
    (tmp_path / "journal.jsonl").mkdir()
    failed = Journal(tmp_path)
    with pytest.raises(BadInput, match="cannot write to"):
        failed.__enter__()
    (tmp_path / "journal.jsonl").rmdir()
    with Journal(tmp_path) as journal:
        journal.add("a", Opened())
    assert events(tmp_path) == [("opened", "a")]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"cannot write to .*file/run .*; give another --out"):
        Journal(tmp_path / "file" / "run").__enter__()


@pytest.mark.parametrize("kind", [BadInput, Unsupported])
def test_a_run_that_was_refused_before_it_began_leaves_no_folder(tmp_path, kind):
    journal = Journal(tmp_path / "run").__enter__()
    (journal.logs / "probe.log").touch()
    journal.__exit__(kind, None, None)
    assert not (tmp_path / "run").exists()


def test_scratch_is_removed_and_the_rest_stays(tmp_path):
    with Journal(tmp_path) as journal:
        (journal.scratch / "x").write_text("")
        (journal.logs / "x.log").write_text("")
        (tmp_path / "samples" / "x.npz").write_text("")
        journal.write_head(Head(schema=1), {})
    assert not (tmp_path / "scratch").exists()
    assert (tmp_path / "logs" / "x.log").exists()
    assert (tmp_path / "samples" / "x.npz").exists()


def test_the_head_is_written_whole(tmp_path, make_cell):
    cells = {make_cell(batch=batch): f"{batch:016x}" for batch in (8, 1)}
    with Journal(tmp_path) as journal:
        journal.write_head(Head(schema=1, tool="x" * 10_000), cells)
        assert read_whole_head(tmp_path) == (Head(schema=1, tool="x" * 10_000), cells)
        journal.write_head(Head(schema=1), {})
    assert read_whole_head(tmp_path) == (read_head(tmp_path), {}) == (Head(schema=1), {})
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".run.json")]


@pytest.mark.parametrize("samples", [3, None, ["samples/a.npz"]])
def test_samples_whose_name_is_no_text_are_damage(tmp_path, samples):
    (tmp_path / "journal.jsonl").write_text(json.dumps({"event": "block", "cell": "a", "round": 0, "samples": samples}))
    with pytest.raises(BadInput, match="samples: "):
        events(tmp_path)


def test_samples_are_named_by_cell_and_round():
    assert sample_file("abcd", 7) == "samples/abcd-r007.npz"


def test_what_was_written_can_be_read_as_json(tmp_path):
    with Journal(tmp_path) as journal:
        journal.add("a", Failed(status="failed", reason='quotes " and\nnew lines'))
    (line,) = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == 'quotes " and\nnew lines'
