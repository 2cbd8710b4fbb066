import numpy as np
import pytest
from onnxbench.errors import Unsupported
from onnxbench.models.inputs import draw
from onnxbench.spec import TensorSpec


def one(dtype, shape=(1000,), seed=0, high=None):
    return draw([TensorSpec(name="x", dtype=dtype, shape=shape, high=high)], (("x", shape),), seed)["x"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"])
def test_arrays_have_the_type_and_shape_that_is_asked(dtype):
    array = one(dtype, (2, 3))
    assert (array.dtype.name, array.shape) == (dtype, (2, 3))


def test_a_scalar_is_an_array_without_axes():
    assert one("float32", ()).shape == ()
    assert one("int64", ()).shape == ()


def test_floats_are_standard_normal():
    array = one("float32", (10_000,))
    assert float(array.mean()) == pytest.approx(0, abs=0.05)
    assert float(array.std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("high", "values"), [(None, range(10)), (3, range(3)), (1, range(1))])
def test_integers_stay_in_their_table(high, values):
    assert sorted(set(one("int64", high=high).tolist())) == list(values)


def test_booleans_are_fair():
    assert 400 < int(one("bool").sum()) < 600


def test_a_seed_gives_the_same_arrays():
    assert (one("float32", seed=5) == one("float32", seed=5)).all()
    assert (one("float32", seed=5) != one("float32", seed=6)).any()


def test_the_arrays_of_a_seed_never_change():
    assert one("float64", (2,), seed=7) == pytest.approx([0.00123015, 0.29874554], abs=1e-8)


def test_each_input_gets_values_of_its_own():
    specs = [TensorSpec(name=name, dtype="float32", shape=("batch",)) for name in ("a", "b")]
    arrays = draw(specs, (("b", (2,)), ("a", (2,))), 0)
    assert list(arrays) == ["a", "b"]
    assert (arrays["a"] != arrays["b"]).all()
    assert np.isfinite(arrays["a"]).all()


@pytest.mark.parametrize("dtype", ["no_such_type", "str", "complex64"])
def test_what_cannot_be_drawn_is_unsupported(dtype):
    with pytest.raises(Unsupported, match=f"input 'x' is of type {dtype}"):
        one(dtype)


def drawn(dtype="int64", shape=(1000,), **what):
    spec = TensorSpec(name="x", dtype=dtype, shape=shape, **what)
    return draw([spec], (("x", shape), ("frames", (7, 3, 4))), 0)["x"]


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_masks_are_ones(dtype):
    assert drawn(dtype, role="mask").tolist() == [1] * 1000


def test_lengths_are_whole():
    assert set(drawn(role="length", of=("frames", 0)).tolist()) == {7}
    assert set(drawn(role="length").tolist()) == {3}


def test_indices_stay_under_the_size_of_what_they_index_and_under_every_table():
    assert sorted(set(drawn(of=("frames", 1)).tolist())) == [0, 1, 2]
    assert sorted(set(drawn(of=("frames", -1), high=2).tolist())) == [0, 1]


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_what_is_divided_by_is_above_0(dtype):
    assert drawn(dtype, role="positive").min() > 0


def test_a_rate_is_that_of_speech():
    assert drawn(role="rate", shape=()) == 16_000


def test_what_sets_an_operator_is_asked_for_by_name():
    with pytest.raises(Unsupported, match=r"input 'x' .* shape of Reshape, .* --input x=FILE\.npy"):
        drawn(setting="shape of Reshape")


def test_bytes_have_all_their_values_unless_they_index_a_table():
    assert (int(one("uint8", (10_000,)).min()), int(one("uint8", (10_000,)).max())) == (0, 255)
    assert int(one("uint8", high=3).max()) == 2


def test_integers_may_be_drawn_smaller_and_roles_stay():
    specs = [TensorSpec(name="ids", dtype="int64", shape=(100,)), TensorSpec(name="n", dtype="int64", shape=(), role="rate")]
    arrays = draw(specs, (("ids", (100,)), ("n", ())), 0, high=2)
    assert (set(arrays["ids"].tolist()), int(arrays["n"])) == ({0, 1}, 16_000)
