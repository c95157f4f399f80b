"""The processes that train one model: alone, or several that share every batch (data parallel).

Whatever the number, a step sees the same batch: every process makes the whole of it, with the same augmentation, and
keeps its part. So the curve of several processes is that of one, to rounding, unless the model looks at a batch as a
whole or draws: batch norm's statistics (on CPUs; on GPUs they are the whole batch's) and the matched boxes that SSD
divides its loss by are those of each process's part, and dropout and the samples of Faster R-CNN's RPN are drawn by
each process for itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bevel.errors import BevelError, InvalidValue
from bevel_lab.errors import LabError, optional_library


class ProcessGroup:
    """One process on its own; the base of what several do together.

    Attributes:
        rank, size: number of this process, and of all.
    """

    rank = 0
    size = 1

    def prepare(self, model: nn.Module) -> nn.Module:
        """``model`` with what looks at a batch as a whole made to look over all processes, where torch can."""
        return model

    def setup(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """What to call and what to step instead of ``model`` and ``optimizer``."""
        return model, optimizer

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    def all_reduce(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all processes."""
        return sums

    def broadcast(self, value: Any) -> Any:
        """What process 0 has."""
        return value

    def run_once_per_node(self, do: Callable[[], None]) -> None:
        """Call ``do`` in one process of each machine, while the others wait; its ``BevelError`` is raised in all."""
        do()

    def local_device(self, name: str) -> str:
        """This process's device where all were asked to use ``name``."""
        return name

    def shard(self, count: int) -> tuple[int, int]:
        """First and last (exclusive) of this process's ``count`` samples."""
        if count < self.size:
            raise InvalidValue(f"every process needs a sample of each batch; {count} samples for {self.size}.")
        small, more = divmod(count, self.size)
        start = self.rank * small + min(self.rank, more)
        return start, start + small + (self.rank < more)


SINGLE_PROCESS = ProcessGroup()
"""One process."""


class TorchrunProcessGroup(ProcessGroup):
    """A process of several, under torchrun; Lightning Fabric does the work.

    Args:
        device: ``cpu`` (gloo) or ``cuda`` (NCCL, one GPU a process).

    Raises:
        InvalidValue: where Lightning is missing.
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
        synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return synchronised

    def setup(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        made: tuple[nn.Module, Optimizer] = self.fabric.setup(model, optimizer, move_to_device=False)
        return made

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def all_reduce(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        summed: dict[str, Tensor] = self.fabric.all_reduce(sums, reduce_op="sum")  # type: ignore[assignment]
        return summed

    def broadcast(self, value: Any) -> Any:
        return self.fabric.broadcast(value)

    def run_once_per_node(self, do: Callable[[], None]) -> None:
        trouble = ""
        with self.fabric.rank_zero_first(local=True):  # waits for as long as it takes, such as a download
            if self.fabric.local_rank == 0:
                try:
                    do()
                except BevelError as error:
                    trouble = str(error)
        if trouble := self.broadcast(trouble) or trouble:
            raise LabError(trouble)

    def local_device(self, name: str) -> str:
        return name if name == "cpu" else f"cuda:{self.fabric.local_rank}"


def is_rank_zero() -> bool:
    """Whether this process is the first of those that torchrun has started, or was not started by it."""
    return world_size() == 1 or os.environ.get("RANK") == "0"


def world_size() -> int:
    """Processes that torchrun has started, this one among them; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
