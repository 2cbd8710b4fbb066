"""`bench check`, with workers in this process."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from onnxbench.errors import BadInput, Interrupted, RuntimeFailed, StorageFailed, WorkerDied, WorkerTimeout
from onnxbench.evidence import Explained, Failed, Layers
from onnxbench.results.store import record
from onnxbench.results.store.head import RUN, read_head
from onnxbench.results.store.journal import JOURNAL, NAMES
from onnxbench.runners.check import EVERY_IMAGE
from onnxbench.runners.worker.jobs import Here
from onnxbench.spec import RANDOM, TensorSpec

from .fake_worker import only
from .in_process import FP16, FP32, HOW, INT8, OTHER, TINY, UNLABELLED, derived

ACCURACY = {"top1": 50.0, "top1_drop": 25.0, "agreement": 25.0, "images": 4, "lost": 2, "gained": 1}  # of one that answers 0


def test_every_file_is_opened_once_with_a_batch_of_eight_and_no_time_is_measured(bench):
    found = bench().check()
    assert found.works.cells("open") == ["fp32/8", "fp16/8", "int8/8"]
    assert found.states == dict.fromkeys(["fp32/8", "fp16/8", "int8/8"], "ok")
    assert Counter(NAMES[type(event)] for _, event in found.events) == {"drawn": 3, "opened": 3, "verified": 3, "inspected": 3}
    assert record.read_run(found.out).is_check


def test_the_largest_batch_is_opened_first_and_each_once(bench):
    found = bench(FP32, FP16).check(batches=(1, 32, 8))
    assert found.works.cells("open") == [f"{precision}/{batch}" for precision in ("fp32", "fp16") for batch in (32, 8, 1)]


def test_a_crew_is_gone_before_the_next_is_hired(bench):
    at_work = {}

    def look(job, name, nth):
        if job in ("open", "verify", "inspect", "close"):
            at_work.setdefault(name.split("/")[0], set()).update(worker for worker in found.works.started if worker.alive)
        return {}

    found = bench(plot=look)
    found.check(batches=(1, 8))
    assert [len(crew) for crew in at_work.values()] == [1, 1, 1]
    assert len(set.union(*at_work.values())) == 3


@pytest.mark.parametrize("raised", [{}, {"raised": RuntimeFailed("no kernel")}], ids=["ok", "failed"])
def test_a_cell_is_closed_before_the_next_one_is_opened(bench, raised):
    found = bench(FP32, plot=only("verify", "fp32/32", 0, **raised)).check(batches=(1, 8, 32))
    asked = [(job, name) for job, name, _ in found.works.requests if job in ("open", "close")]
    assert asked == [(job, f"fp32/{batch}") for batch in (32, 8, 1) for job in ("open", "close")]


def test_accuracy_is_asked_once_for_a_crew_and_is_in_every_row(bench):
    found = bench(FP32, INT8).check(batches=(1, 8, 32))
    assert [bool(samples) for samples in found.works.asked("verify", "samples")] == [True, False, False] * 2
    for row in found.rows.values():
        assert {name: getattr(row.parity, name) for name in ACCURACY} == ACCURACY
        assert row.parity.accuracy_batch == 32


def test_a_distance_is_each_batchs_own(bench):
    found = bench(FP32)
    found.works.offset = 1
    found.check(batches=(1, 8))
    assert {name: row.parity.max_abs_err for name, row in found.rows.items()} == {"fp32/1": 1, "fp32/8": 8}
    assert {name: row.parity.top1_drop for name, row in found.rows.items()} == {"fp32/1": 25, "fp32/8": 25}


@pytest.mark.parametrize("job", ["open", "verify"])
def test_where_the_largest_batch_fails_the_next_one_tells_the_accuracy(bench, job):
    found = bench(FP32, plot=only(job, "fp32/32", 0, raised=RuntimeFailed("out of memory"))).check(batches=(1, 8, 32))
    assert [bool(samples) for samples in found.works.asked("verify", "samples")][-2:] == [True, False]
    assert [found.rows[name].parity.accuracy_batch for name in ("fp32/1", "fp32/8")] == [8, 8]


def test_without_labels_there_is_no_accuracy(bench):
    found = bench(UNLABELLED).check(batches=(1, 8))
    assert found.works.asked("verify", "samples") == [None, None]
    told = [{name for name in ACCURACY if getattr(row.parity, name) is not None} for row in found.rows.values()]
    assert told == [{"agreement"}] * 2


DEAD, SILENT, BROKEN = WorkerDied("killed"), WorkerTimeout("no answer"), RuntimeFailed("no kernel")


@pytest.mark.parametrize(
    ("job", "error"),
    [
        *(("open", error) for error in (DEAD, SILENT, BROKEN)),
        *(("verify", error) for error in (DEAD, SILENT, BROKEN)),
        *(("inspect", error) for error in (DEAD, SILENT)),
    ],
)
def test_a_cell_that_fails_is_a_row_and_the_others_go_on(bench, job, error):
    found = bench(plot=only(job, "fp16/8", 0, raised=error)).check(batches=(1, 8))
    assert (found.rows["fp16/8"].status, found.rows["fp16/8"].reason) == (error.status, str(error))
    assert Counter(found.states.values()) == {"ok": 5, error.status: 1}
    assert Counter(found.works.cells("open")) == dict.fromkeys(found.rows, 1)


def test_a_runtime_that_cannot_tell_its_kernels_is_compared_all_the_same_and_that_is_said(bench):
    found = bench(plot=only("inspect", "fp16/8", 0, raised=BROKEN)).check()
    assert found.states["fp16/8"] == "ok"
    assert (found.rows["fp16/8"].inspected.kernels, found.rows["fp16/8"].parity.top1) == ((), 50.0)
    (note,) = found.progress.told
    assert ("cnn/null/cpu/fp16/b8" in note, "no kernel" in note) == (True, True)


def test_a_runtime_that_cannot_tell_its_kernels_is_measured_all_the_same(bench):
    found = bench(FP32, plot=only("inspect", "fp32/1", 0, raised=BROKEN)).infer(batches=(1,))
    assert (found.states, len(found.rows["fp32/1"].blocks)) == ({"fp32/1": "ok"}, 1)


def test_what_cannot_be_run_is_a_row_that_says_why(bench):
    fixed = replace(FP32, inputs=(TensorSpec(name="input", dtype="float32", shape=(8, 2)),))
    found = bench(fixed).check(batches=(1, 8))
    assert found.states == {"fp32/1": "unsupported", "fp32/8": "ok"}
    assert found.works.cells("open") == ["fp32/8"]


@pytest.mark.parametrize(
    ("job", "name"), [("draw", ""), ("reference", ""), ("open", "fp16/8"), ("verify", "fp16/8"), ("explain", "")]
)
def test_a_full_disk_ends_a_check(bench, job, name):
    found = bench(plot=only(job, name, 0, raised=StorageFailed("no room")))
    with pytest.raises(StorageFailed, match="no room"):
        found.check(explain=True)
    assert not any(isinstance(event, Failed) for _, event in found.events)


def test_an_interrupted_check_says_so_and_keeps_what_was_compared(bench):
    found = bench(plot=only("verify", "fp16/8", 0, stop=True))
    with pytest.raises(Interrupted, match="stopped by Ctrl-C; run bench check again"):
        found.check()
    assert found.states == {"fp32/8": "ok", "fp16/8": "ok", "int8/8": "failed"}
    assert found.rows["int8/8"].reason == "not measured: the run was interrupted"


def test_progress_ends_where_the_cells_do(bench):
    steps = bench().check(batches=(1, 8)).progress.steps
    assert [(done, total) for what, done, total in steps if what.startswith("cnn/null")] == [(n, 6) for n in range(1, 7)]


@pytest.mark.parametrize("explain", [False, True])
def test_kernels_are_in_the_journal_and_are_timed_where_that_is_to_explain_something(bench, explain):
    found = bench().check(explain=explain)
    assert found.works.asked("inspect", "timed") == [explain] * 3
    # The null backend has no profiler: each cell is asked for a profile first, and then for its kernels alone.
    assert len(found.works.asked("profile", "key")) == (3 if explain else 0)
    assert [row.inspected.kernels for row in found.rows.values()] == [()] * 3


def test_a_row_says_of_its_file_what_it_is(bench):
    by_chance = replace(INT8, derived=derived("int8", data=RANDOM), quantized_layers=4, float_layers=1)
    rows = [*bench().check().rows.values(), bench(FP32, by_chance).check().rows["int8/8"]]
    assert [(row.opened.conversion, row.opened.random_calibration) for row in rows] == [
        (None, False),
        (None, False),
        ("portable, minmax over 128 of digits", False),
        ("portable, minmax over 128 of random", True),
    ]
    assert (rows[3].opened.artifact_mb, rows[3].opened.layers) == (2.0, Layers(quantized=4, float=1))


def test_what_was_made_from_a_file_is_given_that_files_arrays_and_answers(bench):
    found = bench().check(batches=(1, 8))
    assert [artifact.sha256 for artifact in found.works.asked("reference", "artifact")] == [FP32.sha256]
    (calls,) = found.works.asked("reference", "calls")
    assert Counter(found.works.asked("open", "inputs")) == {call.inputs: 3 for call in calls}
    assert Counter(place.path for place in found.works.asked("verify", "reference")) == {call.outputs.path: 3 for call in calls}
    assert sorted(place.path for place in found.works.asked("draw", "folder")) == sorted(call.inputs.path for call in calls)


def test_a_file_of_unknown_origin_is_compared_with_itself(bench):
    found = bench(FP32, replace(INT8, derived=None)).check()
    assert [artifact.precision for artifact in found.works.asked("reference", "artifact")] == ["fp32", "int8"]


@pytest.mark.parametrize(("images", "asked"), [(None, EVERY_IMAGE), (50, 50)])
def test_a_check_takes_every_labelled_image_unless_it_is_said(bench, images, asked):
    assert bench().check(images=images).works.asked("reference", "images") == [asked]


@pytest.mark.parametrize(("images", "asked"), [(None, TINY.images), (50, 50)])
def test_a_measurement_takes_as_many_as_its_budget_says_unless_it_is_said(bench, images, asked):
    assert bench(FP32).infer(images=images, batches=(1,)).works.asked("reference", "images") == [asked]


def test_a_reference_that_cannot_be_computed_is_said_and_kernels_are_told_all_the_same(bench):
    found = bench(plot=only("reference", "", 0, raised=RuntimeFailed("no such operator"))).check()
    (note,) = found.progress.told
    assert ("cnn" in note, "no such operator" in note) == (True, True)
    assert (found.works.cells("verify"), found.works.cells("inspect")) == ([], ["fp32/8", "fp16/8", "int8/8"])


def test_arrays_that_cannot_be_drawn_are_the_reason_of_every_row_of_their_file(bench):
    found = bench(FP32, INT8, OTHER, plot=only("draw", "", 0, raised=RuntimeFailed("out of memory"))).check()
    rows = [(row.cell.model, row.cell.precision, row.status) for row in record.read_run(found.out).cells]
    assert rows == [("cnn", "fp32", "failed"), ("cnn", "int8", "failed"), ("other", "fp32", "ok")]


def test_a_measurement_compares_answers_as_a_check_does_and_times_no_kernel(bench):
    found = bench(FP32, INT8).infer(batches=(1, 8))
    assert found.works.cells("verify") == found.works.cells("inspect") == ["fp32/8", "fp32/1", "int8/8", "int8/1"]
    assert [bool(samples) for samples in found.works.asked("verify", "samples")] == [True, False] * 2
    assert (found.works.asked("inspect", "timed"), record.read_run(found.out).is_check) == ([False] * 4, False)


PARTLY = {"instrument": False, "precisions": ["fp32", "fp16"], "on_request": ["fp16"]}


def test_what_is_not_computed_in_its_precision_is_left_out_of_a_measurement_and_said(bench):
    found = bench(probed=PARTLY).infer(batches=(1,))
    (note,) = found.progress.told
    assert (list(found.rows), "fp16 on null; int8 on null" in note) == (["fp32/1"], True)


def test_a_check_leaves_out_only_what_a_backend_lacks(bench):
    found = bench(probed=PARTLY).check()
    (note,) = found.progress.told
    assert (list(found.rows), "int8 on null" in note, "fp16" in note) == (["fp32/8", "fp16/8"], True, False)


def test_nothing_is_said_where_nothing_was_left_out(bench):
    assert bench().check().progress.told == []
    assert bench(probed={**PARTLY, "precisions": ["fp32", "fp16", "int8"]}).check().progress.told == []


def test_two_kinds_of_runs_do_not_share_a_folder(bench):
    found = bench(FP32).check()
    with pytest.raises(BadInput, match="'check' run"):
        found.infer(resume=True)
    assert found.works.cells("open") == ["fp32/8"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda head: head["host"].update(cpu="Other CPU"), "the CPU Other CPU, and here it is "),
        (lambda head: head["host"].update(gpus=[{"name": "H100"}]), "the GPUs H100, and here it is GPU 0"),
        (lambda head: head["versions"].update(null="0.0.1"), "null 0.0.1, and here it is "),
    ],
    ids=["cpu", "gpus", "version"],
)
def test_a_measurement_is_not_gone_on_with_on_another_machine_or_by_another_version(bench, change, found):
    run = bench(FP32)
    run.infer(batches=(1,))
    before = (run.out / JOURNAL).read_bytes()
    written = json.loads((run.out / RUN).read_text())
    change(written)
    (run.out / RUN).write_text(json.dumps(written))
    head = read_head(run.out)
    with pytest.raises(BadInput, match=found) as caught:
        run.infer(batches=(1, 2), resume=True)
    assert caught.value.hint.startswith("give another --out")
    assert read_head(run.out) == head
    assert json.loads((run.out / RUN).read_text()) == written
    assert (run.out / JOURNAL).read_bytes() == before


def test_a_measurement_can_be_gone_on_with_and_a_check_cannot(bench):
    for run, hint in (("check", "give another --out"), ("infer", "give --resume to continue it, or another --out")):
        found = bench(FP32)
        getattr(found, run)(batches=(1,))
        with pytest.raises(BadInput, match="holds a run already") as caught:
            getattr(found, run)(batches=(1,))
        assert caught.value.hint == hint


def test_the_nodes_of_every_int8_file_are_tried_once(bench):
    found = bench().check(batches=(1, 8), explain=True)
    ((key, event),) = (item for item in found.events if isinstance(item[1], Explained))
    assert [artifact.sha256 for artifact in found.works.asked("explain", "artifact")] == [FP32.sha256]
    assert [found.works.asked("explain", what) for what in ("precision", "how", "shapes")] == [["int8"], [HOW], [()]]
    assert event.exclude == ("conv1",)
    assert key in {found.rows[name].cell.key for name in ("int8/1", "int8/8")}


def test_nothing_is_tried_where_nobody_asked_or_nothing_is_int8(bench):
    assert bench().check().works.cells("explain") == []
    assert bench(FP32, FP16).check(explain=True).works.cells("explain") == []


@pytest.mark.parametrize(("data", "calibration"), [("digits", None), (RANDOM, None), ("/data/mine.npz", "/data/mine.npz")])
def test_nodes_are_tried_on_what_the_file_was_calibrated_on(bench, data, calibration):
    found = bench(FP32, replace(INT8, derived=derived("int8", data=data))).check(explain=True)
    assert found.works.asked("explain", "calibration") == [calibration and Here(path=calibration)]


@pytest.mark.parametrize("how", [None, derived("int8", origin="00" * 32)])
def test_an_int8_file_of_somebody_elses_says_why_its_nodes_are_not_tried(bench, how):
    found = bench(FP32, replace(INT8, derived=how)).check(explain=True)
    assert found.works.cells("explain") == []
    assert found.rows["int8/8"].explained.why_not.endswith(
        "bench check --model FP32.onnx --precision int8 --dataset digits --explain"
    )


@pytest.mark.parametrize(("sqnr_db", "words"), [(7.2, "--min sqnr=20"), (39.0, "")])
def test_a_bad_file_that_no_exclusion_mends_has_the_search_as_its_command(bench, sqnr_db, words):
    found = bench()
    found.works.explained = Explained(nodes=(("conv1", 6.0),), sqnr_db=sqnr_db)
    command = found.check(explain=True).rows["int8/8"].explained.command
    assert (words in command, bool(command)) == (True, bool(words))


@pytest.mark.parametrize("error", [RuntimeFailed("out of memory"), WorkerDied("killed"), BadInput("no file mine.npz")])
def test_nodes_that_cannot_be_tried_cost_no_row(bench, error):
    row = bench(plot=only("explain", "", 0, raised=error)).check(explain=True).rows["int8/8"]
    assert (row.status, str(error) in row.explained.why_not) == ("ok", True)


def test_an_int8_file_that_cannot_be_opened_is_not_explained(bench):
    found = bench(plot=only("open", "int8/8", 0, raised=RuntimeFailed("no kernel"))).check(explain=True)
    assert found.works.cells("explain") == []
