"""Engines that are kept, with a clock that ticks and a maker that counts."""

import hashlib
import json
import stat
from types import SimpleNamespace

import pytest
from onnxbench.backends.protocol import Workshop
from onnxbench.backends.shelf import ENGINE_FILE, RECORD_FILE, Shelf
from onnxbench.errors import Unsupported
from onnxbench.spec import Settings

OLD, NEW = "TensorRT 8.6.1 on NVIDIA H100 sm_90", "TensorRT 10.3.0 on NVIDIA H100 sm_90"
BATCH = {"batch": 8, "shapes": (("input", (8, 3, 48, 48)),)}


def with_options(**options):
    return {"settings": Settings(threads=2, options=tuple(options.items()))}


@pytest.fixture
def shelf(tmp_path, make_cell, make_artifact):
    """An engine of a cell with `changes`, and who makes it (`made`: which timings each one was given). Making takes 2 s."""
    time = SimpleNamespace(ns=7)
    made = []

    def make(timings):
        made.append(timings)
        time.ns += 2_000_000_000
        return f"plan {len(made)}".encode(), timings + b"%d" % len(made)

    def engine(maker=OLD, sha256="ab" * 32, build=0, kept=None, more=(), make=make, **changes):
        workshop = Workshop(folder=tmp_path / "engines", now_ns=lambda: time.ns, build=build, file=kept)
        return Shelf(workshop, make_artifact(sha256=sha256), make_cell(**changes), maker, more).engine(make)

    engine.made = made
    return engine


def said(build):
    return build.path.read_bytes(), build.seconds, build.cached, build.remark


def test_an_engine_is_built_once_and_found_with_the_seconds_that_it_took(shelf):
    first, second = shelf(), shelf()
    assert said(first) == (b"plan 1", 2, False, "")
    assert said(second) == (b"plan 1", 2, True, "")
    assert (first.path, len(shelf.made)) == (second.path, 1)


def test_folders_of_engines_are_for_their_user_alone(shelf, tmp_path):
    (tmp_path / "engines").mkdir()
    shelf()
    below = [place for place in (tmp_path / "engines").rglob("*") if place.is_dir()]
    assert len(below) == 3
    assert {stat.S_IMODE(place.stat().st_mode) for place in below} == {0o700}


def test_nothing_but_an_engine_its_entry_and_timings_is_left(shelf, tmp_path):
    build = shelf()
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    (timings,) = (tmp_path / "engines/timings").iterdir()
    assert left == {build.path, build.path.with_name(RECORD_FILE), timings}


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / ENGINE_FILE).write_bytes(b"plan"),
        lambda place: (place / ENGINE_FILE).write_bytes(b""),
        lambda place: (place / ENGINE_FILE).unlink(),
        lambda place: (place / RECORD_FILE).write_text((place / RECORD_FILE).read_text()[:-9]),
        lambda place: (place / RECORD_FILE).write_bytes(b"\xff\x00"),
        lambda place: (place / RECORD_FILE).unlink(),
    ],
    ids=["cut engine", "empty engine", "no engine", "cut entry", "no text", "no entry"],
)
def test_what_was_damaged_is_built_again_and_said_once(shelf, damage):
    damage(shelf().path.parent)
    engine = shelf()
    assert (said(engine)[:3], "damaged" in engine.remark) == ((b"plan 2", 2, False), True)
    assert said(shelf()) == (b"plan 2", 2, True, "")


def test_an_engine_of_another_maker_stays_where_it_is_and_is_named(shelf):
    old, new = shelf(OLD), shelf(NEW)
    assert said(new)[:3] == (b"plan 2", 2, False)
    assert [maker in new.remark for maker in (OLD, NEW)] == [True, True]
    assert said(shelf(OLD)) == (b"plan 1", 2, True, "")
    assert said(shelf(NEW)) == (b"plan 2", 2, True, "")
    assert old.path.parent.parent == new.path.parent.parent


def test_a_damaged_engine_of_another_maker_is_nobodys_remark(shelf):
    (shelf(OLD).path.parent / RECORD_FILE).write_text("{")
    assert said(shelf(NEW)) == (b"plan 2", 2, False, "")


@pytest.mark.parametrize(
    "changes",
    [{"precision": "fp16"}, BATCH, {"sha256": "cd" * 32}, with_options(optimization_level="5")],
    ids=["precision", "shapes", "file", "option"],
)
def test_what_the_builder_is_told_makes_another_engine(shelf, changes):
    first = shelf()
    assert said(shelf(**changes)) == (b"plan 2", 2, False, "")
    assert said(shelf())[:3] == (first.path.read_bytes(), 2, True) == (b"plan 1", 2, True)
    assert shelf(**changes).cached


@pytest.mark.parametrize(
    "changes",
    [
        with_options(cuda_graph="off"),
        {"settings": Settings(threads=1)},
        {"device": "cuda:1"},
        {"environment": "new"},
        {"model": "renamed"},
    ],
    ids=["cuda_graph", "threads", "device", "environment", "name"],
)
def test_what_the_builder_is_not_told_does_not(shelf, changes):
    shelf()
    assert shelf(**changes).cached


