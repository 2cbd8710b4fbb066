"""Training over several processes: equal results, faults of one rank, and nothing left running."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from onnxbench.errors import BadInput, RuntimeFailed, Unsupported, WorkerDied, WorkerTimeout
from onnxbench.models import MODELS, NamedModel, datasets
from onnxbench.runners.pool.pool import Local
from onnxbench.runners.pool.ranks import CAUSE_S, LATE_S
from onnxbench.runners.prepare import parallel
from onnxbench.runners.prepare.parallel import PEER_S, Parallel, Place
from onnxbench.runners.prepare.train import Training, TrainingRow
from onnxbench.runners.worker.file_jobs import TrainingSettings
from onnxbench.runners.worker.jobs import Data
from onnxbench.runners.worker.rank_jobs import SCHEDULES
from safetensors.numpy import load_file

pytestmark = pytest.mark.long

BOTH = Parallel(data=(2,), pipeline=(2,), schedules=SCHEDULES, microbatches=4)
FAULTY = '''
import os, signal, time
import torch

class Fault(torch.nn.Module):
    """Layer whose third training step ends badly in the process with RANK 1."""
    steps = 0
    def forward(self, x):
        self.steps += self.training and os.environ.get("RANK") == "1"
        if self.steps == 3:
            {"raises": self.fail, "is killed": self.die, "hangs": lambda: time.sleep(600)}[os.environ["FAULT"]]()
        return x
    def fail(self):
        raise ValueError("the third step is broken")
    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

def net():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6912, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10), Fault())
'''


def data_of(row):
    return Data.named(row.training.dataset)


def train_ranks(row, checkpoint, place):
    """Results of the ranks of one row."""
    return parallel.train(TrainingSettings(**row.settings(data_of(row))), row.plan, checkpoint, place, lambda _: None)


def rows_of(training):
    """Rows of a training on the CPU: one process with one thread, data parallel, and all schedules."""
    plans = parallel.plans(training.parallel, "cpu", training.threads, training.batch_size)
    return [TrainingRow(training=training, device="cpu", precision="fp32", plan=plan) for plan in plans]


def place_of(folder, peer_s=PEER_S):
    return Place(pool=Local(), log=folder / "train.log", timeout_s=120, peer_s=peer_s)


NORMED = """
import torch

