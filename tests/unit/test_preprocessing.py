import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.models.image_arrays import prepared
from onnxbench.models.preprocessing import Preprocessing, absolute_name, full_name, full_names, split_name

IMAGENET = "size=224,resize=256,mean=0.485,0.456,0.406,std=0.229,0.224,0.225"


def test_all_keys_are_read():
    text = "size=8x6,resize=9,crop=center,interpolation=bicubic,channels=BGR,scale=1,mean=1,2,3,std=4,layout=NHWC"
    assert Preprocessing.parse(text) == Preprocessing(
        size=(8, 6),
        resize=9,
        interpolation="bicubic",
        channels="BGR",
        scale=1.0,
        mean=(1.0, 2.0, 3.0),
        std=(4.0,),
        layout="NHWC",
    )


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", "size=224"),
        ("crop=center,size=48x48,layout=NCHW", "size=48"),
        ("std=0.5,size=48x32,mean=0.25", "size=48x32,mean=0.25,std=0.5"),
        (IMAGENET, IMAGENET),
    ],
)
def test_a_preprocessing_has_one_text(text, canonical):
    assert str(Preprocessing.parse(text)) == canonical
    assert Preprocessing.parse(canonical) == Preprocessing.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sise=224", "no key 'sise'; did you mean 'size'"),
        ("size", "'size', which is not KEY=VALUE"),
        ("size=224,160", "'160', which is not KEY=VALUE"),
        ("size=0", "size=0 is not a size in pixels"),
        ("size=9000", "1 to 8192"),
        ("size=1e3", "is not a size"),
        ("size=8,size=9", "has size twice"),
        ("crop=centre", "crop=centre is not a choice; did you mean 'center'"),
        ("layout=nchw", "is not a choice"),
        ("mean=a,b,c", "is not a list of numbers"),
        ("std=0,1,1", "is not a list of numbers above 0"),
        ("mean=nan", "is not a list of numbers"),
        ("mean=1,2", "mean has 2 numbers, and images in RGB have 3 channels"),
        ("channels=L,mean=1,2,3", "images in L have 1 channels"),
        ("scale=1,2", "'2', which is not KEY=VALUE"),
        ("scale=x", "write for example scale=255"),
        ("resize=0001234567", "is not a number of pixels"),
        ("size=224,resize=200", "resize=200 leaves no room to cut 224"),
        ("crop=none,resize=256", "leaves no room"),
        ("dtype=uint8,mean=0.5", "scale, mean or std would change them"),
    ],
)
def test_a_wrong_preprocessing_names_its_mistake(text, says):
    with pytest.raises(BadInput, match=says):
        Preprocessing.parse(text)


def test_values_are_scaled_and_then_normalized():
    how = Preprocessing.parse("size=1,mean=0.5,0,1,std=2,1,1")
    pixels = np.array([[[[255, 0, 51]]]], np.uint8)
    assert prepared(pixels, how).tolist() == [[[[0.25]], [[0.0]], [[pytest.approx(-0.8)]]]]


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (2, 3, 4, 5)), ("NHWC", (2, 4, 5, 3))])
def test_the_layout_is_that_of_the_model(layout, shape):
    how = Preprocessing.parse(f"size=4x5,layout={layout}")
    made = prepared(np.zeros((2, 4, 5, 3), np.uint8), how)
    assert (made.shape, made.dtype, made.shape[1:]) == (shape, np.float32, how.shape)


def test_bytes_stay_bytes():
    made = prepared(np.full((1, 2, 2, 3), 200, np.uint8), Preprocessing.parse("size=2,dtype=uint8"))
    assert (made.dtype, made.max()) == (np.uint8, 200)


def test_a_full_name_has_the_preprocessing():
    assert full_name("images:dogs", None) == "images:dogs?size=224"
    assert full_name("images:dogs", "size=48,layout=NCHW") == "images:dogs?size=48"
    assert full_name("digits", None) == "digits"
    assert full_name(None, None) is None


@pytest.mark.parametrize("dataset", [None, "digits"])
def test_a_preprocessing_without_images_is_refused(dataset):
    with pytest.raises(BadInput, match="add --dataset images:DIR"):
        full_name(dataset, "size=48")


def test_a_full_name_has_its_parts_back():
    assert split_name("images:what?/dogs?size=48") == ("images", "what?/dogs", "size=48")
    assert split_name("npz:a?b.npz") == ("npz", "a?b.npz", "")


def test_a_dataset_means_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_name("npz:a.npz") == f"npz:{tmp_path}/a.npz"
    assert absolute_name("digits") == "digits"
    assert absolute_name("images:dogs?size=48") == f"images:{tmp_path}/dogs?size=48"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert absolute_name("idx:~/mnist") == f"idx:{tmp_path}/home/mnist"


def test_a_dataset_and_calibration_data_share_their_preprocessing():
    both = full_names("images:a", "images:b", "size=48")
    assert both == {"dataset": "images:a?size=48", "calibration": "images:b?size=48"}
    assert full_names("digits", "images:b", None) == {"dataset": "digits", "calibration": "images:b?size=224"}
    assert full_names(None, "b.npz", None) == {"dataset": None, "calibration": "b.npz"}
    with pytest.raises(BadInput, match="add --dataset images:DIR"):
        full_names("digits", "b.npz", "size=48")
