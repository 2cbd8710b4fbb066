from dataclasses import replace

import pytest
from onnxbench.exporters.searched import DataParts, Evaluated, FirstLook, NodeError, SearchPath, SearchStep
from onnxbench.runners.prepare import search_lines
from onnxbench.runners.prepare.bound_walk import PROOF, SEARCH, WalkResult
from onnxbench.runners.prepare.bounds import Bound

DROP = Bound(metric="top1_drop", limit=0.5, most=True, text="--max top1_drop=0.5")
FIGURES = Evaluated(items=1000, sqnr_db=31.25, agreed=990, right=900, lost=4, gained=1, quantized_layers=7, float_layers=1)
STEP = SearchStep(scheme="layers", exclude=("a", "b", "c", "d"), part=SEARCH, figures=FIGURES, alpha=(1.0,), accepted=True)
PROVEN = replace(STEP, part=PROOF)
PARTS = DataParts(calibration=128, search=1000, proof=2000, calibration_data="d", search_data="d", proof_data="d")
PATH = SearchPath(
    bounds=(DROP.text,), backend="ort-cpu 1", device="cpu", schemes=("layers",), parts=PARTS, steps=(STEP, PROVEN, PROVEN)
)


def test_a_step_has_its_accuracy_its_layers_in_float_and_its_speed():
    line = search_lines.step_line(replace(STEP, look=FirstLook(ms=2.0, fp32_ms=3.0, calls=9, batch=8)), [DROP])
    for part in ("layers", "a,b,c", "1 more", "0.30 points", "99.00 %", "31.2 dB", "1 of 8", "1.50", "1000"):
        assert part in line


def test_a_step_beyond_a_bound_names_the_bound_and_one_without_a_file_the_reason():
    assert DROP.text in search_lines.step_line(replace(STEP, figures=replace(FIGURES, lost=90), accepted=False), [DROP])
    assert "it crashed" in search_lines.step_line(replace(STEP, figures=Evaluated(failed="it crashed"), accepted=False), [DROP])


def test_a_result_has_the_bound_the_proof_and_its_number():
    line = search_lines.result_line(PATH)
    assert DROP.text in line
    assert "proof 2" in line
    assert "proof" not in search_lines.result_line(replace(PATH, steps=(STEP, PROVEN)))


@pytest.mark.parametrize(
    ("bound", "lost", "uncertain"),
    [(DROP, 4, True), (DROP, 0, False), (replace(DROP, limit=5.0), 4, False), (replace(DROP, metric="top1"), 4, False)],
)
def test_a_drop_that_is_not_certain_has_a_note(bound, lost, uncertain):
    lines = list(search_lines.uncertain_lines([bound], replace(PROVEN, figures=replace(FIGURES, lost=lost, gained=0))))
    assert bool(lines) == uncertain


def test_a_file_that_is_slower_than_fp32_has_a_remedy():
    slow, fast = (FirstLook(ms=ms, fp32_ms=2.0, calls=9, batch=8) for ms in (4.0, 1.0))
    assert "2.0 times as long" in search_lines.look_note(slow, "ort-cpu")
    assert "bench infer" not in search_lines.look_note(fast, "ort-cpu")


def test_the_end_without_a_file_names_the_nearest_and_its_limiting_nodes():
    nodes = tuple(NodeError(name=name, sqnr_db=float(number)) for number, name in enumerate("wxyz"))
    line = search_lines.unreachable_line(PATH, WalkResult(steps=(STEP,), nearest=STEP, limiting=nodes))
    assert all(part in line for part in (DROP.text, "layers", "w (0.0 dB", "y (2.0 dB", "31.2 dB"))
    assert "z (" not in line
    assert "2000" in search_lines.unreachable_line(PATH, WalkResult(steps=(STEP,), nearest=STEP, used_up=True))


def test_the_end_without_any_file_has_the_reasons():
    failed = replace(STEP, figures=Evaluated(failed="it crashed"))
    assert "it crashed" in search_lines.unreachable_line(replace(PATH, steps=(failed,)), WalkResult(steps=(failed,)))
