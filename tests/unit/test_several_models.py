"""Several models in one run: their names, their own shapes, and a model that fails beside the others."""

import json
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path

import click
import pytest
from onnxbench.cli import main
from onnxbench.commands.infer import builds_of
from onnxbench.commands.model_list import Models
from onnxbench.commands.runs import sweep_of
from onnxbench.errors import BadInput, RuntimeFailed, Unsupported
from onnxbench.evidence import Block
from onnxbench.exporters.manifest import Maker
from onnxbench.results.store import record
from onnxbench.results.store.outcome import check_exit_code, exit_code
from onnxbench.runners.pool.context import Context
from onnxbench.runners.prepare.model_files import find_early, find_files
from onnxbench.runners.worker.file_jobs import CacheEntry
from onnxbench.runners.worker.jobs import There
from onnxbench.spec import Sweep, TensorSpec, from_wire, to_wire

from .in_process import FP32, INT8, TINY, Notes
from .test_prepare import Prepared

RUN = Path(__file__).resolve().parents[1] / "data/v0_1/run"
A = replace(FP32, model="a", path="a.onnx", dataset=None)
B = replace(
    A, model="b", path="b.onnx", sha256="01" * 32, inputs=(TensorSpec(name="tokens", dtype="float32", shape=("batch", "T")),)
)
TOKENS = TensorSpec(name="tokens", dtype="float32", shape=(1, 5))
MODULE = TensorSpec(name="input", dtype="float32", shape=(1, 2))


def records(found):
    return record.read_run(found.out).cells


def states(found):
    return {(item.cell.model, item.cell.batch): item.status for item in records(found)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "text", "models"),
    [
        ([], "cnn", ("cnn",)),
        ([], "a.onnx, b.onnx,,cnn", ("a.onnx", "b.onnx", "cnn")),
        ([], "a.onnx,a.onnx", ("a.onnx",)),
        ([], "x,y.onnx", ("x", "y.onnx")),
        (["x,y.onnx"], "x,y.onnx", ("x,y.onnx",)),
        (["x,y.onnx"], "a.onnx,x,y.onnx,cnn", ("a.onnx", "x,y.onnx", "cnn")),
        (["x.onnx", "y.onnx"], "x.onnx,y.onnx", ("x.onnx", "y.onnx")),
        (["x.onnx", "y.onnx", "x.onnx,y.onnx"], "x.onnx,y.onnx", ("x.onnx,y.onnx",)),
        ([], f"{'x' * 5000},y.onnx", ("x" * 5000, "y.onnx")),
    ],
)
def test_a_list_of_models_is_split_at_commas_outside_existing_files(folder, files, text, models):
    for name in files:
        (folder / name).touch()
    assert Models().convert(text, None, None) == models


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_an_empty_list_of_models_is_refused(text):
    with pytest.raises(click.BadParameter):
        Models().convert(text, None, None)


@pytest.mark.parametrize("command", ["infer", "check"])
@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ([], (None, ())),
        (["--model", "a.onnx"], ("a.onnx", ())),
        (["--model", "a.onnx,cnn"], (None, ("a.onnx", "cnn"))),
    ],
)
def test_one_model_is_stored_as_before_and_several_as_a_list(command, arguments, fields):
    options = main.get_command(None, command).make_context(command, list(arguments)).params
    builds = builds_of(options) if "builds" in options else {}
    names = {field.name for field in dataclass_fields(Sweep)} & set(options) | {"preprocess"}
    sweep = replace(sweep_of({"budget": "quick", **{name: options[name] for name in names}}), **builds)
    assert (sweep.model, sweep.models) == fields
    assert from_wire(Sweep, to_wire(sweep)) == sweep


def test_a_sweep_of_version_0_1_has_one_model():
    stored = {name: value for name, value in to_wire(Sweep(model="cnn")).items() if name != "models"}
    assert from_wire(Sweep, stored) == Sweep(model="cnn")


def test_a_budget_of_version_0_1_has_blocks_of_one_length():
    stored = json.loads((RUN / "run.json").read_text())["sweep"]
    budget = from_wire(Sweep, stored).budget
    assert budget.throughput_ms == budget.block_ms == stored["budget"]["block_ms"]


