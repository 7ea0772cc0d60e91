"""Generator and critic. Forward passes only.

Shapes: B patients, L months, C channels (one-hot), E embedded width, H hidden width, Z latent width.

>>> from hg_helpers.cohort.art import ART_DEMO
>>> patients = Generator(ART_DEMO, latent=4, hidden=8)(torch.rand(2, 60, 4))  # B = 2, L = 60, Z = 4
>>> patients.shape, Critic(ART_DEMO, hidden=8)(patients).shape
(torch.Size([2, 60, 22]), torch.Size([2, 1]))
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cohort.schema import COURSE, Schema
from ..runtime.fast_lstm import bilstm
from .heads import RARELY, TEMPERATURE, Draws, MeasurementNoise, gumbel, hold_or_switch, one_level, until_the_end


def layers(*widths: int) -> nn.Sequential:
    """Linear layers from width to width, LeakyReLU 0.1 between them."""
    linear = [nn.Linear(into, out) for into, out in pairwise(widths)]
    return nn.Sequential(*[part for layer in linear for part in (layer, nn.LeakyReLU(0.1))][:-1])


def real_channels(schema: Schema) -> list[int]:
    """Where the real features stand among the channels."""
    return [schema.spans[feature.name].start for feature in schema.real]


class BiLSTM(nn.Module):
    """One bidirectional LSTM layer (Hochreiter & Schmidhuber 1997), both directions aligned in time.

    ``fast``: training runs :mod:`hg_helpers.runtime.fast_lstm`, which gives the same numbers sooner; with False, it
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
            twice: whether a second derivative may be asked for, as the gradient penalty does; faster without.

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


class Transformer(nn.Module):
    """Three encoder layers with eight heads (Vaswani et al. 2017) and learnt positions, in place of the generator's
    LSTM and as wide as its two directions together, as in the series' v2.5 (Kuo et al. 2023): each month sees all.
    """

    def __init__(self, inputs: int, hidden: int, months: int) -> None:
        super().__init__()
        width = 2 * hidden  # a multiple of 8, for the heads
        self.inward = nn.Linear(inputs, width)
        self.positions = nn.Parameter(0.1 * torch.randn(months, width))
        # no dropout: noise comes from the latent source alone, which has a seed of its own
        layer = nn.TransformerEncoderLayer(width, 8, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 3, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, z: Tensor, twice: bool = False) -> tuple[Tensor, Tensor]:
        """(B, L, Z) to (B, L, 2 H), and the last month's."""
        h = self.layers(self.inward(z) + self.positions[: z.shape[1]])
        return h, h[:, -1]