def net():
    layers = (torch.nn.Linear(6912, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 10))
    return torch.nn.Sequential(torch.nn.Flatten(), *layers)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A dataset of 240 images, 192 of which are for training or calibration."""
    path, generator = tmp_path_factory.mktemp("data") / "images.npz", np.random.default_rng(0)
    np.savez(path, x=generator.integers(0, 255, (240, 12, 12), np.uint8), y=generator.integers(0, 10, 240))
    return f"npz:{path}"


@pytest.fixture(scope="module")
def trained_ways(tmp_path_factory):
    """The CNN after one epoch on 301 digits, by way: what each rank answered, and the parameters."""
    folder, made = tmp_path_factory.mktemp("ways"), {}
    from sklearn.datasets import load_digits  # a second, in every worker that collects this file

    digits, labels = load_digits(return_X_y=True)
    np.savez(folder / "digits.npz", x=(digits[:301] / 16).reshape(-1, 8, 8), y=labels[:301])
    data = f"npz:{folder / 'digits.npz'}"
    training = Training(dataset=data, epochs=1, batch_size=16, threads=1, lr=0.001, parallel=BOTH)  # the article's rate
    for row in rows_of(training):
        path = folder / f"{row.plan.parallel}.safetensors"
        if row.plan.parallel:
            ranks = train_ranks(row, path, place_of(folder))
            made[row.plan.parallel] = (ranks[0].trained, load_file(path), ranks)
        else:
            with Local().start(folder / "one.log") as worker:
                made["one"] = (worker.ask(row.job(data_of(row), path), 120), load_file(path), [])
    return made


def test_the_digits_are_those_of_scikit_learn(trained_ways):
    """After `trained_ways`, which imports scikit-learn. The dataset reads its file, since the import takes seconds."""
    from sklearn.datasets import load_digits

    (images, labels), found = load_digits(return_X_y=True), datasets.load("digits")
    assert np.array_equal(found.images.reshape(-1, 64), images)
    assert np.array_equal(found.labels, labels)


@pytest.mark.parametrize("way", ["data", *SCHEDULES])
def test_several_processes_make_the_parameters_of_one(trained_ways, way):
    expected, parameters = trained_ways["one"][1], trained_ways[way][1]
    assert set(parameters) == set(expected)
    assert len(expected) == 10
    for name, array in expected.items():
        assert np.abs(parameters[name] - array).max() <= 1e-4 * np.abs(array).max()


@pytest.mark.parametrize("way", SCHEDULES)
def test_a_pipelines_output_and_losses_are_the_whole_models(trained_ways, way):
    trained, _, ranks = trained_ways[way]
    assert [rank.output_error is None for rank in ranks] == [True, False]
    assert ranks[1].output_error <= 1e-5
    np.testing.assert_allclose(trained.losses, trained_ways["one"][0].losses, rtol=1e-5)
    assert len(trained.losses) == 8  # the last batch has 9 images
    assert trained.epochs[0].loss == pytest.approx(trained_ways["one"][0].epochs[0].loss, rel=1e-4)


def test_the_ranks_answer_with_times_that_fit_together(trained_ways):
    for way in ("data", *SCHEDULES):
        for rank in trained_ways[way][2]:
            profile = rank.profile
            assert 0 < profile.communication_s < profile.wall_s
            assert rank.trained.peak_memory_mb > 50
            assert (profile.busy_s is None) == (way == "data")
            assert profile.busy_s is None or 0 < profile.busy_s < profile.wall_s


def test_one_table_has_one_device_and_all_ways(shell, images):
    several = ("--data-parallel", "2", "--pipeline", "2", "--schedule", "1f1b", "--microbatches", "4", "--batch-size", "16")
    rows = shell.rows("train", "--dataset", images, "--epochs", "1", "--threads", "1", *several)
    ways = [(row["parallel"], row["processes"], row["threads"], row["status"]) for row in rows]
    assert ways == [(None, 1, 1, "ok"), ("data", 2, 1, "ok"), ("1f1b", 2, 1, "ok")]
    for row in rows[1:]:
        assert row["train_per_s"] > 0
        assert row["speedup"] > 0
        assert row["efficiency"] > 0
        assert 0 < row["communication"] < 100
        assert len(row["rank_memory_mb"].split()) == 2
    assert rows[1]["bubble"] is rows[1]["bubble_formula"] is None
    assert rows[2]["bubble_formula"] == 20.0
    assert 0 < rows[2]["bubble"] < 100
    assert rows[2]["output_error"] < 1e-5
    assert len(list((shell.cache / "checkpoints/cnn").iterdir())) == 1


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """A model `faulty`, whose third step ends as the variable FAULT says."""
    return add_model("faulty", FAULTY, tmp_path, monkeypatch)


@pytest.fixture
def normed(tmp_path, monkeypatch):
    """A model `normed`, which has BatchNorm."""
    return add_model("normed", NORMED, tmp_path, monkeypatch)


def add_model(name, code, folder, monkeypatch):
    """Let workers train the model that `net` of `code` makes, with the images of the CNN. Returns `folder`."""
    (folder / f"{name}_net.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    cnn = MODELS["cnn"]
    model = NamedModel(name=name, factory=f"{name}_net:net", inputs=cnn.inputs, outputs=cnn.outputs, dataset=cnn.dataset)
    monkeypatch.setitem(MODELS, name, model)
    return folder


def normed_row(norm, data):
    training = Training(
        model="normed", dataset=data, epochs=1, batch_size=16, parallel=Parallel(data=(2,), batch_norms=(norm,))
    )
    return rows_of(training)[-1]


def test_batch_norm_over_cpus_is_refused_with_what_else_to_do(normed, images):
    with pytest.raises(Unsupported, match="--batch-norm local"):
        train_ranks(normed_row("shared", images), normed / "none", place_of(normed))


def test_a_local_batch_norm_has_the_statistics_of_rank_0_and_any_number_of_test_images(normed):
    """513 images are for the test: one rank has two batches of them, the other one."""
    generator, file = np.random.default_rng(0), normed / "odd.npz"
    np.savez(file, x=generator.integers(0, 255, (2565, 12, 12), np.uint8), y=generator.integers(0, 10, 2565))
    ranks = train_ranks(normed_row("local", f"npz:{file}"), normed / "made", place_of(normed))
    assert [rank.batch_norm for rank in ranks] == ["local", "local"]
    assert ranks[0].trained.epochs[0].loss == ranks[1].trained.epochs[0].loss
    assert np.ptp(load_file(normed / "made")["2.running_mean"]) > 0


FAULTS = {
    "raises": (RuntimeFailed, "the third step is broken"),
    "is killed": (WorkerDied, "SIGKILL"),
    "hangs": (WorkerTimeout, "did not answer"),
}


@pytest.mark.parametrize("way", ["data", "1f1b"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_rank_that_fails_ends_all_with_its_own_reason(faulty, images, monkeypatch, way, fault):
    monkeypatch.setenv("FAULT", fault)
    before, kind = set(psutil.Process().children(recursive=True)), FAULTS[fault][0]
    training = Training(model="faulty", dataset=images, epochs=1, batch_size=16, parallel=BOTH)
    (row,) = [row for row in rows_of(training) if row.plan.parallel == way]
    with pytest.raises(kind) as raised:
        train_ranks(row, faulty / "none", place_of(faulty, 3.0))
    assert "process 1" in raised.value.message
    assert FAULTS[fault][1] in str(raised.value)
    assert set(psutil.Process().children(recursive=True)) - before == set()


def test_the_limits_of_a_rank_that_hangs_end_all_within_30_s():
    assert PEER_S + LATE_S + CAUSE_S < 30


PARENT = """
import sys
import psutil
from pathlib import Path
from onnxbench.runners.pool.pool import Local
from onnxbench.runners.prepare import parallel
from onnxbench.runners.prepare.train import Training, TrainingRow
from onnxbench.runners.worker.file_jobs import TrainingSettings
from onnxbench.runners.worker.jobs import Data
from onnxbench.runners.worker.rank_jobs import SCHEDULES
training = Training(dataset=sys.argv[1], epochs=9999, batch_size=16, parallel=parallel.Parallel(data=(2,)))
row = TrainingRow(training=training, device="cpu", precision="fp32", plan=parallel.plans(training.parallel, "cpu", 1, 16)[-1])
place = parallel.Place(pool=Local(), log=Path("train.log"), timeout_s=120, peer_s=20)
def show(report):
    if report.done and report.epoch == 1:
        print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
