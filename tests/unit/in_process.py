"""`bench check` and `bench infer` as they are run, but with workers in this process. The null backend passes for a target, and
what reads a model or a dataset is answered from what the test says of them."""

import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnxbench import __version__
from onnxbench.budgets import BUDGETS
from onnxbench.evidence import Explained, PartDistance
from onnxbench.exporters import manifest
from onnxbench.exporters.derive import RECIPES
from onnxbench.results.store import record
from onnxbench.results.store.journal import read_journal
from onnxbench.results.table import conditions
from onnxbench.runners import infer as sweep
from onnxbench.runners.check import check
from onnxbench.runners.pool import host
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.file_jobs import Counted, Floor, Referred
from onnxbench.runners.worker.jobs import Done
from onnxbench.runners.worker.nvml import Nvml
from onnxbench.runners.worker.serve import State
from onnxbench.runners.worker.verify import array_folder, save_arrays
from onnxbench.spec import Artifact, Conversion, Derived, Sweep, TensorSpec

from .fake_nvml import PID, FakeNvml
from .fake_worker import InProcess, name_of

SAMPLES = {"images": np.zeros((4, 2), np.float32), "labels": [0, 1, 1, 0], "reference": [0, 1, 1, 1]}
FP32 = Artifact(
    **{"model": "cnn", "precision": "fp32", "path": "cnn.fp32.onnx", "sha256": "ab" * 32, "nbytes": 2_000_000, "opset": 18},
    inputs=(TensorSpec(name="input", dtype="float32", shape=("batch", 2)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 10)),),
    dataset="digits",
    float_layers=5,
)
HOW = Conversion(scheme="portable", method="minmax")


def derived(recipe, how=HOW, data="digits", samples=128, **changes):
    """How a file was made from FP32, by this version unless `changes` say another one."""
    told = (*how.options, ("data", data), ("samples", str(samples))) if recipe == "int8" else ()
    current = {"revision": RECIPES[recipe].revision, "tool": __version__}
    return Derived(**{"origin": FP32.sha256, "recipe": recipe, "options": told, **current, **changes})


FP16 = replace(FP32, precision="fp16", path="cnn.fp16.onnx", sha256="cd" * 32, derived=derived("fp16"))
INT8 = replace(FP32, precision="int8", path="cnn.int8.onnx", sha256="ef" * 32, derived=derived("int8"))
OTHER = replace(FP32, model="other", path="other.onnx", sha256="01" * 32)
UNLABELLED = replace(FP32, dataset=None)
TINY = replace(
    BUDGETS["quick"], looks=(1,), block_ms=0.001, rate_ms=0.001, warmup_ms=0.001, warmup_limit_ms=0.01, images=77, energy_ms=0
)


