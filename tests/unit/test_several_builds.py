"""Several builds of one cell: each is timed by itself, the middle one is measured, and its engine can be kept.

The null backend builds here. Its calls take as much longer as `Shop.slow` says of a build.
"""

import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.backends.null import Null, NullSession
from onnxbench.backends.shelf import Shelf
from onnxbench.errors import BadInput, Interrupted, RuntimeFailed
from onnxbench.evidence import KeptEngine, TimedBuild
from onnxbench.results.recommend.candidates import candidates, parse_request
from onnxbench.results.store.builds import middle_build, p50_of_builds, process_spread, spread
from onnxbench.results.store.record import read_run
from onnxbench.results.store.series import counted
from onnxbench.results.table import table
from onnxbench.runners.infer import saved_builds
from onnxbench.runners.sweep.builds import LEAST_BLOCKS
from onnxbench.runners.sweep.engine_files import engine_file
from onnxbench.runners.worker.jobs import Here

from .fake_worker import only
from .in_process import TINY

ONE = {"batches": (1,), "precisions": ("fp32",)}
LIVES = replace(TINY, looks=(6,), life_rounds=1)
CALL_NS = 100


class Shop:
    """The null backend as a builder. `slow`: ns that the calls of each build take longer. `made`: what was built."""

    def __init__(self, patch):
        self.slow, self.made, self.maker, self.works = {0: 0, 1: 5000, 2: 2000}, [], "Builder 1 on this machine", None
        patch.setattr(Null, "builds", True)
        patch.setattr(Null, "_build", self.build)
        patch.setattr(Null, "_open_engine", self.open)
        patch.setattr(Null, "engine_snippet", lambda _, artifact, cell, concurrency, engine: f"load {engine.path}")

    def build(self, artifact, cell, workshop):
        def make(timings):
            self.made.append((cell.batch, workshop.build))
            return f"{workshop.build} {len(self.made)}".encode(), timings + b"x"

        return Shelf(workshop, artifact, cell, self.maker).engine(make)

    def open(self, artifact, cell, concurrency, engine):
        session, build = NullSession(artifact, cell), int(engine.path.read_bytes().split()[0])

        def start():
            self.works.ns += self.slow[build]

        session.start = start
        return session


@pytest.fixture
def shop(monkeypatch):
    return Shop(monkeypatch)


@pytest.fixture
def ready(bench, shop, cache_folder):
    """A bench whose null backend builds."""

    def of(plot=lambda job, name, nth: {}):
        found = bench(plot=plot)
        shop.works = found.works
        return found

    return of


def events(found, kind):
    return [event for _, event in found.events if isinstance(event, kind)]


def opened_builds(found):
    return [choice.build for choice in found.works.asked("open", "engine")]


def row_of(found):
    (row,) = table.build([read_run(found.out)]).rows
    return row


def kinds_of(found):
    return [finding.kind for finding in table.build([read_run(found.out)]).findings]


def stop_at(job, nth):
    """The user presses Ctrl-C at the request `nth` for a job."""
    return lambda *asked: {"stop": True} if asked[::2] == (job, nth) else {}


def test_the_middle_build_is_measured(ready, shop):
    found = ready().infer(builds=3, **ONE)
    record = found.rows["fp32/1"]
    assert shop.made == [(1, 0), (1, 1), (1, 2)]
    assert p50_of_builds(record.timed_builds) == pytest.approx({0: CALL_NS, 1: CALL_NS + 5000, 2: CALL_NS + 2000})
    assert (record.build, record.built.build, record.opened.build) == (2, 2, 2)
    assert set(record.calls(0, "latency")) == {CALL_NS + 2000}
    assert opened_builds(found) == [0, 1, 2, 2]


def test_the_row_has_the_number_of_builds_their_spread_and_its_engine(ready):
    found = ready().infer(builds=3, **ONE)
    row, (record,) = row_of(found), found.rows.values()
    assert (row["builds"], row["engine_sha256"]) == (3, record.builds[2].engine_sha256)
    assert row["build_spread"] == pytest.approx(100 * 5000 / (CALL_NS + 2000))
    assert len({built.engine_sha256 for built in record.builds.values()}) == 3
    assert "builds" in kinds_of(found)


def test_one_build_has_no_spread(ready, shop):
    row = row_of(found := ready().infer(**ONE))
    assert (row["builds"], row["build_spread"], len(row["engine_sha256"]), shop.made) == (1, None, 64, [(1, 0)])
    assert not events(found, TimedBuild)
    assert "builds" not in kinds_of(found)


