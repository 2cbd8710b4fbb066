"""Which targets are asked for, and which interpreter each has."""

import sys
from pathlib import Path

import pytest
from onnxbench import backends
from onnxbench.commands.runs import split_interpreters
from onnxbench.errors import BadInput
from onnxbench.runners.pool.environments import interpreter, interpreters, targets_of
from onnxbench.spec import Sweep


def named(**asked):
    return [str(target) for target in targets_of(Sweep(**asked))]


def test_backends_are_those_that_were_named_each_once():
    assert named(backends=("null", "ort-cpu", "null")) == ["null", "ort-cpu"]


def test_all_backends_are_all_but_instruments():
    everything = named(backends=("all",))
    assert {"torch-cpu", "torch-cuda", "ort-cpu", "ort-cuda", "openvino-cpu", "ncnn-cpu"} <= set(everything)
    assert "null" not in everything
    assert named(backends=("null", "all", "ort-cpu")) == ["null", *everything]


def test_a_sweep_that_names_none_measures_the_defaults():
    everything, defaults = named(backends=("all",)), named()
    assert defaults == [name for name in everything if backends.registrations()[name].default]
    assert {"torch-cpu", "torch-cuda", "ort-cpu", "ort-cuda", "openvino-cpu", "tensorrt"} <= set(defaults)
    assert [name for name in defaults if backends.get(name).converter] == []
    assert named(pythons=(("ncnn-cpu", "a"),)) == [*defaults, "ncnn-cpu"]


def test_an_interpreter_may_be_that_of_a_converter():
    pairs = (("ort-cpu@old", "a"), ("pnnx", "b"), ("ncnn-cpu", "c"), ("mnnconvert", "d"), ("pnn", "e"))
    assert split_interpreters(pairs) == ((pairs[0], pairs[2], pairs[4]), (pairs[1], pairs[3]))
    assert split_interpreters(pairs[:1]) == (pairs[:1], ())


@pytest.mark.parametrize("names", [("ort-cup",), ("ort-cup@new",)])
def test_a_backend_that_there_is_not_is_refused(names):
    with pytest.raises(BadInput, match="'ort-cup' is not a backend; did you mean 'ort-cpu'"):
        targets_of(Sweep(backends=names))


def test_an_environment_with_an_interpreter_is_measured_beside_its_backend():
    without, found = named(), named(pythons=(("ort-cpu@old", "a"), ("null@b", "b"), ("ort-cpu@new", "c")))
    where = without.index("ort-cpu") + 1
    assert found == [*without[:where], "ort-cpu@old", "ort-cpu@new", *without[where:], "null@b"]


def test_a_backend_with_an_interpreter_is_measured_once():
    assert named(pythons=(("ort-cpu", "a"),)) == named()


def test_an_environment_of_options_is_measured_where_it_is_named():
    options = (("null@busy.work", "9"),)
    assert named(backends=("null", "null@busy"), options=options) == ["null", "null@busy"]
    assert "null@busy" not in named(options=options)


@pytest.mark.parametrize("options", [(), (("null.work", "9"),), (("null@b.work", "9"),), (("null@busy2.work", "9"),)])
def test_an_environment_of_which_nothing_is_said_is_refused(options):
    with pytest.raises(BadInput, match="null@busy names no environment; give --python null@busy=PATH, or --option null@busy"):
        targets_of(Sweep(backends=("null@busy",), options=options))


@pytest.mark.parametrize("name", ["ort-cpu", "ort-cpu@new"])
def test_an_interpreter_of_what_is_not_measured_is_refused(name):
    with pytest.raises(BadInput, match=f"--python {name} names no backend of this run; add {name} to --backend"):
        targets_of(Sweep(backends=("null",), pythons=((name, sys.executable),)))


def test_an_interpreter_that_is_given_twice_is_refused():
    with pytest.raises(BadInput, match="--python null@a is given 2 times"):
        targets_of(Sweep(pythons=(("null@a", "x"), ("null@a", "y"))))


@pytest.fixture
def python(tmp_path):
    """A path in a folder that looks like a virtual environment's, linked to this interpreter."""
    path = tmp_path / "venv" / "bin" / "python"
    path.parent.mkdir(parents=True)
    path.symlink_to(sys.executable)
    return path


def test_an_interpreter_is_a_file_or_what_its_folder_has(python, monkeypatch):
    assert interpreter(str(python)) == str(python)
    assert interpreter(str(python.parents[1])) == str(python)
    monkeypatch.chdir(python.parents[2])
    assert interpreter("venv") == str(python)
    monkeypatch.setenv("HOME", str(python.parents[2]))
    assert interpreter("~/venv/bin/python") == str(python)


def test_who_has_no_interpreter_has_that_of_its_backend_and_else_this_one(python):
    asked = Sweep(
        backends=("ort-cpu", "ort-cpu@fast", "null", "null@busy", "null@old"),
        pythons=(("ort-cpu", str(python)), ("null@old", str(python))),
        options=(("ort-cpu@fast.graph", "off"), ("null@busy.work", "9")),
    )
    assert {str(target): path for target, path in interpreters(asked).items()} == {
        **dict.fromkeys(("ort-cpu", "ort-cpu@fast", "null@old"), str(python)),
        **dict.fromkeys(("null", "null@busy"), sys.executable),
    }


def script(path, text, mode):
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("#!/bin/sh\n", 0o644, "cannot be executed"),
        ('#!/bin/sh\necho "$@"\n', 0o755, "is not a Python 3"),
        ("#!/bin/sh\necho 0\n", 0o755, "is not a Python 3"),
        ("#!/no/such/thing\n", 0o755, r"is not a Python 3 \("),
        ("no program at all", 0o755, r"is not a Python 3 \("),
    ],
)
def test_what_is_not_a_python_is_refused(tmp_path, text, mode, says):
    path = script(tmp_path / "python", text, mode)
    with pytest.raises(BadInput, match=f"{path} {says}.*; give a Python, or the folder of a virtual environment"):
        interpreter(str(path))


def test_a_path_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(BadInput, match=f"there is no {tmp_path}/none; give a Python"):
        interpreter(str(tmp_path / "none"))
    with pytest.raises(BadInput, match=f"there is no {tmp_path}/bin/python; give a Python"):
        interpreter(str(tmp_path))


def test_paths_are_told_whole(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=str(Path.cwd() / "venvs" / "old")):
        interpreters(Sweep(pythons=(("null@old", "venvs/old"),)))
