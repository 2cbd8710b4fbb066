from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.evidence import Block, Noise
from onnxbench.results.store import noise
from onnxbench.results.store.noise import disturbances, disturbed
from onnxbench.spec import from_wire

STEAL, OTHERS, THROTTLED = noise.STEAL.what, noise.OTHERS.what, noise.THROTTLED.what
ON_GPU, WAITING, FAULTS = noise.ON_GPU.what, noise.WAITING.what, noise.FAULTS.what
TICK_NS = 10**7
# Of 1 s on two CPUs: 2 % are 40 ms and 10 % are 200 ms.
EDGES = [
    ("steal_ns", 40 * 10**6, STEAL),
    ("others_ns", 200 * 10**6, OTHERS),
    ("run_delay_ns", 40 * 10**6, WAITING),
    ("major_faults", 0, FAULTS),
]


def test_where_nothing_was_counted_nothing_disturbed(counts):
    assert disturbances(Noise(latency=counts(), throughput=counts())) == ()
    assert not disturbed("latency", counts())


@pytest.mark.parametrize(("name", "most", "what"), EDGES)
def test_a_count_at_its_threshold_is_clean_and_above_it_disturbed(counts, name, most, what):
    assert disturbances(Noise(latency=counts(**{name: most}))) == ()
    assert disturbances(Noise(latency=counts(**{name: most + 1}))) == (what,)
    assert not disturbed("latency", counts(**{name: most}))
    assert disturbed("latency", counts(**{name: most + 1}))


@pytest.mark.parametrize(("name", "most", "what"), [edge for edge in EDGES if edge[2] != WAITING])
def test_throughput_is_disturbed_by_the_same(counts, name, most, what):
    assert disturbances(Noise(throughput=counts(**{name: most}))) == ()
    assert disturbances(Noise(throughput=counts(**{name: most + 1}))) == (what,)


def test_lanes_that_wait_for_each_other_disturb_no_throughput(counts):
    waiting = counts(run_delay_ns=10**9)
    assert disturbances(Noise(latency=counts(), throughput=waiting)) == ()
    assert not disturbed("throughput", waiting)


@pytest.mark.parametrize(("name", "what"), [("steal_ns", STEAL), ("others_ns", OTHERS)])
def test_two_ticks_are_below_what_the_kernel_can_tell(counts, name, what):
    short = {"wall_ns": 10**8, "cpus": 2}
    assert disturbances(Noise(latency=counts(**short, **{name: 2 * TICK_NS}))) == ()
    assert disturbances(Noise(latency=counts(**short, **{name: 2 * TICK_NS + 1}))) == (what,)


def test_the_wait_of_threads_is_counted_finer_than_in_ticks(counts):
    assert disturbances(Noise(latency=counts(wall_ns=10**7, cpus=1, run_delay_ns=300_000))) == (WAITING,)


@pytest.mark.parametrize("name", ["steal_ns", "others_ns", "run_delay_ns"])
@pytest.mark.parametrize("more", [{"cpus": 16}, {"wall_ns": 8 * 10**9}])
def test_times_count_as_a_share_of_all_cpus_over_the_whole_part(counts, name, more):
    assert disturbed("latency", counts(**{name: 300 * 10**6}))
    assert not disturbed("latency", counts(**{name: 300 * 10**6}, **more))


@pytest.mark.parametrize(
    ("gpu", "whats"),
    [
        ({"throttle": ["sw_thermal_slowdown"], "others": 0}, (f"{THROTTLED} (sw_thermal_slowdown)",)),
        ({"throttle": ["sw_power_cap"], "others": 0}, ()),
        ({"throttle": ["sw_power_cap", "hw_power_brake_slowdown"]}, (f"{THROTTLED} (hw_power_brake_slowdown)",)),
        ({"throttle": ["hw_slowdown", "hw_thermal_slowdown"]}, (f"{THROTTLED} (hw_slowdown, hw_thermal_slowdown)",)),
        ({"throttle": [], "others": 1}, (ON_GPU,)),
        ({"throttle": ["hw_slowdown"], "others": 3}, (f"{THROTTLED} (hw_slowdown)", ON_GPU)),
        ({"throttle": [], "others": 0}, ()),
        ({"throttle": None, "others": None, "reason": "no NVML here"}, ()),
        ({"sm_mhz": 1, "temperature_c": 99, "power_w": 700}, ()),
        ({}, ()),
        (None, ()),
    ],
)
@pytest.mark.parametrize("part", ["latency", "throughput"])
def test_what_nvml_told_disturbs_both_parts_alike(counts, part, gpu, whats):
    assert disturbances(Noise(**{part: counts(gpu=gpu)})) == whats
    assert disturbed(part, counts(gpu=gpu)) == bool(whats)


@pytest.mark.parametrize("kept", [{"involuntary_switches": 10**6}, {"mhz": 1}, {"mhz": None}])
def test_what_is_only_kept_decides_nothing(counts, kept):
    assert disturbances(Noise(latency=counts(**kept), throughput=counts(**kept))) == ()


def test_a_block_says_everything_that_disturbed_it_once(counts):
    latency, throughput = counts(major_faults=1, steal_ns=10**9), counts(steal_ns=10**9, others_ns=10**9)
    assert disturbances(Noise(latency=latency, throughput=throughput)) == (STEAL, FAULTS, OTHERS)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"noise": {}},
        {"noise": {"steal_ticks": 9}},
        {"noise": {"latency": {}}},
        {"noise": {"latency": {"wall_ns": 0, "cpus": 2}}},
    ],
)
def test_a_block_that_was_not_counted_is_clean(content):
    block = from_wire(Block, {"round": 0, **content})
    assert disturbances(block.noise) == ()


@given(
    wall_ns=st.integers(1, 10**10),
    cpus=st.integers(1, 256),
    times=st.fixed_dictionaries({name: st.integers(0, 10**10) for name in ("steal_ns", "others_ns", "run_delay_ns")}),
    longer=st.integers(0, 10**10),
    name=st.sampled_from(["steal_ns", "others_ns", "run_delay_ns", "major_faults"]),
)
def test_more_of_a_disturbance_never_makes_a_part_clean(counts, wall_ns, cpus, times, longer, name):
    before = counts(wall_ns=wall_ns, cpus=cpus, **times)
    after = replace(before, **{name: getattr(before, name) + longer})
    for part in ("latency", "throughput"):
        assert disturbed(part, before) <= disturbed(part, after)