def test_every_build_is_timed_in_processes_of_its_own(ready):
    found = ready().infer(builds=3, budget=LIVES, **ONE)
    timed = events(found, TimedBuild)
    assert [(event.build, event.turn) for event in timed] == [(0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1)]
    assert {len(event.p50_ns) for event in timed} == {LEAST_BLOCKS}
    assert "builds_repeated" in kinds_of(found)
    assert opened_builds(found)[:6] == [0, 1, 2, 2, 1, 0]
    assert set(opened_builds(found)[6:]) == {2}
    others = ready().infer(budget=LIVES, **ONE).works.started
    assert len(found.works.started) == len(others) + len(timed)


def test_each_cell_chooses_by_itself(ready, shop):
    found = ready().infer(builds=3, batches=(1, 8), precisions=("fp32",))
    assert shop.made == [(batch, build) for batch in (1, 8) for build in range(3)]
    assert [record.build for record in found.rows.values()] == [2, 2]


def test_a_build_that_does_not_open_ends_its_cell_and_the_others_go_on(ready):
    found = ready(only("open", "fp32/8", 1, raised=RuntimeFailed("no kernel")))
    assert found.infer(builds=3, batches=(1, 8), precisions=("fp32",)).states == {"fp32/1": "ok", "fp32/8": "failed"}


def test_a_run_that_was_stopped_times_the_other_builds_alone(ready, shop):
    found = ready(stop_at("open", 1))
    with pytest.raises(Interrupted):
        found.infer(builds=3, **ONE)
    assert [event.build for event in events(found, TimedBuild)] == [0, 1]
    found.infer(resume=True, builds=3, **ONE)
    assert [event.build for event in events(found, TimedBuild)] == [0, 1, 2]
    assert (found.rows["fp32/1"].build, len(shop.made)) == (2, 3)


def test_a_run_goes_on_with_its_own_number_of_builds(ready):
    found = ready().infer(builds=3, **ONE)
    for builds in (1, 2):
        with pytest.raises(BadInput, match="3 builds of each engine"):
            found.infer(resume=True, builds=builds, **ONE)
    assert saved_builds(found.out) == 3
    assert saved_builds(found.out.parent) == 1


def test_rounds_of_two_engines_are_not_mixed(ready, cache_folder):
    found = ready(stop_at("throughput", 0))
    with pytest.raises(Interrupted):
        found.infer(budget=replace(TINY, looks=(2,)), **ONE)
    shutil.rmtree(cache_folder)
    found.infer(resume=True, budget=replace(TINY, looks=(2,)), **ONE)
    assert found.states == {"fp32/1": "failed"}
    assert "another one" in found.rows["fp32/1"].reason


@pytest.mark.parametrize("budget", [TINY, replace(TINY, cold_starts=2)])
def test_fresh_processes_open_the_build_that_is_measured(ready, budget):
    found = ready().infer(builds=3, cold=True, budget=budget, **ONE)
    assert {choice.build for choice in found.works.asked("cold", "engine")} == {2}


def kept_in(folder, found):
    (file,) = (engine_file(str(folder), record.cell) for record in found.rows.values())
    return file


def test_the_measured_engine_is_kept_and_its_program_loads_it(ready, tmp_path):
    found = ready().infer(builds=3, keep_engines=str(tmp_path / "kept"), **ONE)
    file, record = kept_in(tmp_path / "kept", found), found.rows["fp32/1"]
    assert file.read_bytes() == b"2 3"
    assert file.name.startswith("null-cnn-fp32-b1-")
    assert (
        json.loads(file.with_suffix(".json").read_text())["sha256"] == record.kept_engine.sha256 == record.opened.engine_sha256
    )
    assert (record.kept_engine.file, record.kept_engine.reused) == (str(file), False)
    (candidate,) = candidates([read_run(found.out)], parse_request("latency", (), (), ()))
    assert candidate.deployment.snippet == f"load {file}"
    assert "engine_kept" in kinds_of(found)


