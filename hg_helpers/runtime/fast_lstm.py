"""The LSTM that training runs: the numbers of the readable one in :class:`hg_helpers.BiLSTM`, sooner.

It halves training; hg_helpers/README.md has the figures. torch's own LSTM has the second derivative that the gradient
penalty needs on a CPU, some 2.5 times slower than this one; cuDNN's, on a GPU, has none.

The recurrence, the part of an LSTM that cannot be done for all months at once, has its first and second derivative
written out. Autograd would record about ten operations a month, and the gradient penalty differentiates through all of
them twice. By hand, the second derivative needs no more than the first: with s the pre-activations, J the Jacobian of
the hidden states and g the gradient that comes in, the first backward pass is v = J' g. A gradient w that comes in for
v then asks for the derivative of <w, J' g> = <J w, g>, that is: one pass forward with tangents (J w), and one more
backward pass of the same form as the first, with known terms added. The tests compare every derivative with the
readable LSTM's.

Shapes: D directions, L months, B patients, H hidden units; gates in the order o, i, f, a, so that the three sigmoids
stand together and so do the three gates that the cell depends on.

>>> random = torch.Generator().manual_seed(0)
>>> x, *weights = (torch.rand(shape, generator=random) for shape in [(3, 5, 2), (2, 2, 16), (2, 4, 16), (2, 1, 16)])
>>> ours, torchs = by_hand(x, *weights), by_torch(x, *weights, training=False)
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

#: Numbers in the gates of a block of months, 1 MiB; a larger month is a block of its own.
BLOCK = 2**18

_asked = threading.local()


@contextmanager
def inputs_alone() -> Iterator[None]:
    """Within the block, first derivatives are taken with respect to inputs: none is worked out for the weights.

    autograd does not tell a function which of its derivatives was asked for, and the gradient penalty's inner one
    would otherwise make a large product for nothing. A device's own threads do not see this and make it all the same.
    """
    _asked.inputs_alone = True
    try:
        yield
    finally:
        _asked.inputs_alone = False


def bilstm(
    x: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor, twice: bool, training: bool
) -> tuple[Tensor, Tensor]:
    """What :class:`hg_helpers.BiLSTM` gives; where no second derivative will be asked for, by torch's own LSTM."""
    if twice and torch.is_grad_enabled():
        return by_hand(x, input_weight, hidden_weight, bias)
    return by_torch(x, input_weight, hidden_weight, bias, training)


