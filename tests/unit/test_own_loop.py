"""A loop of the user's own: the lines that it prints, the program's side of the protocol, and the worker of each form."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench import loop
from onnxbench.errors import BadInput, RuntimeFailed, Unsupported, WorkerDied, WorkerTimeout
from onnxbench.evidence import Inspected
from onnxbench.loop import PHASES, Program, Times
from onnxbench.runners.pool import program_process
from onnxbench.runners.pool.call import CallLoop
from onnxbench.runners.pool.latency_lines import LatencyLines
from onnxbench.runners.pool.program import Launch, ProgramLoop
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.sweep.programs import check_programs, is_alone, program_rows
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.jobs import Close, Inspect, Open, TimeLatency, TimeThroughput, Verify, WarmUp
from onnxbench.spec import Settings, Sweep, from_wire, to_wire

from .conftest import ARTIFACT, CELL

MS = 10**6


def parse(*lines):
    reader = LatencyLines("my_loop")
    for line in lines:
        reader.add(line)
    return reader.times


@pytest.mark.parametrize(
    ("line", "ns"),
    [
        ("0.0015", 1_500_000),
        ("1.5e-3", 1_500_000),
        (".5", 500 * MS),
        ("1.5ms", 1_500_000),
        (" 1.5 ms \r", 1_500_000),
        ("20 us", 20_000),
        ("20µs", 20_000),
        ("latency_ms=1.25", 1_250_000),
        ("latency_ns=7", 7),
        ("compute_ms=1 copy_in_us=500", 1_500_000),
        ("latency_ms=2 copy_in_ms=0 compute_ms=1", 2_000_000),
    ],
)
def test_a_line_is_one_call(line, ns):
    assert parse(line).latency == [ns]


def test_phases_are_times_of_the_same_calls():
    times = parse("latency_ms=2 copy_in_ms=0.5 copy_out_us=3", "", "# warm", "latency_ms=3 copy_in_ms=0.25 copy_out_us=4")
    assert times == Times(latency=[2 * MS, 3 * MS], phases={"copy_in": [500_000, 250_000], "copy_out": [3000, 4000]})


def test_a_first_line_gives_the_unit_as_in_imported_files():
    assert parse("latency_ms", "1.5", "2 us").latency == [1_500_000, 2000]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("1,5", "decimal comma"),
        ("latency_ms=1,5", "decimal comma"),
        ("Loading model", "is not a latency"),
        ("latency_ms=1.5 warp_ms=3", "is not a latency"),
        ("latency_ms=nan", "is not a latency"),
        ("-1.5", "is not a latency"),
        ("inf", "is not a latency"),
        ("latency_ms=1 and more", "is not a latency"),
        ("0", "takes no time"),
        ("latency_ms=0 compute_ms=1", "takes no time"),
        ("1e9", "longer than"),
        ("1e999", "longer than"),
    ],
)
def test_a_line_that_is_no_latency_is_named(line, word):
    with pytest.raises(RuntimeFailed, match=word) as error:
        parse("0.001" if "=" not in line else "", line)
    assert "line 2 of my_loop" in str(error.value)
    assert error.value.hint


def test_lines_with_other_phases_than_before_are_refused():
    with pytest.raises(RuntimeFailed, match="other phases"):
        parse("latency_ms=1 copy_in_ms=0.1", "latency_ms=1")


@given(st.text())
def test_any_line_is_a_latency_or_one_error(line):
    try:
        times = parse(line)
    except RuntimeFailed:
        return
    assert all(ns > 0 for ns in times.latency)


@given(
    st.lists(st.tuples(st.integers(1, 10**12), st.dictionaries(st.sampled_from(PHASES), st.integers(0, 10**12))), max_size=9)
)
def test_what_the_client_prints_is_read_back(calls):
    times = Times()
    for latency, phases in calls:
        times.add(latency, phases)
    assert parse(*times.lines()) == times


def test_a_phase_has_one_of_the_names_and_adds_up():
    with pytest.raises(ValueError, match="copy_in, compute, wait, copy_out"):
        loop.phase("upload")
    loop.split.clear()
    for _ in range(2):
        with loop.phase("wait"):
            pass
    assert loop.split["wait"] > 0
    assert list(loop.split) == ["wait"]


class Ticks:
    """A clock that goes on 1 ms in each call of `call`, and not otherwise."""

    def __init__(self):
        self.ns, self.calls = 0, 0
        self.clock = Clock(now_ns=lambda: self.ns, cpu_ns=lambda: 0, sleep_s=self.sleep)

    def sleep(self, seconds):
        self.ns += int(seconds * 1e9)

    def call(self):
        self.ns, self.calls = self.ns + MS, self.calls + 1
        loop.split["compute"] = MS // 2


def measured(worker, folder, calls=3, block_ms=20, timeout_s=20):
    data = {"key": "k", "block_ms": block_ms, "calls": calls, "samples": {"path": str(folder / "s.npz")}}
    answer = worker.ask(from_wire(TimeLatency, data), timeout_s)
    with np.load(folder / "s.npz") as arrays:
        return answer, {name: list(values) for name, values in arrays.items()}


WARM = WarmUp(key="k", least_ms=10, limit_ms=100, passes=1)
OPEN = Open(cell=CELL, artifact=ARTIFACT, inputs={"path": ""})


def test_a_call_is_measured_like_a_backend(tmp_path):
    ticks = Ticks()
    worker = CallLoop("mine", ticks.call, 2, ticks.clock)
    worker.check(10)
    opened = worker.ask(OPEN, 10)
    assert (opened.program, opened.first_ms, opened.file) == ("call", 1.0, None)
    warm = worker.ask(WARM, 10)
    assert (warm.stationary, warm.lanes, warm.concurrency.threads) == (True, 1, 2)
    before = ticks.calls
    answer, arrays = measured(worker, tmp_path)
    assert ticks.calls - before == 2 + 20  # a tenth is untimed
    assert answer.calls == 20
    assert answer.p50_ns == {"latency": MS, "compute": MS // 2}
    assert arrays["latency"] == [MS] * 20
    assert arrays["end_to_end"] == arrays["device"] == []
    rate = worker.ask(TimeThroughput(key="k", block_ms=20, concurrency=warm.concurrency), 10).rate
    assert rate.calls_per_s == pytest.approx(1000)
    assert worker.ask(Inspect(key="k", timed=False), 10) == Inspected()


def test_a_call_that_copies_is_end_to_end(tmp_path):
    ticks = Ticks()

    def call():
        ticks.call()
        loop.split["copy_in"] = MS // 4

    worker = CallLoop("mine", call, 2, ticks.clock)
    worker.check(10)
    assert worker.copies
    answer, arrays = measured(worker, tmp_path)
    assert answer.p50_ns["copy_in"] == MS // 4
    assert arrays["end_to_end"] == arrays["latency"]


def test_a_call_that_fails_at_first_is_bad_input_and_later_a_failed_row():
    worker = CallLoop("mine", lambda: 1 / 0, 2, Ticks().clock)
    with pytest.raises(BadInput, match="mine: ZeroDivisionError: division by zero"):
        worker.check(10)
    with pytest.raises(RuntimeFailed, match="ZeroDivisionError"):
        worker.ask(WARM, 10)


def test_a_program_takes_no_other_job():
    worker = CallLoop("mine", lambda: None, 2, Ticks().clock)
    with pytest.raises(Unsupported):
        worker.ask(Verify(key="k", reference={"path": ""}), 10)


DRIVEN = """
    import sys
    print("onnxbench ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line.split()[1])):
            print("latency_ms=2 copy_in_ms=0.5")
        print("end", flush=True)
"""


def program(folder, code, packages=False):
    """The worker of a Python program, which starts faster without packages."""
    file = folder / "program.py"
    file.write_text(textwrap.dedent(code))
    launch = Launch(
        name="mine",
        command=(sys.executable, *(() if packages else ("-S",)), str(file)),
        variables={**os.environ, "ONNXBENCH_TURNS": "1"},
        log=folder / "mine.log",
    )
    return ProgramLoop(launch, 2, Clock())


@pytest.fixture
def no_children():
    """No process is left running."""
    yield
    assert [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE] == []


def test_a_driven_program_stays_loaded(tmp_path, no_children):
    with program(tmp_path, DRIVEN) as worker:
        worker.check(20)
        opened = worker.ask(OPEN, 20)
        assert (opened.program, opened.first_ms) == ("turns", 2.0)
        assert worker.ask(WARM, 20).stationary
        answer, arrays = measured(worker, tmp_path)
        assert answer.calls == 10
        assert arrays["copy_in"] == [500_000] * 10
        assert arrays["end_to_end"] == arrays["latency"]
        assert answer.noise.run_delay_ns is None or answer.noise.run_delay_ns >= 0
        assert measured(worker, tmp_path, calls=30)[0].calls == 30
        assert worker.resident_mb() > 1
        worker.ask(Close(key="k"), 20)


def test_any_other_program_runs_once_in_each_round(tmp_path, no_children):
    code = f"""
        from pathlib import Path
        file = Path({str(tmp_path / "runs")!r})
        file.write_text(file.read_text() + "x" if file.exists() else "x")
        for number in range(20):
            print(f"{{number + 1}} ms")
    """
    with program(tmp_path, code) as worker:
        worker.check(20)
        assert worker.ask(OPEN, 20).program == "runs"
        worker.ask(WARM, 20)
        answer, arrays = measured(worker, tmp_path)
        assert arrays["latency"] == [ms * MS for ms in range(3, 21)]  # the first tenth warms the run up
        assert answer.noise.run_delay_ns is None
        assert (tmp_path / "runs").read_text() == "xx"


BAD = {
    "crash": ("import sys; print('no such model', file=sys.stderr); sys.exit(3)", "exit code 3.*no such model"),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "silent": ("pass", "printed no latency"),
    "empty lines": ("print(); print()", "printed no latency"),
    "garbage": ("print('hello')", "'hello', is not a latency"),
    "comma": ("print('1,25')", "decimal comma"),
    "crash after figures": ("import sys; print(0.5); sys.exit(1)", "exit code 1"),
    "too few": ("input(print('onnxbench ready', flush=True) or ''); print('end')", "block 1 with 0 latencies"),
    "too many": ("print('onnxbench ready', flush=True); input(); print('1\\n1\\n1')", "block 1 with more than 1 lat"),
    "ends in a block": ("print('onnxbench ready', flush=True); input()", "exit code 0"),
    "prints without end": ("print('1' * (1 << 20))", "printed more than bench reads"),
    "binary": ("import sys; sys.stdout.buffer.write(bytes(range(256)))", "is not a latency"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_program_that_gives_no_latency_is_one_sentence(tmp_path, name, no_children):
    code, words = BAD[name]
    with program(tmp_path, code) as worker, pytest.raises(BadInput, match=words) as error:
        worker.check(20)
    assert "\n" not in str(error.value)


def test_a_program_that_does_not_answer_is_killed_with_its_children(tmp_path, no_children):
    code = """
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], start_new_session=True)
        time.sleep(60)
    """
    with program(tmp_path, code) as worker, pytest.raises(BadInput, match="within 1 s"):
        worker.check(1)


def test_a_command_that_is_not_there_is_named(tmp_path):
    launch = Launch(name="mine", command=("./nowhere",), variables={}, log=tmp_path / "log")
    with pytest.raises(BadInput, match=r"nowhere.*No such file"):
        ProgramLoop(launch, 2, Clock()).check(5)


@pytest.mark.parametrize(("code", "kind"), [("sys.exit(2)", WorkerDied), ("time.sleep(60)", WorkerTimeout)])
def test_a_program_that_fails_in_a_later_block_is_a_row(tmp_path, code, kind, no_children):
    later = DRIVEN.replace("import sys", "import sys, time")
    later = later.replace("for _ in", f'line.strip() == "block 1" or {code}\n        for _ in')
    with program(tmp_path, later) as worker:
        worker.check(20)
        with pytest.raises(kind):
            measured(worker, tmp_path, timeout_s=1)


CLIENT = """
    import sys
    from onnxbench import calls, phase
    for index in calls(20):
        print("a stray print")
        with phase("compute"):
            pass
