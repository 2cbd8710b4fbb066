import csv
import io
import json
import math
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.budgets import BUDGETS
from onnxbench.cli import main
from onnxbench.commands import options
from onnxbench.errors import BadInput
from onnxbench.results.recommend import advice
from onnxbench.results.recommend.by_model import decide_models
from onnxbench.results.recommend.candidates import Miss, Request
from onnxbench.results.recommend.conclusions import conclude, relaxed
from onnxbench.results.recommend.objective import OBJECTIVES
from onnxbench.results.recommend.recommend import decide, undominated
from onnxbench.results.recommend.sections import advise_models
from onnxbench.results.recommend.selection import Selection
from onnxbench.results.report.data import gather
from onnxbench.results.store.record import read_run
from onnxbench.results.table.columns import COLUMNS
from onnxbench.results.table.conditions import parse
from onnxbench.results.table.findings import Finding, sentences
from onnxbench.results.table.table import lines
from onnxbench.spec import Sweep, to_wire

FAST, SLOW = "openvino-cpu", "ort-cpu"


def measured(folder, cell, ms=1.0, rates=(1000,), rounds=10, calls=40, **more):
    """A cell at its end: `ms` a call, and in each round one of `rates` (in turn) calls a second. `more`: rss, joules, top1."""
    folder.opened(cell, file=f"artifacts/{cell.model}.onnx")
    folder.warm(
        cell,
        **{"lanes": 2, "threads": 1, "deploy": "two at once", "snippet": "print('two')\n"},
        single={"deploy": "one at a time", "snippet": "print('one')\n"},
    )
    if "top1" in more:
        folder.verified(cell, top1=more["top1"], top1_drop=98 - more["top1"], images=100, lost=0, gained=0)
    if "rss" in more:
        folder.cold(cell, cold_s=1.0, peak_rss_mb=more["rss"], device_mem_mb=more.get("device"))
    if "energy" in more:
        folder.add("energy", cell, energy_mj=more["energy"])
    if "load" in more:
        folder.add("load", cell, **more["load"])
    for number in range(rounds):
        folder.block(cell, number, [int(ms * 1e6)] * calls, calls=rates[number % len(rates)])
    if more.get("stopped", True):
        folder.finished(cell)


@pytest.fixture
def run(run_folder, make_cell):
    """A read run of rows, each (what the cell is, what was measured)."""

    def make(*rows, name="run", **head):
        cells = [make_cell(**cell) for cell, _ in rows]
        folder = run_folder(*cells, name=name, **head)
        for cell, (_, figures) in zip(cells, rows):
            if figures is not None:
                measured(folder, cell, **figures)
        return read_run(folder.path)

    return make


def request_of(objective="throughput", most=(), least=(), prices=()):
    limits = [*parse([tuple(text.split("=")) for text in most], most=True)]
    limits += parse([tuple(text.split("=")) for text in least], most=False)
    return Request(objective=OBJECTIVES[objective], conditions=tuple(limits), prices=tuple(prices))


def excluded(decision):
    return {item.name: [*sentences(item.reasons), *(miss.condition.text for miss in item.misses)] for item in decision.excluded}


def kinds(findings):
    return [finding.kind for finding in findings]


GPU = {"backend": "ort-cuda", "device": "cuda:0"}
THREE = (
    ({"backend": SLOW}, {"ms": 1, "rates": (800,), "rss": 100.0}),
    ({"backend": FAST}, {"ms": 2, "rates": (1000,), "rss": 300.0}),
    (GPU, {"ms": 3, "rates": (900,), "rss": 500.0, "device": 50.0, "energy": 7.0}),
)


def test_the_command_line_offers_every_objective():
    assert tuple(OBJECTIVES) == options.OBJECTIVE_NAMES


