from dataclasses import replace

import pytest
from onnxbench.errors import BadInput
from onnxbench.runners.infer import note_skipped
from onnxbench.runners.pool.survey import ProbedBackend, probed_backend
from onnxbench.runners.sweep.plan import Defaults, is_default, plan, precisions_of, schemes_of, skipped_precisions
from onnxbench.runners.worker.jobs import Probed
from onnxbench.spec import Conversion, Settings, Sweep, TensorSpec

from .in_process import Notes, derived

ORT = ProbedBackend(name="ort-cpu", available=True, device_kind="cpu", version="1.20", options={"graph": "on or off"})
TORCH = ProbedBackend(
    name="torch-cpu", available=True, device_kind="cpu", options={"compile": "yes or no", "graph": "on or off"}
)
CUDA = ProbedBackend(name="ort-cuda", available=False, device_kind="cuda", reason="no CUDA here", install="pip install it")
GPU = replace(CUDA, available=True, reason="")


def planned(sweep, artifacts, found=(ORT,), given=None, threads=2):
    return plan(sweep, artifacts, found, Defaults(shapes=given or {}, threads=threads))


def axes(rows):
    return [(row.cell.backend, row.cell.precision, row.cell.batch) for row in rows]


def test_a_precision_that_there_is_not_is_refused():
    assert precisions_of(Sweep(precisions=("int8", "fp32"))) == ("int8", "fp32")
    with pytest.raises(BadInput, match="'fp33' is not a precision; did you mean 'fp32'"):
        precisions_of(Sweep(precisions=("fp33",)))


def test_every_file_meets_every_backend_at_every_batch(make_artifact):
    rows = planned(Sweep(), [make_artifact(), make_artifact(precision="int8", sha256="cd" * 32)], (ORT, TORCH))
    assert axes(rows) == [
        (backend, precision, batch)
        for precision in ("fp32", "int8")
        for backend in ("ort-cpu", "torch-cpu")
        for batch in (1, 8, 32)
    ]
    assert all(row.refused is None for row in rows)


def test_a_cell_says_everything_that_it_depends_on(make_artifact, make_cell):
    (row,) = planned(Sweep(batches=(8,)), [make_artifact()], threads=3)
    assert row.cell == make_cell(batch=8, shapes=(("input", (8, 3, 48, 48)),), settings=Settings(threads=3))
    assert row.artifact == make_artifact()


def test_the_user_has_the_last_word_about_threads(make_artifact):
    (row,) = planned(Sweep(batches=(1,), threads=7), [make_artifact()], threads=3)
    assert row.cell.settings.threads == 7


def test_several_precisions_can_run_one_file(make_artifact):
    full, half = make_artifact(), make_artifact(precision="fp16", sha256="cd" * 32)
    rows = planned(Sweep(precisions=("fp32", "tf32", "bf16", "fp16"), batches=(1,)), [half, full])
    assert [(row.cell.precision, row.artifact.precision, row.refused) for row in rows] == [
        ("fp32", "fp32", None),
        ("tf32", "fp32", None),
        ("bf16", "fp32", None),
        ("fp16", "fp16", None),
    ]


def test_a_precision_without_its_file_is_a_row_that_says_so(make_artifact):
    (row,) = planned(Sweep(precisions=("int8",), batches=(1,)), [make_artifact()])
    assert refusal(row) == "unsupported"
    assert "int8" in row.refused[1]


def test_each_model_has_files_of_its_own(make_artifact):
    files = [make_artifact(), make_artifact(model="other", precision="int8")]
    rows = planned(Sweep(batches=(1,)), files)
    assert [(row.cell.model, row.cell.precision, row.refused) for row in rows] == [
        ("cnn", "fp32", None),
        ("other", "int8", None),
    ]


def test_a_backend_that_is_not_here_is_a_row_only_where_it_was_named(make_artifact):
    assert [row.cell.backend for row in planned(Sweep(batches=(1,)), [make_artifact()], (ORT, CUDA))] == ["ort-cpu"]
    rows = planned(Sweep(batches=(1,), backends=("ort-cpu", "ort-cuda")), [make_artifact()], (ORT, CUDA))
    assert [(row.cell.backend, row.refused) for row in rows] == [
        ("ort-cpu", None),
        ("ort-cuda", ("unavailable", "no CUDA here; pip install it")),
    ]


