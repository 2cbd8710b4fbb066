"""What a GPU did, in a row: energy, power, clock, temperature and memory, and what is said where they are not known."""

import pytest
from onnxbench.results.store.noise import THROTTLED
from onnxbench.results.store.record import read_run
from onnxbench.results.table import gpu, table

MS = 10**6
TOLD = {
    **{"sm_mhz": 1755, "memory_mhz": 2619, "temperature_c": 60, "power_w": 1.0},
    **{"throttle": [], "others": 0},
}
ENERGY = {"power_w": 300.0, "energy_mj": 75.0, "items_per_s": 4000.0, "renewals": 9}
FIGURES = ("energy_mj", "gpu_power_w", "gpu_mhz", "gpu_temperature_c")
NO_NVML = {"reason": "no NVML here: pip install it"}
UNTOLD = {**dict.fromkeys(TOLD), **NO_NVML}


@pytest.fixture
def row(run_folder, make_cell):
    """The row and the record of a cell of batch 8 on a GPU: for each round, what NVML told of latency and of throughput.
    `energy`: the event of that, None for a run that has none."""

    def built(*rounds, energy=ENERGY, name="run"):
        cell = make_cell(device="cuda:0", batch=8)
        folder = run_folder(cell, name=name)
        folder.opened(cell)
        folder.warm(cell)
        if energy is not None:
            folder.add("energy", cell, **energy)
        for number, told in enumerate(rounds):
            noise = {part: {"gpu": counts} for part, counts in zip(("latency", "throughput"), told) if counts is not None}
            folder.block(cell, number, [MS] * 40, [MS] * 40, calls=1000, took_ns=2 * 10**9, noise=noise)
        folder.finished(cell)
        found = read_run(folder.path)
        return table.build([found], None).rows[0], found.cells[0]

    return built


def told(**changes):
    return {**TOLD, **changes}


def notes(found):
    return (found["notes"] or "").split("; ")


def test_energy_and_power_are_those_of_the_pass_of_their_own(row):
    found, _ = row(*[(TOLD, TOLD)] * 3)
    assert (found["gpu_power_w"], found["energy_mj"]) == (300, 75)


def test_blocks_have_no_say_in_energy(row):
    """As those had that an older version wrote."""
    old = told(energy_mj=10**9, wall_ns=10**9)
    assert row(*[(old, old)] * 3, energy=None)[0]["energy_mj"] is None
    assert row(*[(old, old)] * 3, name="new")[0]["energy_mj"] == 75


def test_only_rounds_that_count_are_in_clock_and_temperature(row):
    clean, dirty = told(), told(others=1, temperature_c=99, sm_mhz=1)
    found, _ = row(*[(clean, clean)] * 10, *[(clean, dirty)] * 9)
    assert (found["rounds"], found["disturbed"], found["gpu_mhz"], found["gpu_temperature_c"]) == (10, 9, 1755, 60)


def test_energy_that_has_a_reason_is_null_and_the_reason_a_note(row):
    reason = "the energy counter was renewed 1x in 500 ms of load"
    found, record = row(*[(TOLD, TOLD)] * 10, energy={"items_per_s": 4000.0, "renewals": 0, "reason": reason})
    assert (found["energy_mj"], found["gpu_power_w"], found["grade"]) == (None, None, "A")
    assert f"GPU evidence is missing: {reason}" in notes(found)
    assert gpu.missing_evidence(record) == [reason]


def test_the_clock_is_the_median_of_both_parts_and_the_temperature_the_highest(row):
    found, _ = row(
        (told(sm_mhz=1980, temperature_c=41), told(sm_mhz=1500, temperature_c=None)),
        (told(sm_mhz=1700, temperature_c=55), told(sm_mhz=None, temperature_c=52)),
    )
    assert (found["gpu_mhz"], found["gpu_temperature_c"]) == (1700, 55)


@pytest.mark.parametrize("energy", [None, {}, NO_NVML])
@pytest.mark.parametrize("counts", [None, {}, UNTOLD])
def test_what_is_not_known_is_null(row, counts, energy):
    found, _ = row((counts, counts), energy=energy)
    assert [found[name] for name in FIGURES] == [None] * 4


def test_missing_evidence_is_one_note_and_no_lower_grade(row):
    full, clean = row(*[(TOLD, TOLD)] * 10)
    bare, record = row(*[(UNTOLD, UNTOLD)] * 10, energy=NO_NVML, name="bare")
    assert (full["grade"], bare["grade"]) == ("A", "A")
    assert notes(bare).count("GPU evidence is missing: no NVML here: pip install it") == 1
    assert "GPU" not in (full["notes"] or "")
    assert (gpu.missing_evidence(clean), gpu.missing_evidence(record)) == ([], ["no NVML here: pip install it"])


def test_what_one_round_lacked_is_said_beside_what_the_energy_lacks(row):
    lacking = told(reason="NVML does not tell its power (Unknown)")
    _, record = row((TOLD, TOLD), (TOLD, lacking), (told(reason="another"), TOLD), energy={"reason": "too few"})
    assert gpu.missing_evidence(record) == ["another", "too few"]
    found, _ = row((TOLD, TOLD), (TOLD, lacking), name="one")
    assert "NVML does not tell its power (Unknown)" in found["notes"]


@pytest.mark.parametrize(("held", "noted"), [(0, False), (5, False), (6, True), (10, True)])
def test_the_power_limit_in_most_rounds_is_a_note_and_no_disturbance(row, held, noted):
    capped = told(throttle=["sw_power_cap"])
    found, _ = row(*[(TOLD, capped)] * held, *[(TOLD, TOLD)] * (10 - held))
    assert (found["grade"], found["disturbed"]) == ("A", 0)
    assert ("the GPU ran at its power limit" in notes(found)) == noted


def test_the_power_limit_in_either_part_counts_once(row):
    capped = told(throttle=["sw_power_cap"])
    found, _ = row(*[(capped, capped)] * 5, *[(TOLD, TOLD)] * 5)
    assert "power limit" not in (found["notes"] or "")
    found, _ = row(*[(capped, None)] * 3, *[(None, capped)] * 3, *[(TOLD, TOLD)] * 4, name="either")
    assert "the GPU ran at its power limit" in notes(found)


def test_a_row_whose_gpu_was_held_down_is_a_b(row):
    found, _ = row(*[(TOLD, told(throttle=["hw_thermal_slowdown", "sw_power_cap"]))] * 10)
    assert (found["grade"], found["disturbed"]) == ("B", 10)
    assert f"{THROTTLED.what} (hw_thermal_slowdown)" in found["notes"]


def test_a_row_on_a_cpu_has_none_of_it(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.measured(cell, MS)
    found = table.build([read_run(folder.path)], None).rows[0]
    assert [found[name] for name in (*FIGURES, "device_mem_mb")] == [None] * 5
    assert "GPU" not in (found["notes"] or "")


def test_memory_of_the_gpu_is_the_median_over_fresh_processes(run_folder, make_cell):
    cell = make_cell(device="cuda:0")
    folder = run_folder(cell)
    for used in (512.0, 530.0, 514.0, None):
        folder.cold(cell, peak_rss_mb=100.0, device_mem_mb=used)
    folder.measured(cell, MS)
    built = table.build([read_run(folder.path)], None)
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
    row = table.build([read_run(folder.path)], None).rows[0]
    assert (row["device_p50_ms"], row["p50_ms"]) == (p50_ms, 1)