@pytest.mark.parametrize(
    ("objective", "prices", "order"),
    [
        ("throughput", (), [FAST, "ort-cuda", SLOW]),
        ("latency", (), [SLOW, FAST, "ort-cuda"]),
        ("memory", (), ["ort-cuda", SLOW, FAST]),
        ("energy", (), ["ort-cuda"]),
        ("cost", [(FAST, "2"), (SLOW, "1"), ("ort-cuda", "9")], [SLOW, FAST, "ort-cuda"]),
        ("cost", [("Test", "1"), (FAST, "9")], ["ort-cuda", SLOW, FAST]),
        ("cost", [(SLOW, "1")], [SLOW]),
    ],
)
def test_the_best_row_by_each_objective_comes_first(run, objective, prices, order):
    decision = decide([run(*THREE)], request_of(objective, prices=prices))
    assert [item.cells["backend"] for item in decision.ranked] == order


def test_the_cost_of_a_million_items_is_the_price_over_the_items_of_an_hour(run):
    decision = decide([run(({"batch": 8}, {"rates": (1000,)}))], request_of("cost", prices=[("ort-cpu", "2.88")]))
    assert decision.pick.cells["cost_per_million"] == pytest.approx(2.88 / (8000 * 3600) * 1e6)


@pytest.mark.parametrize(
    ("prices", "each"),
    [
        ([("ort-cpu", "1")], [1, 1]),
        ([("ort-cpu@new", "2"), ("ort-cpu", "1")], [1, 2]),
        ([("Test CPU", "3"), ("ort-cpu@new", "2")], [3, 2]),
        ([("test c", "3")], [3, 3]),
    ],
)
def test_the_most_specific_price_counts(run, prices, each):
    decision = decide([run(({}, {}), ({"environment": "new"}, {}))], request_of(prices=prices))
    costs = [item.cells["cost_per_million"] for item in sorted(decision.ranked, key=lambda item: item.name)]
    assert costs == pytest.approx([price / 3.6 for price in each])


@pytest.mark.parametrize(
    ("price", "said"),
    [
        (("ort-cpu", "cheap"), "'cheap' is not a price for ort-cpu"),
        (("ort-cpu", "0"), "is not a price"),
        (("ort-cpu", "nan"), "is not a price"),
        (("ort-cpx", "1"), "--price 'ort-cpx' .*; did you mean 'ort-cpu'"),
        (("", "1"), "--price '' "),
        (("CPU", "1"), "2 hosts: Other CPU, Test CPU"),
    ],
)
def test_a_price_that_cannot_be_taken_is_refused(run, price, said):
    runs = [run(({}, {})), run(({}, {}), name="other", host={"cpu": "Other CPU"})]
    with pytest.raises(BadInput, match=said):
        decide(runs, request_of(prices=[price]))


@pytest.mark.parametrize(
    ("figures", "asked", "reason"),
    [
        ({}, {"most": ["p99=9"], "calls": 5}, "p99 was withheld (fewer than 368 samples): measure with --metric p99"),
        ({}, {"most": ["top1_drop=1"]}, "top1_drop needs labelled samples: give --dataset"),
        ({}, {"most": ["cold=1"]}, "cold_s was not measured: give --cold"),
        ({}, {"least": ["sqnr=1"]}, "sqnr_db: the answers were not compared with the FP32 reference"),
        ({}, {"most": ["energy=1"]}, "energy_mj is not in the run"),
        ({}, {"most": ["build=1"]}, "build_s: this runtime compiles nothing ahead"),
        ({}, {"least": ["speedup=1"]}, "speedup needs another row to compare with: measure with --baseline"),
        ({}, {"least": ["slo_rate=1"]}, "slo_rate_per_s was not measured: give --load poisson --slo p99=10ms"),
        ({"rounds": 4}, {"most": ["p50_ci_high=9"]}, "p50_ci_high_ms needs 10 rounds: measure at --budget normal"),
        ({}, {"objective": "memory"}, "peak_rss_mb is not measured at --budget quick: give --budget normal"),
        ({}, {"objective": "energy"}, "energy_mj is not in the run"),
        ({"stopped": False}, {}, Finding.of("unfinished").sentence),
    ],
)
def test_a_figure_that_is_missing_is_the_reason(run, figures, asked, reason):
    calls = {"calls": asked.pop("calls")} if "calls" in asked else {}
    quick = to_wire(Sweep(budget=BUDGETS["quick"]))
    decision = decide([run(({}, {**figures, **calls}), sweep=quick)], request_of(**asked))
    assert (decision.pick, excluded(decision)) == (None, {"ort-cpu fp32 b1": [reason]})


