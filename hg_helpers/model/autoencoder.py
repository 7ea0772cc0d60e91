"""The autoencoder of v2, and the textbook form behind the same interface. Forward passes only.

Shapes: B patients, L months, E embedded width, H hidden width, Z latent width.

>>> Autoencoder(width=18, latent=4, hidden=8).encode(torch.zeros(2, 60, 18)).shape
torch.Size([2, 60, 4])
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Autoencoder(nn.Module):
    """Compresses the critic's view of a patient-month to a latent vector and back.

    h1 = relu(A e + A' e); h2 = relu(B h1 + h1); h3 = relu(C h2 + h2); latent t = T h3; reconstruction R t.
    The aggregate of all t is pulled towards N(0, I) by :func:`hg_helpers.model.losses.autoencoder_loss`.
    """

    variational = False

    def __init__(self, width: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.first, self.shortcut = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.second, self.third = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.to_latent = nn.Linear(hidden, latent)
        self.reconstruct = nn.Linear(latent, width)

    def hidden(self, e: Tensor) -> Tensor:
        h = F.relu(self.first(e) + self.shortcut(e))
        h = F.relu(self.second(h) + h)
        return F.relu(self.third(h) + h)  # (B, L, H)

    def encode(self, e: Tensor) -> Tensor:
        """(B, L, E) to latent vectors (B, L, Z)."""
        return self.to_latent(self.hidden(e))

    def forward(self, e: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """(B, L, E) to its reconstruction, latent vectors (B, L, Z), and None: there is no posterior a sample."""
        t = self.encode(e)
        return self.reconstruct(t), t, None


class VariationalAutoencoder(Autoencoder):
    """The textbook form (Kingma & Welling 2014) behind the same interface: a mean and a variance for each sample."""

    variational = True

    def __init__(self, width: int, latent: int, hidden: int) -> None:
        super().__init__(width, latent, hidden)
        self.to_log_variance = nn.Linear(hidden, latent)

    def forward(self, e: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """(B, L, E) to its reconstruction, means (B, L, Z), and (means, log variances).

        ``noise``, standard normal (B, L, Z), makes the reparameterised draw; None reconstructs from the mean.
        """
        h = self.hidden(e)
        mean, log_variance = self.to_latent(h), self.to_log_variance(h)
        t = mean if noise is None else mean + noise * torch.exp(0.5 * log_variance)
        return self.reconstruct(t), mean, (mean, log_variance)


AUTOENCODERS = {"aggregate": Autoencoder, "variational": VariationalAutoencoder}
