import gzip
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxbench.errors import BadInput
from onnxbench.models import datasets
from onnxbench.models.datasets import load, preprocess
from onnxbench.spec import TensorSpec

MAGIC = {1: 0x801, 3: 0x803}
TRAIN, TEST = 20, 10


def idx_bytes(array):
    return struct.pack(f">{1 + array.ndim}I", MAGIC[array.ndim], *array.shape) + array.astype(np.uint8).tobytes()


def contents():
    """The bytes of the four files, by name: 20 training and 10 test images of 4x5."""
    images, labels = np.arange((TRAIN + TEST) * 20).reshape(-1, 4, 5) % 256, np.arange(TRAIN + TEST) % 10
    return {
        "train-images-idx3-ubyte": idx_bytes(images[:TRAIN]),
        "train-labels-idx1-ubyte": idx_bytes(labels[:TRAIN]),
        "t10k-images-idx3-ubyte": idx_bytes(images[TRAIN:]),
        "t10k-labels-idx1-ubyte": idx_bytes(labels[TRAIN:]),
    }


@pytest.fixture
def write_idx(tmp_path):
    """Writes the four files, some of them changed; gives the dataset's name."""

    def write(gz=False, **changes):
        for name, data in {**contents(), **{key.replace("_", "-"): value for key, value in changes.items()}}.items():
            if data is not None:
                (tmp_path / (f"{name}.gz" if gz else name)).write_bytes(gzip.compress(data) if gz else data)
        return f"idx:{tmp_path}"

    return write


@pytest.fixture
def write_npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return f"npz:{tmp_path / 'data.npz'}"

    return write


def seen(share):
    """What the network sees of a pixel with `share` of the peak: less 0.3, over 0.2."""
    return 5 * share - 1.5


def digits(count=20):
    return np.arange(count) % 10


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
def test_idx_files_are_read_gzipped_or_not(write_idx, gz):
    found = load(write_idx(gz=gz))
    assert found.images.shape == (30, 4, 5)
    assert found.images[1].tolist() == np.arange(20, 40).reshape(4, 5).tolist()
    assert found.labels.tolist() == [*range(10)] * 3
    assert (found.labels.dtype, found.peak) == (np.int64, 255.0)


def test_the_test_images_of_idx_files_are_their_authors(write_idx):
    split = load(write_idx()).split
    assert split["test"].tolist() == [*range(20, 30)]
    assert sorted([*split["train"], *split["calibration"]]) == [*range(20)]


@pytest.mark.parametrize("cut", [0, 3, 15, 16, 415])
def test_a_truncated_idx_file_is_refused(write_idx, cut):
    name = write_idx(**{"train_images_idx3_ubyte": contents()["train-images-idx3-ubyte"][:cut]})
    with pytest.raises(BadInput, match=r"train-images-idx3-ubyte is not an IDX file of 3 dimension.* size"):
        load(name)


def test_an_idx_file_with_more_than_it_says_is_refused(write_idx):
    with pytest.raises(BadInput, match="is not an IDX file"):
        load(write_idx(**{"train_images_idx3_ubyte": contents()["train-images-idx3-ubyte"] + b"x"}))


def test_labels_where_images_belong_are_refused(write_idx):
    with pytest.raises(BadInput, match="is not an IDX file of 3"):
        load(write_idx(**{"train_images_idx3_ubyte": contents()["train-labels-idx1-ubyte"]}))


@pytest.mark.parametrize("keep", [0, 5, 40])
def test_a_truncated_gzip_file_is_refused(write_idx, tmp_path, keep):
    name = write_idx(gz=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput, match=r"train-images-idx3-ubyte\.gz"):
        load(name)


def test_as_many_labels_as_images_are_asked_for(write_idx):
    with pytest.raises(BadInput, match="20 images in train-images-idx3-ubyte, but 19 labels in train-labels-idx1-ubyte"):
        load(write_idx(**{"train_labels_idx1_ubyte": idx_bytes(digits(19))}))


def test_training_and_test_images_of_two_sizes_are_refused(write_idx):
    with pytest.raises(BadInput):
        load(write_idx(**{"t10k_images_idx3_ubyte": idx_bytes(np.zeros((10, 6, 6)))}))


@pytest.mark.parametrize("ask", [load, datasets.check])
def test_a_missing_idx_file_is_named(write_idx, ask):
    with pytest.raises(BadInput, match=r"has neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte\.gz"):
        ask(write_idx(**{"t10k_labels_idx1_ubyte": None}))


def test_npz_arrays_are_read(write_npz):
    found = load(write_npz(x=np.ones((20, 3, 4, 4), np.uint8), y=digits().astype(np.int32)))
    assert (found.images.shape, found.labels.tolist(), found.peak) == ((20, 3, 4, 4), [*range(10)] * 2, 255.0)
    assert found.labels.dtype == np.int64