def test_every_metric_has_a_reason_to_be_absent(run):
    ((row, _),) = lines([run(({}, None))])
    kinds = {column.name: column.why_absent(row).kind for column in COLUMNS if column.number}
    assert all(kind.startswith("absent") for kind in kinds.values())
    assert (kinds["p99_ms"], kinds["top1"], kinds["device_mem_mb"]) == ("absent_percentile", "absent_labels", "absent_on_cpu")


def test_rows_that_are_not_ok_and_instruments_are_excluded_with_their_own_reason(run_folder, make_cell):
    ok, instrument, refused, far, lost = cells = [
        make_cell(backend=name) for name in ("ort-cpu", "null", "torch-cpu", "openvino-cpu", "tensorrt")
    ]
    folder = run_folder(*cells)
    for cell in (ok, instrument, far):
        measured(folder, cell)
    folder.verified(far, sqnr_db=1.0, agreement=0.0)
    folder.add("failed", refused, status="unsupported", reason="no PyTorch source")
    decision = decide([read_run(folder.path)], request_of())
    assert decision.pick.cells["backend"] == "ort-cpu"
    assert decision.runner_up is None
    reasons = {name: reason for name, (reason,) in excluded(decision).items()}
    assert set(reasons) == {f"{cell.backend} fp32 b1" for cell in (instrument, refused, far, lost)}
    assert reasons["torch-cpu fp32 b1"] == "unsupported: no PyTorch source"
    assert reasons["openvino-cpu fp32 b1"].startswith("mismatch: ")
    assert "--resume" in reasons[f"{lost.backend} fp32 b1"]


