import pytest
from onnxbench.results.outcome import exit_code
from onnxbench.results.record import read
from onnxbench.spec import Sweep


@pytest.fixture
def run_of(run_folder, make_cell):
    """A run of ort-cpu fp32 cells, one for each status."""

    def run(*statuses, **changes):
        cells = [make_cell(batch=batch, **changes) for batch in range(1, len(statuses) + 1)]
        folder = run_folder(*cells)
        for cell, status in zip(cells, statuses):
            folder.measured(cell, 100)
            if status == "mismatch":
                folder.add("verified", cell, sqnr_db=0.0)
            elif status != "ok":
                folder.add("ended", cell, status=status, reason="because")
        return read(folder.path)

    return run


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["ok", "ok"], 0),
        (["ok", "unsupported"], 0),
        (["ok", "unavailable"], 0),
        (["ok", "mismatch"], 0),
        (["unsupported"], 0),
        (["ok", "failed"], 3),
        (["ok", "timeout"], 3),
        ([], 0),
    ],
)
def test_a_cell_that_failed_or_timed_out_is_no_success(run_of, statuses, code):
    assert exit_code(run_of(*statuses), Sweep()) == code


@pytest.mark.parametrize(
    "named",
    [{"backends": ("ort-cpu",)}, {"precisions": ("fp32",)}, {"device": "cpu"}, {"backends": ("ort-cpu", "all")}],
    ids=lambda named: next(iter(named)),
)
def test_what_was_named_must_have_a_row_that_is_ok(run_of, named):
    assert exit_code(run_of("ok", "unsupported"), Sweep(**named)) == 0


@pytest.mark.parametrize("status", ["unsupported", "unavailable", "mismatch"])
@pytest.mark.parametrize("named", [{"backends": ("ort-cpu",)}, {"precisions": ("fp32",)}, {"device": "cpu"}])
def test_what_was_named_and_has_no_such_row_is_no_success(run_of, status, named):
    assert exit_code(run_of(status), Sweep(**named)) == 3


@pytest.mark.parametrize(
    "named",
    [{"backends": ("ort-cpu", "torch-cpu")}, {"precisions": ("fp32", "int8")}, {"device": "cuda:0"}],
    ids=lambda named: next(iter(named)),
)
def test_everything_that_was_named_counts(run_of, named):
    assert exit_code(run_of("ok"), Sweep(**named)) == 3


def test_all_names_nothing_in_particular(run_of):
    assert exit_code(run_of("ok"), Sweep(backends=("all",))) == 0


def test_a_cell_that_was_never_measured_is_no_success(run_folder, make_cell):
    assert exit_code(read(run_folder(make_cell()).path), Sweep()) == 3