def test_an_engine_that_is_kept_is_measured_again_and_nothing_is_built(ready, shop, tmp_path, cache_folder):
    first = ready().infer(builds=3, keep_engines=str(tmp_path / "kept"), **ONE)
    shutil.rmtree(cache_folder)
    again = ready().infer(builds=3, keep_engines=str(tmp_path / "kept"), **ONE)
    assert len(shop.made) == 3
    one, other = (found.rows["fp32/1"] for found in (first, again))
    assert one.opened.engine_sha256 == other.opened.engine_sha256
    assert other.calls(0, "latency").tolist() == one.calls(0, "latency").tolist()
    assert ((row := row_of(again))["builds"], row["build_spread"], other.kept_engine.reused) == (1, None, True)
    assert "engine_reused" in kinds_of(again)
    again.infer(resume=True, builds=3, keep_engines=str(tmp_path / "kept"), **ONE)
    assert len(events(again, KeptEngine)) == 1


def test_a_worker_is_given_the_engine_and_its_record(ready, tmp_path):
    """A pool on another machine brings what a job names, and nothing beside it."""
    asked = {"keep_engines": str(tmp_path / "kept"), **ONE}
    file = kept_in(tmp_path / "kept", ready().infer(**asked))
    found = ready().infer(**asked)
    for choice in (*found.works.asked("build", "engine"), *found.works.asked("open", "engine")):
        assert (choice.file, choice.record) == (Here(path=str(file)), Here(path=str(file.with_suffix(".json"))))


def test_a_run_that_was_stopped_goes_on_with_the_kept_engine(ready, shop, tmp_path, cache_folder):
    asked = {"builds": 3, "keep_engines": str(tmp_path / "kept"), "budget": replace(TINY, looks=(2,)), **ONE}
    found = ready(stop_at("throughput", 0))
    with pytest.raises(Interrupted):
        found.infer(**asked)
    shutil.rmtree(cache_folder)
    record = found.infer(resume=True, **asked).rows["fp32/1"]
    assert (record.status, record.build, len(shop.made), len(events(found, KeptEngine))) == ("ok", 2, 3, 1)


def test_the_user_gives_the_folder_of_engines_again(ready, tmp_path):
    found = ready().infer(keep_engines=str(tmp_path / "kept"), **ONE)
    with pytest.raises(BadInput, match="give --keep-engines again"):
        found.infer(resume=True, **ONE)


def test_a_journal_cannot_name_an_engine_elsewhere(ready, tmp_path, cache_folder):
    """The run folder may come from an enemy, and an engine is native code."""
    asked = {"keep_engines": str(tmp_path / "kept"), "budget": replace(TINY, looks=(2,)), **ONE}
    found = ready(stop_at("throughput", 0))
    with pytest.raises(Interrupted):
        found.infer(**asked)
    file = kept_in(tmp_path / "kept", found)
    shutil.move(tmp_path / "kept", tmp_path / "evil")
    journal = found.out / "journal.jsonl"
    journal.write_text(journal.read_text().replace(str(file), str(tmp_path / "evil" / file.name)))
    before = len(found.works.asked("open", "engine"))
    found.infer(resume=True, **asked)
    assert [choice.file for choice in found.works.asked("open", "engine")[before:] if choice.file] != []
    assert all("evil" not in choice.file.path for choice in found.works.asked("open", "engine") if choice.file)


def other_maker(shop, file):
    shop.maker = "Builder 2 on that machine"
    return "Builder 1 on this machine, and this is Builder 2 on that machine"


def damaged(shop, file):
    file.write_bytes(b"2 4")
    return "damaged"


def other_file(shop, file):
    record = json.loads(file.with_suffix(".json").read_text())
    file.with_suffix(".json").write_text(json.dumps({**record, "recipe": "0"}))
    return "another ONNX file"


def no_record(shop, file):
    file.with_suffix(".json").unlink()
    return "no record"


@pytest.mark.parametrize("change", [other_maker, damaged, other_file, no_record])
def test_a_kept_engine_that_cannot_be_used_is_a_row_that_names_it(ready, shop, tmp_path, change):
    folder = str(tmp_path / "kept")
    words = change(shop, file := kept_in(folder, ready().infer(keep_engines=folder, **ONE)))
    before = file.read_bytes()
    found = ready().infer(keep_engines=folder, batches=(1, 8), precisions=("fp32",))
    assert found.states == {"fp32/1": "unsupported", "fp32/8": "ok"}
    assert str(file) in found.rows["fp32/1"].reason
    assert words in found.rows["fp32/1"].reason
    assert file.read_bytes() == before


