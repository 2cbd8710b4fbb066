import pytest
from onnxbench.results.store.outcome import check_exit_code, exit_code
from onnxbench.results.store.record import read_run
from onnxbench.results.table.findings import Finding
from onnxbench.results.table.table import build, lines
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
                folder.add("failed", cell, status=status, reason="because")
        return read_run(folder.path)

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
    assert exit_code(read_run(run_folder(make_cell()).path), Sweep()) == 3


@pytest.fixture
def check_of(run_folder, make_cell):
    """A check of ort-cpu fp32 cells, one for each status; `interrupted` ones were opened alone."""

    def run(*statuses):
        cells = [make_cell(batch=batch) for batch in range(1, len(statuses) + 1)]
        folder = run_folder(*cells, kind="check")
        for cell, status in zip(cells, statuses):
            folder.opened(cell)
            folder.verified(cell, sqnr_db=0.0 if status == "mismatch" else 100.0, agreement=0.0)
            if status in ("ok", "mismatch"):
                folder.inspected(cell)
            elif status != "interrupted":
                folder.add("failed", cell, status=status, reason="because")
        return read_run(folder.path)

    return run


@pytest.mark.parametrize(
    ("statuses", "broken", "code"),
    [
        (["ok", "ok"], [], 0),
        (["ok", "unsupported"], [], 0),
        (["ok", "unavailable"], [], 0),
        ([], [], 0),
        (["ok", "mismatch"], [], 1),
        (["mismatch"], [], 1),
        (["ok"], ["--max"], 1),
        (["ok", "mismatch"], ["--max"], 1),
        (["ok", "failed"], [], 3),
        (["ok", "timeout"], [], 3),
        (["ok", "interrupted"], [], 3),
        (["mismatch", "failed"], [], 3),
        (["ok", "timeout"], ["--max"], 3),
        (["mismatch", "interrupted"], ["--max"], 3),
    ],
)
def test_a_check_finds_wanting_what_is_far_or_broken_if_everything_answered(check_of, statuses, broken, code):
    assert check_exit_code(check_of(*statuses), Sweep(), broken) == code


NAMED = [{"backends": ("ort-cpu", "all")}, {"precisions": ("fp32",)}, {"device": "cpu"}]


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("mismatch", 1), ("unsupported", 3), ("unavailable", 3)])
def test_what_a_check_was_named_must_have_an_answer_and_a_mismatch_is_one(check_of, named, status, code):
    assert check_exit_code(check_of(status), Sweep(**named), []) == code


@pytest.mark.parametrize("broken", [[], ["--max"]])
@pytest.mark.parametrize("named", [{"backends": ("torch-cpu",)}, {"precisions": ("fp32", "int8")}, {"device": "cuda:0"}])
def test_what_has_no_answer_comes_before_what_is_found_wanting(check_of, named, broken):
    assert check_exit_code(check_of("ok", "mismatch"), Sweep(**named), broken) == 3


def test_a_later_step_that_failed_is_no_success_and_a_finding_in_its_row(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.measured(cell, 100)
    folder.add("step_failed", cell, step="load", status="failed", reason="no module; install it")
    found = read_run(folder.path)
    assert exit_code(found, Sweep()) == 3
    (row,) = build([found]).rows
    assert (row["status"], row["p50_ms"]) == ("ok", 1e-4)
    (line,) = [line for line, _ in lines([found])]
    assert Finding.of("step_failed", step="load", reason="no module; install it") in line.findings
