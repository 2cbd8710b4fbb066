from dataclasses import replace
from importlib.metadata import version

import pytest
from onnxbench import __version__
from onnxbench.evidence import Parity
from onnxbench.exporters import cache
from onnxbench.exporters.derive import RECIPES, SHAPES, DerivationTools, Findings, Recipe, derive, option_of, other_maker
from onnxbench.exporters.manifest import Maker
from onnxbench.spec import Derived

pytestmark = pytest.mark.usefixtures("cache_folder")
PARITY = Parity(sqnr_db=30.0, runtime="copier", data="random", samples=1)
OPTIONS = (("scheme", "portable"), ("samples", "8"))


@pytest.fixture
def made():
    """Sources that the recipe `copy` was asked for, in order."""
    return []


@pytest.fixture(autouse=True)
def recipe(monkeypatch, made):
    """A recipe that needs no library: it copies, and adds its options."""

    def make(source, target, options, feeds):
        made.append(source.name)
        target.write_text(f"{source.read_text()} {dict(options)} {feeds}")
        return Findings(in_float=("norm",))

    copy = Recipe(name="copy", revision=1, make=make, libraries=())
    monkeypatch.setitem(RECIPES, "copy", copy)
    return copy


@pytest.fixture
def source(make_artifact, tmp_path):
    (tmp_path / "net.onnx").write_text("net")
    return make_artifact(model="net", path=str(tmp_path / "net.onnx"), dataset="digits")


@pytest.fixture
def tools(make_artifact):
    def describe(path):
        return make_artifact(model="net", path=str(path), sha256=path.read_text())

    def of(feeds=(), fingerprint="none"):
        functions = {
            "describe": describe,
            "parity": lambda found: PARITY,
            "file_hash": lambda path: path.read_text(),
        }
        return DerivationTools(feeds=feeds, fingerprint=fingerprint, **functions)

    return of


def test_each_shape_has_a_file_of_its_own(source, tools):
    for shapes in ((("x", (1, 3)),), (("x", (2, 3)),)):
        options = ((SHAPES, option_of(shapes)),)
        assert [derive(source, "copy", options, tools()).cached for _ in range(2)] == [False, True]


def test_a_file_is_made_once_and_says_how(source, tools, made):
    first, again = (derive(source, "copy", OPTIONS, tools()) for _ in range(2))
    assert (first.cached, again.cached, made) == (False, True, ["net.onnx"])
    found = again.exported.artifact
    assert found.derived == Derived(origin=source.sha256, recipe="copy", revision=1, tool=__version__, options=OPTIONS)
    assert (found.precision, found.path, found.dataset) == ("copy", "net.copy.onnx", "digits")
    assert again.exported.made == Maker(exporter="onnxruntime", parity=PARITY, in_float=("norm",))
    assert replace(first, cached=True) == again


@pytest.mark.parametrize(
    "change", [{"sha256": "cd" * 32}, {"model": "other"}, {"dataset": None}], ids=lambda change: next(iter(change))
)
def test_another_source_is_made_anew(source, tools, change):
    derive(source, "copy", OPTIONS, tools())
    assert not derive(replace(source, **change), "copy", OPTIONS, tools()).cached


def test_other_options_and_other_data_are_made_anew(source, tools):
    derive(source, "copy", OPTIONS, tools())
    assert not derive(source, "copy", (), tools()).cached
    assert not derive(source, "copy", OPTIONS, tools(fingerprint="other")).cached


def test_another_revision_is_made_anew(source, tools, recipe, monkeypatch):
    derive(source, "copy", OPTIONS, tools())
    monkeypatch.setitem(RECIPES, "copy", replace(recipe, revision=2))
    answer = derive(source, "copy", OPTIONS, tools())
    assert (answer.cached, answer.exported.artifact.derived.revision) == (False, 2)


def test_other_versions_of_libraries_make_it_anew(source, tools, recipe, monkeypatch):
    derive(source, "copy", OPTIONS, tools())
    monkeypatch.setitem(RECIPES, "copy", replace(recipe, libraries=("numpy",)))
    answer = derive(source, "copy", OPTIONS, tools())
    assert not answer.cached
    assert dict(answer.exported.artifact.derived.versions) == answer.exported.made.versions
    assert set(answer.exported.made.versions) == {"numpy"}


def test_a_damaged_file_is_made_again(source, tools, made):
    answer = derive(source, "copy", OPTIONS, tools())
    (answer.folder / "net.copy.onnx").write_text("damaged")
    assert not derive(source, "copy", OPTIONS, tools()).cached
    assert made == ["net.onnx"] * 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"artifact": {}, "made": {}}'])
def test_a_damaged_entry_is_made_again(source, tools, text):
    answer = derive(source, "copy", OPTIONS, tools())
    (answer.folder / cache.ENTRY).write_text(text)
    assert not derive(source, "copy", OPTIONS, tools()).cached


def test_a_recipe_gets_the_data(source, tools):
    answer = derive(source, "copy", (), tools(feeds=[1, 2]))
    assert (answer.folder / "net.copy.onnx").read_text() == "net {} [1, 2]"


@pytest.mark.parametrize(
    ("recipe_name", "revision", "maker"), [("copy", 1, None), ("copy", 0, "0.1"), ("copy", 2, "0.1"), ("fold", 1, "0.1")]
)
def test_what_another_revision_or_an_unknown_recipe_made_names_its_maker(recipe_name, revision, maker):
    assert other_maker(Derived(origin="ab", recipe=recipe_name, revision=revision, tool="0.1")) == maker


def test_what_was_not_derived_has_no_other_maker():
    assert other_maker(None) is None


def test_versions_are_those_of_modules_whatever_their_package_is_called():
    recipe = Recipe(name="fp16", revision=1, make=lambda *_: None, libraries=("google.protobuf",))
    assert recipe.versions() == (("google.protobuf", version("protobuf")),)
