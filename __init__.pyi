"""Types of the public names. `make reference` writes this file from the declarations of the commands."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Literal, TypedDict

from typing_extensions import Unpack

from .errors import BenchError as BenchError
from .loop import calls as calls
from .loop import phase as phase
from .results.bisect.steps import BisectedVersions as BisectedVersions
from .results.compare.judged import ComparedRuns as ComparedRuns
from .results.recommend.recommendation import PickedRow as PickedRow
from .results.recommend.recommendation import Recommendation as Recommendation
from .results.table.values import Measurement as Measurement
from .results.table.values import Rows as Rows
from .runners.measure import Beside as Beside
from .runners.measure import measure as measure

__version__: str

_Text = str | PathLike[str]
_Names = _Text | Iterable[_Text]
_Numbers = int | str | Iterable[int]
_Pairs = str | Mapping[str, object] | Iterable[str]
_Run = _Text | Measurement
_Runs = _Run | Iterable[_Run]

class _BisectOptions(TypedDict, total=False):
    random_weights: bool | None
    artifacts: _Text | None
    shape: _Pairs | None
    input: _Pairs | None
    feedback: _Pairs | None
    dataset: str | None
    preprocess: str | None
    backend: _Names | None
    python: _Pairs | None
    device: str | None
    precision: _Names | None
    int8: _Names | None
    batch: _Numbers | None
    dim: _Pairs | None
    threads: int | None
    option: _Pairs | None
    seed: int | None
    timeout: float | None
    threshold: str | None
    package: str | None
    budget: Literal["quick", "normal", "thorough"] | None
    metric: Literal["p50", "p90", "p99", "e2e_p50", "throughput"] | None
    out: _Text | None

class _CheckOptions(TypedDict, total=False):
    random_weights: bool | None
    artifacts: _Text | None
    shape: _Pairs | None
    input: _Pairs | None
    feedback: _Pairs | None
    dataset: str | None
    preprocess: str | None
    backend: _Names | None
    python: _Pairs | None
    device: str | None
    precision: _Names | None
    int8: _Names | None
    batch: _Numbers | None
    dim: _Pairs | None
    threads: int | None
    option: _Pairs | None
    seed: int | None
    timeout: float | None
    max: _Pairs | None
    min: _Pairs | None
    explain: bool | None
    images: int | None
    on: str | None
    node: _Names | None
    every_node: bool | None
    out: _Text | None
    track: Literal["mlflow", "wandb", "tensorboard"] | Iterable[Literal["mlflow", "wandb", "tensorboard"]] | None

class _CompareOptions(TypedDict, total=False):
    fail_on: str | Iterable[str] | None
    inconclusive: Literal["fail", "default", "warn"] | None
    control: str | None

class _ExportOptions(TypedDict, total=False):
    random_weights: bool | None
    precision: _Names | None
    int8: _Names | None
    dataset: str | None
    preprocess: str | None
    calibration: str | None
    calibration_method: str | None
    calibration_images: int | None
    exclude: _Names | None
    max: _Pairs | None
    min: _Pairs | None
    backend: _Names | None
    opset: int | None
    shape: _Pairs | None
    dim: _Pairs | None
    seed: int | None
    artifacts: _Text | None
    timeout: float | None

class _HistoryOptions(TypedDict, total=False):
    metric: str | None
    where: _Pairs | None
    by: Literal["date", "commit", "version", "given"] | None
    control: str | None

class _InferOptions(TypedDict, total=False):
    random_weights: bool | None
    artifacts: _Text | None
    shape: _Pairs | None
    input: _Pairs | None
    feedback: _Pairs | None
    dataset: str | None
    preprocess: str | None
    backend: _Names | None
    python: _Pairs | None
    device: str | None
    precision: _Names | None
    int8: _Names | None
    batch: _Numbers | None
    dim: _Pairs | None
    threads: int | None
    option: _Pairs | None
    seed: int | None
    timeout: float | None
    budget: Literal["quick", "normal", "thorough"] | None
    baseline: str | None
    metric: Literal["p50", "p90", "p99", "e2e_p50", "throughput"] | None
    step_seconds: float | None
    images: int | None
    inputs: int | None
    cache: _Names | None
    load: Literal["poisson"] | None
    slo: _Pairs | None
    max_batch: int | None
    max_wait: float | str | None
    builds: int | None
    keep_engines: _Text | None
    build_timeout: float | None
    tune: bool | None
    roof: bool | None
    cold: bool | None
    lock_clocks: int | bool | None
    on: str | None
    node: _Names | None
    every_node: bool | None
    out: _Text | None
    resume: bool | None
    track: Literal["mlflow", "wandb", "tensorboard"] | Iterable[Literal["mlflow", "wandb", "tensorboard"]] | None

class _RecommendOptions(TypedDict, total=False):
    backend: _Names | None
    model: _Names | None
    host: str | Iterable[str] | None
    max: _Pairs | None
    min: _Pairs | None
    objective: Literal["latency", "throughput", "memory", "energy", "slo_rate", "cost"] | None
    price: _Pairs | None
    demand: float | None

class _ReportOptions(TypedDict, total=False):
    format: Literal["html", "markdown", "csv", "parquet", "png", "svg"] | None
    baseline: str | None
    max: _Pairs | None
    min: _Pairs | None
    objective: Literal["latency", "throughput", "memory", "energy", "slo_rate", "cost"] | None
    price: _Pairs | None

class _TrainOptions(TypedDict, total=False):
    dataset: str | None
    preprocess: str | None
    device: str | Iterable[str] | None
    precision: _Names | None
    epochs: int | None
    batch_size: int | None
    lr: float | None
    data_parallel: _Numbers | None
    scale_batch: bool | None
    batch_norm: _Names | None
    pipeline: _Numbers | None
    schedule: _Names | None
    microbatches: int | None
    threads: int | None
    seed: int | None
    timeout: float | None
    on: str | None
    node: _Names | None
    every_node: bool | None
    track: Literal["mlflow", "wandb", "tensorboard"] | Iterable[Literal["mlflow", "wandb", "tensorboard"]] | None

def bisect(
    model: _Text | None = None, *, good: str, bad: str, progress: bool = False, **options: Unpack[_BisectOptions]
) -> BisectedVersions: ...
def check(model: _Names | None = None, *, progress: bool = False, **options: Unpack[_CheckOptions]) -> Measurement: ...
def compare(base: _Runs, new: _Runs, **options: Unpack[_CompareOptions]) -> ComparedRuns: ...
def export(model: _Text | None = None, *, progress: bool = False, **options: Unpack[_ExportOptions]) -> Rows: ...
def history(*runs: _Runs, **options: Unpack[_HistoryOptions]) -> Rows: ...
def infer(model: _Names | None = None, *, progress: bool = False, **options: Unpack[_InferOptions]) -> Measurement: ...
def read(run: _Run, *, baseline: str | None = None) -> Measurement: ...
def recommend(*runs: _Runs, **options: Unpack[_RecommendOptions]) -> Recommendation: ...
def report(*runs: _Runs, out: _Text, **options: Unpack[_ReportOptions]) -> tuple[Path, ...]: ...
def table(*runs: _Runs, baseline: str | None = None, columns: str | Iterable[str] = ()) -> Rows: ...
def train(model: _Text | None = None, *, progress: bool = False, **options: Unpack[_TrainOptions]) -> Rows: ...
