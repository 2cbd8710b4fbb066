import json
import os
import subprocess
import sys

import psutil
import pytest
from onnxbench.results.store.head import Host
from onnxbench.runners.pool import host
from onnxbench.runners.worker import threads
from onnxbench.runners.worker.nvml import Nvml
from onnxbench.spec import from_wire, to_wire

from .fake_nvml import FakeNvml

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def cgroup(tmp_path):
    """A control group's files, by path."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / {"v2": "cpu.max", "quota": "cpu/cpu.cfs_quota_us", "period": "cpu/cpu.cfs_period_us"}[name]
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("text", "quota"),
    [("max 100000\n", None), ("200000 100000\n", 2.0), ("150000 100000\n", 1.5), ("25000 50000\n", 0.5)],
)
def test_a_quota_is_read_from_version_two(cgroup, text, quota):
    assert threads.cpu_quota(cgroup(v2=text)) == quota


@pytest.mark.parametrize(("text", "quota"), [("-1\n", None), ("0\n", None), ("300000\n", 3.0), ("50000\n", 0.5)])
def test_a_quota_is_read_from_version_one(cgroup, text, quota):
    assert threads.cpu_quota(cgroup(quota=text, period="100000\n")) == quota


def test_version_two_goes_before_version_one(cgroup):
    assert threads.cpu_quota(cgroup(v2="200000 100000", quota="300000", period="100000")) == 2.0


def test_a_damaged_version_two_is_read_as_version_one(cgroup):
    assert threads.cpu_quota(cgroup(v2="", quota="300000", period="100000")) == 3.0


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert threads.cpu_quota(tmp_path) is None


def test_without_a_quota_the_affinity_mask_counts(tmp_path):
    assert threads.usable_threads(tmp_path) == CORES


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("10000", 1), ("100000", 1), ("199000", min(1, CORES)), ("200000", min(2, CORES)), ("100000000", CORES)],
)
def test_threads_are_cut_to_the_whole_cpus_of_the_quota(cgroup, quota, expected):
    assert threads.usable_threads(cgroup(v2=f"{quota} 100000")) == expected


def test_the_affinity_mask_counts_and_not_the_cores(tmp_path):
    mask = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mask)})
        assert threads.usable_threads(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, mask)


def test_a_host_is_described_in_json():
    found = host.describe()
    assert from_wire(Host, json.loads(json.dumps(to_wire(found), allow_nan=False))) == found
    assert found.cpu
    assert 1 <= found.usable_threads <= found.cores
    assert found.memory_gb > 0


def test_gpus_are_facts_of_a_host_and_none_of_them_is_no_error():
    def absent():
        raise ImportError

    assert [gpu.name for gpu in host.describe(Nvml(load=lambda: FakeNvml(("GPU-a", "GPU-b")))).gpus] == ["GPU 0", "GPU 1"]
    assert host.describe(Nvml(load=absent)).gpus == ()


def test_the_tightest_group_above_a_process_counts(tmp_path):
    inner = tmp_path / "cgroup/user.slice/mine"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000")
    (inner.parent / "cpu.max").write_text("150000 100000")
    own = tmp_path / "own"
    own.write_text("0::/user.slice/mine\n")
    assert threads.cpu_quota(tmp_path / "cgroup", own) == 1.5


@pytest.fixture
def limited(tmp_path):
    """Memory that the groups allow and have used (version two by group, or version one's), and the own group's file."""

    def write(groups=(), v1=None):
        for group, (most, used) in dict(groups).items():
            (tmp_path / group).mkdir(parents=True, exist_ok=True)
            (tmp_path / group / "memory.max").write_text(f"{most}\n")
            (tmp_path / group / "memory.current").write_text(f"{used}\n")
        if v1:
            (tmp_path / "memory").mkdir()
            (tmp_path / "memory/memory.limit_in_bytes").write_text(f"{v1[0]}\n")
            (tmp_path / "memory/memory.usage_in_bytes").write_text(f"{v1[1]}\n")
        (tmp_path / "own").write_text("0::/slice/mine\n")
        return tmp_path, tmp_path / "own"

    return write


@pytest.mark.parametrize(
    ("groups", "free_mb"),
    [
        ({"slice/mine": (30_000_000, 10_000_000)}, 20),
        ({"slice/mine": ("max", 10_000_000), "slice": (30_000_000, 25_000_000)}, 5),
        ({"slice/mine": (30_000_000, 10_000_000), "slice": (30_000_000, 25_000_000)}, 5),
        ({"slice/mine": (30_000_000, 30_000_000)}, 0),
    ],
)
def test_free_memory_is_what_the_tightest_group_leaves(limited, groups, free_mb):
    assert host.memory_free_mb(*limited(groups)) == free_mb


def test_free_memory_is_cut_by_version_one_too(limited):
    assert host.memory_free_mb(*limited(v1=(9_000_000, 2_000_000))) == 7


@pytest.mark.parametrize("groups", [{}, {"slice/mine": ("max", 5)}, {"slice/mine": (1 << 62, 5)}, {"slice/mine": ("", "")}])
def test_without_a_limit_the_machines_free_memory_counts(limited, groups):
    assert 0 < host.memory_free_mb(*limited(groups)) <= psutil.virtual_memory().total / 1e6


def test_a_process_that_is_there_has_memory():
    block = bytearray(os.urandom(1)) * 50_000_000
    assert len(block) / 1e6 < host.rss_mb(os.getpid()) < psutil.virtual_memory().total / 1e6


def test_a_programs_memory_counts_for_the_process_that_runs_it():
    code = "block = b'1' * 50_000_000; print(1, flush=True); input()"
    command = ["sh", "-c", f'"{sys.executable}" -c "{code}"; true']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdout.readline() == b"1\n"
        assert host.rss_mb(shell.pid) > 50
        shell.communicate(b"\n")


def test_a_process_that_is_gone_has_none():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert host.rss_mb(gone.pid) == 0
