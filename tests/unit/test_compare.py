"""Two sides of runs: what is matched, what is said of each metric, and what a gate makes of it."""

import gc
import itertools
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.commands.compare import POLICIES, spread
from onnxbench.errors import BadInput
from onnxbench.results.compare import gate
from onnxbench.results.compare.compare import compare
from onnxbench.results.compare.comparison import facts, tabulate
from onnxbench.results.compare.pairs import INTERRUPTED
from onnxbench.results.compare.run_figures import PROCESS
from onnxbench.results.stats.intervals import Repeated, difference, of_runs
from onnxbench.results.store.head import SCHEMA
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.findings import Finding, sentences
from onnxbench.results.table.layout import Screen
from onnxbench.results.table.render import render
from onnxbench.spec import Settings, Sweep

MS = 10**6
NAMES = itertools.count()
SHAKEN = np.exp(np.linspace(-0.003, 0.003, 10))  # rounds that differ a little
WORKING = Settings(threads=2, options=(("work", "1000"),))


@pytest.fixture
def run(run_folder):
    """A run of cells that each take so many ms, a little more or less in each round."""

    def of(*cells, ms, rounds=SHAKEN, memory=None, parity=None, life_rounds=0, **head):
        folder = run_folder(*cells, name=f"run{next(NAMES)}", **head)
        for cell, took in zip(cells, ms if isinstance(ms, list | tuple) else [ms] * len(cells)):
            for rss in memory or ():
                folder.cold(cell, peak_rss_mb=rss, device_mem_mb=None)
            folder.opened(cell)
            if parity:
                folder.verified(cell, **parity)
            folder.warm(cell)
            for number, factor in enumerate(rounds):
                ns = round(took * MS * factor)
                life = number // life_rounds if life_rounds else None
                folder.block(cell, number, [ns] * 40, [2 * ns] * 40, took_ns=100 * ns, life=life)
            folder.finished(cell)
        return folder.path

    return of


def compared(base, new, **how):
    base, new = ([read_run(path) for path in (side if isinstance(side, list) else [side])] for side in (base, new))
    return compare(base, new, **how)


def verdicts(found):
    return {(item.pair.cell.batch, item.metric.name): item.verdict for item in found}


def only(found, metric="p50", **cell):
    (item,) = [i for i in found if i.metric.name == metric and all(getattr(i.pair.cell, k) == v for k, v in cell.items())]
    return item


@pytest.mark.parametrize(
    ("ms", "verdict"), [(4.0, "no difference shown"), (4.06, "no difference shown"), (4.4, "slower"), (3.6, "faster")]
)
def test_one_run_a_side_shows_what_is_beyond_what_two_processes_may_differ_by(run, make_cell, ms, verdict):
    _, found = compared(run(make_cell(), ms=4.0), run(make_cell(), ms=ms))
    assert {item.metric.name: item.verdict for item in found} == dict.fromkeys(("p50", "e2e_p50", "throughput"), verdict)
    p50, rate = only(found), only(found, "throughput")
    assert (p50.base, p50.new, p50.effect) == pytest.approx((4, ms, ms / 4), rel=1e-3)
    assert rate.effect == pytest.approx(4 / ms, rel=1e-3)
    assert p50.ends[0] * (1 + PROCESS) < ms / 4 < p50.ends[1] / (1 + PROCESS)


@pytest.mark.parametrize(("life_rounds", "verdict"), [(0, "no difference shown"), (2, "slower")])
def test_runs_of_lives_need_no_allowance_for_two_processes(run, make_cell, life_rounds, verdict):
    sides, found = compared(*(run(make_cell(), ms=ms, life_rounds=life_rounds) for ms in (4.0, 4.06)))
    assert only(found).verdict == verdict
    (finding,) = [item for item in facts(sides, found) if item.kind.startswith("no_control")]
    assert finding.kind == ("no_control_of_lives" if life_rounds else "no_control")


@pytest.mark.parametrize(
    ("ms", "limit", "verdict"),
    [(4.04, None, "no difference shown"), (4.04, 0.03, "inconclusive"), (4.04, 0.1, "no difference shown")],
)
def test_whether_no_difference_is_shown_depends_on_what_is_asked_about(run, make_cell, ms, limit, verdict):
    thresholds = {} if limit is None else {"p50": limit}
    _, found = compared(run(make_cell(), ms=4.0), run(make_cell(), ms=ms), thresholds=thresholds)
    assert only(found).verdict == verdict
    assert only(found).reason == ("the interval is wider than ±3 %" if verdict == "inconclusive" else "")