def test_an_instrument_is_measured_only_where_it_was_named(make_artifact):
    null = ProbedBackend(name="null", available=True, device_kind="cpu", instrument=True)
    for named, measured in [(("all",), ["ort-cpu"]), ((), ["ort-cpu"]), (("all", "null"), ["ort-cpu", "null"])]:
        rows = planned(Sweep(batches=(1,), backends=named), [make_artifact()], (ORT, null))
        assert [row.cell.backend for row in rows] == measured


def test_a_reason_without_a_way_to_install_stands_alone(make_artifact):
    (row,) = planned(Sweep(batches=(1,), backends=("ort-cuda",)), [make_artifact()], (replace(CUDA, install=""),))
    assert row.refused == ("unavailable", "no CUDA here")


def test_a_backend_runs_on_its_own_device_unless_the_user_says(make_artifact):
    rows = planned(Sweep(batches=(1,)), [make_artifact()], (ORT, GPU))
    assert [row.cell.device for row in rows] == ["cpu", "cuda:0"]
    rows = planned(Sweep(batches=(1,), device="cuda:1"), [make_artifact()], (ORT, GPU))
    assert [(row.cell.backend, row.cell.device) for row in rows] == [("ort-cuda", "cuda:1")]


def test_a_named_backend_gets_the_device_that_was_asked_for_even_if_it_is_not_its_own(make_artifact):
    (row,) = planned(Sweep(batches=(1,), device="cuda:0", backends=("ort-cpu",)), [make_artifact()])
    assert row.cell.device == "cuda:0"


@pytest.mark.parametrize(
    ("sweep", "found", "says"),
    [
        (Sweep(), (CUDA,), "bench backends"),
        (Sweep(), (), "no runtime"),
        (Sweep(device="cuda:0"), (ORT,), "no backend for cuda:0"),
    ],
)
def test_a_machine_where_nothing_can_run_is_said(make_artifact, sweep, found, says):
    with pytest.raises(BadInput, match=says):
        planned(sweep, [make_artifact()], found)


def test_a_device_that_is_not_here_is_rows_that_say_why(make_artifact):
    (row,) = planned(Sweep(device="cuda:0", batches=(1,)), [make_artifact()], (ORT, CUDA))
    assert (row.cell.backend, row.refused) == ("ort-cuda", ("unavailable", "no CUDA here; pip install it"))


def refusal(row):
    """Status of a refused row; empty for a row that runs."""
    return row.refused[0] if row.refused else ""


@pytest.fixture
def fixed(make_artifact):
    return make_artifact(inputs=(TensorSpec(name="input", dtype="float32", shape=(4, 3)),))


def test_a_file_with_a_fixed_batch_is_measured_at_it(fixed):
    (row,) = planned(Sweep(), [fixed])
    assert (row.cell.batch, row.cell.shapes, row.refused) == (4, (("input", (4, 3)),), None)


def test_other_batches_than_the_file_has_are_refused(fixed):
    rows = planned(Sweep(batches=(1, 4)), [fixed])
    assert [(row.cell.batch, refusal(row)) for row in rows] == [(1, "unsupported"), (4, "")]
    assert "batch at 4" in rows[0].refused[1]


def test_other_batches_than_the_given_shape_has_are_refused(make_artifact):
    rows = planned(Sweep(batches=(1, 2)), [make_artifact()], given={"input": (2, 3, 48, 48)})
    assert [(row.cell.batch, refusal(row)) for row in rows] == [(1, "unsupported"), (2, "")]
    assert "--shape input=Nx3x48x48" in rows[0].refused[1]
    assert "batch at 2" in rows[0].refused[1]


def test_a_given_shape_of_another_input_does_not_fix_the_batch(make_artifact):
    inputs = (TensorSpec(name="x", dtype="float32", shape=(4, 3)), TensorSpec(name="y", dtype="float32", shape=(5, None)))
    (row,) = planned(Sweep(batches=(1,)), [make_artifact(inputs=inputs)], given={"y": (5, 7)})
    assert refusal(row) == "unsupported"
    assert "batch at 4" in row.refused[1]


