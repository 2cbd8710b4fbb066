import json
import os
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.evidence import Counts, Noise
from onnxbench.results.store.noise import COUNTERS, disturbances, unseen
from onnxbench.runners.worker import procfs
from onnxbench.runners.worker.clock import Clock
from onnxbench.spec import from_wire, to_wire

CPUS = sorted(os.sched_getaffinity(0))
TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
CLOCK = Clock(now_ns=lambda: 77, cpu_ns=lambda: 3 * TICK_NS)


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """Files of /proc and of the CPUs, by path; there are no others."""
    monkeypatch.setattr(procfs, "PROC", tmp_path / "proc")
    monkeypatch.setattr(procfs, "CPUS", tmp_path / "cpu")

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return write


def stat(fields, others="9 9 9 9 9 9 9 9 0 0"):
    """/proc/stat where each of this process's CPUs has `fields`."""
    return "\n".join(["cpu 999 0 0 0", *(f"cpu{cpu} {fields}" for cpu in CPUS), f"cpu{max(CPUS) + 1} {others}", "intr 5"])


def test_a_file_that_cannot_be_read_is_empty(tmp_path):
    (tmp_path / "here").write_text("  text \n")
    assert [procfs.read_text(tmp_path / name) for name in ("here", "not here", ".")] == ["text", "", ""]


def test_peak_memory_is_this_processs_own():
    before = procfs.peak_rss_mb()
    block = bytearray(os.urandom(1)) * 50_000_000
    assert procfs.peak_rss_mb() >= before
    assert procfs.peak_rss_mb() > len(block) / 1e6


def test_peak_memory_is_read_in_kib(linux):
    linux({"proc/self/status": "Name:\tpython\nVmHWM:\t  1000 kB\nVmRSS:\t  10 kB"})
    assert procfs.peak_rss_mb() == 1.024


def test_peak_memory_without_proc_is_what_the_kernel_says_of_its_use(linux):
    assert procfs.peak_rss_mb() > 1


def test_counters_are_json_and_have_the_levels_among_them():
    found = procfs.counters(CLOCK)
    assert from_wire(Counts, json.loads(json.dumps(to_wire(found)))) == found
    assert (found.wall_ns, found.cpus) == (77, len(CPUS))
    assert {item.name for item in fields(found)} - set(procfs.GROWING) == {"cpus", "mhz", "gpu", "gpus"}
    assert found.major_faults >= 0


def test_counters_grow():
    times = iter([1000, 1250])
    clock = Clock(now_ns=lambda: next(times))
    before = procfs.counters(clock)
    grown = procfs.growth(before, procfs.counters(clock))
    assert grown.wall_ns == 250
    told = [[name for name, value in to_wire(look).items() if value is not None] for look in (before, grown)]
    assert told[0] == told[1]


def test_others_time_is_what_our_cpus_did_without_us(linux):
    """Of ten fields user, nice, system, irq and softirq are computing; idle, iowait and guests are not, steal is apart."""
    linux({"proc/stat": stat("1 2 4 1000 1000 8 16 5 1000 1000")})
    found = procfs.counters(CLOCK)
    assert found.others_ns == (31 * len(CPUS) - 3) * TICK_NS
    assert found.steal_ns == 5 * len(CPUS) * TICK_NS


def test_an_old_kernel_that_tells_no_steal_has_none(linux):
    linux({"proc/stat": stat("1 2 4 1000 1000 8 16", others="1 1 1 1 1 1 1")})
    assert procfs.counters(CLOCK).steal_ns == 0


def test_the_waiting_of_all_threads_is_added_up(linux):
    linux({"proc/self/task/1/schedstat": "500 30 2\n", "proc/self/task/2/schedstat": "500 12 2\n"})
    linux({"proc/self/task/3/schedstat": ""})
    assert procfs.counters(CLOCK).run_delay_ns == 42


def test_the_slowest_of_our_cpus_tells_the_clock(linux):
    linux({f"cpu/cpu{cpu}/cpufreq/scaling_cur_freq": f"{2_100_000 + 1000 * cpu}\n" for cpu in CPUS})
    linux({f"cpu/cpu{max(CPUS) + 1}/cpufreq/scaling_cur_freq": "800000"})
    assert procfs.counters(CLOCK).mhz == 2100 + CPUS[0]


counts = st.builds(Counts, others_ns=st.integers(-9, 9), cpus=st.integers(1, 9), mhz=st.none() | st.integers(1, 9))


@given(before=counts, after=counts)
def test_growth_is_a_difference_that_is_never_negative_and_levels_are_the_last(before, after):
    grown = procfs.growth(before, after)
    assert grown.others_ns == max(0, after.others_ns - before.others_ns)
    assert (grown.cpus, grown.mhz) == (after.cpus, after.mhz)


def test_a_system_without_proc_has_no_counters_of_disturbances(linux):
    """As macOS: what getrusage tells is there, the rest is None and not 0."""
    found = procfs.counters(CLOCK)
    assert [getattr(found, name) for name in COUNTERS] == [None] * len(COUNTERS)
    assert found.major_faults >= 0
    grown = procfs.growth(found, procfs.counters(CLOCK))
    assert [getattr(grown, name) for name in COUNTERS] == [None] * len(COUNTERS)
    assert not disturbances(Noise(latency=grown, throughput=grown))
    assert unseen(Noise(latency=grown)) == COUNTERS
    assert unseen(Noise()) == ()


def test_peak_memory_is_in_bytes_on_macos(linux, monkeypatch):
    on_linux = procfs.peak_rss_mb()
    monkeypatch.setattr(procfs.sys, "platform", "darwin")
    assert procfs.peak_rss_mb() == pytest.approx(on_linux / 1024, rel=0.2)