def test_few_rounds_are_inconclusive_and_have_their_ratio(run, make_cell):
    _, found = compared(run(make_cell(), ms=4.0, rounds=[1.0] * 3), run(make_cell(), ms=8.0, rounds=[1.0] * 3))
    item = only(found)
    assert (item.verdict, item.reason, item.ends) == ("inconclusive", "fewer than 10 rounds", None)
    assert item.effect == pytest.approx(2)


def test_a_controls_ratio_goes_out_of_the_others(run, make_cell):
    cells = [make_cell(), make_cell(backend="null", settings=WORKING)]
    sides, found = compared(run(*cells, ms=[4.0, 1.0]), run(*cells, ms=[5.2, 1.3]))
    assert (sides.control, only(found, backend="ort-cpu").method) == ("null", "one run over null")
    assert only(found, backend="ort-cpu").effect == pytest.approx(1, rel=1e-3)
    assert only(found, backend="ort-cpu").verdict == "no difference shown"
    assert (only(found, backend="null").verdict, only(found, backend="null").reason) == (None, "the control")
    assert only(found, backend="null").effect == pytest.approx(1.3, rel=1e-3)


def test_a_control_is_named_or_an_instrument_with_fixed_work(run, make_cell):
    cells = [make_cell(), make_cell(backend="null")]
    base, new = run(*cells, ms=4.0), run(*cells, ms=4.0)
    assert compared(base, new)[0].control is None
    assert compared(base, new, control="null")[0].control == "null"
    with pytest.raises(BadInput, match="the control 'nul' is not in both runs; did you mean 'null'"):
        compared(base, new, control="nul")


def test_the_control_of_a_cell_is_the_one_most_like_it(run, make_cell):
    cells = [make_cell(backend=name, batch=batch, settings=WORKING) for batch in (1, 8) for name in ("ort-cpu", "null")]
    _, found = compared(run(*cells, ms=[4, 1, 32, 1]), run(*cells, ms=[8, 2, 32, 1]))
    assert [only(found, backend="ort-cpu", batch=b).effect for b in (1, 8)] == pytest.approx([1, 1], rel=1e-3)


def test_an_interval_over_a_control_is_wider(run, make_cell):
    cells = [make_cell(), make_cell(backend="null", settings=WORKING)]
    base, new = run(*cells, ms=4.0), run(*cells, ms=4.0)
    widths = [np.ptp(only(compared(base, new, control=c)[1], backend="ort-cpu").ends) for c in (None, "null")]
    alone = compared(run(cells[0], ms=4.0), run(cells[0], ms=4.0))[1]
    assert widths[0] == widths[1] > 1.3 * np.ptp(only(alone).ends)


@pytest.mark.parametrize(("count", "verdict"), [(2, "inconclusive"), (3, "slower")])
def test_several_runs_a_side_need_three_for_a_verdict(run, make_cell, count, verdict):
    factors = (0.995, 1.0, 1.005)[:count]
    sides = [[run(make_cell(), ms=ms * factor) for factor in factors] for ms in (4.0, 5.0)]
    _, found = compared(*sides)
    assert (only(found).verdict, only(found).effect) == (verdict, pytest.approx(1.25, rel=0.01))
    assert (only(found).ends is None) == (count < 3)


def test_several_runs_do_not_need_ten_rounds(run, make_cell):
    sides = [[run(make_cell(), ms=ms * factor, rounds=[1.0]) for factor in (0.99, 1.0, 1.01)] for ms in (4.0, 5.0)]
    assert only(compared(*sides)[1]).verdict == "slower"


def test_a_named_control_goes_out_of_each_run(run, make_cell):
    cells = [make_cell(), make_cell(backend="torch-cpu")]
    days = [[run(*cells, ms=[ms * day, 7 * day]) for day in (1.0, 1.3, 0.8)] for ms in (4.0, 5.0)]
    wide, narrow = (only(compared(*days, control=c)[1], backend="ort-cpu") for c in (None, "torch-cpu"))
    assert (wide.verdict, narrow.verdict) == ("inconclusive", "slower")
    assert narrow.effect == pytest.approx(1.25, rel=1e-3)