@pytest.mark.parametrize(
    ("objective", "mine", "theirs", "middle", "shown"),
    [
        ("throughput", {"rates": (1120, 1130)}, {"rates": (1000, 1010)}, 1.12, True),
        ("throughput", {"rates": (1001, 900, 1110)}, {"rates": (1000,)}, 1.0, False),
        ("latency", {"ms": 1.0}, {"ms": 1.25}, 1.25, True),
        ("cost", {"rates": (1000,)}, {"rates": (1000,)}, 3.0, True),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_the_runner_up_is_compared_by_round_in_one_run_and_by_intervals_otherwise(
    run, objective, mine, theirs, middle, shown, together
):
    rows = [({"backend": FAST}, mine), ({"backend": SLOW}, theirs)]
    runs = [run(*rows)] if together else [run(row, name=row[0]["backend"]) for row in rows]
    prices = [(FAST, "1"), (SLOW, "3")] if objective == "cost" else []
    decision = decide(runs, request_of(objective, prices=prices))
    assert decision.pick.cells["backend"] == FAST
    assert decision.difference.interval.middle == pytest.approx(middle, rel=0.02)
    assert decision.difference.shown is shown
    assert decision.difference.basis == ("paired" if together else "unpaired")
    assert kinds(conclude(decision).runner_up)[1] == ("differs" if shown else "uncertain")


@pytest.mark.parametrize(("objective", "kind"), [("memory", "uncertain_once"), ("throughput", "uncertain_few_rounds")])
def test_what_has_no_interval_shows_no_difference(run, objective, kind):
    rows = [({"backend": name}, {"rss": rss, "rounds": 4}) for name, rss in ((FAST, 100.0), (SLOW, 150.0))]
    decision = decide([run(*rows)], request_of(objective))
    assert (decision.difference.interval, decision.difference.shown) == (None, False)
    finding = conclude(decision).runner_up[1]
    assert finding.kind == kind
    values = dict(finding.values)
    assert values["direction"] == "better"
    if objective == "throughput":
        assert (values["rounds"], values["needed"]) == (4, 10)
    else:
        assert values["change"] == pytest.approx(50)


def test_a_pick_that_is_not_shown_to_be_better_says_what_speaks_for_the_other(run):
    rows = [({"backend": FAST}, {"rates": (1110, 900), "rss": 300.0}), ({"backend": SLOW}, {"rates": (1000,), "rss": 100.0})]
    decision = decide([run(*rows)], request_of(prices=[(FAST, "2"), (SLOW, "1")]))
    assert "pick: openvino-cpu fp32 b1: throughput 1005 /s" in advice.advise(decision, "table")
    _, uncertain, cheaper = conclude(decision).runner_up
    assert (uncertain.kind, cheaper.kind) == ("uncertain", "runner_up_cheaper")
    assert dict(cheaper.values) == {"advantages": "costs less and takes less memory"}


def test_the_pick_has_its_grade_and_its_number_of_rounds(run):
    decision = decide([run(({"backend": FAST}, {"rates": (1100,)}), ({"backend": SLOW}, {"rounds": 4}))], request_of())
    pick, best = conclude(decision).pick
    assert (pick.kind, pick.rows) == ("pick", ("openvino-cpu fp32 b1",))
    assert {name: dict(pick.values)[name] for name in ("grade", "rounds")} == {"grade": "A", "rounds": 10}
    assert dict(best.values) == {"extreme": "highest", "objective": "throughput", "rows": 2}
    other = dict(conclude(decision).runner_up[0].values)
    assert (other["grade"], other["rounds"]) == ("C", 4)
    line, *_ = advice.advise(decision, "table").splitlines()
    assert line.endswith("grade A, 10 rounds")


def test_conclusions_are_findings_in_the_json(run):
    decision = decide([run(*THREE)], request_of(most=["p50=2.5ms", "peak_rss=200"]))
    findings = json.loads(advice.advise(decision, "json"))["findings"]
    about = {finding["kind"]: finding["rows"] for finding in findings}
    assert about["pick"] == about["only_feasible"] == ["ort-cpu fp32 b1"]
    assert about["no_runner_up"] == []
    assert about["binds"] == ["openvino-cpu fp32 b1"]
    assert about["binds_with_others"] == ["ort-cuda fp32 b1"]
    broken = {finding["values"]["limit"]: finding["rows"] for finding in findings if finding["kind"] == "breaks_limit"}
    both = ["openvino-cpu fp32 b1", "ort-cuda fp32 b1"]
    assert {limit: sorted(rows) for limit, rows in broken.items()} == {"--max p50=2.5ms": both[1:], "--max peak_rss=200": both}


def test_what_binds_is_the_best_row_that_one_limit_alone_excludes(run):
    rows = [
        ({"backend": "a"}, {"ms": 1, "rates": (100,), "rss": 10.0}),
        ({"backend": "b"}, {"ms": 3, "rates": (200,), "rss": 10.0}),
        ({"backend": "c"}, {"ms": 4, "rates": (300,), "rss": 10.0}),
        ({"backend": "d"}, {"ms": 5, "rates": (400,), "rss": 99.0}),
        ({"backend": "e"}, {"ms": 9, "rates": (50,), "rss": 10.0}),
    ]
    decision = decide([run(*rows)], request_of(most=["p50=2ms", "peak_rss=50"]))
    assert decision.pick.cells["backend"] == "a"
    told = [(item.miss.condition.text, item.candidate.cells["backend"], item.miss.value) for item in decision.binding]
    assert told == [("--max p50=2ms", "c", 4.0), ("--max peak_rss=50", "d", 99.0)]
    assert [miss.condition.text for miss in decision.binding[1].others] == ["--max p50=2ms"]


@pytest.mark.parametrize(
    ("most", "least", "nearest", "relax"),
    [
        (["p50=0.5"], ["throughput=100"], "a", "--max p50=1ms"),
        (["p50=1.9"], ["throughput=210"], "b", "--min throughput=200/s"),
        (["p50=0.5ms", "peak_rss=9"], [], "a", None),
        (["p50=0.5", "p50=0.7"], [], "a", None),
    ],
)
def test_with_nothing_feasible_the_smallest_relaxation_of_one_limit_wins(run, most, least, nearest, relax):
    rows = [
        ({"backend": name}, {"ms": ms, "rates": (rate,), "rss": 10.0}) for name, ms, rate in (("a", 1, 100), ("b", 1.5, 200))
    ]
    decision = decide([run(*rows)], request_of(most=most, least=least))
    told = json.loads(advice.advise(decision, "json"))
    assert advice.exit_code(decision) == 1
    assert (told["pick"], told["nearest"]["name"], told["nearest"]["relax"]) == (None, f"{nearest} fp32 b1", relax)
    nothing, closest = conclude(decision).infeasible
    assert (nothing.kind, closest.kind) == ("infeasible", "nearest" if relax else "nearest_by_several")
    assert dict(closest.values).get("relaxed") == relax
    assert closest.sentence in advice.advise(decision, "table")


@given(value=st.floats(min_value=1e-6, max_value=1e9), most=st.booleans())
def test_a_relaxed_limit_is_kept_and_is_one_that_can_be_given(value, most):
    (condition,) = parse([("p99", "1ms")], most=most)
    option, _, text = relaxed(Miss(condition=condition, value=value)).partition(" ")
    (again,) = parse([tuple(text.split("="))], most=most)
    assert option == ("--max" if most else "--min")
    assert again.holds(value)
    assert again.limit == pytest.approx(value, rel=2e-3)


FIGURE = st.sampled_from([-math.inf, -2.0, -1.0, 0.0, 1.0])


@given(points=st.lists(st.tuples(FIGURE, FIGURE, FIGURE, FIGURE), max_size=8))
def test_the_pareto_set_is_what_the_definition_says(points):
    found = undominated(points)
    for index, point in enumerate(points):
        beaten = False
        for other in points:
            pairs = list(zip(other, point))
            beaten |= all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
        assert (index in found) is not beaten
    assert bool(found) is bool(points)


def test_pareto_rows_trade_throughput_latency_and_accuracy(run):
    rows = [
        ({"backend": "fastest"}, {"ms": 3, "rates": (300,), "top1": 97}),
        ({"backend": "quickest"}, {"ms": 1, "rates": (100,), "top1": 97}),
        ({"backend": "truest"}, {"ms": 4, "rates": (90,), "top1": 98}),
        ({"backend": "beaten"}, {"ms": 4, "rates": (80,), "top1": 97}),
    ]
    for objective in ("throughput", "latency"):
        decision = decide([run(*rows, name=objective)], request_of(objective))
        on = {decision.ranked[index].cells["backend"] for index in decision.pareto}
        assert on == {"fastest", "quickest", "truest"}


def test_hosts_are_an_axis_and_names_tell_rows_apart(run):
    runs = [run(({}, {}), name="one"), run(({}, {}), name="two"), run(({}, {}), name="far", host={"cpu": "Other CPU"})]
    names = [item.name for item in decide(runs, request_of()).ranked]
    here, far = "ort-cpu fp32 b1 on Test CPU", "ort-cpu fp32 b1 on Other CPU"
    assert sorted(names) == sorted([f"{here} (one)", f"{here} (two)", far])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "cd" * 32}, "cnn has different fp32 files"),
        ({"sha256": "cd" * 32, "precision": "tf32"}, "cnn has different fp32 files"),
        ({"shapes": (("input", (1, 3, 9, 9)),)}, "cnn at batch 1 has different shapes"),
    ],
)
def test_runs_of_other_files_or_shapes_are_refused(run, changes, said):
    runs = [run(({}, {}), name="one"), run((changes, {}), name="two")]
    with pytest.raises(BadInput, match=said):
        decide(runs, request_of())


