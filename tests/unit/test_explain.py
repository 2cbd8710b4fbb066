import json
import re

import pytest
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.explain import explain
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
    """What is said of the speed of a check with an INT8 row of these kernels, beside an FP32 row where `base` has some."""

    def said(*kernels, base=(), **head):
        cells = {make_cell(precision="int8"): kernels, make_cell(): base}
        folder = run_folder(*cells, kind="check", **{**WITH, **head})
        for cell, told in cells.items():
            folder.opened(cell)
            if told:
                folder.inspected(cell, *told)
        return explain(read_run(folder.path))["speed"]

    return said


@pytest.fixture
def accuracy(run_folder, make_cell):
    """What is said of the accuracy of a check where the nodes of the INT8 file were tried, and this was found."""

    def said(**found):
        cell = make_cell(precision="int8")
        folder = run_folder(cell, kind="check")
        folder.add("explained", cell, **found)
        return explain(read_run(folder.path))["accuracy"]

    return said


def test_the_time_of_an_int8_row_is_shared_out_and_held_against_fp32(speed):
    kernels = [
        *("QuantizeLinear 20000", "int8 QLinearConv 400000", "int8 QGemm 150000", "int8 QLinearAdd 50000"),
        *("fp32 Softmax 10000", "fp32 Relu 60000", "fp32 Relu 30000"),
        *("fp32 Conv 150000", "DequantizeLinear 30000", "ReorderInput 100000"),
    ]
    assert speed(*kernels, base=FLOAT) == [
        "cnn/ort-cpu/cpu/int8/b1: kernels take 1 ms, in fp32 2.5 ms (2.5 x); 55% in INT8 layers, 5% in int8 QLinearAdd, 15% in"
        " layers left in float (/Conv_7), 10% in fp32 Relu x2, fp32 Softmax between them, 5% in Q/DQ pairs that were not fused"
        " (QuantizeLinear, DequantizeLinear), 10% in ReorderInput, which moves or converts data"
    ]


@pytest.mark.parametrize(
    ("kernels", "text"),
    [
        (["int8 QGemm 100"], "100% in INT8 layers"),
        (["int8 QGemm 300", "fp32 Relu 100"], "75% in INT8 layers, 25% in fp32 Relu between them"),
        (["fp32 Conv 50", "fp32 Gemm 50"], "100% in layers left in float (/Conv_0, /Gemm_1)"),
        (["int8 QGemm 30", "FakeQuantize 30"], "50% in INT8 layers, 50% in Q/DQ pairs that were not fused (FakeQuantize)"),
        (["int8 QGemm 75", "Transpose 25"], "75% in INT8 layers, 25% in Transpose, which moves or converts data"),
        (["int8 QGemm 75", "Transpose 25", "fp32 Relu"], "75% in INT8 layers, 25% in Transpose, which moves or converts data"),
    ],
)
def test_what_takes_no_part_of_the_time_is_not_said(speed, kernels, text):
    (line,) = speed(*kernels)
    assert line.partition("; ")[2] == text


@pytest.mark.parametrize(("count", "end"), [(8, "/Conv_6, /Conv_7)"), (9, "/Conv_6, /Conv_7, ...)")])
def test_of_many_layers_left_in_float_the_first_are_named(speed, count, end):
    (line,) = speed(*["fp32 Conv 10"] * count)
    assert line.endswith(f"in float (/Conv_0, /Conv_1, /Conv_2, /Conv_3, /Conv_4, /Conv_5, {end}")


@pytest.mark.parametrize("base", [(), ("fp32 Conv", "fp32 Relu")])
def test_without_times_of_the_fp32_row_nothing_is_held_against_it(speed, base):
    (line,) = speed("int8 QGemm 2500000", base=base)
    assert line == "cnn/ort-cpu/cpu/int8/b1: kernels take 2.5 ms; 100% in INT8 layers"


def test_int8_is_held_against_fp32_of_the_same_runtime_and_batch(run_folder, make_cell):
    int8 = make_cell(precision="int8", batch=8)
    others = [make_cell(batch=8, backend="openvino-cpu"), make_cell(batch=1), make_cell(batch=8, model="other")]
    folder = run_folder(*others, int8, make_cell(batch=8), kind="check", **WITH)
    folder.inspected(int8, "int8 QGemm 1000000")
    for cell in others:
        folder.inspected(cell, "fp32 Gemm 9000000")
    folder.inspected(make_cell(batch=8), "fp32 Gemm 3000000")
    (line,) = explain(read_run(folder.path))["speed"]
    assert "kernels take 1 ms, in fp32 3 ms (3.0 x)" in line


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
    assert len(speed("int8 QGemm 100", host={"isa": ["avx2", unit]})) == 1


@pytest.mark.parametrize("isa", [[], ["avx2", "avx512f", "avx512_bf16", "sve"]])
def test_a_cpu_without_integer_units_is_said_once(run_folder, make_cell, isa):
    cells = [make_cell(precision="int8", batch=batch) for batch in (1, 8)]
    folder = run_folder(*cells, kind="check", host={"isa": isa})
    for cell in cells:
        folder.inspected(cell, "int8 QGemm 100")
    *_, last = lines = explain(read_run(folder.path))["speed"]
    assert len(lines) == 3
    assert last.startswith("this CPU has none of avx512_vnni, avx_vnni, amx_int8, asimddp, i8mm: 8 bits")


def test_a_cpu_that_is_not_known_is_not_blamed(speed):
    assert len(speed("int8 QGemm 100", host={"cpu": "Test CPU"})) == 1