@pytest.mark.parametrize(
    ("base", "new", "verdict"),
    [
        ([100], [100.5], "no difference shown"),
        ([100, 101, 150], [112], "worse"),
        ([100], [80], "better"),
        ([100], [102], "worse"),
    ],
)
def test_memory_is_compared_by_the_median_of_processes(run, make_cell, base, new, verdict):
    _, found = compared(run(make_cell(), ms=4.0, memory=base), run(make_cell(), ms=4.0, memory=new))
    assert only(found, "peak_rss").verdict == verdict
    assert not [item for item in found if item.metric.name == "device_mem"]


def parity(lost, gained, images=10_000):
    return {"lost": lost, "gained": gained, "images": images, "top1": 98.0, "top1_drop": 100 * (lost - gained) / images}


@pytest.mark.parametrize(
    ("base", "new", "verdict", "failed"),
    [
        (parity(5, 5), parity(5, 5), "no difference shown", (0, 0)),
        (parity(10, 5), parity(210, 5), "worse", (1, 0)),
        (parity(210, 5), parity(10, 5), "better", (0, 0)),
        (parity(1, 1, 359), parity(2, 1, 359), "inconclusive", (0, 1)),
        (parity(5, 5), parity(5, 5, 500), "inconclusive", (0, 1)),
    ],
)
def test_a_drop_is_compared_on_the_same_images(run, make_cell, base, new, verdict, failed):
    _, found = compared(run(make_cell(), ms=4.0, parity=base), run(make_cell(), ms=4.0, parity=new))
    judged = gate.judge(gate.parse(["top1_drop>0.3"]), found)
    assert only(found, "top1_drop").verdict == verdict
    assert (len(judged.shown), len(judged.unsure)) == failed


def test_top1_without_a_drop_is_compared_by_itself(run, make_cell):
    sides = [run(make_cell(), ms=4.0, parity={"top1": top1, "images": 10_000}) for top1 in (98.0, 90.0)]
    _, found = compared(*sides)
    item = only(found, "top1")
    assert (item.verdict, item.effect) == ("worse", -8)
    assert item.ends[0] < -8 < item.ends[1] < 0
    assert len(gate.judge(gate.parse(["top1>1"]), found).shown) == 1


def test_a_check_is_compared_by_its_accuracy_alone(run_folder, make_cell):
    paths = []
    for name in "ab":
        folder = run_folder(make_cell(), name=name, kind="check")
        folder.opened(make_cell())
        folder.inspected(make_cell())
        folder.verified(make_cell(), **parity(5, 5))
        paths.append(folder.path)
    _, found = compared(*paths)
    assert [item.metric.name for item in found] == ["top1_drop"]
    with pytest.raises(BadInput, match="no cell of both sides has p50"):
        gate.judge(gate.parse(["p50>5%"]), found)


def test_a_new_file_of_a_model_is_compared_and_named(run, make_cell):
    sides, found = compared(run(make_cell(), ms=4.0), run(make_cell(sha256="cd" * 32), ms=5.0))
    assert only(found).verdict == "slower"
    assert sides.match.changed == (Finding.of("changed", what="model cnn fp32", old="file abababababab", new="cdcdcdcdcdcd"),)


@pytest.mark.parametrize(
    "other",
    [{"batch": 8}, {"precision": "int8"}, {"backend": "torch-cpu"}, {"environment": "new"}, {"settings": Settings(threads=4)}],
)
def test_a_cell_of_one_side_is_said(run, make_cell, other):
    shared, alone = make_cell(batch=32), make_cell(**other)
    sides, found = compared(run(shared, ms=4.0), run(shared, alone, ms=4.0))
    assert sides.match.left == (Finding.of("only_in", side="new", cells=alone.id),)
    assert {item.pair.cell for item in found} == {shared}


def test_files_of_one_run_that_share_a_name_stay_apart(run, make_cell):
    cells = [make_cell(), make_cell(sha256="cd" * 32)]
    _, found = compared(run(*cells, ms=[4.0, 6.0]), run(*cells, ms=[4.0, 6.0]))
    assert [item.effect for item in found] == pytest.approx([1.0] * 6)


def schemes(sides):
    return list(dict.fromkeys(pair.cell.scheme for pair in sides.match.pairs))


