"""Files in a runtime's own format: what a converter makes, what gets into the cache, and what its failures cost."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from onnxbench.backends import conversion
from onnxbench.backends.conversion import Converter, run_program
from onnxbench.errors import RuntimeFailed, Unavailable, WorkerDied, WorkerTimeout
from onnxbench.evidence import Converted, Failed
from onnxbench.exporters import cache
from onnxbench.results.store.journal import read_journal
from onnxbench.results.store.record import CellRecord, read_run
from onnxbench.results.table import table
from onnxbench.runners.sweep.cells import ActiveCell, RunContext, resume_cell
from onnxbench.runners.sweep.conversions import convert_files
from onnxbench.runners.sweep.interrupt import Stop
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.worker import format_jobs
from onnxbench.runners.worker.file_jobs import ConvertFormat, RuntimeFile, WriteSamples
from onnxbench.runners.worker.jobs import Done, Here, There
from onnxbench.spec import Conversion, Derived, Settings, Sweep, to_wire

from .in_process import Notes

DONE = Converted(converter="copy", convert_s=2.5, cached=False, sha256="cd" * 32, nbytes=7, versions={"copy": "1.2"})


class Copier:
    """A backend whose converter writes what it is given; `opens` is what its runtime does with that."""

    name, converter = "copier", Converter(name="copy", packages=("numpy",), install="pip install copy")

    def __init__(self, write, opens=lambda artifact: None, available=True, **traits):
        self.write, self.opens, self.available, self.made = write, opens, available, 0
        self.converter = Converter(name="copy", **{"packages": ("numpy",), "install": "pip install copy", **traits})

    def probe(self):
        return SimpleNamespace(available=self.available)

    def convert(self, artifact, cell, folder, samples=None):
        self.made += 1
        self.samples = samples
        self.write(folder)

    def open(self, artifact, cell):
        self.opens(artifact)
        return SimpleNamespace(close=lambda: None)


@pytest.fixture
def convert(tmp_path, monkeypatch, make_cell, make_artifact):
    """The worker's job, for one backend and a batch."""
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "cache"))

    def of(backend, batch=1, more=None, **changes):
        shapes = (("input", (batch, 3, 48, 48)),)
        cell = make_cell(batch=batch, shapes=shapes, **changes)
        scratch = There(path=str(tmp_path / "scratch"))
        job = ConvertFormat(cell=cell, **{"artifact": make_artifact(), "scratch": scratch, **(more or {})})
        now_ns = iter(range(0, 10**12, 10**9))
        return format_jobs.runtime_file(backend, job, lambda: next(now_ns))

    return of


def write(folder):
    (folder / "net.bin").write_bytes(b"weights")


def in_cache():
    folder = cache.root() / format_jobs.KIND
    return list(folder.iterdir()) if folder.is_dir() else []


def test_a_converted_file_is_kept_with_its_converter_and_found_again(convert):
    backend = Copier(write)
    first, again = convert(backend), convert(backend)
    assert backend.made == 1
    assert (first.folder, first.converted.convert_s, first.converted.nbytes) == (again.folder, 1.0, 7)
    assert (again.converted.convert_s, first.converted.cached, again.converted.cached) == (1.0, False, True)
    assert first.converted.versions == {"numpy": sys.modules["numpy"].__version__}


@pytest.mark.parametrize(("fixes", "made", "shapes"), [(False, 1, ""), (True, 2, "input=8x3x48x48")])
def test_a_file_with_fixed_shapes_is_made_for_each_shape(convert, fixes, made, shapes):
    backend = Copier(write, fixes_shapes=fixes)
    convert(backend)
    assert convert(backend, batch=8).converted.shapes == shapes
    assert backend.made == made


@pytest.mark.parametrize("change", [{"revision": 2}, {"packages": ("numpy", "scipy")}])
def test_another_converter_makes_the_file_again(convert, change):
    convert(Copier(write))
    other = Copier(write, **change)
    convert(other)
    assert other.made == 1


def test_options_and_precisions_have_files_of_their_own(convert):
    backend = Copier(write)
    for changes in ({}, {"precision": "bf16"}, {"settings": Settings(threads=2, options=(("a", "1"),))}):
        convert(backend, **changes)
    assert backend.made == 3


