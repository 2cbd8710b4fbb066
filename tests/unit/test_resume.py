"""A run that is gone on with: which rows are the same, and which file they ran."""

import json

import pytest
from onnxbench.errors import BadInput, RuntimeFailed
from onnxbench.results.table.columns import COLUMNS
from onnxbench.results.table.row import Row

from .in_process import FP16, FP32, HOW, INT8, derived, replace

EVERY = {"batches": (1,), "precisions": ("fp32", "fp16", "int8")}
OTHER = replace(INT8, sha256="99" * 32, derived=derived("int8", replace(HOW, scheme="ort")))
AGAIN = replace(INT8, sha256="99" * 32, derived=derived("int8", data="other"))
(NOTES,) = (column for column in COLUMNS if column.name == "notes")


def notes(record):
    return NOTES.value(Row(record=record, base=None, host="")) or ""


def as_0_1(folder, *files):
    """Lists the cells of a run as version 0.1 did, with the hash of the file that ran; its rows said nothing of that."""
    head = json.loads((folder / "run.json").read_text())
    by_precision = {file.precision: file for file in files}
    for cell in head["cells"]:
        cell["sha256"] = by_precision[cell["precision"]].sha256
        del cell["scheme"]
    (folder / "run.json").write_text(json.dumps(head))
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    old = [{name: value for name, value in event.items() if name not in ("sha256", "made_by")} for event in events]
    (folder / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in old))
    (folder / "digest.npz").unlink(missing_ok=True)
    return [cell["key"] for cell in head["cells"]]


def test_a_row_says_which_file_ran(bench):
    rows = bench().infer(**EVERY).rows.values()
    assert [row.opened.sha256 for row in rows] == [FP32.sha256, FP16.sha256, INT8.sha256]
    assert {row.cell.sha256 for row in rows} == {FP32.sha256}
    assert {row.opened.made_by for row in rows} == {None}


def test_a_row_of_a_file_that_another_version_made_says_so(bench):
    old = replace(INT8, derived=derived("int8", revision=0, tool="0.1"))
    for command in ("infer", "check"):
        rows = getattr(bench(FP32, old), command)(batches=(1,), precisions=("fp32", "int8")).rows
        assert [row.opened.made_by for row in rows.values()] == [None, "0.1"]
        assert ["0.1" in notes(row) for row in rows.values()] == [False, True]


def test_a_run_of_version_0_1_goes_on_under_its_keys(bench):
    found = bench().infer(**EVERY)
    keys, before = as_0_1(found.out, FP32, FP16, INT8), len(found.works.cells("latency"))
    found.infer(resume=True, **EVERY)
    assert [row.key for row in found.rows.values()] == keys
    assert {row.cell.sha256 for row in found.rows.values()} == {FP32.sha256}
    assert [row.cell.scheme for row in found.rows.values()] == ["", "", "portable"]
    assert len(found.works.cells("latency")) == before


def test_of_a_run_of_version_0_1_a_row_of_another_file_is_another_row(bench):
    found = bench().infer(**EVERY)
    keys = as_0_1(found.out, FP32, FP16, replace(INT8, sha256="77" * 32))
    found.infer(resume=True, **EVERY)
    listed = [cell["key"] for cell in json.loads((found.out / "run.json").read_text())["cells"]]
    assert (listed[:3], len(listed)) == (keys, 4)


def moved(bench, first, second):
    """`second`, in which a run of `first` lies."""
    first.out.rename(second.out)
    return second


def test_another_file_of_the_same_row_is_refused_before_anything_is_measured(bench):
    there = moved(bench, bench().infer(**EVERY), bench(FP32, FP16, AGAIN))
    before = (there.out / "run.json").read_text(), (there.out / "journal.jsonl").read_text()
    with pytest.raises(BadInput, match="another int8 file of cnn; give another --out"):
        there.infer(resume=True, **EVERY)
    assert ((there.out / "run.json").read_text(), (there.out / "journal.jsonl").read_text()) == before
    assert there.works.cells("open") == []


def test_another_scheme_is_another_row(bench):
    there = moved(bench, bench().infer(**EVERY), bench(FP32, FP16, OTHER))
    there.infer(resume=True, **EVERY)
    listed = json.loads((there.out / "run.json").read_text())["cells"]
    assert [cell["scheme"] for cell in listed] == ["", "", "portable", "ort"]


def test_a_row_that_failed_may_begin_anew_with_another_file(bench):
    def fails(job, name, nth):
        return {"raised": RuntimeFailed("no kernel")} if (job, name) == ("warm", "int8/1") else {}

    there = moved(bench, bench(plot=fails).infer(**EVERY), bench(FP32, FP16, AGAIN))
    there.infer(resume=True, **EVERY)
    assert there.rows["int8/1"].opened.sha256 == AGAIN.sha256
