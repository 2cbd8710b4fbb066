import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.errors import BadInput
from onnxbench.models.shapes import BatchRule, batch_rule, cell_shapes, check_shapes, show, size_of
from onnxbench.spec import TensorSpec


def tensor(name, *shape):
    return TensorSpec(name=name, dtype="float32", shape=shape)


@pytest.mark.parametrize("symbol", ["batch", "Batch_Size", "N", "b", "bs", "my_batch_dim"])
def test_a_symbol_called_batch_is_the_batch_wherever_it_stands(symbol):
    rule = batch_rule([tensor("x", "seq", symbol, 3)], {})
    assert rule == BatchRule(symbols=frozenset({symbol}), axes=frozenset({("x", 1)}))


def test_without_such_a_symbol_an_open_first_axis_is_the_batch():
    rule = batch_rule([tensor("x", "anything", 3), tensor("y", None, "width")], {})
    assert rule == BatchRule(symbols=frozenset({"anything"}), axes=frozenset({("x", 0), ("y", 0)}))


def test_all_inputs_follow_the_batch():
    inputs = [tensor("ids", "batch", 128), tensor("mask", None, 128), tensor("scale")]
    assert cell_shapes(inputs, 8, batch_rule(inputs, {}), {}) == (("ids", (8, 128)), ("mask", (8, 128)), ("scale", ()))


def test_a_file_without_an_open_dimension_fixes_the_batch():
    assert batch_rule([tensor("scale"), tensor("x", 4, 3)], {}) == BatchRule(fixed=4)


def test_a_model_of_scalars_has_batch_one():
    assert batch_rule([tensor("scale")], {}) == BatchRule(fixed=1)
    assert batch_rule([], {}) == BatchRule(fixed=1)


def test_a_given_shape_fixes_the_batch_for_all_inputs():
    inputs, given_shapes = [tensor("x", "batch", 3), tensor("y", "batch", 5)], {"x": (4, 3)}
    rule = batch_rule(inputs, given_shapes)
    assert rule.fixed == 4
    assert cell_shapes(inputs, 4, rule, given_shapes) == (("x", (4, 3)), ("y", (4, 5)))


def test_a_given_shape_without_the_batch_leaves_it_free():
    inputs, given_shapes = [tensor("x", "batch", 3), tensor("y", 5, "width")], {"y": (5, 7)}
    rule = batch_rule(inputs, given_shapes)
    assert rule.fixed is None
    assert cell_shapes(inputs, 2, rule, given_shapes) == (("x", (2, 3)), ("y", (5, 7)))


def test_a_given_shape_settles_its_symbols_for_the_other_inputs():
    inputs, given_shapes = [tensor("ids", "batch", "seq"), tensor("mask", "batch", "seq")], {"ids": (1, 77)}
    assert cell_shapes(inputs, 1, batch_rule(inputs, given_shapes), given_shapes) == (("ids", (1, 77)), ("mask", (1, 77)))


def test_a_dimension_that_stays_open_is_named_with_what_to_give():
    inputs = [tensor("x", "batch", "height", 3)]
    with pytest.raises(BadInput, match=r"'height' .*input 'x'.*--dim height="):
        cell_shapes(inputs, 1, batch_rule(inputs, {}), {})


def test_a_dimension_without_a_name_is_told_by_its_place():
    inputs = [tensor("x", "batch", 3, None)]
    with pytest.raises(BadInput, match=r"'x.2' .*axis 2.*--dim x\.2="):
        cell_shapes(inputs, 1, batch_rule(inputs, {}), {})


@given(
    batch=st.integers(1, 512),
    rests=st.lists(st.lists(st.integers(1, 64), max_size=3), min_size=1, max_size=3),
)
def test_any_batch_goes_first_and_the_rest_stays(batch, rests):
    inputs = [tensor(f"x{number}", "batch", *rest) for number, rest in enumerate(rests)]
    shapes = cell_shapes(inputs, batch, batch_rule(inputs, {}), {})
    assert shapes == tuple((f"x{number}", (batch, *rest)) for number, rest in enumerate(rests))


