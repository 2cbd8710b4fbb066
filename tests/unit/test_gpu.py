"""What a GPU did, in a row: energy, power, clock, temperature and memory, and what is said where they are not known."""

import pytest
from onnxbench.results import gpu, table
from onnxbench.results.record import read

MS = 10**6
TOLD = {
    **{"wall_ns": 2 * 10**9, "energy_mj": 600_000, "sm_mhz": 1755, "memory_mhz": 2619, "temperature_c": 60, "power_w": 1.0},
    **{"throttle": [], "others": 0},
}
FIGURES = ("energy_mj", "gpu_power_w", "gpu_mhz", "gpu_temperature_c")
UNTOLD = {"wall_ns": 9, **dict.fromkeys(name for name in TOLD if name != "wall_ns"), "reason": "no NVML here: pip install it"}


@pytest.fixture
def row(run_folder, make_cell):
    """The row and the record of a cell of batch 8 on a GPU: for each round, what NVML told of latency and of throughput.
    1000 calls take 2 s."""

    def built(*rounds, name="run"):
        cell = make_cell(device="cuda:0", batch=8)
        folder = run_folder(cell, name=name)
        folder.opened(cell)
        folder.warm(cell)
        for number, told in enumerate(rounds):
            noise = {part: {"gpu": counts} for part, counts in zip(("latency", "throughput"), told) if counts is not None}
            folder.block(cell, number, [MS] * 40, [MS] * 40, calls=1000, took_ns=2 * 10**9, noise=noise)
        folder.stopped(cell)
        found = read(folder.path)
        return table.build([found], None).rows[0], found.cells[0]

    return built


def told(**changes):
    return {**TOLD, **changes}


def test_energy_an_item_is_the_mean_power_times_the_time_of_an_item(row):
    """600 J in 2 s are 300 W; 8000 items in 2 s are 4000 a second; so 75 mJ an item."""
    found, _ = row(*[(told(energy_mj=1), told())] * 3)
    assert found["throughput_per_s"] == 4000
    assert (found["gpu_power_w"], found["energy_mj"]) == (pytest.approx(300), pytest.approx(75))


def test_rounds_are_added_up_because_the_counter_is_coarse(row):
    """A long round counts for more than a short one, and one that saw no new value of the counter for as long as it was."""
    found, _ = row((None, told(energy_mj=0, wall_ns=10**9)), (None, told(energy_mj=900_000, wall_ns=3 * 10**9)))
    assert found["gpu_power_w"] == pytest.approx(225)


def test_only_rounds_that_count_are_in_it(row):
    clean, dirty = told(), told(energy_mj=6_000_000, others=1, temperature_c=99, sm_mhz=1)
    found, _ = row(*[(clean, clean)] * 10, *[(clean, dirty)] * 9)
    assert (found["rounds"], found["disturbed"]) == (10, 9)
    assert [found[name] for name in FIGURES] == [pytest.approx(75), pytest.approx(300), 1755, 60]


def test_rounds_without_a_counter_count_for_nothing(row):
    found, _ = row((None, told()), (None, told(energy_mj=None, wall_ns=10**12)), (None, None))
    assert found["gpu_power_w"] == pytest.approx(300)


@pytest.mark.parametrize("counts", [None, {}, UNTOLD, told(energy_mj=0), told(energy_mj=None)])
def test_without_a_counter_that_moves_there_is_no_energy(row, counts):
    found, _ = row(*[(counts, counts)] * 3)
    assert (found["energy_mj"], found["gpu_power_w"]) == (None, None)


def test_the_clock_is_the_median_of_both_parts_and_the_temperature_the_highest(row):
    found, _ = row(
        (told(sm_mhz=1980, temperature_c=41), told(sm_mhz=1500, temperature_c=None)),
        (told(sm_mhz=1700, temperature_c=55), told(sm_mhz=None, temperature_c=52)),
    )
    assert (found["gpu_mhz"], found["gpu_temperature_c"]) == (1700, 55)


@pytest.mark.parametrize("counts", [None, {}, UNTOLD])
def test_what_is_not_known_is_null(row, counts):
    found, _ = row((counts, counts))
    assert [found[name] for name in FIGURES] == [None] * 4


def test_missing_evidence_is_a_note_and_no_lower_grade(row):
    full, _ = row(*[(TOLD, TOLD)] * 10)
    bare, record = row(*[(UNTOLD, UNTOLD)] * 10, name="bare")
    assert (full["grade"], bare["grade"]) == ("A", "A")
    assert "GPU evidence is missing: no NVML here: pip install it" in bare["notes"].split("; ")
    assert "GPU" not in (full["notes"] or "")
    assert gpu.untold(record) == "no NVML here: pip install it"


def test_what_one_round_lacked_is_said_too(row):
    found, _ = row((TOLD, TOLD), (TOLD, told(reason="NVML does not tell its power (Unknown)")))
    assert "NVML does not tell its power (Unknown)" in found["notes"]


def test_a_row_whose_gpu_was_held_down_is_a_b(row):
    found, _ = row(*[(TOLD, told(throttle=["sw_power_cap"]))] * 10)
    assert (found["grade"], found["disturbed"]) == ("B", 10)
    assert "blocks disturbed: the GPU's clocks were held down (sw_power_cap)" in found["notes"]


def test_a_row_on_a_cpu_has_none_of_it(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.measured(cell, MS)
    found = table.build([read(folder.path)], None).rows[0]
    assert [found[name] for name in (*FIGURES, "device_mem_mb")] == [None] * 5
    assert "GPU" not in (found["notes"] or "")


def test_memory_of_the_gpu_is_the_median_over_fresh_processes(run_folder, make_cell):
    cell = make_cell(device="cuda:0")
    folder = run_folder(cell)
    for used in (512.0, 530.0, 514.0, None):
        folder.cold(cell, peak_rss_mb=100.0, device_mem_mb=used)
    folder.measured(cell, MS)
    built = table.build([read(folder.path)], None)
    assert built.rows[0]["device_mem_mb"] == 514
    assert "GPU memory" in [field.title for field in built.fields]


@pytest.mark.parametrize(
    ("rounds", "p50_ms"),
    [
        ([{"device": [MS, 2 * MS, 2 * MS] * 9}, {"device": [2 * MS, 9 * MS] * 9}], 2),
        ([{"device": []}, {"device": []}], None),
        ([{}, {}], None),  # of a run before there was such a clock
    ],
    ids=["timed", "no clock", "old"],
)
def test_the_devices_own_clock_has_its_column_where_there_is_one(run_folder, make_cell, rounds, p50_ms):
    cell = make_cell(device="cuda:0")
    folder = run_folder(cell)
    folder.opened(cell)
    folder.warm(cell)
    for number, more in enumerate(rounds):
        folder.block(cell, number, [MS] * 40, [MS] * 40, **more)
    row = table.build([read(folder.path)], None).rows[0]
    assert (row["device_p50_ms"], row["p50_ms"]) == (p50_ms, 1)
