"""ViT-B/16 as a sequence of layers, which a pipeline can cut. Its parameters are random.

The sizes are those of Dosovitskiy et al., An Image is Worth 16x16 Words (2020), table 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SIDE, PATCH, WIDTH, DEPTH, HEADS, INNER, CLASSES = 224, 16, 768, 12, 12, 3072, 1000


def vit_b16() -> Any:
    """Images [N, 3, 224, 224] to scores [N, 1000], FP32."""
    import torch
    from torch import nn

    class Patches(nn.Module):
        """Tokens [N, 197, 768]: one for the class, and one for each patch."""

        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Conv2d(3, WIDTH, PATCH, PATCH)
            self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
            self.places = nn.Parameter(0.02 * torch.randn(1, (SIDE // PATCH) ** 2 + 1, WIDTH))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            patches = self.project(images).flatten(2).transpose(1, 2)
            return torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1) + self.places

    class Head(nn.Module):
        """Scores of the token of the class."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.scores = nn.LayerNorm(WIDTH, eps=1e-6), nn.Linear(WIDTH, CLASSES)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.scores(self.norm(tokens)[:, 0])
            return scores

    blocks = [
        nn.TransformerEncoderLayer(
            **{"d_model": WIDTH, "nhead": HEADS, "dim_feedforward": INNER, "dropout": 0.0, "activation": "gelu"},
            **{"layer_norm_eps": 1e-6, "batch_first": True, "norm_first": True},
        )
        for _ in range(DEPTH)
    ]
    return nn.Sequential(Patches(), *blocks, Head())