class Works:
    """The pool. `plot(job, name, nth)` may say of a request that an error is `raised` instead of an answer, or that the
    user presses Ctrl-C meanwhile (`stop`). `probed`: what the null backend says of itself beside the truth."""

    def __init__(self, files, plot, images, probed):
        self.files, self.images, self.probed = {Path(file.path).name: file for file in files}, images, probed
        self.requests, self.started, self.names, self.ns, self.offset, self._plot = [], [], {}, 0, 0, plot
        self.floor_db, self.explained = 150.0, Explained(nodes=(("conv1", 30.0),), exclude=("conv1",))
        self.nvml = FakeNvml()
        self.gpu = Nvml(load=lambda: self.nvml, environ={}, pid=PID)

    def host(self):
        return host.describe(self.gpu)

    def threads(self):
        return 2

    def memory_free_mb(self):
        return 1e6

    def contiguous_memory(self):
        return nullcontext()

    def gpu_free_mb(self, index):
        return self.gpu.memory_free_mb(index)

    def start(self, log, python=sys.executable, *, network=True):
        state = State(clock=Clock(now_ns=self.look, cpu_ns=lambda: 0, sleep_s=lambda _: None), gpu=self.gpu)
        jobs = ("describe", "export", "count", "draw", "reference", "compare_file", "floor", "explain")
        answers = {job: getattr(self, job) for job in jobs}
        how = {"answers": answers, "changed": {"probe": self.probed}, "log": log.name, "python": python}
        self.started.append(InProcess(state, self.begin, **how))
        return self.started[-1]

    def look(self):
        self.ns += 100
        return self.ns

    def begin(self, job, asked):
        cell = getattr(asked, "cell", None)
        self.names |= {cell.key: name_of(cell)} if cell else {}
        name = name_of(cell) if cell else self.names.get(getattr(asked, "key", None), "")
        found = self._plot(job, name, self.cells(job).count(name))
        self.requests.append((job, name, asked))
        if found.get("stop"):
            signal.raise_signal(signal.SIGINT)
        if "raised" in found:
            raise found["raised"]

    def asked(self, job, what):
        """What each request for one job said of this."""
        return [getattr(request, what) for of_job, _, request in self.requests if of_job == job]

    def cells(self, job):
        """The names of the cells of which one job was asked, empty where it was asked of none."""
        return [name for of_job, name, _ in self.requests if of_job == job]

    def describe(self, job):
        return self.files[Path(job.file.path).name]

    def export(self, job):
        raise AssertionError("this test exports nothing")

    def count(self, job):
        return Counted(images=self.images)

    def draw(self, job):
        for number in range(job.arrays):  # the values of each array are its number
            arrays = {name: np.full(shape, number, np.float32) for name, shape in job.shapes}
            save_arrays(array_folder(Path(job.folder.path), number), arrays)
        return Done()

    def reference(self, job):
        """Zeros, as the null backend, or as far from that as the batch is large."""
        for call in job.calls:
            outputs = {"logits": np.full((call.batch, 10), self.offset * call.batch, np.float32)}
            for number in range(job.arrays):
                save_arrays(array_folder(Path(call.outputs.path), number), outputs)
        samples = Path(job.samples.path)
        samples.mkdir(parents=True)
        for name, array in SAMPLES.items():
            np.save(samples / f"{name}.npy", array)
        return Referred(runtime="null")

    def compare_file(self, job):
        """The file itself is exact."""
        return Floor(parts=(PartDistance(output="logits", sqnr_db=200.0),))

    def floor(self, job):
        """Rounding alone gives `floor_db`."""
        return Floor(parts=(PartDistance(output="logits", sqnr_db=self.floor_db),))

    def explain(self, job):
        return self.explained


class Notes:
    """What was told."""

    def __init__(self):
        self.told, self.steps = [], []

    def note(self, text):
        self.told.append(text)

    def step(self, what, done, total):
        self.steps.append((what, done, total))


class Bench:
    """Exported files, and a run of them."""

    def __init__(self, folder, works):
        self.artifacts, self.out, self.works, self.progress = folder / "artifacts", folder / "run", works, Notes()
        for file in works.files.values():
            manifest.add(
                self.artifacts, manifest.Exported(artifact=file, made=manifest.Maker(exporter="file")), folder, [], "next"
            )

    def _asked(self, asked, **around):
        around = sweep.Surroundings(out=self.out, progress=self.progress, pool=self.works, **around)
        return Sweep(**{"artifacts": str(self.artifacts), "backends": ("null",), **asked}), around

    def check(self, *limits, least=(), explain=False, **asked):
        """`limits`: pairs of a metric and the most that it may be. `least`: those of the least."""
        all_limits = [*conditions.parse(limits, most=True), *conditions.parse(least, most=False)]
        check(*self._asked(asked), all_limits, explain)
        return self

    def infer(self, resume=False, **asked):
        sweep.infer(*self._asked({"budget": TINY, **asked}, resume=resume))
        return self

    @property
    def rows(self):
        return {name_of(row.cell): row for row in record.read_run(self.out).cells}

    @property
    def states(self):
        return {name: row.status for name, row in self.rows.items()}

    @property
    def events(self):
        return list(read_journal(self.out))