def test_engines_of_cells_that_were_measured_before_are_not_kept(ready, tmp_path):
    found = ready().infer(**ONE)
    found.infer(resume=True, keep_engines=str(tmp_path / "kept"), **ONE)
    assert not list((tmp_path / "kept").iterdir())
    assert any("not kept" in note for note in found.progress.told)


def test_a_folder_that_cannot_be_written_ends_the_run_before_anything_starts(ready, tmp_path):
    (tmp_path / "file").write_text("")
    found = ready()
    with pytest.raises(BadInput, match="--keep-engines"):
        found.infer(keep_engines=str(tmp_path / "file"), **ONE)
    assert not found.works.started


def test_a_backend_that_builds_nothing_is_named_in_one_note(bench, tmp_path):
    found = bench().infer(builds=3, keep_engines=str(tmp_path / "kept"), **ONE)
    notes = [note for note in found.progress.told if note.startswith("--")]
    assert [note.partition(":")[0] for note in notes] == ["--builds 3 changes nothing", "--keep-engines changes nothing"]
    assert all("null" in note for note in notes)
    row = row_of(found)
    assert [row[name] for name in ("builds", "build_spread", "engine_sha256")] == [None] * 3
    assert not list((tmp_path / "kept").iterdir())


@pytest.fixture
def searching(monkeypatch):
    monkeypatch.setattr(Null, "searches", {"work": ("", "1")})


@pytest.mark.parametrize(("budget", "lives"), [(TINY, 3), (replace(TINY, looks=(6,)), 3), (LIVES, 6)])
def test_a_runtime_that_searches_at_every_opening_has_a_life_for_each_build(bench, searching, budget, lives):
    found = bench().infer(builds=3, budget=budget, **ONE)
    (record,) = found.rows.values()
    assert {block.life for block in record.blocks.values()} == set(range(lives))
    clean = {record.blocks[number].life for number in counted(record)}  # the machine may disturb a round
    assert (row_of(found)["builds"], row_of(found)["build_spread"]) == (len(clean), 0)
    assert "builds_of_lives" in kinds_of(found)


def test_a_search_that_an_option_switches_off_is_no_build(bench, searching):
    found = bench().infer(builds=3, options=(("work", "2"),), **ONE)
    assert row_of(found)["builds"] is None
    assert {block.life for record in found.rows.values() for block in record.blocks.values()} == {None}


timed = st.dictionaries(st.integers(0, 9), st.floats(1, 1e9), min_size=1)


@given(timed)
def test_as_many_builds_are_faster_as_slower_than_the_middle_one(p50_ns):
    middle = middle_build([TimedBuild(build=build, turn=0, p50_ns=(ns,)) for build, ns in p50_ns.items()])
    slower = sum(ns > p50_ns[middle] for ns in p50_ns.values())
    faster = sum(ns < p50_ns[middle] for ns in p50_ns.values())
    assert max(slower, faster) <= len(p50_ns) // 2


def test_of_two_builds_the_slower_is_the_middle_one():
    assert middle_build([TimedBuild(build=0, turn=0, p50_ns=(5.0,)), TimedBuild(build=1, turn=0, p50_ns=(4.0,))]) == 0
    assert middle_build([]) is None


def test_a_turn_that_was_repeated_counts_once():
    events = [TimedBuild(build=0, turn=turn, p50_ns=p50) for turn, p50 in ((0, (9.0, 9.0)), (0, (1.0, 4.0)), (1, (16.0, 64.0)))]
    assert p50_of_builds(events) == pytest.approx({0: 8.0})


@pytest.mark.parametrize("p50_ns", [(), (0.0,), (-1.0,)])
def test_a_build_without_a_time_is_damage(p50_ns):
    with pytest.raises(TypeError):
        TimedBuild(build=0, turn=0, p50_ns=p50_ns)


def test_the_processes_of_one_build_are_compared_with_each_other():
    p50s_ns = {(0, 0): 100.0, (0, 1): 101.0, (1, 0): 208.0, (1, 1): 200.0, (2, 0): 999.0}
    events = [TimedBuild(build=build, turn=turn, p50_ns=(ns,)) for (build, turn), ns in p50s_ns.items()]
    assert process_spread(events) == pytest.approx(0.04)
    assert process_spread(events[:1]) is None


def test_a_spread_is_a_share_of_the_middle_build():
    assert spread({0: 46.0, 1: 51.0, 2: 50.0}) == pytest.approx(0.1)
    assert spread({0: 46.0}) is None
