from onnxbench.runners.worker.clock import Clock


def test_seconds_since_are_of_the_clock_that_was_given():
    assert Clock(now_ns=lambda: 3_500_000_000).since_s(1_000_000_000) == 2.5


def test_a_stamp_is_the_time_of_day_in_utc():
    assert Clock(wall_s=lambda: 0.25).stamp() == "19700101-000000-250"
    assert Clock(wall_s=lambda: 1_769_903_999.5).stamp() == "20260131-235959-500"


def test_stamps_sort_by_time():
    stamps = [Clock(wall_s=lambda s=s: s).stamp() for s in (0.001, 0.002, 0.1, 1.0, 60.0, 86_400.0, 1e9)]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) == len(stamps)


def test_the_real_clock_goes_forward():
    clock = Clock()
    begin = clock.now_ns()
    assert clock.since_s(begin) >= 0
    assert clock.wall_s() > 1.7e9