def test_another_file_in_int8_is_another_candidate(run):
    runs = [run(({"precision": "int8", "sha256": digit * 64}, {}), name=digit) for digit in "ab"]
    assert len(decide(runs, request_of()).ranked) == 2


def test_a_half_written_run_gives_its_finished_rows_and_says_so(run):
    rows = [({"batch": 1}, {}), ({"batch": 8}, {"stopped": False}), ({"batch": 32}, None)]
    found = run(*rows)
    decision = decide([found], request_of())
    assert [item.name for item in decision.ranked] == ["ort-cpu fp32 b1"]
    assert Finding.of("half_written", run=str(found.folder), finished=1, rows=3) in decision.notes


def test_settings_and_program_are_of_the_way_that_the_objective_was_measured_in(run):
    found = run(({}, {"ms": 1}))
    for objective, deploy, program in (("throughput", "two at once", "two"), ("latency", "one at a time", "one")):
        text = advice.advise(decide([found], request_of(objective)), "table")
        assert deploy in text
        assert text.endswith(f"to paste:\n\n{advice.WARNING}\nprint('{program}')\n")
        assert "file artifacts/cnn.onnx" in text
    assert ("of one call in flight" in text) is False


def test_a_run_without_programs_gives_the_settings_alone(run_folder, make_cell):
    folder = run_folder(make_cell())
    folder.measured(make_cell(), 1000)
    text = advice.advise(decide([read_run(folder.path)], request_of()), "table")
    assert text.endswith(f"# {advice.NO_PROGRAM}\n")
    assert "batch 1 · lanes 1" in text


