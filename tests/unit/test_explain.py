import json

import pytest
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.explain import explain, in_lines
from onnxbench.results.table.findings import Finding
from onnxbench.results.table.render import render

WITH = {"host": {"cpu": "Test CPU", "isa": ["avx2", "avx512f", "avx512_vnni"]}}
WITHOUT = {"host": {"cpu": "Test CPU", "isa": ["avx2", "avx512f"]}}
FLOAT = ("fp32 Conv 1500000", "fp32 Relu 500000", "fp32 Gemm 500000")
NODES = [[f"/Conv_{number}", 10.0 + number] for number in range(10)]
PROOF = {
    "before": {"sqnr_db": 18.24, "agreement": 91.02},
    "after": {"sqnr_db": 33.67, "agreement": 99.41},
    "data": "test images of digits",
    "items": 360,
}
FOUND = {"sqnr_db": 18.04, "nodes": [["/Gemm_3", 21.5], ["/Conv_0", 42.06]], "exclude": ["/Gemm_3"], "proof": PROOF}


@pytest.fixture
def speed(run_folder, make_cell):
    """Findings on the speed of a check with an INT8 row of these kernels, beside an FP32 row where `base` has some."""

    def findings(*kernels, base=(), **head):
        cells = {make_cell(precision="int8"): kernels, make_cell(): base}
        folder = run_folder(*cells, kind="check", **{**WITH, **head})
        for cell, own in cells.items():
            folder.opened(cell)
            if own:
                folder.inspected(cell, *own)
        return explain(read_run(folder.path))["speed"]

    return findings


@pytest.fixture
def accuracy(run_folder, make_cell):
    """Findings on the accuracy of a check in which the nodes of the INT8 file were tried with this result."""

    def findings(**result):
        cell = make_cell(precision="int8")
        folder = run_folder(cell, kind="check")
        folder.add("explained", cell, **result)
        return explain(read_run(folder.path))["accuracy"]

    return findings


def kinds(findings):
    return [finding.kind for finding in findings]


def values(findings):
    """Values of the findings by kind, of which each is there once."""
    assert len(set(kinds(findings))) == len(findings)
    return {finding.kind: dict(finding.values) for finding in findings}


def shares(findings):
    """Share of the time by kind, in per cent."""
    return {kind: round(100 * own["share"]) for kind, own in values(findings).items() if "share" in own}


def test_the_time_of_an_int8_row_is_shared_out_and_compared_with_fp32(speed):
    kernels = [
        *("QuantizeLinear 20000", "int8 QLinearConv 400000", "int8 QGemm 150000", "int8 QLinearAdd 50000"),
        *("fp32 Softmax 10000", "fp32 Relu 60000", "fp32 Relu 30000"),
        *("fp32 Conv 150000", "DequantizeLinear 30000", "ReorderInput 100000"),
    ]
    findings = speed(*kernels, base=FLOAT)
    assert {finding.rows for finding in findings} == {("cnn/ort-cpu/cpu/int8/b1",)}
    assert values(findings) == {
        "int8_time": {"kernels_ms": 1.0, "fp32_ms": 2.5, "speedup": 2.5},
        "int8_layers": {"share": 0.55},
        "int8_other": {"share": 0.05, "kernels": "int8 QLinearAdd"},
        "int8_float_layers": {"share": 0.15, "nodes": "/Conv_7"},
        "int8_float_between": {"share": 0.1, "kernels": "fp32 Relu x2, fp32 Softmax"},
        "int8_unfused": {"share": 0.05, "kernels": "QuantizeLinear, DequantizeLinear"},
        "int8_moving": {"share": 0.1, "kernels": "ReorderInput"},
    }


def test_the_time_of_a_row_is_one_line(speed):
    findings = speed("int8 QGemm 300", "fp32 Relu 100")
    (line,) = in_lines(findings)
    assert line == f"cnn/ort-cpu/cpu/int8/b1: {'; '.join(finding.sentence for finding in findings)}"


