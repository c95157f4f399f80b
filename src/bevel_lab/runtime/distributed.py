"""Process groups: one process trains a model alone, or several share every batch (data parallel).

A step sees the same batch for any number of processes: every process makes the whole batch, with the same augmentation,
and keeps its shard. So several processes give the training curve of one, to rounding, except where a model looks at a
batch as a whole or draws: batch norm statistics (of the shard on CPUs, of the whole batch on GPUs), the number of
matched boxes by which SSD divides its loss, dropout, and the samples of Faster R-CNN's RPN belong to each process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bevel.errors import BevelError, InvalidValue
from bevel_lab.errors import LabError, optional_library

if TYPE_CHECKING:  # a task on a cluster names a process group before it knows whether it needs torch
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer


class ProcessGroup:
    """A single process, and the interface of several.

    Attributes:
        rank: number of this process.
        size: number of processes.
    """

    rank = 0
    size = 1

    def prepare(self, model: nn.Module) -> nn.Module:
        """``model`` with batch norms that compute their statistics over all processes, where torch can."""
        return model

    def setup(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """The module to call and the optimizer to step instead of ``model`` and ``optimizer``."""
        return model, optimizer

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, averaged over all processes."""
        import torch

        torch.autograd.backward(loss)

    def all_reduce(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all processes."""
        return sums

    def broadcast(self, value: Any) -> Any:
        """The ``value`` of process 0, in all processes."""
        return value

    def run_once_per_node(self, do: Callable[[], None]) -> None:
        """Call ``do`` in one process of each machine while the others wait; all raise its ``BevelError``."""
        do()

    def local_device(self, name: str) -> str:
        """The device of this process if all were asked to use ``name``."""
        return name

    def shard(self, count: int) -> tuple[int, int]:
        """First and last (exclusive) of this process's samples in a batch of ``count``.

        Raises:
            InvalidValue: if a process would have none.
        """
        if count < self.size:
            raise InvalidValue(f"every process needs a sample of each batch; got {count} samples for {self.size}.")
        small, more = divmod(count, self.size)
        start = self.rank * small + min(self.rank, more)
        return start, start + small + (self.rank < more)


SINGLE_PROCESS = ProcessGroup()
"""This process alone."""


class TorchrunProcessGroup(ProcessGroup):
    """The processes that torchrun has started; Lightning Fabric connects them.

    Args:
        device: ``cpu`` (gloo) or ``cuda`` (NCCL, one GPU a process).

    Raises:
        LabError: if Lightning is missing.
    """

    def __init__(self, device: torch.device) -> None:
        with optional_library("several processes need Lightning", "cluster"):
            from lightning.fabric import Fabric
        size, nodes = int(os.environ["WORLD_SIZE"]), int(os.environ.get("GROUP_WORLD_SIZE", "1"))
        kind = "cuda" if device.type == "cuda" else "cpu"
        self.fabric = Fabric(accelerator=kind, devices=size // nodes, num_nodes=nodes, strategy="ddp")
        self.fabric.launch()
        self.rank, self.size = self.fabric.global_rank, self.fabric.world_size

    def prepare(self, model: nn.Module) -> nn.Module:
        if next(model.parameters()).device.type == "cpu":
            return model  # torch's SyncBatchNorm refuses tensors on a CPU
        from torch import nn

        synchronized: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return synchronized

    def setup(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        made: tuple[nn.Module, Optimizer] = self.fabric.setup(model, optimizer, move_to_device=False)
        return made

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def all_reduce(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        summed: dict[str, Tensor] = self.fabric.all_reduce(sums, reduce_op="sum")
        return summed

    def broadcast(self, value: Any) -> Any:
        return self.fabric.broadcast(value)

    def run_once_per_node(self, do: Callable[[], None]) -> None:
        message = ""
        with self.fabric.rank_zero_first(local=True):  # waits without a timeout, such as for a download
            if self.fabric.local_rank == 0:
                try:
                    do()
                except BevelError as error:
                    message = str(error)
        if message := self.broadcast(message) or message:
            raise LabError(message)

    def local_device(self, name: str) -> str:
        return name if name == "cpu" else f"cuda:{self.fabric.local_rank}"


def is_rank_zero() -> bool:
    """Whether this process is the first of those that torchrun has started, or torchrun has not started it."""
    return world_size() == 1 or os.environ.get("RANK") == "0"


def world_size() -> int:
    """Number of processes that torchrun has started, including this one; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
