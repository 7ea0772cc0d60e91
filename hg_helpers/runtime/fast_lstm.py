"""The LSTM that training runs: the numbers of the readable one in :class:`hg_helpers.BiLSTM`, sooner.

It halves training: an epoch of v1 (workshop preset, 240 patients of 60 months, one thread of a server's processor) took
9.9 seconds of CPU time with it and 20.4 with the readable one, medians of three runs of each in turn. torch's own LSTM
has the second derivative that the gradient penalty needs on a CPU, some 2.5 times slower than this one; cuDNN's, on a
GPU, has none.

The recurrence, the part of an LSTM that cannot be done for all months at once, has its first and second derivative
written out. Autograd would record about ten operations a month, and the gradient penalty differentiates through all of
them twice. By hand, the second derivative needs no more than the first: with s the pre-activations, J the Jacobian of
the hidden states and g the gradient that comes in, the first backward pass is v = J' g. A gradient w that comes in for
v then asks for the derivative of <w, J' g> = <J w, g>, that is: one pass forward with tangents (J w), and one more
backward pass of the same form as the first, with known terms added (:mod:`hg_helpers.runtime.lstm_passes`). The tests
compare every derivative with the readable LSTM's.

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

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .lstm_passes import (
    Backwards,
    after_zero,
    all_months,
    blocks,
    by_month,
    carry_forward,
    second_order,
    slopes,
    tanh_,
    weight_gradient,
)

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
    """What :class:`hg_helpers.BiLSTM` gives, and with its arguments.

    Where no second derivative will be asked for (``twice=False``, or without any), it is torch's own LSTM.
    """
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
    """torch's own LSTM with the same weights.

    Raises:
        ValueError: for inputs of another width; torch.lstm itself would read beyond its memory.
    """
    if x.shape[-1] != input_weight.shape[1]:
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
        gates, cell_tanh = all_months(s, keep), all_months(hidden, keep)
        cells = after_zero(hidden) if keep else all_months(hidden, keep)
        h = c = None
        o, i, f, a = gates.split(width, -1)
        for m in by_month(
            s=s,
            gates=gates,
            sigmoids=gates[..., : 3 * width],
            o=o,
            i=i,
            f=f,
            a=a,
            c=cells[:, -s.shape[1] :],
            tanh_c=cell_tanh,
            h=hidden,
        ):
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
        back = Backwards(weight, gates, grad_hidden, grad_s, grad_h, grad_c)
        for block in reversed(blocks(gates)):
            _, onward, onward_c = slopes(gates[:, block], cell_tanh[:, block], cells[:, :-1][:, block])
            back.through(block, onward, onward_c)
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

        second_s, second_h, second_c = torch.empty_like(gates), torch.empty_like(hidden), torch.empty_like(hidden)
        back = Backwards(weight, gates, incoming, second_s, second_h, second_c)
        to_cell = None
        for block in reversed(blocks(gates)):
            g, tanh_c, moved_c = gates[:, block], cell_tanh[:, block], tangent_c[:, 1:][:, block]
            slope, onward, onward_c = slopes(g, tanh_c, cells[:, :-1][:, block])
            # What the second derivative adds to a backward pass of the first derivative's form: how the first pass's
            # gradients change when gates and cells move along the tangent.
            first = grad_s[:, block], grad_h[:, block], grad_c[:, block]
            extra_s, extra_c, to_cell_before = second_order(
                g, tanh_c, slope, received[:, block], moved_c, tangent_c[:, :-1][:, block], *first
            )
            extra_c[:, :-1] += to_cell_before[:, 1:]
            if to_cell is not None:
                extra_c[:, -1] += to_cell
            to_cell = to_cell_before[:, 0]
            back.through(block, onward, onward_c, extra_s, extra_c)
        second_weight = weight_gradient(hidden, second_s) + weight_gradient(tangent_h, grad_s)
        return tangent_h, second_s, second_weight, *(None,) * 6