def test_floats_go_up_to_one(write_npz):
    assert load(write_npz(x=np.ones((20, 4, 4), np.float32), y=digits())).peak == 1.0


class Trap:
    """What a pickle runs when it is loaded."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("name", ["x", "y"])
def test_pickled_arrays_are_refused(write_npz, name):
    arrays = {"x": np.ones((20, 4, 4)), "y": digits(), name: np.array([Trap()] * 20)}
    with pytest.raises(BadInput, match="cannot read"):
        load(write_npz(**arrays))


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_missing_array_is_named(write_npz, name):
    arrays = {"x": np.ones((20, 4, 4)), "y": digits()}
    del arrays[name]
    with pytest.raises(BadInput, match=f"has no array {name}; use an .npz file with arrays x and y"):
        load(write_npz(**arrays))


@pytest.mark.parametrize("ask", [load, datasets.check])
def test_a_missing_npz_file_is_refused(tmp_path, ask):
    with pytest.raises(BadInput, match=r"none\.npz"):
        ask(f"npz:{tmp_path}/none.npz")


@pytest.mark.parametrize("data", [b"", b"not a zip file", b"PK\x03\x04 half a header"])
def test_what_is_no_npz_file_is_refused(tmp_path, data):
    (tmp_path / "bad.npz").write_bytes(data)
    with pytest.raises(BadInput, match=r"cannot read .*bad\.npz"):
        load(f"npz:{tmp_path}/bad.npz")


def test_an_npz_file_that_is_cut_short_is_refused(write_npz, tmp_path):
    name = write_npz(x=np.ones((20, 4, 4)), y=digits())
    path = tmp_path / "data.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BadInput, match="cannot read"):
        load(name)


def test_a_single_array_is_no_npz_file(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros((20, 4, 4)))
    with pytest.raises(BadInput):
        load(f"npz:{tmp_path}/array.npy")


def test_zipped_members_that_are_no_arrays_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as archive:
        archive.writestr("x", b"text")
        archive.writestr("y", b"text")
    with pytest.raises(BadInput):
        load(f"npz:{tmp_path}/raw.npz")


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.ones((20, 4)), digits(), r"images of shape \(20, 4\); use the shape \[N, H, W\]"),
        (np.ones((20, 2, 4, 4)), digits(), r"images of shape \(20, 2, 4, 4\)"),
        (np.ones((0, 4, 4)), digits(0), r"images of shape \(0, 4, 4\)"),
        (np.ones((20, 0, 4)), digits(), r"images of shape \(20, 0, 4\)"),
        (np.ones((20, 4, 4)), digits(19), r"labels of shape \(19,\)"),
        (np.ones((20, 4, 4)), digits()[:, None], r"labels of shape \(20, 1\)"),
        (np.ones((20, 4, 4)), np.array(3), r"labels of shape \(\)"),
        (np.ones((20, 4, 4)), digits() / 2, "float64 labels"),
        (np.full((20, 4, 4), "a"), digits(), "<U1 images"),
        (np.ones((20, 4, 4)), digits() + 1, "20 labels from 1 to 10"),
        (np.ones((20, 4, 4)), digits() - 1, "20 labels from -1 to 8"),
        (np.ones((9, 4, 4)), digits(9), "9 labels from 0 to 8; use at least 10"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_refused(write_npz, x, y, says):
    with pytest.raises(BadInput, match=says):
        load(write_npz(x=x, y=y))


@pytest.mark.parametrize(("count", "sizes"), [(10, (4, 4, 2)), (100, (40, 40, 20)), (1000, (672, 128, 200))])
def test_the_parts_of_the_split_are_disjoint_and_whole(write_npz, count, sizes):
    split = load(write_npz(x=np.zeros((count, 2, 2)), y=digits(count))).split
    assert tuple(len(split[part]) for part in ("train", "calibration", "test")) == sizes
    assert sorted(np.concatenate(list(split.values()))) == [*range(count)]


def test_the_split_is_the_same_for_ever(write_npz):
    split = load(write_npz(x=np.zeros((10, 2, 2)), y=digits(10))).split
    assert {part: indices.tolist() for part, indices in split.items()} == {
        "test": [4, 6],
        "calibration": [2, 7, 3, 5],
        "train": [9, 0, 8, 1],
    }


def test_the_record_tells_one_split_from_another(write_npz):
    first = load(write_npz(x=np.zeros((20, 2, 2)), y=digits())).record()
    again = load(write_npz(x=np.ones((20, 2, 2)), y=digits())).record()
    other = load(write_npz(x=np.zeros((30, 2, 2)), y=digits(30))).record()
    assert first["split"] == {"train": 8, "calibration": 8, "test": 4}
    assert first["split_sha256"] == again["split_sha256"] != other["split_sha256"]


def test_a_batch_is_preprocessed_images_with_their_labels(write_npz):
    x = np.zeros((20, 2, 2), np.uint8)
    x[3] = 255
    images, labels = load(write_npz(x=x, y=digits())).batch(np.array([3, 14]))
    assert (images.shape, images.dtype) == ((2, 3, 48, 48), np.float32)
    assert (images[0].min(), images[1].max(), labels.tolist()) == (pytest.approx(3.5), pytest.approx(-1.5), [3, 4])


@pytest.mark.parametrize("ask", [load, datasets.check])
@pytest.mark.parametrize("name", ["", "mnist", "digit", "digits:x", "npz", "npz:", "idx", "idx:", "tensors", "tensors:"])
def test_what_names_no_dataset_is_refused(name, ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput):
        ask(name)


def test_a_misspelt_dataset_is_guessed():
    with pytest.raises(BadInput, match="'digit' is not a dataset; did you mean 'digits'"):
        load("digit")


def test_enlarging_interpolates_between_pixel_centres():
    """Two pixels over 48: the centres lie at (i + 0.5) / 24 - 0.5, so 0 and 1 meet in the middle and end flat."""
    row = preprocess(np.array([[[0.0, 1.0]]]), peak=1.0)[0, 0, 0]
    assert row[[0, 11]] == pytest.approx([-1.5, -1.5])
    assert row[[12, 23, 24, 35]] == pytest.approx([seen(n / 48) for n in (1, 23, 25, 47)], abs=1e-5)
    assert row[[36, 47]] == pytest.approx([3.5, 3.5])


def test_both_axes_are_interpolated():
    """At pixel 23 of 48 each of two pixels an axis weighs 25/48 and 23/48."""
    image = preprocess(np.array([[[0.0, 0.0], [0.0, 1.0]]]), peak=1.0)[0, 0]
    assert image[23, 23] == pytest.approx(seen((23 / 48) ** 2), abs=1e-5)
    assert image[47, 23] == pytest.approx(seen(23 / 48), abs=1e-5)


def test_halving_takes_the_mean_of_two_pixels():
    pixels = np.zeros((1, 96, 96), np.uint8)
    pixels[0, :, 1], pixels[0, :, 2] = 255, 51
    row = preprocess(pixels, peak=255.0)[0, 0, 5]
    assert row[:3] == pytest.approx([1.0, -1.0, -1.5], abs=1e-5)


def test_an_image_of_the_right_size_is_only_scaled():
    image = np.arange(48 * 48, dtype=np.float64).reshape(1, 48, 48) % 17
    assert np.allclose(preprocess(image, peak=16.0)[0, 1], seen(image[0] / 16), atol=1e-5)


def test_three_channels_stay_three():
    image = np.zeros((1, 3, 2, 2), np.uint8)
    image[0, 1] = 255
    assert preprocess(image, peak=255.0)[0, :, 7, 9] == pytest.approx([-1.5, 3.5, -1.5])


def test_one_channel_is_repeated():
    image = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    found = preprocess(image, peak=3.0)
    assert found.shape == (1, 3, 48, 48)
    assert (found[0, 0] == found[0, 1]).all()
    assert (found == preprocess(image[:, 0], peak=3.0)).all()


@settings(max_examples=25)
@given(height=st.integers(1, 100), width=st.integers(1, 100), value=st.integers(0, 255))
def test_an_even_image_stays_even_at_any_size(height, width, value):
    found = preprocess(np.full((1, height, width), value, np.uint8), peak=255.0)
    assert found.shape == (1, 3, 48, 48)
    assert np.allclose(found, seen(value / 255), atol=1e-4)


@pytest.fixture
def write_tensors(write_npz):
    return lambda **arrays: f"tensors:{write_npz(**arrays).partition(':')[2]}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, np.bool_])
def test_tensors_are_given_as_they_are(write_tensors, dtype):
    x = (np.arange(20 * 6).reshape(20, 6) % 5 - 2).astype(dtype)
    found = load(write_tensors(x=x, y=digits()))
    items, labels = found.batch(np.array([3, 14]))
    assert (found.peak, items.dtype, items.tolist(), labels.tolist()) == (None, dtype, x[[3, 14]].tolist(), [3, 4])


@pytest.mark.parametrize("shape", [(20,), (20, 7), (20, 1, 2, 3, 4)])
def test_tensors_have_any_shape(write_tensors, shape):
    assert load(write_tensors(x=np.zeros(shape), y=digits())).batch(np.arange(2))[0].shape == (2, *shape[1:])


def test_labels_of_tensors_may_be_any_class(write_tensors):
    found = load(write_tensors(x=np.zeros((20, 2)), y=(np.arange(20) * 50).astype(np.uint16)))
    assert (found.labels.max(), found.labels.dtype) == (950, np.int64)


def test_tensors_are_split_like_images(write_npz, write_tensors):
    arrays = {"x": np.zeros((100, 2, 2)), "y": digits(100)}
    assert load(write_tensors(**arrays)).record()["split_sha256"] == load(write_npz(**arrays)).record()["split_sha256"]


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.array(1.0), digits(), r"has x of shape \(\) and y of type int64 and shape \(20,\)"),
        (np.ones((20, 2)), digits(19), r"y of type int64 and shape \(19,\); store at least 10 items"),
        (np.ones((20, 2)), digits()[:, None], r"y of type int64 and shape \(20, 1\)"),
        (np.ones((20, 2)), digits() / 2, "y of type float64"),
        (np.ones((20, 2)), digits() - 1, "one integer label \\(0 or above\\)"),
        (np.ones((9, 2)), digits(9), "at least 10 items"),
        (np.ones((0, 2)), digits(0), "at least 10 items"),
    ],
)
def test_arrays_that_are_no_labelled_tensors_are_refused(write_tensors, x, y, says):
    with pytest.raises(BadInput, match=says):
        load(write_tensors(x=x, y=y))


def test_a_missing_array_of_tensors_is_named(write_tensors):
    with pytest.raises(BadInput, match="has no array y"):
        load(write_tensors(x=np.ones((20, 4))))


@pytest.mark.parametrize("ask", [load, datasets.check])
def test_a_missing_file_of_tensors_is_refused(tmp_path, ask):
    with pytest.raises(BadInput, match=r"none\.npz"):
        ask(f"tensors:{tmp_path}/none.npz")


def test_a_missing_file_is_asked_for_by_its_own_kind(tmp_path):
    with pytest.raises(BadInput, match="--dataset tensors:FILE"):
        datasets.check(f"tensors:{tmp_path}/none.npz")


def tensor(*shape, name="x", dtype="float32"):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


LOGITS = (tensor("N", 10, name="logits"),)


@pytest.mark.parametrize("shape", [("N", 3, 48, 48), (1, 3, 48, 48), (None, 3, "height", None)])
def test_images_fit_a_model_that_takes_their_size(write_npz, shape):
    load(write_npz(x=np.zeros((20, 2, 2)), y=digits())).check_fits([tensor(*shape)], LOGITS)


@pytest.mark.parametrize("classes", [10, 1000, "classes", None])
def test_labels_fit_as_many_classes_or_more(write_npz, classes):
    found = load(write_npz(x=np.zeros((20, 2, 2)), y=digits()))
    found.check_fits([tensor("N", 3, 48, 48)], [tensor("N", classes, name="logits"), tensor(name="more")])


@pytest.mark.parametrize(
    ("inputs", "wants"),
    [
        ([tensor("N", 3, 224, 224)], r"'x' float32 \['N', 3, 224, 224\]"),
        ([tensor("N", 48, 48)], r"'x' float32 \['N', 48, 48\]"),
        ([tensor()], r"'x' float32 \[\]"),
        ([tensor("N", 3, 48, 48, dtype="float16")], "'x' float16"),
        ([tensor("N", 3, 48, 48), tensor("N", name="ids")], "and 'ids' float32"),
        ([], "the model takes "),
    ],
)
def test_a_model_that_takes_something_else_does_not_fit(write_npz, inputs, wants):
    found = load(write_npz(x=np.zeros((20, 2, 2)), y=digits()))
    with pytest.raises(BadInput, match=rf"is float32 of shape \[3, 48, 48\], .*{wants}.*; .*tensors:FILE"):
        found.check_fits(inputs, LOGITS)


def test_tensors_fit_the_model_that_they_were_made_for(write_tensors):
    found = load(write_tensors(x=np.zeros((20, 7), np.int64), y=digits()))
    found.check_fits([tensor("N", 7, dtype="int64")], LOGITS)
    with pytest.raises(BadInput, match=r"is int64 of shape \[7\]"):
        found.check_fits([tensor("N", 7, dtype="int32")], LOGITS)


@pytest.mark.parametrize("shape", [("N", 10, 4, 4), ("N",), ()])
def test_an_output_that_is_no_classes_does_not_fit(write_npz, shape):
    found = load(write_npz(x=np.zeros((20, 2, 2)), y=digits()))
    with pytest.raises(BadInput, match=r"the output 'map' .*\[batch, classes\]; leave out --dataset"):
        found.check_fits([tensor("N", 3, 48, 48)], [tensor(*shape, name="map")])


def test_labels_beyond_the_classes_do_not_fit(write_npz):
    found = load(write_npz(x=np.zeros((20, 2, 2)), y=digits()))
    with pytest.raises(BadInput, match="has labels up to 9, but the model has only 9 classes; use labels from 0 to 8"):
        found.check_fits([tensor("N", 3, 48, 48)], [tensor("N", 9, name="logits")])
