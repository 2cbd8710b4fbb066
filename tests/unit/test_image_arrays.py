import struct
import zlib

import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.models import datasets
from onnxbench.models.image_arrays import read_entry, write
from onnxbench.models.image_files import find
from onnxbench.models.preprocessing import Preprocessing
from onnxbench.spec import TensorSpec
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(path, pixels, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.array(pixels, np.uint8))).save(path, **how)


def noise(seed, side=8):
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)


def decoded(folder, steps, skip=()):
    """Decode the images of `folder` beside it."""
    out = folder.parent / "arrays"
    out.mkdir(exist_ok=True)
    write(out, find(folder), Preprocessing.parse(steps), skip, lambda _: None)
    return read_entry(out)


def one(tmp_path, steps="size=2", name="x.png"):
    """The pixels of the only image of the folder `set`."""
    return decoded(tmp_path / "set", steps).images[0].tolist()


def dataset(folder, steps="size=8"):
    decoded(folder, steps)
    return datasets.load(f"images:{folder}?{steps}", folder.parent / "arrays")


def test_the_centre_is_cut(tmp_path):
    save(tmp_path / "set/a/x.png", [[RED, GREEN, BLUE, WHITE]] * 2)
    assert one(tmp_path) == [[list(GREEN), list(BLUE)]] * 2


def test_the_shorter_side_is_resized_and_then_cut(tmp_path):
    save(tmp_path / "set/a/x.png", [[RED] * 4 + [GREEN] * 4 + [BLUE] * 4 + [WHITE] * 4] * 8)
    assert one(tmp_path, "size=2,resize=4,interpolation=nearest") == [[list(GREEN), list(BLUE)]] * 2


def test_the_whole_image_is_stretched(tmp_path):
    save(tmp_path / "set/a/x.png", [[RED, RED, BLUE, BLUE]])
    assert one(tmp_path, "size=2,crop=none,interpolation=nearest") == [[list(RED), list(BLUE)]] * 2


def test_the_channels_are_those_of_the_preprocessing(tmp_path):
    save(tmp_path / "set/a/x.png", [[RED] * 2] * 2)
    assert one(tmp_path, "size=2,channels=BGR")[0][0] == [0, 0, 255]
    assert one(tmp_path, "size=2,channels=L")[0][0] == [76]


def test_the_rotation_of_exif_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    save(tmp_path / "set/a/x.png", [[RED, GREEN], [RED, GREEN]], exif=exif)
    assert one(tmp_path) == [[list(RED)] * 2, [list(GREEN)] * 2]


@pytest.mark.parametrize(
    ("mode", "colour", "pixel"),
    [
        ("L", 77, [77] * 3),
        ("1", 1, [255] * 3),
        ("LA", (77, 0), [77] * 3),
        ("RGBA", (10, 20, 30, 0), [10, 20, 30]),
        ("P", 3, None),
        ("I;16", 257 * 77, [77] * 3),
        ("I", 65535, [255] * 3),
    ],
)
def test_every_mode_becomes_colours_of_eight_bits(tmp_path, mode, colour, pixel):
    image = Image.new(mode, (2, 2), colour)
    if mode == "P":
        image.putpalette([*([0] * 9), 1, 2, 3])
    save(tmp_path / f"set/a/x.{'tiff' if mode == 'I' else 'png'}", image)
    assert one(tmp_path)[0][0] == (pixel or [1, 2, 3])


def test_only_the_first_frame_is_read(tmp_path):
    frames = [Image.new("L", (2, 2), value) for value in (50, 200)]
    save(tmp_path / "set/a/x.gif", frames[0], save_all=True, append_images=frames[1:])
    assert one(tmp_path)[0][0] == [50] * 3