class Generator(nn.Module):
    """From latent noise to encoded patients: a trunk over the months, three layers, and heads (:mod:`.heads`).

    Args:
        schema: gives the channels and which features are static.
        latent, hidden: Z, width of the noise; H, width of the network.
        heads: ``"softmax"``; ``"gumbel"``: logits plus Gumbel noise, softened with temperature 0.66; or
            ``"straight_through"``: the same, rounded to one level, with the derivative of what was rounded
            (Jang et al. 2017), so that the critic sees the months that decoding will give.
        static_heads: static features get one value a patient, from their logits averaged over the months.
        start: initial weights of the layers after the trunk: ``"torch"`` is torch's default, which shrinks a signal by
            about 0.4 a layer, so that whatever the noise all patients begin alike; ``"he"`` (He et al. 2015) keeps its
            scale; ``"margins"`` is ``"he"`` until :func:`.heads.start_at` has seen the training patients.
        gumbel_noise: a Gumbel draw each month (``"monthly"``) or one kept for all of a patient's months
            (``"patient"``), which keeps regimens from flickering.
        hold_or_switch: discrete features that can change are held until a month switches them.
        measurement_noise: real features that can change err anew each month, by a width that depends on the level.
        chain: features are drawn one after another, each given the levels drawn before it.
        trunk: what runs over the months: ``"lstm"`` or ``"transformer"``.
    """

    def __init__(
        self,
        schema: Schema,
        latent: int,
        hidden: int,
        heads: str = "softmax",
        static_heads: bool = False,
        start: str = "torch",
        gumbel_noise: str = "monthly",
        hold_or_switch: bool = False,
        measurement_noise: bool = False,
        chain: bool = False,
        trunk: str = "lstm",
    ) -> None:
        super().__init__()
        self.course = schema.spans[schema.course.name] if schema.course else None
        self.temperature = 1.0 if heads == "softmax" else TEMPERATURE
        self.rounds, self.gumbel_noise, self.channels = heads == "straight_through", gumbel_noise, schema.channels
        # static features first, then those that change; of each, levels before reals
        features = [(f.is_real, f.static and (static_heads or f.role == COURSE), schema.spans[f.name]) for f in schema]
        self.order = sorted(features, key=lambda feature: (not feature[1], feature[0]))
        moving = [(real, span) for real, static, span in self.order if not static]
        self.held = [span for real, span in moving if not real] if hold_or_switch else []
        self.measured = [span.start for real, span in moving if real] if measurement_noise else []
        self.lstm = BiLSTM(latent, hidden) if trunk == "lstm" else Transformer(latent, hidden, schema.length)
        # to the channels, and a switch logit for each feature that is held
        self.body = layers(2 * hidden, hidden, hidden, schema.channels + len(self.held))
        self.assay = MeasurementNoise(len(self.measured)) if self.measured else None
        self.given = nn.Parameter(torch.zeros(self.channels, self.channels)) if chain else None
        self.follow = nn.Parameter(torch.zeros(len(self.held))) if self.held else None
        if start != "torch":
            for layer in self.body[::2]:
                nn.init.kaiming_normal_(layer.weight, a=0.1)
                nn.init.zeros_(layer.bias)
        if self.held:
            nn.init.constant_(self.body[-1].bias[self.channels :], RARELY)

    def draws(self, patients: int, months: int, random: torch.Generator, decode: str = "argmax") -> Draws:
        """What the heads draw for so many patients and months, on the CPU.

        Args:
            decode: for soft heads, ``"sample"`` draws levels from their probabilities: argmax(logits + Gumbel noise).
        """
        levels = switch = assay = None
        if self.temperature < 1 or decode == "sample":
            kept = self.temperature < 1 and self.gumbel_noise == "patient"
            levels = gumbel(patients, 1 if kept else months, self.channels, random)
        if self.held:
            switch = torch.logit(torch.rand(patients, months, 1, generator=random), eps=1e-6)
        if self.measured:
            assay = torch.randn(patients, months, len(self.measured), generator=random)
        return Draws(levels, switch, assay)

    def logits(self, z: Tensor) -> Tensor:
        """(B, L, Z) to logits of channels and switches (B, L, C + S); those of static features are averaged."""
        out = self.body(self.lstm(z, twice=False)[0])
        for _, static, span in self.order:
            if static:
                out = out.clone()
                out[..., span] = out[..., span].mean(1, keepdim=True)
        return out

    def heads(self, logits: Tensor, draws: Draws | None = None) -> Tensor:
        """Softmax on each block of levels, sigmoid on reals, with what is drawn; a course ends as real ones do."""
        draws = draws or Draws()
        x = logits.new_zeros(*logits.shape[:2], self.channels)  # filled in feature after feature
        values, changed = logits[..., : self.channels].clone(), x[..., :1]
        for real, static, span in self.order:
            part = logits[..., span]
            if self.given is not None:  # channels that are not drawn yet are 0, and add nothing
                part = part + x @ self.given[:, span]
            if real:
                values[..., span] = part
                continue
            if draws.gumbel is not None:
                part = part + (draws.gumbel[:, :1, span] if static else draws.gumbel[..., span])
            part = self._levels(part)
            if span in self.held:
                part, changed = self._held(part, self.held.index(span), logits, draws.switch, changed)
            x = x + F.pad(part, (span.start, self.channels - span.stop))
        if self.measured and draws.assay is not None:
            values[..., self.measured] = self.assay(values[..., self.measured], draws.assay)
        reals = [span.start for real, _, span in self.order if real]
        reals = torch.tensor(reals, dtype=torch.long, device=x.device)
        return until_the_end(x.index_copy(-1, reals, torch.sigmoid(values[..., reals])), self.course)

    def _levels(self, logits: Tensor) -> Tensor:
        soft = torch.softmax(logits / self.temperature, -1)
        return one_level(soft) if self.rounds else soft

    def _held(self, candidate: Tensor, k: int, logits: Tensor, drawn: Tensor | None, changed: Tensor) -> tuple:
        """Hold the k-th feature, which switches more readily where one before it has; and whether any has by now."""
        switch = logits[..., [self.channels + k]] + self.follow[k] * changed
        levels = hold_or_switch(candidate, switch if drawn is None else switch + drawn)
        moved = F.pad(levels.diff(dim=1).abs().sum(-1, keepdim=True) / 2, (0, 0, 1, 0))  # 1 where the level is new
        return levels, 1 - (1 - changed) * (1 - moved)

    def forward(self, z: Tensor, draws: Draws | None = None) -> Tensor:
        """(B, L, Z) to encoded patients (B, L, C), soft in the discrete features unless the heads round."""
        return self.heads(self.logits(z), draws)


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
        self.body = nn.Sequential(*layers(schema.width, hidden, hidden), nn.LeakyReLU(0.1))
        self.lstm = BiLSTM(hidden, hidden)
        self.score = nn.Linear(2 * hidden, 1)

    def embed(self, x: Tensor) -> Tensor:
        """Soft embedding (B, L, C) to (B, L, E): reals as they are, each block of levels times its own matrix."""
        return x @ (self.embedding * self.learned + self.passed_on)

    def forward(self, x: Tensor, twice: bool = True) -> Tensor:
        """Score each patient: (B, L, C) to (B, 1). ``twice=False`` is faster and promises no second derivative."""
        return self.score(self.lstm(self.body(self.embed(x)), twice)[1])