@given(dims=st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["batch", "seq", None])), min_size=1, max_size=4))
def test_a_shape_of_cells_always_agrees_with_the_file(dims):
    inputs, sizes = [tensor("x", *dims)], tuple(dim if isinstance(dim, int) else 5 for dim in dims)
    check_shapes(inputs, {"x": sizes})
    rule = batch_rule(inputs, {"x": sizes})
    assert cell_shapes(inputs, rule.fixed or 5, rule, {"x": sizes}) == (("x", sizes),)


def test_a_given_shape_for_no_input_is_refused():
    with pytest.raises(BadInput, match="no input 'inptu'; did you mean 'input'"):
        check_shapes([tensor("input", "batch", 3)], {"inptu": (1, 3)})


@pytest.mark.parametrize("shape", [(1,), (1, 3, 1), (1, 4)])
def test_a_given_shape_that_the_file_does_not_allow_is_refused(shape):
    with pytest.raises(BadInput, match=rf"input 'x' is batchx3 in the file, but {show(shape)} in --shape"):
        check_shapes([tensor("x", "batch", 3)], {"x": shape})


def test_given_shapes_that_disagree_about_a_symbol_are_refused():
    with pytest.raises(BadInput, match="batch"):
        check_shapes([tensor("x", "batch", 3), tensor("y", "batch", 5)], {"x": (4, 3), "y": (2, 5)})


def test_shapes_are_shown_for_people():
    assert [show(shape) for shape in ((1, 3, 48), ("batch", None, 3), ())] == ["1x3x48", "batchx?x3", "scalar"]


@pytest.mark.parametrize(
    ("dim", "size"),
    [
        ("T", 5),
        ("2*T", 10),
        ("past + T", 8),
        ("(past + T) // 2", 4),
        ("T / 5", 1),
        ("Max(past, T)", 5),
        ("min(past, T) - 1", 2),
        ("T % 0", None),
        ("T + unknown", None),
        ("round(T)", None),
        ("T.real", None),
        ("not a name", None),
        ("a-name", None),
    ],
)
def test_an_expression_comes_to_what_its_symbols_are(dim, size):
    assert size_of(dim, {"T": 5, "past": 3}) == size


def test_a_symbol_whose_name_could_be_an_expression_is_itself():
    assert size_of("batch-size", {"batch-size": 4}) == 4
    assert batch_rule([tensor("x", "batch-size", 3)], {}).symbols == {"batch-size"}


def test_an_expression_of_the_batch_is_not_the_batch():
    inputs = [tensor("x", "batch", 4), tensor("pairs", "2*batch", 4)]
    rule = batch_rule(inputs, {})
    assert cell_shapes(inputs, 3, rule, {}) == (("x", (3, 4)), ("pairs", (6, 4)))


@pytest.mark.parametrize("dim", ["2*N", "2*rows"])
def test_a_batch_may_be_in_expressions_alone(dim):
    inputs = [tensor("x", dim, 4)]
    rule = batch_rule(inputs, {})
    assert rule.fixed is None
    assert cell_shapes(inputs, 3, rule, {}) == (("x", (6, 4)),)


def test_a_given_shape_settles_expressions_of_its_symbols():
    inputs, given_shapes = [tensor("x", "N", "T"), tensor("cache", "N", "T + 1")], {"x": (2, 5)}
    assert cell_shapes(inputs, 2, batch_rule(inputs, given_shapes), given_shapes) == (("x", (2, 5)), ("cache", (2, 6)))


def test_given_shapes_that_contradict_an_expression_are_refused():
    with pytest.raises(BadInput, match=r"make dimension '2\*T' both 10 and 7"):
        check_shapes([tensor("x", "T"), tensor("y", "2*T")], {"x": (5,), "y": (7,)})


def test_an_input_of_unknown_rank_is_asked_for_by_name_and_takes_any_shape():
    inputs = [TensorSpec(name="x", dtype="float32", shape=(), ranked=False)]
    with pytest.raises(BadInput, match="number of dimensions of input 'x'; write --shape x="):
        cell_shapes(inputs, 1, batch_rule(inputs, {}), {})
    check_shapes(inputs, {"x": (2, 3)})
    assert cell_shapes(inputs, 2, batch_rule(inputs, {"x": (2, 3)}), {"x": (2, 3)}) == (("x", (2, 3)),)
