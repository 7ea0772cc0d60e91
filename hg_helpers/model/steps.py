"""The networks of a run, and one training step of each of them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ..cohort.encoding import CohortEncoder
from ..runtime.distributed import ALONE, Peers
from ..runtime.environment import resolve_device
from .config import TrainConfig
from .losses import autoencoder_loss, correlation_loss, gradient_penalty
from .moments import RealMoments
from .networks import Autoencoder, Critic, VariationalAutoencoder
from .synthesizer import build_generator, build_source, gumbel


class TrainingStopped(RuntimeError):
    """A loss or a weight is no longer a finite number."""


class Steps:
    """What :class:`hg_helpers.Trainer` trains, and one step of each network; its loop calls them."""

    def __init__(
        self,
        encoder: CohortEncoder,
        config: TrainConfig,
        device: str | torch.device = "auto",
        peers: Peers = ALONE,
    ) -> None:
        encoder = copy.deepcopy(encoder)  # whoever fits theirs anew later does not change this model
        self.encoder, self.config, self.schema, self.peers = encoder, config, encoder.schema, peers
        self.device = resolve_device(device)
        with torch.random.fork_rng(devices=[]):  # initial weights from the seed, without touching the global generator
            torch.manual_seed(config.seed)
            self.generator = build_generator(encoder, config)
            self.critic = Critic(self.schema, config.hidden)
            self.autoencoder = None
            if config.autoencoder:
                kind = VariationalAutoencoder if config.autoencoder == "variational" else Autoencoder
                self.autoencoder = kind(self.schema.width, config.latent, config.hidden)
        self.source = build_source(config)
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if config.ema else None
        for network in self._networks().values():
            network.to(self.device)
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=config.betas)
            for name, network in self._networks().items()
            if name in ("generator", "critic", "autoencoder")
        }
        # Draws are made on the CPU, so that a run on another device sees the same numbers.
        self.random = torch.Generator().manual_seed(config.seed)
        self.weights = torch.ones(self.schema.channels, device=self.device)
        for feature in self.schema.real:
            self.weights[self.schema.spans[feature.name]] = config.real_weight
        self.epoch = self.step = 0
        self._rate = config.learning_rate
        self.target: Tensor | None = None  # correlations of all training patients
        self.moments: RealMoments | None = None

    def _networks(self) -> dict[str, torch.nn.Module]:
        named = {
            "generator": self.generator,
            "critic": self.critic,
            "autoencoder": self.autoencoder,
            "source": self.source,
            "average": self.average,
        }
        return {name: network for name, network in named.items() if network is not None}

    def autoencoder_step(self, real: Tensor) -> dict[str, float]:
        """Fit the autoencoder to the critic's view of a batch, and let the buffer remember it.

        Args:
            real: weighted real patients (B, L, C).
        """
        mine = self.peers.share(len(real))
        e = self.critic.embed(real[mine]).detach()  # (B, L, E); the critic must not learn from this loss
        noise = None
        if self.autoencoder.variational:
            noise = torch.randn(*real.shape[:2], self.config.latent, generator=self.random)[mine].to(self.device)
        reconstruction, latent, posterior = self.autoencoder(e, noise)
        error, divergence = autoencoder_loss(reconstruction, e, latent, posterior, self.peers)
        self._improve("autoencoder", error + divergence)
        if self.source.learns:
            self.source.update(self.peers.gather(latent), self.random)
        return {"reconstruction": error.item(), "kl": divergence.item()}

    def critic_step(self, real: Tensor) -> dict[str, float]:
        """Teach the critic to score real patients (B, L, C) above generated ones."""
        with torch.no_grad():  # the critic's step needs nothing of how the patients were made
            fake = self.fake(*real.shape[:2]) * self.weights
        mine = self.peers.share(len(real))
        mix = torch.rand(len(real), 1, 1, generator=self.random)[mine].to(self.device)
        real = real[mine]
        score_real, score_fake = self.critic(torch.cat([real, fake]), twice=False).chunk(2)
        wasserstein = self.peers.mean(score_real.mean() - score_fake.mean())
        penalty = gradient_penalty(self.critic, real, fake, mix, self.peers)
        loss = self.config.gp_weight * penalty - wasserstein
        self._improve("critic", loss)
        return {"critic_loss": loss.item(), "wasserstein": wasserstein.item(), "penalty": penalty.item()}

    def generator_step(self, patients: int, months: int) -> dict[str, float]:
        """Teach the generator to be scored as real, with the real correlations."""
        self.critic.requires_grad_(False)
        try:
            loss, row = self._generator_loss(self.fake(patients, months))
            self._improve("generator", loss)
        finally:
            self.critic.requires_grad_(True)
        self._follow()
        return row

    def _generator_loss(self, fake: Tensor) -> tuple[Tensor, dict[str, float]]:
        score = self.peers.mean(self.critic(fake * self.weights, twice=False).mean())
        correlation = correlation_loss(fake, self.target, self.peers)
        loss = self.config.correlation_weight * correlation - score
        parts = {"correlation_loss": correlation.item()}
        if self.config.moment_weight:
            moment = self.moments.loss(fake, self.peers)
            loss = loss + self.config.moment_weight * moment
            parts["moment_loss"] = moment.item()
        return loss, {"generator_loss": loss.item(), **parts}

    def _follow(self) -> None:
        """Count a generator step, and let the averaged weights follow it."""
        if self.average is not None:
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for kept, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                    kept.lerp_(now, 1 - decay)
        self.step += 1

    def fake(self, patients: int, months: int) -> Tensor:
        """Generated patients (B, L, C), soft unless the heads round, values in [0, 1]; of peers, this one's share."""
        mine = self.peers.share(patients)
        z, noise = self.source.draw(patients, months, self.random), None
        if self.config.heads != "softmax":
            drawn = 1 if self.config.gumbel_noise == "patient" else months
            noise = gumbel(patients, drawn, self.schema.channels, self.random)[mine].to(self.device)
        return self.generator(z[mine].to(self.device), noise)

    def _improve(self, name: str, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise TrainingStopped(
                f"the {name}'s loss is {loss.item()} at step {self.step} (epoch {self.epoch + 1}); its weights were "
                "left as they were. A lower learning_rate usually helps."
            )
        optimiser = self.optimisers[name]
        for group in optimiser.param_groups:
            group["lr"] = self._rate
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.peers.sum_gradients(p for group in optimiser.param_groups for p in group["params"])
        optimiser.step()
