"""Generator and critics: forward passes only.

B patients, L months, C channels (one-hot), E embedded width, H hidden width, Z latent width.

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
    return [schema.spans[feature.name].start for feature in schema.real]


class BiLSTM(nn.Module):
    """One bidirectional LSTM layer (Hochreiter & Schmidhuber 1997), both directions aligned in time."""

    fast = True  # by hg_helpers.runtime.fast_lstm, which gives the same numbers sooner than what stands here

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        bound = hidden**-0.5
        self.input_weight = nn.Parameter(torch.empty(2, inputs, 4 * hidden).uniform_(-bound, bound))
        self.hidden_weight = nn.Parameter(torch.empty(2, hidden, 4 * hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2, 1, 4 * hidden).uniform_(-bound, bound))

    def forward(self, x: Tensor, twice: bool = True) -> tuple[Tensor, Tensor]:
        """(B, L, inputs) to hidden states of both directions at each month, (B, L, 2 H), and where each ends, (B, 2 H).

        ``twice``: a second derivative may be asked for, as the gradient penalty does; faster without.
        """
        if self.fast:
            return bilstm(x, self.input_weight, self.hidden_weight, self.bias, twice, self.training)
        ahead, back = self._months(x, 0), self._months(x.flip(1), 1).flip(1)  # (B, L, H) each
        return torch.cat([ahead, back], -1), torch.cat([ahead[:, -1], back[:, 0]], -1)

    def _months(self, x: Tensor, direction: int) -> Tensor:
        W, U, b = (p[direction] for p in (self.input_weight, self.hidden_weight, self.bias))
        h, c, states = x.new_zeros(len(x), len(U)), 0.0, []
        for month in x.unbind(1):
            o, i, f, a = (month @ W + h @ U + b).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(a)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        return torch.stack(states, 1)


class Transformer(nn.Module):
    """v2.5's trunk (Kuo et al. 2023): three encoder layers, eight heads (Vaswani et al. 2017), learnt positions."""

    def __init__(self, inputs: int, hidden: int, months: int) -> None:
        super().__init__()
        width = 2 * hidden  # as both directions of the LSTM; a multiple of 8, for the heads
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

    The settings are those of :class:`hg_helpers.TrainConfig`. ``heads``: ``"gumbel"`` adds Gumbel noise to the logits
    and softens with temperature 0.66; ``"straight_through"`` rounds that to one level, with the derivative of what was
    rounded (Jang et al. 2017), so that the critic sees the months that decoding will give. ``start``, of the layers
    after the trunk: ``"torch"`` shrinks a signal by about 0.4 a layer, so that whatever the noise all patients begin
    alike; ``"he"`` (He et al. 2015) keeps its scale; ``"margins"``, too, until :func:`.heads.start_at` has counted.
    ``switch_response``: the trunk hears the noise that decides switches, so that values can fall behind one.
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
        switch_response: bool = False,
    ) -> None:
        super().__init__()
        self.course, self.channels = schema.spans[schema.course.name] if schema.course else None, schema.channels
        self.temperature = 1.0 if heads == "softmax" else TEMPERATURE
        self.rounds, self.gumbel_noise = heads == "straight_through", gumbel_noise
        features = [(f.is_real, f.static and (static_heads or f.role == COURSE), schema.spans[f.name]) for f in schema]
        self.order = sorted(features, key=lambda f: (not f[1], f[0]))  # static ones first; of each, levels before reals
        moving = [(real, span) for real, static, span in self.order if not static]
        self.held = [span for real, span in moving if not real] if hold_or_switch else []
        self.measured = [span.start for real, span in moving if real] if measurement_noise else []
        self.hears = int(switch_response and bool(self.held))
        inputs = latent + self.hears
        self.lstm = BiLSTM(inputs, hidden) if trunk == "lstm" else Transformer(inputs, hidden, schema.length)
        self.body = layers(2 * hidden, hidden, hidden, self.channels + len(self.held))  # and a switch logit each
        self.assay = MeasurementNoise(len(self.measured)) if self.measured else None
        self.given = nn.Parameter(torch.zeros(self.channels, self.channels)) if chain else None
        self.follow = nn.Parameter(torch.zeros(len(self.held))) if self.held else None
        for layer in self.body[::2] if start != "torch" else ():
            nn.init.kaiming_normal_(layer.weight, a=0.1)
            nn.init.zeros_(layer.bias)
        if self.held:
            nn.init.constant_(self.body[-1].bias[self.channels :], RARELY)

    def draws(self, patients: int, months: int, random: torch.Generator, decode: str = "argmax") -> Draws:
        """What the heads draw for so many patients and months, on the CPU."""
        levels = switch = assay = None
        if self.temperature < 1 or decode == "sample":  # argmax(logits + Gumbel noise) is a draw from soft heads
            kept = self.temperature < 1 and self.gumbel_noise == "patient"
            levels = gumbel(patients, 1 if kept else months, self.channels, random)
        if self.held:
            switch = torch.logit(torch.rand(patients, months, 1, generator=random), eps=1e-6)
        if self.measured:
            assay = torch.randn(patients, months, len(self.measured), generator=random)
        return Draws(levels, switch, assay)

    def logits(self, z: Tensor, draws: Draws | None = None) -> Tensor:
        """(B, L, Z) to logits of channels and switches (B, L, C + S); those of static features are averaged."""
        if self.hears:
            drawn = (draws or Draws()).switch
            z = torch.cat([z, torch.zeros_like(z[..., :1]) if drawn is None else drawn / 2], -1)
        out = self.body(self.lstm(z, twice=False)[0])
        for span in [span for _, static, span in self.order if static]:
            out = out.clone()
            out[..., span] = out[..., span].mean(1, keepdim=True)
        return out

    def heads(self, logits: Tensor, draws: Draws | None = None) -> Tensor:
        """Softmax on each block of levels, sigmoid on reals, with what is drawn; a course ends as real ones do."""
        draws = draws or Draws()
        x = logits.new_zeros(*logits.shape[:2], self.channels)  # filled in feature after feature
        values, changed = logits[..., : self.channels].clone(), x[..., :1]  # of reals; 1 where a level is a new one
        for real, static, span in self.order:
            part = logits[..., span]
            if self.given is not None:  # channels that are not drawn yet are 0, and add nothing
                part = part + x @ self.given[:, span]
            if real:
                values[..., span] = part
                continue
            if draws.gumbel is not None:
                part = part + (draws.gumbel[:, :1, span] if static else draws.gumbel[..., span])
            part = torch.softmax(part / self.temperature, -1)
            part = one_level(part) if self.rounds else part
            if span in self.held:  # it switches more readily where one before it has
                k = self.held.index(span)
                switch = logits[..., [self.channels + k]] + self.follow[k] * changed
                part = hold_or_switch(part, switch if draws.switch is None else switch + draws.switch)
                moved = F.pad(part.diff(dim=1).abs().sum(-1, keepdim=True) / 2, (0, 0, 1, 0))
                changed = 1 - (1 - changed) * (1 - moved)
            x = x + F.pad(part, (span.start, self.channels - span.stop))
        if self.measured and draws.assay is not None:
            values[..., self.measured] = self.assay(values[..., self.measured], draws.assay)
        reals = torch.tensor([span.start for real, _, span in self.order if real], dtype=torch.long, device=x.device)
        return until_the_end(x.index_copy(-1, reals, torch.sigmoid(values[..., reals])), self.course)

    def forward(self, z: Tensor, draws: Draws | None = None) -> Tensor:
        """(B, L, Z) to encoded patients (B, L, C), soft in the discrete features unless the heads round."""
        return self.heads(self.logits(z, draws), draws)


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


class ConvolutionalCritic(Critic):
    """Scores what 3, 7 and 15 months look like, averaged over time, as it is and squared; a third of an LSTM's cost."""

    def __init__(self, schema: Schema, hidden: int) -> None:
        super().__init__(schema, hidden)
        del self.lstm
        self.body = nn.Sequential()
        for inputs, apart in ((schema.width, 1), (hidden, 2), (hidden, 4)):
            self.body.extend([nn.Conv1d(inputs, hidden, 3, padding=apart, dilation=apart), nn.LeakyReLU(0.1)])
        self.score = layers(2 * hidden, 2 * hidden, 2 * hidden, 1)

    def forward(self, x: Tensor, twice: bool = True) -> Tensor:
        h = self.body(self.embed(x).mT)  # (B, H, L)
        return self.score(torch.cat([h.mean(2), h.square().mean(2)], -1))


CRITICS = {"recurrent": Critic, "convolutional": ConvolutionalCritic}
