"""RAPL's counters of the energy of CPU packages, as Linux gives them under /sys/class/powercap. Standard library only.

Kernel documentation: Documentation/power/powercap/powercap.rst. A zone `intel-rapl:N` called `package-M` counts the energy of a
whole CPU package, in uJ, also on AMD's CPUs. Its sub-zones (`core`, `uncore`) are parts of it. The zones `dram` and `psys` are
not: few machines have them, so no figure contains them. `intel-rapl-mmio` counts the same packages again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/class/powercap")
ZONES = "intel-rapl:*"
PACKAGE = "package-"
REMEDY = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"


@dataclass(kw_only=True)
class _Package:
    """Counter of one package, in `file`, which begins again at 0 behind `most_uj`. `total_uj`: its growth since the begin."""

    file: Path
    most_uj: int
    last_uj: int
    total_uj: int = 0

    def read(self) -> int:
        """Growth of the counter in uJ. It is read far more often than it begins again, which takes minutes."""
        now_uj = int(self.file.read_text())
        grown = now_uj - self.last_uj
        self.total_uj += grown if grown >= 0 else grown + self.most_uj
        self.last_uj = now_uj
        return self.total_uj


@dataclass(kw_only=True)
class Rapl:
    """Reader of the energy of all CPU packages together. The zones are searched at the first reading."""

    root: Path = ROOT
    _packages: list[_Package] | None = field(default=None, init=False)

    def energy_mj(self) -> tuple[float | None, str | None]:
        """Energy of all packages in mJ since the first reading; or None, and the reason."""
        try:
            if self._packages is None:
                self._packages = list(self._found())
            if not self._packages:
                return None, f"this system has no RAPL counter of a CPU package ({self.root})"
            return sum(package.read() for package in self._packages) / 1e3, None
        except PermissionError as error:
            return None, f"only root may read {error.filename}; to allow it, run {REMEDY}"
        except (OSError, ValueError) as error:
            return None, f"the RAPL counters cannot be read ({error})"

    def _found(self) -> Iterator[_Package]:
        for zone in sorted(self.root.glob(ZONES)):
            # A sub-zone is listed beside the zones, as `intel-rapl:0:1`.
            if zone.name.count(":") == 1 and (zone / "name").read_text().strip().startswith(PACKAGE):
                most = int((zone / "max_energy_range_uj").read_text())
                yield _Package(file=zone / "energy_uj", most_uj=most, last_uj=int((zone / "energy_uj").read_text()))
