"""The three networks of Health Gym: generator, critic, autoencoder. Forward passes only.

Shapes: B patients, L months, C channels (one-hot), E embedded width, H hidden width, Z latent width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cohort.schema import Schema
from ..runtime.fast_lstm import bilstm

#: Temperature of the Gumbel-softmax heads in training (Jang et al. 2017).
TEMPERATURE = 0.66


class BiLSTM(nn.Module):
    """One bidirectional LSTM layer (Hochreiter & Schmidhuber 1997), both directions aligned in time.

    Attributes:
        fast: training runs :mod:`hg_helpers.runtime.fast_lstm`, which gives the same numbers sooner; with False, it
            runs what stands here.
    """

    fast = True

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        bound = hidden**-0.5
        self.input_weight = nn.Parameter(torch.empty(2, inputs, 4 * hidden).uniform_(-bound, bound))
        self.hidden_weight = nn.Parameter(torch.empty(2, hidden, 4 * hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2, 1, 4 * hidden).uniform_(-bound, bound))

    def forward(self, x: Tensor, twice: bool = True) -> tuple[Tensor, Tensor]:
        """Run over months.

        Args:
            x: (B, L, inputs).
            twice: whether a second derivative may be asked for, as the gradient penalty does. The fast LSTM is faster
                still without; cuDNN's, on a GPU, has none.

        Returns:
            Hidden states of both directions at each month, (B, L, 2 H), and the last state of each direction, (B, 2 H):
            the forward one's after the last month, the backward one's after the first.
        """
        if self.fast:
            return bilstm(x, self.input_weight, self.hidden_weight, self.bias, twice, self.training)
        ahead, back = self._months(x, 0), self._months(x.flip(1), 1).flip(1)  # (B, L, H) each
        return torch.cat([ahead, back], -1), torch.cat([ahead[:, -1], back[:, 0]], -1)

    def _months(self, x: Tensor, direction: int) -> Tensor:
        W, U, b = (p[direction] for p in (self.input_weight, self.hidden_weight, self.bias))
        h = c = x.new_zeros(len(x), len(U))
        states = []
        for month in x.unbind(1):
            o, i, f, a = (month @ W + h @ U + b).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(a)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        return torch.stack(states, 1)


class Generator(nn.Module):
    """From latent noise to encoded patients.

    Args:
        schema: gives the channels and which features are static.
        latent: Z, width of the noise.
        hidden: H, width of the network.
        heads: ``"softmax"``; ``"gumbel"``: logits plus Gumbel noise, softened with temperature 0.66; or
            ``"straight_through"``: the same, rounded to one level, with the derivative of what was rounded
            (Jang et al. 2017), so that the critic sees the months that decoding will give.
        static_heads: static features get one value a patient, from their logits averaged over the months.
        steady: months, an odd number, over which the logits of the other discrete features are averaged, so that one
            month's noise does not change a regimen.
        start: initial weights of the layers after the LSTM: ``"torch"`` is torch's default, which shrinks a signal by
            about 0.4 a layer, so that whatever the noise all patients begin alike; ``"he"`` (He et al. 2015) keeps its
            scale.
    """

    def __init__(
        self,
        schema: Schema,
        latent: int,
        hidden: int,
        heads: str = "softmax",
        static_heads: bool = False,
        start: str = "torch",
        steady: int = 1,
    ) -> None:
        super().__init__()
        self.steady = steady
        self.course = schema.spans[schema.course.name] if schema.course else None
        self.features = [(f.is_real, f.static and static_heads, schema.spans[f.name]) for f in schema]
        self.temperature = 1.0 if heads == "softmax" else TEMPERATURE
        self.rounds = heads == "straight_through"
        self.lstm = BiLSTM(latent, hidden)
        self.body = nn.Sequential(
            nn.Linear(2 * hidden, hidden),
            nn.LeakyReLU(0.1),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.1),
            nn.Linear(hidden, schema.channels),
        )
        if start == "he":
            for layer in self.body:
                if isinstance(layer, nn.Linear):
                    nn.init.kaiming_normal_(layer.weight, a=0.1)
                    nn.init.zeros_(layer.bias)

    def logits(self, z: Tensor) -> Tensor:
        """(B, L, Z) to (B, L, C): before sigmoid and softmax; static features, if asked for, equal over months."""
        out = self.body(self.lstm(z, twice=False)[0])  # (B, L, C)
        parts = []
        for real, static, span in self.features:
            part = out[..., span]
            if static:
                part = part.mean(1, keepdim=True).expand_as(part)
            elif not real and self.steady > 1:  # months beyond either end count for nothing
                part = F.avg_pool1d(part.mT, self.steady, 1, self.steady // 2, count_include_pad=False).mT
            parts.append(part)
        return torch.cat(parts, -1)

    def perturb(self, logits: Tensor, gumbel: Tensor | None) -> Tensor:
        """Add Gumbel noise (B, L or 1, C) to the discrete features' logits: once a patient for static ones."""
        if gumbel is None:
            return logits
        parts = []
        for real, static, span in self.features:
            part, noise = logits[..., span], gumbel[..., span]
            parts.append(part if real else part + (noise[:, :1] if static else noise))
        return torch.cat(parts, -1)

    def heads(self, logits: Tensor) -> Tensor:
        """Sigmoid on reals, softmax on each block of levels; behind a course's end 0."""
        parts = [
            torch.sigmoid(logits[..., span]) if real else self._levels(logits[..., span])
            for real, _, span in self.features
        ]
        return until_the_end(torch.cat(parts, -1), self.course)

    def _levels(self, logits: Tensor) -> Tensor:
        soft = torch.softmax(logits / self.temperature, -1)
        if not self.rounds:
            return soft
        one = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        return one + (soft - soft.detach())

    def forward(self, z: Tensor, gumbel: Tensor | None = None) -> Tensor:
        """(B, L, Z) to encoded patients (B, L, C), soft in the discrete features."""
        return self.heads(self.perturb(self.logits(z), gumbel))


