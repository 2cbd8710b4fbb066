"""A module like pynvml, and a /proc, in which tests say what GPUs do."""

from types import SimpleNamespace

PID = 100  # who asks; its parent is 10


class NotSupported(Exception):
    """What an NVML query raises that a GPU does not know."""

    def __str__(self):
        return "Not Supported"


class FakeNvml:
    """GPUs whose handles are their numbers on the bus. `failing`: the ends of the names of queries that fail. `asked`: all
    queries, in order. The energy counter moves by `step_mj` each time that it is asked."""

    PID = PID
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, uuids=("GPU-aaaa1111",), failing=(), step_mj=500):
        self.uuids, self.failing, self.step_mj, self.asked = uuids, failing, step_mj, []
        self.energy_mj, self.bits, self.celsius = 7000, [0], [60]
        self.processes = [[SimpleNamespace(pid=PID, usedGpuMemory=512_000_000)]]

    def __getattr__(self, name):
        if not name.startswith("nvml"):
            raise AttributeError(name)
        query = name.removeprefix("nvmlDeviceGet").removeprefix("nvml")

        def ask(*arguments):
            self.asked.append((query, *arguments))
            if query in self.failing:
                raise NotSupported
            return getattr(self, f"_{query}")(*arguments)

        return ask

    def _next(self, series):
        """The next of a series, whose last stays."""
        return series.pop(0) if len(series) > 1 else series[0]

    def _Count(self):
        return len(self.uuids)

    def _HandleByIndex(self, number):
        return list(range(len(self.uuids)))[number]

    def _HandleByUUID(self, uuid):
        return uuid

    def _UUID(self, device):
        return self.uuids[device]

    def _TotalEnergyConsumption(self, device):
        self.energy_mj += self.step_mj
        return self.energy_mj

    def _ClockInfo(self, device, which):
        return {1: 1755, 2: 2619}[which]

    def _MaxClockInfo(self, device, which):
        return 1980

    def _Temperature(self, device, sensor):
        return self._next(self.celsius)

    def _PowerUsage(self, device):
        return 350_500

    def _CurrentClocksEventReasons(self, device):
        return self._next(self.bits)

    def _CurrentClocksThrottleReasons(self, device):
        return self._next(self.bits)

    def _ComputeRunningProcesses(self, device):
        return self._next(self.processes)

    def _MemoryInfo(self, device):
        return SimpleNamespace(total=80 * 2**30, free=1_500_000_000 * (device + 1), used=0)

    def _Name(self, device):
        return f"GPU {device}"

    def _SystemGetDriverVersion(self):
        return "580.1"

    def _EnforcedPowerLimit(self, device):
        return 700_000

    def _PersistenceMode(self, device):
        return 1

    def _MigMode(self, device):
        return [0, 1]


def process(pid, used=None):
    """A process as NVML lists it; `used` bytes of the GPU's memory."""
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


def write_proc(folder, parents):
    """Files /proc/PID/stat of processes whose names are awkward; `parents` by pid."""
    for pid, parent in parents.items():
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "stat").write_text(f"{pid} (a) S 1 (b) S {parent} {pid} 0 -1 4194560\n")
    return folder
