"""Passes through the months for :mod:`hg_helpers.runtime.fast_lstm`: one backwards, one forwards with tangents.

Shapes and gate order as there. Results are written into tensors that the caller has made room for.

>>> gates = torch.zeros(2, 60, 32, 4 * 64)  # directions, months, patients, gates
>>> next(iter(blocks(gates)))
slice(0, 16, None)
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

#: Numbers in the gates of a block of months, 1 MiB; a larger month is a block of its own.
BLOCK = 2**18


class Backwards:
    """A backward pass through the months, block by block from the last: gradients of s, h and c, written in place."""

    def __init__(self, weight, gates, incoming, ds, dh, dc):
        self.transposed, self.width, self.after = weight.mT.contiguous(), dh.shape[-1], None
        self.all = gates[..., 2 * self.width : 3 * self.width], incoming, ds, dh, dc

    def through(self, block, onward, onward_c, extra_s=None, extra_c=None):
        """Go through a block; what the gates pass on to h and c, dh/dc, and terms to add, have the block's months."""
        forget, incoming, ds, dh, dc = (x[:, block] for x in self.all)
        width, three = self.width, (3, self.width)
        nothing = [None] * ds.shape[1]
        for m in by_month(
            backwards=True,
            forget=forget,
            given=incoming,
            ds=ds,
            ds_o=ds[..., :width],
            ds_three=ds[..., width:].unflatten(-1, three),
            dh=dh,
            dc=dc,
            onward_o=onward[..., :width],
            onward_three=onward[..., width:].unflatten(-1, three),
            onward_c=onward_c,
            extra_s=nothing if extra_s is None else extra_s,
            extra_c=nothing if extra_c is None else extra_c,
        ):
            if self.after is None:
                m.dh.copy_(m.given)
                torch.mul(m.dh, m.onward_c, out=m.dc)
            else:
                torch.baddbmm(m.given, self.after.ds, self.transposed, out=m.dh)
                torch.mul(self.after.dc, self.after.forget, out=m.dc)
                m.dc.addcmul_(m.dh, m.onward_c)
            if m.extra_c is not None:
                m.dc += m.extra_c
            torch.mul(m.dh, m.onward_o, out=m.ds_o)
            torch.mul(m.dc.unsqueeze(-2), m.onward_three, out=m.ds_three)
            if m.extra_s is not None:
                m.ds += m.extra_s
            self.after = m


def tanh_(x):
    """In place; on a CPU by way of the sigmoid, which torch computes some five times faster there than its tanh."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1) if x.device.type == "cpu" else x.tanh_()


def slopes(g, tanh_c, cell_before):
    """The gates' own slopes; what o, i, f, a each pass on to h and c, times those; and dh/dc."""
    width = tanh_c.shape[-1]
    slope, onward = g * g, torch.empty_like(g)
    torch.sub(g[..., : 3 * width], slope[..., : 3 * width], out=slope[..., : 3 * width])
    torch.sub(1, slope[..., 3 * width :], out=slope[..., 3 * width :])
    o, i, _, a = g.split(width, -1)
    for out, own, factor in zip(
        onward.split(width, -1), slope.split(width, -1), (tanh_c, a, cell_before, i), strict=True
    ):
        torch.mul(own, factor, out=out)
    return slope, onward, torch.addcmul(o, o, tanh_c * tanh_c, value=-1)


def second_order(g, tanh_c, slope, received, tangent_c, tangent_c_before, ds, dh, dc):
    """How the first pass's gradients of s and c change along the tangent, and what goes to the cell before."""
    width = tanh_c.shape[-1]
    o = g[..., :width]
    moved_o, moved_i, moved_f, moved_a = (received * slope).split(width, -1)  # how far each gate moves
    dh_slope = torch.addcmul(dh, dh, tanh_c * tanh_c, value=-1)
    extra = torch.cat([dh_slope * tangent_c, dc * moved_a, dc * tangent_c_before, dc * moved_i], -1)
    extra *= slope
    along = ds * received  # times each gate's second derivative over its first: 1 - 2 g for a sigmoid, -2 a for a tanh
    extra.addcmul_(along, g, value=-2)
    extra[..., : 3 * width] += along[..., : 3 * width]
    extra_c = dh_slope * torch.addcmul(moved_o, o * tanh_c, tangent_c, value=-2)
    return extra, extra_c, dc * moved_f


def carry_forward(tangent_s, weight, gates, cells, cell_tanh):
    """Carry a direction in s forward: what each gate then receives, and how cells (0 first) and hidden states move."""
    width = cell_tanh.shape[-1]
    received, tangent_c, tangent_h = torch.empty_like(gates), after_zero(cell_tanh), torch.empty_like(cell_tanh)
    h = c = None
    for block in blocks(gates):
        g = gates[:, block]
        _, onward, onward_c = slopes(g, cell_tanh[:, block], cells[:, :-1][:, block])
        for m in by_month(
            s=tangent_s[:, block],
            forget=g[..., 2 * width : 3 * width],
            onward=onward,
            onward_c=onward_c,
            received=received[:, block],
            c=tangent_c[:, 1:][:, block],
            h=tangent_h[:, block],
        ):
            m.received.copy_(m.s) if h is None else torch.baddbmm(m.s, h, weight, out=m.received)
            moved = m.received * m.onward
            torch.sum(moved[..., width:].unflatten(-1, (3, width)), -2, out=m.c)
            if c is not None:
                m.c.addcmul_(m.forget, c)
            torch.addcmul(moved[..., :width], m.onward_c, m.c, out=m.h)
            h, c = m.h, m.c
    return received, tangent_c, tangent_h


def by_month(backwards=False, **tensors):
    """One record of views a month, with the tensors' names."""
    months = zip(*(x if isinstance(x, list) else x.unbind(1) for x in tensors.values()), strict=True)
    records = [SimpleNamespace(**dict(zip(tensors, views, strict=True))) for views in months]
    return reversed(records) if backwards else records


def blocks(gates: Tensor) -> list[slice]:
    """Months whose work can be done at once where it need not wait: few enough to stay in the processor's cache."""
    months = gates.shape[1]
    step = max(1, BLOCK // gates[:, 0].numel())
    return [slice(k, min(k + step, months)) for k in range(0, months, step)]


def all_months(like: Tensor, keep: bool) -> Tensor:
    """Room for each month of a derivative to come; where none will, one month's, written over month after month."""
    directions, months, *rest = like.shape
    return like.new_empty(directions, months if keep else 1, *rest).expand(-1, months, *([-1] * len(rest)))


def after_zero(like: Tensor) -> Tensor:
    """Room for each month, with zeros as the month before the first."""
    directions, months, *rest = like.shape
    out = like.new_empty(directions, months + 1, *rest)
    out[:, 0] = 0
    return out


def weight_gradient(hidden: Tensor, grad_s: Tensor) -> Tensor:
    """Sum over months of h_(t-1)' times the gradient of s_t: one product for all months."""
    return hidden[:, :-1].flatten(1, 2).mT.bmm(grad_s[:, 1:].flatten(1, 2))