def test_cells_of_several_schemes_are_compared_by_scheme(run, make_cell):
    portable, layers, ort = (make_cell(precision="int8", scheme=scheme) for scheme in ("portable", "layers", "ort"))
    both = run(portable, layers, ms=[2, 3])
    sides, _ = compared(both, run(layers, ort, ms=[3, 4]))
    assert schemes(sides) == ["layers"]
    sides, _ = compared(run(portable, ms=2), run(ort, ms=1))
    assert schemes(sides) == ["portable"]


def test_what_failed_or_was_not_finished_is_said_and_the_rest_is_compared(run, run_folder, make_cell):
    cells = [make_cell(batch=batch) for batch in (1, 8, 32)]
    base = run(*cells, ms=4.0)
    new = run_folder(*cells, name="new")
    new.measured(cells[0], 4 * MS)
    new.add("failed", cells[1], status="failed", reason="it crashed")
    new.opened(cells[2])
    new.block(cells[2], 0, [4 * MS] * 40)
    sides, found = compared(base, new.path)
    assert {item.pair.cell.batch for item in found} == {1}
    assert sides.match.left == (
        Finding.of("no_figures", side="new", why="failed: it crashed", cells=cells[1].id),
        Finding.of("no_figures", side="new", why=INTERRUPTED, cells=cells[2].id),
    )


def test_nothing_to_compare_is_bad_input(run, make_cell):
    with pytest.raises(BadInput, match="no cell has figures on both sides; only in base"):
        compared(run(make_cell(), ms=4.0), run(make_cell(batch=8), ms=4.0))


HOST = {"cpu": "Test CPU", "usable_threads": 2}


@pytest.mark.parametrize(
    ("head", "told", "withheld"),
    [
        ({"host": {**HOST, "cpu": "Other CPU"}}, "host cpu: Test CPU -> Other CPU", True),
        ({"host": {**HOST, "gpus": [{"name": "H100"}]}}, "host gpus: not reported -> H100", True),
        ({"host": {**HOST, "usable_threads": 4}}, "host usable_threads: 2 -> 4", False),
        ({"versions": {"ort-cpu": "1.21"}}, "version of ort-cpu: 1.20 -> 1.21", False),
        ({"tool": "9"}, "tool: not reported -> 9", False),
        ({"schema": 1}, f"schema: {SCHEMA} -> 1", False),
    ],
)
def test_what_differs_is_named_and_another_host_withholds_timings(run, make_cell, head, told, withheld):
    sides, found = compared(
        run(make_cell(), ms=4.0, memory=[100], host=HOST), run(make_cell(), ms=8.0, memory=[200], **{"host": HOST, **head})
    )
    assert told in sentences(facts(sides, found))
    assert (only(found).verdict, only(found).reason) == (("inconclusive", "other host") if withheld else ("slower", ""))
    assert only(found, "peak_rss").verdict == "worse"


@pytest.mark.parametrize(
    ("text", "name", "most"),
    [
        ("p50>5%", "p50", 0.05),
        ("p50_ms > 2.5 %", "p50", 0.025),
        ("throughput>5%", "throughput", 0.05),
        ("peak_rss>150%", "peak_rss", 1.5),
        ("top1_drop>0.3", "top1_drop", 0.3),
        ("top1>1points", "top1", 1),
        ("e2e_p50>0%", "e2e_p50", 0),
    ],
)
def test_a_limit_is_per_cent_or_points(text, name, most):
    (limit,) = gate.parse([text])
    assert (limit.metric.name, limit.most, limit.text) == (name, pytest.approx(most), f"--fail-on {text}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p50", "'p50' is not of the form METRIC>LIMIT"),
        ("p50<5%", "is not of the form METRIC>LIMIT"),
        ("p50>5%>2", "is not of the form METRIC>LIMIT"),
        ("p51>5%", "'p51' is not a metric that is compared; did you mean 'p50'"),
        ("grade>1", "'grade' is not a metric that is compared; choose from: device_mem"),
        ("p99>5%", "'p99' is not a metric that is compared"),
        ("p50>5", "'5' is not a limit for p50; give per cent from 0 up, such as p50>5%"),
        ("p50>5ms", "'5ms' is not a limit for p50"),
        ("p50>-5%", "'-5%' is not a limit for p50"),
        ("p50>1.2.3%", "is not a limit for p50"),
        ("p50>", "'' is not a limit for p50"),
        ("throughput>100%", "'100%' is not a limit for throughput"),
        ("top1_drop>x", "'x' is not a limit for top1_drop; give percentage points from 0 up, such as top1_drop>0.3"),
    ],
)
def test_what_is_no_limit_is_refused(text, said):
    with pytest.raises(BadInput) as caught:
        gate.parse([text])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "ms", "outcome"),
    [
        ("p50>5%", 4.4, "shown"),
        ("p50>5%", 4.25, "unsure"),
        ("p50>5%", 4.0, "kept"),
        ("p50>5%", 2.0, "kept"),
        ("throughput>5%", 4.6, "shown"),
        ("throughput>5%", 3.0, "kept"),
        ("throughput>90%", 8.0, "kept"),
    ],
)
def test_a_regression_is_shown_where_the_whole_interval_is_beyond_the_limit(run, make_cell, limit, ms, outcome):
    _, found = compared(run(make_cell(), ms=4.0), run(make_cell(), ms=ms))
    judged = gate.judge(gate.parse([limit]), found)
    assert (bool(judged.shown), bool(judged.unsure)) == (outcome == "shown", outcome == "unsure")