def bomb(side):
    """A PNG file of `side` x `side` pixels in a few bytes."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 1000)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


BAD = {
    "text": (b"no image at all", "it is none of JPEG, PNG"),
    "bomb": (bomb(30_000), "it has more than 89 million pixels"),
    "bomb just over the limit": (bomb(9_500), "it has more than 89 million pixels"),
    "empty": (b"", "it is none of"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is none of"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_image_is_named_with_its_reason(tmp_path, name):
    content, reason = BAD[name]
    save(tmp_path / "set/a/good.png", noise(0))
    (tmp_path / "set/a/wrong.png").write_bytes(content)
    with pytest.raises(BadInput, match=rf"1 of 2 images in .* does not decode: 'a/wrong.png' \({reason}.*1%"):
        decoded(tmp_path / "set", "size=8")


def test_floats_are_refused(tmp_path):
    save(tmp_path / "set/a/x.tiff", Image.new("F", (2, 2), 0.5))
    with pytest.raises(BadInput, match="floating-point numbers"):
        one(tmp_path)


def test_the_first_three_of_many_are_named(tmp_path):
    for number in range(5):
        save(tmp_path / f"set/a/{number}.png", noise(number))
        (tmp_path / f"set/a/{number}.png").write_bytes((tmp_path / f"set/a/{number}.png").read_bytes()[:60])
    with pytest.raises(BadInput, match=r"5 of 5 images in .* do not decode: 'a/0.png' .*'a/1.png' .*'a/2.png' [^']*, \.\.\.;"):
        decoded(tmp_path / "set", "size=8")


@pytest.fixture
def many(tmp_path):
    """200 images of two classes."""
    for number in range(200):
        save(tmp_path / f"set/{number % 2}/{number:03}.bmp", noise(number, side=4))
    return tmp_path / "set"


def test_up_to_one_in_a_hundred_is_left_out(many):
    for name in ("0/000.bmp", "1/001.bmp"):
        (many / name).write_bytes(b"no image")
    data = dataset(many, "size=4")
    assert {part: len(rows) for part, rows in data.split.items()} == {"test": 39, "calibration": 79, "train": 80}
    assert (np.concatenate([data.labels[rows] for rows in data.split.values()]) >= 0).all()
    facts = datasets.image_set(data.name, many.parent / "arrays")
    assert (facts.images, facts.unreadable, facts.classes, facts.duplicates) == (198, 2, 2, 0)
    assert [name.partition(" ")[0] for name in facts.examples] == ["'0/000.bmp'", "'1/001.bmp'"]


def test_a_file_that_ended_a_worker_is_left_out(many):
    arrays = decoded(many, "size=4", skip=(0,))
    assert (arrays.unreadable, arrays.labels[0]) == (1, -1)
    assert "ended the worker" in arrays.examples[0]


def test_duplicates_are_in_one_part(many):
    for number in range(0, 200, 2):
        save(many / f"1/copy-{number}.png", noise(number, side=4))
    data = dataset(many, "size=4")
    seen = [set(map(bytes, data.images[rows])) for rows in data.split.values()]
    assert sum(map(len, seen)) == 200
    assert sum(len(rows) for rows in data.split.values()) == 300
    assert not any(first & second for first in seen for second in seen if first is not second)
    assert datasets.image_set(data.name, many.parent / "arrays").duplicates == 100


def test_a_split_does_not_follow_the_names(many):
    def tested():
        data = dataset(many, "size=4")
        return set(map(bytes, data.images[data.split["test"]]))

    before = tested()
    (many / "1/199.bmp").rename(many / "1/a.bmp")
    assert tested() == before


def test_too_few_different_images_are_refused(tmp_path):
    for number in range(20):
        save(tmp_path / f"set/a/{number}.png", noise(number % 9))
    with pytest.raises(BadInput, match="has 20 images, of which 9 differ"):
        dataset(tmp_path / "set")


def spec(*shape, dtype="float32"):
    return TensorSpec(name="x", dtype=dtype, shape=shape)


def test_a_model_takes_the_images_or_the_error_gives_the_preprocessing(many):
    data, logits = dataset(many, "size=4"), (spec("N", 2),)
    data.check_fits((spec("N", 3, 4, 4),), logits)
    for takes, hint in (
        (("N", 3, 8, 8), "size=8,layout=NCHW"),
        ((1, 8, 6, 1), "size=8x6,layout=NHWC,channels=L"),
        (("N", 16), "one array of the shape"),
    ):
        with pytest.raises(BadInput, match=rf"is float32 of shape \[3, 4, 4\], but the model takes .*{hint}"):
            data.check_fits((spec(*takes),), logits)
    with pytest.raises(BadInput, match="size=4,layout=NCHW,dtype=uint8"):
        data.check_fits((spec("N", 3, 4, 4, dtype="uint8"),), logits)


def test_classes_that_the_model_lacks_are_named(many):
    with pytest.raises(BadInput, match=r"labels up to 1, but the model has only 1 classes; beyond them: '1'; .*classes.txt"):
        dataset(many, "size=4").check_fits((spec("N", 3, 4, 4),), (spec("N", 1),))


def test_damaged_arrays_are_refused(many):
    dataset(many, "size=4")
    (many.parent / "arrays/facts.json").write_text("{}")
    with pytest.raises(BadInput, match="bench cache --clear"):
        read_entry(many.parent / "arrays")