def test_without_batches_a_given_shape_is_measured(make_artifact):
    (row,) = planned(Sweep(), [make_artifact()], given={"input": (2, 3, 48, 48)})
    assert (row.cell.batch, row.cell.shapes) == (2, (("input", (2, 3, 48, 48)),))


def test_a_given_shape_that_does_not_fit_ends_it(make_artifact):
    with pytest.raises(BadInput, match="input 'input' is batchx3x48x48 in the file, but 1x3x32x32 in --shape"):
        planned(Sweep(), [make_artifact()], given={"input": (1, 3, 32, 32)})


def options_of(sweep_options, make_artifact, found=(ORT, TORCH)):
    rows = planned(Sweep(batches=(1,), options=sweep_options), [make_artifact()], found)
    return {row.cell.backend: row.cell.settings.options for row in rows}


def test_an_option_goes_to_every_backend_that_knows_it(make_artifact):
    assert options_of((("graph", "off"), ("compile", "no")), make_artifact) == {
        "ort-cpu": (("graph", "off"),),
        "torch-cpu": (("compile", "no"), ("graph", "off")),
    }


def test_an_option_with_a_backends_name_goes_to_it_alone(make_artifact):
    assert options_of((("torch-cpu.graph", "off"),), make_artifact) == {"ort-cpu": (), "torch-cpu": (("graph", "off"),)}


def test_the_last_of_two_options_holds(make_artifact):
    assert options_of((("graph", "off"), ("ort-cpu.graph", "on")), make_artifact) == {
        "ort-cpu": (("graph", "on"),),
        "torch-cpu": (("graph", "off"),),
    }


def test_the_order_of_options_makes_no_other_cell(make_artifact):
    there, back = (("graph", "off"), ("compile", "no")), (("compile", "no"), ("graph", "off"))
    assert options_of(there, make_artifact) == options_of(back, make_artifact)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("grahp", "no backend of this run has an option 'grahp'; did you mean 'graph'"),
        ("ort-cpu.compile", "no backend of this run has an option 'compile'; choose from: graph"),
        ("torch.graph", "--option torch.graph names no backend of this run; did you mean 'torch-cpu'"),
        (".graph", "--option .graph names no backend"),
    ],
)
def test_an_option_that_nobody_knows_is_refused(make_artifact, name, says):
    with pytest.raises(BadInput, match=says):
        options_of(((name, "off"),), make_artifact)


def test_a_probes_answer_is_understood():
    answer = Probed(
        available=True,
        version="1.20",
        devices=("cpu",),
        device_kind="cpu",
        options={"graph": "on or off"},
        precisions=("fp32", "fp16"),
        on_request=("fp16",),
    )
    assert probed_backend(answer, name="ort-cpu") == replace(
        ORT, devices=("cpu",), precisions=("fp32", "fp16"), on_request=("fp16",)
    )


HALF = replace(ORT, precisions=("fp32", "fp16", "int8"), on_request=("fp16",))
FULL = replace(TORCH, precisions=("fp32", "bf16"))
CHECK = {"computed_only": False}


@pytest.fixture
def three_files(make_artifact):
    """A model in FP32, and what was made from that."""
    files = [
        make_artifact(precision=precision, sha256=sha256 * 32, derived=derived(precision))
        for precision, sha256 in (("fp16", "cd"), ("int8", "ef"))
    ]
    return [make_artifact(), *files]


def measured(sweep, artifacts, found=(HALF, FULL), **defaults):
    """Which precision of which model is measured on which backend, and what is left out of that."""
    asked = Defaults(shapes={}, threads=2, batches=(1,), **defaults)
    rows = [(row.cell.model, row.cell.precision, row.cell.backend) for row in plan(sweep, artifacts, found, asked)]
    aside = skipped_precisions(sweep, artifacts, found, asked)
    assert not set(rows) & set(aside)
    assert len(rows) == len(set(rows))
    return rows, aside


def cnn(*pairs):
    return [("cnn", precision, name) for precision, name in pairs]


