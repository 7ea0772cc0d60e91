"""The model: v1, v2 and everything between, as the papers give it.

`TrainConfig` holds every choice; networks are forward passes only; `latent` is the one place where v1 and v2 differ;
each loss is one equation; `Trainer` is the algorithm; `Synthesizer` draws patients from what was trained.
"""

from .config import TrainConfig, curriculum_batches
from .latent import Autoencoder, GaussianPrototypes, LatentBuffer, PersistentNoise, UniformNoise, VariationalAutoencoder
from .losses import autoencoder_loss, co_moments, correlation_loss, correlation_matrix, gradient_penalty, moment_loss
from .networks import BiLSTM, Critic, Generator
from .synthesizer import Synthesizer
from .training import Trainer, TrainingStopped

__all__ = ["Autoencoder", "BiLSTM", "Critic", "GaussianPrototypes", "Generator", "LatentBuffer", "PersistentNoise"]
__all__ += ["Synthesizer", "TrainConfig", "Trainer", "TrainingStopped", "UniformNoise", "VariationalAutoencoder"]
__all__ += ["autoencoder_loss", "co_moments", "correlation_loss", "correlation_matrix", "curriculum_batches"]
__all__ += ["gradient_penalty", "moment_loss"]