def test_each_model_has_rows_in_the_order_of_the_command(bench):
    found = bench(A, B).infer(models=("b.onnx", "a.onnx"), signature=(TOKENS,), batches=(1,))
    assert list(states(found).items()) == [(("b", 1), "ok"), (("a", 1), "ok")]
    assert [item.cell.shapes for item in records(found)] == [(("tokens", (1, 5)),), (("input", (1, 2)),)]


def test_a_shape_fixes_the_batch_of_its_own_model_alone(bench):
    found = bench(A, B).infer(models=("a.onnx", "b.onnx"), signature=(TOKENS,))
    assert states(found) == {("a", 1): "ok", ("a", 8): "ok", ("a", 32): "ok", ("b", 1): "ok"}


def test_models_are_measured_in_the_same_rounds(bench):
    rounds = replace(TINY, looks=(3,))
    found = bench(A, B).infer(models=("a.onnx", "b.onnx"), signature=(TOKENS,), batches=(1,), budget=rounds)
    models = {item.key: item.cell.model for item in records(found)}
    visits = [(event.round, models[key]) for key, event in found.events if isinstance(event, Block)]
    assert [number for number, _ in visits] == [0, 0, 1, 1, 2, 2]
    assert [{model for of_round, model in visits if of_round == number} for number in range(3)] == [{"a", "b"}] * 3


@pytest.mark.parametrize(
    ("sweep", "value"),
    [
        ({"models": ("a.onnx", "net.txt")}, "net.txt"),
        ({"models": ("a.onnx", "b.onnx"), "signature": (replace(TOKENS, name="token"),)}, "token"),
        ({"models": ("a.onnx", "b.onnx")}, "^b: .*T"),
        ({"models": ("a.onnx", "pkg:make")}, "pkg:make"),
        ({"models": ("a.onnx", "b.onnx"), "signature": (replace(TOKENS, shape=(1, 5, 5)),)}, "^b: .*tokens"),
        ({"models": ("a.onnx", "b.onnx"), "signature": (TOKENS,), "baseline": "nobody"}, "^the baseline 'nobody'"),
    ],
    ids=["name", "input", "open", "module", "rank", "baseline"],
)
def test_a_bad_model_among_several_ends_the_run_before_anything_is_made(bench, sweep, value):
    found = bench(A, B)
    with pytest.raises(BadInput, match=value):
        found.infer(**sweep)
    assert {job for job, _, _ in found.works.requests} <= {"probe", "describe"}
    assert not (found.out / "run.json").exists()


def test_a_file_that_cannot_be_read_among_several_ends_the_run(bench):
    def plot(job, name, nth):
        return {"raised": BadInput("b.onnx is not an ONNX file")} if (job, nth) == ("describe", 1) else {}

    with pytest.raises(BadInput, match=r"b\.onnx"):
        bench(A, B, plot=plot).infer(models=("a.onnx", "b.onnx"))


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeFailed("no export"), "failed"), (Unsupported("no export"), "unsupported")]
)
@pytest.mark.parametrize("command", ["infer", "check"])
def test_a_model_that_fails_later_has_rows_with_the_reason_and_the_others_are_measured(bench, command, error, status):
    found = bench(A, plot=lambda job, name, nth: {"raised": error} if job == "export" else {})
    sweep = {"models": ("pkg:make", "a.onnx"), "batches": (1,), "signature": (MODULE,)}
    getattr(found, command)(**sweep)
    assert states(found) == {("pkg:make", 1): status, ("a", 1): "ok"}
    assert records(found)[0].reason == "no export"
    code = {"infer": exit_code, "check": lambda *run: check_exit_code(*run, ())}[command]
    assert code(record.read_run(found.out), Sweep(**sweep)) == 3


def test_the_only_model_that_fails_is_an_error(bench):
    found = bench(A, plot=lambda job, name, nth: {"raised": RuntimeFailed("no export")} if job == "export" else {})
    with pytest.raises(RuntimeFailed):
        found.infer(model="pkg:make", signature=(MODULE,))


