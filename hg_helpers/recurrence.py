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
        hidden_width = s.shape[-1] // 4
        hidden = s.new_empty(*s.shape[:-1], hidden_width)
        gates, cells, cell_tanh = (_all_months(like, keep) for like in (s, hidden, hidden))
        h = c = None
        sigmoids = gates[..., : 3 * hidden_width]
        for s_t, g, sigmoid, o, i, f, a, c_t, tanh_t, h_t in _by_month(
            s, gates, sigmoids, *gates.split(hidden_width, -1), cells, cell_tanh, hidden
        ):
            g.copy_(s_t) if h is None else torch.baddbmm(s_t, h, weight, out=g)
            sigmoid.sigmoid_()
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
        grad_h, grad_c = _all_months(cells, twice), _all_months(cells, twice)
        slope, m, mc = _room_for_slopes(gates, cells)
        transposed = weight.mT.contiguous()
        after = None
        for g, tanh_c, c_before, incoming, ds, dh, dc in _by_month(
            gates, cell_tanh, _month_before(cells), grad_hidden, grad_s, grad_h, grad_c, backwards=True
        ):
            _slopes_of_a_month(g, tanh_c, c_before, slope, m, mc)
            _back_one_month(incoming, ds, dh, dc, m, mc, transposed, after)
            after = ds, dc, g
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

        second_s, second_h, second_c = torch.empty_like(gates), torch.empty_like(cells), torch.empty_like(cells)
        slope, m, mc = _room_for_slopes(gates, cells)
        transposed = weight.mT.contiguous()
        after, cell_later = None, None
        for g, tanh_c, c_before, r, tc, tc_before, ds1, dh1, dc1, inc, ds, dh, dc in _by_month(
            *(gates, cell_tanh, _month_before(cells), received, tangent_c, _month_before(tangent_c)),
            *(grad_s, grad_h, grad_c, incoming, second_s, second_h, second_c),
            backwards=True,
        ):
            _slopes_of_a_month(g, tanh_c, c_before, slope, m, mc)
            # What the second derivative adds to a backward pass of the first derivative's form: how the first pass's
            # gradients change when gates and cells move along the tangent.
            extra_s, extra_c, to_cell_before = _second_order_of_a_month(
                g, tanh_c, slope, r, tc, tc_before, ds1, dh1, dc1
            )
            if cell_later is not None:
                extra_c += cell_later
            _back_one_month(inc, ds, dh, dc, m, mc, transposed, after, extra_c)
            ds += extra_s
            after, cell_later = (ds, dc, g), to_cell_before
        second_weight = _weight_gradient(hidden, second_s) + _weight_gradient(tangent_h, grad_s)
        return tangent_h, second_s, second_weight, *(None,) * 6


def _tanh_(x):
    """In place; on a CPU by way of the sigmoid, which torch computes some five times faster there than its tanh."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1) if x.device.type == "cpu" else x.tanh_()


def _slopes_of_a_month(g, tanh_c, cell_before, slope, onward, onward_c):
    """Write the gates' own slopes; what o, i, f, a each pass on to h and c, times those; and dh/dc."""
    width = tanh_c.shape[-1]
    torch.mul(g, g, out=slope)
    torch.sub(g[..., : 3 * width], slope[..., : 3 * width], out=slope[..., : 3 * width])
    torch.sub(1, slope[..., 3 * width :], out=slope[..., 3 * width :])
    o, i, _, a = g.split(width, -1)
    for out, own, factor in zip(
        onward.split(width, -1), slope.split(width, -1), (tanh_c, a, cell_before, i), strict=True
    ):
        torch.mul(own, factor, out=out)
    torch.mul(tanh_c, tanh_c, out=onward_c)
    torch.addcmul(o, o, onward_c, value=-1, out=onward_c)


def _back_one_month(incoming, ds, dh, dc, onward, onward_c, transposed, after, extra_c=None):
    """Write the gradients of one month's s, h and c, given those of the month after it."""
    width = dh.shape[-1]
    if after is None:
        dh.copy_(incoming)
        torch.mul(dh, onward_c, out=dc)
    else:
        ds_after, dc_after, g_after = after
        torch.baddbmm(incoming, ds_after, transposed, out=dh)
        torch.mul(dc_after, g_after[..., 2 * width : 3 * width], out=dc)
        dc.addcmul_(dh, onward_c)
    if extra_c is not None:
        dc += extra_c
    three = (*dc.shape[:-1], 3, width)
    torch.mul(dh, onward[..., :width], out=ds[..., :width])
    torch.mul(dc.unsqueeze(-2), onward[..., width:].view(three), out=ds[..., width:].view(three))


def _second_order_of_a_month(g, tanh_c, slope, received, tangent_c, tangent_c_before, ds, dh, dc):
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
    """Carry a direction in s forward: what each gate then receives, and how cells and hidden states move."""
    width = cells.shape[-1]
    received, tangent_c, tangent_h = torch.empty_like(gates), torch.empty_like(cells), torch.empty_like(cells)
    slope, m, mc = _room_for_slopes(gates, cells)
    h = c = None
    for s_t, g, tanh_c, c_before, r, c_t, h_t in _by_month(
        tangent_s, gates, cell_tanh, _month_before(cells), received, tangent_c, tangent_h
    ):
        _slopes_of_a_month(g, tanh_c, c_before, slope, m, mc)
        r.copy_(s_t) if h is None else torch.baddbmm(s_t, h, weight, out=r)
        moved = r * m
        torch.sum(moved[..., width:].unflatten(-1, (3, width)), -2, out=c_t)
        if c is not None:
            c_t.addcmul_(g[..., 2 * width : 3 * width], c)
        torch.addcmul(moved[..., :width], mc, c_t, out=h_t)
        h, c = h_t, c_t
    return received, tangent_c, tangent_h


def _by_month(*tensors, backwards=False):
    """One tuple of views a month. Month by month the work stays in the processor's cache."""
    months = list(zip(*(x if isinstance(x, list) else x.unbind(1) for x in tensors), strict=True))
    return reversed(months) if backwards else months


def _all_months(like: Tensor, keep: bool) -> Tensor:
    """Room for each month of a derivative to come; where none will, one month's, written over month after month."""
    directions, months, *rest = like.shape
    return like.new_empty(directions, months if keep else 1, *rest).expand(-1, months, *([-1] * len(rest)))


def _room_for_slopes(gates: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One month's slopes: made anew in each pass, as to keep all months' would save no time and much memory."""
    return torch.empty_like(gates[:, 0]), torch.empty_like(gates[:, 0]), torch.empty_like(cells[:, 0])


def _month_before(x: Tensor) -> list[Tensor]:
    """Each month's predecessor: 0 for the first."""
    return [torch.zeros_like(x[:, 0]), *x.unbind(1)[:-1]]


def _weight_gradient(hidden: Tensor, grad_s: Tensor) -> Tensor:
    """Sum over months of h_(t-1)' times the gradient of s_t: one product for all months."""
    return hidden[:, :-1].flatten(1, 2).mT.bmm(grad_s[:, 1:].flatten(1, 2))
