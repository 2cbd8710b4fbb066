"""What is asked of workers, what they answer, and what a record keeps: typed to the last field, and the same after the pipe."""

import json
import types
from collections import abc
from dataclasses import fields, is_dataclass
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxbench.results.store.head import Head
from onnxbench.results.store.journal import EVENTS
from onnxbench.runners import worker
from onnxbench.runners.worker.jobs import Job, ProgressReport, TimePart
from onnxbench.runners.worker.tasks import BY_NAME, TASKS, task_of
from onnxbench.spec import from_wire, to_wire

FEW = 20
WRONG = [[[None]]]  # no field takes this
PLAIN = {
    str: st.text(max_size=4),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
}
JOBS = [task.kind() for task in TASKS]
ANSWERS = {kind.answer() for kind in JOBS}
FLOWING = {*JOBS, *ANSWERS, *EVENTS.values(), ProgressReport, Head}

every_job = pytest.mark.parametrize("kind", JOBS, ids=lambda kind: kind.__name__)


def sorted_by_name(kinds):
    return sorted(kinds, key=lambda kind: kind.__name__)


def values(kind):
    """Values of a type: a plain one, a union, a tuple, a mapping from texts, or a dataclass of these."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin in (Union, types.UnionType):
        return st.one_of(map(values, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if origin is abc.Mapping:
        return st.dictionaries(st.text(max_size=4), values(arguments[1]), max_size=2)
    hints = get_type_hints(kind)
    return st.builds(kind, **{item.name: values(hints[item.name]) for item in fields(kind)})


def untyped(kind, where, seen):
    """The fields in `kind`, looked through to the last, whose type says nothing of what is in them."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        if kind in seen:
            return []
        seen.add(kind)
        hints = get_type_hints(kind)
        return [name for item in fields(kind) for name in untyped(hints[item.name], f"{kind.__name__}.{item.name}", seen)]
    if origin in (Union, types.UnionType, tuple):
        return [name for item in arguments if item is not Ellipsis for name in untyped(item, where, seen)]
    if origin is abc.Mapping and arguments[0] is str:
        return untyped(arguments[1], where, seen)
    return [] if kind in PLAIN else [where]


def over_the_pipe(value):
    return from_wire(type(value), json.loads(json.dumps(to_wire(value), allow_nan=False)))


@every_job
@settings(max_examples=FEW)
@given(data=st.data())
def test_a_job_and_its_answer_are_the_same_behind_the_pipe(kind, data):
    for value in (data.draw(values(kind)), data.draw(values(kind.answer()))):
        assert over_the_pipe(value) == value


@every_job
@settings(max_examples=1)
@given(data=st.data())
def test_what_is_of_another_type_is_refused_with_the_fields_name(kind, data):
    for of in (kind, kind.answer()):
        right = to_wire(data.draw(values(of)))
        for item in fields(of):
            with pytest.raises(TypeError, match=f"^{item.name}: "):
                from_wire(of, {**right, item.name: WRONG})


@every_job
def test_a_job_is_done_by_a_function_of_its_type_that_answers_what_it_says(kind):
    hints = get_type_hints(task_of(kind).function())
    assert (hints["job"], hints["return"]) == (kind, kind.answer())


def test_there_is_no_other_job_and_each_has_a_name_of_its_own():
    kinds = {*Job.__subclasses__(), *TimePart.__subclasses__()} - {TimePart}
    assert {kind for kind in kinds if kind.__module__.startswith(worker.__name__)} == set(JOBS)
    assert len(BY_NAME) == len(TASKS)


@pytest.mark.parametrize("kind", sorted_by_name(FLOWING), ids=lambda kind: kind.__name__)
def test_nothing_that_flows_is_untyped(kind):
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert untyped(kind, kind.__name__, set()) == []


@pytest.mark.parametrize(
    "hint", [dict, abc.Mapping, list, tuple, object, abc.Mapping[str, object], tuple[dict, ...], None | dict]
)
def test_what_is_untyped_is_found_at_any_depth(hint):
    assert untyped(hint, "here", set()) == ["here"]
