"""Models of libraries: their description and their FP32 file, from workers. Loads no framework.

One job fetches weights, and only it has the network. All others read the library's cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from ...errors import BadInput, NotFetched, Unavailable
from ...models import kind_of, name_in_rows
from ...models.library import LibraryModel
from ...models.preprocessing import with_own_steps
from ...spec import Sweep
from ..pool.context import Context
from ..worker.file_jobs import CacheEntry, DescribeLibrary, ExportLibrary, FetchLibrary
from ..worker.jobs import Data, Job
from .request import ExportRequest

Answer = TypeVar("Answer")


def check_random(models: tuple[str, ...], *, random: bool) -> None:
    """Raise `BadInput` for random weights of a model that is no library's."""
    other = next((model for model in models if kind_of(model) != "library"), None) if random else None
    if other or (random and not models):
        problem = "--random-weights is for models of torchvision, timm and transformers"
        raise BadInput(f"{problem}, and {other or 'no --model'} is none", "write for example --model torchvision:resnet50")


def describe(model: str, *, random: bool, context: Context) -> LibraryModel:
    """Describe `model`. Downloads its configuration where this machine lacks it."""
    if model not in context.described:
        context.described[model] = _ask(DescribeLibrary(model=model, random=random), model, random, context)
    return context.described[model]


def library_entry(request: ExportRequest, context: Context) -> CacheEntry:
    """The FP32 file of a library's model in the cache. Downloads weights that this machine lacks."""
    data = Data.named(request.dataset) if request.dataset else None
    random, name = request.random_weights, name_in_rows(request.model)
    return _ask(ExportLibrary(model=request.model, name=name, random=random, data=data), request.model, random, context)


def _ask(job: Job[Answer], model: str, random: bool, context: Context) -> Answer:
    """Ask without the network first: a model whose files are here needs none. `BadInput` where the library is missing."""
    try:
        return context.ask(job)
    except NotFetched:
        context.progress.note(f"downloading {model} with the library's own client")
    except Unavailable as error:
        raise BadInput(error.message, error.hint) from error
    context.ask(FetchLibrary(model=model, random=random))
    return context.ask(job)


def with_preprocessing(sweep: Sweep, context: Context) -> Sweep:
    """`sweep` with the preprocessing of its model's library, where the user gave images and no --preprocess."""
    return replace(sweep, dataset=_own_steps(sweep.dataset, sweep.model, sweep.random_weights, context))


def prepared(request: ExportRequest, context: Context) -> ExportRequest:
    """`request` with the preprocessing of its model's library, where the user gave images and no --preprocess."""
    dataset, calibration = (
        _own_steps(name, request.model, request.random_weights, context) for name in (request.dataset, request.calibration)
    )
    return replace(request, dataset=dataset, calibration=calibration)


def _own_steps(dataset: str | None, model: str | None, random: bool, context: Context) -> str | None:
    def steps() -> str:
        if model is None or kind_of(model) != "library":
            return ""
        return describe(model, random=random, context=context).preprocessing

    return with_own_steps(dataset, steps)
