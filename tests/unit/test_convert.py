import numpy as np
import pytest
from onnxbench.errors import BadInput, Unavailable, Unsupported
from onnxbench.exporters.int8 import guarded
from onnxbench.models.datasets import load as dataset
from onnxbench.models.image_arrays import write
from onnxbench.models.image_files import find
from onnxbench.models.preprocessing import Preprocessing
from onnxbench.runners.worker.convert_jobs import _fingerprint, arrays_of, calibration_of, calibrations, in_calls
from onnxbench.runners.worker.file_jobs import Convert
from onnxbench.runners.worker.jobs import Data, Here
from onnxbench.spec import Conversion, TensorSpec
from PIL import Image

INT8 = Conversion(scheme="portable", method="minmax")


def sized(images):
    return Conversion(scheme="portable", method="minmax", images=images)


def tensor(*shape, name="x", dtype="float32", high=None):
    return TensorSpec(name=name, dtype=dtype, shape=shape, high=high)


def numbers(*shape):
    """Every value another one, so that items can be told apart."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def calibrated(source, calibration=None, name="mine", how=INT8, **changes):
    """What an INT8 file of `source` is calibrated on; `calibration` is a file."""
    given = {"calibration": Here(path=calibration), "calibrated_on": name} if calibration else {}
    data = Data.of(source.dataset)
    return calibration_of(Convert(artifact=source, precision="int8", how=how, data=data, **given, **changes))


def sizes(feeds, name="x"):
    return [len(arrays[name]) for arrays in feeds]


@pytest.fixture
def source(make_artifact):
    return lambda *inputs, **changes: make_artifact(inputs=inputs, **changes)


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


@pytest.mark.parametrize(("items", "calls"), [(1, [1]), (7, [7]), (16, [16]), (20, [10, 10]), (17, [1] * 17), (48, [16] * 3)])
def test_items_are_cut_into_equal_calls_of_at_most_sixteen(source, items, calls):
    found = in_calls({"x": numbers(items, 2)}, source(tensor("N", 2)), "mine")
    assert (sizes(found.feeds), found.items, found.data) == (calls, items, "mine")
    assert np.concatenate([arrays["x"] for arrays in found.feeds]).tolist() == numbers(items, 2).tolist()


def test_a_fixed_batch_is_kept_and_what_does_not_fill_one_is_left_out(source):
    found = in_calls({"x": numbers(10, 2)}, source(tensor(4, 2)), "mine")
    assert np.concatenate([arrays["x"] for arrays in found.feeds]).tolist() == numbers(10, 2)[:8].tolist()
    assert (sizes(found.feeds), found.items) == ([4, 4], 8)


def test_too_few_items_for_a_fixed_batch_are_repeated_and_counted_once(source):
    found = in_calls({"x": numbers(3, 1)}, source(tensor(8, 1)), "mine")
    (arrays,) = found.feeds
    assert arrays["x"][:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert found.items == 3


def test_all_inputs_are_cut_alike_and_scalars_go_into_every_call(source):
    arrays = {"x": numbers(20, 2), "ids": np.arange(20), "scale": np.float32(3)}
    feeds = in_calls(arrays, source(tensor("N", 2), tensor("N", name="ids"), tensor(name="scale")), "mine").feeds
    assert sizes(feeds) == sizes(feeds, "ids") == [10, 10]
    assert feeds[1]["ids"].tolist() == (feeds[1]["x"][:, 0] / 2).tolist() == [*range(10, 20)]
    assert [arrays["scale"] for arrays in feeds] == [3, 3]


@pytest.mark.parametrize("batch", ["N", 4])
def test_a_side_input_of_a_fixed_size_goes_whole_into_every_call(source, batch):
    arrays = {"x": numbers(8, 2), "anchors": numbers(5, 2)}
    found = in_calls(arrays, source(tensor(batch, 2), tensor(5, 2, name="anchors")), "mine")
    assert [arrays["anchors"].tolist() for arrays in found.feeds] == [numbers(5, 2).tolist()] * len(found.feeds)
    assert (sum(sizes(found.feeds)), found.items) == (8, 8)


def test_a_model_of_scalars_is_called_once(source):
    found = in_calls({"a": np.float32(3)}, source(tensor(name="a")), "mine")
    assert (found.feeds, found.items) == ([{"a": np.float32(3)}], 1)


def test_load_arrays_arrays_are_what_it_is_calibrated_on(source, npz):
    found = calibrated(source(tensor("N", 2)), npz(x=numbers(20, 2)))
    assert (sizes(found.feeds), found.data, found.items) == ([10, 10], "mine", 20)
    assert found.feeds[1]["x"][0].tolist() == [20, 21]


def test_load_arrays_arrays_come_before_a_dataset(source, npz):
    assert calibrated(source(tensor("N", 2), dataset="digits"), npz(x=numbers(20, 2))).data == "mine"


def test_load_arrays_arrays_keep_the_batch_that_the_file_fixes(source, npz):
    found = calibrated(source(tensor(3, 2)), npz(x=numbers(20, 2)))
    assert (sizes(found.feeds), found.items) == ([3] * 6, 18)


def test_load_arrays_arrays_may_have_any_size_where_a_dimension_is_open(source, npz):
    path = npz(x=numbers(4, 7, 3), y=numbers(4, 5))
    assert sorted(arrays_of(source(tensor("N", "seq", 3), tensor(None, None, name="y")), path)) == ["x", "y"]


def test_a_load_arrays_scalar_stays_one(source, npz):
    arrays = arrays_of(source(tensor("N", 2), tensor(name="s")), npz(x=numbers(4, 2), s=np.float32(7)))
    assert (arrays["s"].shape, float(arrays["s"])) == ((), 7)


def test_a_side_input_is_load_arrays_as_the_model_takes_it(source, npz):
    takes = source(tensor("N", 2), tensor(5, 2, name="anchors"))
    assert arrays_of(takes, npz(x=numbers(4, 2), anchors=numbers(5, 2)))["anchors"].shape == (5, 2)
    with pytest.raises(BadInput, match=r"float32 \[4, 2\] for 'anchors'.* float32 \[5, 2\]"):
        arrays_of(takes, npz(x=numbers(4, 2), anchors=numbers(4, 2)))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": numbers(4, 2)}, r"has no array for the input 'ids'; give one array for each input"),
        ({"X": numbers(4, 2), "ids": np.arange(4)}, r"has an array 'X', and the model has no such input"),
        ({"x": numbers(4, 2), "ids": np.arange(4), "idss": np.arange(4)}, "no such input; did you mean 'ids'"),
        ({"x": numbers(4, 3), "ids": np.arange(4)}, r"float32 \[4, 3\] for 'x'.* float32 \['N', 2\]"),
        ({"x": numbers(2), "ids": np.arange(4)}, r"has float32 \[2\] for 'x'"),
        ({"x": numbers(4, 2, 1), "ids": np.arange(4)}, r"has float32 \[4, 2, 1\] for 'x'"),
        ({"x": numbers(0, 2), "ids": np.arange(0)}, r"has float32 \[0, 2\] for 'x'"),
        ({"x": numbers(4, 2).astype(np.float64), "ids": np.arange(4)}, r"float64 \[4, 2\] for 'x'.* float32"),
        ({"x": numbers(4, 2), "ids": np.arange(4, dtype=np.int32)}, r"int32 \[4\] for 'ids'.* int64"),
        ({"x": numbers(4, 2), "ids": np.arange(3)}, "different numbers of items"),
    ],
)
def test_arrays_that_the_model_does_not_take_are_refused(source, npz, arrays, says):
    with pytest.raises(BadInput, match=says):
        arrays_of(source(tensor("N", 2), tensor("N", name="ids", dtype="int64")), npz(**arrays))


@pytest.mark.parametrize("data", [b"", b"not a zip file", b"PK\x03\x04 half a header"])
def test_what_is_no_npz_file_is_refused(source, tmp_path, data):
    (tmp_path / "bad.npz").write_bytes(data)
    with pytest.raises(BadInput, match=r"cannot read .*bad\.npz .*; --calibration needs an \.npz file"):
        calibrated(source(tensor("N", 2)), str(tmp_path / "bad.npz"))


def test_an_npz_file_that_is_cut_short_is_refused(source, npz, tmp_path):
    path = npz(x=numbers(100, 2))
    (tmp_path / "data.npz").write_bytes((tmp_path / "data.npz").read_bytes()[:500])
    with pytest.raises(BadInput, match="cannot read"):
        arrays_of(source(tensor("N", 2)), path)


def test_a_single_array_is_no_npz_file(source, tmp_path):
    np.save(tmp_path / "x.npy", numbers(4, 2))
    with pytest.raises(BadInput, match="cannot read"):
        arrays_of(source(tensor("N", 2)), tmp_path / "x.npy")


def test_pickled_arrays_are_refused(source, npz):
    with pytest.raises(BadInput, match="cannot read"):
        arrays_of(source(tensor("N", 2)), npz(x=np.array([{}], object)))


def test_a_dataset_gives_its_calibration_part(source, npz):
    name = f"tensors:{npz(x=numbers(100, 2), y=np.arange(100) % 3)}"
    found = calibrated(source(tensor("N", 2), dataset=name))
    assert (sizes(found.feeds), found.data, found.items) == ([10] * 4, name, 40)


def test_random_inputs_are_sixty_four_items_in_four_calls(source):
    found = calibrated(source(tensor("N", 2)))
    assert (sizes(found.feeds), found.data, found.items) == ([16] * 4, "random", 64)
    assert len({arrays["x"].tobytes() for arrays in found.feeds}) == 4


@pytest.mark.parametrize(("batch", "calls"), [(1, 64), (3, 21), (64, 1), (100, 1)])
def test_random_inputs_keep_a_fixed_batch(source, batch, calls):
    found = calibrated(source(tensor(batch, 2)))
    assert (sizes(found.feeds), found.items) == ([batch] * calls, batch * calls)


def test_random_inputs_follow_the_seed(source):
    first, again, other = (calibrated(source(tensor("N", 2)), seed=seed).feeds[0]["x"] for seed in (0, 0, 7))
    assert (first == again).all()
    assert (first != other).any()


def test_random_inputs_have_the_types_of_the_model(source):
    inputs = tensor("N", 5, name="ids", dtype="int64", high=3), tensor("N", name="mask", dtype="bool"), tensor(name="s")
    arrays = calibrated(source(*inputs)).feeds[0]
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "ids": ("int64", (16, 5)),
        "mask": ("bool", (16,)),
        "s": ("float32", ()),
    }
    assert arrays["ids"].max() < 3


def test_an_open_dimension_asks_for_a_shape(source):
    with pytest.raises(BadInput, match=r"'seq' \(input 'x', axis 1\).*--shape x=Nx16"):
        calibrated(source(tensor("N", "seq")))


def test_a_load_arrays_shape_closes_an_open_dimension_and_fixes_the_batch(source):
    found = calibrated(source(tensor("N", "seq")), shapes=(("x", (8, 5)),))
    assert [arrays["x"].shape for arrays in found.feeds] == [(8, 5)] * 8


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("x", (2, 5), "input 'x' is Nx4 in the file, but 2x5 in --shape"),
        ("x", (2, 4, 1), "but 2x4x1 in --shape"),
        ("X", (2, 4), "the model has no input 'X'"),
    ],
)
@pytest.mark.parametrize("given", [False, True], ids=["random inputs", "given arrays"])
def test_a_shape_that_does_not_fit_is_refused(source, npz, name, shape, says, given):
    data = npz(x=numbers(4, 4)) if given else None
    with pytest.raises(BadInput, match=says):
        calibrated(source(tensor("N", 4)), data, shapes=((name, shape),))


def test_other_names_types_shapes_and_values_are_another_calibration():
    x = np.arange(8, dtype=np.float32)
    feeds = {"x": x.reshape(2, 4)}, {"x": x.reshape(4, 2)}, {"x": x.view(np.int32).reshape(2, 4)}, {"y": x.reshape(2, 4)}
    assert len({_fingerprint([arrays]) for arrays in (*feeds, {"x": x.reshape(2, 4) + 1})}) == 5
    assert _fingerprint([feeds[0]]) == _fingerprint([{"x": np.asfortranarray(feeds[0]["x"])}])


@pytest.mark.parametrize(
    ("error", "becomes", "says"),
    [
        (KeyError("v"), BadInput, r"mine\.onnx cannot be quantized \(KeyError: 'v'\); run it in FP32 or FP16"),
        (
            ModuleNotFoundError("No module named 'onnxruntime'"),
            Unavailable,
            r"is not installed .*; pip install 'onnxbench\[ort\]'",
        ),
        (Unsupported("ours"), Unsupported, "^ours"),
        (MemoryError(), MemoryError, ""),
    ],
)
def test_what_the_quantizer_raises_is_an_error_about_the_users_file(error, becomes, says):
    with pytest.raises(becomes, match=says), guarded("mine.onnx"):
        raise error


def tried(file, **changes):
    """Sizes of a call, in the order of the attempts."""
    job = Convert(artifact=file, precision="int8", how=INT8, **changes)
    return [len(data.feeds[0]["x"]) for data in calibrations(job)]


def test_the_batches_of_the_sweep_follow_the_default_smallest_first(source):
    assert tried(source(tensor("N", 4)), batches=(32, 2)) == [16, 2, 32]


def test_a_fixed_batch_has_no_alternative(source):
    assert tried(source(tensor(4, 4)), batches=(1, 2)) == [4]


def test_a_number_of_samples_takes_the_first_ones_of_a_file(source, npz):
    found = calibrated(source(tensor("N", 2), tensor(3, name="s")), npz(x=numbers(40, 2), s=numbers(3)), how=sized(20))
    assert (found.items, [arrays["x"].shape[0] for arrays in found.feeds]) == (20, [10, 10])
    assert found.feeds[0]["s"].tolist() == [0, 1, 2]


def test_a_number_of_samples_may_leave_the_calibration_part_but_never_enters_the_test_part(source, npz):
    name = f"tensors:{npz(x=numbers(100, 2), y=np.arange(100) % 3)}"
    few, many = (calibrated(source(tensor("N", 2), dataset=name), how=sized(count)) for count in (8, 80))
    test = dataset(name)
    assert (few.items, many.items) == (8, 80)
    items = {row.tobytes() for arrays in many.feeds for row in arrays["x"]}
    assert len(items) == 80
    assert not items & {row.tobytes() for row in test.batch(test.split["test"])[0]}


def test_random_inputs_are_as_many_as_wished(source):
    assert calibrated(source(tensor("N", 2)), how=sized(160)).items == 160


@pytest.mark.parametrize("labelled", [False, True])
def test_more_samples_than_there_are_is_an_error_with_their_number(source, npz, labelled):
    path = npz(x=numbers(100, 2), y=np.arange(100) % 3) if labelled else npz(x=numbers(80, 2))
    model = source(tensor("N", 2), dataset=f"tensors:{path}" if labelled else None)
    with pytest.raises(BadInput, match=r"80 .*asks for 81; write --calibration-images 80 or fewer"):
        calibrated(model, None if labelled else path, how=sized(81))


def test_a_file_with_labels_calibrates_the_only_input(source, npz):
    found = calibrated(source(tensor("N", 2, name="ids")), npz(x=numbers(20, 2), y=np.arange(20)), name="tensors:mine")
    assert found.feeds[0].keys() == {"ids"}


def test_a_file_with_labels_may_name_several_inputs(source, npz):
    path = npz(ids=numbers(20, 2), mask=numbers(20, 2), y=np.arange(20))
    found = calibrated(source(tensor("N", 2, name="ids"), tensor("N", 2, name="mask")), path, name="tensors:mine")
    assert found.feeds[0].keys() == {"ids", "mask"}


def test_decoded_images_calibrate_without_those_of_the_test_part(source, tmp_path):
    for number in range(20):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    (out := tmp_path / "arrays").mkdir()
    write(out, find(tmp_path, labelled=False), Preprocessing.parse("size=4"), (), lambda _: None)
    name = f"images:{tmp_path}?size=4"
    part, every = (calibrated(source(tensor("N", 3, 4, 4)), str(out), name=name, how=how) for how in (INT8, sized(16)))
    assert (part.items, part.data, every.items) == (8, name, 16)
    with pytest.raises(BadInput, match=r"write --preprocess size=8,layout=NCHW"):
        calibrated(source(tensor("N", 3, 8, 8)), str(out), name=name)