def test_a_precision_that_nobody_named_is_measured_where_it_is_computed(three_files):
    assert measured(Sweep(), three_files) == (
        cnn(("fp32", "ort-cpu"), ("fp32", "torch-cpu"), ("int8", "ort-cpu")),
        cnn(("fp16", "ort-cpu"), ("fp16", "torch-cpu"), ("int8", "torch-cpu")),
    )


def test_a_precision_that_was_named_is_a_row_everywhere(three_files):
    rows, aside = measured(Sweep(precisions=("fp16", "int8")), three_files)
    assert rows == cnn(*((precision, name) for precision in ("fp16", "int8") for name in ("ort-cpu", "torch-cpu")))
    assert aside == []


def test_a_check_keeps_what_is_computed_on_request_and_not_what_a_backend_lacks(three_files):
    assert measured(Sweep(), three_files, **CHECK) == (
        cnn(("fp32", "ort-cpu"), ("fp32", "torch-cpu"), ("fp16", "ort-cpu"), ("int8", "ort-cpu")),
        cnn(("fp16", "torch-cpu"), ("int8", "torch-cpu")),
    )


@pytest.mark.parametrize("defaults", [{}, CHECK], ids=["infer", "check"])
def test_without_fp32_beside_it_a_file_is_measured_whatever_it_is_computed_in(three_files, defaults):
    pairs = cnn(("fp16", "ort-cpu"), ("fp16", "torch-cpu"))
    assert measured(Sweep(), three_files[1:2], **defaults) == (pairs, [])


def test_the_fp32_of_one_model_leaves_nothing_of_another_out(make_artifact):
    files = [make_artifact(), make_artifact(precision="int8", sha256="cd" * 32)]
    other = make_artifact(model="other", precision="int8", sha256="ef" * 32)
    assert measured(Sweep(), [*files, other], (FULL,)) == (
        [("cnn", "fp32", "torch-cpu"), ("other", "int8", "torch-cpu")],
        [("cnn", "int8", "torch-cpu")],
    )


def test_backends_that_were_named_are_no_precisions_that_were(three_files):
    rows, _ = measured(Sweep(backends=("torch-cpu",)), three_files, (FULL,))
    assert rows == cnn(("fp32", "torch-cpu"))


def told(rows, *aside):
    notes = Notes()
    note_skipped(rows, aside, notes)
    return notes.told


def test_what_is_left_out_is_said_once_for_each_precision(make_artifact):
    rows = planned(Sweep(batches=(1,)), [make_artifact()], (ORT, TORCH))
    pairs = (("fp16", "torch-cpu"), ("fp16", "ort-cpu"), ("int8", "ort-cpu"))
    (text,) = told(rows, *((model, *pair) for model in ("cnn", "other") for pair in pairs))
    assert "fp16 on torch-cpu, ort-cpu; int8 on ort-cpu:" in text
    assert "--precision" in text


def test_of_a_backend_without_any_rows_nothing_is_said_to_be_left_out(make_artifact):
    rows = planned(Sweep(batches=(1,)), [make_artifact()], (ORT,))
    assert told(rows, ("cnn", "fp16", "ort-cuda")) == told(rows) == []
    assert "fp16 on ort-cpu:" in told(rows, ("cnn", "fp16", "ort-cuda"), ("cnn", "fp16", "ort-cpu"))[0]


@pytest.mark.parametrize(
    ("precision", "computed_only", "taken"),
    [("fp32", True, True), ("fp16", True, False), ("fp16", False, True), ("bf16", True, False), ("bf16", False, False)],
)
def test_a_backend_takes_by_itself_what_it_computes_in(precision, computed_only, taken):
    assert is_default(HALF, precision, Defaults(shapes={}, threads=2, computed_only=computed_only)) is taken


def test_what_was_made_from_a_file_is_compared_with_that_file(three_files):
    rows = planned(Sweep(batches=(1,), precisions=("fp32", "fp16", "int8")), three_files)
    assert [row.origin for row in rows] == [None, three_files[0], three_files[0]]
    assert {row.reference.sha256 for row in rows} == {"ab" * 32}
    assert [row.artifact for row in rows] == three_files