@pytest.mark.parametrize(
    ("limit", "sides", "kind", "values"),
    [
        (
            "p50>5%",
            ({"ms": 4.0}, {"ms": 5.0}),
            "limit_broken",
            {"metric": "p50_ms", "unit": "ms", "change_unit": "%", "ratio": 1.25, "change": 25.0, "verdict": "slower"},
        ),
        (
            "p50>5%",
            ({"ms": 4.0, "rounds": [1.0] * 3}, {"ms": 2.0, "rounds": [1.0] * 3}),
            "limit_unsure_no_interval",
            {"ratio": 0.5, "change": -50.0, "low": None, "high": None, "reason": "fewer than 10 rounds"},
        ),
        (
            "top1_drop>0.3",
            ({"ms": 4.0, "parity": parity(10, 10)}, {"ms": 4.0, "parity": parity(210, 10)}),
            "limit_broken",
            {
                "metric": "top1_drop",
                "unit": "points",
                "change_unit": "points",
                "ratio": None,
                "change": 2.0,
                "verdict": "worse",
            },
        ),
    ],
)
def test_a_limit_has_its_change_as_values(run, make_cell, limit, sides, kind, values):
    _, found = compared(*(run(make_cell(), **side) for side in sides))
    (finding,) = gate.judge(gate.parse([limit]), found, gate.WARN).findings[-1:]
    own = dict(finding.values)
    assert (finding.kind, own["limit"], own["cell"]) == (kind, f"--fail-on {limit}", make_cell().id)
    assert {name: own[name] for name in values} == {
        name: pytest.approx(value, rel=1e-3) if isinstance(value, float) else value for name, value in values.items()
    }
    assert own["low"] is None or own["low"] < own["change"] < own["high"]
    assert finding.sentence


@pytest.mark.parametrize(
    ("base", "new", "finding"),
    [
        (3, 3, Finding.of("undecided_rounds", rounds=3, budget=Sweep().budget.name, needed=10)),
        (3, 12, Finding.of("undecided_rounds_of_sides", base=3, new=12, needed=10)),
        (12, 12, None),
    ],
)
def test_a_comparison_that_can_decide_nothing_says_so_first(run, make_cell, base, new, finding):
    sides, found = compared(*(run(make_cell(), ms=4.0, rounds=[1.0] * rounds) for rounds in (base, new)))
    first = facts(sides, found)[0]
    assert first == finding if finding else first.kind == "no_control"
    # the verdict on all changes comes first where there is one
    assert tabulate(sides, found, ()).facts[1 if finding else 2] == first.sentence


def test_too_few_runs_a_side_decide_nothing(run, make_cell):
    sides, found = compared([run(make_cell(), ms=4.0), run(make_cell(), ms=4.0)], run(make_cell(), ms=4.0))
    assert facts(sides, found)[0] == Finding.of("undecided_runs", base=2, new=1, needed=3)


def test_memory_has_an_interval_even_after_few_rounds(run, make_cell):
    sides, found = compared(*(run(make_cell(), ms=4.0, rounds=[1.0] * 3, memory=[100]) for _ in range(2)))
    assert not [finding for finding in facts(sides, found) if finding.kind.startswith("undecided")]