def by_hand(x: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The LSTM around :func:`recurrence`."""
    # W x + b is one product for all months and both directions; only U h has to wait for the month before
    batch, months, _ = x.shape
    x = x.transpose(0, 1)  # (L, B, inputs)
    both = torch.stack([x, x.flip(0)]).flatten(1, 2)  # (2, L B, inputs); each direction in its own order
    s = torch.baddbmm(bias, both, input_weight).unflatten(1, (months, batch))
    h = recurrence(s, hidden_weight)  # (2, L, B, H)
    aligned = torch.cat([h[0], h[1].flip(0)], -1).transpose(0, 1)  # (B, L, 2 H)
    return aligned, torch.cat([h[0, -1], h[1, -1]], -1)


def by_torch(
    x: Tensor, input_weight: Tensor, hidden_weight: Tensor, bias: Tensor, training: bool
) -> tuple[Tensor, Tensor]:
    """torch's own LSTM with the same weights."""
    if x.shape[-1] != input_weight.shape[1]:  # torch.lstm itself would read beyond its memory
        raise ValueError(f"the LSTM takes {input_weight.shape[1]} numbers a month, not {x.shape[-1]}")
    width = hidden_weight.shape[1]
    # torch's gates stand in the order i, f, a, o, and it has a second bias
    inward, onward, once = (p.roll(-width, -1) for p in (input_weight, hidden_weight, bias[:, 0]))
    none = torch.zeros_like(once[0])
    weights = [w for d in (0, 1) for w in (inward[d].mT, onward[d].mT, once[d], none)]
    start = x.new_zeros(2, len(x), width)
    aligned, last, _ = torch.lstm(x, (start, start), weights, True, 1, 0.0, training, True, True)
    return aligned, torch.cat([last[0], last[1]], -1)


def recurrence(s: Tensor, weight: Tensor) -> Tensor:
    """Run c' = f c + i a, h' = o tanh(c') over the months, from h = c = 0; differentiable twice.

    Args:
        s: what each gate receives from the inputs, W x + b, of shape (D, L, B, 4 H) in gate order o, i, f, a.
        weight: recurrent weights (D, H, 4 H); each gate receives s + h @ weight.

    Returns:
        Hidden states (D, L, B, H).
    """
    return _Recurrence.apply(s, weight, torch.is_grad_enabled() and (s.requires_grad or weight.requires_grad))


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, s, weight, keep):
        width = s.shape[-1] // 4
        hidden = s.new_empty(*s.shape[:-1], width)
        gates, cell_tanh = all_months(s, keep), all_months(hidden, keep)
        cells = after_zero(hidden) if keep else all_months(hidden, keep)
        h = c = None
        views = s, gates, gates[..., : 3 * width], *gates.split(width, -1), cells[:, -s.shape[1] :], cell_tanh, hidden
        for m in by_month("s gates sigmoids o i f a c tanh_c h", *views):
            m.gates.copy_(m.s) if h is None else torch.baddbmm(m.s, h, weight, out=m.gates)
            m.sigmoids.sigmoid_()
            tanh_(m.a)
            if c is None:
                torch.mul(m.i, m.a, out=m.c)
            else:
                torch.mul(m.f, c, out=m.c)
                m.c.addcmul_(m.i, m.a)
            tanh_(m.tanh_c.copy_(m.c))
            torch.mul(m.o, m.tanh_c, out=m.h)
            h, c = m.h, m.c
        ctx.set_materialize_grads(False)
        if keep:
            ctx.save_for_backward(s, weight, gates, cells, cell_tanh, hidden)
        return hidden

    @staticmethod
    def backward(ctx, grad_hidden):
        if grad_hidden is None:  # the second derivative reaches this node, but nothing flows through the hidden states
            return None, None, None
        twice = torch.is_grad_enabled()  # within backward: whether a second derivative has been asked for
        wants_weight = ctx.needs_input_grad[1] and not getattr(_asked, "inputs_alone", False)
        return *_Gradient.apply(grad_hidden, *ctx.saved_tensors, wants_weight, twice), None


class _Gradient(torch.autograd.Function):
    """First derivative; s is an argument only so that autograd knows what the second one belongs to."""

    @staticmethod
    def forward(ctx, grad_hidden, s, weight, gates, cells, cell_tanh, hidden, wants_weight, twice):
        grad_s = torch.empty_like(gates)
        grad_h, grad_c = all_months(hidden, twice), all_months(hidden, twice)

        def terms(block):
            return *slopes(gates[:, block], cell_tanh[:, block], cells[:, :-1][:, block])[1:], None, None

        backwards(weight, gates, grad_hidden, grad_s, grad_h, grad_c, terms)
        ctx.set_materialize_grads(False)
        if twice:
            ctx.save_for_backward(weight, gates, cells, cell_tanh, hidden, grad_s, grad_h, grad_c)
        return grad_s, weight_gradient(hidden, grad_s) if wants_weight else None

    @staticmethod
    @once_differentiable
    def backward(ctx, tangent_s, tangent_weight):
        if tangent_s is None and tangent_weight is None:
            return (None,) * 9
        weight, gates, cells, cell_tanh, hidden, grad_s, grad_h, grad_c = ctx.saved_tensors
        incoming = hidden.new_zeros(1).expand_as(hidden)
        if tangent_s is None:
            tangent_s = torch.zeros_like(gates)
        if tangent_weight is not None:
            tangent_s = tangent_s.clone()
            tangent_s[:, 1:] += hidden[:, :-1].flatten(1, 2).bmm(tangent_weight).view_as(tangent_s[:, 1:])
            incoming = torch.zeros_like(hidden)
            incoming[:, :-1] = grad_s[:, 1:].flatten(1, 2).bmm(tangent_weight.mT).view_as(incoming[:, 1:])
        received, tangent_c, tangent_h = carry_forward(tangent_s, weight, gates, cells, cell_tanh)
        to_cell = None  # of the block behind

        def terms(block):
            """With what the second derivative adds: how the first pass's gradients change along the tangent."""
            nonlocal to_cell
            slope, onward, onward_c = slopes(gates[:, block], cell_tanh[:, block], cells[:, :-1][:, block])
            moved = received, tangent_c[:, 1:], tangent_c[:, :-1], grad_s, grad_h, grad_c
            extra_s, extra_c, to_cell_before = second_order(
                gates[:, block], cell_tanh[:, block], slope, *(x[:, block] for x in moved)
            )
            extra_c[:, :-1] += to_cell_before[:, 1:]
            if to_cell is not None:
                extra_c[:, -1] += to_cell
            to_cell = to_cell_before[:, 0]
            return onward, onward_c, extra_s, extra_c

        second_s, second_h, second_c = torch.empty_like(gates), torch.empty_like(hidden), torch.empty_like(hidden)
        backwards(weight, gates, incoming, second_s, second_h, second_c, terms)
        second_weight = weight_gradient(hidden, second_s) + weight_gradient(tangent_h, grad_s)
        return tangent_h, second_s, second_weight, *(None,) * 6