def test_a_file_that_is_calibrated_depends_on_the_file_that_was_calibrated_with_the_same_samples(convert, make_artifact):
    backend, samples = Copier(write, from_fp32=("int8",)), Here(path="/run/samples.npz")
    for sha256 in ("1" * 64, "2" * 64, "2" * 64):
        file = make_artifact(precision="int8", sha256=sha256)
        convert(backend, precision="int8", more={"artifact": file, "origin": make_artifact(), "samples": samples})
    assert (backend.made, backend.samples) == (2, Path(samples.path))
    convert(backend, precision="int8", more={"artifact": file, "origin": make_artifact()})
    assert (backend.made, backend.samples) == (3, None)


def test_a_damaged_file_is_made_again(convert):
    backend = Copier(write)
    folder = convert(backend).folder.path
    Path(folder, "net.bin").write_bytes(b"weight")
    assert convert(backend).folder.path == folder
    assert backend.made == 2


def stop(folder):
    write(folder)
    raise RuntimeFailed("copy ended with exit code 3")


def refuse(artifact):
    raise RuntimeFailed("half a file")


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (Copier(stop), "exit code 3"),
        (Copier(lambda folder: None), "wrote no file"),
        (Copier(lambda folder: (folder / "net.bin").write_bytes(b"")), "wrote no file"),
        (Copier(write, refuse), "half a file"),
    ],
)
def test_a_file_that_is_not_whole_does_not_get_into_the_cache(convert, backend, reason):
    with pytest.raises(RuntimeFailed, match=reason):
        convert(backend)
    assert in_cache() == []
    backend.write, backend.opens = write, lambda artifact: None
    assert convert(backend).converted.nbytes == 7


def test_a_converter_without_its_runtime_beside_it_is_not_tried(convert):
    assert convert(Copier(write, refuse, available=False)).converted.nbytes == 7


def test_a_missing_package_of_the_converter_is_unavailable_with_its_command(convert):
    with pytest.raises(Unavailable, match=r"no_such_package.*pip install copy"):
        convert(Copier(write, packages=("no_such_package",)))


def test_packages_of_a_converter_are_told_with_their_versions_or_as_missing():
    assert Copier(write).converter.packages_text() == f"numpy {sys.modules['numpy'].__version__}"
    text = Copier(write, packages=("no_such_package",)).converter.packages_text()
    assert all(part in text for part in ("no_such_package", "pip install copy"))


def test_a_runtime_that_reads_onnx_files_converts_nothing(convert):
    backend = Copier(write)
    backend.converter = None
    assert convert(backend) == RuntimeFile()


def program(code, folder):
    return run_program([sys.executable, "-c", code], folder)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('no operator Foo'); raise SystemExit(3)", "exit code 3: no operator Foo"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
    ],
)
def test_a_program_that_fails_is_an_error_with_its_last_words(tmp_path, code, reason):
    with pytest.raises(RuntimeFailed, match=reason):
        program(code, tmp_path)


def test_a_programs_output_is_logged_and_its_end_is_returned(tmp_path, capfd):
    text = program(f"print('x' * {conversion.KEPT_BYTES}); print('end')", tmp_path)
    assert (len(text), text.endswith("end\n")) == (conversion.KEPT_BYTES, True)
    assert len(capfd.readouterr().err) > conversion.KEPT_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such signal")
def test_a_program_ends_with_its_worker(tmp_path):
    code = "import ctypes; signal = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(signal)); print(signal.value)"
    assert program(code, tmp_path) == "9\n"


def test_a_program_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RuntimeFailed, match="cannot be started"):
        run_program(["/no/such/program"], tmp_path)


class Pool:
    """Starts workers that answer by `plot`: what they raise for a batch."""

    def __init__(self, plot):
        self.plot, self.started, self.asked, self.samples = plot, [], [], []

    def start(self, log, python, *, network=False):
        self.started.append((log.name, python))
        return Worker(self)


class Worker:
    def __init__(self, pool):
        self.pool, self.alive = pool, True

    def ask(self, job, timeout_s):
        assert self.alive
        self.pool.asked.append((job.cell.batch, timeout_s))
        self.pool.samples.append(job.samples)
        answer = self.pool.plot.get(job.cell.batch, DONE)
        if isinstance(answer, Exception):
            raise answer
        return RuntimeFile(folder=There(path="/cache/net"), converted=answer)

    def dismiss(self):
        self.alive = False


@pytest.fixture
def run(tmp_path):
    """A run whose workers answer by the plot, and its cells."""

    def of(plot=None, **sweep):
        jobs = []
        context = SimpleNamespace(
            progress=Notes(), pool=Pool(plot or {}), jobs=jobs, ask=lambda job: jobs.append(job) or Done()
        )
        return RunContext(sweep=Sweep(**sweep), journal=journal, context=context, stop=Stop(), total=0)

    with Journal(tmp_path / "run") as journal:
        yield of


