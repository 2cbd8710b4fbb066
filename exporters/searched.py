"""The search for an INT8 file within bounds, as a manifest keeps it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

Number = float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """Figures of an INT8 file against FP32 on `items` of one part of the data.

    - `agreed`: items with the same argmax of the first output; None unless that is [n, classes].
    - `right`, `lost`, `gained`: items with the right answer, and those that only FP32 or only this file has right; None
      without labels.
    - `quantized_layers`, `float_layers`: numbers of layers of the file.
    - `failed`: reason why there is no file, or why the runtime does not run it; empty for a file with figures.
    """

    items: int = 0
    sqnr_db: Number = None
    max_abs_err: Number = None
    rel_err: Number = None
    agreed: int | None = None
    right: int | None = None
    lost: int | None = None
    gained: int | None = None
    quantized_layers: int = 0
    float_layers: int = 0
    failed: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstLook:
    """Medians of a few calls of a file and of the FP32 file, in turns in one process. No interval is computed from them."""

    ms: float
    fp32_ms: float
    calls: int
    batch: int

    @property
    def speedup(self) -> float:
        """Speed over FP32; above 1 the file is faster."""
        return self.fp32_ms / self.ms


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchStep:
    """One evaluation of a candidate: a scheme, and the nodes in float beside those of the request.

    `part`: `search`, or `proof` for a file that was about to be the result. `alpha`: for each bound, the error probability of
    the interval whose end had to meet the bound; 1 for the estimate itself. `accepted`: all bounds hold.
    """

    scheme: str
    exclude: tuple[str, ...] = ()
    part: str
    figures: Evaluated
    look: FirstLook | None = None
    alpha: tuple[float, ...] = ()
    accepted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeError:
    """SQNR in dB with the node `name` alone in INT8. `layer`: it multiplies by weights or activations."""

    name: str
    sqnr_db: float
    layer: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DataParts:
    """Numbers of items of the disjoint parts of the data, and their names.

    `images`: number of calibration samples to request; 0 for the default. `labelled`: the search and the proof have labels.
    """

    calibration: int
    search: int
    proof: int
    calibration_data: str = ""
    search_data: str = ""
    proof_data: str = ""
    images: int = 0
    labelled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchPath:
    """A search: its bounds, as the user typed them, the backend that ran the files, the data, and all steps in their order."""

    bounds: tuple[str, ...]
    backend: str
    device: str
    schemes: tuple[str, ...]
    parts: DataParts
    seed: int = 0
    steps: tuple[SearchStep, ...] = ()
