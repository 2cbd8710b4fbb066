"""Training over several processes: its plans, and what is refused before anything starts."""

from dataclasses import replace
from pathlib import Path

import pytest
from onnxbench.errors import BadInput, Unavailable
from onnxbench.runners.prepare.parallel import Parallel, Place, Plan, check, check_stages, plans, rank_device, train
from onnxbench.runners.worker.file_jobs import TrainingSettings
from onnxbench.runners.worker.jobs import Data, Done
from onnxbench.runners.worker.rank_job import union_s
from onnxbench.runners.worker.rank_jobs import (
    CountGpus,
    GpuCount,
    JoinRanks,
    MeasureStages,
    OpenRendezvous,
    Rendezvous,
    Stages,
    TrainRank,
)
from onnxbench.runners.worker.stages import balanced_cuts, between


class Machine:
    """A pool with so many cores and GPUs. `asked`: the kinds of the jobs of its workers. `joined`: those of ranks that join."""

    def __init__(self, cores=4, gpus=0, error=None):
        self.cores, self.gpus, self.error, self.asked, self.joined = cores, gpus, error, [], []

    def threads(self):
        return self.cores

    def start(self, log, python="", *, network=False):
        return self

    def ask(self, job, timeout_s, on_report=None):
        self.asked.append(type(job))
        if self.error:
            raise self.error
        if isinstance(job, JoinRanks):
            self.joined.append(job)
        answers = {
            MeasureStages: Stages(cuts=(3,)),
            OpenRendezvous: Rendezvous(address="here:1"),
            CountGpus: GpuCount(gpus=self.gpus),
        }
        return answers.get(type(job), Done())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def checked(parallel, devices=("cpu",), batch_size=64, **machine):
    pool = Machine(**machine)
    check(parallel, devices, batch_size, Place(pool=pool, log=Path("x.log"), timeout_s=1, peer_s=1))
    return pool


def test_one_device_has_one_plan():
    assert plans(Parallel(), "cpu", 8, 64) == [Plan(threads=8, batch_size=64)]


def test_a_single_process_with_the_threads_of_a_rank_is_added_on_the_cpu():
    made = plans(Parallel(data=(2, 4), pipeline=(2,), schedules=("1f1b",)), "cpu", 4, 64)
    assert [(plan.parallel, plan.processes, plan.threads) for plan in made] == [
        *(("", 1, 4), ("", 1, 2), ("", 1, 1)),
        *(("data", 2, 2), ("data", 4, 1), ("1f1b", 2, 2)),
    ]
    assert {plan.batch_size for plan in made} == {64}
    assert [plan.microbatches for plan in made] == [None] * 5 + [8]


def test_on_gpus_one_process_is_the_base_of_all():
    made = plans(Parallel(data=(2,), pipeline=(2,)), "cuda:0", 4, 64)
    assert [(plan.parallel, plan.processes) for plan in made] == [("", 1), ("data", 2), ("gpipe", 2), ("1f1b", 2)]


def test_a_scaled_batch_grows_with_the_processes_of_a_data_parallel_training():
    made = plans(Parallel(data=(2, 4), pipeline=(2,), schedules=("gpipe",), scale_batch=True), "cpu", 4, 60)
    assert [plan.batch_size for plan in made if plan.parallel] == [120, 240, 60]


def test_each_batch_norm_is_trained_with_copies_of_the_model():
    made = plans(Parallel(data=(2,), pipeline=(2,), schedules=("gpipe",), batch_norms=("shared", "local")), "cuda:0", 4, 64)
    assert [(plan.parallel, plan.batch_norm) for plan in made if plan.parallel] == [
        ("data", "shared"),
        ("data", "local"),
        ("gpipe", "shared"),
    ]
    assert len({plan.name for plan in made}) == 4


