"""Search of options: the null backend has some here, and its calls take as long as `Shop.cost_ns` says of them."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from onnxbench.backends import BUILT_IN, get, torch_options
from onnxbench.backends.null import Null, NullSession
from onnxbench.errors import BadInput, Interrupted, OutOfMemory, RuntimeFailed, WorkerDied
from onnxbench.evidence import LATENCY, THROUGHPUT, Tuned
from onnxbench.results.recommend.candidates import candidates, parse_request
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.runners.pool.progress import Silent
from onnxbench.runners.pool.survey import ProbedBackend
from onnxbench.runners.sweep.tuned_targets import tunables_of, with_tuned
from onnxbench.runners.worker.race import race
from onnxbench.spec import Concurrency, Settings, Sweep
from onnxbench.tuning import Tunable, merged, written

from .in_process import FP32, TINY, Notes

ONE = {"batches": (1,), "precisions": ("fp32",), "threads": 1}
MS = 1_000_000
TUNABLES = (
    Tunable(name="layout", values=("rows", "columns", "tiles")),
    Tunable(name="spin", values=("on", "off")),
)


class Shop:
    """The null backend with options. `latency_ns`, `throughput_ns`: time that each value adds to a call, by its name.

    `wrong`, `other`: values with which the answers are wrong, or the arithmetic is another one.
    """

    def __init__(self, patch):
        self.latency_ns, self.throughput_ns, self.wrong, self.other, self.works = {}, {}, (), (), None
        patch.setattr(Null, "options", {"layout": "", "spin": "", "work": ""})
        patch.setattr(Null, "tunables", TUNABLES)
        patch.setattr(Null, "_open", self.open)
        # Another number of streams is another model to compile: the lanes are then told from single calls.
        patch.setattr(Null, "concurrencies", lambda _, threads: (Concurrency(streams=2, threads=threads),))
        patch.setattr(Null, "snippet", lambda _, artifact, cell, concurrency: written(cell.settings.options))

    def open(self, artifact, cell, concurrency):
        session, values = NullSession(artifact, cell), [value for _, value in cell.settings.options]
        costs = self.latency_ns if concurrency.streams == 1 else self.throughput_ns
        cost_ns = MS + sum(costs.get(value, 0) for value in values)

        def start():
            self.works.ns += cost_ns

        session.start = start
        if set(self.wrong) & set(values):
            session.fetch = lambda: {"logits": np.ones((cell.batch, 10), np.float32)}
        if set(self.other) & set(values):
            session.info = replace(session.info, executed="bf16")
        session.info = replace(session.info, settings=cell.settings.options)
        return session


@pytest.fixture
def shop(monkeypatch):
    return Shop(monkeypatch)


@pytest.fixture
def ready(bench, shop):
    """A bench whose null backend has options."""

    def of(plot=lambda job, name, nth: {}, **probed):
        found = bench(plot=plot, probed=probed)
        shop.works = found.works
        return found

    return of


def records(found):
    """The default row and the tuned row."""
    return {str(item.cell.target): item for item in read_run(found.out).cells}


def result(found):
    return records(found)["null@tuned"].tuned


def kinds_of(found):
    return {finding.kind for finding in table.build([read_run(found.out)]).findings}


def opened_options(found):
    return [dict(cell.settings.options) for cell in found.works.asked("open", "cell")]


def test_options_are_found_for_latency_and_for_throughput_apart(ready, shop):
    shop.latency_ns, shop.throughput_ns = {"columns": -300_000, "off": 100_000}, {"columns": 200_000, "off": -200_000}
    found = ready().infer(tune=True, **ONE)
    assert (result(found).latency, result(found).throughput) == ((("layout", "columns"),), (("spin", "off"),))
    default, tuned = records(found).values()
    assert set(default.calls(0, LATENCY)) == {MS + 100}
    assert set(tuned.calls(0, LATENCY)) == {MS - 300_000 + 100}
    assert tuned.blocks[0].throughput.calls_per_s == pytest.approx(1e9 / (MS - 200_000), rel=0.01)
    assert "tuned" in kinds_of(found)


def test_the_best_value_of_one_option_is_kept_while_the_next_one_is_searched(ready, shop):
    shop.latency_ns = {"columns": -100_000, "tiles": -200_000, "off": -300_000}
    found = result(ready().infer(tune=True, **ONE))
    assert found.latency == (("layout", "tiles"), ("spin", "off"))
    tried = {written(item.options): item.speed for item in found.candidates if item.of == LATENCY}
    assert tried == {
        "layout=columns": pytest.approx(10 / 9, rel=0.01),
        "layout=tiles": pytest.approx(10 / 8, rel=0.01),
        "layout=tiles spin=off": pytest.approx(10 / 5, rel=0.01),
    }


def test_both_rows_are_measured_in_the_same_rounds_after_the_search(ready, shop):
    shop.latency_ns = {"columns": -300_000}
    found = ready().infer(tune=True, budget=replace(TINY, looks=(3,)), **ONE)
    default, tuned = records(found).values()
    assert list(default.blocks) == list(tuned.blocks) == [0, 1, 2]
    jobs = [job for job, _, _ in found.works.requests]
    assert jobs.index("inspect") > max(index for index, job in enumerate(jobs[: jobs.index("inspect")]) if job == "open")
    assert opened_options(found)[-2:] in ([{}, {"layout": "columns"}], [{"layout": "columns"}, {}])


def test_the_settings_and_the_program_are_those_that_were_found(ready, shop):
    shop.latency_ns, shop.throughput_ns = {"columns": -300_000}, {"off": -300_000}
    found = ready().infer(tune=True, **ONE)
    warm, row = records(found)["null@tuned"].warm, table.build([read_run(found.out)]).rows[1]
    assert (warm.single.snippet, warm.snippet) == ("layout=columns", "spin=off")
    assert (row["settings"], row["tuned_latency"], row["tuned_throughput"]) == ("layout=columns",) * 2 + ("spin=off",)
    assert "spin=off" in row["throughput_settings"]
    (_, candidate) = candidates([read_run(found.out)], parse_request("latency", (), (), ()))
    assert candidate.deployment.snippet == "layout=columns"


def test_the_default_has_one_measurement_where_nothing_is_faster(ready, shop):
    shop.latency_ns = shop.throughput_ns = {"columns": 100_000, "tiles": 500_000, "off": 10_000}
    found = ready().infer(tune=True, **ONE)
    default, tuned = records(found).values()
    assert tuned.tuned.is_default
    assert (tuned.blocks, tuned.warm, tuned.status) == (default.blocks, default.warm, "ok")
    assert len([key for key, event in found.events if type(event).__name__ == "Block"]) == 1
    default_row, tuned_row = table.build([read_run(found.out)]).rows
    assert (tuned_row["p50_ms"], tuned_row["environment"]) == (default_row["p50_ms"], "tuned")
    assert tuned_row["tuned_latency"] == tuned_row["tuned_throughput"] == "default"
    assert kinds_of(found) >= {"tuned_default"}


def test_such_a_row_is_no_candidate_of_its_own(ready, shop, monkeypatch):
    found = ready(instrument=False).infer(tune=True, **ONE)
    first, second = candidates([read_run(found.out)], parse_request("latency", (), (), ()))
    assert (first.feasible, [item.kind for item in second.reasons]) == (True, ["same_options"])


def test_a_part_of_the_row_may_have_the_default(ready, shop):
    shop.latency_ns = {"off": -100_000}
    found = ready().infer(tune=True, **ONE)
    assert (result(found).latency, result(found).throughput) == ((("spin", "off"),), ())
    assert kinds_of(found) >= {"tuned", "tuned_partly"}


@pytest.mark.parametrize("error", [RuntimeFailed("no kernel"), WorkerDied("it crashed")])
def test_a_candidate_that_fails_is_dropped_and_the_row_is_measured(ready, shop, error, monkeypatch):
    shop.latency_ns = {"columns": -500_000, "tiles": -100_000}
    of_null = shop.open

    def open_or_fail(artifact, cell, concurrency):
        if ("layout", "columns") in cell.settings.options:
            raise error
        return of_null(artifact, cell, concurrency)

    monkeypatch.setattr(Null, "_open", staticmethod(open_or_fail))
    found = ready().infer(tune=True, **ONE)
    assert result(found).latency == (("layout", "tiles"),)
    assert [(item.options, error.message in item.reason) for item in result(found).dropped] == [
        ((("layout", "columns"),), True)
    ]
    assert {item.status for item in records(found).values()} == {"ok"}
    assert "tuned_dropped" in kinds_of(found)


def test_another_arithmetic_or_wrong_answers_never_win(ready, shop):
    shop.latency_ns, shop.other, shop.wrong = {"columns": -500_000, "off": -400_000}, ("columns",), ("off",)
    found = ready().infer(tune=True, **ONE)
    reasons = {written(item.options): item.reason for item in result(found).dropped}
    assert result(found).is_default
    assert "bf16" in reasons["layout=columns"]
    assert "mismatch" in reasons["spin=off"]


def test_a_value_that_the_runtime_does_not_take_is_dropped(ready, shop, monkeypatch):
    shop.latency_ns = {"columns": -500_000}
    of_null = shop.open

    def open_otherwise(artifact, cell, concurrency):
        session = of_null(artifact, cell, concurrency)
        if "columns" in dict(cell.settings.options).values():
            session.info = replace(session.info, settings=(("layout", "rows"),))
        return session

    monkeypatch.setattr(Null, "_open", staticmethod(open_otherwise))
    found = ready().infer(tune=True, **ONE)
    (dropped,) = result(found).dropped
    assert (dropped.options, result(found).is_default) == ((("layout", "columns"),), True)


def test_an_option_that_gains_nothing_is_not_added_to_one_that_does(ready, shop):
    shop.latency_ns = {"tiles": -300_000, "off": -5_000}
    assert result(ready().infer(tune=True, **ONE)).latency == (("layout", "tiles"),)


def test_candidates_that_do_not_fit_beside_each_other_are_timed_one_by_one(ready, shop, monkeypatch):
    shop.latency_ns = {"columns": -300_000}
    of_null, alive = shop.open, []

    def open_in_little_memory(artifact, cell, concurrency):
        session = of_null(artifact, cell, concurrency)
        alive[:] = [(worker, other) for worker, other in alive if worker.alive]
        if any(worker is shop.works.started[-1] for worker, _ in alive):
            raise OutOfMemory("too little memory")
        entry = (shop.works.started[-1], session)
        alive.append(entry)
        session.close = lambda: entry in alive and alive.remove(entry)
        return session

    monkeypatch.setattr(Null, "_open", staticmethod(open_in_little_memory))
    monkeypatch.setattr(Null, "concurrencies", lambda _, threads: (Concurrency(threads=threads),))
    found = ready().infer(tune=True, **ONE)
    assert result(found).latency == (("layout", "columns"),)
    assert not result(found).dropped


def test_the_budget_ends_the_search(ready, shop):
    shop.latency_ns = {"columns": -300_000, "off": -300_000}
    found = ready().infer(tune=True, budget=replace(TINY, tune_s=1e-9), **ONE)
    untried = tuple((of, name) for of in (LATENCY, THROUGHPUT) for name in ("layout", "spin"))
    assert (result(found).is_default, result(found).untried) == (True, untried)
    assert "tuned_untried" in kinds_of(found)


def stop_at(job, nth):
    return lambda *asked: {"stop": True} if asked[::2] == (job, nth) else {}


def test_a_run_that_was_stopped_in_a_search_searches_again(ready, shop):
    shop.latency_ns = {"columns": -300_000}
    found = ready(stop_at("latency", 5))
    with pytest.raises(Interrupted):
        found.infer(tune=True, **ONE)
    assert result(found) is None
    found.infer(resume=True, tune=True, **ONE)
    assert result(found).latency == (("layout", "columns"),)
    assert {item.status for item in records(found).values()} == {"ok"}


def test_a_resumed_run_keeps_what_was_found(ready, shop):
    shop.latency_ns = {"columns": -300_000}
    found = ready().infer(tune=True, **ONE)
    before = len(found.works.requests)
    found.infer(resume=True, tune=True, budget=replace(TINY, name="more", looks=(2,)), **ONE)
    tuned = [event for _, event in found.events if isinstance(event, Tuned)]
    options = [dict(item.cell.settings.options) for job, _, item in found.works.requests[before:] if job == "open"]
    assert (len(tuned), len(options)) == (1, 2)
    assert {"layout": "columns"} in options


def test_a_resumed_run_measures_no_row_that_has_the_default(ready, shop):
    found = ready().infer(tune=True, **ONE)
    before = len(found.works.requests)
    found.infer(resume=True, tune=True, budget=replace(TINY, name="more", looks=(2,)), **ONE)
    assert len([job for job, _, _ in found.works.requests[before:] if job == "open"]) == 1
    assert [len(item.blocks) for item in records(found).values()] == [2, 2]


def test_without_the_option_there_is_no_such_row(ready, shop):
    assert list(records(ready().infer(**ONE))) == ["null"]


def test_options_of_the_user_are_not_searched(ready, shop):
    shop.latency_ns = {"columns": -300_000, "off": -300_000}
    found = ready().infer(tune=True, options=(("spin", "on"),), **ONE)
    assert result(found).latency == (("layout", "columns"),)
    assert all(options.get("spin") == "on" for options in opened_options(found))


def test_a_row_without_options_to_search_is_left_out(ready, shop):
    found = ready().infer(tune=True, options=(("spin", "on"), ("layout", "rows")), **ONE)
    assert list(records(found)) == ["null"]


PROBED = ProbedBackend(name="some", available=True, device_kind="cpu", options={"layout": "", "spin": ""}, tunables=TUNABLES)


def test_some_options_are_always_searched():
    always = replace(PROBED, tunables=(replace(TUNABLES[0], always=True), TUNABLES[1]))
    (_, tuned) = with_tuned([always], Sweep(), Silent())
    assert (str(tuned.target), [item.name for item in tuned.searched]) == ("some@tuned", ["layout"])
    (_, tuned) = with_tuned([always], Sweep(tune=True), Silent())
    assert [item.name for item in tuned.searched] == ["layout", "spin"]


def test_the_layout_of_torch_on_a_gpu_is_always_searched_and_nothing_else_is():
    always = [(name, item.name, item.images) for name in BUILT_IN for item in get(name).tunables if item.always]
    assert always == [("torch-cuda", "channels_last", True)]


def test_no_option_to_search_is_about_the_arithmetic():
    names = {item.name for name in BUILT_IN for item in get(name).tunables}
    assert names & {"use_tf32", "tf32", "inference_precision_hint", "cpu_denormals_optimization"} == set()


class AttentionFlags:
    """The switches of torch.backends.cuda for the kernels of attention."""

    def __init__(self, **enabled):
        self.enabled = enabled
        for name in enabled:
            setattr(self, f"{name}_sdp_enabled", partial(enabled.get, name))
            setattr(self, f"enable_{name}_sdp", partial(enabled.__setitem__, name))


def test_sessions_with_other_kernels_of_attention_share_a_process():
    flags = AttentionFlags(flash=True, mem_efficient=True, math=True, cudnn=False)
    torch = SimpleNamespace(backends=SimpleNamespace(cuda=flags, cudnn=SimpleNamespace(benchmark=False)))
    torch_options.apply_process_wide(torch, False, "auto")
    assert flags.enabled == {"flash": True, "mem_efficient": True, "math": True, "cudnn": False}
    torch_options.apply_process_wide(torch, True, "efficient")
    assert [name for name, is_on in flags.enabled.items() if is_on] == ["mem_efficient"]
    assert torch_options.read_process_wide(torch) == (("cudnn_benchmark", "true"), ("sdpa", "efficient"))
    torch_options.apply_process_wide(torch, False, "auto")
    assert torch_options.read_process_wide(torch) == (("cudnn_benchmark", "false"), ("sdpa", "auto"))


class Weights:
    """A module with weights of these shapes, which are stored with channels last or not."""

    def __init__(self, *shapes, last):
        self.shapes, self.last = shapes, last

    def is_contiguous(self, memory_format):
        return self.last

    def parameters(self):
        own = {"is_contiguous": self.is_contiguous}
        return [SimpleNamespace(dim=lambda shape=shape: len(shape), shape=shape, **own) for shape in self.shapes]


@pytest.mark.parametrize(
    ("shapes", "last", "chosen", "layout"),
    [
        ([(8, 3, 3, 3), (10, 8)], True, "off", "on"),
        ([(8, 3, 3, 3), (10, 8)], False, "on", "off"),
        ([(8, 1, 3, 3), (8, 8, 1, 1), (10, 8)], True, "off", "off"),
        ([(10, 8)], False, "on", "on"),
    ],
)
def test_the_layout_is_that_of_the_weights_which_show_it(make_cell, shapes, last, chosen, layout):
    cell = make_cell(settings=Settings(threads=1, options=(("channels_last", chosen),)))
    torch = SimpleNamespace(channels_last="last")
    assert torch_options.read_layout(torch, Weights(*shapes, last=last), cell) == layout


def test_options_about_images_need_an_image():
    probed = replace(PROBED, searched=(replace(TUNABLES[0], images=True), TUNABLES[1]), beside="")
    image = replace(FP32, inputs=(replace(FP32.inputs[0], shape=("batch", 3, 8, 8)),))
    assert [item.name for item in tunables_of(probed, FP32, ())] == ["spin"]
    assert [item.name for item in tunables_of(probed, image, ())] == ["layout", "spin"]
    assert tunables_of(probed, FP32, (("spin", "on"),)) == ()


def test_options_about_open_dimensions_need_one():
    probed = replace(PROBED, searched=(replace(TUNABLES[0], open_dims=True), TUNABLES[1]), beside="")
    closed = replace(FP32, inputs=(replace(FP32.inputs[0], shape=(8, 4)),))
    opened = replace(FP32, inputs=(replace(FP32.inputs[0], shape=("batch", 4)),))
    assert [item.name for item in tunables_of(probed, closed, ())] == ["spin"]
    assert [item.name for item in tunables_of(probed, opened, ())] == ["layout", "spin"]


def test_environments_have_tuned_rows_of_their_own():
    old = replace(PROBED, environment="old")
    names = [str(item.target) for item in with_tuned([PROBED, old], Sweep(tune=True), Silent())]
    assert names == ["some", "some@tuned", "some@old", "some@old-tuned"]


def test_an_environment_of_the_user_is_not_mixed_up_with_the_search():
    own = replace(PROBED, environment="tuned")
    with pytest.raises(BadInput, match="some@tuned"):
        with_tuned([PROBED, own], Sweep(tune=True), Silent())
    assert with_tuned([PROBED, own], Sweep(), Silent()) == [PROBED, own]


def test_a_backend_without_options_to_search_is_named():
    notes = Notes()
    assert with_tuned([replace(PROBED, tunables=())], Sweep(tune=True), notes) == [replace(PROBED, tunables=())]
    assert "some" in notes.told[0]


def test_noise_alone_finds_nothing(ready, shop):
    chance = np.random.default_rng(0)
    found = ready()
    of_null = shop.open

    def noisy(artifact, cell, concurrency):
        session = of_null(artifact, cell, concurrency)

        def start():
            found.works.ns += int(MS * chance.lognormal(0, 0.1))

        session.start = start
        return session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Null, "_open", staticmethod(noisy))
        found.infer(tune=True, **ONE)
    assert result(found).is_default


def test_a_slow_candidate_leaves_the_race():
    runs = []

    def rate(candidate):
        runs.append(candidate)
        return {"fast": 10.0, "slow": 1.0, "failed": 0.0}[candidate]

    found = race(("fast", "slow", "failed"), rate, 6)
    assert (runs.count("fast"), runs.count("slow"), list(found.scores)) == (6, 3, ["fast"])
    assert race(("only",), rate, 6).rates == {"only": []}


def test_texts_of_options():
    assert merged((("b", "1"), ("c", "2")), (("a", "0"), ("b", "3"))) == (("a", "0"), ("b", "3"), ("c", "2"))
    assert (written((("a", "1"), ("b", "2"))), written(())) == ("a=1 b=2", "the default")
    assert THROUGHPUT != LATENCY