def test_a_check_without_int8_rows_says_nothing_of_the_cpu(run_folder, make_cell):
    folder = run_folder(make_cell(precision="int8"), kind="check", **WITHOUT)
    assert explain(read_run(folder.path)) == {"speed": [], "accuracy": []}


def test_a_row_that_ran_elsewhere_says_nothing_of_the_cpu(run_folder, make_cell):
    cells = [make_cell(precision="int8", device="cuda:0"), make_cell(device="cpu")]
    folder = run_folder(*cells, kind="check", **WITHOUT)
    for cell in cells:
        folder.inspected(cell, "int8 QGemm 100")
    assert [line.partition(":")[0] for line in explain(read_run(folder.path))["speed"]] == ["cnn/ort-cpu/cuda"]


def test_time_in_8_bits_outside_of_layers_is_in_a_share_of_its_own(speed):
    (line,) = speed("int8 QLinearConv 50", "int8 QLinearAdd 50")
    assert line.endswith("; 50% in INT8 layers, 50% in int8 QLinearAdd")


SORTS = ("int8 QGemm", "int8 QLinearAdd", "fp32 Conv", "fp32 Relu", "tf32 Gemm", "QuantizeLinear", "FakeQuantize", "Cast")


@pytest.mark.parametrize("times", [[100] * 8, range(50, 450, 50), range(400, 0, -50)], ids=["same", "rising", "falling"])
def test_all_time_is_in_one_share(speed, times):
    (line,) = speed(*(f"{sort} {ns}" for sort, ns in zip(SORTS, times)))
    shares = [int(share) for share in re.findall(r"(\d+)% in", line)]
    assert len(shares) == 6
    assert sum(shares) == pytest.approx(100, abs=3)


def test_a_node_may_be_called_anything(run_folder, make_cell, make_kernels):
    cell = make_cell(precision="int8")
    folder = run_folder(cell, kind="check", **WITH)
    (kernel,) = make_kernels("fp32 Conv 100")
    folder.add("inspected", cell, kernels=[{**kernel, "node": "block{i}"}])
    (line,) = explain(read_run(folder.path))["speed"]
    assert "(block{i})" in line


@pytest.mark.parametrize(
    ("kernel", "scheme", "said"),
    [
        ("fp32 Conv 100", "portable", True),
        ("int8 QLinearConv 100", "portable", False),
        ("fp32 Conv 100", "ort", False),
        ("fp32 Conv 100", "", False),
    ],
    ids=["in float", "in 8 bits", "that scheme already", "a file from elsewhere"],
)
def test_another_scheme_is_named_where_quantized_layers_ran_in_float(run_folder, make_cell, kernel, scheme, said):
    cell = make_cell(precision="int8", scheme=scheme)
    folder = run_folder(cell, kind="check", **WITH)
    folder.opened(cell, int8_scheme="ort", layers={"quantized": 1, "float": 0})
    folder.inspected(cell, kernel)
    lines = [line for line in explain(read_run(folder.path))["speed"] if "--int8 ort" in line]
    assert bool(lines) is said
    assert all("1 of 1 quantized layers ran in fp32" in line for line in lines)


def test_the_nodes_are_said_with_the_worst_first_and_what_to_exclude_with_its_proof(accuracy):
    assert accuracy(**FOUND) == [
        "cnn: all in INT8 18.0 dB; each node alone in INT8, worst first, dB: /Gemm_3 21.5, /Conv_0 42.1",
        "cnn: --exclude /Gemm_3: SQNR 18.2 -> 33.7 dB, agreement 91.0 -> 99.4 % on 360 test images of digits",
    ]


def test_several_nodes_are_excluded_as_the_option_takes_them(accuracy):
    assert "--exclude /Gemm_3,/Conv_0:" in accuracy(**{**FOUND, "exclude": ["/Gemm_3", "/Conv_0"]})[1]


def test_answers_without_a_largest_value_have_no_agreement(accuracy):
    bare = {when: {**PROOF[when], "agreement": None} for when in ("before", "after")}
    assert accuracy(**{**FOUND, "proof": {**PROOF, **bare}})[1].endswith("SQNR 18.2 -> 33.7 dB on 360 test images of digits")


def test_of_many_nodes_the_worst_eight_are_said(accuracy):
    line = accuracy(**{**FOUND, "nodes": NODES})[0]
    assert line.endswith("/Conv_6 16.0, /Conv_7 17.0")


def test_where_no_node_costs_anything_that_is_said(accuracy):
    found = accuracy(**{**FOUND, "nodes": [], "exclude": [], "proof": None})
    assert found[0] == "cnn: all in INT8 18.0 dB; each node alone in INT8, worst first, dB: none costs anything"


def test_where_no_node_stands_out_there_is_nothing_to_exclude(accuracy):
    found = accuracy(**{**FOUND, "exclude": [], "proof": None})
    assert found[1:] == ["cnn: no node stands out, so there is nothing to exclude"]


def test_why_the_nodes_could_not_be_tried_is_said_instead(accuracy):
    assert accuracy(why_not="this INT8 file was not made by bench export") == [
        "cnn: this INT8 file was not made by bench export"
    ]


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
    assert nodes.startswith("cnn: all in INT8")
    assert proof.startswith("cnn: --exclude /Gemm_3")


def test_programs_find_the_explanation_in_the_head(explained):
    built = table.build([read_run(explained.path)])
    head = json.loads(render(built, "json"))
    assert {about: len(lines) for about, lines in head["explain"].items()} == {"speed": 1, "accuracy": 2}
    assert (*head["explain"]["speed"], *head["explain"]["accuracy"]) == built.remarks[1:]


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