@pytest.mark.parametrize(
    ("parallel", "batch_size", "words"),
    [
        (Parallel(data=(5,)), 65, ("5 cores", "has 4", "4 processes")),
        (Parallel(pipeline=(5,), microbatches=8), 64, ("5 cores",)),
        (Parallel(data=(3,)), 64, ("--batch-size 64", "3 processes", "--batch-size 63", "--scale-batch")),
        (Parallel(data=(4,)), 3, ("--batch-size 4",)),
        (Parallel(data=(2,), batch_norms=("shared", "all")), 64, ("'all'", "shared, local")),
        (Parallel(pipeline=(2,), microbatches=7), 64, ("7 microbatches", "--batch-size 63")),
        (Parallel(pipeline=(4,), microbatches=2), 64, ("1f1b", "4 stages", "--microbatches 4")),
        (Parallel(pipeline=(2,), schedules=("gpipe", "zigzag")), 64, ("'zigzag'", "1f1b", "interleaved")),
        (Parallel(pipeline=(4,), schedules=("interleaved",), microbatches=6), 60, ("multiple of 4", "--microbatches 4")),
        (Parallel(pipeline=(4,), schedules=("interleaved",), microbatches=2), 64, ("multiple of 4", "--microbatches 4")),
        (Parallel(pipeline=(3, 4), schedules=("interleaved",), microbatches=4), 64, ("multiple of 3", "--microbatches 3")),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_starts(parallel, batch_size, words):
    with pytest.raises(BadInput) as raised:
        checked(parallel, batch_size=batch_size)
    assert [word for word in words if word not in str(raised.value)] == []


def test_what_can_be_trained_is_not_refused():
    checked(Parallel(data=(1, 2, 4), pipeline=(2, 4)))
    checked(Parallel(data=(3,), scale_batch=True))
    checked(Parallel(pipeline=(4,), schedules=("gpipe",), microbatches=2))
    checked(Parallel(pipeline=(2, 4), schedules=("interleaved",), microbatches=8))


def test_one_device_alone_starts_nothing_to_look_at_the_machine():
    assert checked(Parallel(), devices=("cuda:0",)).asked == []


@pytest.mark.parametrize(("gpus", "device", "has"), [(0, "cuda:0", "none"), (1, "cuda:0", "1"), (2, "cuda:1", "1")])
def test_more_processes_than_gpus_are_refused(gpus, device, has):
    with pytest.raises(BadInput, match=rf"2 processes on {device} need 2 GPUs, but this machine has {has}"):
        checked(Parallel(data=(2,)), devices=("cpu", device), gpus=gpus)


def test_processes_that_have_a_gpu_each_are_not_refused():
    assert checked(Parallel(data=(2,)), devices=("cuda:0",), gpus=2).asked == [CountGpus]


def test_each_rank_has_a_gpu_of_its_own():
    assert [rank_device("cuda:1", rank) for rank in range(3)] == ["cuda:1", "cuda:2", "cuda:3"]
    assert rank_device("cpu", 1) == "cpu"


@pytest.mark.parametrize(
    ("layer_ms", "stages", "cuts"),
    [
        ([1, 1, 1, 1], 2, (2,)),
        ([5, 1, 1, 1], 2, (1,)),
        ([1, 1, 1, 5], 2, (3,)),
        ([3, 1, 4, 1, 5, 9], 3, (3, 5)),
        ([2, 2], 1, ()),
    ],
)
def test_stages_are_cut_where_the_slowest_is_fastest(layer_ms, stages, cuts):
    assert balanced_cuts(layer_ms, [True] * len(layer_ms), stages) == cuts


def test_every_stage_has_a_layer_with_weights():
    assert balanced_cuts([1, 1, 9, 9], [True, True, False, False], 2) == (1,)
    assert balanced_cuts([9, 9, 1, 1], [False, False, True, True], 2) == (3,)
    assert balanced_cuts([1, 9, 9, 1], [True, False, False, True], 2) == (2,)


def test_a_stage_has_the_layers_between_two_cuts():
    assert [list(range(6))[between((2, 5), rank, 6)] for rank in range(3)] == [[0, 1], [2, 3, 4], [5]]


def test_overlapping_spans_count_once():
    assert union_s([(0, 1e6), (5e5, 2e6), (3e6, 4e6), (3.2e6, 3.5e6)]) == 3.0
    assert union_s([]) == 0.0


SETTINGS = TrainingSettings(
    **{"model": "cnn", "factory": "x:y", "data": Data.named("digits"), "device": "cpu", "precision": "fp32"},
    **{"epochs": 1, "batch_size": 64, "lr": 0.1, "seed": 0, "threads": 1},
)


def staged(error):
    """A check of the stages of a pipeline, whose worker answers with `error`. The pool."""
    pool, (plan,) = Machine(error=error), plans(Parallel(pipeline=(2,), schedules=("gpipe",)), "cuda:0", 1, 64)[1:]
    check_stages(SETTINGS, plan, Place(pool=pool, log=Path("x.log"), timeout_s=1, peer_s=1))
    return pool


def test_a_model_that_cannot_be_cut_is_refused_before_anything_is_trained():
    with pytest.raises(BadInput, match="cannot be split"):
        staged(BadInput("cannot be split"))


def test_another_error_of_the_check_is_left_to_the_row():
    assert staged(Unavailable("no torch")).asked == [MeasureStages]


def test_all_schedules_have_the_stages_of_one_measurement():
    place = Place(pool=Machine(), log=Path("x.log"), timeout_s=1, peer_s=1)
    staged_plans = [plan for plan in plans(Parallel(pipeline=(2,)), "cpu", 2, 64) if plan.is_pipeline]
    check_stages(SETTINGS, staged_plans[0], place)
    for plan in staged_plans:
        train(SETTINGS, plan, Path("none"), replace(place, log=Path(f"{plan.parallel}.log")), lambda _: None)
    assert place.pool.asked.count(MeasureStages) == 1
    ranks = [("gpipe", 0), ("gpipe", 1), ("1f1b", 0), ("1f1b", 1)]
    assert {(job.schedule, job.rank): job.cuts for job in place.pool.joined} == dict.fromkeys(ranks, (3,))
    assert place.pool.asked.count(TrainRank) == len(ranks)


def test_another_number_of_stages_is_measured_by_itself():
    place = Place(pool=Machine(), log=Path("x.log"), timeout_s=1, peer_s=1)
    for plan in plans(Parallel(pipeline=(2, 4), schedules=("gpipe", "interleaved")), "cuda:0", 4, 64)[1:]:
        check_stages(SETTINGS, plan, place)
    assert place.pool.asked == [MeasureStages] * 3  # two processes of two stages have the four stages of four processes
