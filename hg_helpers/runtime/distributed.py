"""Training on several processes at once: each takes a share of every batch, and all make the same step.

Written by hand around ``torch.distributed``, because its wrapper of a network does not support the gradient penalty's
second derivative. Every loss is put together from means over the batch's patients, so it is enough that

- each mean is that of the joined batch, while its derivative is that of the process's own patients
  (:meth:`Peers.mean`), and
- gradients are summed over the processes before each step (:meth:`Peers.sum_gradients`).

Losses that are no means, of correlations, moments or the latent's variance, are functions of such means. A mean must
not enter another one with its derivative: each process would then miss what its patients do to the others' part.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


class Peers:
    """One process among ``size``; alone unless ``torch.distributed`` has been started."""

    def __init__(self) -> None:
        there = dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if there else (0, 1)
        self.weight = 1.0

    def share(self, patients: int) -> slice:
        """This process's patients of a batch of so many; also what the following means are weighted by.

        Raises:
            ValueError: for fewer patients than processes.
        """
        if patients < self.size:
            raise ValueError(
                f"a batch of {patients} patients cannot be shared by {self.size} processes: use fewer, or a larger "
                "batch_size"
            )
        first, last = (patients * k // self.size for k in (self.rank, self.rank + 1))
        self.weight = (last - first) / patients
        return slice(first, last)

    def rows(self, own: int) -> int:
        """Number of rows of the joined batch, from that of this process's share."""
        return round(own / self.weight)

    def mean(self, own: Tensor) -> Tensor:
        """The joined batch's mean from the mean over this process's patients; the derivative is this process's part."""
        if self.size == 1:
            return own
        part = own * self.weight
        joined = part.detach().clone()
        dist.all_reduce(joined)
        return part + (joined - part.detach())

    def gather(self, own: Tensor) -> Tensor:
        """All processes' rows, in the order of the batch; without derivative."""
        if self.size == 1:
            return own
        parts: list = [None] * self.size
        dist.all_gather_object(parts, own.detach().cpu())
        return torch.cat(parts).to(own.device)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give every process the gradient of the joined batch."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def any(self, own: bool) -> bool:
        """Whether it holds for any process."""
        if self.size == 1:
            return own
        found = torch.tensor([float(own)])
        if dist.get_backend() == "nccl":
            found = found.cuda()
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)


ALONE = Peers()


def join_torchrun(device: str) -> str:
    """Meet the other processes that ``torchrun`` has started; without torchrun nothing happens.

    Args:
        device: as asked for; ``"auto"`` and ``"cuda"`` become this process's own GPU where there are enough.

    Returns:
        The device to train on.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    local = int(os.environ["LOCAL_RANK"])
    gpu = device in ("auto", "cuda") and torch.cuda.device_count() > local
    if gpu:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if gpu else "gloo")
    if gpu:
        return f"cuda:{local}"
    return "cpu" if device == "auto" else device