def command(*words):
    return CliRunner().invoke(main, ["compare", *map(str, words)])


@pytest.mark.parametrize("limit", ["p50>5%", "nothing"], ids=["compared", "refused"])
def test_garbage_is_collected_again_after_the_command(run, make_cell, limit):
    command(run(make_cell(), ms=4.0), run(make_cell(), ms=4.0), "--fail-on", limit)
    assert gc.isenabled()


@pytest.mark.parametrize(("ms", "code", "kinds"), [(5.0, 1, ["limit_broken"]), (4.25, 0, ["limit_unsure"]), (4.0, 0, [])])
def test_the_exit_code_is_1_for_a_shown_regression_alone(run, make_cell, ms, code, kinds):
    cells = [make_cell(), make_cell(batch=8)]  # the second cell is decided: it is equal
    done = command(run(*cells, ms=4.0), run(*cells, ms=[ms, 4.0]), "--fail-on", "p50>5%", "--format", "json")
    assert done.exit_code == code
    printed = json.loads(done.stdout)
    limits = [finding for finding in printed["findings"] if finding["kind"].startswith("limit")]
    assert [finding["kind"] for finding in limits] == kinds
    assert [finding["sentence"] in done.stderr for finding in limits] == [code == 0] * len(kinds)
    assert {row["metric"] for row in printed["rows"]} == {"p50_ms", "e2e_p50_ms", "throughput_per_s"}
    assert len(printed["remarks"]) == (ms != 4.0)


def undecided(run, make_cell):
    """Two sides whose cells have too few rounds, at batch 1, and are equal at batch 8."""
    cells = [make_cell(), make_cell(batch=8)]
    return [run(cells[0], ms=4.0, rounds=[1.0] * 3) for _ in range(2)], [run(*cells, ms=ms) for ms in (4.0, [4.25, 4.0])]


@pytest.mark.parametrize(
    ("policy", "codes", "kinds"),
    [
        ((), (1, 0), ("limit_undecided", "limit_unsure")),
        (("--inconclusive", "default"), (1, 0), ("limit_undecided", "limit_unsure")),
        (("--inconclusive", "fail"), (1, 1), ("limit_undecided", "limit_partly_decided")),
        (("--inconclusive", "warn"), (0, 0), ("limit_passed_undecided", "limit_unsure")),
    ],
)
def test_a_gate_without_a_decision_fails_unless_it_may_pass(run, make_cell, policy, codes, kinds):
    for runs, code, kind in zip(undecided(run, make_cell), codes, kinds):
        done = command(*runs, "--fail-on", "p50>5%", "--format", "json", *policy)
        (finding, *_) = [item for item in json.loads(done.stdout)["findings"] if item["kind"].startswith("limit")]
        assert (done.exit_code, finding["kind"]) == (code, kind)
        assert finding["sentence"] in done.stderr


def test_the_names_of_policies_are_those_of_the_gate():
    assert gate.POLICIES == POLICIES
    done = command("a", "b", "--inconclusive", "fail")
    assert (done.exit_code, "--fail-on" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("limit", "ms", "outcome"),
    [
        ("p50>5% and >0.1ms", 4.8, "shown"),
        ("p50>5% and >1ms", 4.8, "kept"),
        ("p50>5% and >800us", 4.8, "unsure"),
        ("p50>50% and p50>0.1ms", 4.8, "kept"),
        ("throughput>5% and >1/s", 4.8, "shown"),
        ("throughput>5% and >100/s", 4.8, "kept"),
        ("peak_rss>5% and >10MB", 4.8, "shown"),
        ("peak_rss>5% and >0.5GB", 4.8, "kept"),
    ],
)
def test_a_loss_must_be_beyond_the_absolute_limit_too(run, make_cell, limit, ms, outcome):
    _, found = compared(run(make_cell(), ms=4.0, memory=[100]), run(make_cell(), ms=ms, memory=[120]))
    judged = gate.judge(gate.parse([limit]), found)
    assert (bool(judged.shown), bool(judged.unsure)) == (outcome == "shown", outcome == "unsure")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("p50>5% and >0.1", "p50>5% and >0.1ms"),
        ("p50>5% and >0.1MB", "us, µs, ms, s"),
        ("p50>5% and >0ms", "p50>5% and >0.1ms"),
        ("p50>5% and >", "p50>5% and >0.1ms"),
        ("p50>5% and throughput>1/s", "--fail-on twice"),
        ("p50>5% or >1ms", "p50>5% and >0.1ms"),
        ("top1_drop>0.3 and >1", "top1_drop>0.3"),
        ("p50", "'p50>5% and >0.1ms'"),
    ],
)
def test_what_is_no_absolute_limit_is_refused_with_the_accepted_form(text, named):
    with pytest.raises(BadInput) as caught:
        gate.parse([text])
    assert named in caught.value.hint


