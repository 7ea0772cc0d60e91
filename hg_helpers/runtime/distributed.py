"""Training on several processes at once: each takes a share of every batch, and all make the same step.

By hand, because torch's wrapper of a network does not support the gradient penalty's second derivative. The step is
the one that a single process would make with the whole batch:

- every process draws the noise of the whole batch, and keeps what belongs to its own patients (:meth:`Peers.share`);
- a loss that ties patients together, as a correlation does, is taken of all patients (:meth:`Peers.join`); one that is
  a mean over patients is taken of its own, then averaged (:meth:`Peers.mean`);
- in both, only what a process computed itself has a derivative, so that gradients add up (:meth:`Peers.sum_gradients`).

>>> Peers().size, Peers().share(torch.arange(3)).tolist()  # alone
(1, [0, 1, 2])
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Peers:
    """One process among ``size`` that train together; alone unless ``torch.distributed`` has been started."""

    def __init__(self) -> None:
        there = dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if there else (0, 1)
        self._own, self._patients = slice(0), 0  # this process's patients of the batch, and how many it has

    def share(self, batch: Tensor) -> Tensor:
        """This process's patients of a batch; the other methods then speak of that batch."""
        if self.size == 1:
            return batch
        patients = self._patients = len(batch)
        if patients < self.size:
            advice = "use fewer, or a larger batch_size"
            raise ValueError(f"a batch of {patients} patients cannot be shared by {self.size} processes: {advice}")
        self._own = slice(patients * self.rank // self.size, patients * (self.rank + 1) // self.size)
        return batch[self._own]

    def join(self, own: Any) -> Any:
        """All processes' patients (a tensor with a row for each, a tuple of such, or None), in the batch's order."""
        if self.size == 1 or own is None:
            return own
        if isinstance(own, tuple):
            return tuple(map(self.join, own))
        whole = own.new_zeros(self._patients, *own.shape[1:])
        whole[self._own] = own.detach()
        dist.all_reduce(whole)  # each row is that of one process plus zeros
        return torch.cat([whole[: self._own.start], own, whole[self._own.stop :]])

    def mean(self, own: Tensor) -> Tensor:
        """The batch's mean from the mean over this process's patients; the derivative is that of its own part."""
        if self.size == 1:
            return own
        part = own * ((self._own.stop - self._own.start) / self._patients)
        joined = part.detach().clone()
        dist.all_reduce(joined)
        return part + (joined - part.detach())

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give every process the gradient of the whole batch."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.size > 1:
            flat = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(flat)
            for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    def any(self, own: bool) -> bool:
        """Whether it holds for any process."""
        if self.size == 1:
            return own
        found = torch.tensor([float(own)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)


ALONE = Peers()


def join_torchrun(device: str) -> str:
    """Meet the processes that ``torchrun`` has started, if it has; gives the device, with enough GPUs one's own."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    local = int(os.environ["LOCAL_RANK"])
    gpu = device in ("auto", "cuda") and torch.cuda.device_count() > local
    if gpu:
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    dist.init_process_group("nccl" if gpu else "gloo")
    return "cpu" if device == "auto" else device