def test_programs_get_what_is_needed(run):
    decision = decide([run(*THREE)], request_of(least=["throughput=850"], prices=[(FAST, "2")]))
    told = json.loads(advice.advise(decision, "json"))
    assert set(told) >= {"schema", "host", "objective", "conditions", "pick", "runner_up", "pareto", "excluded", "binding"}
    assert (told["objective"], told["conditions"], told["host"]) == (
        "throughput",
        ["--min throughput=850"],
        {"cpu": "Test CPU"},
    )
    assert (told["pick"]["name"], told["pick"]["snippet"]) == ("openvino-cpu fp32 b1", "print('two')\n")
    assert told["runner_up"]["name"] == "ort-cuda fp32 b1"
    rows = list(csv.DictReader(io.StringIO(advice.advise(decision, "csv"))))
    assert [(row["rank"], row["backend"]) for row in rows] == [("1", FAST), ("2", "ort-cuda")]
    assert [bool(row["cost_per_million"]) for row in rows] == [True, False]


def test_markdown_has_the_table_and_the_program_in_a_fence(run):
    text = advice.advise(decide([run(*THREE)], request_of(most=["p50=1.5"])), "markdown")
    assert text.startswith("- pick: ort-cpu fp32 b1")
    assert "| rank |" in text
    assert text.endswith(f"```python\n{advice.WARNING}\nprint('two')\n```\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 0, "pick: openvino-cpu"),
        (["--objective", "latency"], 0, "pick: ort-cpu"),
        (["--max", "p50=1us"], 1, "nothing is feasible"),
        (["--max", "p50=fast"], 2, "is not a limit for p50"),
        (["--max", "p5=1"], 2, "'p5' is not a metric; did you mean"),
        (["--objective", "cost"], 2, "--objective cost needs a price"),
        (["--price", "gpu=1"], 2, "--price 'gpu'"),
        (["nowhere"], 2, "is not a run folder"),
    ],
)
def test_exit_codes(run, arguments, code, said):
    found = run(*THREE)
    done = CliRunner().invoke(main, ["recommend", str(found.folder), *arguments])
    assert (done.exit_code, said in done.output) == (code, True), done.output


@pytest.mark.parametrize(("head", "said"), [({"kind": "check"}, "is a check"), ({"schema": 99}, "has schema 99")])
def test_a_check_and_a_newer_schema_are_refused(run_folder, make_cell, head, said):
    folder = run_folder(make_cell(), **head)
    done = CliRunner().invoke(main, ["recommend", str(folder.path)])
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_text_from_outside_does_not_act_on_a_terminal(run):
    text = advice.advise(decide([run(({"model": "a\x1b[31m"}, {}), ({"model": "b"}, {}))], request_of()), "table")
    assert "\x1b" not in text


def loaded(lanes, *rates):
    """What a cell is known to do under load: the p99 in ms at each rate."""
    points = [
        {"rate_per_s": rate, "overloaded": False, "latency_ns": {"99": p99_ms * 1e6}, "noise": {}} for rate, p99_ms in rates
    ]
    way = {"concurrency": {"lanes": lanes, "streams": 1, "threads": 3}, "deploy": f"{lanes} lanes", "points": points}
    return {"asked": {"percentile": 99, "limit_ms": 10, "arrivals": "poisson"}, "ways": [way]}