def until_the_end(x: Tensor, course: slice | None) -> Tensor:
    """Cut generated courses (B, L, C) where they end, as real ones are padded: an end is a state that nobody leaves.

    Args:
        course: where the two channels (ended, goes on) stand; None where all courses have the full length.

    Returns:
        (B, L, C): behind the first month in which a course does not go on, every channel is 0 but "ended". Whether it
        goes on is rounded, with the derivative of what was rounded; everybody has a first visit.
    """
    if course is None:
        return x
    likely = x[..., course][..., 1:]
    on = (likely > 0.5).to(x.dtype) + (likely - likely.detach())
    on = torch.cat([torch.ones_like(on[:, :1]), on[:, 1:]], 1).cumprod(1)
    return torch.cat([x[..., : course.start] * on, 1 - on, on, x[..., course.stop :] * on], -1)


class Critic(nn.Module):
    """Scores how real a patient's trajectory looks. No sigmoid: a score, not a probability (Arjovsky et al. 2017)."""

    def __init__(self, schema: Schema, hidden: int) -> None:
        super().__init__()
        # The matrices of all features stand along the diagonal of one, so that the soft embedding is one product.
        embedding, learned, passed_on = (torch.zeros(schema.channels, schema.width) for _ in range(3))
        for f in schema:
            own = schema.spans[f.name], schema.embedded_spans[f.name]
            if f.is_real:
                passed_on[own] = 1
            else:
                embedding[own], learned[own] = torch.randn(f.channels, f.embedding), 1
        self.embedding = nn.Parameter(embedding)
        self.register_buffer("learned", learned, persistent=False)
        self.register_buffer("passed_on", passed_on, persistent=False)
        self.body = nn.Sequential(
            nn.Linear(schema.width, hidden), nn.LeakyReLU(0.1), nn.Linear(hidden, hidden), nn.LeakyReLU(0.1)
        )
        self.lstm = BiLSTM(hidden, hidden)
        self.score = nn.Linear(2 * hidden, 1)

    def embed(self, x: Tensor) -> Tensor:
        """Soft embedding (B, L, C) to (B, L, E): reals as they are, each block of levels times its own matrix."""
        return x @ (self.embedding * self.learned + self.passed_on)

    def forward(self, x: Tensor, twice: bool = True) -> Tensor:
        """Score each patient: (B, L, C) to (B, 1). ``twice=False`` is faster and has no second derivative."""
        return self.score(self.lstm(self.body(self.embed(x)), twice)[1])


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
        """Returns reconstruction (B, L, E), latent (B, L, Z), and None: there is no posterior a sample."""
        t = self.encode(e)
        return self.reconstruct(t), t, None


class VariationalAutoencoder(Autoencoder):
    """The textbook form (Kingma & Welling 2014) behind the same interface: a mean and a variance for each sample."""

    variational = True

    def __init__(self, width: int, latent: int, hidden: int) -> None:
        super().__init__(width, latent, hidden)
        self.to_log_variance = nn.Linear(hidden, latent)

    def forward(self, e: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """Returns reconstruction (B, L, E), posterior means (B, L, Z), and (means, log variances).

        Args:
            e: (B, L, E) soft embeddings.
            noise: standard normal (B, L, Z) for the reparameterised draw; None reconstructs from the mean.
        """
        h = self.hidden(e)
        mean, log_variance = self.to_latent(h), self.to_log_variance(h)
        t = mean if noise is None else mean + noise * torch.exp(0.5 * log_variance)
        return self.reconstruct(t), mean, (mean, log_variance)