def test_a_cell_has_the_hash_of_what_was_exported_and_the_scheme_of_int8(three_files):
    rows = planned(Sweep(batches=(1,), precisions=("fp32", "fp16", "int8")), three_files)
    assert [(row.cell.sha256, row.cell.scheme) for row in rows] == [("ab" * 32, ""), ("ab" * 32, ""), ("ab" * 32, "portable")]
    assert len({row.key for row in rows}) == 3


def test_a_file_from_elsewhere_is_its_own_original(make_artifact):
    (row,) = planned(Sweep(batches=(1,)), [make_artifact(precision="int8", sha256="cd" * 32)])
    assert (row.cell.sha256, row.cell.scheme) == ("cd" * 32, "")
    assert row.listed_by_0_1 == row.cell


def test_version_0_1_listed_a_cell_with_the_hash_of_its_file(three_files):
    (row,) = planned(Sweep(batches=(1,), precisions=("int8",)), three_files)
    assert row.listed_by_0_1 == replace(row.cell, sha256="ef" * 32, scheme="")


def test_another_precision_of_the_same_file_is_compared_with_that_file(three_files):
    (row,) = planned(Sweep(batches=(1,), precisions=("bf16",)), three_files)
    assert (row.origin, row.reference) == (None, three_files[0])


def test_a_file_whose_origin_is_not_here_is_compared_with_itself(three_files, make_artifact):
    half = three_files[1]
    for artifacts in ([half], [make_artifact(sha256="00" * 32), half]):
        (row,) = planned(Sweep(batches=(1,), precisions=("fp16",)), artifacts)
        assert (row.origin, row.reference) == (None, half)


TEXT = (
    TensorSpec(name="ids", dtype="int64", shape=("batch", "seq")),
    TensorSpec(name="mask", dtype="int64", shape=("batch", "seq")),
    TensorSpec(name="image", dtype="float32", shape=("batch", None, 4)),
)
DIMS = (("seq", (128, 16)), ("image.1", (3,)))


def test_every_size_of_a_dimension_meets_every_batch_and_ties_hold(make_artifact):
    rows = planned(Sweep(batches=(1, 4), dims=DIMS), [make_artifact(inputs=TEXT)])
    assert [(row.cell.dims, row.cell.batch) for row in rows] == [
        ((("image.1", 3), ("seq", size)), batch) for size in (128, 16) for batch in (1, 4)
    ]
    assert dict(rows[1].cell.shapes) == {"ids": (4, 128), "mask": (4, 128), "image": (4, 3, 4)}
    assert len({row.cell.key for row in rows}) == 4


def test_a_cell_without_dimensions_keeps_its_key(make_cell):
    assert make_cell().key == make_cell(dims=()).key != make_cell(dims=(("seq", 16),)).key


def test_a_length_that_stands_first_is_swept_and_no_batch(make_artifact):
    inputs = (TensorSpec(name="x", dtype="float32", shape=(None, 1, 4)),)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(None, 1, 2)),)
    rows = planned(Sweep(dims=(("x.0", (10, 20)),)), [make_artifact(inputs=inputs, outputs=outputs)])
    assert [(row.cell.batch, row.cell.shapes) for row in rows] == [(1, (("x", (size, 1, 4)),)) for size in (10, 20)]


@pytest.mark.parametrize(
    ("dims", "given", "says"),
    [
        ((("batch", (1,)),), {}, "--batch 1"),
        ((("seq", (16, 32)), ("image.1", (3,))), {"ids": ("N", 16)}, "--dim seq=32 contradicts input 'ids'"),
        ((("seq", (16,)),), {}, "'image.1'.*--dim image.1="),
    ],
)
def test_dimensions_that_do_not_fit_are_refused(make_artifact, dims, given, says):
    with pytest.raises(BadInput, match=says):
        planned(Sweep(batches=(1,), dims=dims), [make_artifact(inputs=TEXT)], given=given)


def test_sizes_that_agree_with_a_given_shape_are_taken(make_artifact):
    dims, given = (("seq", (16,)), ("image.1", (3,))), {"ids": ("N", 16)}
    rows = planned(Sweep(batches=(2,), dims=dims), [make_artifact(inputs=TEXT)], given=given)
    assert dict(rows[0].cell.shapes)["ids"] == (2, 16)