@pytest.mark.parametrize(("lanes", "program"), [(1, "print('one')\n"), (2, "print('two')\n")])
def test_machines_are_counted_by_the_rate_that_holds_the_limit(run, lanes, program):
    fast, slow = {"load": loaded(lanes, (100, 5), (200, 10), (300, 20))}, {"load": loaded(lanes, (90, 5), (100, 20))}
    sides = (({"backend": "openvino-cpu"}, slow), ({}, fast))
    decision = decide([run(*sides)], replace(request_of(objective="slo_rate"), demand=500.0))
    assert decision.pick.name == "ort-cpu fp32 b1"
    assert (decision.pick.lanes, decision.pick.threads, decision.pick.deployment.snippet) == (lanes, 3, program)
    told = json.loads(advice.advise(decision, "json"))
    assert (told["machines"], told["demand_per_s"]) == (3, 500)
    (finding,) = [finding for finding in conclude(decision).pick if finding.kind == "machines"]
    assert {name: dict(finding.values)[name] for name in ("machines", "rate")} == {
        "machines": 3,
        "rate": pytest.approx(200),
    }
    assert f"    {finding.sentence}\n" in advice.advise(decision, "table")


def test_without_a_load_machines_are_counted_by_throughput_and_that_is_said(run):
    decision = decide([run(({}, {}))], replace(request_of(), demand=1e9))
    assert "machines_at_full_load" in kinds(conclude(decision).pick)
    assert kinds(conclude(replace(decision, request=request_of())).pick) == ["pick", "only_feasible"]


def two_models(run, name="run", **second):
    return run(
        ({"model": "a"}, {}),
        ({"model": "a", "backend": FAST}, {"rates": (1200,)}),
        ({"model": "b"}, {"rates": (2000,), "ms": 2.0}),
        ({"model": "b", "backend": FAST}, {"rates": (1500,), **second}),
        name=name,
    )


def test_each_model_has_a_decision_of_its_own(run):
    decisions = decide_models([two_models(run)], request_of())
    assert {model: decision.pick.name for model, decision in decisions.items()} == {
        "a": f"{FAST} fp32 b1",
        "b": f"{SLOW} fp32 b1",
    }
    assert {item.cells["model"] for item in decisions["a"].ranked} == {"a"}


def test_models_of_several_runs_are_decided_apart(run):
    runs = [run(({"model": "a"}, {}), name="one"), run(({"model": "b"}, {}), name="two")]
    assert {model: decision.runs[0].folder.name for model, decision in decide_models(runs, request_of()).items()} == {
        "a": "one",
        "b": "two",
    }


def test_json_of_one_model_has_no_models_and_that_of_several_has_a_decision_for_each(run):
    one = decide_models([run(*THREE)], request_of())
    (decision,) = one.values()
    assert advise_models(one, "json") == advice.advise(decision, "json")
    told = json.loads(advise_models(decide_models([two_models(run, name="two")], request_of()), "json"))
    assert [(item["model"], item["pick"]["row"]["backend"]) for item in told["models"]] == [("a", FAST), ("b", SLOW)]
    alone = json.loads(advice.advise(decision, "json"))
    assert {*told, *told["models"][0]} == {*alone, "models", "model"}
    assert "pick" not in told


@pytest.mark.parametrize("format", ["table", "markdown", "csv"])
def test_every_format_has_the_rows_of_every_model(run, format):
    text = advise_models(decide_models([two_models(run)], request_of()), format)
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [(row["model"], row["rank"]) for row in rows] == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    else:
        title = "## {}" if format == "markdown" else "model {}"
        places = [text.splitlines().index(title.format(model)) for model in "ab"]
        assert places[0] == 0 < places[1]
        assert len([line for line in text.splitlines() if line.lstrip("- ").startswith("pick: ")]) == 2


@pytest.mark.parametrize(("limit", "code"), [("p50=5", 0), ("p50=1.5", 1), ("p50=0.5", 1)])
def test_one_model_without_a_feasible_row_is_no_success(run, limit, code):
    found = two_models(run, ms=2.0)
    done = CliRunner().invoke(main, ["recommend", str(found.folder), "--max", limit])
    assert done.exit_code == code, done.output
    assert "pick: " in done.output or limit == "p50=0.5"


