"""The LSTM that training runs: the numbers of the readable one in :class:`hg_helpers.BiLSTM`, in half the time.

hg_helpers/README.md says why torch's own does not do. The recurrence, the part of an LSTM that cannot be done for all
months at once, has its first and second derivative written out: autograd would record about ten operations a month, and
the gradient penalty differentiates through all of them twice. By hand, the second derivative needs no more than the
first: with s the pre-activations, J the Jacobian of the hidden states and g the gradient that comes in, the first
backward pass is v = J' g. A gradient w that comes in for v then asks for the derivative of <w, J' g> = <J w, g>, that
is: one pass forward with tangents (J w), and one more backward pass of the same form, with known terms added.

Shapes: D directions, L months, B patients, H hidden units; gates in the order o, i, f, a, so that the three sigmoids
stand together and so do the three gates that the cell depends on. Cells have a month of zeros in front.

>>> random = torch.Generator().manual_seed(0)
>>> x, *weights = (torch.rand(shape, generator=random) for shape in [(3, 5, 2), (2, 2, 16), (2, 4, 16), (2, 1, 16)])
>>> ours, torchs = (bilstm(x, *weights, twice, training=False) for twice in (True, False))
>>> [torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, torchs, strict=True)]  # each month's, and the last
[True, True]
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 2**18  # numbers in the gates of a block of months, 1 MiB; a larger month is a block of its own

_asked = threading.local()


@contextmanager
def inputs_alone() -> Iterator[None]:
    """Within the block, first derivatives are taken with respect to inputs: none is worked out for the weights."""
    # autograd does not tell a function which was asked for; a device's own threads do not see this, and make both
    _asked.inputs_alone = True
    try:
        yield
    finally:
        _asked.inputs_alone = False


def bilstm(
    x: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor, twice: bool, training: bool
) -> tuple[Tensor, Tensor]:
    """What :class:`hg_helpers.BiLSTM` gives; where no second derivative will be asked for, by torch's own LSTM."""
    batch, months, inputs = x.shape
    width = hidden_weight.shape[1]
    if twice and torch.is_grad_enabled():
        # W x + b is one product for all months and both directions; only U h has to wait for the month before
        x = x.transpose(0, 1)  # (L, B, inputs)
        both = torch.stack([x, x.flip(0)]).flatten(1, 2)  # (2, L B, inputs); each direction in its own order
        s = torch.baddbmm(bias, both, input_weight).unflatten(1, (months, batch))
        h = recurrence(s, hidden_weight)  # (2, L, B, H)
        aligned = torch.cat([h[0], h[1].flip(0)], -1).transpose(0, 1)  # (B, L, 2 H)
        return aligned, torch.cat([h[0, -1], h[1, -1]], -1)
    if inputs != input_weight.shape[1]:  # torch.lstm itself would read beyond its memory
        raise ValueError(f"the LSTM takes {input_weight.shape[1]} numbers a month, not {inputs}")
    # torch's gates stand in the order i, f, a, o, and it has a second bias
    inward, onward, once = (p.roll(-width, -1) for p in (input_weight, hidden_weight, bias[:, 0]))
    none = torch.zeros_like(once[0])
    weights = [w for d in (0, 1) for w in (inward[d].mT, onward[d].mT, once[d], none)]
    start = x.new_zeros(2, batch, width)
    aligned, last, _ = torch.lstm(x, (start, start), weights, True, 1, 0.0, training, True, True)
    return aligned, torch.cat([last[0], last[1]], -1)