"""


def test_the_client_is_driven_and_its_prints_do_not_matter(tmp_path, no_children):
    with program(tmp_path, CLIENT, packages=True) as worker:
        worker.check(60)
        answer, arrays = measured(worker, tmp_path, block_ms=1)
        assert worker.form == "turns"
        assert set(answer.p50_ns) == {"latency", "compute"}
        assert all(total >= part for total, part in zip(arrays["latency"], arrays["compute"]))
    assert "a stray print" in (tmp_path / "mine.log").read_text()


def test_the_client_alone_prints_one_line_a_call(tmp_path):
    file = tmp_path / "client.py"
    file.write_text(textwrap.dedent(CLIENT).replace('print("a stray print")', ""))
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, check=True)
    assert len(parse(*done.stdout.splitlines()).latency) == 20


def planned(**changes):
    return PlannedCell(cell=replace(CELL, **changes), artifact=ARTIFACT)


MINE = Program(name="mine", command=("./mine",), precision="int8")


def test_a_program_answers_the_question_of_the_other_rows():
    (row,) = program_rows(Sweep(programs=(MINE,)), [planned(batch=8), planned(batch=8, backend="other")], 4)
    assert (row.cell.backend, row.cell.model, row.cell.batch, row.cell.precision) == ("mine", "cnn", 8, "int8")
    assert row.cell.settings == Settings(threads=2)
    assert row.artifact.sha256 == ""


def test_a_program_alone_has_the_case_of_the_options():
    (row,) = program_rows(Sweep(programs=(MINE,), batches=(4,)), [], 3)
    assert (row.cell.model, row.cell.batch, row.cell.settings.threads, row.cell.device) == ("mine", 4, 3, "cpu")


def test_rows_of_several_questions_are_refused():
    with pytest.raises(BadInput, match="2 values of batch"):
        program_rows(Sweep(programs=(MINE,)), [planned(), planned(batch=8)], 3)


@pytest.mark.parametrize("name", ["null", "a/b", "", "../x", "x" * 41, "a@b", "-x"])
def test_a_name_that_is_no_row_is_refused(name):
    with pytest.raises(BadInput):
        check_programs(Sweep(programs=(Program(name=name, command=("x",)),)), {})


def test_a_call_of_another_process_cannot_be_resumed():
    with pytest.raises(BadInput, match="call of Python"):
        check_programs(Sweep(programs=(Program(name="mine"),)), {})


def test_a_sweep_keeps_its_programs():
    sweep = Sweep(programs=(MINE,), artifacts="")
    assert from_wire(Sweep, to_wire(sweep)) == sweep
    assert is_alone(sweep)
    assert not is_alone(Sweep(programs=(MINE,)))
    assert not is_alone(Sweep(artifacts=""))


def test_too_much_output_of_many_lines_ends_the_program(tmp_path, monkeypatch, no_children):
    monkeypatch.setattr(program_process, "OUTPUT_BYTES", 1 << 12)
    with (
        program(tmp_path, "while True: print(1, flush=True)") as worker,
        pytest.raises(BadInput, match="more than bench reads"),
    ):
        worker.check(20)