@pytest.mark.parametrize(
    ("kernels", "parts"),
    [
        (["int8 QGemm 100"], {"int8_layers": 100}),
        (["int8 QGemm 300", "fp32 Relu 100"], {"int8_layers": 75, "int8_float_between": 25}),
        (["fp32 Conv 50", "fp32 Gemm 50"], {"int8_float_layers": 100}),
        (["int8 QGemm 30", "FakeQuantize 30"], {"int8_layers": 50, "int8_unfused": 50}),
        (["int8 QGemm 75", "Transpose 25"], {"int8_layers": 75, "int8_moving": 25}),
        (["int8 QGemm 75", "Transpose 25", "fp32 Relu"], {"int8_layers": 75, "int8_moving": 25}),
        (["int8 QLinearConv 50", "int8 QLinearAdd 50"], {"int8_layers": 50, "int8_other": 50}),
    ],
)
def test_a_part_without_kernels_has_no_finding(speed, kernels, parts):
    assert shares(speed(*kernels)) == parts


@pytest.mark.parametrize(("count", "end"), [(8, "/Conv_6, /Conv_7"), (9, "/Conv_6, /Conv_7, ...")])
def test_of_many_layers_in_float_the_first_are_named(speed, count, end):
    nodes = values(speed(*["fp32 Conv 10"] * count))["int8_float_layers"]["nodes"]
    assert nodes == f"/Conv_0, /Conv_1, /Conv_2, /Conv_3, /Conv_4, /Conv_5, {end}"


@pytest.mark.parametrize("base", [(), ("fp32 Conv", "fp32 Relu")])
def test_without_times_of_the_fp32_row_the_time_stands_alone(speed, base):
    assert values(speed("int8 QGemm 2500000", base=base)) == {
        "int8_time_alone": {"kernels_ms": 2.5},
        "int8_layers": {"share": 1.0},
    }


def test_int8_is_compared_with_fp32_of_the_same_runtime_and_batch(run_folder, make_cell):
    int8 = make_cell(precision="int8", batch=8)
    others = [make_cell(batch=8, backend="openvino-cpu"), make_cell(batch=1), make_cell(batch=8, model="other")]
    folder = run_folder(*others, int8, make_cell(batch=8), kind="check", **WITH)
    folder.inspected(int8, "int8 QGemm 1000000")
    for cell in others:
        folder.inspected(cell, "fp32 Gemm 9000000")
    folder.inspected(make_cell(batch=8), "fp32 Gemm 3000000")
    time = values(explain(read_run(folder.path))["speed"])["int8_time"]
    assert time == {"kernels_ms": 1.0, "fp32_ms": 3.0, "speedup": 3.0}


@pytest.mark.parametrize("head", [WITH, WITHOUT])
@pytest.mark.parametrize("kernels", [["int8 QLinearConv", "fp32 Relu"], ["int8 QLinearConv 0"]])
def test_kernels_that_were_not_timed_say_nothing_of_speed(speed, kernels, head):
    assert speed(*kernels, **head) == []


def test_rows_in_other_precisions_are_not_explained(run_folder, make_cell):
    folder = run_folder(make_cell(), make_cell(precision="fp16"), kind="check", **WITHOUT)
    for cell in (make_cell(), make_cell(precision="fp16")):
        folder.inspected(cell, "fp32 Conv 1000")
    assert explain(read_run(folder.path)) == {"speed": [], "accuracy": []}


@pytest.mark.parametrize("unit", ["avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"])
def test_a_cpu_that_multiplies_8_bits_is_no_reason(speed, unit):
    assert "no_integer_units" not in kinds(speed("int8 QGemm 100", host={"isa": ["avx2", unit]}))