# --- passes through the months: results are written into tensors that the caller has made room for --------------------


def backwards(weight, gates, incoming, ds, dh, dc, terms):
    """A backward pass through the months: gradients of s, h and c, block by block from the last.

    ``terms(block)`` gives what the gates pass on to h and c, dh/dc, and what is to be added to ds and dc, or None.
    """
    transposed, width, after = weight.mT.contiguous(), dh.shape[-1], None
    names = "forget given ds ds_o ds_three dh dc onward_o onward_three onward_c extra_s extra_c"
    for block in reversed(blocks(gates)):
        onward, *rest = terms(block)
        forget, given, s, h, c = (x[:, block] for x in (gates[..., 2 * width : 3 * width], incoming, ds, dh, dc))
        (s_o, s_three), (onward_o, onward_three) = (
            (x[..., :width], x[..., width:].unflatten(-1, (3, width))) for x in (s, onward)
        )
        for m in reversed(by_month(names, forget, given, s, s_o, s_three, h, c, onward_o, onward_three, *rest)):
            if after is None:
                m.dh.copy_(m.given)
                torch.mul(m.dh, m.onward_c, out=m.dc)
            else:
                torch.baddbmm(m.given, after.ds, transposed, out=m.dh)
                torch.mul(after.dc, after.forget, out=m.dc)
                m.dc.addcmul_(m.dh, m.onward_c)
            if m.extra_c is not None:
                m.dc += m.extra_c
            torch.mul(m.dh, m.onward_o, out=m.ds_o)
            torch.mul(m.dc.unsqueeze(-2), m.onward_three, out=m.ds_three)
            if m.extra_s is not None:
                m.ds += m.extra_s
            after = m


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
        written = (x[:, block] for x in (received, tangent_c[:, 1:], tangent_h))
        views = tangent_s[:, block], g[..., 2 * width : 3 * width], onward, onward_c, *written
        for m in by_month("s forget onward onward_c received c h", *views):
            m.received.copy_(m.s) if h is None else torch.baddbmm(m.s, h, weight, out=m.received)
            moved = m.received * m.onward
            torch.sum(moved[..., width:].unflatten(-1, (3, width)), -2, out=m.c)
            if c is not None:
                m.c.addcmul_(m.forget, c)
            torch.addcmul(moved[..., :width], m.onward_c, m.c, out=m.h)
            h, c = m.h, m.c
    return received, tangent_c, tangent_h


def by_month(names, *tensors):
    """One record of views a month, with these names; None stays None."""
    names, months = names.split(), zip(*(repeat(None) if x is None else x.unbind(1) for x in tensors), strict=False)
    return [SimpleNamespace(**dict(zip(names, views, strict=True))) for views in months]


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