parallel.train(TrainingSettings(**row.settings(Data.named(training.dataset))), row.plan, Path("none"), place, show)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_ranks_end_with_their_parent(tmp_path, images, end):
    command = [sys.executable, "-c", PARENT, images]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.send_signal(end)
        parent.wait(30)
    assert len(pids) == 2
    limit = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < limit:
        time.sleep(0.1)
    assert [pid for pid in pids if is_running(pid)] == []


def is_running(pid):
    """True for a process that is neither gone nor waits to be collected."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data-parallel", "99"), ("99 processes on cpu need 99 cores",)),
        (("--device", "cuda:7", "--data-parallel", "2"), ("2 GPUs",)),
        (("--data-parallel", "2", "--batch-size", "63"), ("--batch-size 63", "--batch-size 62")),
        (("--pipeline", "2", "--microbatches", "7"), ("7 microbatches",)),
        (("--pipeline", "2", "--microbatches", "1"), ("--microbatches 2",)),
        (("--pipeline", "2", "--schedule", "zigzag"), ("'zigzag' is not a schedule",)),
        (("--data-parallel", "2", "--batch-norm", "none"), ("'none' is not", "shared, local")),
    ],
)
def test_what_cannot_be_trained_in_parallel_is_one_sentence(shell, arguments, words):
    done = shell.bench("train", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert [word for word in words if word not in done.stderr] == []


def test_a_model_with_too_few_layers_is_not_split(faulty, images):
    training = Training(model="faulty", dataset=images, parallel=Parallel(pipeline=(3,), microbatches=4))
    row = rows_of(training)[-1]
    with pytest.raises(BadInput, match="cannot be split into 3 stages: only 2 of its layers have weights"):
        train_ranks(row, faulty / "none", place_of(faulty))