@pytest.fixture
def active_of(make_cell, make_artifact):
    def make(batch=1, converter="copy", **state):
        planned = PlannedCell(cell=make_cell(batch=batch), artifact=make_artifact(), converter=converter)
        return ActiveCell(planned=planned, **state)

    return make


def events(run):
    return [event for _, event in read_journal(run.journal.folder)]


def test_each_cell_opens_the_converted_file_and_says_how_it_was_made(run, active_of):
    cells, now = [active_of(1), active_of(8), active_of(32, converter="")], run()
    convert_files(now, cells)
    assert [active.planned.artifact.converted for active in cells] == ["/cache/net", "/cache/net", ""]
    assert (events(now), len(now.context.pool.started)) == ([DONE, DONE], 1)
    convert_files(now, cells)
    assert len(now.context.pool.asked) == 2


def test_samples_are_written_once_for_the_files_of_a_converter_that_quantizes(run, active_of, make_artifact):
    how = Conversion(scheme="litert", method="minmax", images=64)
    options = (*how.options, ("data", "/data/user.npz"), ("samples", "64"))
    made = Derived(origin="0" * 64, recipe="int8", revision=1, tool="", options=options)
    cells, now = [active_of(1), active_of(8)], run()
    for active in cells:
        file = make_artifact(precision="int8", derived=made)
        active.planned = replace(active.planned, calibrated=True, artifact=file, origin=make_artifact())
    convert_files(now, cells)
    (job,) = now.context.jobs
    assert isinstance(job, WriteSamples)
    assert (job.how, job.calibration.path, job.artifact.precision) == (how, "/data/user.npz", "fp32")
    assert now.context.pool.samples == [Here(path=job.file.path)] * 2


def test_an_int8_file_of_somebody_else_has_no_samples(run, active_of):
    active, now = active_of(), run()
    active.planned = replace(active.planned, calibrated=True)
    convert_files(now, [active])
    (failed,) = events(now)
    assert (failed.status, "no FP32 file beside it" in failed.reason) == ("unsupported", True)


def test_a_converter_that_dies_costs_its_cell_and_the_next_has_a_new_worker(run, active_of):
    now, cells = run({1: WorkerDied("the worker was killed by SIGKILL")}), [active_of(1), active_of(8)]
    convert_files(now, cells)
    assert [active.out for active in cells] == [True, False]
    assert (events(now)[0].status, len(now.context.pool.started)) == ("failed", 2)


def test_a_file_that_takes_too_long_is_tried_once(run, active_of):
    now, cells = run({1: WorkerTimeout("no answer")}, build_timeout_s=7.0), [active_of(1), active_of(8)]
    convert_files(now, cells)
    assert now.context.pool.asked == [(1, 7.0)]
    assert [(event.status, "7 s" in event.reason) for event in events(now)] == [("timeout", True)] * 2


def test_a_converter_may_live_in_an_environment_of_its_own(run, active_of):
    now = run(converters=(("copy", sys.executable), ("other", "/no/such/python")))
    convert_files(now, [active_of()])
    assert [python for _, python in now.context.pool.started] == [str(Path(sys.executable))]


def test_a_run_goes_on_with_the_file_that_it_had(run, active_of):
    same, other = active_of(converted=DONE), active_of(8, converted=replace(DONE, sha256="00" * 32))
    now = run()
    convert_files(now, [same, other])
    assert (same.out, other.out) == (False, True)
    assert [type(event) for event in events(now)] == [Failed]


def test_a_stored_conversion_is_resumed(make_cell, active_of, tmp_path):
    planned = active_of().planned
    stored = CellRecord(cell=planned.cell, folder=tmp_path, converted=DONE)
    assert resume_cell(planned, stored, Sweep()).converted == DONE


def test_a_row_says_how_long_its_conversion_took_and_who_made_it(run_folder, make_cell):
    cells = [make_cell(batch=1), make_cell(batch=8)]
    folder = run_folder(*cells)
    folder.add("converted", cells[0], **to_wire(replace(DONE, versions={"pnnx": "1", "ncnn": "2"})))
    for cell in cells:
        folder.measured(cell, 1000)
    rows = table.build([read_run(folder.path)]).rows
    assert [(row["convert_s"], row["converter"]) for row in rows] == [(2.5, "pnnx 1, ncnn 2"), (None, None)]
