"""Values of --shape and --dim."""

import click
import pytest
from onnxbench.commands.tensors import Sizes, Tensor


@pytest.mark.parametrize(
    ("text", "name", "shape", "dtype"),
    [
        ("x=1x3x224x224", "x", (1, 3, 224, 224), "float32"),
        ("ids=Nx128:int64", "ids", ("N", 128), "int64"),
        ("ids=batchXseq_len", "ids", ("batch", "seq_len"), "float32"),
        ("past=1x2x0x8", "past", (1, 2, 0, 8), "float32"),
        ("a=b=2x3", "a=b", (2, 3), "float32"),
        ("scale=", "scale", (), "float32"),
    ],
)
def test_a_shape_has_numbers_and_names(text, name, shape, dtype):
    tensor = Tensor().convert(text, None, None)
    assert (tensor.name, tensor.shape, tensor.dtype) == (name, shape, dtype)


@pytest.mark.parametrize("text", ["x=1xq", "x=1x-3", "x=1xx3", "x=1.5", "=1x3", "1x3"])
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(click.BadParameter):
        Tensor().convert(text, None, None)


def test_a_dimension_has_each_size_once_and_in_the_users_order():
    assert Sizes().convert("seq=128, 16,128,0", None, None) == ("seq", (128, 16, 0))
    assert Sizes().convert("a=b.1=4", None, None) == ("a=b.1", (4,))


@pytest.mark.parametrize("text", ["seq", "seq=", "=4", "seq=4,,8", "seq=-1", "seq=1.5", "seq=long"])
def test_what_is_no_list_of_sizes_is_refused(text):
    with pytest.raises(click.BadParameter, match="seq=16,128,512"):
        Sizes().convert(text, None, None)