def test_further_values_make_another_engine_of_which_no_remark_is_made(shelf):
    """Two runtimes share the folder of engines: neither finds the other's."""
    shelf()
    assert said(shelf(NEW, more=("another runtime", 2))) == (b"plan 2", 2, False, "")
    assert shelf(NEW, more=("another runtime", 2)).cached
    assert not shelf(NEW, more=("another runtime", 1)).cached


def test_a_builder_that_learns_nothing_leaves_no_timings(shelf, tmp_path):
    build = shelf(make=lambda timings: (b"package", b""))
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {build.path, build.path.with_name(RECORD_FILE)}


def test_a_graph_does_not_hide_the_other_options(shelf):
    shelf(**with_options(optimization_level="5"))
    assert shelf(**with_options(cuda_graph="on", optimization_level="5")).cached
    assert not shelf(**with_options(cuda_graph="on", optimization_level="4")).cached


def test_what_was_learned_is_handed_on_between_engines_of_one_maker_alone(shelf):
    for maker, precision in ((OLD, "fp32"), (OLD, "fp16"), (NEW, "fp32"), (OLD, "int8"), (NEW, "fp16")):
        shelf(maker, precision=precision)
    assert shelf.made == [b"", b"1", b"", b"12", b"3"]


def test_a_build_that_fails_leaves_nothing_that_is_taken_for_an_engine(shelf, tmp_path, make_cell, make_artifact):
    def fail(_):
        raise MemoryError

    workshop = Workshop(folder=tmp_path / "engines", now_ns=lambda: 0)
    with pytest.raises(MemoryError):
        Shelf(workshop, make_artifact(), make_cell(), OLD).engine(fail)
    assert said(shelf()) == (b"plan 1", 2, False, "")


def test_an_entry_says_who_made_an_engine_and_what_it_must_be(shelf):
    entry = json.loads((shelf().path.parent / RECORD_FILE).read_text())
    assert (entry["maker"], entry["seconds"], len(entry["sha256"])) == (OLD, 2, 64)


def test_further_builds_know_nothing_of_earlier_ones_and_are_found_again(shelf):
    shelf()
    builds = [shelf(build=number) for number in (1, 2, 1)]
    assert shelf.made == [b"", b"", b""]
    assert [said(build) for build in builds] == [(b"plan 2", 2, False, ""), (b"plan 3", 2, False, ""), (b"plan 2", 2, True, "")]
    assert said(shelf()) == (b"plan 1", 2, True, "")
    shelf(precision="fp16")
    assert shelf.made[-1] == b"1"  # what the further builds learned is not handed on


def test_a_first_build_after_a_further_one_is_not_called_damaged(shelf):
    shelf(build=1)
    assert said(shelf()) == (b"plan 2", 2, False, "")


def test_an_engine_knows_its_hash_its_maker_and_its_recipe(shelf):
    one, again, other = shelf(), shelf(), shelf(build=1)
    assert one.sha256 == again.sha256 == hashlib.sha256(b"plan 1").hexdigest() != other.sha256
    assert {build.maker for build in (one, again, other)} == {OLD}
    assert one.recipe == other.recipe != shelf(precision="fp16").recipe


@pytest.fixture
def kept(shelf, tmp_path):
    """An engine that the user keeps."""
    engine, file = shelf(), tmp_path / "mine.engine"
    file.write_bytes(engine.path.read_bytes())
    record = {"maker": engine.maker, "recipe": engine.recipe, "seconds": engine.seconds, "sha256": engine.sha256}
    file.with_suffix(".json").write_text(json.dumps(record))
    return file


def test_an_engine_that_the_user_keeps_is_taken_as_it_is(shelf, kept):
    engine = shelf(kept=kept)
    assert (said(engine), engine.path, len(shelf.made)) == ((b"plan 1", 2, True, ""), kept, 1)


@pytest.mark.parametrize(
    ("changes", "damage", "words"),
    [
        ({"maker": NEW}, b"plan 1", f"built by {OLD}, and this is {NEW}"),
        ({"precision": "fp16"}, b"plan 1", "another ONNX file, or with other settings"),
        ({"sha256": "cd" * 32}, b"plan 1", "another ONNX file, or with other settings"),
        ({}, b"plan 2", "SHA-256"),
    ],
    ids=["maker", "settings", "file", "damaged"],
)
def test_an_engine_of_the_user_that_does_not_fit_is_refused_and_left(shelf, kept, changes, damage, words):
    kept.write_bytes(damage)
    with pytest.raises(Unsupported) as raised:
        shelf(kept=kept, **changes)
    assert str(kept) in str(raised.value)
    assert words in str(raised.value)
    assert (kept.read_bytes(), len(shelf.made)) == (damage, 1)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "\x00"])
def test_an_engine_of_the_user_without_a_record_is_refused(shelf, kept, text):
    record = kept.with_suffix(".json")
    record.unlink() if text is None else record.write_text(text)
    with pytest.raises(Unsupported, match=record.name):
        shelf(kept=kept)
