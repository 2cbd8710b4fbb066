"""Results about the builds of an engine, which evidence.py joins to those about a cell. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Number = float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An engine, compiled in `build_s` or loaded from the cache. All fields are None for runtimes without engines.

    `build`: its number among the builds of the cell.
    """

    build_s: Number = None
    engine_cached: bool | None = None
    remark: str | None = None
    build: int = 0
    engine_sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """The file of a cell in its runtime's own format, made by `converter` in `convert_s`, or found in the cache (`cached`).

    `versions`: those of the converter's packages. `shapes`: those that the converter wrote into the file, as a text; empty for
    a file with open dimensions. `sha256`, `nbytes`: hash and size of the file.
    """

    converter: str
    convert_s: float
    cached: bool
    sha256: str
    nbytes: int
    versions: Mapping[str, str]
    shapes: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedBuild:
    """Medians of the blocks of one build in a fresh process, with one call in flight.

    `turn`: number of processes in which the build was timed before.
    """

    build: int
    turn: int
    p50_ns: tuple[float, ...]
    engine_sha256: str | None = None

    def __post_init__(self) -> None:
        if not self.p50_ns or min(self.p50_ns) <= 0:
            raise TypeError("p50_ns: must have positive numbers")


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptEngine:
    """The `file` that keeps the engine of a cell for its user.

    `reused`: an earlier run wrote the file, and this run built nothing.
    """

    file: str
    sha256: str
    maker: str = ""
    reused: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Layers:
    """Numbers of quantized layers and of floating-point layers of a file."""

    quantized: int | None = None
    float: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lowered:
    """Lowering of a file from the opset `source` to `opset`. `sqnr_db`: distance between the answers of both files.

    `shapes`: those of the inputs, where the made file has them in place of open dimensions.
    """

    source: int
    opset: int
    sqnr_db: Number = None
    exporter: str = ""
    shapes: str = ""