class _Recurrence(torch.autograd.Function):
    """Run c' = f c + i a, h' = o tanh(c') over the months, from h = c = 0; differentiable twice.

    Each gate gets s + h @ weight: s (D, L, B, 4 H) is the inputs' W x + b, weight (D, H, 4 H). Gives h, (D, L, B, H).
    """

    @staticmethod
    def forward(ctx, s, weight):
        (directions, months, patients, _), width = s.shape, weight.shape[1]
        gates, hidden = s.new_empty(s.shape), s.new_empty(directions, months, patients, width)
        cells, cell_tanh = s.new_zeros(directions, months + 1, patients, width), torch.empty_like(hidden)
        h, c = None, cells[:, 0]
        views = s, gates, gates[..., : 3 * width], *gates.split(width, -1), cells[:, 1:], cell_tanh, hidden
        for m in by_month("s gates sigmoids o i f a c tanh_c h", *views):
            m.gates.copy_(m.s) if h is None else torch.baddbmm(m.s, h, weight, out=m.gates)
            m.sigmoids.sigmoid_()
            tanh_(m.a)
            torch.mul(m.f, c, out=m.c).addcmul_(m.i, m.a)
            tanh_(m.tanh_c.copy_(m.c))
            torch.mul(m.o, m.tanh_c, out=m.h)
            h, c = m.h, m.c
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(s, weight, gates, cells, cell_tanh, hidden)
        return hidden

    @staticmethod
    def backward(ctx, grad_hidden):
        if grad_hidden is None:  # the second derivative reaches this node, but nothing flows through the hidden states
            return None, None
        wants_weight = ctx.needs_input_grad[1] and not getattr(_asked, "inputs_alone", False)
        return _Gradient.apply(grad_hidden, *ctx.saved_tensors, wants_weight)


recurrence = _Recurrence.apply


class _Gradient(torch.autograd.Function):
    """First derivative; s is an argument only so that autograd knows what the second one belongs to."""

    @staticmethod
    def forward(ctx, grad_hidden, s, weight, gates, cells, cell_tanh, hidden, wants_weight):
        grad_s, grad_h, grad_c = backwards(grad_hidden, weight, gates, cells, cell_tanh)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight, gates, cells, cell_tanh, hidden, grad_s, grad_h, grad_c)
        return grad_s, weight_gradient(hidden, grad_s) if wants_weight else None

    @staticmethod
    @once_differentiable
    def backward(ctx, tangent_s, tangent_weight):
        if tangent_s is None and tangent_weight is None:
            return (None,) * 8
        weight, gates, cells, cell_tanh, hidden, *grads = ctx.saved_tensors
        grad_s, incoming = grads[0], torch.zeros_like(hidden)
        tangent_s = torch.zeros_like(gates) if tangent_s is None else tangent_s
        if tangent_weight is not None:
            tangent_s = tangent_s.clone()
            tangent_s[:, 1:] += hidden[:, :-1].flatten(1, 2).bmm(tangent_weight).view_as(tangent_s[:, 1:])
            incoming[:, :-1] = grad_s[:, 1:].flatten(1, 2).bmm(tangent_weight.mT).view_as(incoming[:, 1:])
        tangent_h, *extra = carry_forward(tangent_s, weight, gates, cells, cell_tanh, *grads)
        second_s, _, _ = backwards(incoming, weight, gates, cells, cell_tanh, *extra)
        second_weight = weight_gradient(hidden, second_s) + weight_gradient(tangent_h, grad_s)
        return tangent_h, second_s, second_weight, *(None,) * 5


def backwards(incoming, weight, gates, cells, cell_tanh, extra_s=None, extra_c=None):
    """Gradients of s, h and c, from the last month to the first, with what is to be added to those of s and c."""
    transposed, width = weight.mT.contiguous(), weight.shape[1]
    grads = torch.empty_like(gates), torch.empty_like(cell_tanh), torch.empty_like(cell_tanh)
    later, to_cell = None, cells[:, 0]  # what the month behind passes back: nothing yet
    for block in reversed(blocks(gates)):
        g, given, s, h, c = (x[:, block] for x in (gates, incoming, *grads))
        _, onward, onward_c = slopes(g, cell_tanh[:, block], cells[:, block])
        parts = [part for x in (s, onward) for part in (x[..., :width], x[..., width:].unflatten(-1, (3, width)))]
        extra = (None if x is None else x[:, block] for x in (extra_s, extra_c))
        names = "forget given ds dh dc ds_o ds_three onward_o onward_three onward_c extra_s extra_c"
        for m in reversed(by_month(names, g[..., 2 * width : 3 * width], given, s, h, c, *parts, onward_c, *extra)):
            m.dh.copy_(m.given) if later is None else torch.baddbmm(m.given, later, transposed, out=m.dh)
            torch.addcmul(to_cell, m.dh, m.onward_c, out=m.dc)
            if m.extra_c is not None:
                m.dc += m.extra_c
            torch.mul(m.dh, m.onward_o, out=m.ds_o)
            torch.mul(m.dc.unsqueeze(-2), m.onward_three, out=m.ds_three)
            if m.extra_s is not None:
                m.ds += m.extra_s
            later, to_cell = m.ds, m.dc * m.forget
    return grads


