"""The one place in which v1 and v2 differ: where the generator's noise comes from, and the autoencoder that fills it.

Each source draws z of shape (patients, months, Z), on the CPU. The sources with memory (v2) also learn:
:meth:`LatentBuffer.update` takes what the autoencoder saw, and nothing else ever changes them.

>>> random, buffer = torch.Generator().manual_seed(0), LatentBuffer(latent=4)
>>> buffer.update(Autoencoder(width=18, latent=4, hidden=8).encode(torch.zeros(5, 60, 18)), random)
>>> len(buffer.prototypes), buffer.draw(2, 3, random).shape
(5, torch.Size([2, 3, 4]))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UniformNoise(nn.Module):
    """v1: z ~ U(0, 1), drawn anew each month, so that over a patient's months it averages out."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def draw(self, patients: int, months: int, generator: torch.Generator) -> Tensor:
        """Noise (patients, months, Z), on the CPU."""
        return torch.rand(patients, months, self.latent, generator=generator)


class PersistentNoise(UniformNoise):
    """U(-1, 1) each month plus one N(0, 1) a patient: noise that stays with the patient, without any memory."""

    def draw(self, patients: int, months: int, generator: torch.Generator) -> Tensor:
        monthly = 2 * super().draw(patients, months, generator) - 1
        return monthly + torch.randn(patients, 1, self.latent, generator=generator)


class LatentBuffer(UniformNoise):
    """v2: z' = z * T_SD + prototype, z ~ U(0, 1) each month, one prototype a patient for all its months.

    A prototype is the mean over months of one real patient's latent vectors; of more than ``capacity`` a random subset
    stays. T_SD, ``scale``, is a running mean of the batches' standard deviations.
    """

    def __init__(self, latent: int, capacity: int = 10_000) -> None:
        super().__init__(latent)
        self.capacity = capacity
        self.register_buffer("prototypes", torch.zeros(0, 1, latent))  # (n, 1, Z)
        self.register_buffer("scale", torch.ones(1, 1, latent))  # (1, 1, Z)

    def update(self, latents: Tensor, generator: torch.Generator) -> None:
        """Remember a batch (patients, months, Z): its patients' prototypes, and how widely latent vectors spread."""
        latents = latents.detach()
        if len(latents.flatten(0, 1)) > 1:  # the spread of a single value says nothing
            self.scale = (self.scale + latents.std(dim=(0, 1), keepdim=True)) / 2
        self.prototypes = torch.cat([self.prototypes, latents.mean(1, keepdim=True)])
        if len(self.prototypes) > self.capacity:
            kept = torch.randperm(len(self.prototypes), generator=generator)[: self.capacity]
            self.prototypes = self.prototypes[kept.to(self.prototypes.device)]

    def choose(self, patients: int, generator: torch.Generator) -> Tensor:
        """One remembered prototype a patient, (patients, 1, Z), with replacement; RuntimeError where there is none."""
        prototypes = self.remembered()
        chosen = torch.randint(len(prototypes), (patients,), generator=generator)
        return prototypes[chosen.to(prototypes.device)].cpu()

    def draw(self, patients: int, months: int, generator: torch.Generator) -> Tensor:
        return super().draw(patients, months, generator) * self.scale.cpu() + self.choose(patients, generator)

    def remembered(self) -> Tensor:
        """All prototypes; RuntimeError where there is none."""
        if len(self.prototypes) == 0:
            remedy = "train at least one batch (or load a trained model) before drawing from it"
            raise RuntimeError(f"the latent buffer is empty: it fills in the autoencoder's step, so {remedy}")
        return self.prototypes

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # The number of prototypes is part of the state, not of the architecture.
        saved = state_dict.get(prefix + "prototypes")
        if saved is not None and saved.shape[1:] == self.prototypes.shape[1:]:
            self.prototypes = self.prototypes.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


class NoisyBuffer(LatentBuffer, PersistentNoise):
    """v2_plus: z' = z + prototype, with z the noise that stays with a patient: two patients of one prototype differ."""

    def draw(self, patients: int, months: int, generator: torch.Generator) -> Tensor:
        return PersistentNoise.draw(self, patients, months, generator) + self.choose(patients, generator)


class GaussianPrototypes(LatentBuffer):
    """As the buffer, each prototype replaced by a draw from a normal distribution with the prototypes' moments."""

    def choose(self, patients: int, generator: torch.Generator) -> Tensor:
        points = self.remembered()[:, 0].cpu()
        centre = points.mean(0)
        e = torch.randn(patients, len(points), generator=generator)  # e' (P - mean) / sqrt(n - 1) has P's covariance
        return (centre + e @ (points - centre) / max(len(points) - 1, 1) ** 0.5)[:, None]


def group_means(prototypes: Tensor, least: int) -> Tensor:
    """Prototypes (n, 1, Z) to the means of groups of neighbours (groups, 1, Z), so that none is a single patient's.

    Microaggregation (Domingo-Ferrer & Mateo-Sanz 2002): halved where most varies while halves keep ``least`` members.
    """
    if len(prototypes) < 2 * least:
        return prototypes.mean(0, keepdim=True)
    order = prototypes[:, 0, int(prototypes[:, 0].var(0).argmax())].argsort(stable=True)
    return torch.cat([group_means(prototypes[half], least) for half in order.tensor_split(2)])


MEMORIES = {"buffer": LatentBuffer, "noisy_buffer": NoisyBuffer, "gaussian": GaussianPrototypes}
SOURCES = {"uniform": UniformNoise, "persistent": PersistentNoise, **MEMORIES}


class Autoencoder(nn.Module):
    """Compresses the critic's view of a patient-month, of width E, to a latent vector and back.

    h1 = relu(A e + A' e); h2 = relu(B h1 + h1); h3 = relu(C h2 + h2); latent t = T h3; reconstruction R t.
    The aggregate of all t is pulled towards N(0, I) by :func:`hg_helpers.autoencoder_loss`.
    """

    def __init__(self, width: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.first, self.shortcut = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.second, self.third = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.to_latent, self.reconstruct = nn.Linear(hidden, latent), nn.Linear(latent, width)

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
    """The textbook form (Kingma & Welling 2014): a mean and a variance for each sample."""

    def __init__(self, width: int, latent: int, hidden: int) -> None:
        super().__init__(width, latent, hidden)
        self.to_log_variance = nn.Linear(hidden, latent)

    def forward(self, e: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """As above, with posterior means and log variances; it draws with standard normal noise (B, L, Z) if given."""
        h = self.hidden(e)
        mean, log_variance = self.to_latent(h), self.to_log_variance(h)
        t = mean if noise is None else mean + noise * torch.exp(0.5 * log_variance)
        return self.reconstruct(t), mean, (mean, log_variance)


AUTOENCODERS = {"aggregate": Autoencoder, "variational": VariationalAutoencoder}
