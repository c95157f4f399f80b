"""Run by test_distributed: trains the zoo and a swapped model on two gloo processes, writes what it found as JSON.

Usage: distributed_worker.py FOLDER
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo  # as every optimizer does
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from bevel.training import Alternating, parameter_groups

sys.path.insert(0, str(Path(__file__).parent))
from zoo import inputs, swapped, zoo

MODELS: dict[str, Callable[[], tuple[nn.Module, dict[str, nn.Module]]]] = {
    "zoo": lambda: (model := zoo(), dict(model.activations)),
    "swapped": lambda: ((result := swapped()).model, result.activations),
}
LR = {"zoo": 1e-4, "swapped": 0.05}  # the zoo's squares make gradients of a hundred: 0.05 ends in NaN
STEPS = 5  # ends inside the activations phase, so that a phase that was not saved would show
RANKS = 2


def optimizer_for(name: str, model: nn.Module) -> Alternating:
    weights, slopes = parameter_groups(model, lr=LR[name], weight_decay=1e-2, activation_lr=0.02)
    return Alternating(
        torch.optim.SGD([weights], momentum=0.9),
        torch.optim.AdamW([slopes], eps=1e-3),  # eps: a gradient of 1e-9 must not decide a direction by its rounding
        weights_steps=2,
        activation_steps=1,
    )


def train(model: nn.Module, optimizer: Alternating, rank: int | None) -> None:
    for step in range(STEPS):
        x = inputs(8, 4, seed=step)
        x = x if rank is None else x.chunk(RANKS)[rank]
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def largest_difference(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    assert got.keys() == want.keys()
    return max(float((got[k] - want[k]).abs().max()) for k in want)


def run(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    found: dict[str, object] = {}
    for name, make in MODELS.items():
        single, _ = make()
        train(single, optimizer_for(name, single), None)
        want = single.state_dict()

        wrapped = DistributedDataParallel(make()[0])
        train(wrapped, optimizer_for(name, wrapped), rank)
        found[f"ddp {name}"] = largest_difference(wrapped.module.state_dict(), want)

        sharded, activations = make()
        for activation in activations.values():
            if any(True for _ in activation.parameters()):
                fully_shard(activation)
        fully_shard(sharded)
        optimizer = optimizer_for(name, sharded)
        train(sharded, optimizer, rank)
        whole = StateDictOptions(full_state_dict=True, cpu_offload=False)
        found[f"fsdp2 {name}"] = largest_difference(get_model_state_dict(sharded, options=whole), want)
        found |= checkpoints(name, sharded, optimizer)
    found["fsdp2 bfloat16"] = bfloat16_runs()
    found["fsdp2 from meta"] = from_meta()
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # seen once: a thread of gloo's was still there when the statics of C++ went, an abort


def checkpoints(name: str, sharded: nn.Module, optimizer: Alternating) -> dict[str, object]:
    """Return what a saved and loaded optimizer still has."""
    saved = get_optimizer_state_dict(sharded, optimizer)
    fresh = optimizer_for(name, sharded)
    set_optimizer_state_dict(sharded, fresh, saved)
    again = fresh.state_dict()
    old = optimizer.state_dict()
    return {
        f"same keys {name}": list(again["state"]) == list(old["state"]),
        f"phase {name}": [fresh.phase, optimizer.phase],
        f"count {name}": [g.get("alternating_count") for g in again["param_groups"]],
    }


def bfloat16_runs() -> bool:
    """A swapped bfloat16 model has float32 slopes, and FSDP2 wants one dtype a group: the activations first."""
    result = swapped(torch.bfloat16)
    for activation in result.activations.values():
        fully_shard(activation)
    model = fully_shard(result.model)
    model(inputs(4, 4).bfloat16()).float().square().mean().backward()
    dtypes = {p.grad.dtype for p in model.parameters()}
    return dtypes == {torch.bfloat16, torch.float32}


def from_meta() -> dict[str, list[float]]:
    """Build on meta, shard, allocate and reset; return what every activation's parameters start from."""
    with torch.device("meta"):
        model = zoo()
    for activation in model.activations.values():
        if any(True for _ in activation.parameters()):
            fully_shard(activation)
    fully_shard(model)
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    whole = StateDictOptions(full_state_dict=True, cpu_offload=False)
    state = get_model_state_dict(model, options=whole)
    return {k: v.flatten().tolist() for k, v in state.items() if k.startswith("activations.")}


if __name__ == "__main__":
    # forks of this process, which has imported everything and computed nothing: spawned ones would import it again
    mp.start_processes(run, args=(sys.argv[1],), nprocs=RANKS, start_method="fork")
