"""A transformer in place of the generator's LSTM, as in the series' v2.5 (Kuo et al. 2023): each month sees all.

>>> Transformer(inputs=4, hidden=8, months=60)(torch.zeros(2, 12, 4))[0].shape
torch.Size([2, 12, 16])
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYERS, HEADS = 3, 8


class Transformer(nn.Module):
    """Three encoder layers with eight heads (Vaswani et al. 2017) and learnt positions, as wide as both directions of
    the LSTM that it stands in for.

    Args:
        inputs: Z, width of the noise.
        hidden: H; a layer is 2 H wide, which must be a multiple of 8.
        months: most months that it can tell apart.
    """

    def __init__(self, inputs: int, hidden: int, months: int) -> None:
        super().__init__()
        width = 2 * hidden
        self.inward = nn.Linear(inputs, width)
        self.positions = nn.Parameter(0.1 * torch.randn(months, width))
        # no dropout: noise comes from the latent source alone, which has a seed of its own
        layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, z: Tensor, twice: bool = False) -> tuple[Tensor, Tensor]:
        """(B, L, Z) to (B, L, 2 H), and the first and last month's halves side by side, as the LSTM gives them."""
        h = self.layers(self.inward(z) + self.positions[: z.shape[1]])
        return h, h[:, -1]