@pytest.mark.parametrize(
    ("options", "searching"),
    [((), True), ((("search", "all"),), True), ((("search", "none"),), False), ((("graph", "off"),), True)],
)
def test_a_cell_searches_by_its_options(make_artifact, options, searching):
    backend = replace(ORT, options={"graph": "on or off", "search": "all or none"}, searches={"search": ("", "all")})
    (row,) = planned(Sweep(batches=(1,), options=options), [make_artifact()], (backend,))
    assert row.searches == searching


def test_several_schemes_are_rows_of_their_own(make_artifact):
    files = [make_artifact(), *(in_scheme(make_artifact, scheme) for scheme in ("portable", "layers"))]
    rows = planned(Sweep(batches=(1,), schemes=("portable", "layers")), files)
    assert [(row.cell.precision, row.cell.scheme) for row in rows] == [("fp32", ""), ("int8", "portable"), ("int8", "layers")]
    assert len({row.key for row in rows}) == 3
    assert rows[1].cell.id == "cnn/ort-cpu/cpu/int8/b1"
    assert rows[2].cell.id == "cnn/ort-cpu/cpu/int8-layers/b1"


def in_scheme(make_artifact, scheme):
    how = Conversion(scheme=scheme, method="minmax")
    return make_artifact(precision="int8", sha256=scheme, derived=derived("int8", how))


CHOOSING = (replace(ORT, int8_scheme="ort", int8_schemes=("portable", "ort")), replace(TORCH, precisions=("fp32",)))
LAST = replace(ORT, name="openvino-cpu", int8_scheme="openvino", int8_schemes=("portable", "openvino"))


def test_each_backend_chooses_its_best_scheme(make_artifact):
    sweep = Sweep(batches=(1,), schemes=("best",))
    named = schemes_of(sweep, (*CHOOSING, LAST, replace(CUDA, int8_scheme="other")))
    assert named == ("best", "ort", "openvino")
    files = [make_artifact(), in_scheme(make_artifact, "ort"), in_scheme(make_artifact, "openvino")]
    rows = planned(replace(sweep, precisions=("int8",), schemes=named), files, (CHOOSING[0], LAST))
    assert [(row.cell.backend, row.cell.scheme) for row in rows] == [("ort-cpu", "ort"), ("openvino-cpu", "openvino")]


def test_schemes_that_the_user_names_are_kept():
    assert schemes_of(Sweep(schemes=("layers",)), CHOOSING) == ("layers",)
    assert schemes_of(Sweep(), CHOOSING) == ()


def test_a_scheme_that_a_named_backend_does_not_take_is_refused(make_artifact):
    files = [make_artifact(), in_scheme(make_artifact, "dynamic")]
    with pytest.raises(BadInput, match=r"ort-cpu .*dynamic.*portable, ort"):
        planned(Sweep(backends=("ort-cpu",), schemes=("dynamic",)), files, CHOOSING)
    assert planned(Sweep(schemes=("dynamic",)), files, CHOOSING)
    assert planned(Sweep(backends=("torch-cpu",), schemes=("dynamic",)), files, CHOOSING)


def test_files_of_a_lowered_file_have_the_hash_of_the_first_file(make_artifact):
    def made(precision, sha256, origin, recipe):
        return make_artifact(precision=precision, sha256=sha256, derived=replace(derived("fp16"), recipe=recipe, origin=origin))

    base, half = made("fp32", "17" * 32, "20" * 32, "opset"), made("fp16", "16" * 32, "17" * 32, "fp16")
    rows = planned(Sweep(batches=(1,)), [base, half])
    assert [(row.cell.sha256, row.reference) for row in rows] == [("20" * 32, base)] * 2
    own = made("fp32", "99" * 32, "99" * 32, "opset")
    assert planned(Sweep(batches=(1,)), [own])[0].cell.sha256 == "99" * 32


def test_a_row_has_the_opset_that_its_backend_takes(make_artifact):
    rows = planned(Sweep(batches=(1,)), [make_artifact()], (replace(ORT, opset=17), TORCH))
    assert [row.opset for row in rows] == [17, 0]
