import pytest
from onnxbench.errors import BadInput
from onnxbench.models.batch import batch_rule
from onnxbench.models.shapes import cell_shapes, check_shapes
from onnxbench.spec import TensorSpec


def tensor(name, *shape, **facts):
    return TensorSpec(name=name, dtype="float32", shape=shape, **facts)


def axes(inputs, outputs=(), shapes=None, lengths=()):
    """The dimensions that count items."""
    return set(batch_rule(inputs, shapes or {}, outputs, lengths).axes)


@pytest.mark.parametrize("name", ["T", "seq_len", "time", "num_frames", "length", "num_tokens", "sequence"])
def test_a_length_in_the_first_place_is_no_batch(name):
    inputs, outputs = [tensor("feats", name, 1, 80)], [tensor("logits", name, 1, 40)]
    rule = batch_rule(inputs, {}, outputs)
    assert (rule.axes, rule.fixed) == (frozenset(), 1)
    with pytest.raises(BadInput, match=f"'{name}'.*--dim {name}="):
        cell_shapes(inputs, 1, rule, {})


def test_behind_a_length_a_fixed_second_place_counts_the_items():
    assert batch_rule([tensor("x", "T", 4, 80)], {}, [tensor("y", "T", 4, 40)]).fixed == 4
    assert batch_rule([tensor("x", "T", 80)], {}, [tensor("y", "T", 80)]).fixed == 1


@pytest.mark.parametrize("names", [("B", "N"), ("batch", "n"), ("bs", "points")])
def test_points_of_an_item_do_not_follow_the_batch(names):
    assert axes([tensor("cloud", *names, 3)]) == {("cloud", 0)}


@pytest.mark.parametrize("shape", [("N", 3, 8, 8), ("N", "T"), ("T", "N", 80)])
def test_the_letter_n_is_the_batch_in_the_first_place_or_behind_a_length(shape):
    assert axes([tensor("x", *shape)]) == {("x", shape.index("N"))}


def test_the_letter_n_elsewhere_is_a_dimension_with_a_name():
    rule = batch_rule([tensor("cloud", 1, "N", 3)], {}, [tensor("y", 1, 10)])
    assert (rule.axes, rule.fixed) == (frozenset(), 1)


def test_rows_of_a_table_that_another_input_indexes_are_no_batch():
    graph = [tensor("x", "rows", 16), tensor("edges", 2, "pairs", of=("x", 0))]
    assert axes(graph, [tensor("y", "rows", 8)]) == set()
    assert batch_rule(graph, {}).fixed == 1


def test_an_axis_that_is_found_elsewhere_too_is_no_batch():
    assert axes([tensor("x", "s0", 16), tensor("adjacency", "s0", "s0")]) == set()
    assert axes([tensor("x", "s0", 16)], [tensor("y", 1, "s0")]) == set()
    assert axes([tensor("x", "s0", 16)], [tensor("y", "s0", 4), tensor("z", 1, "s0")]) == {("x", 0)}


def test_names_that_exporters_made_up_follow_their_place():
    assert axes([tensor("x", "unk__7", 10)], [tensor("y", "unk__8", 2)]) == {("x", 0)}
    assert axes([tensor("tokens", "tokens_dynamic_axes_1", 10)]) == {("tokens", 0)}


def test_what_a_recurrent_layer_reads_has_its_batch_in_the_second_place():
    sequence = {"role": "sequence"}
    assert batch_rule([tensor("x", None, 1, 80, **sequence)], {}, [tensor("y", None, 1, 40)]).fixed == 1
    assert batch_rule([tensor("x", 100, 1, 80, **sequence)], {}, [tensor("y", 100, 1, 40)]).fixed == 1
    assert axes([tensor("x", None, None, 80, **sequence)]) == {("x", 1)}


def test_a_batch_of_one_step_or_one_sequence_is_asked_for_with_both_answers():
    inputs, outputs = [tensor("x", None, 1, 80)], [tensor("y", None, 1, 40)]
    with pytest.raises(BadInput, match=r"'x\.0'.*--shape x=Nx1x80.*--dim x\.0="):
        batch_rule(inputs, {}, outputs)
    assert axes(inputs, outputs, {"x": ("N", 1, 80)}) == {("x", 0)}
    assert axes(inputs, outputs, lengths=["x.0"]) == set()


def test_a_name_from_the_user_in_place_of_a_symbol_says_that_it_is_the_batch():
    assert axes([tensor("x", "T", 1, 80)], shapes={"x": ("N", 1, 80)}) == {("x", 0)}
    assert axes([tensor("x", "T", 1, 80)], shapes={"x": ("T", 1, 80)}) == set()


def test_a_fixed_first_size_that_no_output_has_counts_no_items():
    assert batch_rule([tensor("image", 3, 32, 32)], {}, [tensor("y", 10)]).fixed == 1
    assert batch_rule([tensor("x", 4, 3)], {}, [tensor("y", 4, 2)]).fixed == 4


def test_a_name_in_a_given_shape_leaves_the_dimension_open():
    inputs, given = [tensor("ids", "batch", "seq"), tensor("mask", "batch", "seq")], {"ids": ("N", 128)}
    check_shapes(inputs, given)
    rule = batch_rule(inputs, given)
    assert rule.fixed is None
    assert cell_shapes(inputs, 8, rule, given) == (("ids", (8, 128)), ("mask", (8, 128)))


def test_the_users_name_ties_dimensions_that_have_none():
    inputs, given = [tensor("a", "batch", None), tensor("b", "batch", None)], {"a": ("batch", "len"), "b": ("batch", "len")}
    shapes = cell_shapes(inputs, 2, batch_rule(inputs, given), given, {"len": 7})
    assert shapes == (("a", (2, 7)), ("b", (2, 7)))


def test_one_symbol_may_have_two_lengths_and_a_length_may_be_0():
    inputs = [tensor("encoder", "batch", "seq", 32), tensor("decoder", "batch", "seq", 32)]
    given = {"encoder": (2, 16, 32), "decoder": (2, 0, 32)}
    check_shapes(inputs, given)
    assert cell_shapes(inputs, 2, batch_rule(inputs, given), given) == (("encoder", (2, 16, 32)), ("decoder", (2, 0, 32)))


def test_an_input_cannot_follow_a_symbol_of_two_lengths():
    inputs = [tensor(name, "batch", "seq") for name in ("a", "b", "c")]
    given = {"a": (2, 16), "b": (2, 8)}
    with pytest.raises(BadInput, match=r"'seq' .*'c'"):
        cell_shapes(inputs, 2, batch_rule(inputs, given), given)


def test_a_batch_of_no_items_is_refused():
    with pytest.raises(BadInput, match="0 items"):
        check_shapes([tensor("x", "batch", 3)], {"x": (0, 3)})


def test_an_input_that_sets_an_operator_has_no_items():
    """An empty array is a value of its own: the sum is over no axis."""
    inputs = [tensor("x", 3, 4), tensor("axes", None, setting="the axes of ReduceSum")]
    given = {"axes": (0,)}
    check_shapes(inputs, given)
    rule = batch_rule(inputs, given, [tensor("y", 3, 4)])
    assert (rule.axes, rule.fixed) == (frozenset(), 3)
    assert cell_shapes(inputs, 3, rule, given) == (("x", (3, 4)), ("axes", (0,)))