@pytest.mark.parametrize(
    ("ms", "rounds", "verdict"),
    [
        ([5.0, 4.0], SHAKEN, "slower"),
        ([4.0, 3.0], SHAKEN, "faster"),
        ([5.0, 3.0], SHAKEN, "mixed"),
        ([4.0, 4.0], SHAKEN, "equal"),
        ([4.0, 4.0], np.linspace(0.9, 1.1, 10), "undecided"),
        ([5.0, 3.0], [1.0] * 3, "undecided"),
    ],
)
def test_all_changes_have_one_verdict(run, make_cell, ms, rounds, verdict):
    cells = [make_cell(), make_cell(batch=8)]
    sides, found = compared(run(*cells, ms=4.0, rounds=rounds), run(*cells, ms=ms, rounds=rounds))
    head = tabulate(sides, found, ()).head
    assert (head["verdict"], sum(head["verdicts"].values())) == (verdict, len(found))


def test_decided_rows_come_first_and_a_screen_folds_the_others(run, make_cell):
    cells = [make_cell(batch=batch) for batch in (1, 8)]
    sides, found = compared(run(*cells, ms=4.0), run(*cells, ms=[4.0, 5.0]), thresholds={"p50": 0.01})
    whole, part = (tabulate(sides, found, (), fold=fold) for fold in (False, True))
    assert [row["verdict"] for row in whole.rows] == ["slower"] * 3 + ["no difference shown"] * 2 + ["inconclusive"]
    assert part.rows == whole.rows[:3]
    (finding,) = [finding for finding in part.findings if finding.kind == "folded"]
    assert re.findall(r"\d+ (?:no difference shown|inconclusive)", finding.sentence) == [
        "2 no difference shown",
        "1 inconclusive",
    ]


def test_a_screen_without_a_decided_row_has_no_grid(run, make_cell):
    sides, found = compared(*(run(make_cell(), ms=4.0, rounds=[1.0] * 3) for _ in range(2)))
    assert "metric" not in render(tabulate(sides, found, (), fold=True), "table", Screen(width=100))


def test_figures_are_those_of_show(run, make_cell):
    paths = [run(make_cell(), ms=ms, rounds=np.linspace(0.9, 1.3, 12), memory=[90, 100, 104]) for ms in (4.0, 5.0)]
    _, found = compared(*paths)
    shown = [table.build([read_run(path)]).rows[0] for path in paths]
    for item in found:
        assert (item.base, item.new) == pytest.approx([row[item.metric.column] for row in shown], rel=1e-12)


def test_sides_of_several_runs_take_all_words_up_to_the_next_option(run, make_cell):
    assert spread(["--base", "a", "b", "--new", "c", "d", "--format", "csv"]) == [
        *("--base", "a", "--base", "b", "--new", "c", "--new", "d", "--format", "csv")
    ]
    sides = [[run(make_cell(), ms=ms * factor) for factor in (0.99, 1.0, 1.01)] for ms in (4.0, 5.0)]
    done = command("--base", *sides[0], "--fail-on", "p50>5%", "--new", *sides[1], "--format", "markdown")
    assert (done.exit_code, "no control" in done.stdout) == (1, False)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a"],
        ["a", "b", "c"],
        ["--base", "a"],
        ["--new", "a"],
        ["a", "--base", "b", "--new", "c"],
        ["--base", "a", "a", "--new", "b"],
    ],
)
def test_what_are_not_two_sides_is_refused(words):
    done = command(*words)
    assert (done.exit_code, done.stdout) == (2, "")


