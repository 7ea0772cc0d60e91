"""Where the generator's noise comes from: the one place in which v1 and v2 differ.

Each source draws z of shape (patients, months, Z) from a ``torch.Generator``. The sources with memory (v2) also learn:
:meth:`LatentBuffer.update` takes what the autoencoder saw, and nothing else ever changes them.

>>> random = torch.Generator().manual_seed(0)
>>> UniformNoise(latent=4).draw(2, 3, random).shape
torch.Size([2, 3, 4])
>>> buffer = LatentBuffer(latent=4)
>>> buffer.update(torch.ones(5, 3, 4), random)
>>> len(buffer.prototypes)
5
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UniformNoise(nn.Module):
    """v1: z ~ U(0, 1), drawn anew each month, so that over a patient's months it averages out."""

    learns = False

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def draw(self, patients: int, months: int, generator: torch.Generator) -> Tensor:
        """Noise (patients, months, Z), on the CPU."""
        return torch.rand(patients, months, self.latent, generator=generator)


class PersistentNoise(UniformNoise):
    """U(-1, 1) each month plus one N(0, 1) a patient: noise that stays with the patient, without any memory."""

    def draw(self, patients: int, months: int, generator: torch.Generator) -> Tensor:
        monthly = 2 * torch.rand(patients, months, self.latent, generator=generator) - 1
        return monthly + torch.randn(patients, 1, self.latent, generator=generator)


class LatentBuffer(UniformNoise):
    """v2: z' = z * T_SD + prototype, z ~ U(0, 1) each month, one prototype a patient for all its months.

    Args:
        latent: Z.
        capacity: most prototypes kept; when full, a random subset without replacement stays.

    Attributes:
        prototypes: (n, 1, Z), each the mean over months of one real patient's latent vectors.
        scale: T_SD, (1, 1, Z): running mean of the batches' standard deviations.
    """

    learns = True

    def __init__(self, latent: int, capacity: int = 10_000) -> None:
        super().__init__(latent)
        self.capacity = capacity
        self.register_buffer("prototypes", torch.zeros(0, 1, latent))
        self.register_buffer("scale", torch.ones(1, 1, latent))

    def update(self, latents: Tensor, generator: torch.Generator) -> None:
        """Remember a batch (patients, months, Z): its patients' prototypes, and how widely its latent vectors spread.

        The generator chooses which prototypes stay once the buffer is full.
        """
        latents = latents.detach()
        if latents.shape[0] * latents.shape[1] > 1:  # the spread of a single value says nothing
            self.scale = (self.scale + latents.std(dim=(0, 1), keepdim=True)) / 2
        self.prototypes = torch.cat([self.prototypes, latents.mean(1, keepdim=True)])
        if len(self.prototypes) > self.capacity:
            kept = torch.randperm(len(self.prototypes), generator=generator)[: self.capacity]
            self.prototypes = self.prototypes[kept.to(self.prototypes.device)]

    def choose(self, patients: int, generator: torch.Generator) -> Tensor:
        """One remembered prototype a patient, (patients, 1, Z), with replacement; RuntimeError where there is none."""
        self._refuse_empty()
        chosen = torch.randint(len(self.prototypes), (patients,), generator=generator)
        return self.prototypes[chosen.to(self.prototypes.device)].cpu()

    def draw(self, patients: int, months: int, generator: torch.Generator) -> Tensor:
        z = super().draw(patients, months, generator)
        return z * self.scale.cpu() + self.choose(patients, generator)

    def _refuse_empty(self) -> None:
        if len(self.prototypes) == 0:
            raise RuntimeError(
                "the latent buffer is empty: it fills in the autoencoder's step, so train at least one batch (or load "
                "a trained model) before drawing from it"
            )

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
    """As the buffer, each prototype replaced by a draw from a normal distribution with the prototypes' moments.

    mean + e' (P - mean) / sqrt(n - 1), with P the n prototypes and e ~ N(0, I_n), has exactly their covariance.
    """

    def choose(self, patients: int, generator: torch.Generator) -> Tensor:
        self._refuse_empty()
        points = self.prototypes[:, 0].cpu()
        centre = points.mean(0)
        e = torch.randn(patients, len(points), generator=generator)
        return (centre + e @ (points - centre) / max(len(points) - 1, 1) ** 0.5)[:, None]


def group_means(prototypes: Tensor, least: int) -> Tensor:
    """Prototypes (n, 1, Z) to the means of groups of neighbours (groups, 1, Z), so that none is a single patient's.

    Groups come from halving, at the median of the coordinate that varies most, as long as both halves keep at least
    ``least`` members: a form of microaggregation (Domingo-Ferrer & Mateo-Sanz 2002). A patient has several prototypes
    in the buffer, one a batch: choose ``least`` well above that.
    """
    if len(prototypes) < 2 * least:
        return prototypes.mean(0, keepdim=True)
    order = prototypes[:, 0, int(prototypes[:, 0].var(0).argmax())].argsort(stable=True)
    return torch.cat([group_means(prototypes[half], least) for half in order.tensor_split(2)])


SOURCES = {
    "uniform": UniformNoise,
    "persistent": PersistentNoise,
    "buffer": LatentBuffer,
    "noisy_buffer": NoisyBuffer,
    "gaussian": GaussianPrototypes,
}