def carry_forward(tangent_s, weight, gates, cells, cell_tanh, grad_s, grad_h, grad_c):
    """Carry a direction in s forward: how hidden states move, and with them the first pass's gradients of s and c."""
    width = weight.shape[1]
    tangent_h, tangent_c = torch.empty_like(cell_tanh), torch.zeros_like(cells)
    extra_s, extra_c = torch.empty_like(gates), torch.zeros_like(cells)
    h, c = None, tangent_c[:, 0]
    for block in blocks(gates):
        g, tanh_c, ds, dh, dc = (x[:, block] for x in (gates, cell_tanh, grad_s, grad_h, grad_c))
        slope, onward, onward_c = slopes(g, tanh_c, cells[:, block])
        received, moved_c = torch.empty_like(g), tangent_c[:, 1:][:, block]
        views = tangent_s[:, block], g[..., 2 * width : 3 * width], onward, onward_c, received, moved_c
        for m in by_month("s forget onward onward_c received c h", *views, tangent_h[:, block]):
            m.received.copy_(m.s) if h is None else torch.baddbmm(m.s, h, weight, out=m.received)
            passed = m.received * m.onward
            torch.sum(passed[..., width:].unflatten(-1, (3, width)), -2, out=m.c).addcmul_(m.forget, c)
            torch.addcmul(passed[..., :width], m.onward_c, m.c, out=m.h)
            h, c = m.h, m.c
        moved_o, moved_i, moved_f, moved_a = (received * slope).split(width, -1)  # how far each gate moves
        dh_slope = torch.addcmul(dh, dh, tanh_c * tanh_c, value=-1)
        extra = torch.cat([dh_slope * moved_c, dc * moved_a, dc * tangent_c[:, block], dc * moved_i], -1)
        extra *= slope
        along = ds * received  # times a gate's second derivative over its first: 1 - 2 g of a sigmoid, -2 a of a tanh
        extra.addcmul_(along, g, value=-2)
        extra[..., : 3 * width] += along[..., : 3 * width]
        extra_s[:, block] = extra
        extra_c[:, 1:][:, block] = dh_slope * torch.addcmul(moved_o, g[..., :width] * tanh_c, moved_c, value=-2)
        extra_c[:, block] += dc * moved_f  # by way of the next month's forget gate
    return tangent_h, extra_s, extra_c[:, 1:]


def slopes(g, tanh_c, cell_before):
    """The gates' own slopes; what o, i, f, a each pass on to h and c, times those; and dh/dc."""
    width = tanh_c.shape[-1]
    slope, onward = g * g, torch.empty_like(g)
    torch.sub(g[..., : 3 * width], slope[..., : 3 * width], out=slope[..., : 3 * width])
    torch.sub(1, slope[..., 3 * width :], out=slope[..., 3 * width :])
    o, i, _, a = g.split(width, -1)
    for k, factor in enumerate((tanh_c, a, cell_before, i)):
        torch.mul(slope.split(width, -1)[k], factor, out=onward.split(width, -1)[k])
    return slope, onward, torch.addcmul(o, o, tanh_c * tanh_c, value=-1)


def tanh_(x):
    """In place; on a CPU by way of the sigmoid, which torch computes some five times faster there than its tanh."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1) if x.device.type == "cpu" else x.tanh_()


def by_month(names, *tensors):
    """One record of views a month, with these names; None stays None."""
    names, months = names.split(), zip(*(repeat(None) if x is None else x.unbind(1) for x in tensors), strict=False)
    return [SimpleNamespace(**dict(zip(names, views, strict=True))) for views in months]


def blocks(gates: Tensor) -> list[slice]:
    """Months whose work can be done at once where it need not wait: few enough to stay in the processor's cache."""
    months, step = gates.shape[1], max(1, BLOCK // gates[:, 0].numel())
    return [slice(k, min(k + step, months)) for k in range(0, months, step)]


def weight_gradient(hidden: Tensor, grad_s: Tensor) -> Tensor:
    """Sum over months of h_(t-1)' times the gradient of s_t: one product for all months."""
    return hidden[:, :-1].flatten(1, 2).mT.bmm(grad_s[:, 1:].flatten(1, 2))