def test_annotations_are_errors_warnings_and_notices(run, make_cell):
    cells = [make_cell(), make_cell(batch=8), make_cell(batch=32)]
    base = run(*cells, ms=4.0)
    new = run(*cells, make_cell(backend="torch-cpu"), ms=[5.0, 4.4, 3.0, 1.0])
    done = command(base, new, "--fail-on", "p50>15%", "--format", "github")
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [kind for kind, _ in lines].count("::error") == 1
    assert lines[0][1].startswith("title=bench compare::--fail-on p50>15%25")
    assert any(kind == "::warning" and "only in new" in text for kind, text in lines)
    assert any(kind == "::notice" and "faster" in text for kind, text in lines)
    assert {kind for kind, _ in lines} == {"::error", "::warning", "::notice"}


def test_the_table_says_once_what_is_not_known(run, make_cell):
    sides, found = compared(run(make_cell(), ms=4.0), run(make_cell(), ms=4.0))
    table = tabulate(sides, found, ())
    assert [finding["kind"] for finding in table.head["findings"]] == ["no_control"]
    assert table.head["base"] != table.head["new"]
    assert table.facts[0] == f"base {table.head['base'][0]} · new {table.head['new'][0]}"
    assert {"metric", "base", "new", "ratio", "verdict"} <= {field.name for field in table.fields}


@pytest.fixture
def random():
    return np.random.default_rng(1)


@pytest.mark.parametrize("runs", [3, 5, 8])
def test_the_same_build_in_several_runs_seldom_differs(random, runs):
    base, new = (np.exp(random.normal(0, 0.02, (1000, runs))).tolist() for _ in range(2))
    wrong = [not (i := difference([of_runs(n)], [of_runs(b)])).low <= 1 <= i.high for b, n in zip(base, new)]
    assert np.mean(wrong) <= 0.065


@pytest.mark.parametrize("controlled", [False, True])
def test_the_same_build_in_one_run_a_side_seldom_differs(random, run, make_cell, controlled):
    """Processes differ by 2 % at most, and rounds by 2 %."""
    cells = [make_cell(batch=batch, backend=name, settings=WORKING) for batch in range(1, 21) for name in ("ort-cpu", "null")]
    offsets = [np.exp(random.uniform(-0.01, 0.01, len(cells))) for _ in range(2)]
    rounds = [np.exp(random.normal(0, 0.02, 12)) for _ in range(2)]
    base, new = (run(*cells, ms=list(4 * offset), rounds=noise) for offset, noise in zip(offsets, rounds))
    _, found = compared(base, new, control="null" if controlled else "ort-cpu")
    told = [item.verdict for item in found if item.verdict]
    assert np.mean([verdict in ("no difference shown", "inconclusive") for verdict in told]) >= 0.95


@pytest.mark.parametrize("slower", [1.0, 1.1])
def test_ten_per_cent_in_eight_runs_a_side_is_shown_and_nothing_is_where_there_is_nothing(random, run, make_cell, slower):
    cells = [make_cell(batch=batch) for batch in range(1, 9)]
    sides = [
        [run(*cells, ms=list(4 * factor * np.exp(random.normal(0, 0.02, 8))), rounds=[1.0]) for _ in range(8)]
        for factor in (1, slower)
    ]
    _, found = compared(*sides)
    judged = gate.judge(gate.parse(["p50>5%"]), found)
    told = [item.verdict for item in found]
    assert (len(judged.shown) >= 7) == (slower > 1)
    assert slower > 1 or (not judged.shown and np.mean(np.isin(told, ["slower", "faster"])) <= 0.05)


def test_independent_figures_by_hand():
    values = [*np.exp([0.09, 0.1, 0.11])]
    item = difference([of_runs(values)], [of_runs([1.0, 1.0, 1.0])])
    assert item.middle == pytest.approx(np.exp(0.1))
    assert item.high / item.middle == pytest.approx(np.exp(4.302653 * 0.01 / 3**0.5), rel=1e-6)  # Welch's freedom is 2 here
    wider = difference([of_runs(values)], [of_runs([1.0, 1.0, 1.0])], allowance=0.02)
    assert wider.high / item.high == pytest.approx(np.exp(0.02))
    assert wider.p > item.p


def test_too_few_rounds_or_runs_have_no_estimate():
    assert (of_runs([1.0, 2.0]), Repeated([1.0] * 9).estimate) == (None, None)
    assert Repeated([1.0] * 10).estimate.error == 0