@pytest.mark.parametrize("isa", [[], ["avx2", "avx512f", "avx512_bf16", "sve"]])
def test_a_cpu_without_integer_units_is_named_once(run_folder, make_cell, isa):
    cells = [make_cell(precision="int8", batch=batch) for batch in (1, 8)]
    folder = run_folder(*cells, kind="check", host={"isa": isa})
    for cell in cells:
        folder.inspected(cell, "int8 QGemm 100")
    findings = explain(read_run(folder.path))["speed"]
    assert kinds(findings).count("no_integer_units") == 1
    assert findings[-1] == Finding.of("no_integer_units", units="avx512_vnni, avx_vnni, amx_int8, asimddp, i8mm")


def test_a_cpu_that_is_not_known_is_not_blamed(speed):
    assert "no_integer_units" not in kinds(speed("int8 QGemm 100", host={"cpu": "Test CPU"}))


def test_a_check_without_int8_rows_has_no_finding_on_the_cpu(run_folder, make_cell):
    folder = run_folder(make_cell(precision="int8"), kind="check", **WITHOUT)
    assert explain(read_run(folder.path)) == {"speed": [], "accuracy": []}


def test_a_row_that_ran_elsewhere_has_no_finding_on_the_cpu(run_folder, make_cell):
    cells = [make_cell(precision="int8", device="cuda:0"), make_cell(device="cpu")]
    folder = run_folder(*cells, kind="check", **WITHOUT)
    for cell in cells:
        folder.inspected(cell, "int8 QGemm 100")
    assert {finding.rows for finding in explain(read_run(folder.path))["speed"]} == {(cells[0].id,)}


SORTS = ("int8 QGemm", "int8 QLinearAdd", "fp32 Conv", "fp32 Relu", "tf32 Gemm", "QuantizeLinear", "FakeQuantize", "Cast")


@pytest.mark.parametrize("times", [[100] * 8, range(50, 450, 50), range(400, 0, -50)], ids=["same", "rising", "falling"])
def test_all_time_is_in_one_share(speed, times):
    parts = [
        own["share"] for own in values(speed(*(f"{sort} {ns}" for sort, ns in zip(SORTS, times)))).values() if "share" in own
    ]
    assert len(parts) == 6
    assert sum(parts) == pytest.approx(1)


def test_a_node_may_be_called_anything(run_folder, make_cell, make_kernels):
    cell = make_cell(precision="int8")
    folder = run_folder(cell, kind="check", **WITH)
    (kernel,) = make_kernels("fp32 Conv 100")
    folder.add("inspected", cell, kernels=[{**kernel, "node": "block{i}"}])
    (line,) = in_lines(explain(read_run(folder.path))["speed"])
    assert "(block{i})" in line


@pytest.mark.parametrize(
    ("kernel", "scheme", "named"),
    [
        ("fp32 Conv 100", "portable", True),
        ("int8 QLinearConv 100", "portable", False),
        ("fp32 Conv 100", "ort", False),
        ("fp32 Conv 100", "", False),
    ],
    ids=["in float", "in 8 bits", "that scheme already", "a file from elsewhere"],
)
def test_another_scheme_is_named_where_quantized_layers_ran_in_float(run_folder, make_cell, kernel, scheme, named):
    cell = make_cell(precision="int8", scheme=scheme)
    folder = run_folder(cell, kind="check", **WITH)
    folder.opened(cell, int8_scheme="ort", layers={"quantized": 1, "float": 0})
    folder.inspected(cell, kernel)
    other = values(explain(read_run(folder.path))["speed"]).get("int8_other_scheme")
    assert other == ({"count": 1, "of": "1 quantized layers", "ran": "fp32", "scheme": "ort"} if named else None)


