"""Named dimensions as an axis: a transformer over lengths and batches in one run."""

import json

import numpy as np
import onnx
import onnxfiles
import pytest
from onnx import TensorProto as Type
from onnx import helper

LENGTHS, BATCHES, POSITIONS, WIDTH = (8, 16, 64), (1, 4), 64, 16
RUNTIMES = ("--backend", "ort-cpu,openvino-cpu")
value, node = onnxfiles.value, helper.make_node


def layer(number, name, tensors, generator):
    """One layer of self-attention and a residual; the output's name."""
    for part in "qkvo":
        tensors.append(
            onnx.numpy_helper.from_array(generator.standard_normal((WIDTH, WIDTH), np.float32) / 4, f"{part}{number}")
        )
    made = [node("MatMul", [name, f"{part}{number}"], [f"{part}{number}_"]) for part in "qkv"]
    made += [
        node("Transpose", [f"k{number}_"], [f"kt{number}"], perm=[0, 2, 1]),
        node("MatMul", [f"q{number}_", f"kt{number}"], [f"s{number}"]),
        node("Add", [f"s{number}", "hidden"], [f"m{number}"]),
        node("Softmax", [f"m{number}"], [f"p{number}"], axis=-1),
        node("MatMul", [f"p{number}", f"v{number}_"], [f"c{number}"]),
        node("MatMul", [f"c{number}", f"o{number}"], [f"r{number}"]),
        node("Add", [f"r{number}", name], [f"h{number}"]),
    ]
    return made, f"h{number}"


def transformer():
    """Two layers over ids and a mask of the same open length, with learned positions up to POSITIONS."""
    generator = np.random.default_rng(0)
    table = generator.standard_normal((50, WIDTH), np.float32)
    positions = generator.standard_normal((1, POSITIONS, WIDTH), np.float32)
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in (("table", table), ("positions", positions))]
    tensors += [onnx.numpy_helper.from_array(np.array(numbers), name) for name, numbers in (("zero", [0]), ("one", [1]))]
    nodes = [
        node("Gather", ["table", "ids"], ["words"]),
        node("Shape", ["ids"], ["length"], start=1, end=2),
        node("Slice", ["positions", "zero", "length", "one"], ["places"]),
        node("Add", ["words", "places"], ["h"]),
        node("Cast", ["mask"], ["float"], to=Type.FLOAT),
        node("Unsqueeze", ["float", "one"], ["hidden"]),
    ]
    name = "h"
    for number in range(2):
        made, name = layer(number, name, tensors, generator)
        nodes += made
    inputs = [value(each, Type.INT64, ["batch", "seq"]) for each in ("ids", "mask")]
    nodes.append(node("Identity", [name], ["y"]))
    return helper.make_graph(nodes, "g", inputs, [value("y", Type.FLOAT, ["batch", "seq", WIDTH])], tensors)


@pytest.fixture
def path(shell):
    return onnxfiles.write(shell.folder / "text.onnx", transformer())


def listed(numbers):
    return ",".join(map(str, numbers))


def test_three_lengths_by_two_batches_are_one_run(shell, path):
    request = ("--dim", f"seq={listed(LENGTHS)}", "--batch", listed(BATCHES), "--baseline", "ort-cpu", "--out", "run")
    rows = shell.rows("infer", "--model", path, *RUNTIMES, *onnxfiles.MINI, *request)
    wanted = {(name, f"seq={size}", batch) for name in ("ort-cpu", "openvino-cpu") for size in LENGTHS for batch in BATCHES}
    assert {(row["backend"], row["dims"], row["batch"]) for row in rows} == wanted
    assert {row["status"] for row in rows} == {"ok"}
    assert [row["dims"] for row in rows] == [f"seq={size}" for size in LENGTHS for _ in range(4)]
    assert {row["shapes"] for row in rows} >= {"ids=4x64 mask=4x64", "ids=1x8 mask=1x8"}
    questions = {(row["dims"], row["batch"]) for row in rows}
    assert len(questions) == len([row for row in rows if row["backend"] == "ort-cpu"]) == 6
    text = shell.bench("show", "run").stdout
    assert text.count("* ") == 1 + 6  # the mark's meaning, and one fastest row of each question
    compared = shell.rows("compare", "run", "run")
    assert {row["dims"] for row in compared} == {f"seq={size}" for size in LENGTHS}
    advice = json.loads(shell.bench("recommend", "run", "--format", "json").stdout)
    assert [item["model"] for item in advice["models"]] == [f"text seq={size}" for size in LENGTHS]
    assert all(f"seq={size}" in json.dumps(item["pick"]) for size, item in zip(LENGTHS, advice["models"]))
    assert shell.bench("report", "run", "--out", "report.html").returncode == 0


def test_a_check_compares_every_length(shell, path):
    rows = shell.rows("check", "--model", path, *RUNTIMES, "--dim", "seq=4,32", "--batch", "2")
    assert {(row["dims"], row["status"]) for row in rows} == {("seq=4", "ok"), ("seq=32", "ok")}
    assert all(row["sqnr_db"] > 80 for row in rows)


def test_a_dry_run_prints_names_places_and_shapes(shell, path):
    done = shell.bench("infer", "--model", path, *RUNTIMES, "--dim", "seq=4", "--batch", "2", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "seq (ids axis 1, mask axis 1)" in done.stdout
    assert "ids=2x4" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--dim", "sequ=4"), ("'sequ'", "'seq'")),
        (("--dim", "batch=4"), ("--batch 4",)),
        (("--dim", f"seq=8,{POSITIONS + 1}"), (f"seq={POSITIONS + 1}", "inputs were drawn")),
        (("--dim", "seq=8", "--shape", "ids=Nx16"), ("--dim seq=8", "--shape", "'ids'")),
        (("--dim", "seq=8", "--dim", "seq=9"), ("seq", "twice")),
        (("--dim", "seq=eight"), ("seq=16,128",)),
        ((), ("'seq'", "--dim seq=")),
    ],
)
def test_bad_input_ends_in_one_sentence_before_anything_is_measured(shell, path, words, says):
    done = shell.bench("infer", "--model", path, *RUNTIMES, *onnxfiles.MINI, *words, "--out", "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert all(text in done.stderr for text in says), done.stderr


def test_an_array_and_a_size_that_contradict_are_refused(shell, path):
    np.save(shell.folder / "ids.npy", np.ones((2, 16), np.int64))
    done = shell.bench("infer", "--model", path, *RUNTIMES, "--dim", "seq=8", "--input", "ids=ids.npy")
    assert (done.returncode, "'ids'" in done.stderr) == (2, True)


def test_a_named_place_in_a_shape_leaves_the_batch_to_be_swept(shell, path):
    rows = shell.rows("check", "--model", path, "--backend", "ort-cpu", "--shape", "ids=Nx16", "--batch", "1,4")
    assert [(row["batch"], row["shapes"], row["status"]) for row in rows] == [
        (batch, f"ids={batch}x16 mask={batch}x16", "ok") for batch in (1, 4)
    ]