def test_a_model_that_failed_is_made_again_when_the_run_is_resumed(bench, tmp_path):
    errors = [RuntimeFailed("no export")]
    found = bench(A, plot=lambda job, name, nth: {"raised": errors.pop()} if job == "export" and errors else {})
    sweep = {"models": ("pkg:make", "a.onnx"), "batches": (1,), "signature": (MODULE,)}
    found.infer(**sweep)
    assert states(found)["pkg:make", 1] == "failed"
    entry = tmp_path / "entry"
    entry.mkdir()
    (entry / "made.onnx").touch()
    made = replace(A, model="pkg:make", path="made.onnx", sha256="77" * 32)
    found.works.export = lambda job: CacheEntry(
        folder=There(path=str(entry)), cached=False, artifact=made, made=Maker(exporter="torch")
    )
    found.infer(resume=True, **sweep)
    assert states(found) == {("pkg:make", 1): "ok", ("a", 1): "ok"}


def test_every_model_of_several_needs_a_row_that_is_ok(run_folder, make_cell):
    cells = [make_cell(model="a"), make_cell(model="b")]
    folder = run_folder(*cells)
    folder.measured(cells[0], 100)
    folder.add("failed", cells[1], status="unsupported", reason="because")
    run = record.read_run(folder.path)
    assert exit_code(run, Sweep(models=("a.onnx", "b.onnx"))) == 3
    assert exit_code(run, Sweep()) == 0


def found_names(tmp_path, *paths, **sweep):
    file = replace(A, model=Path(paths[0]).stem)
    context = Prepared(logs=tmp_path, progress=Notes(), timeout_s=1, answers={"describe": file})
    return find_files(Sweep(models=paths, **sweep), context)


def test_files_of_one_name_have_the_names_of_their_folders_before_it(tmp_path):
    found = found_names(tmp_path, "v1/model.onnx", "v2/model.onnx", artifacts="files")
    assert [item.artifacts[0].model for item in found] == ["v1-model", "v2-model"]
    assert [Path(item.sweep.artifacts) for item in found] == [Path("files/v1-model"), Path("files/v2-model")]
    deeper = found_names(tmp_path, "x/onnx/model.onnx", "y/onnx/model.onnx")
    assert [item.artifacts[0].model for item in deeper] == ["x-onnx-model", "y-onnx-model"]


def test_models_of_several_names_keep_them_and_share_the_folder(tmp_path):
    answers = {"describe": lambda job: A if job.file.path.endswith("a.onnx") else B}
    context: Context = Prepared(logs=tmp_path, progress=Notes(), timeout_s=1, answers=answers)
    found = find_files(Sweep(models=("a.onnx", "b.onnx"), artifacts="files"), context)
    assert [(item.artifacts[0].model, item.sweep.artifacts, item.name) for item in found] == [
        ("a", "files", None),
        ("b", "files", None),
    ]


@pytest.mark.parametrize(("schemes", "before", "count"), [((), [], 1), (("best",), [], 0), ((), [[]], 1), (("layers",), [], 1)])
def test_files_are_found_early_unless_the_backends_choose_their_schemes(tmp_path, schemes, before, count):
    context = Prepared(logs=tmp_path, progress=Notes(), timeout_s=1, answers={"describe": A})
    find_early(Sweep(model="a.onnx", schemes=schemes), context, before)
    assert len(before) == count
    assert len(context.asked) == bool(before and before != [[]])


def test_a_check_tests_the_nodes_of_a_model_with_its_own_shapes(bench):
    found = bench(FP32, INT8, B)
    found.check(models=("cnn", "b.onnx"), signature=(TOKENS,), explain=True)
    assert found.works.asked("explain", "shapes") == [()]


def test_without_memory_a_group_has_the_baseline_of_its_own_model_alone(bench):
    found = bench(A, B)
    found.works.memory_free_mb = lambda: 0
    both = {"precisions": ("fp32", "bf16"), "baseline": "null", "batches": (1,), "signature": (TOKENS,)}
    found.infer(models=("a.onnx", "b.onnx"), **both)
    opened = [(cell.model, cell.precision) for cell in found.works.asked("open", "cell")]
    assert opened == [("a", "fp32"), ("a", "bf16"), ("b", "fp32"), ("b", "bf16")]