def test_the_nodes_are_sorted_with_the_worst_first_and_what_to_exclude_has_its_proof(accuracy):
    findings = accuracy(**FOUND)
    assert {finding.rows for finding in findings} == {("cnn",)}
    assert [(finding.kind, dict(finding.values)) for finding in findings] == [
        ("int8_sqnr", {"sqnr_db": 18.04}),
        ("int8_node_sqnr", {"node": "/Gemm_3", "sqnr_db": 21.5}),
        ("int8_node_sqnr", {"node": "/Conv_0", "sqnr_db": 42.06}),
        (
            "int8_exclude_agreement",
            {
                "nodes": "/Gemm_3",
                "sqnr_before_db": 18.24,
                "sqnr_after_db": 33.67,
                "items": 360,
                "data": "test images of digits",
                "agreement_before": 91.02,
                "agreement_after": 99.41,
            },
        ),
    ]
    assert len(in_lines(findings)) == 2


def test_several_nodes_are_excluded_as_the_option_takes_them(accuracy):
    exclusion = accuracy(**{**FOUND, "exclude": ["/Gemm_3", "/Conv_0"]})[-1]
    assert dict(exclusion.values)["nodes"] == "/Gemm_3,/Conv_0"
    assert "--exclude /Gemm_3,/Conv_0" in exclusion.sentence


def test_answers_without_a_largest_value_have_no_agreement(accuracy):
    bare = {when: {**PROOF[when], "agreement": None} for when in ("before", "after")}
    exclusion = accuracy(**{**FOUND, "proof": {**PROOF, **bare}})[-1]
    assert (exclusion.kind, dict(exclusion.values)["sqnr_after_db"]) == ("int8_exclude", 33.67)


def test_of_many_nodes_the_worst_eight_are_named(accuracy):
    nodes = [
        dict(finding.values)["node"] for finding in accuracy(**{**FOUND, "nodes": NODES}) if finding.kind == "int8_node_sqnr"
    ]
    assert nodes == [name for name, _ in NODES[:8]]


def test_where_no_node_costs_anything_there_is_nothing_to_exclude(accuracy):
    assert kinds(accuracy(**{**FOUND, "nodes": [], "exclude": [], "proof": None})) == [
        "int8_sqnr",
        "int8_no_cost",
        "int8_no_outlier",
    ]


def test_where_no_node_stands_out_there_is_nothing_to_exclude(accuracy):
    assert kinds(accuracy(**{**FOUND, "exclude": [], "proof": None}))[-1] == "int8_no_outlier"


def test_a_proof_with_labels_and_a_command_to_type_stand_at_the_end(accuracy):
    proof = {**PROOF, "top1_before": 55.5, "top1_after": 97.2, "top1_fp32": 97.8}
    findings = accuracy(**{**FOUND, "after_db": 40.0, "data": "digits", "proof": proof, "command": "bench export --exclude x"})
    assert kinds(findings)[-2:] == ["int8_top1", "int8_command"]
    assert findings[-1].sentence.endswith("bench export --exclude x")
    assert dict(findings[-1].values)["sqnr_after_db"] == 40.0


def test_a_gain_that_other_data_does_not_confirm_is_no_proposal(accuracy):
    assert kinds(accuracy(**{**FOUND, "exclude": [], "tried": [[1, 30.0]]}))[-1] == "int8_not_proven"


def test_where_nothing_helps_the_numbers_of_nodes_that_were_tried_are_there(accuracy):
    finding = accuracy(**{**FOUND, "exclude": [], "proof": None, "tried": [[1, 19.0], [2, 20.5], [4, 20.1]]})[-1]
    assert (finding.kind, dict(finding.values)["tried"]) == ("int8_no_gain", "1, 2, 4")
    assert dict(finding.values)["sqnr_after_db"] == 20.5


def test_where_nothing_helps_a_bad_file_the_search_is_the_command_at_the_end(accuracy):
    found = accuracy(**{**FOUND, "exclude": [], "proof": None, "tried": [[1, 19.0]], "command": "bench export --min sqnr=20"})
    assert (found[-1].kind, found[-1].sentence.endswith("bench export --min sqnr=20")) == ("int8_search", True)


