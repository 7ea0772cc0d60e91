"""The part of an LSTM that cannot be done for all months at once, with its first and second derivative by hand.

Autograd would record about ten operations a month, and the gradient penalty differentiates through all of them twice.
Written out, the second derivative needs no more than the first: with s the pre-activations, J the Jacobian of the
hidden states and g the gradient that comes in, the first backward pass is v = J' g. A gradient w that comes in for v
then asks for the derivative of <w, J' g> = <J w, g>, that is: one pass forward with tangents (J w), and one more
backward pass of the same form as the first, with known terms added. The plain, readable LSTM stands in the second
notebook and in the tests, which compare both to the last derivative.

Shapes: D directions, L months, B patients, H hidden units; gates in the order o, i, f, a, so that the three sigmoids
stand together and so do the three gates that the cell depends on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

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


def recurrence(s: Tensor, weight: Tensor) -> Tensor:
    """Run c' = f c + i a, h' = o tanh(c') over the months, from h = c = 0.

    Args:
        s: what each gate receives from the inputs, W x + b, of shape (D, L, B, 4 H) in gate order o, i, f, a.
        weight: recurrent weights (D, H, 4 H); each gate receives s + h @ weight.

    Returns:
        Hidden states (D, L, B, H). Differentiable twice.
    """
    return _Recurrence.apply(s, weight, torch.is_grad_enabled() and (s.requires_grad or weight.requires_grad))


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, s, weight, keep):
        width = s.shape[-1] // 4
        hidden = s.new_empty(*s.shape[:-1], width)
        gates, cell_tanh = _all_months(s, keep), _all_months(hidden, keep)
        cells = _after_zero(hidden) if keep else _all_months(hidden, keep)
        h = c = None
        for s_t, g, sigmoids, o, i, f, a, c_t, tanh_t, h_t in _by_month(
            *(s, gates, gates[..., : 3 * width], *gates.split(width, -1)),
            *(cells[:, -s.shape[1] :], cell_tanh, hidden),
        ):
            g.copy_(s_t) if h is None else torch.baddbmm(s_t, h, weight, out=g)
            sigmoids.sigmoid_()
            _tanh_(a)
            if c is None:
                torch.mul(i, a, out=c_t)
            else:
                torch.mul(f, c, out=c_t)
                c_t.addcmul_(i, a)
            _tanh_(tanh_t.copy_(c_t))
            torch.mul(o, tanh_t, out=h_t)
            h, c = h_t, c_t
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
        grad_h, grad_c = _all_months(hidden, twice), _all_months(hidden, twice)
        back = _Backwards(weight, gates, grad_hidden, grad_s, grad_h, grad_c)
        for block in reversed(_blocks(gates)):
            _, onward, onward_c = _slopes(gates[:, block], cell_tanh[:, block], cells[:, :-1][:, block])
            back.through(block, onward, onward_c)
        ctx.set_materialize_grads(False)
        if twice:
            ctx.save_for_backward(weight, gates, cells, cell_tanh, hidden, grad_s, grad_h, grad_c)
        return grad_s, _weight_gradient(hidden, grad_s) if wants_weight else None

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
        received, tangent_c, tangent_h = _carry_forward(tangent_s, weight, gates, cells, cell_tanh)

        second_s, second_h, second_c = torch.empty_like(gates), torch.empty_like(hidden), torch.empty_like(hidden)
        back = _Backwards(weight, gates, incoming, second_s, second_h, second_c)
        to_cell = None
        for block in reversed(_blocks(gates)):
            g, tanh_c, moved_c = gates[:, block], cell_tanh[:, block], tangent_c[:, 1:][:, block]
            slope, onward, onward_c = _slopes(g, tanh_c, cells[:, :-1][:, block])
            # What the second derivative adds to a backward pass of the first derivative's form: how the first pass's
            # gradients change when gates and cells move along the tangent.
            first = grad_s[:, block], grad_h[:, block], grad_c[:, block]
            extra_s, extra_c, to_cell_before = _second_order(
                g, tanh_c, slope, received[:, block], moved_c, tangent_c[:, :-1][:, block], *first
            )
            extra_c[:, :-1] += to_cell_before[:, 1:]
            if to_cell is not None:
                extra_c[:, -1] += to_cell
            to_cell = to_cell_before[:, 0]
            back.through(block, onward, onward_c, extra_s, extra_c)
        second_weight = _weight_gradient(hidden, second_s) + _weight_gradient(tangent_h, grad_s)
        return tangent_h, second_s, second_weight, *(None,) * 6


class _Backwards:
    """A backward pass through the months, block by block from the last: gradients of s, h and c, written in place."""

    def __init__(self, weight, gates, incoming, ds, dh, dc):
        self.transposed, self.width, self.after = weight.mT.contiguous(), dh.shape[-1], None
        self.all = gates[..., 2 * self.width : 3 * self.width], incoming, ds, dh, dc

    def through(self, block, onward, onward_c, extra_s=None, extra_c=None):
        """Go through a block; what the gates pass on to h and c, dh/dc, and terms to add, have the block's months."""
        forget, incoming, ds, dh, dc = (x[:, block] for x in self.all)
        width, three = self.width, (3, self.width)
        nothing = [None] * ds.shape[1]
        for f, given, ds_t, ds_o, ds_three, dh_t, dc_t, on_o, on_three, on_c, more_s, more_c in _by_month(
            *(forget, incoming, ds, ds[..., :width], ds[..., width:].unflatten(-1, three), dh, dc),
            *(onward[..., :width], onward[..., width:].unflatten(-1, three), onward_c),
            *(nothing if extra is None else extra for extra in (extra_s, extra_c)),
            backwards=True,
        ):
            if self.after is None:
                dh_t.copy_(given)
                torch.mul(dh_t, on_c, out=dc_t)
            else:
                ds_after, dc_after, f_after = self.after
                torch.baddbmm(given, ds_after, self.transposed, out=dh_t)
                torch.mul(dc_after, f_after, out=dc_t)
                dc_t.addcmul_(dh_t, on_c)
            if more_c is not None:
                dc_t += more_c
            torch.mul(dh_t, on_o, out=ds_o)
            torch.mul(dc_t.unsqueeze(-2), on_three, out=ds_three)
            if more_s is not None:
                ds_t += more_s
            self.after = ds_t, dc_t, f


def _tanh_(x):
    """In place; on a CPU by way of the sigmoid, which torch computes some five times faster there than its tanh."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1) if x.device.type == "cpu" else x.tanh_()


def _slopes(g, tanh_c, cell_before):
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


def _second_order(g, tanh_c, slope, received, tangent_c, tangent_c_before, ds, dh, dc):
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


def _carry_forward(tangent_s, weight, gates, cells, cell_tanh):
    """Carry a direction in s forward: what each gate then receives, and how cells (0 first) and hidden states move."""
    width = cell_tanh.shape[-1]
    received, tangent_c, tangent_h = torch.empty_like(gates), _after_zero(cell_tanh), torch.empty_like(cell_tanh)
    h = c = None
    for block in _blocks(gates):
        g = gates[:, block]
        _, onward, onward_c = _slopes(g, cell_tanh[:, block], cells[:, :-1][:, block])
        for s_t, f, m, mc, r, c_t, h_t in _by_month(
            *(tangent_s[:, block], g[..., 2 * width : 3 * width], onward, onward_c),
            *(received[:, block], tangent_c[:, 1:][:, block], tangent_h[:, block]),
        ):
            r.copy_(s_t) if h is None else torch.baddbmm(s_t, h, weight, out=r)
            moved = r * m
            torch.sum(moved[..., width:].unflatten(-1, (3, width)), -2, out=c_t)
            if c is not None:
                c_t.addcmul_(f, c)
            torch.addcmul(moved[..., :width], mc, c_t, out=h_t)
            h, c = h_t, c_t
    return received, tangent_c, tangent_h


def _by_month(*tensors, backwards=False):
    """One tuple of views a month."""
    months = list(zip(*(x if isinstance(x, list) else x.unbind(1) for x in tensors), strict=True))
    return reversed(months) if backwards else months


def _blocks(gates: Tensor) -> list[slice]:
    """Months whose work can be done at once where it need not wait: few enough to stay in the processor's cache."""
    months = gates.shape[1]
    step = max(1, BLOCK // gates[:, 0].numel())
    return [slice(k, min(k + step, months)) for k in range(0, months, step)]


def _all_months(like: Tensor, keep: bool) -> Tensor:
    """Room for each month of a derivative to come; where none will, one month's, written over month after month."""
    directions, months, *rest = like.shape
    return like.new_empty(directions, months if keep else 1, *rest).expand(-1, months, *([-1] * len(rest)))


def _after_zero(like: Tensor) -> Tensor:
    """Room for each month, with zeros as the month before the first."""
    directions, months, *rest = like.shape
    out = like.new_empty(directions, months + 1, *rest)
    out[:, 0] = 0
    return out


def _weight_gradient(hidden: Tensor, grad_s: Tensor) -> Tensor:
    """Sum over months of h_(t-1)' times the gradient of s_t: one product for all months."""
    return hidden[:, :-1].flatten(1, 2).mT.bmm(grad_s[:, 1:].flatten(1, 2))
