"""Random weights that behave like trained ones: seeded, and with no part switched off. torch, inside functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..spec import TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

SEED, IMAGES = 0, 4
SCALE = 0.02  # standard deviation of weights that a library leaves at 0, as transformers and timm draw others


@contextmanager
def seeded() -> Iterator[None]:
    """Draw equal weights at every call; other random numbers of the process stay as they are."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield


def animate(module: nn.Module, inputs: Sequence[TensorSpec]) -> None:
    """Replace weights of 0, whose layer would compute nothing, and give batch norms the statistics of random inputs.

    Without these statistics, values of a deep network vanish or overflow, and FP16 and INT8 would show errors that no trained
    network has.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for part in module.modules():
            for name, weight in part.named_parameters(recurse=False):
                if weight.dim() > 1 and not weight.any():
                    nn.init.normal_(weight, std=SCALE)
                elif name == "weight" and not weight.any():  # a scale behind a norm
                    nn.init.ones_(weight)
        _fit_norms(torch, module, inputs)


def _fit_norms(torch: object, module: nn.Module, inputs: Sequence[TensorSpec]) -> None:
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.momentum = 1.0  # the statistics become those of this one batch
        norm.train()
    module(*_random_inputs(inputs))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
        norm.eval()


def _random_inputs(inputs: Sequence[TensorSpec]) -> list[torch.Tensor]:
    import torch

    return [torch.randn([dim if isinstance(dim, int) else IMAGES for dim in spec.shape]) for spec in inputs]