def test_several_outputs_have_their_own_figures_the_worst_first(accuracy):
    rest = {"node": "n", "node_db": 9.5, "after_db": 40.0}
    costs = [{"output": name, "sqnr_db": value, **rest} for name, value in (("a", 9.0), ("b", 2.0))]
    found = accuracy(**FOUND, outputs=costs)
    outputs = [dict(item.values)["output"] for item in found if item.kind == "int8_output"]
    assert outputs == ["b", "a"]


def test_the_reason_why_the_nodes_were_not_tried_stands_instead(accuracy):
    (finding,) = accuracy(why_not="this INT8 file was not made by bench export")
    assert (finding.kind, finding.sentence) == ("int8_not_explained", "this INT8 file was not made by bench export")


@pytest.fixture
def explained(run_folder, make_cell):
    """A check with an explanation of its only row, an INT8 one."""
    cell = make_cell(precision="int8")
    folder = run_folder(cell, kind="check", **WITH)
    folder.opened(cell, conversion="portable, minmax over 300 of digits")
    folder.verified(cell)
    folder.inspected(cell, "int8 QGemm 100")
    folder.add("explained", cell, **FOUND)
    return folder


def test_the_explanation_stands_below_the_table_after_how_the_file_was_made(explained):
    built = table.build([read_run(explained.path)])
    how, speed, nodes, proof = built.remarks
    assert how == "cnn int8: portable, minmax over 300 of digits"
    assert speed.startswith("cnn/ort-cpu/cpu/int8/b1: kernels take")
    assert "/Gemm_3" in nodes
    assert proof.startswith("cnn: --exclude /Gemm_3")


def test_programs_find_the_explanation_in_the_head(explained):
    built = table.build([read_run(explained.path)])
    head = json.loads(render(built, "json"))
    assert {about: len(lines) for about, lines in head["explain"].items()} == {"speed": 1, "accuracy": 2}
    assert (*head["explain"]["speed"], *head["explain"]["accuracy"]) == built.remarks[1:]
    found = [finding["kind"] for finding in head["findings"] if finding["kind"].startswith("int8")]
    assert found == [
        "int8_time_alone",
        "int8_layers",
        "int8_sqnr",
        "int8_node_sqnr",
        "int8_node_sqnr",
        "int8_exclude_agreement",
    ]


def test_the_explanations_of_several_checks_stand_together(explained, run_folder, make_cell):
    cell = make_cell(precision="int8", model="other")
    other = run_folder(cell, name="other", kind="check", **WITH)
    other.inspected(cell, "int8 QGemm 100")
    built = table.build([read_run(explained.path), read_run(other.path)])
    assert [line.partition("/")[0] for line in built.head["explain"]["speed"]] == ["cnn", "other"]


def test_a_run_that_measured_time_is_not_explained(run_folder, make_cell):
    cell = make_cell(precision="int8")
    folder = run_folder(cell, **WITHOUT)
    folder.inspected(cell, "int8 QGemm 100")
    folder.measured(cell, 10**6)
    built = table.build([read_run(folder.path)])
    assert "explain" not in built.head
    assert built.remarks == ()


@pytest.mark.parametrize(("nodes", "name"), [((), "t_nchwc"), (("conv", "relu"), "conv"), (("a", "t_nchwc"), "t_nchwc")])
def test_a_float_layer_has_the_name_of_its_node(run_folder, make_cell, nodes, name):
    """The name that --exclude takes, where the kernel was mapped to the file."""
    cell = make_cell(precision="int8")
    folder = run_folder(cell, kind="check")
    kernel = {"node": "t_nchwc", "operator": "Conv", "type": "fp32", "layer": True, "ns": 100, "nodes": nodes}
    folder.add("inspected", cell, kernels=[kernel])
    assert values(explain(read_run(folder.path))["speed"])["int8_float_layers"]["nodes"] == name