def test_a_price_of_a_backend_that_one_model_ran_on_is_a_price(run):
    found = run(({"model": "a"}, {}), ({"model": "b", "backend": FAST}, {}))
    decisions = decide_models([found], request_of("cost", prices=[(SLOW, "1"), (FAST, "2")]))
    assert [decision.pick.value is not None for decision in decisions.values()] == [True, True]
    with pytest.raises(BadInput):
        decide_models([found], request_of("cost", prices=[("nobody", "1")]))


def test_a_models_name_is_inert_in_its_heading(run):
    found = run(({"model": "<b>\x1b[31m"}, {}), ({"model": "b"}, {}))
    for format in ("table", "markdown"):
        assert "\x1b" not in advise_models(decide_models([found], request_of()), format)
    assert "## <b>" not in advise_models(decide_models([found], request_of()), "markdown")


def three_models(run):
    """A run of the models `a` and `b` on ort-cpu, and of `c` on openvino-cpu alone."""
    return run(*(({"model": model, "backend": backend}, {}) for model, backend in PLACED.items()))


PLACED = {"a": "ort-cpu", "b": "ort-cpu", "c": "openvino-cpu"}


def test_a_price_of_a_backend_of_one_model_leaves_the_other_models_their_picks(run):
    found, request = three_models(run), request_of(prices=[("openvino-cpu", "0.5")])
    decisions = decide_models([found], request)
    assert {model: bool(decision.pick) for model, decision in decisions.items()} == dict.fromkeys(PLACED, True)
    assert {pick.model: bool(pick.decision and pick.decision.pick) for pick in gather([found], request).picks} == dict.fromkeys(
        PLACED, True
    )


@pytest.mark.parametrize(
    ("selection", "models"),
    [
        ({}, ["a", "b", "c"]),
        ({"backends": ("ort-cpu",)}, ["a", "b"]),
        ({"models": ("c", "a")}, ["a", "c"]),
        ({"hosts": ("TEST",)}, ["a", "b", "c"]),
        ({"backends": ("ort-cpu", "openvino-cpu"), "models": ("b",)}, ["b"]),
    ],
)
def test_a_selection_leaves_its_rows(run, selection, models):
    decisions = decide_models([three_models(run)], request_of(), Selection(**selection))
    assert sorted(decisions) == models
    assert all(decision.pick for decision in decisions.values())


@pytest.mark.parametrize(
    ("selection", "named"),
    [
        ({"backends": ("ort-cpx",)}, "did you mean 'ort-cpu'"),
        ({"models": ("d",)}, "choose from: a, b, c"),
        ({"hosts": ("another",)}, "--host 'another'"),
        ({"hosts": ("",)}, "--host ''"),
        ({"backends": ("ort-cpu",), "models": ("c",)}, "--backend ort-cpu and --model c"),
    ],
)
def test_a_selection_without_rows_is_refused_with_the_nearest_names(run, selection, named):
    with pytest.raises(BadInput) as caught:
        decide_models([three_models(run)], request_of(), Selection(**selection))
    assert named in str(caught.value)


def test_a_selection_keeps_the_speed_ups_against_a_row_that_it_leaves_out(run):
    cells = ({"backend": "ort-cpu"}, {}), ({"backend": "openvino-cpu"}, {})
    found = run(*cells, sweep=to_wire(Sweep(baseline="ort-cpu")))
    (decision,) = decide_models([found], request_of(), Selection(backends=("openvino-cpu",))).values()
    assert [item.row.record.cell.backend for item in decision.ranked] == ["openvino-cpu"]
    assert decision.pick.cells["speedup"] is not None


def test_the_pick_has_its_grade_in_the_first_line(run):
    text = advise_models(decide_models([three_models(run)], request_of()), "table")
    picks = [line for line in text.splitlines() if line.startswith("pick: ")]
    assert len(picks) == 3
    assert all("; grade " in line for line in picks)


def test_a_price_of_a_row_that_is_not_selected_is_no_mistake(run):
    request = request_of(prices=[("openvino-cpu", "0.5")])
    assert decide_models([three_models(run)], request, Selection(backends=("ort-cpu",)))["a"].pick
